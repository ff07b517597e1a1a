"""What the pytest plugin reports of real sessions: the same as pytest's own last line, whatever happens to them."""

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
from bers_emit.pytest_plugin import reporter, tally
from bers_emit.testing import Receiver

pytest_plugins = ["pytester"]

ALL = """
import pytest
def test_passes(): pass
@pytest.mark.parametrize("n", range(5))
def test_passes_often(n): pass
def test_fails(): assert 1 == 2, "one is not two"
@pytest.fixture
def broken(): raise RuntimeError("no database")
def test_is_not_set_up(broken): pass
@pytest.mark.skip(reason="not today")
def test_is_skipped(): pass
def test_skips(): pytest.skip("not here")
@pytest.mark.xfail
def test_xfails(): assert 0
@pytest.mark.xfail
def test_xpasses(): pass
@pytest.mark.xfail(strict=True)
def test_xpasses_strictly(): pass
"""
TORN = """
import pytest
@pytest.fixture
def torn():
    yield
    raise RuntimeError("torn")
def test_passes(torn): pass
def test_fails(torn): assert 0
"""
SUBTESTS = """
def test_parts(subtests):
    for n in range(4):
        with subtests.test(n=n):
            assert n % 2
def test_whole(): pass
"""
FLAKY = """
import pathlib, pytest
def test_at_last():
    seen = pathlib.Path(__file__).with_suffix(".seen")
    before = seen.read_text() if seen.exists() else ""
    seen.write_text(before + "x")
    assert len(before) == 2
def test_never(): assert 0
def test_always(): pass
"""

QUICK = "-p no:schemathesis -p no:hypothesispytest -p no:anyio"
"""Without what these sessions do not need, they start in a third of the time."""


