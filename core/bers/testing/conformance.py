"""What every stage type promises, and every source that runs, as assertions: call them from the tests of a plugin."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence, Set
from typing import Any, TypeAlias

import anyio
import msgspec

from bers import schemas
from bers.claims import covers
from bers.decoding.vocabulary import TYPE
from bers.errors import Full
from bers.pipeline import Step
from bers.records import Event
from bers.stages import AnySpec, Context, Source, SourceSpec
from bers.testing.steps import step

Provoke: TypeAlias = Callable[[Any], Awaitable[object]]
"""Makes the world outside do what a source tells of; it is handed the source, which is open and running."""

STOPS_WITHIN = 2.0
"""Seconds in which a source has to end that is cancelled."""


async def check_spec(spec: AnySpec, *, context: Context | None = None, **options: object) -> None:
    """Assert what every stage type promises; call it from the tests of a plugin."""
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", spec.name), "a stage name is lower-case-with-hyphens"
    assert spec.summary, f"{spec.config.__name__} needs a docstring: it is the stage's documentation"
    assert spec.config.__struct_config__.forbid_unknown_fields, "derive the config from bers.Config"
    for option in schemas.options(spec.config):
        assert option.description, f"{spec.config.__name__}.{option.name} needs a description"
    assert schemas.json_schema(spec.config)["type"] == "object"
    for _ in range(2):
        async with step(spec, context=context, **options).open():
            pass


async def check_source(
    spec: SourceSpec[Any],
    provoke: Provoke,
    *,
    count: int = 1,
    within: float = 5.0,
    context: Context | None = None,
    **options: object,
) -> list[Event]:
    """Assert what every source that runs promises, whether it measures, listens or follows; return what it emits.

    It is opened, runs, and ``provoke`` makes happen what it tells of; it has to emit ``count`` events. That is done
    twice, with an intake that is full at first the second time: what the source holds has to be free again, and who is
    refused goes on. What it lost then is lost only where it did not ask for ``durable``.
    """
    await check_spec(spec, context=context, **options)
    first = await _emitted(spec, provoke, count, within, context, options, refusals=0)
    await _emitted(spec, provoke, count, within, context, options, refusals=1)
    return first


async def _emitted(
    spec: SourceSpec[Any],
    provoke: Provoke,
    count: int,
    within: float,
    context: Context | None,
    options: dict[str, object],
    *,
    refusals: int,
) -> list[Event]:
    """What a source emits when its first hand-ins are refused, each looked at."""
    source: Step[Source] = step(spec, context=context, **options)
    seen: list[Event] = []
    dropped = 0
    news = anyio.Event()
    declared = {metric.name for metric in spec.metrics} | source.context.metrics.keys()
    began = anyio.current_time()

    async def emit(events: Sequence[Event], /, *, durable: bool = False) -> None:
        nonlocal refusals, dropped, news
        for event in events:
            check_emitted(spec, event, declared)
        if not refusals:
            seen.extend(events)
        else:
            refusals -= 1
            if durable:
                raise Full("there is no room")
            dropped += len(events)
        news.set()
        news = anyio.Event()

    async with source.open() as stage:
        async with anyio.create_task_group() as group:
            group.start_soon(stage.run, emit)
            with anyio.move_on_after(within):
                await provoke(stage)
                while len(seen) + dropped < count:
                    await news.wait()
            began = anyio.current_time()
            group.cancel_scope.cancel()
        taken = anyio.current_time() - began
    assert len(seen) + dropped >= count, (
        f"{spec.name} emitted {len(seen)} of {count} events within {within:g} s: {seen}"
    )
    assert taken < STOPS_WITHIN, f"{spec.name} took {taken:.1f} s to end when it was cancelled"
    return seen


def check_emitted(spec: SourceSpec[Any], event: Event, declared: Set[str]) -> None:
    """Assert that a source may emit an event, and that an intake would take it."""
    assert event.id and event.source, f"{spec.name} emits an event without an id or a source: {event}"
    assert TYPE.fullmatch(event.type), f"{spec.name} emits {event.type!r}; a type is written as in 'build.finished'"
    msgspec.msgpack.encode(event)
    if any(covers(claim, event.type) for claim in spec.claims):
        assert event.measures.keys() <= declared, f"{spec.name} declares no metric for {event.measures}"
        return
    offered = any(covers(claim, event.type) for claim in spec.brings)
    assert offered, f"{spec.name} does not claim {event.type}, and does not say that it brings it"
