"""The alert engine's tables: alerts, timers, the log and the outbox, changed together or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from bers import Audit, Caller, Database, Labels, Stamp, summed
from bers_builtin.sinks.alert_engine import alerts
from bers_builtin.sinks.alert_engine.alerts import MOST_REMEMBERED, Alert, Transition
from bers_builtin.sinks.alert_engine.life.timers import Course
from bers_builtin.sinks.alert_engine.suppression.silences import Kept, Silences
from bers_builtin.sinks.alert_engine.watches import SavedSeries
from bers_builtin.sinks.alert_engine.written import log, silence_rows

T = TypeVar("T")

_SCHEMA = (
    f"""CREATE TABLE IF NOT EXISTS alert_alerts (
        stage TEXT, id TEXT, fingerprint TEXT NOT NULL, rule TEXT NOT NULL, severity TEXT NOT NULL,
        status TEXT NOT NULL, fired INTEGER NOT NULL, acknowledged INTEGER, resolved INTEGER, body BLOB NOT NULL,
        {summed("stage, id, fingerprint, rule, severity, status, fired, acknowledged, resolved, body")},
        PRIMARY KEY (stage, id)
    )""",
    "CREATE INDEX IF NOT EXISTS alert_alerts_by_end ON alert_alerts (stage, resolved)",
    "CREATE INDEX IF NOT EXISTS alert_alerts_by_firing ON alert_alerts (stage, fired DESC, id)",
    f"""CREATE TABLE IF NOT EXISTS alert_series (
        stage TEXT, watch TEXT, labels TEXT, body BLOB NOT NULL, {summed("stage, watch, labels, body")},
        PRIMARY KEY (stage, watch, labels)
    ) WITHOUT ROWID""",
    f"""CREATE TABLE IF NOT EXISTS alert_outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, stage TEXT NOT NULL, kind TEXT NOT NULL, time REAL NOT NULL,
        body BLOB NOT NULL, {summed("seq, stage, kind, time, body")}
    )""",
    *log.SCHEMA,
    f"""CREATE TABLE IF NOT EXISTS alert_courses (
        stage TEXT, fingerprint TEXT, body BLOB NOT NULL, {summed("stage, fingerprint, body")},
        PRIMARY KEY (stage, fingerprint)
    ) WITHOUT ROWID""",
    f"""CREATE TABLE IF NOT EXISTS alert_clock (
        stage TEXT PRIMARY KEY, body BLOB NOT NULL, {summed("stage, body")}
    ) WITHOUT ROWID""",
    silence_rows.SCHEMA,
)

_UNSENT = "SELECT seq, kind, time, body FROM alert_outbox WHERE stage = ? AND seq > ? ORDER BY seq LIMIT ?"
_SENT = "DELETE FROM alert_outbox WHERE stage = ? AND seq <= ?"

_SLICE = 500  # Rows that one transaction deletes, so that nobody waits for long.

_SHORT = 100  # Rows up to which a transaction is short.

AT_HAND = 100
"""How many rows of the outbox a commit returns, so that they need not be read once more."""


class Clockwork(msgspec.Struct, array_like=True, frozen=True):
    """The engine's own clock, and what is measured by it."""

    now: float = 0.0
    wall: float = 0.0
    """What the wall clock said then."""
    latest: float = 0.0
    """The latest arrival of an event."""
    firings: Sequence[float] = ()
    moment: Stamp | None = None
    """When that was, so that a wall clock that is set meanwhile makes no time pass."""
    resumed: float = 0.0
    """From when on silence means something, after we were away."""
    interrupted: int = 0
    """How often in a row we were away again before that."""


class Memory(NamedTuple):
    """What was written down."""

    clock: Clockwork | None
    series: list[tuple[str, SavedSeries]]
    """Each with the digest of the rule that it belongs to."""
    live: list[Alert]
    resolved: list[Alert]
    """What was resolved lately, in that order."""
    last: dict[str, str]
    """The id of the last alert, by fingerprint."""
    courses: list[tuple[str, Course]]
    """What each fingerprint waits for, and how it came and went."""
    silences: Sequence[Kept] = ()
    """Those that are not over."""


class Changes(NamedTuple):
    """What one transaction writes down."""

    clock: Clockwork
    series: list[tuple[str, SavedSeries]]
    forgotten: list[tuple[str, Labels]]
    alerts: list[Alert]
    transitions: Sequence[Transition]
    audit: Sequence[alerts.Audit]
    courses: list[tuple[str, Course | None]]
    """By fingerprint; nothing where it is forgotten."""
    silences: Silences
    """With what changed of them."""


