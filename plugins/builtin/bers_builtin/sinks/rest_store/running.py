"""Which runs go on: those that have begun and not ended, kept beside the events, because few of many do.

Whatever the order in which events come, it is the same: a run ends with what was told of it at its beginning or later.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from .details import EventRow, Place
from .run_types import BEGIN, END, IS_RUN, among

LATELY = 7 * 86_400.0
"""Seconds after which nobody waits any more for the end of what has begun."""

_TABLE = """
CREATE TABLE running (
    type TEXT, time REAL, source TEXT, id TEXT, subject TEXT, PRIMARY KEY (type, time, source, id)
) WITHOUT ROWID
"""
_INDEX = "CREATE INDEX running_by_subject ON running (subject)"
_ENDED = (
    f"EXISTS (SELECT 1 FROM events WHERE {IS_RUN} AND subject = begun.subject AND source = begun.source "
    f"AND {among(END)} AND time >= begun.time)"
)
_EVERY_BEGUN = (
    "INSERT INTO running SELECT type, time, source, id, subject FROM events AS begun "
    f"WHERE {among(BEGIN)} AND NOT {_ENDED}"
)
_BEGUN = (
    "INSERT OR IGNORE INTO running SELECT * FROM "
    f"(SELECT ? AS type, ? AS time, ? AS source, ? AS id, ? AS subject) AS begun WHERE NOT {_ENDED}"
)


def prepare(connection: sqlite3.Connection, *, anew: bool) -> None:
    """Make the table of the events that there are, where there is none, or where it may lack something."""
    if anew:
        connection.execute("DROP TABLE IF EXISTS running")
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'running'").fetchone():
        connection.execute(_TABLE)
        connection.execute(_INDEX)
        connection.execute(_EVERY_BEGUN)


def add(connection: sqlite3.Connection, rows: Iterable[EventRow]) -> None:
    """Follow events that were just written down."""
    begun, ended = list[tuple[str, float, str, str, str]](), list[tuple[str, str, float]]()
    for source, id, type, time, _, subject, *_ in rows:
        if type in BEGIN:
            begun.append((type, time, source, id, subject))
        elif type in END:
            ended.append((subject, source, time))
    connection.executemany(_BEGUN, begun)
    connection.executemany("DELETE FROM running WHERE subject = ? AND source = ? AND time <= ?", ended)


def newest(
    connection: sqlite3.Connection,
    types: Iterable[str],
    *,
    since: float,
    now: float,
    limit: int,
    after: Place,
) -> list[tuple[Any, ...]]:
    """The newest that began as one of these types, behind a place: a row number, and what is stored."""
    rows: list[tuple[Any, ...]] = []
    for type in types:
        rows += connection.execute(
            "SELECT events.rowid, events.source, events.id, events.type, events.time, expires, events.subject, "
            "body, checksum FROM running CROSS JOIN events USING (source, id, type, time) "
            "WHERE running.type = ? AND running.time > ? AND running.time <= ? AND expires > ? "
            "AND (running.time, running.source, running.id) < (?, ?, ?) "
            "ORDER BY running.time DESC, running.source DESC, running.id DESC LIMIT ?",
            (type, since, after[0], now, *after, limit),
        ).fetchall()
    return rows


def forget(connection: sqlite3.Connection, before: float) -> None:
    """Forget what began before a time: nobody waits for its end any more."""
    connection.execute(f"DELETE FROM running WHERE {among(BEGIN)} AND time <= ?", (before,))
