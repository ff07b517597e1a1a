"""Whatever the server and the disk do: the exit code is the command's, and the command hardly waits.

What a run costs when all is well is for tests/bench/emitter.py to say: here it depends on what else the machine does.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

import pytest

from bers_emit.testing import Receiver

InTime = Callable[[float, "Callable[[], object]"], None]

LONG = bool(os.environ.get("BERS_TEST_LONG"))
CODES = (0, 1, 3, 126, 127, 137, 143)
TROUBLES = (
    "refusing",
    "hanging",
    "500",
    "unresolvable",
    "disk full",
    "disk full and hanging",
    "no disk",
    "key refused",
)
CASES = [
    (trouble, code, ci)
    for at, trouble in enumerate(TROUBLES)
    for number, code in enumerate(CODES)
    for ci in (False, True)
    # The short form takes each code and each trouble, if not all of their pairs.
    if LONG or (number % len(TROUBLES) == at % len(CODES) and ci == bool(at % 2))
]
WELL = 1.0
"""Seconds that the starts of the command and of what it wraps may take; a busy machine is given more."""


def _no_file_beyond_a_kilobyte() -> None:
    """In the child: a full disk, as far as files go; what it writes to a pipe is no file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))


@contextmanager
def _trouble(name: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    if name == "refusing":
        monkeypatch.setenv("BERS_EMIT_URL", "http://127.0.0.1:1")
    elif name == "unresolvable":
        monkeypatch.setenv("BERS_EMIT_URL", "http://no.such.host.invalid")
    elif name == "500":
        receiver.answer(500, times=99)
    elif name == "key refused":
        receiver.answer(401, times=99)
    elif name == "no disk":
        monkeypatch.setenv("BERS_EMIT_SPOOL", "/dev/full/spool")
        receiver.hang_after = 0
    if "hanging" in name:
        receiver.hang_after = 0
    yield


@pytest.mark.usefixtures("usual_budget")
@pytest.mark.parametrize(("trouble", "code", "ci"), CASES)
def test_the_exit_code_is_the_commands_and_it_hardly_waits(
    trouble: str, code: int, ci: bool, receiver: Receiver, in_time: InTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ci:
        monkeypatch.setenv("CI", "1")
    budget = 3.5 if ci else 1.5
    command = [sys.executable, "-m", "bers_emit", "run", "--label", "x=" + "y" * 2000, "--", "sh", "-c", f"exit {code}"]

    def run() -> None:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            preexec_fn=_no_file_beyond_a_kilobyte if "disk full" in trouble else None,
        )
        assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")

    with _trouble(trouble, receiver, monkeypatch):
        in_time(budget + WELL, run)


@pytest.mark.parametrize("code", CODES)
def test_when_all_is_well_it_is_the_commands_too(code: int, receiver: Receiver) -> None:
    command = [sys.executable, "-m", "bers_emit", "run", "--", "sh", "-c", f"exit {code}"]
    assert subprocess.run(command, check=False).returncode == code
    [finished] = receiver.of("task.finished")
    assert finished["measures"]["exit_code"] == code


def test_a_disk_that_is_full_sends_from_memory(receiver: Receiver, spool: Path) -> None:
    command = [sys.executable, "-m", "bers_emit", "run", "--capture-args", "--", "true", "x" * 3000]
    subprocess.run(command, check=True, preexec_fn=_no_file_beyond_a_kilobyte)
    assert [event["type"] for event in receiver.events] == ["task.started", "task.finished"]
    assert list(spool.glob("*.ndjson")) == []
