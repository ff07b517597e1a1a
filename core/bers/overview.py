"""The running graph: every place that records pass, how it is doing, and how much goes from one to the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import msgspec

from bers.cells import Cell
from bers.claims import UNMAPPED
from bers.counters import Counts
from bers.pipeline import Pipeline
from bers.queues import Queue
from bers.speedometer import Rates
from bers.states import StageState
from bers.supervisor import Supervisor
from bers.tapping import BUS

Kind: TypeAlias = Literal["intake", "source", "bus", "pipeline", "processor", "sink"]


class Node(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """One place that records pass, by its name in the counters. Times in milliseconds.

    A sink is a node of each pipeline that leads to it; ``stage`` is what it is called in pipelines.yaml. ``queued``
    is how many records are inside it or wait for it, ``queueAge`` how long the oldest that waits has been waiting.
    ``lag`` is how many events a pipeline has yet to read. ``unaccounted`` is how many records are missing; anything
    but 0 is a fault of ours.
    """

    id: str
    kind: Kind
    stage: str = ""
    use: str = ""
    claims: Sequence[str] = ()
    """The types of events that a source reads."""
    pipeline: str = ""
    state: StageState | None = None
    since: int | None = None
    """In milliseconds ago."""
    restarts: int = 0
    error: str | None = None
    counters: Counts | None = None
    rates: Rates = Rates()
    p50: float | None = None
    p99: float | None = None
    queued: int = 0
    queue_age: int | None = None
    queue_bytes: int | None = None
    lag: int | None = None
    unaccounted: int = 0


class Link(msgspec.Struct, rename="camel", frozen=True):
    """A way from one node to another, and how many records take it in a second."""

    start: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    rate: float = 0.0


class ProcessReport(msgspec.Struct, rename="camel", frozen=True):
    """The whole process; CPU in per cent of one core, over the last ten seconds.

    ``other`` is what no node is charged with: the server, threads, and what stages do in tasks of their own.
    """

    cpu: float
    other: float
    journal: float
    """How much of its quota the journal has used, from 0 to 1."""
    uptime: int


class Overview(msgspec.Struct, rename="camel", frozen=True):
    """The running graph. Rates are over the last ten seconds; ``timestamp`` and ``monotonic`` are in milliseconds."""

    timestamp: int
    monotonic: int
    process: ProcessReport
    nodes: list[Node]
    links: list[Link]
    taps: int
    """How many look at what passes, with `bers tap` or the like."""
    unaccounted: dict[str, int]
    """Every place whose counters do not add up, and by how much."""


def places(node: Supervisor) -> list[str]:
    """Every edge of a pipeline: what can be tapped besides the bus."""
    return [
        place
        for name, pipeline in node.plan.pipelines.items()
        for place in (name, *(f"{name}/{key}" for key in (*pipeline.processors, *pipeline.sinks)))
    ]


async def look(node: Supervisor) -> Overview:
    """Read everything at once."""
    _, end = await node.bus.span(0)
    rates, cpu = node.speed.rates()
    return _View(node, end, rates, cpu).overview()


class _View:
    """One look at a node."""

    def __init__(self, node: Supervisor, end: int, rates: Mapping[str, Rates], cpu: float) -> None:
        self._node = node
        self._end = end
        self._rates = rates
        self._cpu = cpu
        self._counts = node.counters.snapshot()
        self._gaps = node.counters.gaps()
        self._now = node.clock.monotonic()

    def overview(self) -> Overview:
        nodes = [*self._before_the_bus(), Node(id=BUS, kind="bus"), *self._behind_the_bus()]
        # What sources read is read inside the intake, and what they take is part of what it takes.
        charged = sum(one.rates.cpu for one in nodes)
        process = ProcessReport(
            self._cpu,
            round(max(0.0, self._cpu - charged), 2),
            round(self._node.bus.fill, 4),
            int(self._node.uptime * 1000),
        )
        return Overview(
            int(self._node.clock.time() * 1000),
            int(self._now * 1000),
            process,
            nodes,
            list(self._links({one.id: one for one in nodes})),
            self._node.taps.open,
            self._gaps,
        )

    def _before_the_bus(self) -> Iterator[Node]:
        yield self._at("intake", "intake")
        for key, cell in {**self._node.sources, **self._node.sinks}.items():
            if key in self._node.sources or cell.declared.source:
                yield self._at(f"source/{key}", "source", cell)
        yield self._at(f"source/{UNMAPPED}", "source")

    def _behind_the_bus(self) -> Iterator[Node]:
        for name, declared in self._node.plan.pipelines.items():
            pipeline = self._node.pipelines.get(name)
            yield self._at(name, "pipeline", pipeline=name, running=pipeline)
            cells = [self._node.sinks[key] for key in declared.sinks]
            for key in declared.processors:
                yield self._at(f"{name}/{key}", "processor", self._node.processors[f"{name}/{key}"], pipeline=name)
            for cell in cells:
                queue = pipeline.queues.get(cell.key) if pipeline else None
                yield self._at(f"{name}/{cell.key}", "sink", cell, pipeline=name, queue=queue)

    def _at(
        self,
        id: str,
        kind: Kind,
        cell: Cell | None = None,
        *,
        pipeline: str = "",
        running: Pipeline | None = None,
        queue: Queue | None = None,
    ) -> Node:
        counts = self._counts.get(id)
        lag, age = running.behind(self._end, self._node.clock.time()) if running else (None, None)
        if queue:
            age = queue.age(self._now)
        return Node(
            id=id,
            kind=kind,
            stage=cell.key if cell else "",
            use=cell.spec.name if cell else "",
            claims=cell.spec.claims if cell and kind == "source" else (),
            pipeline=pipeline,
            state=cell.state if cell else None,
            since=int((self._now - cell.standing.since) * 1000) if cell else None,
            restarts=cell.restarts if cell else 0,
            error=(cell.error or None) if cell else None,
            counters=counts,
            rates=self._rates.get(id, Rates()),
            p50=_milliseconds(counts.p50) if counts else None,
            p99=_milliseconds(counts.p99) if counts else None,
            queued=counts.queued if counts else 0,
            queue_age=None if age is None else int(age * 1000),
            queue_bytes=queue.bytes if queue else None,
            lag=lag,
            unaccounted=self._gaps.get(id, 0),
        )

    def _links(self, nodes: dict[str, Node]) -> Iterator[Link]:
        for one in nodes.values():
            if one.kind == "source":
                yield Link("intake", one.id, one.rates.taken)
                yield Link(one.id, BUS, one.rates.out)
        for name, declared in self._node.plan.pipelines.items():
            yield Link(BUS, name, nodes[name].rates.taken)
            for start, end in pairwise([name, *(f"{name}/{key}" for key in declared.processors)]):
                yield Link(start, end, nodes[end].rates.taken)
            last = f"{name}/{declared.processors[-1]}" if declared.processors else name
            for key in declared.sinks:
                yield Link(last, f"{name}/{key}", nodes[f"{name}/{key}"].rates.taken)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
