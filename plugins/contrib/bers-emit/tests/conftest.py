"""No test sees the machine's own settings, and each has a spool of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Callable

import pytest

from bers_emit.testing import SURROUNDINGS, Receiver


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
    with Receiver() as receiver:
        monkeypatch.setenv("BERS_EMIT_URL", receiver.url)
        yield receiver


@pytest.fixture
def clocked(tmp_path: Path) -> Callable[..., list[str]]:
    """Makes of a command one that writes down when it begins and ends, and what it says."""
    script = f'cd "{tmp_path}"; date +%s%N > begun; cd - > /dev/null; "$@"; code=$?; date +%s%N > "{tmp_path}/ended"; '

    def command(*argv: str) -> list[str]:
        return ["sh", "-c", f"{script}exit $code", "sh", *argv]

    return command


@pytest.fixture
def lasted(tmp_path: Path, clocked: Callable[..., list[str]]) -> Callable[[float, float], None]:
    """Asserts that so many milliseconds are the time of the command that was clocked last, within a twentieth.

    It is handed the time around it as well, of which ours is a part: a busy machine shows there, too.
    """

    def check(told: float, whole: float) -> None:
        begun, ended = (int((tmp_path / name).read_text()) / 1e6 for name in ("begun", "ended"))
        start = time.perf_counter()
        subprocess.run(clocked("true"), check=True)
        around = (time.perf_counter() - start) * 1000  # What shell and clock take.
        assert ended - begun <= told <= whole
        assert told <= (ended - begun) * 1.05 + 2 * (around + whole - told)

    return check


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server that is down."""
    with Receiver() as receiver:
        url = receiver.url
    monkeypatch.setenv("BERS_EMIT_URL", url)
    return url
