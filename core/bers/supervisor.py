"""Everything that runs: stages and pipelines are started, kept running, and stopped in order."""

from __future__ import annotations

import logging
from asyncio import Task
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar
from uuid import uuid4

import anyio
import msgspec
from anyio import AsyncContextManagerMixin, to_thread
from anyio.abc import TaskGroup, TaskStatus

from bers.audit import Audit
from bers.availability import Heartbeats
from bers.catalog import Catalog
from bers.cells import Budget, Cell, Kind, Pause, reasons
from bers.clock import Clock, SystemClock
from bers.collection import CHECK as COLLECTION
from bers.collection import Collection
from bers.config import Declared, Plan
from bers.config.located import steps_of
from bers.counters import Counters
from bers.dead_letters import DeadLetters
from bers.delivery import Target
from bers.directory import Directory, Route
from bers.errors import ConfigError, Full, PluginError, Refused
from bers.guards import Post, Waited, Way, step
from bers.health import CheckReport, Health, Watch
from bers.housekeeping import Housekeeping
from bers.intake import Intake
from bers.keepers import Keeper, Keeping, PipelineKeeper, StageKeeper
from bers.log import Log
from bers.logs import Logs, files_of
from bers.memory import Memory
from bers.metering import Cost, metered
from bers.pace import Pace
from bers.pipeline import Pipeline
from bers.records import Event
from bers.redaction import identity_key
from bers.reloading import Changes, Configuration, Located, Reload, Result, alone, compare, locate, refused
from bers.rounds import Rounds
from bers.series import Series
from bers.speedometer import Speedometer
from bers.stages import Context, DurableSpec, Receiver, Source
from bers.state import Database, forget_positions, highest_position, keep_positions
from bers.states import Change, Standing
from bers.tables import Table
from bers.tapping import Taps
from bers.ward import Bell, Stay, Ward
from bers.watchdog import Watchdog
from bers.watches import watch

