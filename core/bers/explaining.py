"""The path of one event: what its source made of it, which pipelines took it, and what each stage did with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import anyio
import msgspec
from anyio.lowlevel import checkpoint
from msgspec import Meta

from bers.cells import Cell
from bers.claims import UNMAPPED
from bers.cloudevents import rfc3339
from bers.config import PipelineSettings
from bers.errors import Conflict, Refused
from bers.letters import Place
from bers.pipeline import Pipeline, Step
from bers.records import Batch, Event
from bers.redaction import redact_text
from bers.stages import DurableSpec, Explaining, Processor
from bers.supervisor import Supervisor
from bers.tapping import shown

SLICE = 20_000
"""How many positions of the bus are looked through at a time, the newest first."""
SEARCH = 8.0
"""Seconds that an event is looked for."""
NEAR = 200
"""How many positions from an event its cause and what follows from it are looked for: they are taken in one piece."""
PATIENCE = 2.0
"""Seconds that a stage may take to say what it makes of an event."""

Outcome: TypeAlias = Literal[
    "passed on",
    "changed",
    "left out",
    "not reached",
    "failed",
    "delivered",
    "waiting",
    "not given",
    "nothing left",
    "dead letter",
]


Where: TypeAlias = Literal["journal", "store"]


class AskExplain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which event."""

    id: Annotated[str, Meta(description="Its id.")]
    source: Annotated[str, Meta(description="Its source, where several may have used the id.")] = ""


