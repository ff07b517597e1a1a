"""What CI systems tell in their variables: the project, the commit that is worked on, and the run.

A value is a list of templates, of which the first counts whose variables are all set. Where a system checks out a merge
of a pull request, the commit is the head of the pull request: nobody can find the merge again.
"""

from __future__ import annotations

import json
import os

from bers_emit import shapes

TYPE_CHECKING = False  # The typing module costs 10 ms of start-up on Python 3.9.
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Callable

    Part = Mapping[str, tuple[str, ...]]

_LARGEST_EVENT = 16 * 1024 * 1024


class System:
    """One CI system: the variable that tells that it is the one, and what its other variables mean."""

    def __init__(
        self,
        name: str,
        marker: str,
        project: tuple[str, ...],
        vcs: Part,
        run: Part,
        mend: Callable[[Mapping[str, str], dict[str, str], dict[str, object]], None] | None = None,
    ) -> None:
        """``mend`` changes what was read of vcs and run, where a template cannot say it."""
        self.name = name
        self.marker = marker
        self._project = project
        self._vcs = vcs
        self._run = run
        self._mend = mend

    def project(self, environ: Mapping[str, str]) -> str:
        """What is built, as the system names it: ``org/app``."""
        return _first(self._project, environ)

    def read(self, environ: Mapping[str, str]) -> tuple[dict[str, object], dict[str, object]]:
        """The fields ``vcs`` and ``run`` of each event that comes from here."""
        vcs = {name: found for name, of in self._vcs.items() if (found := _first(of, environ))}
        run: dict[str, object] = {name: found for name, of in self._run.items() if (found := _first(of, environ))}
        if vcs.get("change") == "false":  # Travis and Buildkite say so where there is no pull request.
            del vcs["change"]
        if self._mend:
            self._mend(environ, vcs, run)
        for prefix in ("refs/heads/", "refs/tags/"):
            if vcs.get("ref", "").startswith(prefix):
                vcs["ref"] = vcs["ref"][len(prefix) :]
        attempt = str(run.pop("attempt", ""))
        if attempt.isdigit() and int(attempt) > 1:
            run["attempt"] = int(attempt)
        return dict(vcs), {"system": self.name, **run}


def _first(templates: tuple[str, ...], environ: Mapping[str, str]) -> str:
    for template in templates:
        names = [part.partition("}")[0] for part in template.split("{")[1:]]
        if all(environ.get(name) for name in names):
            for name in names:
                template = template.replace(f"{{{name}}}", environ[name])
            return template
    return ""


def _github(environ: Mapping[str, str], vcs: dict[str, str], run: dict[str, object]) -> None:
    """GITHUB_SHA is a merge for pull requests, and the default branch for what others set off: the event knows."""
    event = environ.get("GITHUB_EVENT_NAME", "")
    if not event.startswith(("pull_request", "workflow_run")):
        return
    told = _event(environ.get("GITHUB_EVENT_PATH", ""))
    if event == "workflow_run":
        vcs.pop("revision", None)  # That of the default branch would be a wrong one.
        other = _of(told, "workflow_run")
        _put(vcs, "revision", _of(other, "head_sha"))
        _put(vcs, "ref", _of(other, "head_branch"))
        return
    request = _of(told, "pull_request")
    head = _of(_of(request, "head"), "sha")
    if isinstance(head, str) and head:
        vcs["revision"] = head
    _put(vcs, "base_revision", _of(_of(request, "base"), "sha"))
    number = _of(request, "number")
    if isinstance(number, int):
        vcs["change"] = str(number)


def _gitlab(environ: Mapping[str, str], vcs: dict[str, str], run: dict[str, object]) -> None:
    if vcs.get("revision") != environ.get("CI_COMMIT_SHA"):
        vcs.pop("committed_at", None)  # When the merge was made, not the commit.


def _jenkins(environ: Mapping[str, str], vcs: dict[str, str], run: dict[str, object]) -> None:
    if vcs.get("ref", "").startswith("origin/"):
        vcs["ref"] = vcs["ref"][len("origin/") :]


def _buildkite(environ: Mapping[str, str], vcs: dict[str, str], run: dict[str, object]) -> None:
    if vcs.get("revision") == "HEAD":  # Not looked up yet: no commit at all.
        del vcs["revision"]
    retried = environ.get("BUILDKITE_RETRY_COUNT", "")
    if retried.isdigit():
        run["attempt"] = str(int(retried) + 1)


def _codebuild(environ: Mapping[str, str], vcs: dict[str, str], run: dict[str, object]) -> None:
    for name in ("CODEBUILD_WEBHOOK_TRIGGER", "CODEBUILD_SOURCE_VERSION"):
        kind, _, number = environ.get(name, "").partition("/")
        if kind == "pr" and number:
            vcs["change"] = number


