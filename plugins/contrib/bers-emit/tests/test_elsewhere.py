"""Where there are no file locks, no fork and no signals to speak of, as on Windows: it works from memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bers_emit.testing import Receiver

# What Python has not on Windows, taken away before anything of ours is imported.
BARE = """
import os, runpy, signal, sys
for module in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[module] = None
for name in ("fork", "posix_spawn", "posix_spawnp", "wait4", "pread", "pwrite", "register_at_fork", "uname", "getpgrp",
             "tcgetpgrp", "set_blocking", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "WIFSIGNALED", "WTERMSIG"):
    delattr(os, name)
for name in ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGPIPE", "SIGXFSZ", "SIGCHLD", "SIGKILL"):
    delattr(signal, name)
"""
COMMAND = BARE + "runpy.run_module('bers_emit', run_name='__main__', alter_sys=True)\n"

EVERYTHING = (
    BARE
    + """
import bers_emit
from bers_emit import aemit, build, deployment, emit, flush, phase, run, suite
for name in bers_emit.__all__:
    getattr(bers_emit, name)
with build("shop") as made:
    with phase("bundle"):
        pass
assert emit("a.b", subject="x")
assert run([sys.executable, "-c", "raise SystemExit(3)"], kind="test", name="unit") == 3
assert run(["no-such-command"]) == 127
assert flush(30)
"""
)


def bare(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments], capture_output=True, text=True, check=False
    )


def test_everything_is_told_from_memory(receiver: Receiver, spool: Path) -> None:
    done = bare(EVERYTHING)
    assert (done.returncode, done.stderr) == (0, "bers-emit: 'no-such-command': command not found\n")
    types = [event["type"] for event in receiver.events]
    assert sorted(types) == sorted(
        [f"{what}.{when}" for what in ("build", "testsuiterun", "task") for when in ("started", "finished")] + ["a.b"]
    )
    [suite] = receiver.of("testsuiterun.finished")
    assert (suite["outcome"], suite["reason"]) == ("failure", "exit code 3")
    assert set(suite["measures"]) == {"exit_code"}
    assert not spool.exists()


@pytest.mark.parametrize("code", [0, 1, 127])
def test_the_exit_code_is_the_commands(code: int, receiver: Receiver, spool: Path) -> None:
    ends = [sys.executable, "-c", f"raise SystemExit({code})"]
    assert bare(COMMAND, "run", "--kind", "build", "--junit", "*.xml", "--", *ends).returncode == code
    [finished] = receiver.of("build.finished")
    assert finished["measures"]["exit_code"] == code and not spool.exists()


def test_a_server_that_is_down_changes_nothing(nobody: str) -> None:
    done = bare(COMMAND, "run", "--", sys.executable, "-c", "raise SystemExit(5)")
    assert (done.returncode, done.stdout, done.stderr) == (5, "", "")


def test_the_other_commands_work_too_and_say_what_is_not_kept(receiver: Receiver, tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text('<testsuites><testsuite><testcase name="a"/></testsuite></testsuites>')
    assert bare(COMMAND, "a.cli", "--strict").returncode == 0
    assert bare(COMMAND, "import", "junit", str(report), "--strict").returncode == 0
    assert bare(COMMAND, "flush", "--strict").returncode == 0
    shown = bare(COMMAND, "spool", "status")
    assert "no file locks: events are kept in memory alone" in shown.stdout, shown
    assert len(receiver.of("a.cli")) == len(receiver.of("testsuiterun.finished")) == 1


def test_what_is_refused_there_hurts_nobody(receiver: Receiver) -> None:
    receiver.answer(422, times=99)
    done = bare(COMMAND, "run", "--", sys.executable, "-c", "raise SystemExit(5)")
    assert (done.returncode, done.stdout, done.stderr) == (5, "", "")
    assert receiver.requests and receiver.events == []


def test_a_spool_of_somebody_elses_stays_as_it_is(receiver: Receiver, spool: Path) -> None:
    """A folder that a system with locks shares: what is in it is for those who can tell whose it is."""
    spool.mkdir()
    other = spool / "1-2-3.ndjson"
    other.write_text('{"bers_spool": 1, "sent":               37}\n{"type": "a.other"}\n')
    assert bare(COMMAND, "a.cli").returncode == 0
    assert os.listdir(spool) == ["1-2-3.ndjson"] and len(receiver.of("a.cli")) == 1 and not receiver.of("a.other")
