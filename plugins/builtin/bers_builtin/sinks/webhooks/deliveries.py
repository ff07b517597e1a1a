"""The deliveries: who is to be told what, who was, and what came of it; one row each, in the durable database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from bers import Database, Event, summed

Status: TypeAlias = Literal["waiting", "delivered", "failed"]

LONGEST_WAIT = 3600.0
"""No wait is longer, whatever a receiver asks for. So one that seems longer shows that the clock was set back."""

_SUMMED = (
    "number, sink, channel, id, subject, type, event, status, attempts, created, next, failing_since, finished, "
    "answer, error"
)
_SCHEMA = (
    f"""
    CREATE TABLE IF NOT EXISTS webhook_deliveries (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        sink TEXT NOT NULL, channel TEXT NOT NULL, id TEXT NOT NULL,
        subject TEXT NOT NULL, type TEXT NOT NULL, event BLOB NOT NULL,
        status TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL, next REAL NOT NULL, failing_since REAL, finished REAL,
        answer INTEGER, error TEXT NOT NULL DEFAULT '',
        {summed(_SUMMED)},
        UNIQUE (sink, channel, id)
    )
    """,
    """
    CREATE INDEX IF NOT EXISTS webhook_deliveries_waiting ON webhook_deliveries (sink, channel, subject, number)
    WHERE status = 'waiting'
    """,
    """
    CREATE INDEX IF NOT EXISTS webhook_deliveries_told ON webhook_deliveries (sink, channel, subject, type)
    """,
    """
    CREATE INDEX IF NOT EXISTS webhook_deliveries_done ON webhook_deliveries (sink, channel, status, finished)
    """,
)


class New(NamedTuple):
    """A delivery to be made."""

    channel: str
    id: str
    event: Event
    only_if_told: bool
    """Whether it is of use only to whoever was to be told before that the alert fires."""


class Due(NamedTuple):
    """A delivery whose time has come."""

    number: int
    id: str
    event: Event
    attempts: int
    """How many there have been."""
    failing_since: float | None


class Delivery(msgspec.Struct, rename="camel", frozen=True):
    """A delivery, as REST shows it; times in milliseconds since 1970."""

    id: str
    """The webhook-id that the receiver gets; it stays the same in every attempt."""
    channel: str
    subject: str
    type: str
    status: Status
    attempts: int
    created_at: int
    next_attempt: int | None
    finished_at: int | None
    last_status: int | None
    """What the receiver answered last; nothing where there was no answer."""
    last_error: str


class Standing(NamedTuple):
    """How one channel does."""

    channel: str
    waiting: int
    failing_since: float | None
    """Since when the delivery that fails for longest has been failing."""
    given_up: int
    """How many were given up in the last day, after the last success."""
    delivered_at: float | None
    error: str


class Deliveries:
    """The deliveries of one sink."""

    def __init__(self, database: Database, sink: str) -> None:
        self._database = database
        self._sink = sink

    async def open(self) -> None:
        def work(connection: sqlite3.Connection) -> None:
            for statement in _SCHEMA:
                connection.execute(statement)

        await self._database.run(work)

    def add(self, connection: sqlite3.Connection, rows: Iterable[New], now: float) -> None:
        """Write down what is to be told, inside a transaction; what is there already stays as it is."""
        for row in rows:
            if row.only_if_told and not self._was_told(connection, row.channel, row.event.subject):
                continue
            connection.execute(
                "INSERT OR IGNORE INTO webhook_deliveries (sink, channel, id, subject, type, event, created, next)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(self._sink, row.channel, row.id, row.event.subject, row.event.type),
                    *(msgspec.msgpack.encode(row.event), now, now),
                ),
            )

    async def due(self, channel: str, now: float, limit: int) -> tuple[list[Due], float | None]:
        """What is to be sent now: of each subject the first, for the next only follows it. And when there is more.

        What was not tried yet is, whatever the time: the clock may have been set since it was written down.
        """

        def work(connection: sqlite3.Connection) -> tuple[list[Any], float | None]:
            rows = connection.execute(
                f"SELECT number, id, event, attempts, failing_since FROM ({_FIRSTS})"
                " WHERE attempts = 0 OR next <= ? OR next > ? ORDER BY number LIMIT ?",
                (self._sink, channel, now, now + LONGEST_WAIT, limit),
            ).fetchall()
            (later,) = connection.execute(f"SELECT min(next) FROM ({_FIRSTS})", (self._sink, channel)).fetchone()
            return rows, later

        rows, later = await self._database.run(work)
        return [
            Due(number, id, msgspec.msgpack.decode(event, type=Event), attempts, since)
            for number, id, event, attempts, since in rows
        ], later

    async def delivered(self, number: int, attempts: int, now: float, answer: int) -> None:
        await self._update(
            "status = 'delivered', attempts = ?, finished = ?, answer = ?, error = '', failing_since = NULL",
            (attempts, now, answer),
            number,
        )

    async def failed(self, number: int, attempts: int, now: float, answer: int | None, error: str) -> None:
        """Give a delivery up."""
        await self._update(
            "status = 'failed', attempts = ?, finished = ?, answer = ?, error = ?",
            (attempts, now, answer, error),
            number,
        )

    async def postpone(
        self, number: int, attempts: int, *, since: float, next: float, answer: int | None, error: str
    ) -> None:
        """Try again at ``next``; it has been failing since ``since``."""
        await self._update(
            "attempts = ?, failing_since = ?, next = ?, answer = ?, error = ?",
            (attempts, since, next, answer, error),
            number,
        )

    async def forget(self, before: float, limit: int = 500) -> int:
        """Remove some of what was done before a time; return how many there were."""

        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "DELETE FROM webhook_deliveries WHERE number IN (SELECT number FROM webhook_deliveries"
                " WHERE sink = ? AND status != 'waiting' AND finished < ? LIMIT ?)",
                (self._sink, before, limit),
            ).rowcount

        return await self._database.run(work)

    async def newest(self, status: Status | None, channel: str, limit: int) -> list[Delivery]:
        """The newest deliveries, newest first."""

        def work(connection: sqlite3.Connection) -> list[Any]:
            return connection.execute(
                "SELECT id, channel, subject, type, status, attempts, created, next, finished, answer, error"
                " FROM webhook_deliveries WHERE sink = ? AND (status = ? OR ?) AND (channel = ? OR ?)"
                " ORDER BY number DESC LIMIT ?",
                (self._sink, status, status is None, channel, not channel, limit),
            ).fetchall()

        return [_shown(row) for row in await self._database.run(work)]

    async def standing(self, channels: Sequence[str], now: float) -> list[Standing]:
        """How each channel does; and those that are not configured any more, but still have something to tell."""

        def work(connection: sqlite3.Connection) -> list[Standing]:
            left = connection.execute(
                "SELECT DISTINCT channel FROM webhook_deliveries WHERE sink = ? AND status = 'waiting'", (self._sink,)
            )
            names = dict.fromkeys([*channels, *(row[0] for row in left)])
            return [self._standing(connection, name, now) for name in names]

        return await self._database.run(work)

    def _standing(self, connection: sqlite3.Connection, channel: str, now: float) -> Standing:
        key = (self._sink, channel)
        where = "FROM webhook_deliveries WHERE sink = ? AND channel = ? AND status ="
        waiting, since = connection.execute(f"SELECT count(*), min(failing_since) {where} 'waiting'", key).fetchone()
        (delivered,) = connection.execute(f"SELECT max(finished) {where} 'delivered'", key).fetchone()
        given_up = connection.execute(
            f"SELECT count(*) {where} 'failed' AND finished > ?", (*key, max(delivered or 0.0, now - 86400))
        ).fetchone()[0]
        error = connection.execute(
            "SELECT error FROM webhook_deliveries WHERE sink = ? AND channel = ? AND error != ''"
            " ORDER BY coalesce(finished, failing_since) DESC LIMIT 1",
            key,
        ).fetchone()
        return Standing(channel, waiting, since, given_up, delivered, error[0] if error else "")

    def _was_told(self, connection: sqlite3.Connection, channel: str, subject: str) -> bool:
        told = connection.execute(
            "SELECT 1 FROM webhook_deliveries WHERE sink = ? AND channel = ? AND subject = ? AND type = 'alert.firing'",
            (self._sink, channel, subject),
        )
        return told.fetchone() is not None

    async def _update(self, changes: str, values: tuple[Any, ...], number: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(f"UPDATE webhook_deliveries SET {changes} WHERE number = ?", (*values, number))

        await self._database.run(work)


# An event without a subject belongs to nothing, so it follows nothing.
_FIRSTS = """
SELECT number, id, event, attempts, failing_since, next FROM webhook_deliveries AS one
WHERE sink = ?1 AND channel = ?2 AND status = 'waiting' AND (subject = '' OR number = (
    SELECT min(number) FROM webhook_deliveries AS other
    WHERE other.sink = one.sink AND other.channel = one.channel AND other.subject = one.subject AND status = 'waiting'
))
"""


def _shown(row: Sequence[Any]) -> Delivery:
    id, channel, subject, type, status, attempts, created, next, finished, answer, error = row
    upcoming = _ms(next) if status == "waiting" else None
    return Delivery(
        id, channel, subject, type, status, attempts, int(created * 1000), upcoming, _ms(finished), answer, error
    )


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
