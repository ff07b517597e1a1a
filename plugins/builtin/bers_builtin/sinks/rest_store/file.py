"""The database file: its tables, what it takes, and what of it is free."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from bers import BersError

from . import marks
from .run_types import IS_RUN

VERSION = 2
PAGE_BYTES = 1024
"""Of SQLite's own pages: the last one of every row is half empty, and rows are a few kilobytes long."""
LAYOUT: Mapping[str, int | str] = {"page_size": PAGE_BYTES, "auto_vacuum": "INCREMENTAL"}
"""Its pages are small, and it gives back to the disk what it has deleted."""
ROW_BYTES = 120
"""About what a row takes beside its content, in the table and in indexes."""
AIR = 0.3
"""So much of the file may be free (and overwritten with zeros) before it is shortened."""
LOG_BYTES = 8 << 20
"""How long the log may stay after a checkpoint."""
_TABLES = f"""
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, metric TEXT NOT NULL, labels BLOB NOT NULL, stamp BLOB NOT NULL, kept BLOB NOT NULL,
    time REAL, position INTEGER, last REAL, checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, checksum INTEGER NOT NULL, windows BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS pages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, series INTEGER, tier REAL, width REAL, start REAL, end REAL, seq INTEGER,
    folds INTEGER, windows INTEGER, expires REAL NOT NULL, bytes INTEGER, checksums BLOB NOT NULL,
    summary BLOB NOT NULL, data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS pages_by_place ON pages (series, tier, start);
CREATE INDEX IF NOT EXISTS pages_expire ON pages (tier, expires, bytes);
CREATE TABLE IF NOT EXISTS damaged (
    id INTEGER PRIMARY KEY, expires REAL NOT NULL, loss BLOB NOT NULL, row BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    source TEXT, id TEXT, type TEXT, time REAL, expires REAL NOT NULL, subject TEXT, body BLOB NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (source, id)
);
CREATE INDEX IF NOT EXISTS events_by_type ON events (type, time);
CREATE INDEX IF NOT EXISTS events_expire ON events (expires);
CREATE INDEX IF NOT EXISTS runs_by_subject ON events (subject) WHERE {IS_RUN};
"""


class Held(NamedTuple):
    """What there is of one kind of rows."""

    rows: int = 0
    bytes: int = 0
    oldest: float | None = None
    """When what is oldest began, in seconds since 1970."""


def put_older_aside(path: Path) -> Path | None:
    """Move a database of an older layout aside, and return where it is now.

    One of a newer layout stays: an older program must not take away what the newer one needs.
    """
    aside = None
    if path.exists() and 0 < (version := _layout(path)) < VERSION:
        aside = path.with_name(f"{path.name}.layout-{version}")
        for suffix in ("-wal", "-shm", ""):
            if (one := path.with_name(path.name + suffix)).exists():
                one.rename(aside.with_name(aside.name + suffix))
    return aside


def set_aside_before(path: Path) -> list[str]:
    """The names of databases of older layouts that lie beside this one."""
    return sorted(one.name for one in path.parent.glob(f"{path.name}.layout-*") if one.suffix[-1:].isdigit())


def _layout(path: Path) -> int:
    try:
        with closing(sqlite3.connect(path)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            return int(version)
    except sqlite3.DatabaseError:
        return 0  # It is damaged, and mended when it is opened.


def prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, VERSION):
        raise BersError(f"its layout is {version}, and this bers reads layout {VERSION}; use the bers that wrote it")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_BYTES // 2 // PAGE_BYTES}")
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    marks.prepare(connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def set_aside(connection: sqlite3.Connection, table: str, id: int, loss: bytes, expires: float) -> None:
    """Move a damaged row where nobody reads it."""
    row = connection.execute(f"SELECT * FROM {table} WHERE rowid = ?", (id,)).fetchone()
    content = msgspec.msgpack.encode(row)
    connection.execute("INSERT INTO damaged (expires, loss, row) VALUES (?, ?, ?)", (expires, loss, content))
    connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (id,))


def disk_bytes(path: Path) -> int:
    """What a database takes on disk, with its log."""
    return sum(one.stat().st_size for one in (path, path.with_name(path.name + "-wal")) if one.exists())


def used_bytes(connection: sqlite3.Connection) -> int:
    """What the database takes without what is free in it."""
    pages_, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages_ - free) * size)


def is_airy(connection: sqlite3.Connection) -> bool:
    """Whether a good part of the file is free. A little is used again at once: to give it back would be for nothing."""
    (pages_,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return bool(free > pages_ * AIR)


def shorten(connection: sqlite3.Connection) -> list[int]:
    """Give some of the pages that are free back to the disk; return how many are left, if any."""
    connection.execute("PRAGMA incremental_vacuum(100)").fetchall()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return [free] if free else []


def figures(connection: sqlite3.Connection, sink: str) -> tuple[int, int, int, dict[str, int]]:
    """How many segments, parts of pages and event details there are, and the positions of one sink's readers."""
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _COUNTED]
    rows: Collection[tuple[str, int, int]] = connection.execute(
        "SELECT reader, partition, position FROM positions WHERE sink = ?", (sink,)
    ).fetchall()
    positions = {f"{reader}/{partition}": position for reader, partition, position in rows}
    return counts[0], counts[1], counts[2], positions


_COUNTED = ("segments", "pages", "events")
