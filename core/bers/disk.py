"""The disk below a folder: how much of it is free, what of an error is its doing, and a reserve for when it is full."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bers.errors import BersError, Unwritable, leaves
from bers.units import Size

RESERVE = 8 << 20
"""Bytes that are kept aside for when nothing else is left: enough for what has to be written down then, and for what
has to be written in order to delete."""

RESERVE_SHARE = 64
"""At most this part of the disk is kept aside."""

FREE_SHARE = 20
"""At most this part of the disk is left free on purpose."""

RESERVE_FILE = "reserve"

_TRANSIENT = frozenset(
    number
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "EACCES", "EPERM", "ENODEV", "ENXIO", "ENOMEDIUM"),
        *("ESTALE", "ETIMEDOUT", "EHOSTDOWN", "EREMOTEIO", "EUCLEAN", "ENOLCK", "EMFILE", "ENFILE"),
    )
    if (number := getattr(errno, name, None)) is not None
)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SQLITE = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})
_UNREADABLE = frozenset({sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS})

_log = logging.getLogger(__name__)


class Room(NamedTuple):
    """How many bytes of a disk are free for us, of how many; none of none where that is not known."""

    free: int
    total: int
    fault: str = ""
    """Why it cannot be looked at; empty where it can."""

    @property
    def known(self) -> bool:
        return self.total > 0


def room(folder: Path) -> Room:
    """Look. Where a disk does not say how large it is, nothing is known of it."""
    try:
        found = os.statvfs(folder)
    except OSError as exc:
        return Room(0, 0, exc.strerror or str(exc))
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def left_free(wanted: int, total: int) -> int:
    """How much of a disk is to be left free where so much is wanted: never more than its part of a small one."""
    return min(wanted, total // FREE_SHARE)


def disk_fault(error: BaseException) -> str:
    """What a disk did to us, which may be over by and by; empty where an error is anything else.

    What is full, read-only, out of order or not ours to write can change without our doing, so it is worth another
    attempt. A position that somebody else moved, or a table that is not there, is not.
    """
    found = [_words(leaf) for leaf in leaves(error)]
    return "; ".join(dict.fromkeys(found)) if all(found) else ""


def is_full(error: BaseException) -> bool:
    """Whether it is room that lacks."""
    if isinstance(error, sqlite3.Error):
        return _code(error) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def assert_whole(written: int, data: bytes) -> None:
    """Raise what a full disk raises where it took only a part of the data: what it does at its last bytes."""
    if written < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_unreadable(error: sqlite3.Error) -> bool:
    """Whether a disk does not give back what is on it, so that it is no use to wait."""
    return getattr(error, "sqlite_errorcode", 0) in _UNREADABLE


def _words(error: BaseException) -> str:
    if isinstance(error, Unwritable):
        return str(error)
    if isinstance(error, BersError):  # Raised of something else, to say more.
        return str(error) if error.__cause__ is not None and _words(error.__cause__) else ""
    if isinstance(error, sqlite3.Error):
        return str(error) if _code(error) in _SQLITE else ""
    if isinstance(error, OSError) and error.errno in _TRANSIENT:
        words = error.strerror or str(error)
        return f"{error.filename}: {words}" if error.filename else words
    return ""


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # Above that, it says which of many reasons.


class Reserve:
    """A file that takes room for as long as there is enough, so that there is some when others have taken the rest."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RESERVE_FILE

    @property
    def size(self) -> int:
        """How many bytes are kept aside."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def tend(self, found: Room, left: int) -> None:
        """Give it up where nothing else is left; make it again when there is plenty. ``left`` stays free besides."""
        wanted = min(RESERVE, found.total // RESERVE_SHARE)
        held = self.size
        if held and found.free < held // 2:
            self.give_up()
            _log.warning("the disk is full: the %s kept aside for that are given up", Size(held))
        elif not held and wanted >= 1 << 16 and found.free > left + 3 * wanted:
            with suppress(OSError):
                self._make(wanted)

    def give_up(self) -> None:
        """Let others have the room; nothing happens where there is none."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _make(self, size: int) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file, 0, size)
            else:
                for _ in range(size >> 16):
                    os.write(file, bytes(1 << 16))
        except OSError:
            self.give_up()
            raise
        finally:
            os.close(file)


def sync(path: Path) -> None:
    """Make a file durable, or the names in a folder: a file is found again only where its name is."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def set_aside(path: Path, aside: Path) -> Path:
    """Move a file to a place where nothing is yet: this one, or one of such a name."""
    free, number = aside, 1
    while free.exists():
        free, number = aside.with_name(f"{aside.stem}-{number}{aside.suffix}"), number + 1
    return path.replace(free)


def taken(paths: Iterator[Path]) -> int:
    """How many bytes these files take on the disk."""
    total = 0
    for path in paths:
        with suppress(OSError):
            total += path.stat().st_blocks * 512
    return total
