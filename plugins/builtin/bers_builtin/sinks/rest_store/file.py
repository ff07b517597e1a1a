"""The database file: its tables, and how what they hold is read and written."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec

from bers import BersError, Labels, Tier

from . import pages
from .pages import PageKey, Raw
from .partials import Series

VERSION = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, metric TEXT NOT NULL, labels BLOB NOT NULL, stamp BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS segments (id INTEGER PRIMARY KEY AUTOINCREMENT, windows BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS folding (one INTEGER PRIMARY KEY CHECK (one = 1), upto INTEGER, series INTEGER);
CREATE TABLE IF NOT EXISTS pages (
    series INTEGER, tier INTEGER, start REAL, end REAL, width REAL, number INTEGER, expires REAL NOT NULL,
    summary BLOB NOT NULL, checksum INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (series, tier, start, width)
);
CREATE INDEX IF NOT EXISTS pages_expire ON pages (expires);
CREATE TABLE IF NOT EXISTS events (
    source TEXT, id TEXT, type TEXT, time REAL, expires REAL NOT NULL, subject TEXT, body BLOB NOT NULL,
    PRIMARY KEY (source, id)
);
CREATE INDEX IF NOT EXISTS events_by_type ON events (type, time);
CREATE INDEX IF NOT EXISTS events_expire ON events (expires);
"""

_labels = msgspec.msgpack.Decoder(Labels)
_stamp = msgspec.msgpack.Decoder(tuple[Tier, ...])


class Progress(NamedTuple):
    """How far an interrupted folding came: every segment up to one, of every series up to one, is in pages."""

    segment: int = 0
    series: int = 0


def prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, VERSION):
        raise BersError(f"its layout is {version}, and this bers reads layout {VERSION}; use the bers that wrote it")
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def load_series(connection: sqlite3.Connection) -> list[tuple[int, str, Labels, tuple[Tier, ...]]]:
    return [
        (id, metric, _labels.decode(labels), _stamp.decode(stamp))
        for id, metric, labels, stamp in connection.execute("SELECT id, metric, labels, stamp FROM series")
    ]


def save_series(connection: sqlite3.Connection, series: Iterable[Series]) -> None:
    encode = msgspec.msgpack.encode
    connection.executemany(
        "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?)",
        [(one.id, one.metric, encode(one.labels), encode(one.stamp)) for one in series],
    )


def newest_summaries(connection: sqlite3.Connection) -> list[tuple[PageKey, bytes]]:
    """The newest page of each tier of each series."""
    return [
        (PageKey(series, tier, width, number), summary)
        for series, tier, width, number, summary, _ in connection.execute(
            "SELECT series, tier, width, number, summary, max(start) FROM pages GROUP BY series, tier"
        )
    ]


def segments(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
    """Every segment that is not folded yet, oldest first."""
    return connection.execute("SELECT id, windows FROM segments ORDER BY id").fetchall()


def progress(connection: sqlite3.Connection) -> Progress:
    row = connection.execute("SELECT upto, series FROM folding").fetchone()
    return Progress(*row) if row else Progress()


def folded(connection: sqlite3.Connection, to: Progress) -> None:
    """Note how far a folding came."""
    connection.execute("INSERT OR REPLACE INTO folding VALUES (1, ?, ?)", to)


def finish_folding(connection: sqlite3.Connection, segment: int) -> None:
    """Forget the segments whose every window is in pages."""
    connection.execute("DELETE FROM segments WHERE id <= ?", (segment,))
    connection.execute("DELETE FROM folding")


def find_pages(connection: sqlite3.Connection, keys: Iterable[PageKey]) -> dict[PageKey, int]:
    """The checksums of those pages that there are."""
    found: dict[PageKey, int] = {}
    for key in keys:
        if row := connection.execute(
            "SELECT checksum FROM pages WHERE series = ? AND tier = ? AND start = ? AND width = ?", _place(key)
        ).fetchone():
            found[key] = row[0]
    return found


def read_page(connection: sqlite3.Connection, key: PageKey) -> Raw:
    summary, crc, data, expires = connection.execute(
        "SELECT summary, checksum, data, expires FROM pages WHERE series = ? AND tier = ? AND start = ? AND width = ?",
        _place(key),
    ).fetchone()
    return Raw(summary, pages.decompress(key, data, crc), expires)


def write_page(connection: sqlite3.Connection, key: PageKey, expires: float, summary: bytes, columns: bytes) -> int:
    """Return the checksum."""
    data = pages.compress(columns)
    crc = pages.checksum(data)
    connection.execute(
        "INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (key.series, key.tier, key.start, key.end, key.width, key.number, expires, summary, crc, data),
    )
    return crc


def pages_between(
    connection: sqlite3.Connection, series: int, tier: int, start: float, end: float
) -> list[tuple[PageKey, int, bytes]]:
    """The pages of one tier that touch a span of time: key, checksum, summary."""
    return [
        (PageKey(series, tier, width, number), crc, summary)
        for width, number, crc, summary in connection.execute(
            "SELECT width, number, checksum, summary FROM pages "
            "WHERE series = ? AND tier = ? AND start < ? AND end > ? ORDER BY start",
            (series, tier, end, start),
        )
    ]


def delete_expired_pages(connection: sqlite3.Connection, now: float, limit: int) -> list[PageKey]:
    """Delete some of the pages that are past their time, and return which."""
    return [
        PageKey(*row)
        for row in connection.execute(
            "DELETE FROM pages WHERE rowid IN (SELECT rowid FROM pages WHERE expires <= ? LIMIT ?) "
            "RETURNING series, tier, width, number",
            (now, limit),
        ).fetchall()
    ]


def delete_expired_events(connection: sqlite3.Connection, now: float, limit: int) -> int:
    """Delete some of the event details that are past their time, and return how many."""
    return connection.execute(
        "DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE expires <= ? LIMIT ?)", (now, limit)
    ).rowcount


def add_segments(connection: sqlite3.Connection, blobs: Sequence[bytes]) -> int:
    """Add segments, and return the number of the newest there ever was."""
    connection.executemany("INSERT INTO segments (windows) VALUES (?)", [(blob,) for blob in blobs])
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'segments'").fetchone()
    return int(row[0]) if row else 0


def figures(connection: sqlite3.Connection, sink: str) -> tuple[int, int, int, dict[str, int]]:
    """How many segments, pages and event details there are, and the positions of one sink's readers."""
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _COUNTED]
    rows: Collection[tuple[str, int, int]] = connection.execute(
        "SELECT reader, partition, position FROM positions WHERE sink = ?", (sink,)
    ).fetchall()
    positions = {f"{reader}/{partition}": position for reader, partition, position in rows}
    return counts[0], counts[1], counts[2], positions


_COUNTED = ("segments", "pages", "events")


def _place(key: PageKey) -> tuple[int, int, float, float]:
    return key.series, key.tier, key.start, key.width
