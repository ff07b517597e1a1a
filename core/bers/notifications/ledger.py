"""The tables of the outbox, and what is asked of them beside sending."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from bers.checksums import summed
from bers.database import Database

Status: TypeAlias = Literal["waiting", "delivered", "failed"]

_ROWS = (
    "number, sink, channel, id, subject, type, event, thread, batch, notice, status, attempts, created, formed, next, "
    "failing_since, finished, answer, error"
)
_SCHEMA = (
    f"""
    CREATE TABLE IF NOT EXISTS notifications (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        sink TEXT NOT NULL, channel TEXT NOT NULL, id TEXT NOT NULL,
        subject TEXT NOT NULL, type TEXT NOT NULL, event BLOB NOT NULL,
        thread TEXT NOT NULL, batch TEXT NOT NULL, notice TEXT NOT NULL DEFAULT '',
        status TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL, formed REAL, next REAL, failing_since REAL, finished REAL,
        answer INTEGER, error TEXT NOT NULL DEFAULT '',
        {summed(_ROWS)},
        UNIQUE (sink, channel, id)
    )
    """,
    "CREATE INDEX IF NOT EXISTS notifications_waiting ON notifications (sink, channel, next) WHERE status = 'waiting'",
    "CREATE INDEX IF NOT EXISTS notifications_subject ON notifications (sink, channel, subject, number)",
    "CREATE INDEX IF NOT EXISTS notifications_batch ON notifications (sink, channel, batch, formed) WHERE batch != ''",
    """
    CREATE INDEX IF NOT EXISTS notifications_unformed ON notifications (sink, channel, batch, number)
    WHERE status = 'waiting' AND notice = '' AND batch != '' AND next IS NOT NULL
    """,
    "CREATE INDEX IF NOT EXISTS notifications_notice ON notifications (sink, channel, notice) WHERE notice != ''",
    "CREATE INDEX IF NOT EXISTS notifications_done ON notifications (sink, channel, status, finished)",
    f"""
    CREATE TABLE IF NOT EXISTS notifications_told (
        sink TEXT NOT NULL, channel TEXT NOT NULL, subject TEXT NOT NULL, first TEXT NOT NULL, ended REAL,
        {summed("sink, channel, subject, first, ended")},
        PRIMARY KEY (sink, subject, channel)
    )
    """,
    f"""
    CREATE TABLE IF NOT EXISTS notifications_channels (
        sink TEXT NOT NULL, channel TEXT NOT NULL, mark TEXT NOT NULL, disabled REAL, why TEXT NOT NULL DEFAULT '',
        {summed("sink, channel, mark, disabled, why")},
        PRIMARY KEY (sink, channel)
    )
    """,
)


class Delivery(msgspec.Struct, rename="camel", frozen=True):
    """What one channel is to be told of one event, as REST shows it; times in milliseconds since 1970."""

    id: str
    """The id of the event, as a header carries it."""
    sent_as: str
    """The id that the receiver gets, the same in every attempt: `id`, or that of the notification that tells of
    several events."""
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
    disabled_since: float | None
    why: str


def prepare(connection: sqlite3.Connection, sink: str) -> None:
    for statement in _SCHEMA:
        connection.execute(statement)
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'webhook_deliveries'").fetchone():
        _take_over(connection, sink)


def _take_over(connection: sqlite3.Connection, sink: str) -> None:
    """Go on with what an older version wrote down."""
    connection.execute(
        """
        INSERT OR IGNORE INTO notifications (sink, channel, id, subject, type, event, thread, batch, status, attempts,
            created, next, failing_since, finished, answer, error)
        SELECT sink, channel, id, subject, type, event, id, '', status, attempts, created,
            CASE WHEN status != 'waiting' OR subject = '' OR number = (
                SELECT min(number) FROM webhook_deliveries AS other WHERE other.sink = one.sink AND
                other.channel = one.channel AND other.subject = one.subject AND other.status = 'waiting'
            ) THEN next END, failing_since, finished, answer, error
        FROM webhook_deliveries AS one WHERE sink = ? ORDER BY number
        """,
        (sink,),
    )
    connection.execute(
        """
        INSERT OR IGNORE INTO notifications_told (sink, channel, subject, first, ended)
        SELECT sink, channel, subject, id, (
            SELECT max(created) FROM webhook_deliveries AS over WHERE over.sink = one.sink AND
            over.channel = one.channel AND over.subject = one.subject AND over.type = 'alert.resolved'
            AND over.number > one.number
        ) FROM webhook_deliveries AS one WHERE sink = ? AND type = 'alert.firing' ORDER BY number DESC
        """,
        (sink,),
    )
    connection.execute("DELETE FROM webhook_deliveries WHERE sink = ?", (sink,))


def rename(connection: sqlite3.Connection, sink: str, old: str, new: str) -> None:
    """Let a channel go on with what another name was told, and is to be told."""
    for table in ("notifications", "notifications_told"):
        connection.execute(f"UPDATE OR IGNORE {table} SET channel = ? WHERE sink = ? AND channel = ?", (new, sink, old))
        connection.execute(f"DELETE FROM {table} WHERE sink = ? AND channel = ?", (sink, old))


class Ledger:
    """What operators ask about the notifications of one sink."""

    def __init__(self, database: Database, sink: str) -> None:
        self._database = database
        self._sink = sink

    async def newest(self, status: Status | None, channel: str, limit: int) -> list[Delivery]:
        """The newest deliveries, newest first."""

        def work(connection: sqlite3.Connection) -> list[Any]:
            return connection.execute(
                "SELECT id, notice, channel, subject, type, status, attempts, created, next, finished, answer, error"
                " FROM notifications WHERE sink = ? AND (status = ? OR ?) AND (channel = ? OR ?)"
                " ORDER BY number DESC LIMIT ?",
                (self._sink, status, status is None, channel, not channel, limit),
            ).fetchall()

        return [_shown(row) for row in await self._database.run(work)]

    async def standing(self, channels: Sequence[str], now: float) -> list[Standing]:
        """How each channel does; and those that are not configured any more, but still have something to tell."""

        def work(connection: sqlite3.Connection) -> list[Standing]:
            left = connection.execute(
                "SELECT DISTINCT channel FROM notifications WHERE sink = ? AND status = 'waiting'", (self._sink,)
            )
            names = dict.fromkeys([*channels, *(row[0] for row in left)])
            return [self._standing(connection, name, now) for name in names]

        return await self._database.run(work)

    def _standing(self, connection: sqlite3.Connection, channel: str, now: float) -> Standing:
        key = (self._sink, channel)
        where = "FROM notifications WHERE sink = ? AND channel = ? AND status ="
        waiting, since = connection.execute(f"SELECT count(*), min(failing_since) {where} 'waiting'", key).fetchone()
        (delivered,) = connection.execute(f"SELECT max(finished) {where} 'delivered'", key).fetchone()
        given_up, last = connection.execute(
            f"SELECT count(*), max(finished) {where} 'failed' AND finished > ?",
            (*key, max(delivered or 0.0, now - 86400)),
        ).fetchone()
        error = connection.execute(
            "SELECT error FROM notifications WHERE sink = ? AND channel = ? AND error != '' AND"
            " (status = 'waiting' OR (status = 'failed' AND finished = ?))"
            " ORDER BY coalesce(finished, failing_since) DESC LIMIT 1",
            (*key, last),
        ).fetchone()
        disabled = connection.execute(
            "SELECT disabled, why FROM notifications_channels WHERE sink = ? AND channel = ?", key
        ).fetchone()
        at, why = disabled or (None, "")
        return Standing(channel, waiting, since, given_up, delivered, error[0] if error else "", at, why)

    async def disabled(self, channel: str, mark: str, now: float) -> bool:
        """Whether a channel was disabled, and is configured as it was then; else it is enabled."""

        def work(connection: sqlite3.Connection) -> bool:
            key = (self._sink, channel)
            where = "FROM notifications_channels WHERE sink = ? AND channel = ?"
            row = connection.execute(f"SELECT mark {where}", key).fetchone()
            if row and row[0] != mark:
                self._enable(connection, channel, now)
            return bool(row) and row[0] == mark

        return await self._database.run(work)

    async def disable(self, channel: str, mark: str, now: float, why: str) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO notifications_channels (sink, channel, mark, disabled, why)"
                " VALUES (?, ?, ?, ?, ?)",
                (self._sink, channel, mark, now, why),
            )

        await self._database.run(work)

    async def enable(self, channel: str, now: float) -> None:
        """Let all that was tried be tried now, for as long as if it had not failed before.

        What was not tried yet goes first: it is news.
        """
        await self._database.run(lambda connection: self._enable(connection, channel, now))

    def _enable(self, connection: sqlite3.Connection, channel: str, now: float) -> None:
        connection.execute("DELETE FROM notifications_channels WHERE sink = ? AND channel = ?", (self._sink, channel))
        connection.execute(
            "UPDATE notifications SET failing_since = NULL, next = min(next, ?) WHERE sink = ?"
            " AND channel = ? AND status = 'waiting' AND attempts > 0",
            (now, self._sink, channel),
        )

    async def forget(self, before: float, limit: int = 500) -> int:
        """Remove some of what was done before a time; return how many there were."""

        def work(connection: sqlite3.Connection) -> int:
            connection.execute("DELETE FROM notifications_told WHERE sink = ? AND ended < ?", (self._sink, before))
            return connection.execute(
                "DELETE FROM notifications WHERE number IN (SELECT number FROM notifications"
                " WHERE sink = ? AND status != 'waiting' AND finished < ? LIMIT ?)",
                (self._sink, before, limit),
            ).rowcount

        return await self._database.run(work)


def _shown(row: Sequence[Any]) -> Delivery:
    id, notice, channel, subject, type, status, attempts, created, next, finished, answer, error = row
    upcoming = _ms(max(next, created)) if status == "waiting" and next is not None else None
    return Delivery(
        *(id, notice or id, channel, subject, type, status, attempts, int(created * 1000), upcoming),
        *(_ms(finished), answer, error),
    )


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
