"""The alert engine: a durable sink of all events, the source of ``alert.*``, and what answers for alerts."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self

import anyio
import msgspec

from bers import (
    Batch,
    BersError,
    Caller,
    Context,
    Emit,
    Event,
    Finding,
    Full,
    Positions,
    Redactor,
    Refused,
    Reply,
    Stage,
    Table,
    Unwritable,
    disk_fault,
    format_duration,
)
from bers_builtin.sinks._disk import AGAIN, persist
from bers_builtin.sinks.alert_engine import desk
from bers_builtin.sinks.alert_engine.alerts import Alert, Moment
from bers_builtin.sinks.alert_engine.answers import (
    AlertStats,
    Answer,
    AskStats,
    Found,
    ListAlerts,
    ListHistory,
    RuleReport,
)
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.evaluator import Evaluator
from bers_builtin.sinks.alert_engine.ledger import Ledger, Letter
from bers_builtin.sinks.alert_engine.register import Deed

_LETTERS = 500  # Rows of the outbox that are handed in together.
_IDLE_COMMIT = 1.0  # Seconds that a position alone may wait to be written.
_SWEEP = 3600.0
_STUCK = 30.0  # Seconds after which somebody should know that alerts do not get out.

_DISK_REMEDY = "Make room on the disk of the data directory, or let this server write there; it tries again by itself."


class AlertEngine(Stage[AlertConfig]):
    """Whatever changes a state holds the turn until that is committed, together with the positions that led to it."""

    def __init__(self, config: AlertConfig, context: Context) -> None:
        config = _masked(config, context.redactor)
        super().__init__(config, context)
        self._evaluator = Evaluator(config, context.metrics, context.clock)
        self._ledger = Ledger(context.state, context.stage_id)
        self._positions = Positions(context.state, context.stage_id)
        self._seen: dict[tuple[str, int], int] = {}
        self._held: dict[tuple[str, int], int] = {}
        self._turn = anyio.Lock()
        self._letters = anyio.Event()
        self._dirty = anyio.Event()
        self._warm = anyio.Event()
        self._committed = 0.0
        self._ahead = False
        """Whether memory may hold what the database does not: after a commit that failed, until all is read back."""
        self._unwritten: tuple[float, str] | None = None
        """Since when, by the monotonic clock, and why the disk does not let us write; what was concluded waits."""

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if missing := self._evaluator.watches.missing:
            self.context.logger.info("no plugin measures anything for the rules %s", ", ".join(missing))
        await self._load()
        async with anyio.create_task_group() as group:
            group.start_soon(self._commit_regularly)
            group.start_soon(self._watch_time)
            group.start_soon(self._sweep)
            yield self
            group.cancel_scope.cancel()
        if not self._ahead:
            await self._commit_or_wait()

    # As a sink

    async def position(self, reader: str, partition: int, *, begin: int) -> int:
        async with self._turn:
            await (self._load() if self._ahead else self._commit())  # Where the disk is full, neither: we are asked on.
            position = await self._positions.begin(reader, partition, begin)
            self._seen[reader, partition] = self._held[reader, partition] = position
            return position

    async def write(self, batch: Batch) -> None:
        key = (batch.reader, batch.partition)
        async with self._turn:
            if self._ahead or key not in self._seen:
                raise BersError(f"{self.context.stage_id!r} lost what it read; ask for its position, and begin there")
            if self._unwritten:  # One batch may wait in memory, and no more: the next is left in the journal.
                await self._commit()
            with anyio.CancelScope(shield=True):  # Half a batch has no position.
                self._ahead = True
                await self._evaluator.read(batch.events)
                self._ahead = False
                self._seen[key] = batch.end
                if self._evaluator.idle is not None:
                    self._warm.set()
                if self._evaluator.register.transitions or not self.config.commit_every:
                    await self._commit_or_wait()
                else:
                    self._dirty.set()

    # As a source

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        return (event,)

    async def run(self, emit: Emit) -> None:
        """Hand in every transition, in order. One that is handed in again is known by its id."""
        while True:
            self._letters = anyio.Event()  # Before we look: what is written meanwhile wakes us.
            while letters := await persist(partial(self._ledger.unsent, _LETTERS), self.context.clock):
                try:
                    await emit([self._as_event(letter) for letter in letters], durable=True)
                except Full as full:
                    if full.broken:  # Somebody has to be told of a full disk now; it is written down afterwards.
                        await emit([self._as_event(letter) for letter in letters])
                    await self.context.clock.sleep(full.retry_after)
                else:
                    await persist(partial(self._ledger.sent, letters[-1].seq), self.context.clock)
            await self._letters.wait()

    def _as_event(self, letter: Letter) -> Event:
        alert = msgspec.json.decode(letter.body, type=dict[str, Any])
        event = self.context.event(
            f"alert.{letter.kind}",
            id=f"t-{letter.seq}",
            time=letter.time,
            subject=alert["id"],
            labels={"rule": alert["rule"], "severity": alert["severity"]},
            data=alert,
        )
        return msgspec.structs.replace(event, environment=alert["environment"] or event.environment)

    # Writing down

    async def _load(self) -> None:
        reopenable = self.context.clock.settled() - self.config.deduplication.window
        self._evaluator.restore(await self._ledger.load(resolved_since=int(reopenable * 1000)))
        self._seen, self._held = {}, {}
        self._ahead = False
        self._committed = self.context.clock.monotonic()
        self._warm.set()

    async def _commit(self) -> None:
        """Make durable what was concluded, with the positions it leads to; holding the turn, or alone."""
        with anyio.CancelScope(shield=True):  # What is written and what is remembered stay together.
            await self._commit_all([(*key, end) for key, end in self._seen.items() if end > self._held[key]])

    async def _commit_or_wait(self) -> None:
        """Commit; where the disk does not let us, let what was concluded wait in memory, and try again by and by."""
        try:
            await self._commit()
        except Unwritable as exc:
            self.context.logger.debug("alerts wait to be written down: %s", exc)

    async def _commit_all(self, moves: Sequence[tuple[str, int, int]]) -> None:
        if not (moves or self._evaluator.has_news):
            return

        def move(connection: sqlite3.Connection) -> None:
            for reader, partition, end in moves:
                self._positions.move(connection, reader, partition, end)

        self._ahead = True
        try:
            await self._ledger.commit(self._evaluator.changes(), move)
        except Exception as exc:
            if not (why := disk_fault(exc)):
                raise
            # Nothing of it was taken, and nothing is forgotten: memory is ahead by what waits, and knows that.
            self._ahead = False
            self._dirty.set()
            if self._unwritten is None:
                self.context.logger.error("alerts cannot be written down, and wait in memory: %s", why)
            self._unwritten = (self._unwritten[0] if self._unwritten else self.context.clock.monotonic(), why)
            raise Unwritable(f"alerts cannot be written down: {why}") from exc
        self._ahead = False
        if self._unwritten:
            self._unwritten = None
            self.context.logger.warning("alerts are written down again")
        for reader, partition, end in moves:
            self._positions.moved(reader, partition, end)
            self._held[reader, partition] = end
        if self._evaluator.register.transitions:
            self._letters.set()
        self._evaluator.written()
        if self._dirty.is_set():  # Somebody waits for one that is not.
            self._dirty = anyio.Event()
        self._committed = self.context.clock.monotonic()

    async def _commit_regularly(self) -> None:
        clock = self.context.clock
        while True:
            await self._dirty.wait()
            await clock.sleep(max(0.01, self.config.commit_every))
            async with self._turn:
                due = self._evaluator.has_news or clock.monotonic() - self._committed >= _IDLE_COMMIT
                if due and not self._ahead:
                    await self._commit_or_wait()
            if self._unwritten:
                await clock.sleep(AGAIN)

    async def _watch_time(self) -> None:
        """Look at the windows again whenever something leaves one of them."""
        while True:
            while (idle := self._evaluator.idle) is None:
                self._warm = anyio.Event()
                await self._warm.wait()
            await self.context.clock.sleep(idle)
            async with self._turn:
                if self._ahead:
                    continue
                with anyio.CancelScope(shield=True):
                    self._ahead = True
                    await self._evaluator.look_again()
                    self._ahead = False
                    if self._evaluator.register.transitions:
                        await self._commit_or_wait()
                    elif self._evaluator.has_news:
                        self._dirty.set()

    async def _sweep(self) -> None:
        """Forget what is older than the history that is kept."""
        while True:
            before = self.context.clock.settled() - self.config.history
            while await persist(partial(self._ledger.prune, int(before * 1000)), self.context.clock):
                pass
            await self.context.clock.sleep(_SWEEP)

    # Answering

    async def list_alerts(self, ask: ListAlerts, caller: Caller) -> Reply[list[Alert]]:
        """The living alerts of some statuses, the newest first."""
        is_chosen = desk.chosen(ask)
        async with self._turn:  # Nobody is told what is not written down.
            self._assert_sound()
            register = self._evaluator.register
            alerts = [*register.live.values(), *register.pending_alerts(self._evaluator.moment)]
        found = [alert for alert in alerts if is_chosen(alert)]
        found.sort(key=lambda alert: (-alert.fired_at, alert.id))
        return Reply(found[: ask.limit], {"meta": Found(len(found), ask.limit)})

    async def list_history(self, ask: ListHistory, caller: Caller) -> list[Alert]:
        """Every alert that was alive in a period, the newest first."""
        return await desk.history(ask, self._ledger, self.context.clock.time())

    async def count_alerts(self, ask: AskStats, caller: Caller) -> AlertStats:
        """Count the alerts of a period."""
        return await desk.counts(ask, self._evaluator, self._ledger, self.context.clock.time())

    async def list_rules(self, ask: object, caller: Caller) -> list[RuleReport]:
        """Every rule, with what it makes of things now."""
        async with self._turn:
            self._assert_sound()
            return desk.reports(self._evaluator)

    async def acknowledge(self, ask: Answer, caller: Caller) -> Alert:
        """Take an alert on. Doing it again changes nothing."""
        deed = desk.deed(ask, caller, self.context.redactor)
        async with self._turn:
            self._assert_sound()
            alert = await desk.find(ask.id, self._evaluator, self._ledger)
            if alert.acknowledgment:
                return alert
            if alert.resolution:
                raise Refused("conflict", f"alert {ask.id!r} is resolved", hint="nothing is left to acknowledge")
            return await self._do(self._evaluator.register.acknowledge, alert, deed)

    async def resolve(self, ask: Answer, caller: Caller) -> Alert:
        """End an alert. Doing it again changes nothing; what comes after may reopen it."""
        deed = desk.deed(ask, caller, self.context.redactor)
        async with self._turn:
            self._assert_sound()
            alert = await desk.find(ask.id, self._evaluator, self._ledger)
            if alert.resolution:
                return alert
            self._evaluator.forget(alert)
            return await self._do(self._evaluator.register.resolve, alert, deed)

    async def explain(self, event: Event) -> Sequence[str]:
        async with self._turn:
            return list(self._evaluator.explain(event))

    async def look(self) -> Finding:
        """Whether alerts are written down and get out."""
        if self._unwritten:
            since, why = self._unwritten
            lasted = format_duration(round(self.context.clock.monotonic() - since))
            message = f"alerts cannot be written down, for {lasted} already, and wait in memory: {why}"
            return Finding("unhealthy", message, {}, _DISK_REMEDY)
        count, oldest = await self._ledger.backlog()
        register = self._evaluator.register
        details: Mapping[str, Any] = {
            "rules": len(self._evaluator.watches.by_id),
            "alive": len(register.live),
            "pending": len(register.pending),
            "untold": count,
            "tooOld": self._evaluator.stale,
            "countedAsOther": {
                watch.id: watch.crowded for watch in self._evaluator.watches.by_id.values() if watch.crowded
            },
        }
        if self._ahead and not self._turn.locked():
            remedy = "See logs/monitoring.log, and whether the disk is full."
            return Finding("unhealthy", "alerts cannot be written down", details, remedy)
        waiting = self.context.clock.time() - oldest if oldest is not None else 0.0
        if waiting > _STUCK:
            remedy = "Name the alert engine in the sources of a pipeline, and check that the intake takes events."
            message = f"alerts wait to be told, for {format_duration(round(waiting))} already"
            return Finding("degraded", message, details, remedy)
        return Finding("healthy", f"{len(self._evaluator.watches.by_id)} rules at work", details)

    def _assert_sound(self) -> None:
        if self._unwritten:
            raise Refused("unavailable", f"alerts cannot be written down: {self._unwritten[1]}", hint=_DISK_REMEDY)
        if self._ahead:
            raise Refused("unavailable", "alerts are read back after a failed commit", hint="ask again in a moment")

    async def _do(self, act: Callable[[Alert, Deed, Moment], Alert], alert: Alert, deed: Deed) -> Alert:
        done = act(alert, deed, self._evaluator.moment)
        await self._commit()  # What cannot be written down now is when there is room: doing it again changes nothing.
        return done


def _masked(config: AlertConfig, redactor: Redactor) -> AlertConfig:
    """The rules, with their annotations as they may be told: they go wherever alerts go."""
    rules = [
        msgspec.structs.replace(rule, annotations=redactor.value(rule.annotations)) if rule.annotations else rule
        for rule in config.rules
    ]
    return msgspec.structs.replace(config, rules=tuple(rules))
