"""What the pages about CI systems tell teams to paste works: each line is run, with that system's own variables."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.conftest import Operator
from tests.docs.generate import DOCS
from tests.docs.test_pages import blocks
from tests.integration.processes import configure, started

GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/widget",
    "GITHUB_SHA": "1111111111111111111111111111111111111111",
    "GITHUB_REF": "refs/pull/7/merge",
    "GITHUB_REF_NAME": "7/merge",
    "GITHUB_HEAD_REF": "feature",
    "GITHUB_EVENT_NAME": "pull_request",
    "GITHUB_WORKFLOW": "ci",
    "GITHUB_RUN_ID": "4711",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_JOB": "build",
}
GITLAB = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_PROJECT_PATH": "acme/widget",
    "CI_PROJECT_URL": "https://gitlab.com/acme/widget",
    "CI_COMMIT_SHA": "2222222222222222222222222222222222222222",
    "CI_COMMIT_SHORT_SHA": "22222222",
    "CI_COMMIT_REF_NAME": "main",
    "CI_COMMIT_TIMESTAMP": "2026-11-23T08:00:00+01:00",
    "CI_PIPELINE_ID": "4711",
    "CI_JOB_NAME": "build",
    "CI_JOB_URL": "https://gitlab.com/acme/widget/-/jobs/1",
}
JENKINS = {
    "JENKINS_URL": "http://jenkins.example/",
    "JOB_NAME": "widget/main",
    "BUILD_NUMBER": "12",
    "BUILD_TAG": "jenkins-widget-main-12",
    "BUILD_URL": "http://jenkins.example/job/widget/job/main/12/",
    "STAGE_NAME": "Build",
    "BRANCH_NAME": "main",
    "GIT_COMMIT": "3333333333333333333333333333333333333333",
    "GIT_URL": "https://git.example/acme/widget.git",
}
HEAD = "9999999999999999999999999999999999999999"
STAND_INS = {
    "npm": 'echo "npm $*"; [ "$*" = "run build" ] && exit "${NPM_EXIT:-0}"; exit 0',
    "pip": "exit 0",
}
SCRIPTS = {"deploy.sh": 'echo "deploying to $1"', "smoke-test.sh": 'exit "${SMOKE_EXIT:-0}"'}


def github(page: str) -> Iterator[str]:
    """The lines of steps; each is a shell of its own. Those that were skipped, or are GitHub's own, are left out."""
    for block in blocks(page):
        if block.language == "yaml":
            for job in yaml.safe_load(block.text)["jobs"].values():
                yield from (step["run"] for step in job["steps"] if "run" in step)


def gitlab(page: str) -> Iterator[str]:
    for block in blocks(page):
        if block.language == "yaml":
            jobs = yaml.safe_load(block.text)
            common = jobs.pop(".bers")
            for job in jobs.values():
                yield "\n".join([*common["before_script"], *job["script"]])
                yield "\n".join(common["after_script"])


def jenkins(page: str) -> Iterator[str]:
    for block in blocks(page):
        if block.language == "groovy":
            yield from re.findall(r"^\s*sh '(.*)'$", block.text, re.MULTILINE)


PAGES = {"github-actions": (github, GITHUB), "gitlab-ci": (gitlab, GITLAB), "jenkins": (jenkins, JENKINS)}


@pytest.fixture
def server(tmp_path: Path) -> Generator[Operator]:
    (tmp_path / "server").mkdir()
    configure(tmp_path / "server")
    with started(tmp_path / "server") as server:
        yield server


