"""One node: what it is made of, how it starts and stops, and what others ask of it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import anyio
from anyio import AsyncContextManagerMixin, to_thread
from anyio.abc import TaskGroup

from bers.all_positions import highest_position, keep_positions
from bers.audit import Audit
from bers.availability import Heartbeats
from bers.blame import Blame
from bers.catalog import Catalog
from bers.cells import Cell
from bers.changeover import Site
from bers.clock import Clock, Jump, SteadyClock, SystemClock
from bers.collection import CHECK as COLLECTION
from bers.collection import Collection
from bers.config import Plan
from bers.counters import Counters
from bers.database import Database
from bers.dead_letters import DeadLetters
from bers.directory import Directory
from bers.health.board import Health
from bers.health.history import History
from bers.health.rests import Rests
from bers.health.watch import Watch
from bers.housekeeping import Housekeeping, readers, snapshot_position
from bers.identity_key import identity_key
from bers.intake import Intake
from bers.integrity import CHECK as INTEGRITY
from bers.integrity import Integrity
from bers.keepers import Keeping, name_late, start, stop
from bers.log import Log
from bers.logs import Logs
from bers.memory import Memory
from bers.news import News
from bers.pace import Pace
from bers.pipeline import Pipeline
from bers.reloading import Configuration, Reload, Reloading
from bers.roster import Roster
from bers.rounds import Rounds
from bers.seats import Seats
from bers.series import Series
from bers.speedometer import Speedometer
from bers.stages import Context, Vital
from bers.states import Change
from bers.storage import CHECK as STORAGE
from bers.storage import Storage
from bers.tapping import Taps
from bers.timekeeping import Timekeeping
from bers.vitals import Vitals
from bers.ward import Bell, Ward
from bers.watches import Watches, checks_of
from bers.workshop import Workshop

_log = logging.getLogger(__name__)


class Supervisor(AsyncContextManagerMixin):
    """One node: the bus, the intake, every stage, and the health of them all. Entering starts it, leaving stops it."""

    def __init__(
        self,
        plan: Plan,
        *,
        clock: Clock | None = None,
        logs: Logs | None = None,
        addresses: Sequence[tuple[str, int]] = (),
        reread: Callable[[], Plan] | None = None,
        state: Database | None = None,
    ) -> None:
        """``addresses`` is where this node listens; the data directory is the caller's to lock.

        ``state`` is the `state.db` in there, where it is open already; it is closed when this node stops.

        ``reread`` reads the configuration again, as it was read for ``plan``: what :meth:`reload` puts in place.
        """
        self.clock = SteadyClock(clock or SystemClock())
        self.started = self.clock.monotonic()
        self.ready = False
        self.settled = anyio.Event()
        """Set when this node has become ready for the first time."""
        self.stopping = False
        self.listeners: list[Callable[[Supervisor], None]] = []
        """Who is told when another configuration is in place."""
        self._logs = logs
        self._changing = anyio.Lock()
        """Held by whoever starts or stops stages."""
        self._tasks: TaskGroup
        """Of everything that runs; there while it runs."""
        self._roster = Roster(plan)

        # What outlives the process, and what is counted.
        self.data_dir = Path(plan.settings.data_dir)
        self.state = state or Database(self.data_dir / "state.db")
        self.state.mend()  # Before anybody looks for positions in it.
        key = partial(identity_key, self.data_dir)
        self.redactor = plan.redactor.keyed(key)
        self.heartbeats = Heartbeats(self.state, self.clock)
        self.checked = History(self.state, self.clock)
        """What became of every check."""
        self.timekeeping = Timekeeping(self.clock)
        self.audit = Audit(self.state, self.clock, self.redactor, key)
        letters = plan.settings.dead_letters
        self.dead = DeadLetters(
            self.state, self.clock, self.data_dir, letters.max_bytes, letters.when_full, self.redactor.text
        )
        self.counters = Counters()
        self.speed = Speedometer(self.counters, self.clock)
        self.storage = Storage(
            self.data_dir,
            self.clock,
            self.counters,
            {
                "journal": lambda: self.bus.fault,
                "state.db": lambda: self.state.fault,
                "logs": lambda: logs.fault if logs else "",
            },
            lambda: int(self.plan.settings.intake.journal.min_free),
            lambda: self._tasks.start_soon(self.health.look, [STORAGE.name, COLLECTION.name]),
            Path(plan.settings.log.folder),
        )

        # The way of events.
        intake, journal, labels = plan.settings.intake, plan.settings.intake.journal, plan.settings.intake.labels
        metrics = Catalog(plan.metrics.values())
        self.bus = Log(
            self.data_dir / "journal" if journal.durable else None,
            begin=max(highest_position(self.data_dir), snapshot_position(self.data_dir)),
            max_bytes=journal.max_bytes,
            when_full=journal.when_full,
            min_free=int(journal.min_free),
            on_drop=self._name_losers,
        )
        self.memory = Memory(int(intake.memory), self.clock)
        self.memory.account("bus", lambda: self.bus.held)
        self.memory.account("queues", self._roster.queued)
        self.intake = Intake(
            self.bus,
            plan.owners,
            clock=self.clock,
            counters=self.counters,
            series=Series(metrics, max_values=labels.max_values, max_series=labels.max_series, clock=self.clock),
            redactor=self.redactor,
        )
        self.taps = Taps(self.bus, self.counters, self.clock)
        self.pace = Pace(self.bus, lambda: {name: one.position for name, one in self.pipelines.items()})
        self._housekeeping = Housekeeping(
            self.bus, self.intake, self.state, self.data_dir, intake, self.clock, readers(plan)
        )

        # What is lent to stages.
        self.directory = Directory()
        self.directory.offer((spec for _, spec in plan.catalogue.all()), self._roster.running)
        lend = partial(
            Context,
            data_dir=self.data_dir,
            environment=plan.settings.environment,
            clock=self.clock,
            metrics=metrics,
            state=self.state,
            call=self.directory.call,
            whole=self.directory.whole,
            vitals=self._examine,
            own_addresses=addresses,
            boot=uuid4().hex[:12],
            redactor=self.redactor,
            audit_key=key,
        )

        # Who looks after stages, and who tells of it.
        self._ward = Ward()
        self._news = News(self.intake, lend("node"), self.redactor)
        self.timekeeping.listeners += [
            self.heartbeats.missed,
            self.checked.missed,
            self._news.clock_jumped,
            self._look_at_time,
        ]
        self._rounds = Rounds(lambda: self._roster.cells, lambda: self._roster.keepers, self.counters, self._tell)
        self._keeping = Keeping(self._ward, plan.settings.supervision, anyio.Event(), Bell(), self._rounds.stir)
        self.blame = Blame(self._roster, self._ward, self.intake.receivers)
        self.health = Health(self.clock, self._news.health_checked, self.redactor, self.checked, Rests(self.state))
        self._collection = Collection(
            self.bus, self.memory, self.counters, self.directory, lambda: self.cells, self.pipelines,
            lambda: self.held, lambda: self.plan, self.dead,
            self.timekeeping, self.intake.series,
        )  # fmt: skip

        self._integrity = Integrity(self.data_dir, self.bus)
        self._vitals = Vitals(
            self.clock, self.bus, self.counters, self.storage, self.timekeeping, self.health, lambda: self.cells,
            lambda: self.pipelines, lambda: int(self.plan.settings.intake.journal.min_free),
            lambda: self.configuration.result != "ok",
        )  # fmt: skip

        # The stages themselves, and others in their place.
        seats = Seats(self.intake, self._roster)
        workshop = Workshop(
            self._roster, self._keeping, lend, self._rounds.changed, self.clock, self.counters, self.bus, self.intake,
            self._housekeeping, self.dead, seats,
        )  # fmt: skip
        workshop.fill(plan)
        site = Site(
            self._roster, workshop, self._keeping, self.intake, self.bus, self._housekeeping, metrics, logs,
            self.data_dir, self._changing, lambda: self.stopping,
        )  # fmt: skip
        self._reloading = Reloading(
            site, reread, self.redactor, self.clock, self._in_place, self._watch, self._news.config_reloaded
        )

    # What is in place.

    @property
    def plan(self) -> Plan:
        """The configuration that is in place."""
        return self._roster.plan

    @property
    def configuration(self) -> Configuration:
        """Where that came from, and what came of the last attempt to change it."""
        return self._reloading.configuration

    @property
    def sources(self) -> Mapping[str, Cell]:
        return self._roster.sources

    @property
    def processors(self) -> Mapping[str, Cell]:
        """By pipeline and key, as in ``metrics/aggregation``."""
        return self._roster.processors

    @property
    def sinks(self) -> Mapping[str, Cell]:
        return self._roster.sinks

    @property
    def cells(self) -> Sequence[Cell]:
        """Every source, every processor of every pipeline, and every sink."""
        return self._roster.cells

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """As each was started last."""
        return self._roster.pipelines

    def running(self, name: str) -> Any | None:
        """The open stage of that type: the primary one where there are several."""
        return self._roster.running(name)

    # How it is doing.

    @property
    def held(self) -> Mapping[str, str]:
        """The pipelines through which nothing goes, and why."""
        return self._roster.held

    @property
    def given_up(self) -> Sequence[str]:
        """Stages some of whose work did not end when it was told to, and still goes on."""
        return self._ward.given_up

    @property
    def at_work(self) -> Sequence[str]:
        """Whose code has not ended."""
        return self._ward.inside

    @property
    def accepting(self) -> bool:
        """Whether events are taken in and reach every sink that is required."""
        required = [cell for cell in self.sinks.values() if cell.declared.delivery.required]
        return self.ready and self.taking and not any(cell.down for cell in required)

    @property
    def taking(self) -> bool:
        """Whether events are taken in: there is room in the journal and in memory, and the journal can be written."""
        return self.bus.fill < 1 and not self.bus.fault and not self.memory.refusing

    @property
    def uptime(self) -> float:
        """Seconds since this node was started."""
        return self.clock.monotonic() - self.started

    # What others ask of it.

    async def reload(self, *, by: str = "") -> Reload:
        """Read the configuration again and change what differs; what came of it is in :attr:`configuration` too.

        Whatever is wrong with it, or with what it says, leaves everything as it was. One is carried out at a time.
        Raise Refused where there is nothing to read, or the node is stopping.
        """
        return await self._reloading.reload(self._tasks, by)

    def restart_sources(self) -> list[str]:
        """Close and open every source that measures by itself; return their keys."""
        return self._roster.restart_sources()

    def restart(self, key: str) -> list[str]:
        """Close and open anew the stage of that key, in every pipeline; at once, and with a budget that is whole."""
        return self._roster.restart(key)

    async def reset_breakers(self, check: str = "") -> list[str]:
        """Close every circuit breaker, of checks and of stages that have their own; return what was open.

        With a ``check``, only its own and those of its stage. Raise KeyError where there is none of that name.
        """
        names = await self.health.reset_breakers(check)
        for cell in self.cells:
            reset = getattr(cell.stage, "reset_breakers", None)
            meant = not check or check in self._checks_of(cell)
            if reset is not None and meant and (count := reset()):
                names.append(f"{cell.key} ({count})")
        return names

    # How it starts and stops.

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._ward)  # Left last: who does not end keeps nothing else from it.
                await stack.enter_async_context(self.bus)
                group = await stack.enter_async_context(anyio.create_task_group())
                await self._start(group)
                try:
                    yield self
                finally:
                    self.ready, self.stopping = False, True
                    self._keeping.bell.ring()  # A reload that is under way waits for nobody any more.
                    with anyio.CancelScope(shield=True):
                        await self._stop()
                    group.cancel_scope.cancel()
        finally:
            self.storage.close()
            self.state.close()

    async def _start(self, group: TaskGroup) -> None:
        self._tasks = group
        group.start_soon(self.blame.run)
        await self.heartbeats.try_to_beat()
        await self.audit.begin()
        await self.checked.begin(self.heartbeats.before)
        await self.dead.begin()
        await self.dead.sweep()  # By positions that a pipeline which is gone gives up next.
        await to_thread.run_sync(keep_positions, self.data_dir, readers(self.plan))
        await start(group, self._roster.source_keepers.values())
        await self._housekeeping.begin()
        await self._housekeeping.recover()
        await start(group, self._roster.sink_keepers.values())
        await start(group, self._roster.pipeline_keepers.values())
        self._follow_events()
        self._keeping.go.set()
        group.start_soon(self._rounds.run)
        for watch in self._watches():
            self.health.add(watch)
        await self.health.recall()
        group.start_soon(self.heartbeats.run)
        group.start_soon(self.timekeeping.run)
        group.start_soon(self.audit.run, lambda: self.plan.settings.audit.keep)
        group.start_soon(self.storage.run)
        group.start_soon(self.memory.run)
        group.start_soon(self.speed.run)
        group.start_soon(self._housekeeping.run)
        group.start_soon(self.state.inspect)
        group.start_soon(self._look_then_watch)

    async def _look_then_watch(self) -> None:
        await self.health.look_at_all()
        self.ready = True
        self.settled.set()
        await self.health.run()

    async def _stop(self) -> None:
        """Sources first, then pipelines, then their sinks; name who takes longer than allowed."""
        roster = self._roster
        with anyio.move_on_after(self.plan.settings.stop_within * 0.25):  # A disk that hangs keeps nobody.
            await self.intake.close()
        async with self._changing:
            began, within = anyio.current_time(), self.plan.settings.stop_within
            await stop(roster.source_keepers.values(), began + within * 0.5)
            await stop(roster.pipeline_keepers.values(), began + within * 0.75)
            await stop(roster.sink_keepers.values(), began + within)
        name_late(self.cells, within)
        await self.heartbeats.try_to_beat()
        await self.health.close()
        await self._housekeeping.save()

    # What follows what.

    def _in_place(self) -> None:
        """Another configuration is in place: let everybody know who goes by it."""
        self._watch()
        self._follow_events()
        for listener in self.listeners:
            listener(self)

    def _watch(self) -> None:
        """Make the checks of the stages that are in place from now on."""
        self.health.change(self._watches())

    async def _tell(self, cell: Cell | None, change: Change | None) -> None:
        """Say that a stage came to another state, and look at once at what depends on it."""
        if cell and change:
            await self._news.stage_changed(cell, change)
        checks: Sequence[str] = self._checks_of(cell) if cell else ()
        await self.health.look([COLLECTION.name, INTEGRITY.name, *checks])

    async def _examine(self, every: float) -> Sequence[Vital]:
        return await self._vitals.read(every)

    async def _look_at_time(self, jump: Jump) -> None:
        await self.health.look([COLLECTION.name])

    def _checks_of(self, cell: Cell) -> Sequence[str]:
        return [check.name for one, check in checks_of(self.cells) if one is cell]

    def _watches(self) -> Iterator[Watch]:
        making = Watches(self.plan.settings.health, self.clock, self.plan.metrics, self.directory.call)
        return making.all(self._collection, self._integrity, self.storage, self.cells, self._roster.is_replaced)

    def _name_losers(self, start: int, end: int) -> None:
        """Say which pipelines had not read what the journal gave up."""
        for name, pipeline in self.pipelines.items():
            if pipeline.position < end:
                lost = max(start, pipeline.position)
                _log.error(
                    "pipeline %r misses the events from position %d to %d: the journal gave them up", name, lost, end
                )

    def _follow_events(self) -> None:
        """Begin or end to write a line for each event, as the settings say."""
        if self._logs:
            self._logs.follow_if(self.plan.settings.log.events, self.bus, lambda: self.plan.owners, self._tasks)
