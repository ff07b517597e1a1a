/** Where events come from: the CI system that runs us, else this host. */

import { hostname } from 'node:os';

type Environ = Readonly<Record<string, string | undefined>>;

/** What tells the system, the system's name in a source, and the variables that name the project in it. */
const SYSTEMS: ReadonlyArray<readonly [string, string, readonly string[]]> = [
  ['GITHUB_ACTIONS', 'github', ['GITHUB_REPOSITORY']],
  ['GITLAB_CI', 'gitlab', ['CI_PROJECT_PATH']],
  ['JENKINS_URL', 'jenkins', ['JOB_NAME']],
  ['BUILDKITE', 'buildkite', ['BUILDKITE_ORGANIZATION_SLUG', 'BUILDKITE_PIPELINE_SLUG']],
  ['CIRCLECI', 'circleci', ['CIRCLE_PROJECT_USERNAME', 'CIRCLE_PROJECT_REPONAME']],
  ['TF_BUILD', 'azure', ['SYSTEM_TEAMPROJECT', 'BUILD_DEFINITIONNAME']],
  ['BITBUCKET_BUILD_NUMBER', 'bitbucket', ['BITBUCKET_REPO_FULL_NAME']],
  ['TEAMCITY_VERSION', 'teamcity', ['TEAMCITY_PROJECT_NAME', 'TEAMCITY_BUILDCONF_NAME']],
  ['CODEBUILD_BUILD_ID', 'codebuild', ['CODEBUILD_BUILD_ID']],
];

/** The default source of an event: `/ci/SYSTEM/PROJECT` in CI, else `/host/NAME`. */
export function source(environ: Environ): string {
  for (const [marker, system, names] of SYSTEMS) {
    if (isSet(environ[marker])) {
      const project = names.map((name) => environ[name]).filter(Boolean).join('/');
      // An id of CodeBuild is PROJECT:UUID, and a source outlives one build.
      return `/ci/${system}/${quoted(system === 'codebuild' ? project.split(':')[0]! : project) || 'unknown'}`;
    }
  }
  return `/host/${quoted(hostname()) || 'unknown'}`;
}

/** Whether a CI system runs us, by the variable that all of them set. */
export function inCi(environ: Environ): boolean {
  return isSet(environ.CI);
}

function isSet(value: string | undefined): boolean {
  return !['', '0', 'false', 'no'].includes((value ?? '').toLowerCase());
}

/** Percent-encode what a URI reference cannot hold. */
function quoted(text: string): string {
  const encoded = (found: string): string =>
    [...Buffer.from(found)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('');
  return text.replace(/[^A-Za-z0-9._~/-]/gu, encoded);
}
