/**
 * What CI systems tell in their variables: the project, the commit that is worked on, and the run.
 *
 * A value is a list of templates, of which the first counts whose variables are all set. Where a system checks out a
 * merge of a pull request, the commit is the head of the pull request: nobody can find the merge again. The Python
 * package `bers_emit` says the same; a test compares them.
 */

import { readFileSync, statSync } from 'node:fs';

export type Environ = Readonly<Record<string, string | undefined>>;
type Templates = readonly string[];
type Texts = Record<string, string>;
export type Part = Record<string, unknown>;

/** One CI system: the variable that tells that it is the one, and what its other variables mean. */
export interface System {
  readonly name: string;
  readonly marker: string;
  readonly project: Templates;
  readonly vcs: Readonly<Record<string, Templates>>;
  readonly run: Readonly<Record<string, Templates>>;
  /** Changes what was read, where a template cannot say it. */
  readonly mend?: (environ: Environ, vcs: Texts, run: Texts) => void;
}

/** What is built, as the system names it: `org/app`. */
export function project(system: System, environ: Environ): string {
  return first(system.project, environ);
}

/** The fields `vcs` and `run` of each event that comes from here. */
export function read(system: System, environ: Environ): { vcs: Part; run: Part } {
  const vcs = filled(system.vcs, environ);
  const { attempt = '', ...run } = mended(system, environ, vcs);
  vcs.ref &&= vcs.ref.replace(/^refs\/(heads|tags)\//, '');
  return { vcs, run: { system: system.name, ...run, ...(Number(attempt) > 1 ? { attempt: Number(attempt) } : {}) } };
}

function mended(system: System, environ: Environ, vcs: Texts): Texts {
  const run = filled(system.run, environ);
  if (vcs.change === 'false') delete vcs.change; // Travis and Buildkite say so where there is no pull request.
  system.mend?.(environ, vcs, run);
  return run;
}

function filled(part: Readonly<Record<string, Templates>>, environ: Environ): Texts {
  const found = Object.entries(part).map(([name, templates]) => [name, first(templates, environ)] as const);
  return Object.fromEntries(found.filter(([, text]) => text));
}

function first(templates: Templates, environ: Environ): string {
  for (const template of templates) {
    const names = [...template.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!);
    if (names.every((name) => environ[name])) return template.replace(/\{(\w+)\}/g, (_, name: string) => environ[name]!);
  }
  return '';
}

/** GITHUB_SHA is a merge for pull requests, and the default branch for what others set off: the event knows. */
function github(environ: Environ, vcs: Texts): void {
  const event = environ.GITHUB_EVENT_NAME ?? '';
  if (!/^(pull_request|workflow_run)/.test(event)) return;
  const told = eventOf(environ.GITHUB_EVENT_PATH ?? '');
  if (event === 'workflow_run') {
    delete vcs.revision; // That of the default branch would be a wrong one.
    const other = of(told, 'workflow_run');
    put(vcs, 'revision', of(other, 'head_sha'));
    put(vcs, 'ref', of(other, 'head_branch'));
    return;
  }
  const request = of(told, 'pull_request');
  put(vcs, 'revision', of(of(request, 'head'), 'sha'));
  put(vcs, 'base_revision', of(of(request, 'base'), 'sha'));
  const number = of(request, 'number');
  if (Number.isInteger(number)) vcs.change = String(number);
}

function gitlab(environ: Environ, vcs: Texts): void {
  if (vcs.revision !== environ.CI_COMMIT_SHA) delete vcs.committed_at; // When the merge was made, not the commit.
}

function jenkins(_: Environ, vcs: Texts): void {
  vcs.ref &&= vcs.ref.replace(/^origin\//, '');
}

function buildkite(environ: Environ, vcs: Texts, run: Texts): void {
  if (vcs.revision === 'HEAD') delete vcs.revision; // Not looked up yet: no commit at all.
  const retried = environ.BUILDKITE_RETRY_COUNT ?? '';
  if (/^\d+$/.test(retried)) run.attempt = String(Number(retried) + 1);
}

function codebuild(environ: Environ, vcs: Texts): void {
  for (const name of ['CODEBUILD_WEBHOOK_TRIGGER', 'CODEBUILD_SOURCE_VERSION']) {
    const number = /^pr\/(.+)$/.exec(environ[name] ?? '')?.[1];
    if (number) vcs.change = number;
  }
}

const LARGEST_EVENT = 16 * 1024 * 1024;

function eventOf(path: string): unknown {
  try {
    const about = statSync(path); // A pipe would hold us, and so would a disk of nothing else.
    if (!about.isFile() || about.size > LARGEST_EVENT) return undefined;
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

function of(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Part)[key] : undefined;
}

function put(vcs: Texts, name: string, value: unknown): void {
  if (typeof value === 'string' && value) vcs[name] = value;
}

export const SYSTEMS: readonly System[] = [
  {
    name: 'github',
    marker: 'GITHUB_ACTIONS',
    project: ['{GITHUB_REPOSITORY}'],
    vcs: {
      repository: ['{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}'],
      revision: ['{GITHUB_SHA}'],
      ref: ['{GITHUB_HEAD_REF}', '{GITHUB_REF_NAME}', '{GITHUB_REF}'],
    },
    run: {
      pipeline: ['{GITHUB_WORKFLOW}'],
      id: ['{GITHUB_RUN_ID}'],
      job: ['{GITHUB_JOB}'],
      attempt: ['{GITHUB_RUN_ATTEMPT}'],
      url: ['{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}'],
    },
    mend: github,
  },
  {
    name: 'gitlab',
    marker: 'GITLAB_CI',
    project: ['{CI_PROJECT_PATH}'],
    vcs: {
      repository: ['{CI_PROJECT_URL}'],
      revision: ['{CI_MERGE_REQUEST_SOURCE_BRANCH_SHA}', '{CI_COMMIT_SHA}'],
      ref: ['{CI_MERGE_REQUEST_SOURCE_BRANCH_NAME}', '{CI_COMMIT_REF_NAME}'],
      base_revision: ['{CI_MERGE_REQUEST_DIFF_BASE_SHA}'],
      change: ['{CI_MERGE_REQUEST_IID}'],
      committed_at: ['{CI_COMMIT_TIMESTAMP}'],
    },
    run: {
      pipeline: ['{CI_PIPELINE_NAME}'],
      id: ['{CI_PIPELINE_ID}'],
      job: ['{CI_JOB_NAME}'],
      url: ['{CI_JOB_URL}', '{CI_PIPELINE_URL}'],
    },
    mend: gitlab,
  },
  {
    name: 'jenkins',
    marker: 'JENKINS_URL',
    project: ['{JOB_NAME}'],
    vcs: {
      repository: ['{GIT_URL}'],
      revision: ['{ghprbActualCommit}', '{gitlabMergeRequestLastCommit}', '{GIT_COMMIT}'],
      ref: ['{CHANGE_BRANCH}', '{ghprbSourceBranch}', '{BRANCH_NAME}', '{GIT_BRANCH}'],
      change: ['{CHANGE_ID}', '{ghprbPullId}', '{gitlabMergeRequestIid}'],
    },
    run: {
      pipeline: ['{JOB_NAME}'],
      id: ['{BUILD_NUMBER}'],
      job: ['{STAGE_NAME}', '{JOB_BASE_NAME}'],
      url: ['{BUILD_URL}'],
    },
    mend: jenkins,
  },
  {
    name: 'buildkite',
    marker: 'BUILDKITE',
    project: ['{BUILDKITE_ORGANIZATION_SLUG}/{BUILDKITE_PIPELINE_SLUG}', '{BUILDKITE_PIPELINE_SLUG}'],
    vcs: {
      repository: ['{BUILDKITE_REPO}'],
      revision: ['{BUILDKITE_COMMIT}'],
      ref: ['{BUILDKITE_TAG}', '{BUILDKITE_BRANCH}'],
      change: ['{BUILDKITE_PULL_REQUEST}'],
    },
    run: {
      pipeline: ['{BUILDKITE_PIPELINE_SLUG}'],
      id: ['{BUILDKITE_BUILD_ID}', '{BUILDKITE_BUILD_NUMBER}'],
      job: ['{BUILDKITE_STEP_KEY}', '{BUILDKITE_LABEL}', '{BUILDKITE_JOB_ID}'],
      url: ['{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}', '{BUILDKITE_BUILD_URL}'],
    },
    mend: buildkite,
  },
  {
    name: 'circleci',
    marker: 'CIRCLECI',
    project: ['{CIRCLE_PROJECT_USERNAME}/{CIRCLE_PROJECT_REPONAME}', '{CIRCLE_PROJECT_REPONAME}'],
    vcs: {
      repository: ['{CIRCLE_REPOSITORY_URL}'],
      revision: ['{CIRCLE_SHA1}'],
      ref: ['{CIRCLE_TAG}', '{CIRCLE_BRANCH}'],
      change: ['{CIRCLE_PR_NUMBER}', '{CIRCLE_PULL_REQUEST}'],
    },
    run: {
      id: ['{CIRCLE_WORKFLOW_ID}', '{CIRCLE_BUILD_NUM}'],
      job: ['{CIRCLE_JOB}'],
      url: ['{CIRCLE_BUILD_URL}'],
    },
  },
  {
    name: 'azure',
    marker: 'TF_BUILD',
    project: ['{SYSTEM_TEAMPROJECT}/{BUILD_DEFINITIONNAME}', '{SYSTEM_TEAMPROJECT}/{SYSTEM_DEFINITIONNAME}', '{SYSTEM_TEAMPROJECT}'],
    vcs: {
      repository: ['{BUILD_REPOSITORY_URI}'],
      revision: ['{SYSTEM_PULLREQUEST_SOURCECOMMITID}', '{BUILD_SOURCEVERSION}'],
      ref: ['{SYSTEM_PULLREQUEST_SOURCEBRANCH}', '{BUILD_SOURCEBRANCH}'],
      change: ['{SYSTEM_PULLREQUEST_PULLREQUESTNUMBER}', '{SYSTEM_PULLREQUEST_PULLREQUESTID}'],
    },
    run: {
      pipeline: ['{BUILD_DEFINITIONNAME}', '{SYSTEM_DEFINITIONNAME}'],
      id: ['{BUILD_BUILDID}'],
      job: ['{SYSTEM_JOBNAME}', '{AGENT_JOBNAME}'],
      attempt: ['{SYSTEM_JOBATTEMPT}'],
      url: ['{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}'],
    },
  },
  {
    name: 'bitbucket',
    marker: 'BITBUCKET_BUILD_NUMBER',
    project: ['{BITBUCKET_REPO_FULL_NAME}'],
    vcs: {
      repository: ['{BITBUCKET_GIT_HTTP_ORIGIN}'],
      revision: ['{BITBUCKET_COMMIT}'],
      ref: ['{BITBUCKET_TAG}', '{BITBUCKET_BRANCH}'],
      base_revision: ['{BITBUCKET_PR_DESTINATION_COMMIT}'],
      change: ['{BITBUCKET_PR_ID}'],
    },
    run: {
      id: ['{BITBUCKET_BUILD_NUMBER}'],
      job: ['{BITBUCKET_STEP_UUID}'],
      attempt: ['{BITBUCKET_STEP_RUN_NUMBER}'],
      url: ['{BITBUCKET_GIT_HTTP_ORIGIN}/pipelines/results/{BITBUCKET_BUILD_NUMBER}'],
    },
  },
  {
    name: 'teamcity',
    marker: 'TEAMCITY_VERSION',
    project: ['{TEAMCITY_PROJECT_NAME}/{TEAMCITY_BUILDCONF_NAME}', '{TEAMCITY_PROJECT_NAME}'],
    vcs: {
      revision: ['{BUILD_VCS_NUMBER}'],
    },
    run: {
      pipeline: ['{TEAMCITY_BUILDCONF_NAME}'],
      id: ['{BUILD_NUMBER}'],
      url: ['{BUILD_URL}'],
    },
  },
  {
    name: 'codebuild',
    marker: 'CODEBUILD_BUILD_ID',
    project: ['{CODEBUILD_BUILD_ID}'],
    vcs: {
      repository: ['{CODEBUILD_SOURCE_REPO_URL}'],
      revision: ['{CODEBUILD_RESOLVED_SOURCE_VERSION}'],
      ref: ['{CODEBUILD_WEBHOOK_HEAD_REF}'],
    },
    run: {
      id: ['{CODEBUILD_BUILD_ID}'],
      url: ['{CODEBUILD_BUILD_URL}'],
    },
    mend: codebuild,
  },
  {
    name: 'travis',
    marker: 'TRAVIS',
    project: ['{TRAVIS_REPO_SLUG}'],
    vcs: {
      revision: ['{TRAVIS_PULL_REQUEST_SHA}', '{TRAVIS_COMMIT}'],
      ref: ['{TRAVIS_PULL_REQUEST_BRANCH}', '{TRAVIS_TAG}', '{TRAVIS_BRANCH}'],
      change: ['{TRAVIS_PULL_REQUEST}'],
    },
    run: {
      id: ['{TRAVIS_BUILD_ID}'],
      job: ['{TRAVIS_JOB_NAME}', '{TRAVIS_JOB_NUMBER}'],
      url: ['{TRAVIS_JOB_WEB_URL}', '{TRAVIS_BUILD_WEB_URL}'],
    },
  },
  {
    name: 'drone',
    marker: 'DRONE',
    project: ['{DRONE_REPO}'],
    vcs: {
      repository: ['{DRONE_REPO_LINK}', '{DRONE_GIT_HTTP_URL}'],
      revision: ['{DRONE_COMMIT_SHA}', '{DRONE_COMMIT}'],
      ref: ['{DRONE_SOURCE_BRANCH}', '{DRONE_TAG}', '{DRONE_BRANCH}'],
      change: ['{DRONE_PULL_REQUEST}'],
    },
    run: {
      id: ['{DRONE_BUILD_NUMBER}'],
      job: ['{DRONE_STAGE_NAME}'],
      url: ['{DRONE_BUILD_LINK}'],
    },
  },
];
