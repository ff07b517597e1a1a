"""What reports inside of a run of its own kind is a part of it: one run, one end, with the figures of all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bers_emit import Emitter
from bers_emit.parts import Around, Parts
from bers_emit.sums import Sum
from bers_emit.testing import Receiver

RUN = [sys.executable, "-m", "bers_emit", "run"]
QUIET = "-q -p no:cacheprovider -p no:schemathesis -p no:hypothesispytest -p no:anyio"
PYTEST = f"{sys.executable} -m pytest {QUIET}"
GOOD = "def test_a(): pass\ndef test_b(): pass\n"
BAD = "def test_c(): assert 0\n"
KILLED = "import os, signal\ndef test_is_killed(): os.kill(os.getpid(), signal.SIGKILL)\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which nothing says that it is a test."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name, text in (("test_good.py", GOOD), ("test_bad.py", BAD), ("test_killed.py", KILLED)):
        (folder / name).write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BERS_EMIT_BUDGET", "30")
    for name in [name for name in os.environ if name.startswith("PYTEST")]:
        monkeypatch.delenv(name)
    return folder


def run(*arguments: str, code: int = 0) -> str:
    """Run a script under ``bers-emit run``; what was said on standard error."""
    *options, script = arguments
    command = [*RUN, *options, "--", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=outside())
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr


def outside() -> dict[str, str]:
    """The environment without what says that this is a test."""
    return {name: of for name, of in os.environ.items() if not name.startswith("PYTEST")}


def counts(event: dict[str, Any]) -> dict[str, float]:
    return {name[6:]: of for name, of in event["measures"].items() if name.startswith("tests.")}


def ends(receiver: Receiver) -> list[str]:
    return [
        one["type"]
        for one in receiver.events
        if one["type"].rpartition(".")[2] in ("started", "finished", "lost") and one["type"] != "testcaserun.finished"
    ]


def test_a_suite_inside_of_a_run_is_counted_once_with_the_runs_name_and_time(receiver: Receiver, spool: Path) -> None:
    run("--kind", "test", "--name", "unit", f"sleep 0.3; {PYTEST} test_good.py test_bad.py", code=1)
    assert ends(receiver) == ["testsuiterun.started", "testsuiterun.finished"]
    started, finished = receiver.of("testsuiterun.started")[0], receiver.of("testsuiterun.finished")[0]
    assert started["subject"] == finished["subject"] and finished["labels"] == {"suite": "unit"}
    assert counts(finished) == {"total": 3, "passed": 2, "failed": 1, "errored": 0, "skipped": 0}
    assert (finished["outcome"], finished["reason"]) == ("failure", "exit code 1: 1 of 3 tests did not pass")
    assert finished["duration_ms"] > 300 and finished["measures"]["exit_code"] == 1
    assert finished["data"]["command"] == "sh" and finished["data"]["runner"].startswith("pytest ")
    [case] = receiver.of("testcaserun.finished")
    assert (case["labels"], case["data"]["run"]) == ({"suite": "unit"}, started["subject"])
    assert list(spool.iterdir()) == []


def test_several_are_added_up_and_the_exit_code_decides(receiver: Receiver) -> None:
    run("--kind", "test", "--name", "all", f"{PYTEST} test_bad.py; {PYTEST} test_good.py; exit 0")
    assert ends(receiver) == ["testsuiterun.started", "testsuiterun.finished"]
    [finished] = receiver.of("testsuiterun.finished")
    assert (finished["outcome"], counts(finished)["total"], counts(finished)["failed"]) == ("success", 3, 1)
    assert [part["outcome"] for part in finished["data"]["parts"]] == ["failure", "success"]


def test_workers_of_xdist_are_no_parts(receiver: Receiver) -> None:
    pytest.importorskip("xdist")
    run("--kind", "test", f"{PYTEST} -p xdist -n 2 test_good.py test_bad.py", code=1)
    assert ends(receiver) == ["testsuiterun.started", "testsuiterun.finished"]
    assert counts(receiver.of("testsuiterun.finished")[0])["total"] == 3


def test_a_run_of_another_kind_leaves_the_suite_an_event_of_its_own(receiver: Receiver) -> None:
    run("--kind", "build", f"{PYTEST} test_good.py")
    [build], [suite] = receiver.of("build.finished"), receiver.of("testsuiterun.finished")
    assert suite["data"]["parent"] == build["subject"] != suite["subject"]
    assert len(receiver.of("testsuiterun.started")) == 1 and not counts(build)


REPORTED = f"{PYTEST} --junitxml=out.xml test_good.py test_bad.py; exit 0"


def test_a_suite_inside_of_a_build_that_reads_its_report_is_counted_once(receiver: Receiver, spool: Path) -> None:
    run("--kind", "build", "--junit", "*.xml", REPORTED)
    assert [one for one in ends(receiver) if one.startswith("test")] == ["testsuiterun.finished"]
    [build], [suite] = receiver.of("build.finished"), receiver.of("testsuiterun.finished")
    assert suite["subject"] == suite["data"]["parent"] == build["subject"] and not counts(build)
    assert (suite["labels"], suite["outcome"]) == ({"suite": "project"}, "failure")
    assert suite["reason"] == "1 of 3 tests did not pass"
    assert counts(suite) == {"total": 3, "passed": 2, "failed": 1, "errored": 0, "skipped": 0}
    assert 0 < suite["duration_ms"] <= build["duration_ms"]
    [case] = receiver.of("testcaserun.finished")
    assert case["data"]["run"] == suite["subject"]
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize(("script", "total", "name"), [
    (f"{PYTEST} test_good.py; {PYTEST} -p no:bers-emit --junitxml=out.xml test_good.py test_bad.py", 3, "project"),
    (f"{PYTEST} test_good.py test_bad.py; {PYTEST} -p no:bers-emit --junitxml=out.xml test_good.py", 3, "project"),
    (f"{PYTEST} test_good.py test_bad.py", 3, "project"),
    (f"{PYTEST} -p no:bers-emit --junitxml=out.xml test_good.py", 2, "pytest tests"),
    (f"{' '.join(RUN)} --kind test --name unit -- {PYTEST} --junitxml=out.xml test_good.py", 2, "unit"),
])  # fmt: skip
def test_whoever_tells_of_tests_inside_of_a_build_they_are_one_suite(
    script: str, total: int, name: str, receiver: Receiver
) -> None:
    run("--kind", "build", "--junit", "*.xml", f"{script}; exit 0")
    [suite] = receiver.of("testsuiterun.finished")
    assert (suite["labels"], counts(suite)["total"]) == ({"suite": name}, total)
    assert not receiver.of("testsuiterun.started")


def test_a_build_that_reads_a_report_is_a_part_of_the_test_run_around_it(receiver: Receiver) -> None:
    inner = f"{' '.join(RUN)} --kind build --junit '*.xml' -- sh -c '{PYTEST} --junitxml=out.xml test_good.py'"
    run("--kind", "test", "--name", "all", inner)
    [suite] = receiver.of("testsuiterun.finished")
    assert (suite["labels"], counts(suite)["total"]) == ({"suite": "all"}, 2)


def test_where_no_test_is_run_and_where_nothing_starts_there_is_no_suite(receiver: Receiver, spool: Path) -> None:
    run("--kind", "build", "--junit", "*.xml", "true")
    subprocess.run([*RUN, "--kind", "build", "--junit", "*.xml", "--", "no-such-command"], check=False, env=outside())
    assert ends(receiver) == ["build.started", "build.finished"] * 2
    assert list(spool.iterdir()) == []


def test_who_is_killed_inside_of_a_build_is_told_once_with_his_last_words(receiver: Receiver, spool: Path) -> None:
    run("--kind", "build", "--junit", "*.xml", f"{PYTEST} test_killed.py; exit 0")
    [suite] = receiver.of("testsuiterun.finished")
    assert suite["outcome"] == "error" and "test_is_killed" in suite["reason"]
    assert not receiver.of("testsuiterun.lost") and list(spool.iterdir()) == []


def test_a_run_between_hands_the_suite_to_the_one_around(receiver: Receiver) -> None:
    inner = " ".join(RUN)
    run("--kind", "test", "--name", "unit", f"{inner} --kind task -- {inner} --kind test -- {PYTEST} test_good.py")
    assert [one for one in ends(receiver) if one.startswith("test")] == [
        "testsuiterun.started",
        "testsuiterun.finished",
    ]
    [finished], [task] = receiver.of("testsuiterun.finished"), receiver.of("task.finished")
    assert counts(finished)["total"] == 2 and task["data"]["parent"] == finished["subject"]


def test_a_run_with_a_name_of_its_own_is_one_of_its_own(receiver: Receiver) -> None:
    inner = f"{' '.join(RUN)} --kind test --name unit -- {PYTEST} test_good.py"
    run("--kind", "test", "--name", "all", inner)
    unit, whole = receiver.of("testsuiterun.finished")
    assert (unit["labels"], whole["labels"]) == ({"suite": "unit"}, {"suite": "all"})
    assert unit["data"]["parent"] == whole["subject"] and counts(unit)["total"] == 2 and not counts(whole)


@pytest.mark.parametrize(("junit", "total", "said"), [
    (f"{PYTEST} --junitxml=out.xml test_good.py test_bad.py", 3, False),
    (f"{PYTEST} test_good.py; {PYTEST} -p no:bers-emit --junitxml=out.xml test_good.py test_bad.py", 3, True),
    (f"{PYTEST} test_good.py test_bad.py; {PYTEST} -p no:bers-emit --junitxml=out.xml test_good.py", 3, True),
])  # fmt: skip
def test_a_report_of_the_same_tests_is_not_added(junit: str, total: int, said: bool, receiver: Receiver) -> None:
    run("--kind", "test", "--junit", "*.xml", f"{junit}; exit 0")
    [finished] = receiver.of("testsuiterun.finished")
    assert counts(finished)["total"] == total
    assert len(finished["data"]["failed"]) == 1


def test_who_is_killed_in_a_run_is_told_by_the_run_with_his_last_words(receiver: Receiver, spool: Path) -> None:
    run("--kind", "test", f"{PYTEST} test_killed.py", code=137)
    assert ends(receiver) == ["testsuiterun.started", "testsuiterun.finished"]
    [finished] = receiver.of("testsuiterun.finished")
    assert finished["reason"] == "exit code 137: the process died; last: test_killed.py::test_is_killed"
    assert finished["data"]["test"] == "test_killed.py::test_is_killed"
    assert list(spool.iterdir()) == []


def test_where_the_run_is_killed_the_suite_ends_it(receiver: Receiver, project: Path, spool: Path) -> None:
    (project / "test_orphan.py").write_text(
        "import os, signal\ndef test_kills(): os.kill(int(os.environ['RUN']), signal.SIGKILL)\n"
    )
    script = f"export RUN=$PPID; {PYTEST} test_orphan.py; echo done > ended"
    with subprocess.Popen(
        [*RUN, "--kind", "test", "--name", "unit", "--", "sh", "-c", script], env=outside()
    ) as process:
        assert process.wait(60) == -signal.SIGKILL
    receiver.wait(lambda: bool(receiver.of("testsuiterun.finished")))
    Emitter(receiver.url).flush(60)
    [started], [finished] = receiver.of("testsuiterun.started"), receiver.of("testsuiterun.finished")
    assert finished["subject"] == started["subject"] and finished["labels"] == {"suite": "unit"}
    assert counts(finished)["total"] == 1 and "parent" not in finished["data"]


def test_where_both_are_killed_the_last_words_are_of_the_run(receiver: Receiver, project: Path, spool: Path) -> None:
    (project / "test_both.py").write_text(
        "import os, signal\n"
        "def test_kills():\n"
        "    os.kill(int(os.environ['RUN']), signal.SIGKILL)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    script = f"export RUN=$PPID; {PYTEST} test_both.py; echo done > ended"
    with subprocess.Popen([*RUN, "--kind", "test", "--", "sh", "-c", script], env=outside()) as process:
        assert process.wait(60) == -signal.SIGKILL
    receiver.wait(lambda: (project / "ended").exists() or bool(receiver.of("testsuiterun.started")))
    with Emitter(receiver.url) as emitter:
        end = time.monotonic() + 60
        while not receiver.of("testsuiterun.lost") and time.monotonic() < end:  # He may outlive the run for a moment.
            emitter.flush(1)
            time.sleep(0.02)
        emitter.flush(60)
    [started], [lost] = receiver.of("testsuiterun.started"), receiver.of("testsuiterun.lost")
    assert lost["subject"] == started["subject"] and not receiver.of("testsuiterun.finished")


def test_who_comes_when_the_run_has_ended_is_an_event_of_his_own(spool: Path) -> None:
    parts = Parts(str(spool), {"subject": "unit/1", "name": "unit", "chain": "c", "url": "http://here"})
    around = Around.of("test", "http://here", {"BERS_TEST_RUN": parts.path})
    assert around and around.tell(b'{"outcome":"success"}\n') is None
    assert Around.of("test", "http://elsewhere", {"BERS_TEST_RUN": parts.path}) is None
    assert Around.of("build", "http://here", {"BERS_TEST_RUN": parts.path}) is None
    assert Around.of("test", "http://here", {"BERS_TEST_RUN": parts.path, "PYTEST_CURRENT_TEST": "t"}) is None
    assert parts.take() == [{"outcome": "success"}]
    assert around.tell(b"{}") == ""
    assert Around.of("test", "http://here", {"BERS_TEST_RUN": parts.path}) is None


def test_a_part_that_is_cut_off_spoils_no_other(spool: Path) -> None:
    parts = Parts(str(spool), {"subject": "unit/1", "name": "unit", "chain": "c", "url": "u"})
    with open(parts.path, "ab") as file:
        file.write(b'\n{"outcome":"succ')
    around = Around.of("test", "u", {"BERS_TEST_RUN": parts.path})
    assert around and around.tell(b'{"outcome":"failure"}') is None
    assert parts.take() == [{"outcome": "failure"}]


def test_the_file_of_a_run_that_was_killed_goes_after_a_day(spool: Path) -> None:
    spool.mkdir()
    old, new = spool / ".1.run", spool / ".2.run"
    for path in (old, new):
        path.write_text("{}")
    os.utime(old, (1, 1))
    held = Parts(str(spool), {})
    os.utime(held.path, (1, 1))
    Parts(str(spool), {}).take()
    assert (old.exists(), new.exists(), os.path.exists(held.path)) == (False, True, True)
    held.take()


def test_counts_and_sizes_are_added_and_percentages_are_not() -> None:
    def part(lines: int, raw: int, gzip: bool) -> dict[object, object]:
        measures = {"tests.total": 2, "bundle.raw": raw, "coverage.lines": 10.0 * lines, "phase.render": 1.5, "odd": 1}
        if gzip:
            measures["bundle.gzip"] = raw / 2
        data = {"covered": {"lines": {"covered": lines, "total": 10}}, "failed": ["a"] * 15, "fault": raw,
                "timeline": [{"phase": "render", "start": 1000.0 + raw, "ms": 1.5}],
                "assets": [{"name": "x.js", "files": 1, "raw": raw, **({"gzip": 1} if gzip else {})}]}  # fmt: skip
        return {
            "measures": measures,
            "data": data,
            "outcome": "failure",
            "reason": f"{lines} of it",
            "environment": "e",
        }

    found = Sum([part(5, 100, True), part(10, 50, False)])
    assert found.measures == {"tests.total": 4, "bundle.raw": 150, "coverage.lines": 75.0, "phase.render": 3.0}
    assert len(found.data["failed"]) == 20  # type: ignore[arg-type]
    assert found.data["assets"] == [{"name": "x.js", "files": 2, "raw": 150}]
    assert [one["start"] for one in found.data["timeline"]] == [1100.0, 1050.0]  # type: ignore[attr-defined]
    assert found.data["covered"] == {"lines": {"covered": 15, "total": 20}} and "fault" not in found.data
    assert found.reasons == ["5 of it", "10 of it"] and found.environments == {"e"}
    without = part(10, 50, True)
    without["data"] = {}
    assert "coverage.lines" not in Sum([part(5, 100, True), without]).measures


def test_what_others_write_into_the_file_changes_nothing(receiver: Receiver) -> None:
    junk = json.dumps({"measures": {"tests.total": "many", "exit_code": 9}, "data": [1], "outcome": 3})
    run("--kind", "test", f"printf '%s\\n' '{junk}' '[' '7' >> $BERS_TEST_RUN; exit 4", code=4)
    [finished] = receiver.of("testsuiterun.finished")
    assert (finished["outcome"], finished["reason"], finished["measures"]["exit_code"]) == ("failure", "exit code 4", 4)