class AskExplainAt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which event, by where it stands in the journal."""

    position: Annotated[int, Meta(ge=1, description="Its `seq`, the position after it.")]


class Related(msgspec.Struct, rename="camel", frozen=True):
    """An event that this one follows from, or that follows from this one."""

    id: str
    source: str
    type: str
    position: int
    measures: dict[str, float]


class StageStory(msgspec.Struct, rename="camel", frozen=True):
    """What one stage made of the event, or would make of it now.

    A processor is asked again, in an instance of its own; ``windows`` are what it made of the measures. Of a sink,
    ``outcome`` says whether it has the event.
    """

    stage: str
    use: str
    kind: Literal["processor", "sink"]
    outcome: Outcome
    says: list[str]
    windows: list[dict[str, Any]] = []


class PipelineStory(msgspec.Struct, rename="camel", frozen=True):
    """What became of the event in one pipeline."""

    pipeline: str
    takes: bool
    why: str
    stages: list[StageStory] = []


class Explanation(msgspec.Struct, rename="camel", frozen=True):
    """The path of one event. Times are in milliseconds since 1970.

    ``foundIn`` says where it was found: in the journal, or, where that does not reach back to it, in the store.
    """

    event: dict[str, Any]
    found_in: Where
    position: int
    received: int
    owner: str
    """The source that its type belongs to, or `unmapped`."""
    reading: list[str]
    """What that source made of it."""
    cause: Related | None
    follows: list[Related]
    pipelines: list[PipelineStory]


class _Found(NamedTuple):
    event: Event
    where: Where


class Explainer:
    """Finds an event, and asks everybody whom it passed."""

    def __init__(self, node: Supervisor) -> None:
        self._node = node

    async def explain(self, id: str, source: str = "") -> Explanation:
        """The path of the event of that id, of any source if not told. Raise Refused where there is none."""
        return await self._explain(*await self._find(id, source))

    async def explain_at(self, position: int) -> Explanation:
        """The path of the event that ends at a position of the journal. Raise Refused where there is none."""
        return await self._explain(*await self._at(position))

    async def _explain(self, event: Event, where: Where) -> Explanation:
        cause = follows = None
        if where == "journal":
            cause, follows = await self._cause(event), await self._follows(event)
        return Explanation(
            shown(event),
            where,
            event.seq,
            int(event.received * 1000),
            self._node.plan.owners.of(event.type),
            list(self._reading(event, follows)),
            cause,
            follows or [],
            [await self._pipeline(name, one, event) for name, one in self._node.plan.pipelines.items()],
        )

    # Finding

    async def _at(self, position: int) -> _Found:
        oldest, end = await self._node.bus.span(0)
        if oldest < position <= end:
            async with aclosing(self._read(position - 1, position)) as events:
                async for event in events:
                    return _Found(event, "journal")
        raise Refused("not_found", f"there is no event at position {position}", hint=await self._reach())

    async def _find(self, id: str, source: str) -> _Found:
        """The event in the newest part of the journal, or where the store says, or further back in the journal."""
        oldest, end = await self._node.bus.span(0)
        newest = max(oldest, end - SLICE)
        if found := await self._search(id, source, newest, end):
            return _Found(found, "journal")
        if kept := await self._from_store(id, source):
            found = await self._search(id, source, max(oldest, kept.seq - 1), min(end, kept.seq))
            return _Found(found, "journal") if found else _Found(kept, "store")
        deadline = self._node.clock.monotonic() + SEARCH
        high = newest
        while high > oldest and self._node.clock.monotonic() < deadline:
            low = max(oldest, high - SLICE)
            if found := await self._search(id, source, low, high):
                return _Found(found, "journal")
            high = low
        hint = await self._reach()
        if high > oldest:
            hint = f"it was looked for down to position {high}, for {SEARCH:g} s; ask by its position; {hint}"
        of = f" of {source!r}" if source else ""
        raise Refused("not_found", f"there is no event {id!r}{of}, neither in the journal nor in the store", hint=hint)

    async def _search(self, id: str, source: str, after: int, end: int) -> Event | None:
        """The newest event of that id between two positions."""
        found: Event | None = None
        async with aclosing(self._read(after, end)) as events:
            async for event in events:
                if event.id == id and source in ("", event.source):
                    found = event
        return found

    async def _from_store(self, id: str, source: str) -> Event | None:
        try:
            records = await self._node.directory.call("GET", "records", {"id": id, "source": source, "limit": 1})
        except Refused:
            return None  # Nobody keeps details here.
        for record in records:
            return msgspec.convert({**record, "time": record["timestamp"] / 1000}, Event)
        return None

    async def _reach(self) -> str:
        oldest, end = await self._node.bus.span(0)
        if oldest == end:
            return f"the journal is empty, at position {end}"
        async with aclosing(self._read(oldest, min(end, oldest + 1))) as events:
            async for event in events:
                since = f", to {rfc3339(event.received)}"
                return f"the journal reaches back to position {event.seq}{since}; details are kept by the store"
        return f"the journal reaches back to position {oldest}"

    async def _read(self, after: int, end: int) -> AsyncGenerator[Event]:
        """The events between two positions; what was given up meanwhile is left out."""
        if after >= end:
            return
        try:
            async with aclosing(self._node.bus.read(0, after=after, cuts=[end])) as batches:
                async for batch in batches:
                    await checkpoint()  # What is in memory is read without a pause.
                    for event in batch.events:
                        yield event
                    if batch.end >= end:
                        return
        except Conflict:
            return

    async def _cause(self, event: Event) -> Related | None:
        if not event.cause:
            return None
        oldest, _ = await self._node.bus.span(0)
        found: Event | None = None
        async with aclosing(self._read(max(oldest, event.seq - 1 - NEAR), event.seq - 1)) as events:
            async for one in events:
                if one.id == event.cause and not one.cause:
                    found = one
        return _related(found) if found else None

    async def _follows(self, event: Event) -> list[Related]:
        _, end = await self._node.bus.span(0)
        following: list[Related] = []
        if not event.cause:
            async with aclosing(self._read(event.seq, min(end, event.seq + NEAR))) as events:
                async for one in events:
                    if one.cause != event.id:
                        break
                    following.append(_related(one))
        return following

    # Asking

    def _reading(self, event: Event, follows: Sequence[Related] | None) -> Sequence[str]:
        owner = self._node.plan.owners.of(event.type)
        if event.cause:
            return [f"It follows from event {event.cause!r}: the source that read that one made it."]
        if owner == UNMAPPED:
            return [f"No source claims the type {event.type!r}; it was kept as it came."]
        cell = self._node.sources.get(owner) or self._node.sinks[owner]
        said = [f"Source {owner!r} ({cell.spec.name}) claims the type {event.type!r}."]
        if cell.state != "ok":
            said.append(f"It is {cell.state} now: {redact_text(cell.error) or 'no error'}.")
        if event.source == f"bers:{owner}":
            said.append("It measured this by itself.")
        if follows is not None:
            said.append(f"It made {len(follows)} more of it." if follows else "It made nothing more of it.")
        return said

    async def _pipeline(self, name: str, declared: PipelineSettings, event: Event) -> PipelineStory:
        owner = self._node.plan.owners.of(event.type)
        if owner not in declared.sources:
            return PipelineStory(name, takes=False, why=f"It does not name {owner!r} in its sources.")
        running = self._node.pipelines.get(name)
        batch: Batch | None = Batch([event], reader=name, end=event.seq)
        stages: list[StageStory] = []
        for key in declared.processors:
            story, batch = await self._processor(self._node.processors[f"{name}/{key}"], batch, event)
            stages.append(story)
        stages += [await self._sink(self._node.sinks[key], running, batch, event) for key in declared.sinks]
        return PipelineStory(name, takes=True, why=f"It names {owner!r} in its sources.", stages=stages)

    async def _processor(self, cell: Cell, batch: Batch | None, event: Event) -> tuple[StageStory, Batch | None]:
        """Ask a processor again; it keeps nothing on which a result depends, so a fresh one answers as that one did."""
        key, use = cell.key, cell.spec.name
        if not batch:
            unknown = "What comes before it has no answer."
            said = unknown if batch is None else "What comes before it left nothing of the event."
            return StageStory(key, use, "processor", "not reached", [said]), batch
        try:
            result = await _replay(cell.step, replace(batch, windows=[window.copy() for window in batch.windows]))
        except Exception as exc:
            said = redact_text(f"It raises {type(exc).__name__}: {exc}")
            return StageStory(key, use, "processor", "failed", [said]), None
        says = await _said(cell.stage, event)
        outcome = _compare(batch, result)
        windows = [shown(window) for window in result.windows] if outcome == "changed" else []
        return StageStory(key, use, "processor", outcome, [*_differences(batch, result), *says], windows), result

    async def _sink(self, cell: Cell, running: Pipeline | None, batch: Batch | None, event: Event) -> StageStory:
        use, says = cell.spec.name, list[str]()
        if cell.state != "ok":
            says.append(f"It is {cell.state}{redact_text(f': {cell.error}' if cell.error else '')}.")
        if running is None:
            return StageStory(cell.key, use, "sink", "waiting", [*says, "Its pipeline does not run."])
        if batch is not None and not batch:
            return StageStory(
                cell.key, use, "sink", "nothing left", [*says, "What comes before it left nothing of it."]
            )
        outcome, why = await self._delivery(cell, running, event)
        return StageStory(cell.key, use, "sink", outcome, [*says, *why, *await _said(cell.stage, event)])

    async def _delivery(self, cell: Cell, running: Pipeline, event: Event) -> tuple[Outcome, Sequence[str]]:
        edge = self._node.counters.edge(f"{running.name}/{cell.key}")
        waited = isinstance(cell.spec, DurableSpec) or cell.declared.delivery.required
        if not event.seq:
            return "delivered", ["Where it stood in the journal is not known any more."]
        if letter := await self._node.dead.of(Place(running.name, cell.key), event):
            reason = letter.reason.replace("_", " ")
            told = f"It is in dead letter {letter.id} ({reason}): {letter.last_error}"
            return "dead letter", [told, f"`bers dead show {letter.id}` has more."]
        if running.position < event.seq:
            before = event.seq - running.position - 1
            return "waiting", [f"Pipeline {running.name!r} has {before} events to read before it."]
        if waited:
            return "delivered", [f"Pipeline {running.name!r} is past it, at position {running.position}."]
        if event.seq <= running.live:
            began = f"This run of it began at position {running.live}, after the event"
            return "not given", [f"{began}; what an earlier run was given is not known."]
        doubts: list[str] = []
        if edge.queued:
            doubts.append(f"{edge.queued} records wait for it, and this may be one of them.")
        if lost := edge.dropped.total():
            doubts.append(f"{lost} records were dropped before it since the start, and this may be one of them.")
        return "waiting" if edge.queued else "delivered", doubts or ["Nothing waits for it, and nothing was dropped."]


async def _replay(step: Step[Processor], batch: Batch) -> Batch:
    with anyio.fail_after(PATIENCE):
        async with step.open() as fresh:
            return await fresh.process(batch)


async def _said(stage: Any, event: Event) -> list[str]:
    """What a running stage says for itself, if it says anything."""
    if not isinstance(stage, Explaining):
        return []
    try:
        with anyio.fail_after(PATIENCE):
            return [redact_text(text) for text in await stage.explain(event)]
    except Exception as exc:
        return [redact_text(f"It cannot say more: {type(exc).__name__}: {exc}")]


def _compare(before: Batch, after: Batch) -> Outcome:
    if before.events and not after.events:
        return "left out"
    same = list(after.events) == list(before.events) and _kept(after) == _kept(before)
    return "passed on" if same else "changed" if after else "left out"


def _differences(before: Batch, after: Batch) -> Sequence[str]:
    said: list[str] = []
    if before.events:
        said.append("It keeps the event." if after.events else "It leaves the event out.")
    if made := len(after.windows) - len(before.windows):
        count = f"{abs(made)} window{'s' if abs(made) > 1 else ''}"
        said.append(f"It makes {count} of what was measured." if made > 0 else f"It leaves {count} out.")
    elif _kept(after) != _kept(before):
        said.append("It says at which resolutions the windows are kept, and for how long.")
    return said


def _kept(batch: Batch) -> list[tuple[Any, ...]]:
    return [(window.key, window.count, window.tiers) for window in batch.windows]


def _related(event: Event) -> Related:
    return Related(event.id, event.source, event.type, event.seq, dict(event.measures))
