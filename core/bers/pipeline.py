"""One pipeline at work: read the bus at a position, process, deliver."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar, cast

import anyio
from anyio.abc import TaskStatus

from bers.bus import Bus
from bers.claims import Answers
from bers.counters import Counters, Edge
from bers.errors import Conflict
from bers.records import Batch
from bers.stages import Config, Context, Durable, DurableSpec, Processor, Sink, StageSpec

S_co = TypeVar("S_co", covariant=True)

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
"""Seconds between two attempts to deliver to a required sink, at first and at most."""

WhenFull: TypeAlias = Literal["drop_oldest", "drop_newest"]

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


class Target(NamedTuple):
    """A sink that is open, and how batches get to it."""

    id: str
    sink: Sink
    durable: bool = False
    required: bool = False
    """Whether the pipeline waits for it. A durable one is always waited for."""
    queue: int = 10_000
    """How many records may wait for a sink that nobody waits for."""
    when_full: WhenFull = "drop_oldest"
    begin: int | None = None
    """Where a durable sink begins that does not know the pipeline yet: where the pipeline begins, if not told."""


@dataclass
class Pipeline:
    """Carries batches from the bus to its sinks. ``name`` is what durable sinks know its position by."""

    name: str
    processors: Sequence[Step[Processor]] = ()
    targets: Sequence[Target] = ()
    wants: Callable[[str], bool] | None = None
    """Which event types it takes; all if not told."""
    counters: Counters = field(default_factory=Counters)
    position: int = 0
    """How far it has read."""

    opened: dict[str, Processor] = field(default_factory=dict[str, Processor])
    """Its processors, by step, while it runs."""

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
        _, end = await bus.span(partition)
        live = end if begin is None else begin
        async with AsyncExitStack() as stack:
            processors = [
                (await stack.enter_async_context(step.open()), self.counters.edge(f"{self.name}/{step.id}"))
                for step in self.processors
            ]
            self.opened = {step.id: processor for step, (processor, _) in zip(self.processors, processors, strict=True)}
            held: dict[str, int] = {}
            for target in self.targets:
                if target.durable:
                    durable = cast("Durable", target.sink)  # Its spec is a DurableSpec, which proves it.
                    begin_at = live if target.begin is None else target.begin
                    held[target.id] = await durable.position(self.name, partition, begin=begin_at)
            if max(held.values(), default=0) > end:
                raise Conflict(
                    f"pipeline {self.name!r} holds position {max(held.values())}, but the bus ends at {end}; "
                    f"restore the journal, or start with an empty data directory"
                )
            waited = [
                (target, held.get(target.id, live), self.counters.edge(f"{self.name}/{target.id}"))
                for target in self.targets
                if target.durable or target.required
            ]
            queues = [
                _Queue(target, self.counters.edge(f"{self.name}/{target.id}"))
                for target in self.targets
                if not (target.durable or target.required)
            ]
            cuts = [*held.values(), live] if until is None else [*held.values(), live, until]
            # Who has no position of its own begins at `live`, however far the durable ones are ahead of it.
            begins = [*held.values()] if len(held) == len(self.targets) else [*held.values(), live]
            self.position = min(begins, default=live)
            async with anyio.create_task_group() as group:
                for queue in queues:
                    group.start_soon(queue.run)
                task_status.started()
                async with aclosing(bus.read(partition, after=self.position, cuts=cuts)) as batches:
                    while not self._finishing and (until is None or self.position < until):
                        with anyio.CancelScope() as self._reading:
                            batch = self._select(await anext(batches))
                        if self._reading.cancelled_caught:
                            break  # To finish is not to wait for what comes next.
                        for processor, edge in processors:
                            batch = await _process(processor, batch, edge)
                        for target, position, edge in waited:
                            if batch.end > position:
                                await _write(target, batch, edge)
                        if batch.end > live:  # An optional sink never sees a replay.
                            for queue in queues:
                                queue.offer(batch)
                        self.position = batch.end
                for queue in queues:
                    queue.close()

    def _select(self, batch: Batch) -> Batch:
        events, edge = batch.events, self.counters.edge(self.name)
        edge.taken += len(events)
        if self.wants is not None:
            events = [event for event in events if self._wanted[event.type]]
            edge.filtered += len(batch.events) - len(events)
        edge.out += len(events)
        return replace(batch, events=events, reader=self.name)


async def _process(processor: Processor, batch: Batch, edge: Edge) -> Batch:
    size = len(batch)
    edge.taken += size
    edge.queued += size
    started = perf_counter()
    try:
        result = await processor.process(batch)
    except BaseException as exc:
        edge.queued -= size
        edge.dropped["crashed"] += size
        _note(edge, exc)
        raise
    edge.seconds += perf_counter() - started
    edge.queued -= size
    for before, after in ((len(batch.events), len(result.events)), (len(batch.windows), len(result.windows))):
        edge.made += max(0, after - before)
        edge.filtered += max(0, before - after)
    edge.out += len(result)
    return result


async def _write(target: Target, batch: Batch, edge: Edge) -> None:
    """Deliver to a sink that is waited for. One that is not durable is asked again: nobody else has the batch."""
    edge.taken += len(batch)
    edge.queued += len(batch)
    pause = FIRST_PAUSE
    try:
        while True:
            try:
                return await _deliver(target.sink, batch, edge)
            except Exception:
                if target.durable:
                    raise
                _log.exception("sink %r did not take a batch; it is asked again in %g s", target.id, pause)
            await anyio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
    except BaseException:
        _lose(batch, edge)
        raise


async def _deliver(sink: Sink, batch: Batch, edge: Edge) -> None:
    """Write what is counted as queued already, and count what became of it; if it raises, it is queued still."""
    started = perf_counter()
    try:
        written = await sink.write(batch)
    except BaseException as exc:
        _note(edge, exc)
        raise
    edge.seconds += perf_counter() - started
    merged = written.merged if written else 0
    edge.queued -= len(batch)
    edge.merged += merged
    edge.out += len(batch) - merged


def _lose(batch: Batch, edge: Edge) -> None:
    edge.queued -= len(batch)
    edge.dropped["failed"] += len(batch)


def _note(edge: Edge, exc: BaseException) -> None:
    if isinstance(exc, Exception):
        edge.errors += 1
        edge.last_error = f"{type(exc).__name__}: {exc}"


class _Queue:
    """What waits for an optional sink: bounded in records."""

    def __init__(self, target: Target, edge: Edge) -> None:
        self._target = target
        self._edge = edge
        self._waiting: deque[Batch] = deque()
        self._size = 0
        self._news = anyio.Event()
        self._closed = False

    def offer(self, batch: Batch) -> None:
        size = len(batch)
        if not size:
            return
        self._edge.taken += size
        self._edge.queued += size
        self._waiting.append(batch)
        self._size += size
        while self._size > self._target.queue and len(self._waiting) > 1:
            newest = self._target.when_full == "drop_newest"
            self._drop(self._waiting.pop() if newest else self._waiting.popleft())
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self._news.set()

    async def run(self) -> None:
        try:
            await self._run()
        finally:
            while self._waiting:  # It was not given the time to deliver these.
                self._drop(self._waiting.popleft(), "stopped")

    async def _run(self) -> None:
        while self._waiting or not self._closed:
            if not self._waiting:
                await self._news.wait()
                self._news = anyio.Event()
                continue
            batch = self._waiting.popleft()
            self._size -= len(batch)
            try:
                await _deliver(self._target.sink, batch, self._edge)
            except BaseException as exc:
                _lose(batch, self._edge)
                if not isinstance(exc, Exception):
                    raise
                # One broken plugin never takes the others with it.
                _log.exception("sink %r did not take a batch", self._target.id)

    def _drop(self, batch: Batch, why: str = "full") -> None:
        self._size -= len(batch)
        self._edge.queued -= len(batch)
        self._edge.dropped[why] += len(batch)


def target(step: Step[Any], sink: Any, *, required: bool = False) -> Target:
    """How a pipeline reaches an open sink of that step."""
    return Target(step.id, sink, isinstance(step.spec, DurableSpec), required)
