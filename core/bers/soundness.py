"""Whether a database file is as it was written: its head, its log, its structure, its schema and its rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bers import schema_copy
from bers.checksums import COLUMN, UNREADABLE, as_text, assert_damage, checksum, columns_of, is_name, listed, quoted
from bers.write_ahead import FRAME_HEAD, HEAD, SUMS, log_of, order_of, summed_up, summed_up_with

AT_ONCE = 64 << 20
"""Bytes up to which a whole file is looked at when it is opened: a tenth of a second, or so."""

MAGIC = b"SQLite format 3\0"

_SAID = 8
"""How many faults of one kind are named."""


def of_head(path: Path) -> str:
    """What is wrong with the first bytes of a file that is there; SQLite would believe some of it."""
    with path.open("rb") as file:
        head = file.read(100)
    if not head:
        return "it is empty"
    if len(head) < 100:
        return "it is cut off within its head"
    if head[:16] != MAGIC:
        return "it does not begin as a database"
    if path.stat().st_size < page_size(head):
        return "it is cut off within its first page"
    if not page_size(head) or head[20:24] != b"\0@  " or head[18:20] not in (b"\1\1", b"\2\2"):
        return "its head is damaged"
    if int.from_bytes(head[44:48], "big") not in (0, 1, 2, 3, 4) or int.from_bytes(head[56:60], "big") not in (0, 1):
        return "its head is damaged"
    return ""


def page_size(head: bytes) -> int:
    """How large the pages are, by the head of a file; 0 where that cannot be."""
    size = int.from_bytes(head[16:18], "big")
    size = 65536 if size == 1 else size
    return size if size >= 512 and size & (size - 1) == 0 else 0


class Logged(NamedTuple):
    """What the log of a database says that it holds, before SQLite has looked at it."""

    frames: int = 0
    """How many frames lead up to the last commit, whole or not; -1 where the head of the log is damaged."""
    is_torn: bool = False
    """Whether a commit follows that was never written to its end."""


def logged(path: Path) -> Logged:
    """Look at the log as it was left. A last frame that is not whole, behind one that is, is no damage.

    A process leaves it so that is killed between two writes of a commit, of which nobody was told then.
    """
    with suppress(FileNotFoundError), log_of(path).open("rb") as file:
        head = file.read(HEAD.size)
        if len(head) < HEAD.size:
            return Logged()
        magic, _, size, _, *salts, one, two = HEAD.unpack(head)
        if not (order := order_of(magic)) or summed_up(head[:24], order) != (one, two):
            return Logged(-1 if file.read(1) else 0)
        commits, number = [0], 0
        while len(frame := file.read(FRAME_HEAD.size)) == FRAME_HEAD.size:
            number += 1
            _, commit, *mine, _, _ = FRAME_HEAD.unpack(frame)
            if commit and mine == salts:
                commits.append(number)
            file.seek(size, 1)
        is_whole = partial(_is_whole, file, size, order)
        ends = len(commits)
        while commits[-1] and not is_whole(commits[-1]) and is_whole(commits[-1] - 1):
            commits.pop()
        return Logged(commits[-1], is_torn=len(commits) < ends)
    return Logged()


def _is_whole(file: BinaryIO, size: int, order: str, number: int) -> bool:
    """Whether a frame has the checksum that follows from the one before it, as that bears it; 0 is the head."""
    if not number:
        return True
    step = FRAME_HEAD.size + size
    at = HEAD.size + (number - 1) * step
    file.seek((at - size if number > 1 else at) - 8)  # The head before it ends with a checksum, that of the log too.
    sums = SUMS.unpack(file.read(SUMS.size))
    file.seek(at)
    frame = file.read(step)
    if len(frame) < step:
        return False
    return summed_up_with(frame, order, sums) == SUMS.unpack_from(frame, FRAME_HEAD.size - SUMS.size)


def of_log(connection: sqlite3.Connection, frames: int) -> str:
    """Whether SQLite found as many committed frames in the log as there were, as :func:`logged` says, before."""
    if frames < 0:
        return "the head of its log is damaged: what was committed last is lost"
    if frames:
        _, found, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if 0 <= found < frames:
            return f"its log is damaged after {found} of {frames} pages: what was committed after that is lost"
    return ""


def of_structure(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds when it looks at everything, indexes included."""
    try:
        found = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_SAID})")]
    except UNREADABLE as exc:
        assert_damage(exc)
        return [str(exc)]
    return [] if found == ["ok"] else [line for text in found for line in text.splitlines() if line[:3] != "***"]


def of_schema(connection: sqlite3.Connection) -> str:
    """Whether the schema is the one that was written down."""
    try:
        if not schema_copy.is_there(connection):
            return ""
        copy = schema_copy.read(connection)
    except UNREADABLE as exc:
        assert_damage(exc)
        return f"the copy of its schema cannot be read: {exc}"
    if copy is None:
        return "the copy of its schema is damaged"
    version, layout = schema_copy.cookie(connection)
    if copy.version != version:
        return ""  # Somebody else changed it, and did not write that down.
    if copy.entries != schema_copy.master(connection):
        return "its schema is damaged"
    return "the number of its layout is damaged" if copy.layout != layout else ""


def of_rows(connection: sqlite3.Connection) -> list[str]:
    """Which rows are not as they were written, of the tables that have checksums."""
    faults: list[str] = []
    try:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if not is_name(table):
                faults.append(f"the name of table {table!r} is damaged")
                continue
            names, has_sum = columns_of(connection, table)
            if not has_sum:
                continue
            rows = connection.execute(f"SELECT {listed(names)}, {COLUMN} FROM {quoted(table)}")
            if wrong := sum(checksum(*values) != found for *values, found in rows):
                faults.append(f"{wrong} rows of table {table} are not as they were written")
    except UNREADABLE as exc:
        assert_damage(exc)
        faults.append(str(exc))
    return faults


def of_the_schema(connection: sqlite3.Connection) -> list[str]:
    """All that can be found out at once about a file however large."""
    with _damaged_text(connection):
        try:
            return [fault] if (fault := of_schema(connection)) else []
        except UNREADABLE as exc:
            assert_damage(exc)
            return [str(exc)]


def of_everything(connection: sqlite3.Connection) -> list[str]:
    """All that can be found out through a connection."""
    if found := of_structure(connection) or of_the_schema(connection):
        return found  # Whoever goes by that schema reads rows that are not there, or none of those that are.
    with _damaged_text(connection):
        return of_rows(connection)


@contextmanager
def _damaged_text(connection: sqlite3.Connection) -> Generator[None]:
    """Take text as it is, though it may be damaged, while the block lasts."""
    before, connection.text_factory = connection.text_factory, as_text
    try:
        yield
    finally:
        connection.text_factory = before
