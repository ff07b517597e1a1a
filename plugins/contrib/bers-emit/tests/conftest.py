"""No test sees the machine's own settings, and each has a spool of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Callable

import pytest

from bers_emit.testing import SURROUNDINGS, Receiver

Wrapped = Callable[..., "tuple[subprocess.CompletedProcess[str], dict[str, Any]]"]
InTime = Callable[[float, "Callable[[], object]"], None]

QUICK = "-p no:schemathesis -p no:hypothesispytest -p no:anyio"
"""Without what these sessions do not need, they start in a third of the time."""

EVERY_OUTCOME = """
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


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(SURROUNDINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BERS_EMIT_SPOOL", str(tmp_path / "spool"))


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Generator[Receiver, None, None]:
    """One that answers: it is waited for as long as a busy machine takes, and a test of the budget says so."""
    with Receiver() as receiver:
        monkeypatch.setenv("BERS_EMIT_URL", receiver.url)
        monkeypatch.setenv("BERS_EMIT_BUDGET", "30")
        yield receiver


@pytest.fixture
def usual_budget(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a process waits for the receiver as long as it does where nobody says anything else."""
    monkeypatch.delenv("BERS_EMIT_BUDGET")


@pytest.fixture
def in_time() -> InTime:
    """Does something until it took no longer than it may, beside what a start of Python takes at that moment.

    What is too slow by itself is so each time. What was slow once because the machine did something else, is not.
    """

    def clocked(do: Callable[[], object]) -> float:
        start = time.monotonic()
        do()
        return time.monotonic() - start

    def look(seconds: float, do: Callable[[], object]) -> None:
        took: list[tuple[float, float]] = []
        for _ in range(5):
            whole = clocked(do)
            if whole <= seconds:
                return
            start = clocked(lambda: subprocess.run([sys.executable, "-c", "import bers_emit.cli"], check=True))
            if whole <= seconds + start:
                return
            took.append((whole, start))
        raise AssertionError(f"it may take {seconds} s and a start; what both took: {took}")

    return look


@pytest.fixture
def wrapped(receiver: Receiver, tmp_path: Path) -> Wrapped:
    """Runs a command under ``bers-emit run``: what it said, and what was told of its end.

    That has to be one event, which has the time of the command within a twentieth. The time around it, of which ours is
    a part, counts as well: a busy machine shows there, too.
    """
    script = f'cd "{tmp_path}"; date +%s%N > begun; cd - > /dev/null; "$@"; code=$?; date +%s%N > "{tmp_path}/ended"; '
    clocked = ["sh", "-c", f"{script}exit $code", "sh"]

    def run(
        kind: str, *command: str, code: int = 0, options: Sequence[str] = ()
    ) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
        emit = [sys.executable, "-m", "bers_emit", "run", "--kind", kind, *options, "--"]
        start = time.perf_counter()
        done = subprocess.run([*emit, *clocked, *command], capture_output=True, text=True, check=False)
        whole = (time.perf_counter() - start) * 1000
        assert done.returncode == code, done.stdout + done.stderr
        begun, ended = (int((tmp_path / name).read_text()) / 1e6 for name in ("begun", "ended"))
        start = time.perf_counter()
        subprocess.run([*clocked, "true"], check=True)
        around = (time.perf_counter() - start) * 1000  # What shell and clock take.
        [finished] = [event for event in receiver.events if event["type"].endswith(".finished")]
        assert ended - begun <= finished["duration_ms"] <= whole
        assert finished["duration_ms"] <= (ended - begun) * 1.05 + 2 * (around + whole - finished["duration_ms"])
        return done, finished

    return run


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Generator[str, None, None]:
    """The address of a server that is down."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # Where nobody listens, and nobody else begins to.
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setenv("BERS_EMIT_URL", url)
        yield url


@pytest.fixture
def session(pytester: pytest.Pytester, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Sessions in a folder of their own, which report though they run inside of a test."""
    monkeypatch.setenv("PYTEST_ADDOPTS", f"--bers {QUICK}")
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)
    return pytester


@pytest.fixture
def every_outcome() -> str:
    """Thirteen tests, with every outcome that there is; three did not pass."""
    return EVERY_OUTCOME
