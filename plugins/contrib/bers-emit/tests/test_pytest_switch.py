"""When a session is reported, and that nothing of ours is in one that is not."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from bers_emit.testing import Receiver, suite_end

pytest_plugins = ["pytester"]

PROBE = """
import sys
def test_it(pytestconfig):
    assert not pytestconfig.pluginmanager.has_plugin("bers-emit-reporter")
    assert "bers_emit.emitter" not in sys.modules
"""


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan", "--fixtures", "--version", "--help", "--markers"])
def test_a_session_that_runs_no_test_is_no_suite(
    option: str, session: pytest.Pytester, receiver: Receiver, every_outcome: str
) -> None:
    session.makepyfile(every_outcome)
    assert session.runpytest_inprocess(option).ret == 0
    assert receiver.events == []


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
    assert session.runpytest_subprocess("-Werror").ret == 0
    assert suite_end(receiver)["outcome"] == "success"


def test_after_a_session_modules_are_found_as_before(session: pytest.Pytester, receiver: Receiver) -> None:
    session.makepyfile("def test_it(): pass")
    check = "import pytest, sys; before = list(sys.meta_path); pytest.main(); assert sys.meta_path == before"
    assert session.run(sys.executable, "-c", check).ret == 0
    assert suite_end(receiver)["outcome"] == "success"


@pytest.mark.skipif("BERS_EMIT_URL" in os.environ, reason="this session is to be reported")
def test_our_own_session_is_not_reported(pytestconfig: pytest.Config) -> None:
    assert not pytestconfig.pluginmanager.has_plugin("bers-emit-reporter")


def test_a_session_inside_a_test_is_reported_where_it_says_so(pytester: pytest.Pytester, receiver: Receiver) -> None:
    pytester.makepyfile(PROBE)
    assert pytester.runpytest_subprocess().ret == 0
    assert receiver.events == []
    pytester.makepyfile("def test_it(): pass")
    assert pytester.runpytest_subprocess("--bers").ret == 0
    assert suite_end(receiver)["outcome"] == "success"


def test_off_is_off(session: pytest.Pytester, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERS_EMIT", "off")
    session.makepyfile("def test_it(): pass")
    result = session.runpytest_inprocess("--bers")
    assert result.ret == 0 and "bers:" not in result.stdout.str()
    assert receiver.events == []


def test_a_server_that_is_down_changes_nothing(
    pytester: pytest.Pytester, nobody: str, spool: Path, every_outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    pytester.makepyfile(every_outcome)
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
