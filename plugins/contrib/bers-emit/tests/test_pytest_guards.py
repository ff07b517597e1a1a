"""Whatever breaks in the plugin, the session goes on, and tells nothing that is not so."""

from __future__ import annotations

import pytest

from bers_emit.pytest_plugin import reporter
from bers_emit.testing import Receiver, last_line, suite_end

pytest_plugins = ["pytester"]

HOOKS = [name for name in vars(reporter.Reporter) if name.startswith("pytest_")]
GUARDED = [name for name in HOOKS if hasattr(getattr(reporter.Reporter, name), "__wrapped__")]
PARTS = [
    "Emitter.__init__", "Emitter.emit", "Emitter.close", "Activity.__init__", "Activity.start", "Activity.finish",
    "Tally.__init__", "Tally.add", "Tally.collect", "Tally.finish", "Tally.measures", "LastWords.__init__",
    "LastWords.begin", "LastWords.say", "LastWords.take_back", "Testament.expect", "Testament.running",
    "testament.event.timestamp", "covered", "_why", "Redaction.__call__", "Reporter.__init__",
    "Reporter._tell_progress", "Reporter._outcome",
]  # fmt: skip
CUT_SHORT = {
    "pytest_keyboard_interrupt": "import pytest\ndef pytest_runtest_logfinish(): pytest.exit('enough')",
    "pytest_internalerror": "def pytest_runtest_logfinish(): raise ValueError('a plugin broke')",
}
"""What only a session calls that does not come to its end, and another plugin that does that to one."""


def breaks(name: str, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Have a part of the plugin raise; what is returned tells of each time that it has done so."""
    calls: list[object] = []

    def fail(*args: object, **named: object) -> None:
        calls.append(args)
        raise RuntimeError("to order")

    if name in GUARDED:
        hook = getattr(reporter.Reporter, name)
        [cell] = [cell for cell in hook.__closure__ if cell.cell_contents is hook.__wrapped__]
        monkeypatch.setattr(cell, "cell_contents", fail)
    else:
        path = name if name.startswith("testament.") else f"reporter.{name}"
        monkeypatch.setattr(f"bers_emit.pytest_plugin.{path}", fail)
    return calls


def test_every_hook_is_guarded_or_guards_itself() -> None:
    each_test = {"pytest_runtest_logstart", "pytest_runtest_logreport", "pytest_runtest_logfinish"}
    assert set(HOOKS) - set(GUARDED) == {*each_test, "pytest_terminal_summary", "pytest_unconfigure"}


@pytest.mark.parametrize("name", [name for name in [*GUARDED, *PARTS] if name not in CUT_SHORT])
def test_whatever_breaks_in_us_the_session_goes_on(
    name: str, session: pytest.Pytester, receiver: Receiver, every_outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = breaks(name, monkeypatch)
    monkeypatch.setattr(reporter, "PROGRESS_EVERY", 0.01)
    session.makepyfile(
        every_outcome,
        test_broken="import nothing_like_it",
        test_slow="import time\ndef test_it(): time.sleep(.1)\ndef test_left_out(): assert 0",
    )
    result = session.runpytest_inprocess("--continue-on-collection-errors", "-k", "not left_out")
    assert calls
    assert result.ret == 1
    assert result.parseoutcomes() == {
        "passed": 7, "failed": 2, "errors": 2, "skipped": 2, "xfailed": 1, "xpassed": 1, "deselected": 1
    }  # fmt: skip
    assert len([line for line in result.outlines if line.startswith("bers: ")]) <= 1
    for event in receiver.of("testsuiterun.finished"):
        assert "measures" not in event or last_line(event["measures"]) == result.parseoutcomes()


@pytest.mark.parametrize("name", CUT_SHORT)
def test_whatever_breaks_in_us_a_session_ends_as_it_was_cut_short(
    name: str, session: pytest.Pytester, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.makepyfile("def test_it(): pass")
    session.makeconftest(CUT_SHORT[name])
    whole = session.runpytest_inprocess()
    calls = breaks(name, monkeypatch)
    broken = session.runpytest_inprocess()
    assert calls
    assert (broken.ret, broken.parseoutcomes()) == (whole.ret, whole.parseoutcomes())


def test_what_was_counted_in_part_is_not_told(
    session: pytest.Pytester, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = breaks("Tally.add", monkeypatch)
    session.makepyfile("def test_it(): pass")
    result = session.runpytest_inprocess()
    event = suite_end(receiver)
    assert calls and event["outcome"] == "success" and "measures" not in event
    assert event["data"] == {"fault": "RuntimeError: to order"}
    result.stdout.fnmatch_lines("bers: reported in part, because of RuntimeError: to order")
