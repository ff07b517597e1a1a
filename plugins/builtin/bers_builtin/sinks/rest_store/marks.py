"""What the file remembers of itself, a row each that says whether it is what was written: how far folding came, and
since when records are kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

_TABLES = {
    "folding": "one INTEGER PRIMARY KEY CHECK (one = 1), upto INTEGER, series INTEGER, checksum INTEGER NOT NULL",
    "kept": "one INTEGER PRIMARY KEY CHECK (one = 1), since REAL NOT NULL, checksum INTEGER NOT NULL",
}


class Progress(NamedTuple):
    """How far an interrupted folding came: every segment up to one, of every series up to one, is in pages."""

    segment: int = 0
    series: int = 0

    def reached(self, segment: int, series: int) -> bool:
        """Whether pages have what a segment has of a series."""
        return segment <= self.segment and series <= self.series


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables; those of a file that is older than their checksums are made anew."""
    for table, columns in _TABLES.items():
        names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        if names and "checksum" not in names:
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()
            connection.execute(f"DROP TABLE {table}")
            connection.execute(f"CREATE TABLE {table} ({columns})")
            for _, *values in rows or ([(1, *Progress())] if table == "folding" else []):
                _write(connection, table, values)
        else:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
    # The row is there from the first on, and stays: a segment beside none says that it was lost.
    if not connection.execute("SELECT 1 FROM segments LIMIT 1").fetchone() and progress(connection) is None:
        folded(connection, Progress())


def progress(connection: sqlite3.Connection) -> Progress | None:
    """None where it is not what was written."""
    values = _read(connection, "folding")
    return Progress(*values) if values else None


def folded(connection: sqlite3.Connection, to: Progress) -> None:
    """Note how far a folding came; nowhere, when its segments are forgotten."""
    _write(connection, "folding", to)


def since(connection: sqlite3.Connection) -> float | None:
    """Since when records are kept; None where that is not what was written, or never was."""
    values = _read(connection, "kept")
    return float(values[0]) if values else None


def keep_since(connection: sqlite3.Connection, time: float) -> None:
    _write(connection, "kept", (float(time),))


def is_sound(row: Sequence[Any]) -> bool:
    """Whether a row of one of the tables is what was written."""
    try:
        return bool(_checksum(row[1:-1]) == row[-1])
    except (TypeError, ValueError, OverflowError):
        return False


def _read(connection: sqlite3.Connection, table: str) -> Sequence[Any]:
    row = connection.execute(f"SELECT * FROM {table}").fetchone()
    return row[1:-1] if row and is_sound(row) else ()


def _write(connection: sqlite3.Connection, table: str, values: Sequence[Any]) -> None:
    holes = ", ".join("?" * len(values))
    connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (1, {holes}, ?)", (*values, _checksum(values)))


def _checksum(values: Sequence[Any]) -> int:
    return crc32(msgspec.msgpack.encode(list(values)))
