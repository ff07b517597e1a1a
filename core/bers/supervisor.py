"""Everything that runs: stages and pipelines are started, kept running, and stopped in order."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
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
from bers.cells import Cell, Pause, Unit, once, units
from bers.checks import Check, Finding
from bers.clock import Clock, SystemClock
from bers.collection import CHECK as COLLECTION
from bers.collection import Collection
from bers.config import Declared, Plan
from bers.counters import Counters
from bers.directory import Directory, Route
from bers.errors import Full, leaves
from bers.health import Breaker, CheckReport, Health, Watch
from bers.housekeeping import Housekeeping
from bers.intake import Intake
from bers.log import Log
from bers.logs import Logs
from bers.pipeline import Pipeline, Step, Target
from bers.records import Event
from bers.redaction import redact_text
from bers.stages import Context, DurableSpec, Receiver, Source
from bers.state import Database, highest_position, keep_positions

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
        self._units = units(self.sinks, plan.pipelines)
        self._go = anyio.Event()
        """Set when sources may begin to emit: everybody who has to read them is there."""
        self._strange: set[str] = set()
        """Types that a stage emitted without claiming them, and that were told of."""
        self._scopes: dict[str, anyio.CancelScope] = {}
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
            self._scopes[key].cancel()
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
        for cell in self.sources.values():
            await group.start(self._keep_source, cell)
        await self._housekeeping.begin()
        await self._housekeeping.recover()
        for unit in self._units:
            await group.start(self._keep_unit, unit)
        if self._logs and self.plan.settings.log.events:
            group.start_soon(self._logs.follow, self.bus, self.plan.owners)
        self._go.set()
        for check, get in self._checks():
            self.health.add(self._watch(check, get))
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
        for cell in self.sources.values():
            cell.become("stopping")
        for scope in self._scopes.values():
            scope.cancel()
        with anyio.move_on_after(within):
            for cell in self.sources.values():
                await cell.done.wait()
        for unit in self._units:
            for cell in unit.cells:
                cell.become("stopping")
            if unit.scope:
                unit.scope.cancel()
        with anyio.move_on_after(within):
            for cell in self.sinks.values():
                await cell.done.wait()
        late = [cell.key for cell in self.cells if cell.state == "stopping"]
        if late:
            _log.error("did not stop within %g s: %s", within, ", ".join(late))
        await self._housekeeping.save()

    # Stages.

    async def _keep_source(self, cell: Cell, *, task_status: TaskStatus[None]) -> None:
        """Keep a source open; let it receive, and run. "Started" says that it was opened, or could not be."""
        try:
            await self._keep_source_open(cell, once(task_status))
        finally:
            cell.stop()

    async def _keep_source_open(self, cell: Cell, tell: Callable[[], None]) -> None:
        pause = Pause(self.clock)
        while not self.stopping:
            cell.become("starting")
            scope = self._scopes[cell.key] = anyio.CancelScope()
            try:
                async with cell.step.open() as stage:
                    with scope:  # Within the stage, so that a stage that is stopped may still close in peace.
                        cell.stage = stage
                        if isinstance(stage, Receiver):
                            self.intake.attach(cell.key, stage)
                        cell.become("ok")
                        tell()
                        await self._go.wait()
                        pause.begin()
                        if isinstance(stage, Source):
                            await stage.run(partial(self.emit_as, cell))
                        await anyio.sleep_forever()
            except Exception as exc:
                self._failed(cell, exc)
            finally:
                cell.stage = None
                self.intake.detach(cell.key)
            tell()
            if not (self.stopping or scope.cancelled_caught):
                cell.restarts += 1
                with anyio.CancelScope() as self._scopes[cell.key]:  # To stop is not to wait for the next attempt.
                    await pause.wait()

    async def _keep_unit(self, unit: Unit, *, task_status: TaskStatus[None]) -> None:
        """Keep sinks open, and the pipelines that lead to them running."""
        try:
            await self._keep_unit_open(unit, once(task_status))
        finally:
            for cell in unit.cells:
                cell.stop()

    async def _keep_unit_open(self, unit: Unit, tell: Callable[[], None]) -> None:
        pause = Pause(self.clock)
        while not self.stopping:
            for cell in unit.cells:
                cell.become("starting")
            try:
                await self._run_unit(unit, pause, tell)
            except Exception as exc:
                for cell in unit.cells:
                    self._failed(cell, exc)
                    cell.restarts += 1
            finally:
                for cell in unit.cells:
                    cell.stage = None
            tell()
            if not self.stopping:
                with anyio.CancelScope() as unit.scope:
                    await pause.wait()

    async def _run_unit(self, unit: Unit, pause: Pause, tell: Callable[[], None]) -> None:
        async with AsyncExitStack() as stack:
            for cell in unit.cells:
                cell.stage = await stack.enter_async_context(cell.step.open())
            if self.stopping:
                return
            with anyio.CancelScope() as unit.scope:  # Within the stages, so that they may still commit.
                async with anyio.create_task_group() as group:
                    for name in unit.pipelines:
                        pipeline = self.pipelines[name] = self._pipeline(name)
                        await group.start(self._run_pipeline, pipeline)
                    for cell in unit.cells:
                        cell.become("ok")
                        if cell.declared.source and isinstance(cell.stage, Source):
                            group.start_soon(self._run_sink, cell, cell.stage)
                    tell()
                    pause.begin()
                    await anyio.sleep_forever()
            for cell in unit.cells:
                cell.stage = None  # Nobody asks a stage that is closing.

    async def _run_sink(self, cell: Cell, stage: Source) -> None:
        """Let a sink emit that is a source too."""
        await self._go.wait()
        await stage.run(partial(self.emit_as, cell))

    async def _run_pipeline(self, pipeline: Pipeline, *, task_status: TaskStatus[None]) -> None:
        await pipeline.run(self.bus, task_status=task_status)

    def _failed(self, cell: Cell, exc: BaseException) -> None:
        reasons = "; ".join(redact_text(f"{type(leaf).__name__}: {leaf}") for leaf in leaves(exc))
        cell.become("failing", reasons)
        _log.error("stage %r failed: %s", cell.key, reasons, exc_info=exc)

    def _pipeline(self, name: str) -> Pipeline:
        declared = self.plan.pipelines[name]
        owners, sources = self.plan.owners, frozenset(declared.sources)
        processors = [self.plan.stages.processors[key] for key in declared.processors]
        return Pipeline(
            name,
            [Step(one.key, one.spec, one.config, self._context(one.key)) for one in processors],
            [self._target(self.sinks[key], name) for key in declared.sinks],
            lambda event_type: owners.of(event_type) in sources,
            self.counters,
        )

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

    def _checks(self) -> list[tuple[Check[Any], Callable[[], Any | None]]]:
        found: list[tuple[Check[Any], Callable[[], Any | None]]] = [
            (check, partial(self._stage_of, cell)) for cell in self.cells for check in cell.spec.checks
        ]
        collection = Collection(self.bus, self.counters, self.directory, self.sources, self.sinks, self.pipelines)
        known = [(COLLECTION, lambda: collection), *found]
        settings = self.plan.settings.health.checks
        return [(check, get) for check, get in known if check.name not in settings or settings[check.name].enabled]

    @staticmethod
    def _stage_of(cell: Cell) -> Any | None:
        return cell.stage

    def _watch(self, check: Check[Any], get: Callable[[], Any | None]) -> Watch:
        own = self.plan.settings.health.checks.get(check.name)
        breaker = self.plan.settings.health.breaker

        async def probe() -> Finding:
            stage = get()
            if stage is None:
                return Finding("unhealthy", "its stage is not running", {}, "See `bers status` for why.")
            return await check.probe(stage)

        return Watch(
            check.name,
            probe,
            own.interval if own and own.interval else check.interval,
            own.timeout if own and own.timeout else check.timeout,
            own.critical if own and own.critical is not None else check.critical,
            Breaker(
                self.clock,
                failures=breaker.failures,
                reset_after=breaker.reset_after,
                successes=breaker.successes,
            ),
        )

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
