"""One pipeline at work: read the bus at a position, process, deliver."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from random import Random
from time import perf_counter
from typing import Any, Generic, TypeVar, cast

import anyio
from anyio.abc import TaskStatus

from bers.bus import Bus
from bers.claims import Answers
from bers.clock import Clock, SystemClock
from bers.counters import Counters, Edge
from bers.courier import Courier
from bers.dead_letters import DeadLetters
from bers.delivery import Delivery, Target
from bers.errors import Conflict
from bers.metering import metered
from bers.queues import Queue
from bers.records import Batch
from bers.redaction import redact_text
from bers.stages import Config, Context, Durable, DurableSpec, Processor, StageSpec

S_co = TypeVar("S_co", covariant=True)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step(Generic[S_co]):
    """One stage as pipelines.yaml declared it: validated, and not opened yet."""

    id: str
    spec: StageSpec[Any, S_co]
    config: Config
    context: Context = field(default_factory=lambda: Context("stage"))

    def open(self) -> AbstractAsyncContextManager[S_co]:
        return self.spec.open(self.config, replace(self.context, stage_id=self.id))


@dataclass
class Pipeline:
    """Carries batches from the bus to its sinks. ``name`` is what durable sinks know its position by."""

    name: str
    processors: Sequence[Step[Processor]] = ()
    targets: Sequence[Target] = ()
    wants: Callable[[str], bool] | None = None
    """Which event types it takes; all if not told."""
    counters: Counters = field(default_factory=Counters)
    clock: Clock = field(default_factory=SystemClock)
    random: Random = field(default_factory=Random)
    """What pauses between attempts are drawn from."""
    dead: DeadLetters | None = None
    """Where what can never be delivered goes; it is dropped if not told."""
    position: int = 0
    """How far it has read."""
    reached: float = 0.0
    """When the intake took the event that it has read last, in seconds since 1970."""
    live: int = 0
    """Where its optional sinks began."""

    opened: dict[str, Processor] = field(default_factory=dict[str, Processor])
    """Its processors, by step, while it runs."""
    deliveries: dict[str, Courier] = field(default_factory=dict[str, Courier])
    """How it gets to each sink, by its id, while it runs: whether that fails, since when, and why."""
    queues: dict[str, Queue] = field(default_factory=dict[str, Queue])
    """What waits for each sink that nobody waits for."""

    def __post_init__(self) -> None:
        self._wanted = Answers(self.wants or (lambda _: True))
        self._finishing = False
        self._reading: anyio.CancelScope | None = None

    def choose(self, wants: Callable[[str], bool]) -> None:
        """Take other event types, from the next batch on."""
        self.wants, self._wanted = wants, Answers(wants)

    def finish(self) -> None:
        """Read no more. :meth:`run` returns when everything that was read has been delivered."""
        self._finishing = True
        if self._reading:
            self._reading.cancel()

    async def run(
        self,
        bus: Bus,
        *,
        partition: int = 0,
        begin: int | None = None,
        until: int | None = None,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Deliver what durable sinks lack, then what comes: until cancelled, or up to the position ``until``.

        Whoever is new, and every optional sink, begins at ``begin``: the end of the bus if not told. "Started" says
        that all positions are held, so that nothing appended from then on is missed, whatever happens.
        """
        oldest, end = await bus.span(partition)
        live = end if begin is None else begin
        async with AsyncExitStack() as stack:
            processors = [
                (await stack.enter_async_context(step.open()), self.counters.edge(f"{self.name}/{step.id}"))
                for step in self.processors
            ]
            self.opened = {step.id: processor for step, (processor, _) in zip(self.processors, processors, strict=True)}
            held = await self._hold(partition, oldest, end, live)
            self.deliveries = {target.id: self._courier(target) for target in self.targets}
            self.queues = {
                target.id: Queue(self.deliveries[target.id]) for target in self.targets if not target.waited_for
            }
            waited = [self.deliveries[target.id] for target in self.targets if target.waited_for]
            queues = list(self.queues.values())
            for name, courier in self.deliveries.items():
                await courier.begin(held.get(name, live))
            cuts = [*held.values(), live] if until is None else [*held.values(), live, until]
            # Who has no position of its own begins at `live`, however far the durable ones are ahead of it.
            begins = [*held.values()] if len(held) == len(self.targets) else [*held.values(), live]
            self.position, self.live = max(oldest, min(begins, default=live)), live
            async with anyio.create_task_group() as watches:
                for courier in self.deliveries.values():
                    watches.start_soon(courier.attempts.watch)
                async with anyio.create_task_group() as group:
                    for queue in queues:
                        group.start_soon(queue.run)
                    task_status.started()
                    for courier in waited:
                        await courier.settle()
                    async with aclosing(bus.read(partition, after=self.position, cuts=cuts)) as batches:
                        await self._deliver(batches, processors, waited, until)
                    for queue in queues:
                        queue.close()
                watches.cancel_scope.cancel()

    async def _hold(self, partition: int, oldest: int, end: int, live: int) -> dict[str, int]:
        """Where each durable sink goes on; raise Conflict where one has seen more than the bus holds."""
        held: dict[str, int] = {}
        for target in self.targets:
            if target.durable:
                durable = cast("Durable", target.sink)  # Its spec is a DurableSpec, which proves it.
                begin = live if target.begin is None else target.begin
                held[target.id] = await durable.position(self.name, partition, begin=begin)
        if max(held.values(), default=0) > end:
            raise Conflict(
                f"pipeline {self.name!r} holds position {max(held.values())}, but the bus ends at {end}; "
                f"restore the journal, or start with an empty data directory"
            )
        for name, position in held.items():
            # As where a copy took a database before the journal, which was trimmed meanwhile.
            if position < oldest:
                _log.error(
                    "the journal begins at position %d, and sink %r of pipeline %r has seen what lies before %d: it "
                    "misses what lay between",
                    oldest, name, self.name, position,
                )  # fmt: skip
        return held

    async def _deliver(
        self,
        batches: AsyncGenerator[Batch],
        processors: Sequence[tuple[Processor, Edge]],
        waited: Sequence[Courier],
        until: int | None,
    ) -> None:
        """Bring what is read through the processors to every sink, up to a position or until nothing more is wanted."""
        while not self._finishing and (until is None or self.position < until):
            if (batch := await self._next(batches)) is None:
                break
            for processor, edge in processors:
                batch = await _process(processor, batch, edge)
            for courier in waited:
                if batch.end > courier.position:
                    await courier.take(batch)
            if batch.end > self.live:  # An optional sink never sees a replay.
                for queue in self.queues.values():
                    queue.offer(batch)
            self.position = batch.end

    def _courier(self, target: Target) -> Courier:
        edge = self.counters.edge(f"{self.name}/{target.id}")
        return Courier(self.name, target, edge, self.clock, self.random, self.dead)

    def behind(self, end: int, now: float) -> tuple[int, float]:
        """How many events it has yet to read, and how many seconds ago the one came that it read last, if there are."""
        lag = max(0, end - self.position)
        return lag, max(0.0, now - self.reached) if lag and self.reached else 0.0

    async def _next(self, batches: AsyncGenerator[Batch]) -> Batch | None:
        """The next batch; None where it is to finish, which is not to wait for what comes."""
        with anyio.CancelScope() as self._reading:
            return self._select(await anext(batches))
        return None

    def _select(self, batch: Batch) -> Batch:
        events, edge = batch.events, self.counters.edge(self.name)
        edge.taken += len(events)
        if self.wants is not None:
            events = [event for event in events if self._wanted[event.type]]
            edge.filtered += len(batch.events) - len(events)
        edge.out += len(events)
        if batch.events:
            self.reached = batch.events[-1].received
        selected = replace(batch, events=events, reader=self.name)
        if edge.taps:
            edge.show(selected)
        return selected


async def _process(processor: Processor, batch: Batch, edge: Edge) -> Batch:
    size = len(batch)
    edge.taken += size
    edge.queued += size
    started = perf_counter()
    try:
        result = await metered(processor.process(batch), edge)
    except BaseException as exc:
        edge.queued -= size
        edge.dropped["crashed"] += size
        _note(edge, exc)
        raise
    edge.took(started)
    edge.queued -= size
    for before, after in ((len(batch.events), len(result.events)), (len(batch.windows), len(result.windows))):
        edge.made += max(0, after - before)
        edge.filtered += max(0, before - after)
    edge.out += len(result)
    if edge.taps:
        edge.show(result)
    return result


def _note(edge: Edge, exc: BaseException) -> None:
    if isinstance(exc, Exception):
        edge.errors += 1
        edge.last_error = redact_text(f"{type(exc).__name__}: {exc}")


def target(step: Step[Any], sink: Any, *, required: bool = False) -> Target:
    """How a pipeline reaches an open sink of that step."""
    return Target(step.id, sink, isinstance(step.spec, DurableSpec), Delivery(required=required))
