"""Event details: what happened, in full, for as long as its type deserves."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from bers import Event, redact, rfc3339

from .config import RestStoreConfig

EventRow: TypeAlias = tuple[str, str, str, float, float, str, bytes]

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
    keep = config.lasting_keep if any(matches(event.type, one) for one in config.lasting) else config.events_keep
    body = msgspec.msgpack.encode(event)
    return event.source, event.id, event.type, event.time, min(event.time, now) + keep, event.subject, body


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
