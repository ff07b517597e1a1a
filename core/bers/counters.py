"""What goes in and out of every stage, counted at its edges, so that no plugin can forget it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import msgspec


@dataclass
class Edge:
    """The counters of one stage at one place, in records.

    At any time ``taken + made = out + filtered + dropped + queued + dead + merged``; :meth:`gap` is what is missing.
    """

    taken: int = 0
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
    last_error: str = ""

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

    def snapshot(self) -> dict[str, Counts]:
        return {name: _read(edge) for name, edge in self._edges.items()}

    def gaps(self) -> dict[str, int]:
        """Every edge whose counters do not add up, and by how much."""
        return {name: edge.gap() for name, edge in self._edges.items() if edge.gap()}


def _read(edge: Edge) -> Counts:
    return Counts(
        edge.taken, edge.made, edge.out, edge.filtered, dict(edge.dropped), edge.queued, edge.dead, edge.merged,
        edge.errors, edge.seconds, edge.last_error,
    )  # fmt: skip