T = TypeVar("T")

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
    ) -> None:
        """``addresses`` is where this node listens; the data directory is the caller's to lock.

        ``reread`` reads the configuration again, as it was read for ``plan``: what :meth:`reload` puts in place.
        """
        self.plan = plan
        """What is in place at present."""
        self.clock = clock or SystemClock()
        self.started = self.clock.monotonic()
        self.ready = False
        self.settled = anyio.Event()
        """Set when this node has become ready for the first time."""
        self.stopping = False
        self.counters = Counters()
        self.speed = Speedometer(self.counters, self.clock)
        self.directory = Directory()
        self.data_dir = Path(plan.settings.data_dir)
        self.state = Database(self.data_dir / "state.db")
        self.redactor = plan.redactor.keyed(partial(identity_key, self.data_dir))
        self._redactors = (plan.redactor, self.redactor)
        """That of the logs, and that of everybody else."""
        self.heartbeats = Heartbeats(self.state, self.clock)
        self.audit = Audit(self.state, self.clock, self.redactor)
        letters = plan.settings.dead_letters
        self.dead = DeadLetters(
            self.state, self.clock, self.data_dir, letters.max_bytes, letters.when_full, self.redactor.text
        )
        intake, journal = plan.settings.intake, plan.settings.intake.journal
        self.memory = Memory(int(intake.memory), self.clock)
        self._metrics = Catalog(plan.metrics.values())
        """What is lent to stages: it goes with the configuration."""
        self.bus = Log(
            self.data_dir / "journal" if journal.durable else None,
            begin=highest_position(self.data_dir),
            max_bytes=journal.max_bytes,
            when_full=journal.when_full,
        )
        self.memory.account("bus", lambda: self.bus.held)
        self.memory.account("queues", self._waiting_bytes)
        labels = intake.labels
        self.intake = Intake(
            self.bus,
            plan.owners,
            clock=self.clock,
            counters=self.counters,
            series=Series(self._metrics, max_values=labels.max_values, max_series=labels.max_series),
            redactor=self.redactor,
        )
        self.taps = Taps(self.bus, self.counters, self.clock)
        self._housekeeping = Housekeeping(
            self.bus,
            self.intake,
            self.state,
            self.data_dir,
            plan.settings.intake,
            self.clock,
            _readers(plan),
        )
        self.health = Health(self.clock, self._publish, self.redactor)
        self.pipelines: dict[str, Pipeline] = {}
        self.configuration = Configuration(1, plan.digest, plan.name, int(self.clock.time() * 1000))
        self.listeners: list[Callable[[Supervisor], None]] = []
        """Who is told when another configuration is in place."""
        self._reread = reread
        self._changing = anyio.Lock()
        """Held by whoever starts or stops stages."""
        self._tasks: TaskGroup
        """Of everything that runs; there while it runs."""
        self._numbers: dict[str, count[int]] = {}
        self._handing_over: list[Cell] = []
        """Stages that are closed until others take their place; sources read on: `receive` needs nothing open."""
        self._given_up = set[tuple[str, str]]()
        """Readers that are no more, and whose position their sink still has: it has not been opened since."""
        self._telling: anyio.CancelScope | None = None
        self.pace = Pace(self.bus, lambda: {name: one.position for name, one in self.pipelines.items()})
        self._logs = logs
        self._boot = uuid4().hex[:12]
        self._own = Context("node", clock=self.clock, boot=self._boot, environment=plan.settings.environment)
        self._addresses = addresses
        self.rounds = Rounds(lambda: self.cells, lambda: self.keepers, self.counters, self._tell)
        self.sources = {key: self._cell(plan, declared, "source") for key, declared in plan.stages.sources.items()}
        self.sinks = {key: self._cell(plan, declared, "sink") for key, declared in plan.stages.sinks.items()}
        self.processors = {cell.name: cell for name in plan.pipelines for cell in self._processor_cells(plan, name)}
        self._strange: set[str] = set()
        """Types that a stage emitted without claiming them, and that were told of."""
        self._ward = Ward()
        self._keeping = Keeping(self._ward, plan.settings.supervision, anyio.Event(), Bell(), self.rounds.stir)
        self._sources = {key: self._stage_keeper(cell) for key, cell in self.sources.items()}
        self._sinks = {key: self._stage_keeper(cell) for key, cell in self.sinks.items()}
        self._pipelines = {name: self._pipeline_keeper(name) for name in plan.pipelines}
        self._collection = Collection(
            self.bus,
            self.memory,
            self.counters,
            self.directory,
            lambda: self.cells,
            self.pipelines,
            lambda: self.held,
            lambda: self.plan,
            self.dead,
        )
        self._offer()

    @property
    def cells(self) -> Sequence[Cell]:
        """Every source, every processor of every pipeline, and every sink."""
        return [*self.sources.values(), *self.processors.values(), *self.sinks.values()]

    @property
    def keepers(self) -> Sequence[Keeper]:
        """Who looks after the stages; after a pipeline's processors, together with it."""
        return [*self._sources.values(), *self._pipelines.values(), *self._sinks.values()]

    @property
    def held(self) -> Mapping[str, str]:
        """The pipelines through which nothing goes, and why."""
        return {name: keeper.held for name, keeper in self._pipelines.items() if keeper.held}

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

    def running(self, name: str) -> Any | None:
        """The open stage of that type: the primary one where there are several."""
        cells = [cell for cell in self.cells if cell.spec.name == name and cell.stage is not None]
        cells.sort(key=lambda cell: not cell.declared.primary)
        return cells[0].stage if cells else None

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
            self.state.close()

    async def emit_as(self, cell: Cell, events: Sequence[Event], /, *, durable: bool = False) -> None:
        """Hand in what a stage measured by itself."""
        if wrong := [type(event).__name__ for event in events if not _is_event(event)]:
            raise PluginError(f"{cell.name}: it emitted a {wrong[0]}; emit a list of events")
        strange = {event.type for event in events if self.plan.owners.of(event.type) != cell.key}
        for kind in strange - self._strange:
            self._strange.add(kind)
            _log.warning("stage %r emits %r and does not claim it: pipelines take it for unmapped", cell.key, kind)
        try:
            # What it takes to take them in is the intake's, not the stage's that waits for it.
            await metered(self.intake.submit(events, durable=durable), Cost(), within=cell.running)
        except Full:
            if durable:
                raise

    def restart_sources(self) -> list[str]:
        """Close and open every source that measures by itself; return their keys."""
        keys = [key for key, cell in self.sources.items() if isinstance(cell.stage, Source)]
        keys += [key for key, cell in self.sources.items() if cell.stage is None and cell.down]
        for key in keys:
            self._sources[key].restart()
        return keys

    def restart(self, key: str) -> list[str]:
        """Close and open anew the stage of that key, in every pipeline; at once, and with a budget that is whole."""
        found: list[str] = []
        for keeper in self.keepers:
            if names := [cell.name for cell in keeper.cells if key in (cell.key, cell.name)]:
                found += names
                keeper.restart()
        return found

    def reset_breakers(self) -> list[str]:
        """Close every circuit breaker, of checks and of stages that have their own; return what was open."""
        names = self.health.reset_breakers()
        for cell in self.cells:
            reset = getattr(cell.stage, "reset_breakers", None)
            if reset is not None and (count := reset()):
                names.append(f"{cell.key} ({count})")
        return names

    async def _start(self, group: TaskGroup) -> None:
        self._tasks = group
        group.start_soon(self._watch_the_loop)
        await self.dead.begin()
        await self.dead.sweep()  # By positions that a pipeline which is gone gives up next.
        await to_thread.run_sync(keep_positions, self.data_dir, _readers(self.plan))
        await _start(group, self._sources.values())
        await self._housekeeping.begin()
        await self._housekeeping.recover()
        await _start(group, self._sinks.values())
        await _start(group, self._pipelines.values())
        self._tell_of_events()
        self._keeping.go.set()
        group.start_soon(self.rounds.run)
        for one in self._watches():
            self.health.add(one)
        group.start_soon(self.heartbeats.run)
        group.start_soon(self.memory.run)
        group.start_soon(self.speed.run)
        group.start_soon(self._housekeeping.run)
        group.start_soon(self._look_then_watch)

    async def _look_then_watch(self) -> None:
        await self.health.look_at_all()
        self.ready = True
        self.settled.set()
        await self.health.run()

    async def _stop(self) -> None:
        """Sources first, then pipelines, then their sinks; name who takes longer than allowed."""
        async with self._changing:
            began, within = anyio.current_time(), self.plan.settings.stop_within
            for keepers, share in ((self._sources, 0.5), (self._pipelines, 0.75), (self._sinks, 1.0)):
                await _stop(keepers.values(), began + within * share)
        _name_late(self.cells, within)
        await self._housekeeping.save()

    def _tell_of_events(self) -> None:
        """Begin or end to write a line for each event, as the settings say."""
        wanted = self._logs is not None and self.plan.settings.log.events
        if wanted and self._telling is None:
            self._telling = anyio.CancelScope()
            self._tasks.start_soon(self._follow, self._telling)
        elif not wanted and self._telling is not None:
            self._telling.cancel()
            self._telling = None

    async def _follow(self, scope: anyio.CancelScope) -> None:
        assert self._logs is not None, "who has no logs does not follow"
        with scope:
            await self._logs.follow(self.bus, lambda: self.plan.owners)

    # Stages.

    def _stage_keeper(self, cell: Cell, go: anyio.Event | None = None) -> StageKeeper:
        """``go`` is set when it may emit: with everybody else if not told."""
        keeping = replace(self._keeping, go=go or self._keeping.go)
        return StageKeeper(cell, keeping, _Seat(self.intake, partial(self._sits, cell)), partial(self.emit_as, cell))

    def _has(self, cell: Cell) -> bool:
        """Whether a stage is in place, rather than just being tried, or closed because another is."""
        return any(cell is one for one in self.cells)

    def _sits(self, cell: Cell) -> bool:
        return self._has(cell) and not self._is_handed_over(cell)

    def _is_handed_over(self, cell: Cell) -> bool:
        return any(cell is one for one in self._handing_over)

    def _pipeline_keeper(self, name: str, begin: int | None = None) -> PipelineKeeper:
        declared = self.plan.pipelines[name]
        waited = [self.sinks[key] for key in declared.sinks if _is_waited_for(self.sinks[key])]
        processors = [self.processors[f"{name}/{key}"] for key in declared.processors]
        return PipelineKeeper(
            name, processors, waited, self.bus, self.counters, self._keeping, Pause(self.clock),
            partial(self._pipeline, name), self._fail, holds=bool(waited), begin=begin,
        )  # fmt: skip

    def _pipeline(self, name: str, post: Post) -> Pipeline:
        declared = self.plan.pipelines[name]
        pipeline = self.pipelines[name] = Pipeline(
            name,
            [step(self.processors[f"{name}/{key}"], post) for key in declared.processors],
            [self._target(self.sinks[key], name, post) for key in declared.sinks],
            self._wants(name),
            self.counters,
            self.clock,
            dead=self.dead,
        )
        return pipeline

    def _wants(self, name: str) -> Callable[[str], bool]:
        owners, sources = self.plan.owners, frozenset(self.plan.pipelines[name].sources)
        return lambda event_type: owners.of(event_type) in sources

    def _target(self, cell: Cell, pipeline: str, post: Post) -> Target:
        durable = isinstance(cell.spec, DurableSpec)
        begin = self._housekeeping.begins.get((cell.key, pipeline))
        shared = self._keeping
        edge = self.counters.edge(f"{pipeline}/{cell.key}")
        way = Way(cell, shared.ward, shared.bell, shared.settings, self._fail, edge)
        sink = Waited(cell, post) if _is_waited_for(cell) else way
        return Target(cell.key, sink, durable, cell.declared.delivery, begin)

    def _fail(self, cell: Cell, exc: BaseException, /, *, given_up: bool = False) -> None:
        keeper = self._sinks.get(cell.key)
        if keeper and self._has(cell):
            keeper.fail(exc, given_up=given_up)

    def _processor_cells(self, plan: Plan, pipeline: str) -> list[Cell]:
        keys = plan.pipelines[pipeline].processors
        return [self._cell(plan, plan.stages.processors[key], "processor", pipeline) for key in keys]

    def _cell(self, plan: Plan, declared: Declared, kind: Kind, pipeline: str = "", table: Table | None = None) -> Cell:
        supervision, key = plan.settings.supervision, declared.key

        def changed(change: Change) -> None:
            if self._has(cell):  # What is just being tried is nobody's business yet.
                self.rounds.changed(cell, change)

        cell = Cell(
            declared,
            self._context(key, table),
            kind,
            Standing(self.clock, changed),
            Budget(self.clock, supervision.restarts, supervision.within),
            Budget(self.clock, supervision.watchdog.blocks, supervision.watchdog.within),
            _edges(plan, kind, key, pipeline),
            pipeline,
        )
        if kind == "source" or declared.source:
            cell.running = self.counters.edge(f"source/{key}")
        return cell

    def _context(self, key: str, table: Table | None = None) -> Context:
        return Context(
            key,
            self.data_dir,
            self.plan.settings.environment,
            self.clock,
            self._metrics,
            self.state,
            self.intake.table(key) if table is None else table,
            self.directory.call,
            self._addresses,
            self._boot,
            self.redactor,
            self._numbers.setdefault(key, count()),  # Numbers of a stage go on, however often it is changed.
        )

    def _offer(self) -> None:
        """Every operation of every loaded spec has its route, whether its stage is declared or not."""
        offered: set[int] = set()
        for _, spec in self.plan.catalogue.all():
            for operation in spec.operations:
                if id(operation) not in offered:
                    offered.add(id(operation))
                    self.directory.add(Route(operation, spec.name, partial(self.running, spec.name)))

    async def _watch_the_loop(self) -> None:
        settings = self.plan.settings.supervision.watchdog
        async with Watchdog(settings.block, self.rounds.stood_still, self._at_work_in, lambda: self._packages):
            await anyio.sleep_forever()

    def _at_work_in(self, task: Task[object] | None) -> str:
        """Whose code a task runs at this moment."""
        owner = self.intake.reading
        return owner if owner in self.sources else self._ward.stage_of(task)

    @cached_property
    def _packages(self) -> Mapping[str, str]:
        """The stage that a module or a package belongs to, where there is only one."""
        places = [(place, cell.name) for cell in self.cells for place in _places(cell.spec.config.__module__)]
        counts = Counter(place for place, _ in places)
        return {place: name for place, name in places if counts[place] == 1}

    async def _tell(self, cell: Cell | None, change: Change | None) -> None:
        """Say that a stage came to another state, and look at once at what depends on it."""
        if cell and change:
            await self._submit(
                "stage.changed",
                subject=cell.name,
                outcome="success" if change.after == "ok" else "failure",
                reason=self.redactor.text(change.reason) or None,
                data={
                    "stage": cell.name,
                    "use": cell.spec.name,
                    "kind": cell.kind,
                    "state": change.after,
                    "before": change.before,
                    "error": self.redactor.text(change.error),
                },
            )
        checks = [check.name for check in cell.spec.checks] if cell else []
        await self.health.look([COLLECTION.name, *checks])

    # Reload.

    async def reload(self, *, by: str = "") -> Reload:
        """Read the configuration again and change what differs; what came of it is in :attr:`configuration` too.

        Whatever is wrong with it, or with what it says, leaves everything as it was. One is carried out at a time.
        Raise Refused where there is nothing to read, or the node is stopping.
        """
        if self._reread is None:
            raise Refused("conflict", "this node has no file that could be read again", hint="start a node with one")
        attempt: Reload | None = None
        with anyio.CancelScope(shield=True):  # Who asked may go: half a change is none.
            async with self._changing:
                if self.stopping:
                    raise Refused("unavailable", "this node is stopping", retry_after=1)
                attempt = await self._attempt(self._reread, by)
            await self._report(attempt)
        assert attempt is not None, "nobody leaves a shielded scope early"
        return attempt

    async def _attempt(self, reread: Callable[[], Plan], by: str) -> Reload:
        at, began = self.clock.time(), self.clock.monotonic()
        changes, faults = Changes(), list[Located]()
        try:
            plan = await to_thread.run_sync(reread)  # Some milliseconds of Python, in which others have turns.
            changes = await self._change(plan)
        except ConfigError as exc:
            faults = locate(exc.faults)
        except Exception as exc:
            _log.exception("the configuration could not be put in place")
            faults = [Located("", "$", self.redactor.text(f"{type(exc).__name__}: {exc}"))]
        duration = round((self.clock.monotonic() - began) * 1000, 3)
        result: Result = "failed" if faults else "ok"
        attempt = Reload(int(at * 1000), by, result, duration, changes, faults)
        before, generation = self.configuration, self.configuration.generation + (not changes.nothing)
        loaded = before.loaded_at if changes.nothing else int(self.clock.time() * 1000)
        self.configuration = Configuration(
            generation, self.plan.digest, self.plan.name, loaded, attempt.result, faults, attempt
        )
        return attempt

    async def _change(self, plan: Plan) -> Changes:
        """Put another plan in place; if this raises, the one that was there is there again."""
        given_up = _readers(plan) & self._given_up
        changes = compare(self.plan, plan, reopened={sink for sink, _ in given_up})
        if faults := refused(changes, plan):
            raise ConfigError(faults)
        for redactor in self._redactors:  # Before anybody is given what it has to mask.
            redactor.learn(plan.redactor)
        old, go = self.plan, anyio.Event()
        async with AsyncExitStack() as undo:
            retired = await self._carry_out(plan, changes, go, given_up, undo)
            undo.pop_all()  # What is left to do cannot fail, or is no reason to go back.
        within = plan.settings.stop_within
        for kind in _KINDS:
            await _stop([keeper for one, keeper in retired.items() if one[0] == kind], anyio.current_time() + within)
            go.set()  # Those that measure by themselves take turns.
        _name_late([cell for keeper in retired.values() for cell in keeper.cells], within)
        for name in changes.pipelines.removed:
            self._remove(name)
        _refill(self._pipelines, {name: self._pipelines[name] for name in plan.pipelines})
        _refill(self.pipelines, {name: self.pipelines[name] for name in plan.pipelines if name in self.pipelines})
        self._given_up = (self._given_up | _readers(old)) - _readers(plan)
        self.health.change(self._watches())
        self._tell_of_events()
        for listener in self.listeners:
            listener(self)
        try:
            await self._housekeeping.settle(_readers(plan), plan.settings.intake)
        except Exception:  # The new configuration is in place, whatever the disk says.
            _log.exception("which readers are gone could not be written down; it is at the next reload or start")
        return changes

    async def _carry_out(
        self,
        plan: Plan,
        changes: Changes,
        go: anyio.Event,
        given_up: set[tuple[str, str]],
        undo: AsyncExitStack,
    ) -> dict[StageId, StageKeeper]:
        """Do everything that may fail, and say what undoes it; return who has nothing to do any more.

        What can be opened beside its former self is open before anything stops. What cannot (it is alone with its
        files, or on its port) is closed first, while its pipelines wait at their positions.
        """
        old, within, placed = self.plan, plan.settings.stop_within, self._placed()
        coming = [(kind, key) for kind in _KINDS for key in getattr(changes, kind).coming]
        going = [(kind, key) for kind in _KINDS for key in getattr(changes, kind).going]
        closed = [one for one in going if any(alone(stage) for stage in _versions(one, old, plan))]
        swapped = [one for one in coming if any(alone(stage) for stage in _versions(one, old, plan))]
        tables = self._tables(old, plan, changes)
        opened: dict[StageId, StageKeeper] = {}

        async def open_(one: StageId) -> None:
            keeper = opened[one] = self._keeper(plan, one, go, tables.get(one[1]))
            undo.push_async_callback(self._close, keeper, within)
            await self._open(keeper, plan, one)

        undo.callback(self._metrics.adopt, Catalog(self._metrics.values()))
        self._metrics.adopt(plan.metrics)
        if self._logs:
            undo.callback(self._logs.change, old.settings.log, files_of(old))
            self._logs.change(plan.settings.log, files_of(plan))
        for name in changes.pipelines.coming:
            await self._try_processors(plan, name)
        undo.push_async_callback(self._housekeeping.settle, _readers(old), old.settings.intake)
        await self._housekeeping.expect(_readers(plan))
        for one in coming:
            if one not in swapped:
                await open_(one)
        positions: dict[str, int | None] = {}
        for name in changes.pipelines.going:
            undo.push_async_callback(self._resume, name, positions)
            positions[name] = await self._finish(name, within)
        undo.callback(self._handing_over.clear)
        for one in closed:
            undo.push_async_callback(self._reopen, one)
            self._handing_over += placed[one].cells
            if not await self._close(placed[one], within):
                raise ConfigError([plan.fault(one, f"its former self did not close within {within:g} s")])
        await to_thread.run_sync(forget_positions, self.data_dir, given_up)
        for one in swapped:
            await open_(one)
        undo.push_async_callback(self._put, old, placed, self.intake.tables(tables))
        await self._put(plan, {**placed, **opened}, tables)
        for name in changes.pipelines.coming:
            undo.push_async_callback(self._take_back, name, self._pipelines.get(name), positions)
            await self._begin(name, positions.get(name))
        return {one: placed[one] for one in going if one not in closed}

    def _placed(self) -> dict[StageId, StageKeeper]:
        """Who is in place."""
        sources = {("sources", key): keeper for key, keeper in self._sources.items()}
        return {**sources, **{("sinks", key): keeper for key, keeper in self._sinks.items()}}

    def _keeper(self, plan: Plan, one: StageId, go: anyio.Event, table: Table | None = None) -> StageKeeper:
        return self._stage_keeper(self._cell(plan, _stage(plan, one), _KINDS[one[0]], table=table), go)

    def _tables(self, old: Plan, new: Plan, changes: Changes) -> dict[str, Table | None]:
        """What becomes of what sources remember: it is of no use to another type of source, or to none."""
        other = [
            key for key in changes.sources.changed if old.stages.sources[key].spec is not new.stages.sources[key].spec
        ]
        return {**{key: Table() for key in other}, **dict.fromkeys(changes.sources.removed)}

    async def _open(self, keeper: StageKeeper, plan: Plan, one: StageId) -> None:
        """Start a keeper; raise ConfigError where its stage does not open."""
        (cell,) = keeper.cells
        supervision = self.plan.settings.supervision
        self._tasks.start_soon(keeper.run)
        # Its keeper holds it to these; a moment more, for it to say so.
        within = supervision.open_within + supervision.close_within + 2.0
        await self._keeping.bell.until(lambda: cell.stage is not None or cell.restarts or self.stopping, within)
        if cell.stage is None:
            why = cell.error or ("this node is stopping" if self.stopping else f"no answer within {within:g} s")
            raise ConfigError([plan.fault(one, f"cannot be opened: {why}")])

    async def _close(self, keeper: Keeper, within: float) -> bool:
        return await _stop([keeper], anyio.current_time() + within)

    async def _try_processors(self, plan: Plan, name: str) -> None:
        """Open the processors of a pipeline once; raise ConfigError where one of them does not open."""
        within = self.plan.settings.supervision.open_within
        for cell in self._processor_cells(plan, name):
            steps = ("processors", cell.key)
            stay = self._ward.take(cell.name, partial(_try, cell), bell=self._keeping.bell)
            if not await self._keeping.bell.until(stay.ended.is_set, within):
                await stay.leave(min(1.0, self.plan.settings.supervision.close_within))
                raise ConfigError([plan.fault(steps, f"did not open within {within:g} s")])
            if isinstance(stay.error, ConfigError):
                faults = [plan.fault((*steps, *steps_of(fault.path)), fault.message) for fault in stay.error.faults]
                raise ConfigError(faults)
            if stay.error:
                raise ConfigError([plan.fault(steps, f"cannot be opened: {reasons(stay.error)}")])

    async def _put(
        self, plan: Plan, keepers: Mapping[StageId, StageKeeper], tables: Mapping[str, Table | None]
    ) -> None:
        """Let a plan and its stages take the place of those that are there, between one frame and the next."""
        async with self.intake.between():
            self.plan = plan
            gone = set(self.sources) - set(plan.stages.sources)
            _refill(self._sources, {key: keepers["sources", key] for key in plan.stages.sources})
            _refill(self._sinks, {key: keepers["sinks", key] for key in plan.stages.sinks})
            _refill(self.sources, {key: keeper.cells[0] for key, keeper in self._sources.items()})
            _refill(self.sinks, {key: keeper.cells[0] for key, keeper in self._sinks.items()})
            for key in gone:
                self.intake.detach(key)
            for key, cell in self.sources.items():
                if isinstance(cell.stage, Receiver):
                    self.intake.attach(key, cell.stage)
                else:
                    self.intake.detach(key)
            for key, cell in self.sinks.items():
                cell.edges = _edges(plan, "sink", key)
            self.intake.own(plan.owners, tables)
            self.bus.limit(plan.settings.intake.journal.max_bytes, plan.settings.intake.journal.when_full)
            for name, pipeline in self.pipelines.items():
                if name in plan.pipelines:
                    pipeline.choose(self._wants(name))
            self._handing_over.clear()
            self.__dict__.pop("_packages", None)

    async def _begin(self, name: str, position: int | None) -> None:
        """Start a pipeline, at its position where it has one; raise ConfigError where it does not start."""
        self._remove(name)
        self.processors.update((cell.name, cell) for cell in self._processor_cells(self.plan, name))
        keeper = self._pipelines[name] = self._pipeline_keeper(name, position)
        self._tasks.start_soon(keeper.run)
        await self._keeping.bell.until(lambda: keeper.at_work or keeper.held or self.stopping)
        waited = [cell for key in self.plan.pipelines[name].sinks if _is_waited_for(cell := self.sinks[key])]
        # Where a sink is down that it waits for, it starts when that is up again.
        if not keeper.at_work and all(cell.stage is not None for cell in waited):
            raise ConfigError(
                [self.plan.fault(("pipelines", name), f"does not start: {keeper.held or 'this node is stopping'}")]
            )

    async def _finish(self, name: str, within: float) -> int | None:
        """Stop a pipeline when it has delivered what it read, if it can; return its position."""
        keeper = self._pipelines[name]
        keeper.finish()
        with anyio.move_on_after(within):
            await keeper.done.wait()
        if not (keeper.done.is_set() or await self._close(keeper, within)):
            raise ConfigError([self.plan.fault(("pipelines", name), f"did not stop within {within:g} s")])
        return keeper.position

    def _remove(self, name: str) -> None:
        """Forget a pipeline that has stopped."""
        self._pipelines.pop(name, None)
        self.pipelines.pop(name, None)
        for cell in [cell for cell in self.processors.values() if cell.pipeline == name]:
            del self.processors[cell.name]

    # What undoes it.

    async def _take_back(self, name: str, before: PipelineKeeper | None, positions: dict[str, int | None]) -> None:
        """Stop a pipeline that was begun; the one that was there before goes on where this one has come to."""
        begun = self._pipelines.get(name)
        if begun is not None and begun is not before:
            positions[name] = await self._finish(name, self.plan.settings.stop_within) or positions.get(name)
        if before is None:
            self._remove(name)
        else:
            self._pipelines[name] = before

    async def _reopen(self, one: StageId) -> None:
        """Open a stage again as it was, and wait a while for it; its keeper goes on trying."""
        if not self._placed()[one].done.is_set():
            return  # It could not be closed in time, and is still there.
        keeper = self._keeper(self.plan, one, self._keeping.go)
        kind, key = one
        (self._sources if kind == "sources" else self._sinks)[key] = keeper
        (self.sources if kind == "sources" else self.sinks)[key] = keeper.cells[0]
        with suppress(ConfigError):
            await self._open(keeper, self.plan, one)

    async def _resume(self, name: str, positions: Mapping[str, int | None]) -> None:
        if not self._pipelines[name].done.is_set():
            return
        with suppress(ConfigError):
            await self._begin(name, positions.get(name, self._pipelines[name].position))

    async def _report(self, attempt: Reload) -> None:
        """Tell everybody what came of a reload."""
        where, faults = self.configuration, "; ".join(map(str, attempt.faults))
        if faults:
            _log.error("the configuration was not taken, and the former stays in place: %s", faults)
        else:
            _log.info("generation %d of the configuration is in place: %s", where.generation, where.hash)
        await self._submit(
            "config.reloaded",
            subject=where.file,
            outcome="failure" if faults else "success",
            reason=faults or None,
            duration_ms=attempt.duration,
            data={"generation": where.generation, "hash": where.hash, **msgspec.to_builtins(attempt)},
        )

    def _waiting_bytes(self) -> int:
        return sum(queue.bytes for pipeline in self.pipelines.values() for queue in pipeline.queues.values())

    # Health.

    def _watches(self) -> Iterator[Watch]:
        settings, clock = self.plan.settings.health, self.clock
        if made := watch(COLLECTION, lambda: self._collection, settings, clock, self._collection):
            yield made
        for cell in self.cells:
            for check in cell.spec.checks:
                away = partial(self._is_handed_over, cell)
                if made := watch(check, partial(_stage_of, cell), settings, clock, cell, away):
                    yield made

    async def _publish(self, report: CheckReport) -> None:
        await self._submit(
            "health.checked",
            subject=report.name,
            outcome="success" if report.status == "healthy" else "failure",
            reason=report.message,
            duration_ms=report.duration,
            data={"status": report.status, "breaker": report.breaker.state},
        )

    async def _submit(self, type: str, *, subject: str, **fields: Any) -> None:
        """Hand in an event of our own; what it tells is in the answers of REST too, so it may be lost."""
        try:
            await self.intake.submit([self._own.event(type, subject=subject, **fields)], durable=False)
        except Exception as exc:
            _log.warning("%s of %r could not be published: %s", type, subject, exc)