def _event(path: str) -> object:
    try:
        if not os.path.isfile(path):  # A pipe would hold us.
            return None
        with open(path, encoding="utf-8") as file:
            parsed: object = json.loads(file.read(_LARGEST_EVENT))
            return parsed
    except (OSError, ValueError, RecursionError):
        return None


def _of(value: object, key: str) -> object:
    return (shapes.pairs(value) or {}).get(key)


def _put(vcs: dict[str, str], name: str, value: object) -> None:
    if isinstance(value, str) and value:
        vcs[name] = value


SYSTEMS = (
    System(
        "github",
        "GITHUB_ACTIONS",
        ("{GITHUB_REPOSITORY}",),
        {
            "repository": ("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}",),
            "revision": ("{GITHUB_SHA}",),
            "ref": ("{GITHUB_HEAD_REF}", "{GITHUB_REF_NAME}", "{GITHUB_REF}"),
        },
        {
            "pipeline": ("{GITHUB_WORKFLOW}",),
            "id": ("{GITHUB_RUN_ID}",),
            "job": ("{GITHUB_JOB}",),
            "attempt": ("{GITHUB_RUN_ATTEMPT}",),
            "url": ("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",),
        },
        _github,
    ),
    System(
        "gitlab",
        "GITLAB_CI",
        ("{CI_PROJECT_PATH}",),
        {
            "repository": ("{CI_PROJECT_URL}",),
            # Set for merged results alone, where CI_COMMIT_SHA is the merge.
            "revision": ("{CI_MERGE_REQUEST_SOURCE_BRANCH_SHA}", "{CI_COMMIT_SHA}"),
            "ref": ("{CI_MERGE_REQUEST_SOURCE_BRANCH_NAME}", "{CI_COMMIT_REF_NAME}"),
            "base_revision": ("{CI_MERGE_REQUEST_DIFF_BASE_SHA}",),
            "change": ("{CI_MERGE_REQUEST_IID}",),
            "committed_at": ("{CI_COMMIT_TIMESTAMP}",),
        },
        {
            "pipeline": ("{CI_PIPELINE_NAME}",),
            "id": ("{CI_PIPELINE_ID}",),
            "job": ("{CI_JOB_NAME}",),
            "url": ("{CI_JOB_URL}", "{CI_PIPELINE_URL}"),
        },
        _gitlab,
    ),
    System(
        "jenkins",
        "JENKINS_URL",
        ("{JOB_NAME}",),
        {
            "repository": ("{GIT_URL}",),
            "revision": ("{ghprbActualCommit}", "{gitlabMergeRequestLastCommit}", "{GIT_COMMIT}"),
            "ref": ("{CHANGE_BRANCH}", "{ghprbSourceBranch}", "{BRANCH_NAME}", "{GIT_BRANCH}"),
            "change": ("{CHANGE_ID}", "{ghprbPullId}", "{gitlabMergeRequestIid}"),
        },
        {
            "pipeline": ("{JOB_NAME}",),
            "id": ("{BUILD_NUMBER}",),
            "job": ("{STAGE_NAME}", "{JOB_BASE_NAME}"),
            "url": ("{BUILD_URL}",),
        },
        _jenkins,
    ),
    System(
        "buildkite",
        "BUILDKITE",
        ("{BUILDKITE_ORGANIZATION_SLUG}/{BUILDKITE_PIPELINE_SLUG}", "{BUILDKITE_PIPELINE_SLUG}"),
        {
            "repository": ("{BUILDKITE_REPO}",),
            "revision": ("{BUILDKITE_COMMIT}",),
            "ref": ("{BUILDKITE_TAG}", "{BUILDKITE_BRANCH}"),
            "change": ("{BUILDKITE_PULL_REQUEST}",),
        },
        {
            "pipeline": ("{BUILDKITE_PIPELINE_SLUG}",),
            "id": ("{BUILDKITE_BUILD_ID}", "{BUILDKITE_BUILD_NUMBER}"),
            "job": ("{BUILDKITE_STEP_KEY}", "{BUILDKITE_LABEL}", "{BUILDKITE_JOB_ID}"),
            "url": ("{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}", "{BUILDKITE_BUILD_URL}"),
        },
        _buildkite,
    ),
    System(
        "circleci",
        "CIRCLECI",
        ("{CIRCLE_PROJECT_USERNAME}/{CIRCLE_PROJECT_REPONAME}", "{CIRCLE_PROJECT_REPONAME}"),
        {
            "repository": ("{CIRCLE_REPOSITORY_URL}",),
            "revision": ("{CIRCLE_SHA1}",),
            "ref": ("{CIRCLE_TAG}", "{CIRCLE_BRANCH}"),
            "change": ("{CIRCLE_PR_NUMBER}", "{CIRCLE_PULL_REQUEST}"),
        },
        {
            "id": ("{CIRCLE_WORKFLOW_ID}", "{CIRCLE_BUILD_NUM}"),
            "job": ("{CIRCLE_JOB}",),
            "url": ("{CIRCLE_BUILD_URL}",),
        },
    ),
    System(
        "azure",
        "TF_BUILD",
        (
            "{SYSTEM_TEAMPROJECT}/{BUILD_DEFINITIONNAME}",
            "{SYSTEM_TEAMPROJECT}/{SYSTEM_DEFINITIONNAME}",
            "{SYSTEM_TEAMPROJECT}",
        ),
        {
            "repository": ("{BUILD_REPOSITORY_URI}",),
            # BUILD_SOURCEVERSION is the merge of a pull request.
            "revision": ("{SYSTEM_PULLREQUEST_SOURCECOMMITID}", "{BUILD_SOURCEVERSION}"),
            "ref": ("{SYSTEM_PULLREQUEST_SOURCEBRANCH}", "{BUILD_SOURCEBRANCH}"),
            "change": ("{SYSTEM_PULLREQUEST_PULLREQUESTNUMBER}", "{SYSTEM_PULLREQUEST_PULLREQUESTID}"),
        },
        {
            "pipeline": ("{BUILD_DEFINITIONNAME}", "{SYSTEM_DEFINITIONNAME}"),
            "id": ("{BUILD_BUILDID}",),
            "job": ("{SYSTEM_JOBNAME}", "{AGENT_JOBNAME}"),
            "attempt": ("{SYSTEM_JOBATTEMPT}",),
            "url": ("{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",),
        },
    ),
    System(
        "bitbucket",
        "BITBUCKET_BUILD_NUMBER",
        ("{BITBUCKET_REPO_FULL_NAME}",),
        {
            "repository": ("{BITBUCKET_GIT_HTTP_ORIGIN}",),
            "revision": ("{BITBUCKET_COMMIT}",),
            "ref": ("{BITBUCKET_TAG}", "{BITBUCKET_BRANCH}"),
            "base_revision": ("{BITBUCKET_PR_DESTINATION_COMMIT}",),
            "change": ("{BITBUCKET_PR_ID}",),
        },
        {
            "id": ("{BITBUCKET_BUILD_NUMBER}",),
            "job": ("{BITBUCKET_STEP_UUID}",),
            "attempt": ("{BITBUCKET_STEP_RUN_NUMBER}",),
            "url": ("{BITBUCKET_GIT_HTTP_ORIGIN}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",),
        },
    ),
    System(
        "teamcity",
        "TEAMCITY_VERSION",
        ("{TEAMCITY_PROJECT_NAME}/{TEAMCITY_BUILDCONF_NAME}", "{TEAMCITY_PROJECT_NAME}"),
        {"revision": ("{BUILD_VCS_NUMBER}",)},
        {
            "pipeline": ("{TEAMCITY_BUILDCONF_NAME}",),
            "id": ("{BUILD_NUMBER}",),
            "url": ("{BUILD_URL}",),
        },
    ),
    System(
        "codebuild",
        "CODEBUILD_BUILD_ID",
        ("{CODEBUILD_BUILD_ID}",),
        {
            "repository": ("{CODEBUILD_SOURCE_REPO_URL}",),
            "revision": ("{CODEBUILD_RESOLVED_SOURCE_VERSION}",),
            "ref": ("{CODEBUILD_WEBHOOK_HEAD_REF}",),
        },
        {
            "id": ("{CODEBUILD_BUILD_ID}",),
            "url": ("{CODEBUILD_BUILD_URL}",),
        },
        _codebuild,
    ),
    System(
        "travis",
        "TRAVIS",
        ("{TRAVIS_REPO_SLUG}",),
        {
            # TRAVIS_COMMIT is the merge of a pull request.
            "revision": ("{TRAVIS_PULL_REQUEST_SHA}", "{TRAVIS_COMMIT}"),
            "ref": ("{TRAVIS_PULL_REQUEST_BRANCH}", "{TRAVIS_TAG}", "{TRAVIS_BRANCH}"),
            "change": ("{TRAVIS_PULL_REQUEST}",),
        },
        {
            "id": ("{TRAVIS_BUILD_ID}",),
            "job": ("{TRAVIS_JOB_NAME}", "{TRAVIS_JOB_NUMBER}"),
            "url": ("{TRAVIS_JOB_WEB_URL}", "{TRAVIS_BUILD_WEB_URL}"),
        },
    ),
    System(
        "drone",
        "DRONE",
        ("{DRONE_REPO}",),
        {
            "repository": ("{DRONE_REPO_LINK}", "{DRONE_GIT_HTTP_URL}"),
            "revision": ("{DRONE_COMMIT_SHA}", "{DRONE_COMMIT}"),
            "ref": ("{DRONE_SOURCE_BRANCH}", "{DRONE_TAG}", "{DRONE_BRANCH}"),
            "change": ("{DRONE_PULL_REQUEST}",),
        },
        {
            "id": ("{DRONE_BUILD_NUMBER}",),
            "job": ("{DRONE_STAGE_NAME}",),
            "url": ("{DRONE_BUILD_LINK}",),
        },
    ),
)
