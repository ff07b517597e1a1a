"""Event details: what happened, in full, for as long as its type deserves."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from bers import Event, redact, rfc3339

from .config import RestStoreConfig

EventRow: TypeAlias = tuple[str, str, str, float, float, str, bytes]

_HALVINGS = 12
"""Of the whole retention: 90 days are cut to within half an hour."""

_decoder = msgspec.msgpack.Decoder(Event)

# Loose index scan: one look-up per type, however many events there are.
_TYPES = """
WITH RECURSIVE types (type) AS (
    SELECT min(type) FROM events UNION ALL SELECT (SELECT min(type) FROM events WHERE type > types.type) FROM types
    WHERE type IS NOT NULL
) SELECT type FROM types WHERE type IS NOT NULL
"""

_SOURCES = """
WITH RECURSIVE sources (source) AS (
    SELECT min(source) FROM events
    UNION ALL SELECT (SELECT min(source) FROM events WHERE source > sources.source) FROM sources
    WHERE source IS NOT NULL
) SELECT source FROM sources WHERE source IS NOT NULL
"""


def row(event: Event, config: RestStoreConfig, now: float) -> EventRow:
    """What is kept of an event. One from the future is not kept the longer for it."""
    body = msgspec.msgpack.encode(event)
    expires = min(event.time, now) + keep(event.type, config)
    return event.source, event.id, event.type, event.time, expires, event.subject, body


def keep(type: str, config: RestStoreConfig) -> float:
    """For how many seconds the details of such events are kept."""
    return config.lasting_keep if any(matches(type, one) for one in config.lasting) else config.events_keep


def matches(type: str, pattern: str) -> bool:
    """Whether a type is meant by ``build.finished``, ``build.*`` or ``*``."""
    return pattern in ("*", type) or (pattern.endswith(".*") and type.startswith(pattern[:-1]))


def add(connection: sqlite3.Connection, rows: Iterable[EventRow]) -> None:
    """Keep events; one that two pipelines bring is kept once."""
    connection.executemany("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def newest(
    connection: sqlite3.Connection, pattern: str, *, subject: str, since: float, now: float, limit: int
) -> list[bytes]:
    """The newest events of the types meant, newest first."""
    found: list[tuple[float, int, bytes]] = []
    for (type,) in connection.execute(_TYPES).fetchall():
        if matches(type, pattern):
            found += connection.execute(
                "SELECT time, rowid, body FROM events WHERE type = ? AND time >= ? AND expires > ? "
                "AND (subject = ? OR ?) ORDER BY time DESC LIMIT ?",
                (type, since, now, subject, not subject, limit),
            ).fetchall()
    found.sort(reverse=True)
    return [body for _, _, body in found[:limit]]


def begin(connection: sqlite3.Connection, now: float) -> None:
    """Write down when this file began to be kept, if that is not known yet."""
    connection.execute("CREATE TABLE IF NOT EXISTS kept (one INTEGER PRIMARY KEY CHECK (one = 1), since REAL NOT NULL)")
    connection.execute("INSERT OR IGNORE INTO kept VALUES (1, ?)", (now,))


def began(connection: sqlite3.Connection, types: Sequence[str], since: float, now: float) -> float:
    """Since when there are records: as long as this file is kept, and longer where older ones were handed in."""
    begin(connection, now)  # A file that was salvaged may have lost it.
    oldest = [
        time
        for type in types
        for (time,) in connection.execute(
            "SELECT min(time) FROM events WHERE type = ? AND time BETWEEN ? AND ?", (type, since, now)
        )
        if time is not None
    ]
    (kept,) = connection.execute("SELECT since FROM kept").fetchone()
    return float(max(since, min([*oldest, kept])))


def newest_since(connection: sqlite3.Connection, types: Sequence[str], since: float, now: float, most: int) -> float:
    """From when on there are at most so many events of these types: ``since``, if it can be."""

    def number(start: float) -> int:
        return sum(
            connection.execute(
                "SELECT count(*) FROM events WHERE type = ? AND time BETWEEN ? AND ?", (type, start, now)
            ).fetchone()[0]
            for type in types
        )

    low, high = since, now
    if number(low) <= most:
        return low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if number(middle) <= most else (middle, high)
    return high


def slice_of(
    connection: sqlite3.Connection, type: str, after: tuple[float, int], now: float, limit: int
) -> list[tuple[float, int, bytes]]:
    """The next events of one type behind a time and a row, oldest first, as time, row and body."""
    return connection.execute(
        "SELECT time, rowid, body FROM events WHERE type = ? AND (time, rowid) > (?, ?) AND time <= ? AND expires > ? "
        "ORDER BY time, rowid LIMIT ?",
        (type, *after, now, now, limit),
    ).fetchall()


def of_id(connection: sqlite3.Connection, id: str, source: str, now: float, limit: int) -> list[bytes]:
    """The events of an id, of one source or of any, newest first."""
    sources = [source] if source else [row[0] for row in connection.execute(_SOURCES).fetchall()]
    found: list[tuple[float, bytes]] = []
    for one in sources:
        found += connection.execute(
            "SELECT time, body FROM events WHERE source = ? AND id = ? AND expires > ?", (one, id, now)
        ).fetchall()
    found.sort(reverse=True)
    return [body for _, body in found[:limit]]


def expiry(connection: sqlite3.Connection, event: Event) -> float | None:
    """Until when the details of an event are kept; None where they are not."""
    row = connection.execute(
        "SELECT expires FROM events WHERE source = ? AND id = ?", (event.source, event.id)
    ).fetchone()
    return float(row[0]) if row else None


def as_records(bodies: Sequence[bytes]) -> list[dict[str, Any]]:
    """Events as CloudEvents would have them, without secrets."""
    return [_as_record(_decoder.decode(body)) for body in bodies]


def _as_record(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return {"specversion": "1.0", **redact(fields), "time": rfc3339(event.time), "timestamp": round(event.time * 1000)}