class Letter(NamedTuple):
    """A row of the outbox."""

    seq: int
    kind: str
    time: float
    body: bytes


class Ledger:
    """The tables of one stage. Each method is one transaction."""

    def __init__(self, database: Database, stage: str, audit: Audit) -> None:
        """``audit`` is that of the node: what an operator does is written into it, with what follows from it."""
        self._database = database
        self._audit = audit
        self._stage = stage

    async def load(self, *, resolved_since: int) -> Memory:
        """Read all that is needed to go on, and make the tables where there are none."""

        def work(connection: sqlite3.Connection) -> Memory:
            for statement in _SCHEMA:
                connection.execute(statement)
            (clock,) = connection.execute("SELECT body FROM alert_clock WHERE stage = ?", self._me).fetchone() or (
                None,
            )
            series = connection.execute("SELECT watch, body FROM alert_series WHERE stage = ?", self._me)
            live = connection.execute("SELECT body FROM alert_alerts WHERE stage = ? AND resolved IS NULL", self._me)
            resolved = connection.execute(
                "SELECT body FROM alert_alerts WHERE stage = ? AND resolved >= ? ORDER BY resolved",
                (self._stage, resolved_since),
            )
            last = connection.execute(
                "SELECT fingerprint, id FROM (SELECT fingerprint, id, fired FROM alert_alerts WHERE stage = ?"
                " ORDER BY fired DESC LIMIT ?) ORDER BY fired",
                (self._stage, MOST_REMEMBERED),
            )
            courses = connection.execute("SELECT fingerprint, body FROM alert_courses WHERE stage = ?", self._me)
            return Memory(
                msgspec.msgpack.decode(clock, type=Clockwork) if clock else None,
                [(watch, msgspec.msgpack.decode(body, type=SavedSeries)) for watch, body in series],
                [_told(alert) for alert in _alerts(live)],
                _alerts(resolved),
                dict(last.fetchall()),
                [(name, msgspec.msgpack.decode(body, type=Course)) for name, body in courses],
                silence_rows.living(connection, self._stage),
            )

        return await self._database.run(work)

    async def commit(
        self, changes: Changes, move: Callable[[sqlite3.Connection], None], told: int = 0
    ) -> Sequence[Letter]:
        """Write the changes, and whatever ``move`` does, or nothing; return the oldest rows of the outbox behind
        ``told``, :data:`AT_HAND` at most. The others are safe elsewhere, and go.
        """

        def work(connection: sqlite3.Connection) -> Sequence[Letter]:
            clock = (self._stage, msgspec.msgpack.encode(changes.clock))
            connection.execute("INSERT OR REPLACE INTO alert_clock VALUES (?, ?)", clock)
            connection.executemany(
                "DELETE FROM alert_series WHERE stage = ? AND watch = ? AND labels = ?",
                [(self._stage, watch, _key(labels)) for watch, labels in changes.forgotten],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO alert_series VALUES (?, ?, ?, ?)",
                [
                    (self._stage, watch, _key(saved.labels), msgspec.msgpack.encode(saved))
                    for watch, saved in changes.series
                ],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO alert_alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [self._row(alert) for alert in changes.alerts],
            )
            silences = changes.silences
            silence_rows.write(
                connection,
                self._stage,
                self._audit,
                list(silences.changed.values()),
                silences.steps,
                silences.deeds,
            )
            connection.executemany(
                "INSERT INTO alert_outbox (stage, kind, time, body) VALUES (?, ?, ?, ?)",
                [
                    (self._stage, kind, step.time, msgspec.json.encode(step.alert))
                    for step in changes.transitions
                    for kind in step.told_as
                ],
            )
            log.write(connection, self._stage, changes.transitions)
            connection.executemany(
                "INSERT OR REPLACE INTO alert_courses VALUES (?, ?, ?)",
                [(self._stage, name, msgspec.msgpack.encode(course)) for name, course in changes.courses if course],
            )
            connection.executemany(
                "DELETE FROM alert_courses WHERE stage = ? AND fingerprint = ?",
                [(self._stage, name) for name, course in changes.courses if course is None],
            )
            for deed in changes.audit:
                caller = Caller(deed.principal, deed.address)
                self._audit.row(
                    caller,
                    f"alerts/{deed.action}",
                    "done",
                    target=deed.alert,
                    operator=deed.operator,
                    notes=deed.notes,
                )(connection)
            move(connection)
            if not (changes.transitions or silences.steps):
                return ()
            connection.execute(_SENT, (self._stage, told))
            return [Letter(*row) for row in connection.execute(_UNSENT, (self._stage, told, AT_HAND))]

        return await self._database.run(work, shared=len(changes.alerts) + len(changes.series) <= _SHORT)

    async def unsent(self, limit: int, after: int) -> Sequence[Letter]:
        """The oldest rows of the outbox after one, in order."""
        rows = await self._rows(_UNSENT, after, limit, shared=True)
        return [Letter(*row) for row in rows]

    async def sent(self, seq: int) -> None:
        """Say that all rows up to this one are safe elsewhere."""
        await self._rows(_SENT, seq, shared=True)

    async def backlog(self, after: int) -> tuple[int, float | None]:
        """How many rows wait in the outbox behind one, and since when the oldest does."""
        ((count, oldest),) = await self._rows(
            "SELECT count(*), min(time) FROM alert_outbox WHERE stage = ? AND seq > ?", after, shared=True
        )
        return count, oldest

    async def find(self, id: str) -> Alert | None:
        """An alert, whatever became of it."""
        found = _alerts(await self._rows("SELECT body FROM alert_alerts WHERE stage = ? AND id = ?", id))
        return found[0] if found else None

    async def history(
        self, since: int, *, rule: str, severities: Collection[str], after: tuple[int, str], limit: int
    ) -> list[Alert]:
        """The alerts that lived after a time, in milliseconds since 1970; the newest first, behind a place."""
        fired, id = after
        chosen = msgspec.json.encode(sorted(severities)).decode()
        return _alerts(
            await self._rows(
                "SELECT body FROM alert_alerts WHERE stage = ? AND (resolved IS NULL OR resolved >= ?)"
                " AND (? = '' OR rule = ?) AND (? = '[]' OR severity IN (SELECT value FROM json_each(?)))"
                " AND (fired < ? OR fired = ? AND id > ?) ORDER BY fired DESC, id LIMIT ?",
                *(since, rule, rule, chosen, chosen, fired, fired, id, limit),
            )
        )

    async def log(self, alert: str) -> list[log.Entry]:
        """Every step in the life of an alert, in order."""
        return await self.read(lambda connection, stage: log.read(connection, stage, alert))

    async def read(self, work: Callable[[sqlite3.Connection, str], T]) -> T:
        """Whatever a module of its own asks of the tables of this stage."""
        return await self._database.run(lambda connection: work(connection, self._stage))

    async def prune(self, before: int) -> bool:
        """Forget some of what ended before a time; True where there is more."""
        over = await self._database.run(lambda connection: silence_rows.prune(connection, self._stage, before, _SLICE))
        stale = await self._rows(
            "DELETE FROM alert_alerts WHERE rowid IN"
            " (SELECT rowid FROM alert_alerts WHERE stage = ? AND resolved < ? LIMIT ?) RETURNING 1",
            before,
            _SLICE,
        )
        logged = await self._rows(log.PRUNE, before, _SLICE)
        return max(len(stale), over, len(logged)) == _SLICE

    @property
    def _me(self) -> tuple[str]:
        return (self._stage,)

    async def _rows(self, statement: str, *values: Any, shared: bool = False) -> list[Any]:
        return await self._database.run(
            lambda connection: connection.execute(statement, (self._stage, *values)).fetchall(), shared=shared
        )

    def _row(self, alert: Alert) -> tuple[object, ...]:
        acknowledged = alert.acknowledgment.timestamp if alert.acknowledgment else None
        resolved = alert.resolution.timestamp if alert.resolution else None
        head = (self._stage, alert.id, alert.fingerprint, alert.rule, alert.severity, alert.status)
        return (*head, alert.fired_at, acknowledged, resolved, msgspec.json.encode(alert))


def _alerts(rows: Any) -> list[Alert]:
    return [msgspec.json.decode(body, type=Alert) for (body,) in rows]


def _told(alert: Alert) -> Alert:
    """An alert that was written down before alerts said themselves whether they were told."""
    if alert.reason:
        return alert
    return msgspec.structs.replace(alert, told=alert.status != "suppressed")


def _key(labels: Labels) -> str:
    return msgspec.json.encode(labels).decode()
