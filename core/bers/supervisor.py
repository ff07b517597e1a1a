"""Everything that runs: stages and pipelines are started, kept running, and stopped in order."""

from __future__ import annotations

import logging
from asyncio import Task
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import anyio
from anyio import AsyncContextManagerMixin, to_thread
from anyio.abc import TaskGroup, TaskStatus

from bers.audit import Audit
from bers.availability import Heartbeats
from bers.cells import Budget, Cell, Kind, Pause
from bers.checks import Check
from bers.clock import Clock, SystemClock
from bers.collection import CHECK as COLLECTION
from bers.collection import Collection
from bers.config import Declared, Plan
from bers.counters import Counters
from bers.directory import Directory, Route
from bers.errors import Full, PluginError
from bers.health import CheckReport, Health, Watch
from bers.housekeeping import Housekeeping
from bers.intake import Intake
from bers.guards import Post, Waited, Way, step
from bers.keepers import Keeper, Keeping, PipelineKeeper, StageKeeper
from bers.log import Log
from bers.logs import Logs
from bers.pipeline import Pipeline, Target
from bers.records import Event
from bers.redaction import redact_text
from bers.rounds import Rounds
from bers.stages import Context, DurableSpec, Source
from bers.state import Database, highest_position, keep_positions
from bers.states import Change, Standing
from bers.ward import Bell, Ward
from bers.watchdog import Watchdog
from bers.watches import watch

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
    ) -> None:
        """``addresses`` is where this node listens; the data directory is the caller's to lock."""
        self.plan = plan
        self.clock = clock or SystemClock()
        self.started = self.clock.monotonic()
        self.ready = False
        self.settled = anyio.Event()
        """Set when this node has become ready for the first time."""
        self.stopping = False
        self.counters = Counters()
        self.directory = Directory()
        self.data_dir = Path(plan.settings.data_dir)
        self.state = Database(self.data_dir / "state.db")
        self.heartbeats = Heartbeats(self.state, self.clock)
        self.audit = Audit(self.state, self.clock)
        journal = plan.settings.intake.journal
        self.bus = Log(
            self.data_dir / "journal" if journal.durable else None,
            begin=highest_position(self.data_dir),
            max_bytes=journal.max_bytes,
            when_full=journal.when_full,
        )
        self.intake = Intake(self.bus, plan.owners, clock=self.clock, counters=self.counters)
        self._housekeeping = Housekeeping(
            self.bus,
            self.intake,
            self.state,
            self.data_dir,
            plan.settings.intake,
            self.clock,
            self._readers(),
        )
        self.health = Health(self.clock, self._publish)
        self.pipelines: dict[str, Pipeline] = {}
        self._logs = logs
        self._boot = uuid4().hex[:12]
        self._own = Context("node", clock=self.clock, boot=self._boot, environment=plan.settings.environment)
        self._addresses = addresses
        self.rounds = Rounds(lambda: self.cells, lambda: self.keepers, self.counters, self._tell)
        self.sources = {key: self._cell(declared, "source") for key, declared in plan.stages.sources.items()}
        self.sinks = {key: self._cell(declared, "sink") for key, declared in plan.stages.sinks.items()}
        self.processors = {cell.name: cell for cell in self._processor_cells()}
        self._strange: set[str] = set()
        """Types that a stage emitted without claiming them, and that were told of."""
        self._ward = Ward()
        self._keeping = Keeping(self._ward, plan.settings.supervision, anyio.Event(), Bell(), self.rounds.stir)
        self._sources = {key: self._stage_keeper(cell) for key, cell in self.sources.items()}
        self._sinks = {key: self._stage_keeper(cell) for key, cell in self.sinks.items()}
        self._pipelines = {name: self._pipeline_keeper(name) for name in plan.pipelines}
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
        return self.ready and self.bus.fill < 1 and not any(cell.down for cell in required)

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
                    with anyio.CancelScope(shield=True):
                        await self._stop()
                    group.cancel_scope.cancel()
        finally:
            self.state.close()

    async def emit_as(self, cell: Cell, events: Sequence[Event], /, *, durable: bool = False) -> None:
        """Hand in what a stage measured by itself."""
        if any(not isinstance(event, Event) for event in events):
            wrong = next(type(event).__name__ for event in events if not isinstance(event, Event))
            raise PluginError(f"{cell.name}: it emitted a {wrong}; emit a list of events")
        strange = {event.type for event in events if self.plan.owners.of(event.type) != cell.key}
        for kind in strange - self._strange:
            self._strange.add(kind)
            _log.warning("stage %r emits %r and does not claim it: pipelines take it for unmapped", cell.key, kind)
        try:
            await self.intake.submit(events, durable=durable)
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
        group.start_soon(self._watch_the_loop)
        await to_thread.run_sync(keep_positions, self.data_dir, self._readers())
        await _start(group, self._sources.values())
        await self._housekeeping.begin()
        await self._housekeeping.recover()
        await _start(group, self._sinks.values())
        await _start(group, self._pipelines.values())
        if self._logs and self.plan.settings.log.events:
            group.start_soon(self._logs.follow, self.bus, self.plan.owners)
        self._keeping.go.set()
        group.start_soon(self.rounds.run)
        for one in self._watches():
            self.health.add(one)
        group.start_soon(self.heartbeats.run)
        group.start_soon(self._housekeeping.run)
        group.start_soon(self._look_then_watch)

    async def _look_then_watch(self) -> None:
        await self.health.look_at_all()
        self.ready = True
        self.settled.set()
        await self.health.run()

    async def _stop(self) -> None:
        """Sources first, then pipelines, then their sinks; name who takes longer than allowed."""
        began, within = anyio.current_time(), self.plan.settings.stop_within
        for keepers, share in ((self._sources, 0.5), (self._pipelines, 0.75), (self._sinks, 1.0)):
            await _stop(keepers.values(), began + within * share)
        late = [cell.name for cell in self.cells if cell.state == "stopping"]
        if late:
            _log.error("did not stop within %g s: %s", within, ", ".join(late))
        await self._housekeeping.save()

    # Stages.

    def _stage_keeper(self, cell: Cell) -> StageKeeper:
        return StageKeeper(cell, self._keeping, self.intake, partial(self.emit_as, cell))

    def _pipeline_keeper(self, name: str) -> PipelineKeeper:
        declared = self.plan.pipelines[name]
        waited = [self.sinks[key] for key in declared.sinks if _is_waited_for(self.sinks[key])]
        processors = [self.processors[f"{name}/{key}"] for key in declared.processors]
        return PipelineKeeper(
            name, processors, waited, self.bus, self.counters, self._keeping, Pause(self.clock),
            partial(self._pipeline, name), self._fail, holds=bool(waited),
        )  # fmt: skip

    def _pipeline(self, name: str, post: Post) -> Pipeline:
        declared = self.plan.pipelines[name]
        owners, sources = self.plan.owners, frozenset(declared.sources)
        pipeline = self.pipelines[name] = Pipeline(
            name,
            [step(self.processors[f"{name}/{key}"], post) for key in declared.processors],
            [self._target(self.sinks[key], name, post) for key in declared.sinks],
            lambda event_type: owners.of(event_type) in sources,
            self.counters,
        )
        return pipeline

    def _target(self, cell: Cell, pipeline: str, post: Post) -> Target:
        delivery = cell.declared.delivery
        durable = isinstance(cell.spec, DurableSpec)
        begin = self._housekeeping.begins.get((cell.key, pipeline))
        shared = self._keeping
        way = Way(cell, shared.ward, shared.bell, shared.settings, self._fail)
        sink = Waited(cell, post) if _is_waited_for(cell) else way
        return Target(cell.key, sink, durable, delivery.required, delivery.queue, delivery.when_full, begin)

    def _fail(self, cell: Cell, exc: BaseException, /, *, given_up: bool = False) -> None:
        self._sinks[cell.key].fail(exc, given_up=given_up)

    def _readers(self) -> set[tuple[str, str]]:
        """Every sink that holds a position, with each pipeline that leads to it."""
        return {
            (key, name)
            for name, pipeline in self.plan.pipelines.items()
            for key in pipeline.sinks
            if isinstance(self.plan.stages.sinks[key].spec, DurableSpec)
        }

    def _processor_cells(self) -> Iterator[Cell]:
        for name, pipeline in self.plan.pipelines.items():
            for key in pipeline.processors:
                yield self._cell(self.plan.stages.processors[key], "processor", name)

    def _cell(self, declared: Declared, kind: Kind, pipeline: str = "") -> Cell:
        supervision, key = self.plan.settings.supervision, declared.key
        edges = {
            "source": [f"source/{key}"],
            "processor": [f"{pipeline}/{key}"],
            "sink": [f"{name}/{key}" for name, one in self.plan.pipelines.items() if key in one.sinks],
        }
        cell = Cell(
            declared,
            self._context(key),
            kind,
            Standing(self.clock, lambda change: self.rounds.changed(cell, change)),
            Budget(self.clock, supervision.restarts, supervision.within),
            Budget(self.clock, supervision.watchdog.blocks, supervision.watchdog.within),
            edges[kind],
            pipeline,
        )
        return cell

    def _context(self, key: str) -> Context:
        return Context(
            key,
            self.data_dir,
            self.plan.settings.environment,
            self.clock,
            self.plan.metrics,
            self.state,
            self.intake.table(key),
            self.directory.call,
            self._addresses,
            self._boot,
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
        """The stage that a module belongs to, where there is only one."""
        modules = Counter(cell.spec.config.__module__ for cell in self.cells)
        return {module: cell.name for cell in self.cells if modules[module := cell.spec.config.__module__] == 1}

    async def _tell(self, cell: Cell | None, change: Change | None) -> None:
        """Say that a stage came to another state, and look at once at what depends on it."""
        if cell and change:
            await self._submit(
                "stage.changed",
                subject=cell.name,
                outcome="success" if change.after == "ok" else "failure",
                reason=redact_text(change.reason) or None,
                data={
                    "stage": cell.name,
                    "use": cell.spec.name,
                    "kind": cell.kind,
                    "state": change.after,
                    "before": change.before,
                    "error": redact_text(change.error),
                },
            )
        checks = [check.name for check in cell.spec.checks] if cell else []
        await self.health.look([COLLECTION.name, *checks])

    # Health.

    def _watches(self) -> Iterator[Watch]:
        collection = Collection(
            self.bus, self.counters, self.directory, lambda: self.cells, self.pipelines, lambda: self.held, self.plan
        )
        known: list[tuple[Check[Any], Callable[[], Any | None]]] = [(COLLECTION, lambda: collection)]
        known += [(check, partial(_stage_of, cell)) for cell in self.cells for check in cell.spec.checks]
        for check, stage in known:
            if made := watch(check, stage, self.plan.settings.health, self.clock):
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


async def _stop(keepers: Iterable[Keeper], deadline: float) -> None:
    """Tell them all to stop, and wait for them, but not for longer than that."""
    told = list(keepers)
    for keeper in told:
        keeper.stop()
    with anyio.move_on_after(max(0.0, deadline - anyio.current_time())):
        for keeper in told:
            await keeper.done.wait()


def _is_waited_for(cell: Cell) -> bool:
    return isinstance(cell.spec, DurableSpec) or cell.declared.delivery.required


def _stage_of(cell: Cell) -> Any | None:
    return cell.stage
