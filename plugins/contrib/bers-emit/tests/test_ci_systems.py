"""What events say of the CI system that they come from: the project, the right commit, and the run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bers_emit import Emitter
from bers_emit.ci_systems import SYSTEMS
from bers_emit.context import Surroundings, in_ci, source
from bers_emit.testing import Receiver

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "org/app",
    "GITHUB_SHA": "merge",
    "GITHUB_REF": "refs/pull/7/merge",
    "GITHUB_REF_NAME": "7/merge",
    "GITHUB_RUN_ID": "99",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_JOB": "build",
    "GITHUB_WORKFLOW": "CI",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_PROJECT_PATH": "group/sub/app",
    "CI_PROJECT_URL": "https://gitlab.com/group/sub/app",
    "CI_COMMIT_SHA": "c1",
    "CI_COMMIT_REF_NAME": "main",
    "CI_COMMIT_TIMESTAMP": "2026-11-23T08:00:00+01:00",
    "CI_PIPELINE_ID": "5",
    "CI_JOB_NAME": "build",
    "CI_JOB_URL": "https://gitlab.com/group/sub/app/-/jobs/6",
}
MERGED = {
    **GITLAB,
    "CI_COMMIT_SHA": "merge",
    "CI_COMMIT_REF_NAME": "refs/merge-requests/7/merge",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "head",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature",
    "CI_MERGE_REQUEST_DIFF_BASE_SHA": "base",
}
JENKINS = {
    "JENKINS_URL": "http://j/",
    "JOB_NAME": "my job/PR-7",
    "BUILD_NUMBER": "12",
    "BUILD_URL": "http://j/job/12/",
    "STAGE_NAME": "Build",
    "GIT_COMMIT": "c1",
    "GIT_BRANCH": "origin/main",
    "GIT_URL": "https://user:pa55word@git.example/app.git",
}
BUILDKITE = {
    "BUILDKITE": "true",
    "BUILDKITE_ORGANIZATION_SLUG": "o",
    "BUILDKITE_PIPELINE_SLUG": "p",
    "BUILDKITE_REPO": "git@github.com:o/p.git",
    "BUILDKITE_COMMIT": "c1",
    "BUILDKITE_BRANCH": "feature",
    "BUILDKITE_PULL_REQUEST": "7",
    "BUILDKITE_BUILD_ID": "uuid",
    "BUILDKITE_STEP_KEY": "build-the-widget",
    "BUILDKITE_JOB_ID": "j1",
    "BUILDKITE_BUILD_URL": "https://buildkite.com/o/p/builds/3",
    "BUILDKITE_RETRY_COUNT": "1",
}
CIRCLECI = {
    "CIRCLECI": "true",
    "CIRCLE_PROJECT_USERNAME": "o",
    "CIRCLE_PROJECT_REPONAME": "r",
    "CIRCLE_REPOSITORY_URL": "https://github.com/o/r",
    "CIRCLE_SHA1": "c1",
    "CIRCLE_BRANCH": "main",
    "CIRCLE_WORKFLOW_ID": "w1",
    "CIRCLE_JOB": "build",
    "CIRCLE_BUILD_URL": "https://circleci.com/gh/o/r/4",
}
AZURE = {
    "TF_BUILD": "True",
    "SYSTEM_TEAMPROJECT": "t",
    "BUILD_DEFINITIONNAME": "b",
    "SYSTEM_COLLECTIONURI": "https://dev.azure.com/o/",
    "BUILD_REPOSITORY_URI": "https://dev.azure.com/o/t/_git/r",
    "BUILD_SOURCEVERSION": "merge",
    "BUILD_SOURCEBRANCH": "refs/pull/7/merge",
    "SYSTEM_PULLREQUEST_SOURCECOMMITID": "head",
    "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/feature",
    "SYSTEM_PULLREQUEST_PULLREQUESTID": "7",
    "BUILD_BUILDID": "44",
    "SYSTEM_JOBNAME": "Job",
    "SYSTEM_JOBATTEMPT": "3",
}
BITBUCKET = {
    "BITBUCKET_BUILD_NUMBER": "7",
    "BITBUCKET_REPO_FULL_NAME": "o/r",
    "BITBUCKET_GIT_HTTP_ORIGIN": "https://bitbucket.org/o/r",
    "BITBUCKET_COMMIT": "c1",
    "BITBUCKET_BRANCH": "feature",
    "BITBUCKET_PR_ID": "9",
    "BITBUCKET_PR_DESTINATION_COMMIT": "base",
    "BITBUCKET_STEP_UUID": "{s1}",
    "BITBUCKET_STEP_RUN_NUMBER": "1",
}
TEAMCITY = {
    "TEAMCITY_VERSION": "2026.1",
    "TEAMCITY_PROJECT_NAME": "t",
    "TEAMCITY_BUILDCONF_NAME": "Build All",
    "BUILD_NUMBER": "8",
    "BUILD_VCS_NUMBER": "c1",
    "BUILD_URL": "https://tc/build/8",
}
CODEBUILD = {
    "CODEBUILD_BUILD_ID": "app:0f5a",
    "CODEBUILD_SOURCE_REPO_URL": "https://github.com/o/r.git",
    "CODEBUILD_RESOLVED_SOURCE_VERSION": "c1",
    "CODEBUILD_WEBHOOK_HEAD_REF": "refs/heads/feature",
    "CODEBUILD_WEBHOOK_TRIGGER": "pr/7",
    "CODEBUILD_BUILD_URL": "https://aws/build",
}
TRAVIS = {
    "TRAVIS": "true",
    "TRAVIS_REPO_SLUG": "o/r",
    "TRAVIS_COMMIT": "merge",
    "TRAVIS_PULL_REQUEST": "7",
    "TRAVIS_PULL_REQUEST_SHA": "head",
    "TRAVIS_PULL_REQUEST_BRANCH": "feature",
    "TRAVIS_BRANCH": "main",
    "TRAVIS_BUILD_ID": "3",
    "TRAVIS_JOB_NUMBER": "3.1",
    "TRAVIS_BUILD_WEB_URL": "https://travis/3",
}
DRONE = {
    "DRONE": "true",
    "DRONE_REPO": "o/r",
    "DRONE_REPO_LINK": "https://git/o/r",
    "DRONE_COMMIT_SHA": "c1",
    "DRONE_BRANCH": "main",
    "DRONE_BUILD_NUMBER": "5",
    "DRONE_STAGE_NAME": "build",
    "DRONE_BUILD_LINK": "https://drone/5",
}

CASES: list[tuple[dict[str, str], str, dict[str, Any], dict[str, Any]]] = [
    (
        GITHUB,
        "/ci/github/org/app",
        {"repository": "https://github.com/org/app", "revision": "merge", "ref": "7/merge"},
        {
            "system": "github",
            "pipeline": "CI",
            "id": "99",
            "job": "build",
            "attempt": 2,
            "url": "https://github.com/org/app/actions/runs/99",
        },
    ),
    (
        GITLAB,
        "/ci/gitlab/group/sub/app",
        {
            "repository": "https://gitlab.com/group/sub/app",
            "revision": "c1",
            "ref": "main",
            "committed_at": "2026-11-23T08:00:00+01:00",
        },
        {"system": "gitlab", "id": "5", "job": "build", "url": "https://gitlab.com/group/sub/app/-/jobs/6"},
    ),
    (
        MERGED,
        "/ci/gitlab/group/sub/app",
        {
            "repository": "https://gitlab.com/group/sub/app",
            "revision": "head",
            "ref": "feature",
            "base_revision": "base",
            "change": "7",
        },
        {"system": "gitlab", "id": "5", "job": "build", "url": "https://gitlab.com/group/sub/app/-/jobs/6"},
    ),
    (
        JENKINS,
        "/ci/jenkins/my%20job/PR-7",
        {"repository": "https://***@git.example/app.git", "revision": "c1", "ref": "main"},
        {"system": "jenkins", "pipeline": "my job/PR-7", "id": "12", "job": "Build", "url": "http://j/job/12/"},
    ),
    (
        {
            **JENKINS,
            "CHANGE_ID": "7",
            "CHANGE_BRANCH": "feature",
            "ghprbActualCommit": "head",
            "GIT_URL": "https://g/a",
        },
        "/ci/jenkins/my%20job/PR-7",
        {"repository": "https://g/a", "revision": "head", "ref": "feature", "change": "7"},
        {"system": "jenkins", "pipeline": "my job/PR-7", "id": "12", "job": "Build", "url": "http://j/job/12/"},
    ),
    (
        BUILDKITE,
        "/ci/buildkite/o/p",
        {"repository": "git@github.com:o/p.git", "revision": "c1", "ref": "feature", "change": "7"},
        {
            "system": "buildkite",
            "pipeline": "p",
            "id": "uuid",
            "job": "build-the-widget",
            "attempt": 2,
            "url": "https://buildkite.com/o/p/builds/3#j1",
        },
    ),
    (
        {**BUILDKITE, "BUILDKITE_COMMIT": "HEAD", "BUILDKITE_PULL_REQUEST": "false", "BUILDKITE_RETRY_COUNT": "0"},
        "/ci/buildkite/o/p",
        {"repository": "git@github.com:o/p.git", "ref": "feature"},
        {
            "system": "buildkite",
            "pipeline": "p",
            "id": "uuid",
            "job": "build-the-widget",
            "url": "https://buildkite.com/o/p/builds/3#j1",
        },
    ),
    (
        CIRCLECI,
        "/ci/circleci/o/r",
        {"repository": "https://github.com/o/r", "revision": "c1", "ref": "main"},
        {"system": "circleci", "id": "w1", "job": "build", "url": "https://circleci.com/gh/o/r/4"},
    ),
    (
        AZURE,
        "/ci/azure/t/b",
        {"repository": "https://dev.azure.com/o/t/_git/r", "revision": "head", "ref": "feature", "change": "7"},
        {
            "system": "azure",
            "pipeline": "b",
            "id": "44",
            "job": "Job",
            "attempt": 3,
            "url": "https://dev.azure.com/o/t/_build/results?buildId=44",
        },
    ),
    (
        BITBUCKET,
        "/ci/bitbucket/o/r",
        {
            "repository": "https://bitbucket.org/o/r",
            "revision": "c1",
            "ref": "feature",
            "base_revision": "base",
            "change": "9",
        },
        {"system": "bitbucket", "id": "7", "job": "{s1}", "url": "https://bitbucket.org/o/r/pipelines/results/7"},
    ),
    (
        TEAMCITY,
        "/ci/teamcity/t/Build%20All",
        {"revision": "c1"},
        {"system": "teamcity", "pipeline": "Build All", "id": "8", "url": "https://tc/build/8"},
    ),
    (
        CODEBUILD,
        "/ci/codebuild/app",
        {"repository": "https://github.com/o/r.git", "revision": "c1", "ref": "feature", "change": "7"},
        {"system": "codebuild", "id": "app:0f5a", "url": "https://aws/build"},
    ),
    (
        TRAVIS,
        "/ci/travis/o/r",
        {"revision": "head", "ref": "feature", "change": "7"},
        {"system": "travis", "id": "3", "job": "3.1", "url": "https://travis/3"},
    ),
    (
        DRONE,
        "/ci/drone/o/r",
        {"repository": "https://git/o/r", "revision": "c1", "ref": "main"},
        {"system": "drone", "id": "5", "job": "build", "url": "https://drone/5"},
    ),
]


@pytest.mark.usefixtures("usual_budget")
@pytest.mark.parametrize(("variables", "source", "vcs", "run"), CASES)
def test_each_event_tells_commit_and_run(
    variables: dict[str, str],
    source: str,
    vcs: dict[str, Any],
    run: dict[str, Any],
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with Emitter(receiver.url) as emitter:
        emitter.emit("build.started")
        assert emitter.budget == 3.0
        assert emitter.flush(60)
    [event] = receiver.events
    assert (event["source"], event["vcs"], event["run"]) == (source, vcs, run)


def test_every_system_that_is_known_is_in_these_cases() -> None:
    told = [run["system"] for _, _, _, run in CASES]
    assert {system.name for system in SYSTEMS} == set(told)
    for system in SYSTEMS:
        assert source({system.marker: "x"}).startswith(f"/ci/{system.name}/")  # It is in the list of markers, too.


@pytest.mark.usefixtures("usual_budget")
def test_outside_of_ci_an_event_tells_neither(receiver: Receiver) -> None:
    with Emitter(receiver.url) as emitter:
        emitter.emit("build.started")
        assert emitter.budget == 1.0
        assert emitter.flush(60)
    assert not {"vcs", "run"} & set(receiver.events[0])
    assert not in_ci({})
    assert in_ci({"CI": "true"})
    assert in_ci({"TF_BUILD": "True"})
    assert not in_ci({"CI": "false"})


@pytest.mark.parametrize(
    ("name", "document", "expected"),
    [
        (
            "pull_request",
            {"pull_request": {"number": 7, "head": {"sha": "head"}, "base": {"sha": "base"}}},
            {"revision": "head", "base_revision": "base", "change": "7", "ref": "feature"},
        ),
        (
            "pull_request_target",
            {"pull_request": {"number": 7, "head": {"sha": "head"}}},
            {"revision": "head", "change": "7", "ref": "feature"},
        ),
        (
            "workflow_run",
            {"workflow_run": {"head_sha": "other", "head_branch": "b"}},
            {"revision": "other", "ref": "b"},
        ),
        ("workflow_run", {}, {"ref": "feature"}),
        ("push", {"pull_request": {"head": {"sha": "not this"}}}, {"revision": "merge", "ref": "feature"}),
        ("pull_request", [1], {"revision": "merge", "ref": "feature"}),
        ("pull_request", {"pull_request": {"head": {"sha": 7}}}, {"revision": "merge", "ref": "feature"}),
    ],
)
def test_on_github_the_event_knows_the_head_of_a_pull_request(
    name: str, document: object, expected: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "event.json").write_text(json.dumps(document))
    more = {"GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "GITHUB_HEAD_REF": "feature"}
    fields: dict[str, object] = {}
    Surroundings({**GITHUB, **more}).complete(fields)
    assert fields["vcs"] == {"repository": "https://github.com/org/app", **expected}


@pytest.mark.parametrize("content", [None, "", "{", "\0", "[" * 100_000])
def test_an_event_file_that_says_nothing_spoils_nothing(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "event.json"
    if content is not None:
        path.write_text(content)
    fields: dict[str, object] = {}
    Surroundings({**GITHUB, "GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(path)}).complete(fields)
    assert fields["run"]


def completed(**fields: object) -> dict[str, object]:
    Surroundings({**GITLAB, "BERS_CHAIN": "c", "TRACEPARENT": f"00-{'a' * 32}-{'b' * 16}-01"}).complete(fields)
    return fields


def test_what_is_said_goes_before_what_is_found() -> None:
    same = completed(vcs={"revision": "c1", "change": "8"}, run={"job": "other", "id": None}, chain="mine")
    assert isinstance(same["vcs"], dict) and isinstance(same["run"], dict)
    assert (same["vcs"]["ref"], same["vcs"]["change"]) == ("main", "8")
    assert (same["run"]["id"], same["run"]["job"]) == ("5", "other")
    assert same["chain"] == "mine"
    assert completed()["chain"] == "c"
    assert completed()["traceparent"] == f"00-{'a' * 32}-{'b' * 16}-01"
    # Another commit has another branch and another time; another run has another address.
    other = completed(vcs={"revision": "c9"}, run={"id": "77"})
    assert other["vcs"] == {"repository": "https://gitlab.com/group/sub/app", "revision": "c9"}
    assert other["run"] == {"system": "gitlab", "id": "77"}
    assert completed(vcs="odd")["vcs"] == "odd"


@pytest.mark.parametrize("odd", ["", "x", f"00-{'A' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'b' * 16}-01-more"])
def test_an_odd_trace_is_none(odd: str) -> None:
    fields: dict[str, object] = {}
    Surroundings({"TRACEPARENT": odd}).complete(fields)
    assert fields == {}


def test_a_pipe_in_the_place_of_the_event_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "event.json")
    fields: dict[str, object] = {}
    more = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(tmp_path / "event.json")}
    Surroundings({**GITHUB, **more}).complete(fields)
    assert fields["run"]