async def _start(group: TaskGroup, keepers: Iterable[Keeper]) -> None:
    """Start them side by side: one that takes long to open keeps nobody else from it."""
    async with anyio.create_task_group() as starting:
        for keeper in keepers:
            starting.start_soon(group.start, partial(_run, keeper))


async def _run(keeper: Keeper, *, task_status: TaskStatus[None]) -> None:
    await keeper.run(task_status=task_status)


async def _stop(keepers: Iterable[Keeper], deadline: float) -> bool:
    """Tell them all to stop, and wait for them, but not for longer than that; whether they have."""
    told = list(keepers)
    for keeper in told:
        keeper.stop()
    with anyio.move_on_after(max(0.0, deadline - anyio.current_time())):
        for keeper in told:
            await keeper.done.wait()
    return all(keeper.done.is_set() for keeper in told)


def _name_late(cells: Iterable[Cell], within: float) -> None:
    late = [cell.name for cell in cells if cell.state == "stopping"]
    if late:
        _log.error("did not stop within %g s: %s", within, ", ".join(late))


def _places(module: str) -> list[str]:
    """A module, and the package that it is in."""
    package = module.rpartition(".")[0]
    return [module, package] if package else [module]


def _is_event(one: object) -> bool:
    """Whatever its type says: a plugin may be typed less strictly than we are."""
    return isinstance(one, Event)