def run_lines(name: str, url: str, project: Path, **more: str) -> list[tuple[str, int]]:
    """Run the lines of a page in a project, as long as none fails; each with its exit code."""
    project.mkdir()
    binaries = project.parent / "bin"
    binaries.mkdir()
    program = "import sys; from bers_emit.cli import main; sys.exit(main())"
    stand_ins = {**STAND_INS, "bers-emit": f'exec {shlex.quote(sys.executable)} -c {shlex.quote(program)} "$@"'}
    for folder, files in ((binaries, stand_ins), (project, SCRIPTS)):
        for file, text in files.items():
            (folder / file).write_text(f"#!/bin/sh\n{text}\n")
            (folder / file).chmod(0o755)
    (project / "event.json").write_text(json.dumps({"pull_request": {"number": 7, "head": {"sha": HEAD}}}))
    read, variables = PAGES[name]
    environ = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("BERS_", "GITHUB_", "CI"))},
        **variables,
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "BERS_EMIT_URL": url,
        "BERS_EMIT_SPOOL": str(project / "spool"),
        "GITHUB_EVENT_PATH": str(project / "event.json"),
        **more,
    }
    said: list[tuple[str, int]] = []
    for line in read((DOCS / "how-to" / "emit" / f"{name}.md").read_text(encoding="utf-8")):
        text = line.replace("${{ steps.smoke.outcome }}", "failure" if more.get("SMOKE_EXIT") else "success")
        assert "${{" not in text
        done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", text], cwd=project, env=environ, check=False)
        said.append((line, done.returncode))
    if url:  # What a busy machine left no time for is sent by whoever comes next.
        subprocess.run(["bers-emit", "flush", "--deadline", "30s"], cwd=project, env=environ, check=True)
    return said


def records(server: Operator, type: str, least: int = 1) -> list[Mapping[str, Any]]:
    path = f"records?type={type}&limit=50"
    found: list[Mapping[str, Any]] = server.until(path, lambda rows: len(rows) >= least, seconds=20)
    return found


@pytest.mark.parametrize(
    ("name", "run", "revision"),
    [
        ("github-actions", {"system": "github", "id": "4711", "job": "build", "attempt": 2}, HEAD),
        ("gitlab-ci", {"system": "gitlab", "id": "4711", "job": "build"}, GITLAB["CI_COMMIT_SHA"]),
        ("jenkins", {"system": "jenkins", "id": "12", "job": "Build"}, JENKINS["GIT_COMMIT"]),
    ],
)
def test_every_line_of_a_page_runs_and_is_reported(
    name: str, run: Mapping[str, Any], revision: str, server: Operator, tmp_path: Path
) -> None:
    said = run_lines(name, server.url("/"), tmp_path / "project")
    assert len(said) >= 5
    assert [(line, code) for line, code in said if code] == []
    [build], [suite] = records(server, "build.finished"), records(server, "testsuiterun.finished")
    deployments = records(server, "deployment.finished", 2)
    assert {one["environment"] for one in deployments} == {"staging", "production"}
    for event in (build, suite, *deployments):
        assert event["outcome"] == "success"
        assert {key: event["run"].get(key) for key in run} == run
        assert event["vcs"]["revision"] == revision
    [validated] = records(server, "deployment.validated")
    assert (validated["service"], validated["outcome"]) == ("chat", "success")
    assert server.data("metrics/build_performance")["count"] == 1


@pytest.mark.parametrize("name", list(PAGES))
def test_a_build_that_fails_fails_the_step_with_its_code_and_is_reported(
    name: str, server: Operator, tmp_path: Path
) -> None:
    said = run_lines(name, server.url("/"), tmp_path / "project", NPM_EXIT="3")
    assert next(code for line, code in said if "--kind build" in line) == 3
    [build] = records(server, "build.finished")
    assert (build["outcome"], build["reason"]) == ("failure", "exit code 3")


@pytest.mark.parametrize("name", list(PAGES))
def test_without_the_variables_everything_runs_and_nothing_is_kept(name: str, tmp_path: Path) -> None:
    said = run_lines(name, "", tmp_path / "project")
    # A gate that is told to fail closed does so where nobody answers; a strict flush says that nothing was sent.
    assert all((code != 0) == bool(re.search("--fail-closed|--strict", line)) for line, code in said)
    assert not (tmp_path / "project" / "spool").exists()


def test_a_validation_that_failed_closes_the_gate(server: Operator, tmp_path: Path) -> None:
    said = run_lines("github-actions", server.url("/"), tmp_path / "project", SMOKE_EXIT="1")
    assert next(code for line, code in said if " gate " in line) == 1
    assert server.data("gate/production?service=chat")["state"] == "closed"