@pytest.fixture
def session(pytester: pytest.Pytester, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Sessions in a folder of their own, which report though they run inside of a test."""
    monkeypatch.setenv("PYTEST_ADDOPTS", f"--bers {QUICK}")
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)
    return pytester


def summary(measures: dict[str, float]) -> dict[str, int]:
    """What pytest's last line would say of these counts."""
    count = {name.partition(".")[2]: int(value) for name, value in measures.items()}
    said = {
        "passed": count["passed"] - count.get("xpassed", 0),
        "failed": count["failed"],
        "errors": count["errored"],
        "skipped": count["skipped"] - count.get("xfailed", 0),
        "xfailed": count.get("xfailed", 0),
        "xpassed": count.get("xpassed", 0),
        "deselected": count.get("deselected", 0),
        "rerun": count.get("reruns", 0),
    }
    return {name: number for name, number in said.items() if number}


def finished(receiver: Receiver) -> dict[str, Any]:
    """The one end of the one suite."""
    [started], [event] = receiver.of("testsuiterun.started"), receiver.of("testsuiterun.finished")
    assert started["subject"] == event["subject"]
    return event


def told(receiver: Receiver) -> dict[str, tuple[str, str | None]]:
    """The tests that were reported by themselves, with outcome and reason; each once."""
    events = receiver.of("testcaserun.finished")
    found = {event["data"]["test"]: (event["outcome"], event.get("reason")) for event in events}
    assert len(found) == len(events)
    return found


@pytest.mark.parametrize("spread", ["-n0", "-n2"])
def test_totals_are_those_of_the_last_line(spread: str, session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile(ALL)
    result = session.runpytest_subprocess(spread, "--bers-suite=unit")
    event = finished(receiver)
    assert summary(event["measures"]) == result.parseoutcomes()
    assert event["measures"]["tests.total"] == 13
    assert (result.ret, event["outcome"], event["reason"]) == (1, "failure", "3 of 13 tests did not pass")
    assert event["labels"] == {"suite": "unit"}
    assert told(receiver) == {
        f"test_totals_are_those_of_the_last_line.py::{name}": said
        for name, said in {
            "test_fails": ("failure", "AssertionError: one is not two\nassert 1 == 2"),
            "test_is_not_set_up": ("error", "RuntimeError: no database"),
            "test_xpasses_strictly": ("failure", "[XPASS(strict)] "),
        }.items()
    }
    assert "tests.flaky" not in event["measures"]  # Nobody repeats tests here, so nobody knows.
    assert len([line for line in result.outlines if line.startswith("bers: ")]) == 1


def test_a_test_counts_once_by_its_worst_phase(session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile(TORN)
    assert session.runpytest_subprocess().parseoutcomes() == {"passed": 1, "failed": 1, "errors": 2}
    measures = finished(receiver)["measures"]
    assert summary(measures) == {"failed": 1, "errors": 1}
    assert [outcome for outcome, _ in told(receiver).values()] == ["error", "failure"]


# Python 3.9 has pytest 8 at most.
since_pytest_9 = pytest.mark.skipif(pytest.version_tuple < (9,), reason="this pytest has no subtests of its own")


@since_pytest_9
@pytest.mark.parametrize("more", [[], ["-n2"], ["-p", "pytest_subtests.plugin"]], ids=["own", "xdist", "plugin"])
def test_subtests_that_fail_are_failures_of_their_test(
    more: list[str], session: pytest.Pytester, receiver: Receiver
) -> None:
    session.makepyfile(SUBTESTS)
    result = session.runpytest_subprocess(*more)
    measures = finished(receiver)["measures"]
    assert (measures["tests.total"], measures["tests.failed"], measures["tests.passed"]) == (2, 1, 1)
    assert measures["tests.subtests_failed"] == 2
    said = result.parseoutcomes()  # pytest counts both, its plugin of former days only the parts.
    assert said["failed"] == 2 + ("plugin" not in "".join(more))
    assert list(told(receiver).values()) == [("failure", "assert (0 % 2)")]


@pytest.mark.parametrize("spread", ["-n0", "-n2"])
def test_what_passes_when_it_is_repeated_is_flaky(spread: str, session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile(FLAKY)
    result = session.runpytest_subprocess(spread, "--reruns=2")
    measures = finished(receiver)["measures"]
    assert summary(measures) == result.parseoutcomes() == {"failed": 1, "passed": 2, "rerun": 4}
    assert measures["tests.flaky"] == 1
    assert len(told(receiver)) == 1


def test_where_tests_may_be_repeated_and_none_is_none_is_flaky(session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile("def test_it(): pass")
    session.runpytest_subprocess("--reruns=2")
    assert finished(receiver)["measures"]["tests.flaky"] == 0


@since_pytest_9
@pytest.mark.parametrize("spread", ["-n0", "-n2"])
def test_subtests_of_an_attempt_that_is_repeated_do_not_count(
    spread: str, session: pytest.Pytester, receiver: Receiver
) -> None:
    session.makepyfile(FLAKY.replace("test_at_last()", "test_at_last(subtests)").replace(
        "    assert len(before) == 2", "    with subtests.test(): assert len(before) == 2"
    ))  # fmt: skip
    result = session.runpytest_subprocess(spread, "--reruns=2")
    measures = finished(receiver)["measures"]
    assert summary(measures) == result.parseoutcomes()
    assert "tests.subtests_failed" not in measures and measures["tests.flaky"] == 1


@pytest.mark.parametrize("spread", ["-n0", "-n2"])
def test_files_that_cannot_be_collected_count(spread: str, session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile(
        test_broken="import nothing_like_it", test_skipped="import pytest\npytest.skip('no', allow_module_level=True)"
    )
    session.makepyfile("def test_it(): pass")
    result = session.runpytest_subprocess(spread, "--continue-on-collection-errors")
    event = finished(receiver)
    assert summary(event["measures"]) == result.parseoutcomes() == {"passed": 1, "errors": 1, "skipped": 1}
    assert list(told(receiver)) == ["test_broken.py"]


def test_a_worker_that_dies_names_its_test(session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile("import os\ndef test_dies(): os._exit(9)\ndef test_lives(): pass")
    result = session.runpytest_subprocess("-n2")
    event = finished(receiver)
    assert summary(event["measures"]) == result.parseoutcomes() == {"passed": 1, "failed": 1}
    [(name, (outcome, reason))] = told(receiver).items()
    assert name.endswith("::test_dies") and outcome == "failure" and "crashed while running" in str(reason)


@pytest.mark.parametrize("last", ["os._exit(9)", "os.kill(os.getpid(), 9)"])
def test_a_process_that_dies_leaves_the_name_of_its_last_test(
    last: str, session: pytest.Pytester, receiver: Receiver
) -> None:
    session.makepyfile(f"import os\ndef test_lives(): pass\ndef test_dies(): {last}\ndef test_never(): pass")
    session.runpytest_subprocess()
    assert receiver.of("testsuiterun.finished") == []
    with Emitter(receiver.url) as next_one:
        next_one.flush(10)
    [started], [lost] = receiver.of("testsuiterun.started"), receiver.of("testsuiterun.lost")
    assert (lost["subject"], lost["outcome"], lost["labels"]) == (started["subject"], "error", started["labels"])
    assert lost["data"]["test"].endswith("::test_dies") and lost["data"]["test"] in lost["reason"]
    assert lost["time"][:17] >= started["time"][:17]


def test_what_a_process_said_last_is_taken_back_by_itself_alone(
    session: pytest.Pytester, receiver: Receiver, spool: Path
) -> None:
    session.makepyfile("""
        import os, sys
        def test_forks():
            child = os.fork()
            if not child:
                os._exit(0)
            os.waitpid(child, 0)
        def test_dies_beside_a_child():
            if os.fork():
                os._exit(9)
            import time
            time.sleep(60)
    """)
    session.run(sys.executable, "-m", "pytest", "-s")
    with Emitter(receiver.url) as next_one:  # The child still lives, and must not hold what its parent left.
        end = time.monotonic() + 20  # It lets go of it as it begins to run, which may be later than we do.
        while not receiver.of("testsuiterun.lost") and time.monotonic() < end:
            next_one.flush(1)
    [lost] = receiver.of("testsuiterun.lost")
    assert lost["data"]["test"].endswith("test_dies_beside_a_child")
    assert list(spool.iterdir()) == []


def test_a_session_is_live(session: pytest.Pytester, receiver: Receiver) -> None:
    path = session.makepyfile("""
        import pathlib, time
        def test_passes(): pass
        def test_fails(): assert 0
        def test_waits():
            while not pathlib.Path("go").exists(): time.sleep(0.01)
    """)
    process = subprocess.Popen([sys.executable, "-m", "pytest", str(path)], stdout=subprocess.DEVNULL)
    try:
        receiver.wait(lambda: bool(receiver.of("testcaserun.finished")), 30)
        receiver.wait(lambda: any(event["data"]["running"] for event in receiver.of("testsuiterun.progress")), 30)
        progress = receiver.of("testsuiterun.progress")[-1]
        assert progress["measures"] == {"progress.passed": 1, "progress.failed": 1, "progress.selected": 3}
        assert progress["data"]["running"] == ["test_a_session_is_live.py::test_waits"]
        assert receiver.of("testsuiterun.finished") == []
        (session.path / "go").touch()
        assert process.wait(30) == 1
    finally:
        process.kill()
        process.wait()
    assert finished(receiver)["measures"]["tests.total"] == 3


@pytest.mark.parametrize(("cases", "number"), [("all", 13), ("failed", 3), ("none", 0)])
def test_tests_are_told_by_themselves_as_far_as_wanted(
    cases: str, number: int, session: pytest.Pytester, receiver: Receiver
) -> None:
    session.makepyfile(ALL)
    session.runpytest_inprocess(f"--bers-cases={cases}")
    assert len(told(receiver)) == number
    assert finished(receiver)["measures"]["tests.total"] == 13


INTERNAL = "def pytest_runtest_protocol(item): raise ValueError('a plugin broke')"
STRANGE = "def pytest_sessionfinish(session): session.exitstatus = 42"


@pytest.mark.parametrize(
    ("tests", "conftest", "arguments", "status", "outcome", "reason"),
    [
        ("def test_it(): pass", "", [], 0, "success", None),
        ("def test_it(): assert 0", "", [], 1, "failure", "1 of 1 tests did not pass"),
        ("def test_it(): raise KeyboardInterrupt", "", [], 2, "cancel", "KeyboardInterrupt"),
        ("import pytest\ndef test_it(): pytest.exit('enough')", "", [], 2, "cancel", "enough"),
        ("import nothing_like_it", "", [], 2, "failure", "1 of 1 tests did not pass"),
        ("def test_it(): pass", INTERNAL, [], 3, "error", "ValueError: a plugin broke"),
        ("def test_it(): pass", "", ["no/such/file.py"], 4, "error", "pytest was used wrongly"),
        ("", "", [], 5, "error", "no tests ran"),
        ("def test_it(): pass", "", ["-k", "other"], 5, "error", "no tests ran"),
        ("def test_it(): pass", STRANGE, [], 42, "failure", "exit status 42"),
        ("def test_a(): assert 0\ndef test_b(): pass", "", ["-x"], 1, "failure", "1 of 1 tests did not pass"),
        ("def test_a(): assert 0\ndef test_b(): 0", "", ["--stepwise"], 2, "failure", "1 of 1 tests did not pass"),
        pytest.param(
            "import warnings\ndef test_it(): warnings.warn('old')", "", ["--max-warnings=0"],
            6, "failure", "exit status 6",
            marks=pytest.mark.skipif(pytest.version_tuple < (9,), reason="this pytest knows no such status"),
        ),
    ],
    ids=["0", "1", "2", "exit", "collection", "3", "4", "5", "deselected", "42", "x", "stepwise", "6"],
)  # fmt: skip
def test_the_outcome_follows_from_the_exit_status(
    tests: str,
    conftest: str,
    arguments: list[str],
    status: int,
    outcome: str,
    reason: str | None,
    session: pytest.Pytester,
    receiver: Receiver,
) -> None:
    session.makepyfile(tests)
    session.makeconftest(conftest)
    assert session.runpytest_subprocess(*arguments).ret == status
    event = finished(receiver)
    assert (event["outcome"], event.get("reason")) == (outcome, reason)


def test_only_what_failed_last_is_counted_once(session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile("def test_a(): assert 0\ndef test_b(): pass")
    session.runpytest_inprocess()
    result = session.runpytest_inprocess("--lf")
    first, second = (event["measures"] for event in receiver.of("testsuiterun.finished"))
    assert (first["tests.total"], second["tests.total"]) == (2, 1)
    assert summary(second) == result.parseoutcomes() == {"failed": 1}


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan", "--fixtures", "--version", "--help", "--markers"])
def test_a_session_that_runs_no_test_is_no_suite(option: str, session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile(ALL)
    assert session.runpytest_inprocess(option).ret == 0
    assert receiver.events == []


PROBE = """
import sys
def test_it(pytestconfig):
    assert not pytestconfig.pluginmanager.has_plugin("bers-emit-reporter")
    assert "bers_emit.emitter" not in sys.modules
"""


def test_without_a_url_nothing_is_there(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, spool: Path
) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    pytester.makepyfile(PROBE)
    assert pytester.runpytest_subprocess().ret == 0
    assert not spool.exists()


def test_pytest_does_not_compile_our_modules_anew(session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile("""
        import sys
        from importlib.machinery import SourceFileLoader
        def test_it():
            ours = [name for name in sys.modules if name.startswith("bers_emit.") and "plugin" not in name]
            assert "bers_emit.emitter" in ours
            assert [name for name in ours if type(sys.modules[name].__loader__) is not SourceFileLoader] == []
    """)
    before = list(sys.meta_path)
    session.runpytest_inprocess()
    assert sys.meta_path == before
    assert session.runpytest_subprocess("-Werror").ret == 0
    assert [end["outcome"] for end in receiver.of("testsuiterun.finished")][1:] == ["success"]


def test_our_own_session_is_not_reported(pytestconfig: pytest.Config) -> None:
    if "BERS_EMIT_URL" not in os.environ:
        assert not pytestconfig.pluginmanager.has_plugin("bers-emit-reporter")


def test_a_session_inside_a_test_is_reported_where_it_says_so(pytester: pytest.Pytester, receiver: Receiver) -> None:
    pytester.makepyfile(PROBE)
    assert pytester.runpytest_subprocess().ret == 0
    assert receiver.events == []
    pytester.makepyfile("def test_it(): pass")
    assert pytester.runpytest_subprocess("--bers").ret == 0
    assert finished(receiver)["outcome"] == "success"


def test_off_is_off(session: pytest.Pytester, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERS_EMIT", "off")
    session.makepyfile("def test_it(): pass")
    result = session.runpytest_inprocess("--bers")
    assert result.ret == 0 and "bers:" not in result.stdout.str()
    assert receiver.events == []


def test_a_server_that_is_down_changes_nothing(
    pytester: pytest.Pytester, nobody: str, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    pytester.makepyfile(ALL)
    result = pytester.runpytest_subprocess()
    assert result.ret == 1
    [file] = spool.iterdir()
    types = [json.loads(line)["type"] for line in file.read_text().splitlines()[1:]]
    assert [type for type in types if type != "testsuiterun.progress"] == [
        "testsuiterun.started",
        *["testcaserun.finished"] * 3,
        "testsuiterun.finished",
    ]


def test_another_plugin_may_have_our_option(session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile(other="def pytest_addoption(parser): parser.addoption('--bers', action='store_true')")
    session.makepyfile("def test_it(): pass")
    session.syspathinsert()
    assert session.runpytest_subprocess("-p", "other").ret == 0


def _fails(*args: object, **named: object) -> None:
    raise RuntimeError("to order")


HOOKS = [name for name in vars(reporter.Reporter) if name.startswith("pytest_")]
GUARDED = [name for name in HOOKS if hasattr(getattr(reporter.Reporter, name), "__wrapped__")]
PARTS = [
    "Emitter.__init__", "Emitter.emit", "Emitter.close", "Activity.__init__", "Activity.start", "Activity.finish",
    "Tally.__init__", "Tally.add", "Tally.collect", "Tally.finish", "Tally.measures", "LastWords.__init__",
    "LastWords.begin", "LastWords.say", "LastWords.take_back", "Testament.expect", "Testament.running",
    "testament.event.timestamp", "covered", "_why", "Redaction.__call__", "Reporter.__init__",
    "Reporter._tell_progress", "Reporter._outcome",
]  # fmt: skip


def test_every_hook_is_guarded_or_guards_itself() -> None:
    each_test = {"pytest_runtest_logstart", "pytest_runtest_logreport", "pytest_runtest_logfinish"}
    assert set(HOOKS) - set(GUARDED) == {*each_test, "pytest_terminal_summary", "pytest_unconfigure"}


@pytest.mark.parametrize("name", [*GUARDED, *PARTS])
def test_whatever_breaks_in_us_the_session_goes_on(
    name: str, session: pytest.Pytester, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in GUARDED:
        hook = getattr(reporter.Reporter, name)
        [cell] = [cell for cell in hook.__closure__ if cell.cell_contents is hook.__wrapped__]
        monkeypatch.setattr(cell, "cell_contents", _fails)
    else:
        path = name if name.startswith("testament.") else f"reporter.{name}"
        monkeypatch.setattr(f"bers_emit.pytest_plugin.{path}", _fails)
    monkeypatch.setattr(reporter, "PROGRESS_EVERY", 0.01)
    session.makepyfile(
        ALL, test_broken="import nothing_like_it", test_slow="import time\ndef test_it(): time.sleep(.1)"
    )
    result = session.runpytest_inprocess("--continue-on-collection-errors")
    assert result.ret == 1
    assert result.parseoutcomes() == {
        "passed": 7, "failed": 2, "errors": 2, "skipped": 2, "xfailed": 1, "xpassed": 1
    }  # fmt: skip
    assert len([line for line in result.outlines if line.startswith("bers: ")]) <= 1
    for event in receiver.of("testsuiterun.finished"):
        assert "measures" not in event or summary(event["measures"]) == result.parseoutcomes()


def test_what_was_counted_in_part_is_not_told(
    session: pytest.Pytester, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally.Tally, "add", _fails)
    session.makepyfile("def test_it(): pass")
    result = session.runpytest_inprocess()
    event = finished(receiver)
    assert event["outcome"] == "success" and "measures" not in event
    assert event["data"] == {"fault": "RuntimeError: to order"}
    result.stdout.fnmatch_lines("bers: reported in part, because of RuntimeError: to order")


@pytest.mark.parametrize("spread", ["-n0", "-n2"])
def test_coverage_is_that_of_pytest_cov(spread: str, session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile(product="def one(x):\n    if x:\n        return 1\n    return 2\n\n\ndef two():\n    return 3\n")
    session.makepyfile("from product import one\ndef test_it(): assert one(1)")
    session.runpytest_subprocess(spread, "--cov=product", "--cov-branch", "--cov-report=json")
    totals = json.loads((session.path / "coverage.json").read_text())["totals"]
    measures = finished(receiver)["measures"]
    assert measures["coverage.lines"] == 100 * totals["covered_lines"] / totals["num_statements"]
    assert (round(measures["coverage.lines"], 2), measures["coverage.branches"]) == (66.67, 50)
    assert not [name for name in measures if name.startswith("coverage") and name.count(".") != 1]


@pytest.mark.parametrize("options", [[], ["--cov=product", "--cov-report="], ["--cov=no_such_module"]])
def test_coverage_that_was_not_measured_is_absent(
    options: list[str], session: pytest.Pytester, receiver: Receiver
) -> None:
    session.makepyfile(product="x = 1")
    session.makepyfile("import product\ndef test_it(): pass")
    assert session.runpytest_subprocess(*options).ret == 0
    assert not [name for name in finished(receiver)["measures"] if name.startswith("coverage")]


def test_secrets_in_the_names_of_tests_stay_here(
    session: pytest.Pytester, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", "hunter2-hunter2")
    session.makepyfile("""
        import os, pytest
        @pytest.mark.parametrize("token", [os.environ["DEPLOY_TOKEN"]])
        def test_it(token): os.kill(os.getpid(), 9)
    """)
    session.runpytest_subprocess()
    with Emitter(receiver.url) as next_one:
        next_one.flush(10)
    assert receiver.of("testsuiterun.lost")[0]["data"]["test"].endswith("test_it[***]")
    assert "hunter2" not in json.dumps(receiver.events)


def test_a_session_that_is_asked_to_stop_is_cancelled(session: pytest.Pytester, receiver: Receiver) -> None:
    path = session.makepyfile("import time\ndef test_waits(): time.sleep(60)")
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # Whoever started us in the background has it ignored.
    try:
        process = subprocess.Popen([sys.executable, "-m", "pytest", str(path)], stdout=subprocess.DEVNULL)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        receiver.wait(lambda: any(event["data"]["running"] for event in receiver.of("testsuiterun.progress")), 30)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 2
    finally:
        process.kill()
        process.wait()
    event = finished(receiver)
    assert event["outcome"] == "cancel" and event["measures"]["tests.total"] == 0
