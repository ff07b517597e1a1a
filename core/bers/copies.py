"""Databases of a directory that was copied file by file: a write-ahead log of another moment is put aside."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from struct import unpack_from
from typing import NamedTuple

from bers import disk
from bers.checksums import connect
from bers.write_ahead import FRAME_HEAD, HEAD, log_of, order_of, summed_up, summed_up_with

COMMITS = "CREATE TABLE IF NOT EXISTS commits (number INTEGER PRIMARY KEY)"
"""One row, whose key is counted up by every transaction that changes anything."""
COUNT = "UPDATE commits SET number = number + 1"
BEGIN = "INSERT INTO commits SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM commits)"

_LEAF = 0x0D


class _Frame(NamedTuple):
    page: int
    commits: bool
    """Whether a transaction ends with it."""
    body: int
    """Where its page begins in the file."""


def put_right(folder: Path) -> list[str]:
    """Put aside every write-ahead log that does not belong to its database, and say so of each.

    Who copies a directory while a node runs reads a database at one moment and its log at another. SQLite takes pages
    of both then, and what comes of it was never there: a position without its data, or data twice. Without that log a
    database is what it was at an earlier moment, with its positions, and reads on from there.

    Call it before anybody has opened them, by the owner of the folder.
    """
    said: list[str] = []
    for path in sorted(folder.glob("*.db")):
        log = log_of(path)
        try:
            if log.exists() and not _belongs(path, log):
                said.append(_put_aside(path, log))
        except (OSError, sqlite3.DatabaseError):  # Damage of another kind, of which its owner tells.
            continue
    return said


def _belongs(path: Path, log: Path) -> bool:
    """Whether a log begins where its file ends, or is in the file in part or as a whole."""
    with closing(connect(path, alone=True)) as connection:
        row = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'commits'").fetchone()
        if row is None:
            is_new = not connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            return not is_new or _is_first(log)
        (in_file,) = connection.execute("SELECT number FROM commits").fetchone() or (0,)
    if _fits(in_file, _numbers(log, row[0])):
        return True
    # A loss of power leaves frames behind that SQLite does not count, by their checksums: they take a while.
    return _fits(in_file, _numbers(log, row[0], checked=True))


def _is_first(log: Path) -> bool:
    """Whether a log never began anew: only such a one has all that a file lacks in which there is nothing yet."""
    with log.open("rb") as file:
        head = file.read(HEAD.size)
    return len(head) < HEAD.size or HEAD.unpack(head)[3] == 0


def _fits(in_file: int, in_log: Sequence[int]) -> bool:
    return not in_log or in_log[0] - 1 <= in_file <= in_log[-1]


def _numbers(log: Path, root: int, *, checked: bool = False) -> list[int]:
    """The numbers of the commits that a log holds, in their order."""
    data = log.read_bytes()
    waiting: list[int] = []
    found: list[int] = []
    for frame in _frames(data, checked=checked):
        if frame.page == root and (number := _key(data, frame.body)) is not None:
            waiting.append(number)
        if frame.commits:
            found += waiting
            waiting.clear()
    return found


def _frames(data: bytes, *, checked: bool) -> Iterator[_Frame]:
    if len(data) < HEAD.size:
        return
    magic, _, size, _, *salts, _, _ = HEAD.unpack_from(data)
    order = order_of(magic)
    if not order or not 512 <= size <= 65536:
        return
    sums = summed_up(data[:24], order) if checked else (0, 0)
    for at in range(HEAD.size, len(data) - FRAME_HEAD.size - size + 1, FRAME_HEAD.size + size):
        page, pages, *rest = FRAME_HEAD.unpack_from(data, at)
        if rest[:2] != salts:
            return
        body = at + FRAME_HEAD.size
        if checked:
            sums = summed_up_with(data[at : body + size], order, sums)
            if sums != tuple(rest[2:]):
                return
        yield _Frame(page, pages > 0, body)


def _key(data: bytes, page: int) -> int | None:
    """The key of the one row of a table, from its page."""
    kind, _, rows = unpack_from(">BHH", data, page)
    if kind != _LEAF or rows != 1:
        return None
    at = page + unpack_from(">H", data, page + 8)[0]
    _, at = _varint(data, at)
    return _varint(data, at)[0]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for n in range(9):
        byte = data[at + n]
        if n == 8:
            return (value << 8) | byte, at + 9
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, at + n + 1
    raise AssertionError("a varint has nine bytes at most")


def _put_aside(path: Path, log: Path) -> str:
    aside = disk.set_aside(log, log.with_name(f"{log.name}.damaged"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    return (
        f"{path} and its write-ahead log are of two moments, as where a directory was copied while a node ran: it goes "
        f"on as it was at an earlier one, and reads again what the journal has since; the log is kept as {aside}"
    )
