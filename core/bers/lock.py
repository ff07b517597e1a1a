"""One process for one data directory."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from bers import disk
from bers.errors import ConfigError, Unwritable

PID_FILE = "bers.pid"

_MOMENT = 0.5
"""Seconds in which whoever has just taken a directory writes down who it is."""

_ASKED = 10.0
"""Seconds for which whoever only asks is waited for: what holds it for an instant may itself be kept from going on."""


@contextmanager
def hold(data_dir: Path, *, wait: float = 0.0) -> Generator[None]:
    """Own the directory until the block is left.

    Raise ConfigError naming the process that owns it, or why none ever can; Unwritable where none can at present.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = os.open(data_dir / PID_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as exc:
        if disk.disk_fault(exc):
            raise Unwritable(f"{str(data_dir)!r} cannot be written to: {exc.strerror}") from exc
        raise unwritable(data_dir, exc) from exc
    deadline = time.monotonic() + max(wait, 0.1)
    asked = time.monotonic() + max(wait, _ASKED)
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                # Whoever asks who holds it (`holder`) holds it too, beside others who ask.
                if (now := time.monotonic()) >= deadline and (now >= asked or _is_owned(data_dir)):
                    raise ConfigError(
                        f"{str(data_dir)!r} is in use by process {holder(data_dir) or 'unknown'}; "
                        f"stop it with `bers stop`, or choose another directory",
                        path="data_dir",
                    ) from None
                time.sleep(0.02)
        with suppress(OSError):  # The lock is what counts: who holds it need not be known where the disk is full.
            _put(file, f"{os.getpid()}\n", clear=b"\n")  # What a killed process announced must not seem to be ours.
        yield
        with suppress(OSError):
            os.ftruncate(file, 0)
    finally:
        os.close(file)


def unwritable(data_dir: Path, error: OSError) -> ConfigError:
    """What to say of a directory that cannot be made or written to."""
    remedy = "let this user write there, or choose another directory"
    return ConfigError(f"{str(data_dir)!r} cannot be written to: {error.strerror}; {remedy}", path="data_dir")


def announce(data_dir: Path, url: str, config: Path | None) -> None:
    """Write beside the process id where this node answers, and what it was started with; only its holder may."""
    lines = [str(os.getpid()), url, str(config.absolute()) if config else ""]
    file = os.open(data_dir / PID_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _put(file, "\n".join(lines) + "\n")
    finally:
        os.close(file)


def announced(data_dir: Path) -> tuple[str, Path | None] | None:
    """The address and the configuration file of the node that runs on a directory; None where none runs."""
    if holder(data_dir) is None:
        return None
    lines = (data_dir / PID_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    if len(lines) < 3 or not lines[1]:
        return None
    return lines[1], Path(lines[2]) if lines[2] else None


def _put(file: int, text: str, *, clear: bytes = b"") -> None:
    """Write a file anew. In place: what has room already needs none on a disk that is full.

    ``clear`` parts it from the rest of what was there, until that is cut off.
    """
    data = text.encode()
    disk.assert_whole(os.pwrite(file, data + clear, 0), data + clear)
    os.ftruncate(file, len(data))


def holder(data_dir: Path) -> int | None:
    """The id of the process that owns a directory; None where nobody does."""
    try:
        file = os.open(data_dir / PID_FILE, os.O_RDONLY)
    except OSError:
        return None
    try:
        return _holder(file)
    finally:
        os.close(file)


def _is_owned(data_dir: Path) -> bool:
    """Whether a process owns a directory, and does not only ask who does."""
    file = os.open(data_dir / PID_FILE, os.O_RDONLY)
    try:
        return _is_held(file)
    finally:
        os.close(file)


def _is_held(file: int) -> bool:
    """Whether somebody holds an open file for himself; if not, it is shared with others who ask, until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _holder(file: int) -> int | None:
    """Who holds an open file.

    Between taking it and writing that down, there stands still who was killed: a process that is gone is given a
    moment to be replaced. It may also be one that cannot be seen from here, as in another container.
    """
    deadline = time.monotonic() + _MOMENT
    while True:
        if not _is_held(file):
            return None  # What is written there is left from a process that was killed.
        text = os.pread(file, 32, 0).decode(errors="replace").partition("\n")[0]
        found = int(text) if text.isdigit() else None
        if found and (_is_alive(found) or time.monotonic() >= deadline):
            return found
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.01)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
