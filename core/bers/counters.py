"""What goes in and out of every stage, counted at its edges, so that no plugin can forget it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from time import perf_counter

import msgspec

from bers.metering import Latencies
from bers.records import Batch


@dataclass
class Edge:
    """The counters of one stage at one place, in records.

    At any time ``taken + made = out + filtered + dropped + queued + dead + merged``; :meth:`gap` is what is missing.
    And from edge to edge nothing is lost: what comes out of one, and no more, is ``taken - again`` of the next.
    """

    taken: int = 0
    again: int = 0
    """How many of those were dead letters, and are handed in again."""
    made: int = 0
    out: int = 0
    filtered: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    queued: int = 0
    dead: int = 0
    merged: int = 0
    errors: int = 0
    seconds: float = 0.0
    """Time spent inside the stage."""
    cpu: float = 0.0
    """Seconds of CPU on the thread of the event loop; what it does in threads and tasks of its own is not in it."""
    inside: bool = False
    """Whether a step of it has the thread at this moment."""
    last_error: str = ""
    latencies: Latencies = field(default_factory=Latencies)
    taps: list[Callable[[Batch], None]] = field(default_factory=list[Callable[[Batch], None]])
    """Who is shown every batch that comes out, at once; nobody, as a rule. They neither raise nor keep a window."""

    def took(self, began: float) -> None:
        """Count a call that began then, by ``perf_counter``, and ends now."""
        now = perf_counter()
        self.seconds += now - began
        self.latencies.add(now - began, now)

    def show(self, batch: Batch) -> None:
        """Show a batch to whoever looks."""
        for tap in self.taps:
            tap(batch)

    def gap(self) -> int:
        """How many records went in and were not accounted for; anything but 0 is our bug."""
        out = self.out + self.filtered + sum(self.dropped.values()) + self.queued + self.dead + self.merged
        return self.taken + self.made - out


class Counts(msgspec.Struct, frozen=True):
    """One reading of an :class:`Edge`."""

    taken: int
    made: int
    out: int
    filtered: int
    dropped: dict[str, int]
    queued: int
    dead: int
    merged: int
    errors: int
    seconds: float
    cpu: float
    p50: float | None
    p99: float | None
    """Seconds that one call took, in the last one to two minutes; None where there was none."""
    last_error: str = ""


class Counters:
    """Every edge by its name: ``source/build``, ``metrics/sampling``, ``metrics/store``."""

    def __init__(self) -> None:
        self._edges: dict[str, Edge] = {}

    def edge(self, name: str) -> Edge:
        """The edge of that name; made when first asked for."""
        return self._edges.setdefault(name, Edge())

    def known(self, names: Iterable[str]) -> dict[str, Edge]:
        """Those of these edges that there are."""
        return {name: edge for name in names if (edge := self._edges.get(name)) is not None}

    def disown(self, pipeline: str) -> None:
        """Settle the books of a pipeline that was given up: what is inside of it is lost, whatever it does yet."""
        for name, edge in self._edges.items():
            if name == pipeline or name.startswith(f"{pipeline}/"):
                settled = replace(edge, dropped=edge.dropped.copy(), queued=0)
                settled.dropped["crashed"] += edge.queued
                self._edges[name] = settled

    def edges(self) -> Iterable[tuple[str, Edge]]:
        """Every edge there is, with its name."""
        return self._edges.items()

    def snapshot(self) -> dict[str, Counts]:
        return {name: _read(edge) for name, edge in self._edges.items()}

    def gaps(self) -> dict[str, int]:
        """Every edge whose counters do not add up, and by how much."""
        return {name: edge.gap() for name, edge in self._edges.items() if edge.gap()}


def _read(edge: Edge) -> Counts:
    now = perf_counter()
    p50, p99 = edge.latencies.quantile(0.5, now), edge.latencies.quantile(0.99, now)
    return Counts(
        edge.taken, edge.made, edge.out, edge.filtered, dict(edge.dropped), edge.queued, edge.dead, edge.merged,
        edge.errors, edge.seconds, edge.cpu, p50, p99, edge.last_error,
    )  # fmt: skip
