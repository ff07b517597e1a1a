"""Everything that runs: stages and pipelines are started, kept running, and stopped in order."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias
from uuid import uuid4

import anyio
from anyio import AsyncContextManagerMixin, to_thread
from anyio.abc import TaskGroup, TaskStatus

from bers.audit import Audit
from bers.availability import Heartbeats
from bers.checks import Check, Finding
from bers.clock import Clock, SystemClock
from bers.config import Declared, Plan
from bers.counters import Counters
from bers.directory import Directory, Route
from bers.errors import Refused, leaves
from bers.health import Breaker, CheckReport, Health, Watch
from bers.intake import Intake
from bers.log import Log
from bers.logs import Logs
from bers.operations import Caller
from bers.pipeline import Pipeline, Step, Target
from bers.records import Event
from bers.redaction import redact_text
from bers.stages import AnySpec, Context, DurableSpec, Receiver, Source
from bers.state import Database, highest_position, keep_positions, lowest_position
from bers.units import Interval

StageState: TypeAlias = Literal["starting", "ok", "failing", "stopping", "stopped"]

LONGEST_PAUSE = 30.0
"""Seconds; what the pauses between two attempts to start a stage grow to."""

_SNAPSHOTS = "CREATE TABLE IF NOT EXISTS snapshots (partition INTEGER PRIMARY KEY, body BLOB NOT NULL)"

_log = logging.getLogger(__name__)


@dataclass
class Cell:
    """One declared stage, and how it is doing."""

    declared: Declared
    context: Context
    state: StageState = "stopped"
    stage: Any = None
    """The stage while it is open."""
    restarts: int = 0
    error: str = ""
    """Why it failed last."""
    since: float = 0.0
    """When it came to the state it is in, by the monotonic clock."""

    @property
    def key(self) -> str:
        return self.declared.key

    @property
    def spec(self) -> AnySpec:
        return self.declared.spec

    @property
    def step(self) -> Step[Any]:
        return Step(self.key, self.spec, self.declared.config, self.context)

    def become(self, state: StageState, error: str = "") -> None:
        self.state, self.error, self.since = state, error or self.error, self.context.clock.monotonic()


@dataclass
class Unit:
    """What starts, stops and restarts together: sinks, and the pipelines that lead to them."""

    cells: Sequence[Cell]
    pipelines: Sequence[str]
    scope: anyio.CancelScope | None = None
    done: anyio.Event = field(default_factory=anyio.Event)

    @property
    def name(self) -> str:
        return ", ".join(cell.key for cell in self.cells)


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
            begin=highest_position(self.data_dir) if journal.durable else 0,
            max_bytes=journal.max_bytes,
            when_full=journal.when_full,
        )
        self.intake = Intake(self.bus, plan.owners, clock=self.clock, counters=self.counters)
        self.health = Health(self.clock, self._publish)
        self.pipelines: dict[str, Pipeline] = {}
        self._logs = logs
        self._boot = uuid4().hex[:12]
        self._own = Context("node", clock=self.clock, boot=self._boot, environment=plan.settings.environment)
        self._addresses = addresses
        stages = plan.stages
        self.sources = {key: self._cell(declared) for key, declared in stages.sources.items()}
        self.sinks = {key: self._cell(declared) for key, declared in stages.sinks.items()}
        self._units = self._group()
        self._go = anyio.Event()
        """Set when sources may begin to emit: everybody who has to read them is there."""
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

    async def emit(self, events: Sequence[Event], /, *, durable: bool = False) -> None:
        """Hand in events of our own."""
        await self.intake.submit(events, durable=durable)

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
        await self.intake.recover(await self.state.run(_load_snapshot))
        for unit in self._units:
            await group.start(self._keep_unit, unit)
        if self._logs:
            group.start_soon(self._write_log, self._logs)
        self._go.set()
        for check, get in self._checks():
            self.health.add(self._watch(check, get))
        group.start_soon(self.heartbeats.run)
        group.start_soon(self._keep_house)
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
        for unit in self._units:
            for cell in unit.cells:
                cell.become("stopping")
            if unit.scope:
                unit.scope.cancel()
        with anyio.move_on_after(within):
            for unit in self._units:
                await unit.done.wait()
        late = [cell.key for cell in self.cells if cell.state == "stopping"]
        if late:
            _log.error("did not stop within %g s: %s", within, ", ".join(late))
        try:
            await self._save()
        except Exception:
            _log.exception("what the intake remembers could not be saved; the next start reads more of the journal")

    # Stages.

    async def _keep_source(self, cell: Cell, *, task_status: TaskStatus[None]) -> None:
        """Keep a source open; let it receive, and run. "Started" says that it was opened, or could not be."""
        pause = _Pause(self.clock)
        tell = _once(task_status)
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
                            await stage.run(self.emit)
                        await anyio.sleep_forever()
            except Exception as exc:
                self._failed(cell, exc)
            finally:
                cell.stage = None
                self.intake.detach(cell.key)
            tell()
            if not (self.stopping or scope.cancelled_caught):
                cell.restarts += 1
                await pause.wait()
        cell.become("stopped")

    async def _keep_unit(self, unit: Unit, *, task_status: TaskStatus[None]) -> None:
        """Keep sinks open, and the pipelines that lead to them running."""
        pause = _Pause(self.clock)
        tell = _once(task_status)
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
                await pause.wait()
        for cell in unit.cells:
            cell.become("stopped")
        unit.done.set()

    async def _run_unit(self, unit: Unit, pause: _Pause, tell: Callable[[], None]) -> None:
        async with AsyncExitStack() as stack:
            for cell in unit.cells:
                cell.stage = await stack.enter_async_context(cell.step.open())
            with anyio.CancelScope() as unit.scope:  # Within the stages, so that they may still commit.
                async with anyio.create_task_group() as group:
                    for name in unit.pipelines:
                        pipeline = self.pipelines[name] = self._pipeline(name)
                        await group.start(self._run_pipeline, pipeline)
                    for cell in unit.cells:
                        cell.become("ok")
                        if cell.declared.source and isinstance(cell.stage, Source):
                            group.start_soon(self._run_sink, cell.stage)
                    tell()
                    pause.begin()
                    await anyio.sleep_forever()
            for cell in unit.cells:
                cell.stage = None  # Nobody asks a stage that is closing.

    async def _run_sink(self, stage: Source) -> None:
        """Let a sink emit that is a source too."""
        await self._go.wait()
        await stage.run(self.emit)

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
            [self._target(self.sinks[key]) for key in declared.sinks],
            lambda event_type: owners.of(event_type) in sources,
            self.counters,
        )

    def _target(self, cell: Cell) -> Target:
        delivery = cell.declared.delivery
        durable = isinstance(cell.spec, DurableSpec)
        return Target(cell.key, cell.stage, durable, delivery.required, delivery.queue, delivery.when_full)

    def _readers(self) -> set[tuple[str, str]]:
        return {(key, name) for name, pipeline in self.plan.pipelines.items() for key in pipeline.sinks}

    def _group(self) -> list[Unit]:
        """Sinks that share a pipeline share their fate."""
        groups: list[set[str]] = [{key} for key in self.sinks]
        for pipeline in self.plan.pipelines.values():
            joined = [group for group in groups if group & set(pipeline.sinks)]
            groups = [group for group in groups if group not in joined]
            groups.append(set[str]().union(*joined))
        return [
            Unit(
                [cell for key, cell in self.sinks.items() if key in group],
                [name for name, pipeline in self.plan.pipelines.items() if group & set(pipeline.sinks)],
            )
            for group in groups
        ]

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
        return [(COLLECTOR, lambda: self), *found]

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

    async def look_at_collection(self) -> Finding:
        """Whether what happens is taken in, kept and told."""
        failing = {cell.key: cell.error for cell in self.cells if cell.state == "failing"}
        required = [cell.key for cell in self.sinks.values() if cell.declared.delivery.required]
        door = self.counters.edge("intake")
        _, end = await self.bus.span(0)
        details = {
            "accepted": door.out,
            "duplicates": door.filtered,
            "bufferUtilization": {**await self._buffers(), "journal": round(self.bus.fill, 4)},
            "lag": {name: max(0, end - pipeline.position) for name, pipeline in self.pipelines.items()},
            "failing": failing,
            "unaccounted": self.counters.gaps(),
        }
        if self.bus.fill >= 1:
            return Finding("unhealthy", "the journal is full: new events are refused", details, _JOURNAL_REMEDY)
        if any(key in failing for key in required):
            return Finding("unhealthy", f"a required sink fails: {', '.join(failing)}", details, _STAGE_REMEDY)
        if failing:
            return Finding("degraded", f"failing: {', '.join(failing)}", details, _STAGE_REMEDY)
        return Finding("healthy", "events are taken in and delivered", details)

    async def _buffers(self) -> Mapping[str, Any]:
        """How full the store's buffers are, as it says beside its metrics."""
        routes, _ = self.directory.match("/api/monitoring/metrics")
        try:
            reply = await self.directory.ask(routes["GET"], {}, Caller("bers"))
        except (KeyError, Refused):
            return {}
        return dict(reply.beside.get("bufferUtilization", {}))

    # Housekeeping.

    async def _keep_house(self) -> None:
        while True:
            await self.clock.sleep(self.plan.settings.intake.snapshot_every)
            try:
                self.intake.expire(self.plan.settings.intake.forget_after)
                await self._save()
            except Exception:
                _log.exception("the journal could not be trimmed; it is tried again")

    async def _save(self) -> None:
        """Write down what the intake remembers, then forget what of the journal nobody needs any more."""
        body = await self.intake.snapshot()
        await self.state.run(partial(_store_snapshot, body=body))
        _, end = await self.bus.span(0)
        positions = [await to_thread.run_sync(lowest_position, self.data_dir), end]
        await self.bus.trim(0, min(position for position in positions if position is not None))

    async def _write_log(self, logs: Logs) -> None:
        """Read the bus as it goes on, and tell of each event in the log of its source."""
        if not self.plan.settings.log.events:
            return
        owners = self.plan.owners
        _, end = await self.bus.span(0)
        async for batch in self.bus.read(0, after=end):
            if batch.events:
                try:
                    await to_thread.run_sync(logs.tell, batch.events, owners)
                except OSError as exc:
                    _log.warning("events could not be written to the logs: %s", exc)


