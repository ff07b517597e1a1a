"""What Node says of an event is what Python says: of where it comes from, and of what nobody may read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bers_emit import Emitter, folder
from bers_emit.testing import Receiver
from tests.emit_js.node import Node, lines

GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://git.example",
    "GITHUB_REPOSITORY": "acme/app",
    "GITHUB_SHA": "5ha",
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_WORKFLOW": "ci",
    "GITHUB_RUN_ID": "4711",
    "GITHUB_JOB": "test",
    "GITHUB_RUN_ATTEMPT": "2",
}
SURROUNDINGS: dict[str, dict[str, str]] = {
    "host": {},
    "github": GITHUB,
    "github_pull_request": {**GITHUB, "GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": "event.json"},
    "github_workflow_run": {**GITHUB, "GITHUB_EVENT_NAME": "workflow_run", "GITHUB_EVENT_PATH": "event.json"},
    "github_no_event": {**GITHUB, "GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": "nothing.json"},
    "gitlab": {
        "GITLAB_CI": "true",
        "CI_PROJECT_PATH": "acme/größe x",
        "CI_COMMIT_SHA": "5ha",
        "CI_PIPELINE_ID": "7",
        "CI_COMMIT_TIMESTAMP": "2026-01-01T00:00:00Z",
        "CI_JOB_NAME": "test",
        "CI_COMMIT_REF_NAME": "main",
    },
    "gitlab_merge": {
        "GITLAB_CI": "true",
        "CI_PROJECT_PATH": "acme/app",
        "CI_COMMIT_SHA": "5ha",
        "CI_MERGE_REQUEST_IID": "3",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "head",
        "CI_COMMIT_TIMESTAMP": "2026-01-01T00:00:00Z",
    },
    "jenkins": {
        "JENKINS_URL": "http://ci/",
        "JOB_NAME": "app/main",
        "GIT_URL": "https://me:pass@git.example/app",
        "GIT_COMMIT": "5ha",
        "GIT_BRANCH": "origin/main",
        "BUILD_NUMBER": "12",
        "CHANGE_ID": "5",
    },
    "buildkite": {
        "BUILDKITE": "true",
        "BUILDKITE_ORGANIZATION_SLUG": "acme",
        "BUILDKITE_PIPELINE_SLUG": "app",
        "BUILDKITE_COMMIT": "HEAD",
        "BUILDKITE_PULL_REQUEST": "false",
        "BUILDKITE_RETRY_COUNT": "1",
        "BUILDKITE_BUILD_ID": "b-1",
        "BUILDKITE_BUILD_URL": "https://b.example/1",
        "BUILDKITE_JOB_ID": "j-1",
    },
    "circleci": {"CIRCLECI": "true", "CIRCLE_PROJECT_REPONAME": "app", "CIRCLE_SHA1": "5ha", "CIRCLE_PR_NUMBER": "8"},
    "azure": {
        "TF_BUILD": "True",
        "SYSTEM_TEAMPROJECT": "acme",
        "BUILD_DEFINITIONNAME": "app",
        "SYSTEM_JOBATTEMPT": "1",
        "BUILD_SOURCEBRANCH": "refs/tags/v1",
        "BUILD_SOURCEVERSION": "5ha",
        "BUILD_BUILDID": "9",
    },
    "bitbucket": {
        "BITBUCKET_BUILD_NUMBER": "7",
        "BITBUCKET_REPO_FULL_NAME": "acme/app",
        "BITBUCKET_COMMIT": "5ha",
        "BITBUCKET_STEP_RUN_NUMBER": "3",
        "BITBUCKET_GIT_HTTP_ORIGIN": "https://bb.example/acme/app",
    },
    "teamcity": {"TEAMCITY_VERSION": "2026", "TEAMCITY_PROJECT_NAME": "acme", "BUILD_NUMBER": "1"},
    "codebuild": {
        "CODEBUILD_BUILD_ID": "app:123",
        "CODEBUILD_SOURCE_VERSION": "pr/17",
        "CODEBUILD_RESOLVED_SOURCE_VERSION": "5",
    },
    "travis": {
        "TRAVIS": "true",
        "TRAVIS_REPO_SLUG": "acme/app",
        "TRAVIS_PULL_REQUEST": "false",
        "TRAVIS_COMMIT": "5ha",
    },
    "drone": {"DRONE": "true", "DRONE_REPO": "acme/app", "DRONE_COMMIT": "5ha", "DRONE_BUILD_NUMBER": "2"},
    "switched_off": {"GITHUB_ACTIONS": "false", "CI": "0"},
    "inside_a_run": {
        "BERS_PARENT": "run-7",
        "BERS_CHAIN": "run-1",
        "TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    },
    "no_trace": {"TRACEPARENT": "00-XYZ"},
}
SECRETS = {
    "DEPLOY_TOKEN": "hunter-22",
    "SHORT_KEY": "abc",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE0",
    "TLS_KEY_FILE": "/etc/tls.key",
    "STAGE_SECRET": "production",
    "LONGER_PASSWORD": "hunter-22-and-more",
}
TEXTS = [
    "hunter-22 and hunter-22-and-more, abc, AKIDEXAMPLE0 in /etc/tls.key for production",
    "https://me:pass@host/path?x=1#y and postgres://u:p@db/x",
    "ghp_0123456789abcdefghijklmn glpat-0123456789abcdefgh xoxb-0123456789-abc AKIAIOSFODNN7EXAMPLE",
    "npm_0123456789abcdefghijklmnopqrstuvwxyz bers_0123abcd_0123456789abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl and xeyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln",
    "Authorization: Bearer abcdefgh.ijkl== and bearer short",
    "curl 'https://h/?api_key=abcdef&token=xy&passwd=12345;' --password=geheim1 Secret=s3cr3t,",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter",
    "-----BEGIN PRIVATE KEY-----\nMIIE without an end",
    "nothing to see: key, token, secret",
]
NAMES = [
    "password",
    "apiKey",
    "api_key",
    "monkey",
    "keyboard",
    "accessTokens",
    "PRIVATE-KEY",
    "tokens_used",
    "Authorization",
    "cookie",
    "x-cookie",
    "rsaPassphrase",
    "mytoken",
    "my.token",
    "key",
    "publickey",
    "Private_Key",
]


def both(
    fields: dict[str, Any], node: Node, environ: dict[str, str], patch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    """One event as Node and as Python leave it, without what no two events have in common."""
    folder = node.folder
    for name, value in environ.items():
        patch.setenv(name, value)
    patch.chdir(folder)
    program = "import { emit } from '@bers/emit'; emit('a.b', JSON.parse(process.argv[2]))"
    node.run(program, json.dumps(fields), BERS_EMIT_SPOOL=str(folder / "of_node"))
    with Emitter("http://127.0.0.1:9", spool=str(folder / "of_python"), budget=0) as python:
        python.emit("a.b", **fields)
    found = [dict(line) for name in ("of_node", "of_python") for line in lines(folder / name)]
    for one in found:
        del one["id"], one["time"]
    return found


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_an_event_tells_the_same_of_where_it_comes_from(
    name: str, node: Node, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "pull_request": {"number": 7, "head": {"sha": "c0ffee"}, "base": {"sha": "ba5e"}},
        "workflow_run": {"head_sha": "0ther", "head_branch": "topic"},
    }
    (node.folder / "event.json").write_text(json.dumps(told))
    ours, theirs = both({}, node, SURROUNDINGS[name], monkeypatch)
    assert ours == theirs


@pytest.mark.parametrize(
    "fields",
    [
        {"vcs": {"revision": "other"}, "run": {"id": "4711", "job": "mine"}},
        {"vcs": {"revision": None, "ref": "x"}, "run": None, "chain": "mine"},
        {"vcs": "no part", "run": {"id": "1"}},
    ],
    ids=["other", "none", "text"],
)
def test_an_event_that_names_commit_or_run_is_completed_in_the_same_way(
    fields: dict[str, Any], node: Node, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = both(fields, node, {**GITHUB, "BERS_CHAIN": "outer"}, monkeypatch)
    assert ours == theirs


def test_the_same_is_masked(node: Node, nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"reason": "; ".join(TEXTS), "data": {"texts": TEXTS, "names": dict.fromkeys(NAMES, "x")}, "apiKey": 1}
    ours, theirs = both(fields, node, SECRETS, monkeypatch)
    assert ours == theirs
    assert "hunter" not in json.dumps(ours)


@pytest.mark.parametrize("name", ["host", "github", "jenkins", "switched_off"])
def test_the_end_may_cost_as_much(name: str, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BERS_EMIT_BUDGET")
    for variable, value in SURROUNDINGS[name].items():
        monkeypatch.setenv(variable, value)
    told = node.run("import { emitter } from '@bers/emit'; console.log(emitter().budget)")
    assert float(told) == Emitter(None).budget


def test_the_spool_is_in_the_same_place(
    node: Node, nobody: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("BERS_EMIT_SPOOL")
    program = "import { emitter } from '@bers/emit'; console.log(emitter().folder)"
    for environ in ({"XDG_STATE_HOME": str(tmp_path)}, {"XDG_STATE_HOME": "", "HOME": str(tmp_path)}):
        for variable, value in environ.items():
            monkeypatch.setenv(variable, value)
        assert node.run(program).strip() == Emitter(nobody).folder


ANSWERS = {
    "dead": (400, 413, 415, 422),
    # They speak of the key, the address, or the server: somebody mends that, and then the events are welcome.
    "waits": (200, 301, 401, 403, 404, 405, 408, 409, 410, 418, 421, 425, 426, 429, 451, 500, 501, 502, 503, 504),
}


@pytest.mark.parametrize(("status", "end"), [(status, end) for end, statuses in ANSWERS.items() for status in statuses])
def test_an_answer_means_the_same(
    status: int, end: str, node: Node, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One event alone, so that nothing is left to halve; with a Retry-After, so that nobody asks again meanwhile."""
    monkeypatch.setenv("BERS_EMIT_URL", receiver.url)
    receiver.answer(status, {"Retry-After": "60"}, b'{"error": {"message": "so it is"}}', times=99)
    program = """
        import { emitter } from '@bers/emit';
        const e = emitter({ budget: 5 });
        e.emit('a.b', {});
        await e.flush(20);
        console.log(JSON.stringify([e.refused, e.error]));
        process.exit();
    """
    ours = json.loads(node.run(program, BERS_EMIT_SPOOL=str(tmp_path / "of_node")))
    with Emitter(receiver.url, spool=str(tmp_path / "of_python"), budget=0) as python:
        python.emit("a.b")
        python.flush(20)
        theirs = [python.refused, python.error]
    assert ours == theirs
    assert ours[1].startswith(f"{status} ")
    assert ours[1].endswith(": so it is")
    for name in ("of_node", "of_python"):
        told = folder.status(str(tmp_path / name))
        assert (told["waiting"], told["dead"]) == ((0, 1) if end == "dead" else (1, 0))