def _is_waited_for(cell: Cell) -> bool:
    return isinstance(cell.spec, DurableSpec) or cell.declared.delivery.required


def _stage_of(cell: Cell) -> Any | None:
    return cell.stage


StageId: TypeAlias = tuple[str, str]
"""``sources`` or ``sinks``, and a key."""

_KINDS: Mapping[str, Kind] = {"sources": "source", "sinks": "sink"}


def _refill(here: dict[str, T], chosen: Mapping[str, T]) -> None:
    """Fill an object that others look at with something else."""
    here.clear()
    here.update(chosen)


async def _try(cell: Cell, _: Stay) -> None:
    async with cell.step.open():
        pass


@dataclass(frozen=True)
class _Seat:
    """A seat in the intake for a stage that is in place, and for nobody else."""

    intake: Intake
    mine: Callable[[], bool]

    def attach(self, key: str, receiver: Receiver) -> None:
        if self.mine():
            self.intake.attach(key, receiver)

    def detach(self, key: str) -> None:
        if self.mine():
            self.intake.detach(key)


def _stage(plan: Plan, one: StageId) -> Declared:
    declared: Mapping[str, Declared] = getattr(plan.stages, one[0])
    return declared[one[1]]


def _versions(one: StageId, *plans: Plan) -> list[Declared]:
    """What some plans say of one stage."""
    return [_stage(plan, one) for plan in plans if one[1] in getattr(plan.stages, one[0])]


def _edges(plan: Plan, kind: Kind, key: str, pipeline: str = "") -> list[str]:
    """Where a stage is counted."""
    if kind == "sink":
        return [f"{name}/{key}" for name, one in plan.pipelines.items() if key in one.sinks]
    return [f"source/{key}"] if kind == "source" else [f"{pipeline}/{key}"]


def _readers(plan: Plan) -> set[tuple[str, str]]:
    """Every sink that holds a position, with each pipeline that leads to it."""
    return {
        (key, name)
        for name, pipeline in plan.pipelines.items()
        for key in pipeline.sinks
        if isinstance(plan.stages.sinks[key].spec, DurableSpec)
    }
