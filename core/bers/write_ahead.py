"""SQLite's write-ahead log: where it is, how it is laid out, the checksum that it goes by, and how it is synced."""

from __future__ import annotations

import os
from pathlib import Path
from struct import Struct, unpack

HEAD = Struct(">8I")
"""Of the log: its magic number, version and page size, a count, two salts, and the two halves of the checksum."""

FRAME_HEAD = Struct(">6I")
"""Of each page in it: its number, the size of the file where a transaction ends, the salts, and the checksum."""

SUMS = Struct(">2I")
"""The two halves of a checksum, with which both heads end."""

_LITTLE, _BIG = 0x377F0682, 0x377F0683


def log_of(path: Path) -> Path:
    """The write-ahead log of a database."""
    return path.with_name(f"{path.name}-wal")


def sync(path: Path) -> bool:
    """Make durable what the log of a database holds, whoever wrote it; False where the disk does not let us.

    What is not in the log any more was synced before it was taken out. SQLite's locks are on other files: that this
    one is closed lets go of none.
    """
    try:
        for place, flush in ((log_of(path), os.fdatasync), (path.parent, os.fsync)):
            file = os.open(place, os.O_RDONLY)
            try:
                flush(file)
            finally:
                os.close(file)
    except FileNotFoundError:  # There is no log.
        return True
    except OSError:
        return False
    return True


def order_of(magic: int) -> str:
    """The order of bytes in which a log is summed up, by its magic number; empty where that is none."""
    return {_LITTLE: "<", _BIG: ">"}.get(magic, "")


def summed_up(data: bytes, order: str, sums: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """SQLite's checksum of some of a log, behind that of what comes before."""
    one, two = sums
    words = unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def summed_up_with(frame: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    """The checksum that a frame bears, behind that of what comes before: of the page, and what its head says of it."""
    return summed_up(frame[FRAME_HEAD.size :], order, summed_up(frame[:8], order, sums))
