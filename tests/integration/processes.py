"""Servers as processes: started in a folder, asked, and ended by their own id."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from typing import TypeVar

import httpx2
import pytest

from bers import lock
from tests.acceptance.conftest import BERS, ROOT, Operator

USUAL = {"health": 3001, "metrics": 3002, "control": 3003}

_NAMES = ("NODE_ENV", "PICASSO_ENV", "BUILD_ENV", "BERS_EMIT_URL", "BERS_PARENT", "BERS_CHAIN")
_T = TypeVar("_T")


def environ(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a process that is to know nothing of ours, with its emitter's spool in its folder."""
    kept = {key: value for key, value in os.environ.items() if key not in _NAMES}
    return {**kept, "BERS_EMIT_SPOOL": str(folder / "spool"), **more}


def configure(
    folder: Path, replaced: Mapping[str, str] | None = None, *, ports: Mapping[str, int] | None = None, more: str = ""
) -> Path:
    """The shipped configuration on these ports, or any that are free, with some lines replaced and others added."""
    text = (ROOT / "pipelines.yaml").read_text()
    for old, new in (replaced or {}).items():
        assert old in text
        text = text.replace(old, new)
    at = ports or dict.fromkeys(USUAL, 0)
    path = folder / "pipelines.yaml"
    server = ", ".join(f"{surface}: {port}" for surface, port in at.items())
    # A test asks as often as it likes, unless it is about that.
    rate = "" if "access:" in more else "access: {rate: {per_second: 100000, burst: 100000}}\n"
    path.write_text(f"{text}\nserver: {{{server}}}\n{rate}{more}")
    return path


def installed(folder: Path, name: str, text: str) -> Path:
    """A folder of installed packages with one plugin in it, named like nothing of ours."""
    site = folder / "site"
    info = site / f"acme_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[bers]\n{name} = acme_{name}\n")
    (site / f"acme_{name}.py").write_text(text)
    return site


def free_ports() -> dict[str, int]:
    """Three ports that nobody listens on, and that nobody else is given: neither by the system nor by us."""
    chance, found = SystemRandom(), dict[str, int]()
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 12
    while len(found) < len(USUAL):
        port = 20_000 + worker * 1000 + chance.randrange(1000)
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            if port not in found.values():
                found[list(USUAL)[len(found)]] = port
    return found


@contextmanager
def usual_ports() -> Generator[None]:
    """Have the ports 3001 to 3003 for ourselves; skip where somebody else listens there."""
    with (Path(tempfile.gettempdir()) / f"bers-usual-ports.{os.getuid()}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # Another test of ours, in another process, is waited for.
        for port in USUAL.values():
            with socket.socket() as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    one.bind(("127.0.0.1", port))
                except OSError:
                    pytest.skip(f"somebody else listens on port {port}")
        yield


@contextmanager
def spawned(folder: Path, *arguments: str, **more: str) -> Generator[subprocess.Popen[bytes]]:
    """Run `bers` in a folder, with what it says in `said`; it does not outlive the block."""
    with (folder / "said").open("ab") as said:
        process = subprocess.Popen(
            [*BERS, *arguments], cwd=folder, stdout=said, stderr=said, env=environ(folder, **more)
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def started(folder: Path, *arguments: str, **more: str) -> Generator[Operator]:
    """Run `bers start`, or another command that serves, and wait until it is ready."""
    with spawned(folder, *(arguments or ("start",)), **more) as process:
        yield ready(folder, process)


@contextmanager
def detached(folder: Path) -> Generator[None]:
    """Whichever server holds the folder when the block is left is ended, by its id."""
    try:
        yield
    finally:
        while pid := lock.holder(folder / ".bers"):
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


def ready(folder: Path, process: subprocess.Popen[bytes], *, seconds: float = 60.0) -> Operator:
    """Wait until the server of a folder is ready. Where it is not that process, the process has started it."""

    def ports() -> Mapping[str, int] | None:
        assert not process.poll(), (folder / "said").read_text()
        found = lock.announced(folder / ".bers")
        try:
            if found and httpx2.get(f"{found[0]}/readyz", timeout=5).status_code == 200:
                status = httpx2.get(f"{found[0]}/api/monitoring/dashboard/status", timeout=5)
                return status.json()["data"]["server"]["ports"] if status.status_code == 200 else None
        except httpx2.TransportError:
            pass  # It has just gone, and another comes in its place.
        return None

    return Operator(folder, process, until(ports, seconds))


def until(look: Callable[[], _T | None], seconds: float = 30.0) -> _T:
    """What was looked for, as soon as it is there."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"after {seconds} s it is still {found!r}"
        time.sleep(0.02)
    return found


def at_leisure(seconds: float) -> float:
    """So many seconds where the machine has nothing else to do; three times as many where it is busy, as with xdist."""
    return seconds if _is_alone() else 3 * seconds


class Stopwatch:
    """How long something takes that a process and this thread do together.

    Where the machine is busy, what the two waited for a processor that somebody else had is left out.
    """

    def __init__(self, process: int) -> None:
        self._threads = () if _is_alone() else (process, threading.get_native_id())
        self._began, self._waited = time.monotonic(), self._waiting()

    def seconds(self) -> float:
        return time.monotonic() - self._began - (self._waiting() - self._waited)

    def _waiting(self) -> float:
        # Linux counts for each thread how long it ran, and how long it was ready to. A process is its first thread.
        with suppress(OSError, IndexError):
            return sum(int(Path(f"/proc/{one}/schedstat").read_text().split()[1]) for one in self._threads) / 1e9
        return 0.0


def _is_alone() -> bool:
    # The load average tells of the last minute, and not of the workers that have just begun.
    return "PYTEST_XDIST_WORKER" not in os.environ and os.getloadavg()[0] < (os.cpu_count() or 1)


def shown_on(terminal: int) -> str:
    """What a process shows until it ends."""
    shown = b""
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:
        pass  # The other end of a terminal is gone with its process.
    return shown.decode(errors="replace")
