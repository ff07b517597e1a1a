"""Tests, builds and deployments that report by themselves: from the command that is run to REST's answer about it."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import Operator

PROGRAM = "def pick(a):\n    if a:\n        return 1\n    return 2\n"
SUITE = """
from program import pick
def test_one(): assert pick(1) == 1
def test_two(): assert pick(1) == 2
def test_three(): pass
def test_four(): pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "test_program.py").write_text(SUITE)
    (tmp_path / ".coveragerc").write_text("[run]\nbranch = true\ninclude = program.py\n")
    return tmp_path


def reported(server: Operator, folder: Path, *arguments: str) -> int:
    command = [sys.executable, "-m", "bers_emit", "run", "--url", f"http://127.0.0.1:{server.ports['control']}"]
    return subprocess.run([*command, *arguments], cwd=folder, check=False, capture_output=True, timeout=120).returncode


def by_kind(data: Any) -> dict[str, float]:
    return {one["labels"]["kind"]: one["current"] for one in data["series"]}


def test_c165_c166_c167_a_run_of_pytest_ends_in_the_metrics(server: Operator, project: Path) -> None:
    pytest.importorskip("coverage")
    tested = [sys.executable, "-m", "coverage", "run", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    script = f"{' '.join(tested)} --junitxml=out/junit.xml; code=$?; {sys.executable} -m coverage json; exit $code"
    options = ["--kind", "test", "--name", "by-run", "--junit", "out/*.xml", "--coverage", "coverage.json"]
    began = time.monotonic()
    assert reported(server, project, *options, "--", "sh", "-c", script) == 1
    wall = (time.monotonic() - began) * 1000
    own = {"labels": {"suite": "by-run"}}

    def took(data: Any) -> list[float]:
        return [one["current"] for one in data["series"] if one["labels"] == own["labels"]]

    data = server.until("metrics/test_suite_duration", took)
    assert 0 < took(data)[0] <= wall
    server.until("metrics/test_failure_rate", lambda data: data["current"] == 25)
    covered = server.until("metrics/test_coverage", lambda data: len(by_kind(data)) == 2)
    assert by_kind(covered) == {"lines": 75.0, "branches": 50.0}
    records = server.until("records?type=testsuiterun.finished", lambda data: [1 for one in data if _is(one, "by-run")])
    [finished] = [one for one in records if _is(one, "by-run")]
    assert finished["data"]["failed"] == ["test_program test_two"]


def _is(record: Mapping[str, Any], suite: str) -> bool:
    labels: Mapping[str, str] = record.get("labels", {})
    return labels.get("suite") == suite


def test_c163_a_build_ends_in_the_sizes_of_its_bundle(server: Operator, project: Path) -> None:
    script = "mkdir dist && printf 'abcabc' > dist/app.0a1b2c3d.js && printf 'x' > dist/app.0a1b2c3d.js.map"
    assert reported(server, project, "--kind", "build", "--bundle", "dist/**", "--", "sh", "-c", script) == 0
    server.until("metrics/bundle_size_total", lambda data: by_kind(data).get("raw") == 6)
    server.until("metrics/bundle_asset_count", lambda data: data["current"] == 1)


def test_c169_a_deployment_of_many_commits_has_the_lead_time_of_each(server: Operator, project: Path) -> None:
    def git(*arguments: str, at: float = 0) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        environ = {"GIT_COMMITTER_DATE": f"{int(at)} +0000", "GIT_AUTHOR_DATE": f"{int(at)} +0000"} if at else {}
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=project, check=True, capture_output=True, text=True,
            env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(project), **environ},
        )  # fmt: skip
        return done.stdout.strip()

    now = time.time()
    git("init", "--quiet")
    for hours in (100, 9, 3, 1):
        git("commit", "--quiet", "--allow-empty", "-m", "x", at=now - hours * 3600)
    options = ["--kind", "deploy", "--name", "leader", "--env", "production", "--base", "HEAD~3"]
    assert reported(server, project, *options, "--", "true") == 0
    hour = 3_600_000
    server.until("metrics/deployment_lead_time", lambda data: data["current"] == pytest.approx(3 * hour, rel=0.02))
    found = server.until("dora?period=1d&service=leader", lambda data: data["metrics"]["changeLeadTime"]["n"])
    assert found["metrics"]["changeLeadTime"]["n"] == 3
    assert found["metrics"]["changeLeadTime"]["value"] == pytest.approx(3 * hour, rel=0.02)


def test_reports_are_taken_from_curl_as_they_are(server: Operator, project: Path) -> None:
    (project / "junit.xml").write_text(
        '<testsuites><testsuite time="4.5"><testcase name="a"/></testsuite></testsuites>'
    )
    url = f"http://127.0.0.1:{server.ports['control']}/api/monitoring/ingest/junit?suite=by-curl"
    command = ["curl", "-sS", "--data-binary", "@junit.xml", url]
    try:
        said = subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        said = httpx2.post(url, content=(project / "junit.xml").read_bytes(), timeout=20).text
    assert '"accepted":1' in said
    server.until(
        "metrics/test_suite_duration",
        lambda data: 4500 in [one["current"] for one in data["series"] if one["labels"].get("suite") == "by-curl"],
    )


def test_a_report_that_comes_by_curl_and_by_the_command_counts_once(server: Operator, project: Path) -> None:
    url = f"http://127.0.0.1:{server.ports['control']}"
    files = {
        "junit": '<testsuites><testsuite time="1.5"><testcase name="both"/></testsuite></testsuites>',
        "coverage": "TN:both\nSF:a.py\nDA:1,1\nDA:2,0\nend_of_record\n",
    }

    def by_http(kind: str, query: str = "") -> tuple[int, int]:
        path = f"{url}/api/monitoring/ingest/{kind}?suite=both{query}"
        data = httpx2.post(path, content=files[kind].encode(), timeout=20).json()["data"]
        return data["accepted"], data["duplicates"]

    def by_command(kind: str, *options: str) -> None:
        (project / kind).write_text(files[kind])
        command = [sys.executable, "-m", "bers_emit", "import", kind, kind, "--suite", "both", "--strict", "--url", url]
        # In whatever job it runs itself, that is not the run that is meant.
        outside = {"PATH": os.environ["PATH"], "BERS_EMIT_SPOOL": str(project / "spool"), "BERS_EMIT_BUDGET": "30"}
        subprocess.run([*command, *options], cwd=project, check=True, timeout=60, env=outside)

    by_command("junit")
    assert by_http("junit") == (0, 1)
    assert by_http("junit", "&run=4711") == (1, 0), "the same content in another run is another one"
    by_command("junit", "--run", "4711")
    assert by_http("coverage", "&run=4711&attempt=2") == (1, 0)
    by_command("coverage", "--run", "4711", "--attempt", "2")
    server.emit({"type": "custom.all-told", "source": "/ci"})
    server.until("records?type=custom.all-told", len)  # What came before it is there as well.
    for type, count in (("testsuiterun.finished", 2), ("coverage.reported", 1)):
        found = server.data(f"records?type={type}")
        assert len([one for one in found if _is(one, "both")]) == count
