"""``bers-emit import``: one event for what a file says, however often it is imported, and never a build that fails."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bers_emit.cli import main
from bers_emit.testing import Receiver

JUNIT = """<testsuites name="unit"><testsuite time="1.5"><testcase name="a" time="1"/>
<testcase name="b"><failure/></testcase></testsuite></testsuites>"""
LCOV = "SF:a.py\nDA:1,1\nDA:2,0\nend_of_record\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "junit.xml").write_text(JUNIT)
    (tmp_path / "lcov.info").write_text(LCOV)
    return tmp_path


def test_importing_again_is_no_second_event(receiver: Receiver, folder: Path) -> None:
    for _ in range(2):
        assert main(["import", "junit", "junit.xml", "--strict"]) == 0
    (folder / "copy.xml").write_text(JUNIT)
    assert main(["import", "junit", "copy.xml", "--strict"]) == 0
    [event] = receiver.of("testsuiterun.finished")
    assert receiver.duplicates == 2
    assert (event["outcome"], event["reason"]) == ("failure", "1 of 2 tests did not pass")
    assert (event["duration_ms"], event["labels"]) == (1500, {"suite": "unit"})
    assert event["measures"] == {
        "tests.total": 2, "tests.passed": 1, "tests.failed": 1, "tests.errored": 0, "tests.skipped": 0,
    }  # fmt: skip
    assert event["data"]["failed"] == ["b"]
    assert not event["id"][-1].isdigit()  # That would be the number of one that counts.


def test_what_tells_imports_of_the_same_content_apart(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    line = ["import", "coverage", "lcov.info", "--strict"]
    for more in ([], ["--run", "1"], ["--run", "2"], ["--run", "2", "--attempt", "2"], ["--suite", "e2e"]):
        assert main([*line, *more]) == 0
    assert len(receiver.of("coverage.reported")) == 5
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for run, attempt in (("8", "1"), ("9", "1"), ("9", "2"), ("9", "2")):
        monkeypatch.setenv("GITHUB_RUN_ID", run)
        monkeypatch.setenv("GITHUB_RUN_ATTEMPT", attempt)
        assert main(line) == 0
    assert len(receiver.of("coverage.reported")) == 8


def test_the_order_of_files_changes_nothing(receiver: Receiver, folder: Path) -> None:
    (folder / "more.xml").write_text(JUNIT.replace('"a"', '"c"'))
    assert main(["import", "junit", "junit.xml", "more.xml", "--strict"]) == 0
    assert main(["import", "junit", "more.xml", "junit.xml", "--strict"]) == 0
    assert main(["import", "junit", "*.xml", "--strict"]) == 0
    [event] = receiver.events
    assert event["measures"]["tests.total"] == 4


def test_an_import_says_what_it_is_told_to_say(receiver: Receiver) -> None:
    line = "import coverage lcov.info --suite e2e --env staging --service s --version 1 --subject r-1 --source /x"
    line += " --label team=web --time 2026-01-31T12:00:00Z --revision abc --committed-at 2026-01-31T11:00:00Z --run 7"
    assert main([*line.split(), "--strict"]) == 0
    [event] = receiver.events
    del event["id"]
    assert event == {
        "type": "coverage.reported",
        "source": "/x",
        "time": "2026-01-31T12:00:00Z",
        "subject": "r-1",
        "environment": "staging",
        "service": "s",
        "version": "1",
        "labels": {"suite": "e2e", "team": "web"},
        "vcs": {"revision": "abc", "committed_at": "2026-01-31T11:00:00Z"},
        "run": {"id": "7"},
        "measures": {"coverage.lines": 50.0},
        "data": {"covered": {"lines": {"covered": 1, "total": 2}}},
    }


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["junit", "nowhere.xml"], "nowhere.xml: there is no such file"),
        (["junit", "*.nothing"], "*.nothing: there is no such file"),
        (["junit", "lcov.info"], "lcov.info: is no XML (syntax error: line 1, column 0)"),
        (["junit", "junit.xml", "lcov.info"], "lcov.info: is no XML (syntax error: line 1, column 0)"),
        (["webpack", "lcov.info"], "lcov.info: is no JSON (Expecting value: line 1 column 1 (char 0))"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line_and_fails_nothing(
    arguments: list[str], fault: str, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", *arguments]) == 0
    assert capsys.readouterr().err == f"bers-emit import: {fault}\n"
    assert main(["import", *arguments, "--strict"]) == 1
    assert receiver.events == []


def test_what_cannot_be_delivered_fails_nothing(nobody: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "junit", "junit.xml"]) == 0
    assert "not delivered yet" in capsys.readouterr().err
    assert main(["import", "junit", "junit.xml", "--strict"]) == 1


def test_what_is_refused_is_a_dead_letter_and_is_said(receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    receiver.answer(422, body=b'{"error": {"message": "no such type"}}')
    assert main(["import", "junit", "junit.xml", "--strict"]) == 1
    assert "refused by the server, kept in dead/ of" in capsys.readouterr().err


def test_what_would_be_told_can_be_seen(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["import", "junit", "junit.xml", "--dry-run"]) == 0
    [event] = json.loads(capsysbinary.readouterr().out)
    assert event["measures"]["tests.failed"] == 1


def test_the_standard_input_is_a_file_too(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LCOV.encode())))
    assert main(["import", "coverage", "-", "--strict"]) == 0
    assert receiver.events[0]["measures"] == {"coverage.lines": 50.0}


BAZEL: list[dict[str, Any]] = [
    {"id": {"started": {}}, "started": {"uuid": "5c1e", "startTimeMillis": "1795690543000", "command": "test"}},
    {"id": {"progress": {}}, "progress": {"stderr": "..."}},
    {
        "id": {"testSummary": {"label": "//a:t"}},
        "testSummary": {"overallStatus": "PASSED", "totalRunDurationMillis": "300"},
    },
    {"id": {"testSummary": {"label": "//a:u"}}, "testSummary": {"overallStatus": "FLAKY", "totalRunCount": 2}},
    {"id": {"testSummary": {"label": "//a:v"}}, "testSummary": {"overallStatus": "TIMEOUT"}},
    {
        "id": {"buildFinished": {}},
        "finished": {"exitCode": {"name": "TESTS_FAILED", "code": 3}, "finishTimeMillis": "1795690547500"},
    },
]


def bep(folder: Path, events: list[dict[str, Any]], end: str = "") -> None:
    (folder / "bep.json").write_text("".join(json.dumps(event) + "\n" for event in events) + end)


def test_an_invocation_of_bazel_is_a_build_and_a_run_of_its_tests(receiver: Receiver, folder: Path) -> None:
    bep(folder, BAZEL)
    assert main(["import", "bep", "bep.json", "--strict"]) == 0
    build, tests = receiver.events
    assert (build["type"], build["subject"], build["outcome"]) == ("build.finished", "5c1e", "failure")
    assert (build["duration_ms"], build["reason"], build["labels"]) == (4500, "TESTS_FAILED", {"build": "bazel test"})
    assert tests["measures"] == {
        "tests.total": 3, "tests.passed": 2, "tests.failed": 1, "tests.errored": 0, "tests.skipped": 0,
        "tests.flaky": 1,
    }  # fmt: skip
    assert tests["data"]["flaky"] == ["//a:u"]


def test_of_a_bazel_that_was_killed_nobody_knows_how_it_ended(receiver: Receiver, folder: Path) -> None:
    bep(folder, BAZEL[:2], end='{"id": {"tar')
    assert main(["import", "bep", "bep.json", "--strict"]) == 0
    [build] = receiver.events
    assert build["outcome"] == "error" and "duration_ms" not in build


UV = """Using CPython 3.11.7
\x1b[2mResolved \x1b[1m4 packages\x1b[0m \x1b[2min 1.15s\x1b[0m
Prepared 3 packages in 2.5s
Installed 3 packages in 12ms
"""


def test_uv_says_how_long_it_took(receiver: Receiver, folder: Path) -> None:
    (folder / "uv.txt").write_text(UV)
    assert main(["import", "uv", "uv.txt", "--strict"]) == 0
    [event] = receiver.events
    assert (event["type"], event["labels"]) == ("build.measured", {"tool": "uv"})
    assert event["measures"] == {"dependencies.resolve": 1150.0, "dependencies.install": 2512.0}


WEBPACK = {
    "time": 1234,
    "errorsCount": 0,
    "assets": [
        {"name": "main.0a1b2c3d4e5f6071.js", "size": 700}, {"name": "main.css", "size": 50},
        {"name": "x.js.map", "size": 9}, {"name": None, "size": 1},
    ],
    "entrypoints": {"main": {"assets": [{"name": "main.css"}, {"name": "main.0a1b2c3d4e5f6071.js"}]}},
}  # fmt: skip


def test_webpack_tells_of_a_build_unless_a_run_around_it_does(
    receiver: Receiver, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "stats.json").write_text(json.dumps(WEBPACK))
    (folder / "failed.json").write_text(json.dumps({**WEBPACK, "errorsCount": 2, "assets": []}))
    for name in ("stats.json", "failed.json"):
        assert main(["import", "webpack", name, "--strict"]) == 0
    monkeypatch.setenv("BERS_PARENT", "app/1")
    assert main(["import", "webpack", "stats.json", "--strict"]) == 0
    good, bad, inside = receiver.events
    assert (good["type"], good["duration_ms"], good["outcome"]) == ("build.finished", 1234, "success")
    assert good["measures"] == {"bundle.assets": 2, "bundle.raw": 750, "bundle.initial": 750}
    assert good["data"]["assets"][0] == {"name": "main.*.js", "files": 1, "raw": 700, "entry": True, "initial": True}
    assert (bad["outcome"], bad["reason"]) == ("failure", "2 errors")
    assert (inside["type"], inside["data"]["parent"], inside["chain"]) == ("build.measured", "app/1", "app/1")
    assert "outcome" not in inside and "duration_ms" not in inside
