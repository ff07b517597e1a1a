"""What is asked, and forgotten, of the positions in every database of a data directory."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from bers import disk, position_rows
from bers.checksums import UNREADABLE, connect, is_damage
from bers.positions import DEAD_READER, on_the_bus
from bers.write_ahead import sync

_log = logging.getLogger(__name__)


class Held(NamedTuple):
    """A position, and who holds it."""

    database: str
    """The path of the file, within its folder."""
    sink: str
    reader: str
    position: int


def held_positions(folder: Path) -> list[Held]:
    """Every position that databases of a folder hold; one that cannot be read is left out."""
    found: list[Held] = []
    for path in _databases(folder):
        with suppress(sqlite3.DatabaseError):
            found += [Held(path.name, *row) for row in _read(path)]
    return found


def highest_position(folder: Path) -> int:
    """The highest position that any database in a folder holds: where a journal that was lost begins again."""
    highest = 0
    for path in _databases(folder):
        with _spared(path):
            found = [position for _, reader, position in _read(path) if on_the_bus(reader)]
            highest = max([highest, *found])
    return highest


def lowest_position(folder: Path, readers: Collection[tuple[str, str]]) -> int | None:
    """The position below which none of these (sink, reader) needs anything any more; None where that is not known.

    It is not known while a sink has not written down where it begins, or a database cannot be read: what it may need
    is kept. Positions are read before they are synced: a database that is not synced with every commit may fall back.
    """
    if not readers:
        return None
    held: dict[tuple[str, str], int] = {}
    for path in folder.glob("*.db"):
        try:
            for sink, reader, position in _read(path):
                held[sink, reader] = position
        except UNREADABLE:
            return None
    if not held.keys() >= set(readers):
        return None
    lowest = min(held[reader] for reader in readers)
    return lowest if all(sync(path) for path in _databases(folder)) else None


def synced_position(folder: Path, sink: str, reader: str) -> int | None:
    """The position of a reader that not even a loss of power can take back; None where there is none, or not now."""
    for path in _databases(folder):
        with _spared(path):
            for held in _read(path):
                if held[:2] == (sink, reader):
                    return held[2] if sync(path) else None
    return None


def keep_positions(folder: Path, readers: Collection[tuple[str, str]]) -> None:
    """Forget the position of every (sink, reader) that is not among these: a pipeline that is gone gives it up."""
    for path in _databases(folder):
        with _spared(path), closing(connect(path)) as connection, connection:
            for sink, reader in connection.execute("SELECT DISTINCT sink, reader FROM positions").fetchall():
                if (sink, reader.removeprefix(DEAD_READER)) not in readers:
                    connection.execute("DELETE FROM positions WHERE sink = ? AND reader = ?", (sink, reader))


def forget_positions(folder: Path, readers: Collection[tuple[str, str]]) -> None:
    """Forget the position of each of these (sink, reader), while their sinks are closed."""
    for path in _databases(folder):
        with _spared(path), closing(connect(path)) as connection, connection:
            everyone = [(sink, name) for sink, reader in readers for name in (reader, DEAD_READER + reader)]
            connection.executemany("DELETE FROM positions WHERE sink = ? AND reader = ?", everyone)


@contextmanager
def _spared(path: Path) -> Generator[None]:
    """Leave a database that is damaged to its owner, who mends it when it opens it."""
    try:
        yield
    except UNREADABLE as exc:
        if not (is_damage(exc) or isinstance(exc, UnicodeDecodeError)):
            raise
        _log.warning("%s is damaged (%s): its positions are left as they are until it is mended", path, exc)


def _databases(folder: Path) -> Iterator[Path]:
    """The files that hold positions; one that is damaged is left to its owner to report."""
    for path in sorted(folder.glob("*.db")):
        try:
            with closing(connect(path, read_only=True)) as connection:
                known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'positions'").fetchone()
        except UNREADABLE as exc:
            if isinstance(exc, sqlite3.Error) and disk.disk_fault(exc) and not disk.is_unreadable(exc):
                raise  # It can be read when there is room again, and nobody may go by what the others hold alone.
            continue
        if known:
            yield path


def _read(path: Path) -> list[tuple[str, str, int]]:
    with closing(connect(path, read_only=True)) as connection:
        return position_rows.read(connection)
