"""The outbox: who is to be told what, who was, and what came of it; a row for each channel and event."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from bers.database import Database
from bers.notifications import ledger
from bers.notifications.channels import LONGEST_WAIT, Channel
from bers.notifications.notices import RESOLVED, Notice
from bers.notifications.routing import begins, group_of, is_told
from bers.records import Event


class Due(NamedTuple):
    """A notice whose time has come."""

    numbers: tuple[int, ...]
    """Of its rows."""
    notice: Notice
    failing_since: float | None


class Looked(NamedTuple):
    """What is to be sent now, and what else waits."""

    due: Sequence[Due]
    more: bool
    """Whether there may be more that is due."""
    later: float | None
    """When there is more; nothing where there is not."""


class Outbox:
    """The rows of one sink. Of each alert one row at a time may be sent: the next is *behind* it, and has no time."""

    def __init__(self, database: Database, sink: str, channels: Iterable[Channel]) -> None:
        self._database = database
        self._sink = sink
        self._channels = {channel.name: channel for channel in channels}

    async def open(self) -> None:
        def work(connection: sqlite3.Connection) -> None:
            ledger.prepare(connection, self._sink)
            for channel in self._channels.values():
                if channel.formerly:
                    ledger.rename(connection, self._sink, channel.formerly, channel.name)

        await self._database.run(work)

    # What happened

    def add(self, connection: sqlite3.Connection, events: Iterable[Event], now: float) -> set[str]:
        """Write down who is to be told, inside a transaction; return the channels that have something to send.

        What is there already stays as it is.
        """
        woken: set[str] = set()
        for event in events:
            known = self._knowing(connection, event.subject) if event.type.startswith("alert.") else {}
            told = self._told(event, known)
            for name in told:
                if self._insert(connection, name, event, known.get(name), now):
                    woken.add(name)
            if event.type == RESOLVED:  # Who does not want to hear of ends has no more to hear of it.
                for name in known.keys() - set(told):
                    self._end(connection, name, event.subject, now)
        return woken

    def _told(self, event: Event, known: Mapping[str, tuple[str, bool]]) -> list[str]:
        knowing = {name for name, (_, knows) in known.items() if knows}
        told = [name for name, channel in self._channels.items() if is_told(channel, event, knows=name in knowing)]
        if event.type == RESOLVED:  # One that was taken out of the configuration may come back.
            told += sorted(knowing - self._channels.keys())
        return told

    def _insert(
        self, connection: sqlite3.Connection, name: str, event: Event, known: tuple[str, bool] | None, now: float
    ) -> bool:
        id = webhook_id(event)
        thread = known[0] if known else id
        channel = self._channels.get(name)
        common = group_of(channel, event) if channel else None
        batch = "" if common is None else json.dumps(common)
        behind = (
            bool(event.subject)
            and connection.execute(
                f"SELECT 1 {_ABOUT} AND status = 'waiting'",
                (self._sink, name, event.subject),
            ).fetchone()
        )
        next = None if behind else self._next(connection, name, batch, now, wait=True)
        added = connection.execute(
            "INSERT OR IGNORE INTO notifications (sink, channel, id, subject, type, event, thread, batch, created,"
            " next) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self._sink, name, id, event.subject, event.type, msgspec.msgpack.encode(event), thread, batch, now, next),
        ).rowcount
        if added and begins(event):
            connection.execute(
                "INSERT INTO notifications_told (sink, channel, subject, first) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET ended = NULL",
                (self._sink, name, event.subject, id),
            )
        elif added and event.type == RESOLVED:
            self._end(connection, name, event.subject, now)
        return bool(added)

    def _end(self, connection: sqlite3.Connection, name: str, subject: str, now: float) -> None:
        """Note that an alert is over for a channel, so that this is forgotten in its time."""
        connection.execute(
            "UPDATE notifications_told SET ended = ? WHERE sink = ? AND channel = ? AND subject = ?",
            (now, self._sink, name, subject),
        )

    def _knowing(self, connection: sqlite3.Connection, subject: str) -> dict[str, tuple[str, bool]]:
        """The channels that were told of an alert: under which id first, and whether not yet of its end."""
        rows = connection.execute(
            "SELECT channel, first, ended IS NULL FROM notifications_told WHERE sink = ? AND subject = ?",
            (self._sink, subject),
        )
        return {channel: (first, bool(knows)) for channel, first, knows in rows}

    def _next(self, connection: sqlite3.Connection, name: str, batch: str, now: float, *, wait: bool) -> float:
        """When a row may be sent: at once, or with its group."""
        group = self._channels[name].group if name in self._channels else None
        if not batch or group is None:
            return 0.0  # Whatever the clock does.
        key = (self._sink, name, batch)
        pending = connection.execute(f"SELECT next {_UNFORMED} LIMIT 1", key).fetchone()
        if pending and pending[0] <= now + LONGEST_WAIT:
            return float(pending[0])
        (last,) = connection.execute(
            "SELECT max(formed) FROM notifications WHERE sink = ? AND channel = ? AND batch = ? AND batch != ''", key
        ).fetchone()
        soonest = now + group.wait if wait else now
        return soonest if last is None or last > now + LONGEST_WAIT else max(soonest, last + group.every)

    # What is to be done

    async def look(self, ask: Callable[[sqlite3.Connection], Looked]) -> Looked:
        """Ask what is due, in a transaction of its own."""
        return await self._database.run(ask, shared=True)

    def due(self, connection: sqlite3.Connection, channel: str, now: float, limit: int, busy: Iterable[int]) -> Looked:
        """What is to be sent now, but for the rows that somebody is busy with; and when there is more.

        What is told together gets its id here, and keeps it.
        """
        rows = connection.execute(
            "SELECT number, notice, batch FROM notifications WHERE sink = ?1 AND channel = ?2 AND"
            " status = 'waiting' AND (next <= ?3 OR next > ?4) AND number NOT IN (SELECT value FROM json_each(?5))"
            " ORDER BY next, number LIMIT ?6",
            (self._sink, channel, now, now + LONGEST_WAIT, json.dumps(list(busy)), limit),
        ).fetchall()
        found: dict[str, Due] = {}
        for number, notice, batch in rows:
            if notice in found:
                continue
            if notice or not batch:
                due = self._read(connection, channel, notice, number)
            elif all(number not in other.numbers for other in found.values()):
                due = self._form(connection, channel, batch, now)
            else:
                continue
            found[due.notice.id] = due
        (later,) = connection.execute(
            "SELECT min(next) FROM notifications WHERE sink = ? AND channel = ? AND status = 'waiting' AND next > ?",
            (self._sink, channel, now),
        ).fetchone()
        return Looked(list(found.values()), len(rows) >= limit, later)

    def _form(self, connection: sqlite3.Connection, channel: str, batch: str, now: float) -> Due:
        """Make one notice of what waits for it in a group."""
        group = self._channels[channel].group
        rows = connection.execute(
            f"SELECT number, id {_UNFORMED} LIMIT ?",
            (self._sink, channel, batch, group.most if group else 100),
        ).fetchall()
        first = str(rows[0][1])
        notice = first if len(rows) == 1 else f"{first}+{len(rows) - 1}"
        connection.executemany(
            "UPDATE notifications SET notice = ?, formed = ? WHERE number = ?",
            [(notice, now, number) for number, _ in rows],
        )
        return self._read(connection, channel, notice, rows[0][0])

    def _read(self, connection: sqlite3.Connection, channel: str, notice: str, number: int) -> Due:
        where, values = ("number = ?", (number,)) if not notice else (
            "sink = ? AND channel = ? AND notice = ? AND status = 'waiting'",
            (self._sink, channel, notice),
        )  # fmt: skip
        rows = connection.execute(
            "SELECT number, id, event, thread, batch, attempts, failing_since FROM notifications"
            f" WHERE {where} ORDER BY number",
            values,
        ).fetchall()
        events = [msgspec.msgpack.decode(row[2], type=Event) for row in rows]
        threads = {
            event.subject: self._sent_as(connection, channel, row[3])
            for event, row in zip(events, rows, strict=True)
            if event.subject
        }
        batch, attempts, since = rows[0][4:]
        group = json.loads(batch) if batch else None
        sent = Notice(notice or rows[0][1], channel, events, group, threads, attempts)
        return Due(tuple(row[0] for row in rows), sent, since)

    def _sent_as(self, connection: sqlite3.Connection, channel: str, id: str) -> str:
        row = connection.execute(
            "SELECT notice FROM notifications WHERE sink = ? AND channel = ? AND id = ?", (self._sink, channel, id)
        ).fetchone()
        return str(row[0]) if row and row[0] else id

    # What came of it

    async def delivered(self, due: Due, attempts: int, now: float, steady: float, answer: int | None) -> bool:
        """Note that a notice was taken; what is behind it may go. ``steady`` is what :meth:`due` goes by.

        Return whether there was anything behind it.
        """

        def work(connection: sqlite3.Connection) -> bool:
            connection.executemany(
                "UPDATE notifications SET status = 'delivered', attempts = ?, finished = ?, answer = ?, error = '',"
                " failing_since = NULL WHERE number = ?",
                [(attempts, now, answer, number) for number in due.numbers],
            )
            return self._let_go(connection, due, steady)

        return await self._database.run(work, shared=True)

    async def failed(self, due: Due, attempts: int, now: float, steady: float, answer: int | None, error: str) -> None:
        """Give a notice up; what is behind it may go."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE notifications SET status = 'failed', attempts = ?, finished = ?, answer = ?, error = ?"
                " WHERE number = ?",
                [(attempts, now, answer, error, number) for number in due.numbers],
            )
            self._let_go(connection, due, steady)

        await self._database.run(work, shared=True)

    def _let_go(self, connection: sqlite3.Connection, due: Due, now: float) -> bool:
        """Let go what is behind a notice; say whether anything is."""
        subjects = {event.subject: None for event in due.notice.events if event.subject}
        gone = [self._let_next_go(connection, due.notice.channel, subject, now) for subject in subjects]
        return any(gone)

    def _let_next_go(self, connection: sqlite3.Connection, channel: str, subject: str, now: float) -> bool:
        row = connection.execute(
            f"SELECT number, batch, next {_ABOUT} AND status = 'waiting' ORDER BY number LIMIT 1",
            (self._sink, channel, subject),
        ).fetchone()
        if row and row[2] is None:
            next = self._next(connection, channel, row[1], now, wait=False)
            connection.execute("UPDATE notifications SET next = ? WHERE number = ?", (next, row[0]))
        return bool(row)

    async def postpone(
        self, due: Due, attempts: int, *, since: float, next: float, answer: int | None, error: str
    ) -> None:
        """Try again at ``next``; it has been failing since ``since``."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE notifications SET attempts = ?, failing_since = ?, next = ?, answer = ?, error = ?"
                " WHERE number = ?",
                [(attempts, since, next, answer, error, number) for number in due.numbers],
            )

        await self._database.run(work, shared=True)

    async def hurry(self, channel: str, now: float) -> None:
        """Let what got no answer at all be tried again now, for there is one again.

        What was not tried yet goes first: it is news.
        """

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE notifications SET next = ? WHERE sink = ? AND channel = ? AND status = 'waiting'"
                " AND attempts > 0 AND next > ? AND answer IS NULL",
                (now, self._sink, channel, now),
            )

        await self._database.run(work)

    async def give_up(self, channel: str, before: float, now: float, error: str) -> int:
        """Give up what has been waiting for a channel since a time before; what is behind it may go. Return how many
        there were."""

        def work(connection: sqlite3.Connection) -> int:
            gone = connection.execute(
                "UPDATE notifications SET status = 'failed', finished = ?, error = ? WHERE sink = ? AND channel = ?"
                " AND status = 'waiting' AND created < ? RETURNING subject",
                (now, error, self._sink, channel, before),
            ).fetchall()
            for subject in dict.fromkeys(subject for (subject,) in gone if subject):
                self._let_next_go(connection, channel, subject, now)
            return len(gone)

        return await self._database.run(work)

    async def retry(self, channel: str, id: str, busy: Collection[int]) -> tuple[int, list[str]]:
        """Let be sent again what was given up: one, or all of a channel. Return how many; and of which it would come
        too late, for the channel was told more of the same alert since."""

        def work(connection: sqlite3.Connection) -> tuple[int, list[str]]:
            rows = connection.execute(
                "SELECT number, id, subject FROM notifications WHERE sink = ? AND channel = ? AND status = 'failed'"
                " AND (id = ? OR notice = ? OR ? = '') ORDER BY number",
                (self._sink, channel, id, id, id),
            ).fetchall()
            late = [row[1] for row in rows if self._is_late(connection, channel, row[2], row[0], busy)]
            again = [row for row in rows if row[1] not in late]
            for number, _, subject in again:
                connection.execute(
                    "UPDATE notifications SET status = 'waiting', finished = NULL, failing_since = NULL, next = 0,"
                    " attempts = 0 WHERE number = ?",
                    (number,),
                )
                if subject:  # Whatever of it waits stands behind the first.
                    connection.execute(
                        "UPDATE notifications SET next = NULL WHERE sink = ? AND channel = ? AND subject = ?"
                        " AND status = 'waiting' AND number > (SELECT min(number) FROM notifications WHERE sink = ?"
                        " AND channel = ? AND subject = ? AND status = 'waiting')",
                        (self._sink, channel, subject, self._sink, channel, subject),
                    )
            return len(again), late

        return await self._database.run(work)

    def _is_late(
        self, connection: sqlite3.Connection, channel: str, subject: str, number: int, busy: Collection[int]
    ) -> bool:
        """Whether the channel was told more of the same alert since, or may be at this moment."""
        later = connection.execute(
            f"SELECT number, status, attempts {_ABOUT} AND number > ?", (self._sink, channel, subject, number)
        )
        return bool(subject) and any(
            status == "delivered" or (status == "waiting" and (attempts or other in busy))
            for other, status, attempts in later
        )


_ABOUT = "FROM notifications INDEXED BY notifications_subject WHERE sink = ? AND channel = ? AND subject = ?"
"""What a channel is told of one alert. Without a word about the index all that waits would be looked through."""

_UNFORMED = (
    "FROM notifications WHERE sink = ? AND channel = ? AND batch = ? AND status = 'waiting' AND notice = ''"
    " AND batch != '' AND next IS NOT NULL ORDER BY number"
)
"""What waits for its group, and for nothing else; in words that its index has."""


def webhook_id(event: Event) -> str:
    """The event's name, as a header can carry it; without full stops, which part what is signed."""
    return quote(f"{event.source}/{event.id}", safe="/:@!$&'()*+,;=~?#[]").replace(".", "%2E")
