"""The alert engine: a durable sink of all events, the source of ``alert.*``, and what answers for alerts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self, TypeVar

import anyio
import msgspec

from bers import (
    Batch,
    Caller,
    Context,
    Emit,
    Event,
    Finding,
    Full,
    Redactor,
    Reply,
    Stage,
    Table,
    format_duration,
)
from bers_builtin.sinks._disk import persist
from bers_builtin.sinks.alert_engine.alerts import Alert, Moment
from bers_builtin.sinks.alert_engine.books import DISK_REMEDY, Books
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.desk import asking, listing, statistics
from bers_builtin.sinks.alert_engine.desk.answers import (
    Acknowledge,
    AlertStats,
    Answer,
    AskStats,
    ListAlerts,
    ListHistory,
    RuleReport,
)
from bers_builtin.sinks.alert_engine.life.register import Deed
from bers_builtin.sinks.alert_engine.pulse import Heart
from bers_builtin.sinks.alert_engine.rehearsal.turns import Turns
from bers_builtin.sinks.alert_engine.rules import Rule, Slo
from bers_builtin.sinks.alert_engine.watches.never_firing import NeverFiring
from bers_builtin.sinks.alert_engine.written.letters import as_event

_T = TypeVar("_T", Rule, Slo)

_LETTERS = 500  # Rows of the outbox that are handed in together.
_TOLD_FIRST = 1.0  # Seconds for which rows stay that are safe elsewhere, if no commit before takes them along.
_SOON = 0.001  # Seconds that are not worth waking for.
_SWEEP = 3600.0
_STUCK = 30.0  # Seconds after which somebody should know that alerts do not get out.


class AlertEngine(Stage[AlertConfig]):
    """A module that adds operations looks at ``books``, and changes them while it holds the turn."""

    def __init__(self, config: AlertConfig, context: Context) -> None:
        config = _masked(config, context.redactor)
        super().__init__(config, context)
        self.books = Books(config, context)
        self.heart = Heart(config.heartbeat, context, self.books)
        self.never_firing = NeverFiring(context)
        self.rehearsing = Turns(context.clock)
        """Held by the back-test that runs."""
        self._me = f"bers:{context.stage_id}"
        self._sooner = anyio.Event()
        """Set when time may change something sooner than was thought."""
        self._looks_at: float | None = None
        """When time is to be looked at next, on the monotonic clock."""

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if missing := self.books.evaluator.watches.missing:
            self.context.logger.info("no plugin measures anything for the rules %s", ", ".join(missing))
        await self.books.load()
        async with anyio.create_task_group() as group:
            group.start_soon(self.books.commit_regularly)
            group.start_soon(self._watch_time)
            group.start_soon(self._sweep)
            group.start_soon(self.heart.run)
            yield self
            group.cancel_scope.cancel()
        if not self.books.ahead:
            await self.books.commit_or_wait()
            await self.books.tidy_up()

    # As a sink

    async def position(self, reader: str, partition: int, *, begin: int) -> int:
        books = self.books
        async with books.turn:
            # Where the disk is full, neither: we are asked on.
            await (books.load() if books.ahead else books.commit())
            self.look_sooner()
            return await books.begin(reader, partition, begin)

    async def write(self, batch: Batch) -> None:
        books = self.books
        async with books.turn:
            books.assert_knows(batch.reader, batch.partition)
            if books.unwritten:  # One batch may wait in memory, and no more: the next is left in the journal.
                await books.commit()
            with anyio.CancelScope(shield=True):  # Half a batch has no position.
                async with books.thinking() as evaluator:
                    # What follows from alerts makes none: incidents would make incidents.
                    await evaluator.read([event for event in batch.events if event.source != self._me])
                books.saw(batch.reader, batch.partition, batch.end)
                self.look_sooner()
                if evaluator.register.transitions or not self.config.commit_every:
                    await books.commit_or_wait()
                else:
                    books.later()
            self.heart.read(batch)

    # As a source

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        return (event,)

    async def run(self, emit: Emit) -> None:
        """Hand in every transition, in order. One that is handed in again is known by its id."""
        tidied, anew = 0, True
        self.heart.connect(emit)
        while True:
            self.books.letters = anyio.Event()  # Before we look: what is written meanwhile wakes us.
            while letters := await self.books.untold(_LETTERS, anew=anew):
                anew = False
                try:
                    await emit([as_event(letter, self.context) for letter in letters], durable=True)
                except Full as full:
                    if full.broken:  # Somebody has to be told of a full disk now; it is written down afterwards.
                        await emit([as_event(letter, self.context) for letter in letters])
                    await self.context.clock.sleep(full.retry_after)
                else:
                    self.books.told = letters[-1].seq
            if self.books.told > tidied:
                with anyio.move_on_after(_TOLD_FIRST if self.books.told - tidied < _LETTERS else 0.0):
                    await self.books.letters.wait()
                    continue
                await persist(partial(self.books.ledger.sent, self.books.told), self.context.clock)
                tidied = self.books.told
            await self.books.letters.wait()

    # As time goes on

    def look_sooner(self) -> None:
        """Say that something may be due sooner than it was."""
        if (idle := self.books.evaluator.idle) is not None:
            due = self.context.clock.monotonic() + idle
            if self._looks_at is None or due < self._looks_at - _SOON:
                self._sooner.set()

    async def _watch_time(self) -> None:
        """Look at windows and alerts again whenever something leaves the one, or is due for the other."""
        books, clock = self.books, self.context.clock
        while True:
            self._sooner = anyio.Event()
            idle = books.evaluator.idle
            self._looks_at = None if idle is None else clock.monotonic() + idle
            if idle is None:
                await self._sooner.wait()
                continue
            async with anyio.create_task_group() as group:
                group.start_soon(_ring, self._sooner, group.cancel_scope)
                await clock.sleep(idle)
                group.cancel_scope.cancel()
            if self._sooner.is_set():
                continue
            async with books.turn:
                if books.ahead:
                    continue
                with anyio.CancelScope(shield=True):
                    async with books.thinking() as evaluator:
                        await evaluator.look_again()
                    if evaluator.register.transitions or evaluator.register.suppressions.has_news:
                        await books.commit_or_wait()
                    elif evaluator.has_news:
                        books.later()

    async def _sweep(self) -> None:
        """Forget what is older than the history that is kept."""
        while True:
            before = self.context.clock.settled() - self.config.history
            while await persist(partial(self.books.ledger.prune, int(before * 1000)), self.context.clock):
                pass
            await self.context.clock.sleep(_SWEEP)

    # Answering

    async def list_alerts(self, ask: ListAlerts, caller: Caller) -> Reply[list[Alert]]:
        """The living alerts of some statuses, the newest first."""
        return await listing.list_alive(self, ask, caller)

    async def list_history(self, ask: ListHistory, caller: Caller) -> Reply[list[Alert]]:
        """Every alert that was alive in a period, the newest first."""
        return await listing.list_history(self, ask, caller)

    async def count_alerts(self, ask: AskStats, caller: Caller) -> AlertStats:
        """Count the alerts of a period."""
        seconds, now = asking.seconds(ask.period), self.context.clock.time()
        return await statistics.count(ask, seconds, self.books, now)

    async def list_rules(self, ask: object, caller: Caller) -> list[RuleReport]:
        """Every rule, with what it makes of things now."""
        async with self.books.sound() as evaluator:
            return asking.reports(evaluator)

    async def acknowledge(self, ask: Answer, caller: Caller) -> Alert:
        """Take an alert on. Doing it again changes nothing."""
        deed = asking.deed(ask, caller, self.context.redactor)
        expires = ask.expires if isinstance(ask, Acknowledge) else None
        lasting = None if expires is None else asking.seconds(expires, "expires")
        async with self.books.sound() as evaluator:
            alert = await asking.find(ask.id, evaluator, self.books.ledger)
            if alert.acknowledgment:
                return alert
            asking.assert_lives(alert, "acknowledge")
            return await self._do(partial(evaluator.register.acknowledge, lasting=lasting), alert, deed)

    async def unacknowledge(self, ask: Answer, caller: Caller) -> Alert:
        """Give an alert back: it waits for somebody again. Doing it again changes nothing."""
        deed = asking.deed(ask, caller, self.context.redactor)
        async with self.books.sound() as evaluator:
            alert = await asking.find(ask.id, evaluator, self.books.ledger)
            asking.assert_lives(alert, "give back")
            if alert.acknowledgment is None:
                return alert
            return await self._do(evaluator.register.unacknowledge, alert, deed)

    async def resolve(self, ask: Answer, caller: Caller) -> Alert:
        """End an alert. Doing it again changes nothing; what comes after may reopen it."""
        deed = asking.deed(ask, caller, self.context.redactor)
        async with self.books.sound() as evaluator:
            alert = await asking.find(ask.id, evaluator, self.books.ledger)
            if alert.resolution:
                return alert
            evaluator.forget(alert)
            return await self._do(evaluator.register.resolve, alert, deed)

    async def explain(self, event: Event) -> Sequence[str]:
        if event.source == self._me:
            return ["It follows from an alert, and no rule reads it."]
        async with self.books.turn:
            return list(self.books.evaluator.explain(event))

    async def look(self) -> Finding:
        """Whether alerts are written down and get out."""
        if self.books.unwritten:
            since, why = self.books.unwritten
            lasted = format_duration(round(self.context.clock.monotonic() - since))
            message = f"alerts cannot be written down, for {lasted} already, and wait in memory: {why}"
            return Finding("unhealthy", message, {}, DISK_REMEDY)
        count, oldest = await self.books.ledger.backlog(self.books.told)
        register = self.books.evaluator.register
        details: Mapping[str, Any] = {
            "rules": len(self.books.evaluator.watches.by_id),
            "alive": len(register.live),
            "pending": len(register.pending),
            "untold": count,
            "tooOld": self.books.evaluator.stale,
            "countedAsOther": {
                watch.id: watch.crowded for watch in self.books.evaluator.watches.by_id.values() if watch.crowded
            },
        }
        if self.books.ahead and not self.books.turn.locked():
            remedy = "See logs/monitoring.log, and whether the disk is full."
            return Finding("unhealthy", "alerts cannot be written down", details, remedy)
        waiting = self.context.clock.time() - oldest if oldest is not None else 0.0
        if waiting > _STUCK:
            remedy = "Name the alert engine in the sources of a pipeline, and check that the intake takes events."
            message = f"alerts wait to be told, for {format_duration(round(waiting))} already"
            return Finding("degraded", message, details, remedy)
        return Finding("healthy", f"{len(self.books.evaluator.watches.by_id)} rules at work", details)

    async def _do(self, act: Callable[[Alert, Deed, Moment], Alert], alert: Alert, deed: Deed) -> Alert:
        done = act(alert, deed, self.books.evaluator.moment)
        await (
            self.books.commit()
        )  # What cannot be written down now is when there is room: doing it again changes nothing.
        self.look_sooner()
        return done


async def _ring(bell: anyio.Event, scope: anyio.CancelScope) -> None:
    await bell.wait()
    scope.cancel()


def _masked(config: AlertConfig, redactor: Redactor) -> AlertConfig:
    """The rules, with what they tell as it may be told: it goes wherever alerts go."""

    def told(one: _T) -> _T:
        masked = {name: redactor.value(value) for name in ("annotations", "labels") if (value := getattr(one, name))}
        return msgspec.structs.replace(one, **masked) if masked else one

    return msgspec.structs.replace(config, rules=tuple(map(told, config.rules)), slos=tuple(map(told, config.slos)))
