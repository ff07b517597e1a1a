"""A test kit for plugin authors: build a stage as the host would, and drive it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from bers.claims import covers
from bers.database import Database
from bers.dead_letters import DeadLetters
from bers.log import Log
from bers.pipeline import Pipeline, Step, target
from bers.records import Batch, Event
from bers.stages import (
    Config,
    Context,
    Processor,
    ProcessorSpec,
    Receiver,
    Sink,
    SinkSpec,
    Source,
    SourceSpec,
    Stage,
)
from bers.tables import Table
from bers.testing.clock import VirtualClock
from bers.testing.conformance import Provoke, check_emitted, check_source, check_spec
from bers.testing.formats import check_format
from bers.testing.steps import step

__all__ = [
    "Batch",
    "Log",
    "Pipeline",
    "Provoke",
    "Step",
    "VirtualClock",
    "check_format",
    "check_source",
    "check_spec",
    "collect",
    "emitting",
    "feed",
    "run_pipeline",
    "run_processor",
    "run_receive",
    "run_source",
    "step",
]


class _NoConfig(Config, frozen=True):
    """Nothing to configure."""


class _List(Stage[_NoConfig]):
    batches: list[Batch]

    async def write(self, batch: Batch) -> None:
        self.batches.append(batch)


async def feed(*frames: Sequence[Event]) -> Log:
    """A bus in memory that these frames have been appended to."""
    log = Log()
    for frame in frames:
        await log.append(0, frame)
    return log


def collect(into: list[Batch]) -> Step[Sink]:
    """A sink that appends every batch to a list."""
    return step(SinkSpec("collect", _NoConfig, type("Collect", (_List,), {"batches": into})))


@asynccontextmanager
async def _open(steps: Sequence[Step[Any]]) -> AsyncGenerator[list[Any]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(one.open()) for one in steps]


async def run_pipeline(
    bus: Log,
    *,
    processors: Sequence[Step[Processor]] = (),
    sinks: Sequence[Step[Any]] = (),
    name: str = "test",
    begin: int | None = 0,
    until: int | None = None,
) -> Pipeline:
    """Run a real pipeline over what is on the bus, up to ``until`` or else its end; return it, for its counters."""
    _, end = await bus.span(0)
    dead = DeadLetters(Database())
    async with _open(sinks) as opened:
        try:
            await dead.begin()
            targets = [target(one, sink) for one, sink in zip(sinks, opened, strict=True)]
            pipeline = Pipeline(name, processors, targets, dead=dead)
            await pipeline.run(bus, begin=begin, until=end if until is None else until)
        finally:
            dead.state.close()
    assert not pipeline.counters.gaps(), f"records are unaccounted for: {pipeline.counters.gaps()}"
    return pipeline


async def run_processor(
    spec: ProcessorSpec[Any], events: Sequence[Event], *, context: Context | None = None, **options: object
) -> Batch:
    """Send the events through one processor in a real pipeline, and return the batch that comes out."""
    seen: list[Batch] = []
    await run_pipeline(await feed(events), processors=[step(spec, context=context, **options)], sinks=[collect(seen)])
    return seen[0] if seen else Batch((), end=len(events))


async def run_source(
    spec: SourceSpec[Any], *, count: int = 1, within: float = 2.0, context: Context | None = None, **options: object
) -> list[Event]:
    """Run one source until it has emitted so many events, and return what it emitted; assert that it may emit that."""
    seen: list[Event] = []
    with anyio.fail_after(within):
        async with emitting(spec, context=context, **options) as events:
            while len(seen) < count:
                seen.append(await events.receive())
    return seen


@asynccontextmanager
async def emitting(
    spec: SourceSpec[Any], *, context: Context | None = None, **options: object
) -> AsyncGenerator[MemoryObjectReceiveStream[Event]]:
    """Run one source for as long as the block lasts, and receive what it emits: with a virtual clock, step by step."""
    source: Step[Source] = step(spec, context=context, **options)
    inlet, outlet = anyio.create_memory_object_stream[Event](1_000)
    declared = {metric.name for metric in spec.metrics} | source.context.metrics.keys()

    async def emit(events: Sequence[Event], /, *, durable: bool = False) -> None:
        for event in events:
            check_emitted(spec, event, declared)
            inlet.send_nowait(event)

    with inlet, outlet:
        async with source.open() as stage, anyio.create_task_group() as group:
            group.start_soon(stage.run, emit)
            yield outlet
            group.cancel_scope.cancel()


async def run_receive(
    spec: SourceSpec[Any], events: Iterable[Event], *, context: Context | None = None, **options: object
) -> list[Event]:
    """Hand the events to one source, and return what the intake would append; assert what receiving promises."""
    seen: list[Event] = []
    source: Step[Receiver] = step(spec, context=context, **options)
    async with source.open() as stage:
        table, again = Table(), Table()
        for event in events:
            assert any(covers(claim, event.type) for claim in spec.claims), f"{spec.name} does not claim {event.type}"
            first, *more = stage.receive(event, table)
            assert (first.source, first.id) == (event.source, event.id), "the event itself comes first"
            assert all(one.cause == event.id for one in more), "what follows from an event names it as its cause"
            stage.receive(first, again)
            assert again.keys() == table.keys(), "a restart would remember something else"
            seen += [first, *more]
    return seen
