"""Everything that runs: stages and pipelines are started, kept running, and stopped in order."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import anyio
from anyio import AsyncContextManagerMixin, to_thread
from anyio.abc import TaskGroup, TaskStatus

from bers.audit import Audit
from bers.availability import Heartbeats
from bers.cells import Cell, Unit, units
from bers.checks import Check
from bers.clock import Clock, SystemClock
from bers.collection import CHECK as COLLECTION
from bers.collection import Collection
from bers.config import Declared, Plan
from bers.counters import Counters
from bers.directory import Directory, Route
from bers.errors import Full
from bers.health import CheckReport, Health, Watch
from bers.housekeeping import Housekeeping
from bers.intake import Intake
from bers.keepers import Keeper, SourceKeeper, UnitKeeper
from bers.log import Log
from bers.logs import Logs
from bers.pipeline import Pipeline, Step, Target
from bers.records import Event
from bers.stages import Context, DurableSpec, Source
from bers.state import Database, highest_position, keep_positions
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
        stages = plan.stages
        self.sources = {key: self._cell(declared) for key, declared in stages.sources.items()}
        self.sinks = {key: self._cell(declared) for key, declared in stages.sinks.items()}
        self._go = anyio.Event()
        """Set when sources may begin to emit: everybody who has to read them is there."""
        self._strange: set[str] = set()
        """Types that a stage emitted without claiming them, and that were told of."""
        self._sources = {key: self._source_keeper(cell) for key, cell in self.sources.items()}
        self._units = [self._unit_keeper(unit) for unit in units(self.sinks, plan.pipelines)]
        self._offer()

    @property
    def cells(self) -> Sequence[Cell]:
        """Every source and every sink."""
        return [*self.sources.values(), *self.sinks.values()]

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
        for key in keys:
            self._sources[key].restart()
        return keys

    def reset_breakers(self) -> list[str]:
        """Close every circuit breaker, of checks and of stages that have their own; return what was open."""
        names = self.health.reset_breakers()
        for cell in self.cells:
            reset = getattr(cell.stage, "reset_breakers", None)
            if reset is not None and (count := reset()):
                names.append(f"{cell.key} ({count})")
        return names

    async def _start(self, group: TaskGroup) -> None:
        await to_thread.run_sync(keep_positions, self.data_dir, self._readers())
        for source in self._sources.values():
            await group.start(_run, source)
        await self._housekeeping.begin()
        await self._housekeeping.recover()
        for unit in self._units:
            await group.start(_run, unit)
        if self._logs and self.plan.settings.log.events:
            group.start_soon(self._logs.follow, self.bus, self.plan.owners)
        self._go.set()
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
        """Sources first, then pipelines and their sinks; name who takes longer than allowed."""
        within = self.plan.settings.stop_within
        await _stop(self._sources.values(), within)
        await _stop(self._units, within)
        late = [cell.key for cell in self.cells if cell.state == "stopping"]
        if late:
            _log.error("did not stop within %g s: %s", within, ", ".join(late))
        await self._housekeeping.save()

    # Stages.

    def _source_keeper(self, cell: Cell) -> SourceKeeper:
        return SourceKeeper(cell, self.intake, partial(self.emit_as, cell), self._go)

    def _unit_keeper(self, unit: Unit) -> UnitKeeper:
        return UnitKeeper(unit, self.bus, self._pipeline, lambda cell: partial(self.emit_as, cell), self._go)

    def _pipeline(self, name: str) -> Pipeline:
        declared = self.plan.pipelines[name]
        owners, sources = self.plan.owners, frozenset(declared.sources)
        processors = [self.plan.stages.processors[key] for key in declared.processors]
        pipeline = self.pipelines[name] = Pipeline(
            name,
            [Step(one.key, one.spec, one.config, self._context(one.key)) for one in processors],
            [self._target(self.sinks[key], name) for key in declared.sinks],
            lambda event_type: owners.of(event_type) in sources,
            self.counters,
        )
        return pipeline

    def _target(self, cell: Cell, pipeline: str) -> Target:
        delivery = cell.declared.delivery
        durable = isinstance(cell.spec, DurableSpec)
        begin = self._housekeeping.begins.get((cell.key, pipeline))
        return Target(cell.key, cell.stage, durable, delivery.required, delivery.queue, delivery.when_full, begin)

    def _readers(self) -> set[tuple[str, str]]:
        """Every sink that holds a position, with each pipeline that leads to it."""
        return {
            (key, name)
            for name, pipeline in self.plan.pipelines.items()
            for key in pipeline.sinks
            if isinstance(self.plan.stages.sinks[key].spec, DurableSpec)
        }

    def _cell(self, declared: Declared) -> Cell:
        return Cell(declared, self._context(declared.key), since=self.clock.monotonic())

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

    # Health.

    def _watches(self) -> Iterator[Watch]:
        collection = Collection(self.bus, self.counters, self.directory, self.sources, self.sinks, self.pipelines)
        known: list[tuple[Check[Any], Callable[[], Any | None]]] = [(COLLECTION, lambda: collection)]
        known += [(check, partial(_stage_of, cell)) for cell in self.cells for check in cell.spec.checks]
        for check, stage in known:
            if made := watch(check, stage, self.plan.settings.health, self.clock):
                yield made

    async def _publish(self, report: CheckReport) -> None:
        event = self._own.event(
            "health.checked",
            subject=report.name,
            outcome="success" if report.status == "healthy" else "failure",
            reason=report.message,
            duration_ms=report.duration,
            data={"status": report.status, "breaker": report.breaker.state},
        )
        try:
            await self.intake.submit([event], durable=False)
        except Exception as exc:
            _log.warning("what check %r found could not be published: %s", report.name, exc)


async def _run(keeper: Keeper, *, task_status: TaskStatus[None]) -> None:
    await keeper.run(task_status=task_status)


async def _stop(keepers: Iterable[Keeper], within: float) -> None:
    """Tell them all to stop, and wait for them, but not for longer than that."""
    told = list(keepers)
    for keeper in told:
        keeper.stop()
    with anyio.move_on_after(within):
        for keeper in told:
            for cell in keeper.cells:
                await cell.done.wait()


def _stage_of(cell: Cell) -> Any | None:
    return cell.stage