COLLECTOR = Check(
    "metrics-collector",
    Supervisor.look_at_collection,
    "Whether events are taken in, kept and delivered.",
    interval=Interval("10s"),
    critical=True,
)
_JOURNAL_REMEDY = "Make room on the disk, raise intake.journal.max_bytes, or mend the sink that lags (`bers status`)."
_STAGE_REMEDY = "See `bers status` for the error of each stage; it is restarted by itself."


class _Pause:
    """How long to wait before the next attempt: longer each time, short again after a good minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds = 0.25
        self._began: float | None = None

    def begin(self) -> None:
        """Say that the attempt has led to something that runs."""
        self._began = self._clock.monotonic()

    async def wait(self) -> None:
        if self._began is not None and self._clock.monotonic() - self._began > 60:
            self._seconds = 0.25
        self._began = None
        await self._clock.sleep(self._seconds)
        self._seconds = min(LONGEST_PAUSE, self._seconds * 2)


def _once(task_status: TaskStatus[None]) -> Callable[[], None]:
    """A way to say "started" any number of times."""
    told = False

    def tell() -> None:
        nonlocal told
        if not told:
            told = True
            task_status.started()

    return tell


def _load_snapshot(connection: sqlite3.Connection) -> bytes | None:
    connection.execute(_SNAPSHOTS)
    row = connection.execute("SELECT body FROM snapshots WHERE partition = 0").fetchone()
    return row[0] if row else None


def _store_snapshot(connection: sqlite3.Connection, *, body: bytes) -> None:
    connection.execute(_SNAPSHOTS)
    connection.execute("INSERT OR REPLACE INTO snapshots VALUES (0, ?)", (body,))
