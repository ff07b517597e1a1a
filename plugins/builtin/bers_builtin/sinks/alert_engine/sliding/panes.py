"""A sliding window over the values of one series, kept in panes, so that it costs the same however much there is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from math import ceil, floor
from typing import Any

import msgspec

from bers_builtin.sinks.alert_engine.rules import Aggregate
from bers_builtin.sinks.alert_engine.sliding.extremes import Extremes
from bers_builtin.sinks.alert_engine.sliding.sketches import Sketch

MOST_PANES = 300
"""How many panes one window has: that many seconds in seconds, and longer ones in wider panes."""

PART = 10
"""How many panes are written down together: once when they are over, and until then with every commit."""

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class Pane(msgspec.Struct, array_like=True, gc=False):
    """The values of a second, or of a few."""

    start: float
    count: int
    sum: float
    min: float
    max: float
    last: float
    sketch: dict[int, int] = {}
    """Empty where no quantile is asked for: it is half of the cost."""


class Panes:
    """A window that slides by panes. Adding a value is cheap, and so are asking what it holds, and forgetting.

    Values come in the order of their arrival. Memory: at most :data:`MOST_PANES` and one more, 200 bytes each; with a
    quantile 100 bytes for each bucket of a pane's sketch besides.
    """

    __slots__ = (
        "_aggregate", "_count", "_extremes", "_newer", "_older", "_panes", "_sketch", "_span", "_width", "before",
        "gone", "kept", "whole_at",
    )  # fmt: skip

    def __init__(self, span: float, aggregate: Aggregate, panes: Sequence[Pane] = ()) -> None:
        self._span = span
        self._width = float(max(1, ceil(span / MOST_PANES)))
        self._aggregate: Aggregate = aggregate
        self._sketch = Sketch([pane.sketch for pane in panes]) if aggregate in SHARES else None
        self._panes = deque(panes)
        self.whole_at: float | None = None
        """When it is about a time in which all could be heard, where somebody waits for that."""
        self._extremes = Extremes()
        for pane in panes:
            self._extremes.add(pane.start, pane.min)
            self._extremes.add(pane.start, pane.max)
        self._count = sum([pane.count for pane in panes])
        # The sum of all panes is that of the newer ones, and what the older ones and those behind them add up to: so
        # nothing is ever taken away from a sum, which would drift.
        self._newer = sum([pane.sum for pane in panes])
        self._older: list[float] = []
        self.before: float | None = None
        """The value before, of which an increase begins."""
        self.kept: set[int] = set()
        """The parts that are written down."""
        self.gone: set[int] = set()
        """Those of them that need not be any more."""

    def __len__(self) -> int:
        """How many values there are, by their weight."""
        return self._count

    def add(self, value: float, at: float, weight: int = 1) -> None:
        if self._aggregate == "increase":
            value, self.before = self._climbed(value), value
        panes, added = self._panes, value * weight
        start = floor(at / self._width) * self._width
        if panes and panes[-1].start >= start:
            pane = panes[-1]
            pane.count += weight
            pane.sum += added
            if value < pane.min:
                pane.min = value
            if value > pane.max:
                pane.max = value
            pane.last = value
        else:
            pane = Pane(start, weight, added, value, value, value, {} if self._sketch is not None else _NOTHING)
            panes.append(pane)
        self._count += weight
        self._newer += added
        self._extremes.add(pane.start, value)
        if self._sketch is not None:
            self._sketch.add(pane.sketch, value, weight)

    @property
    def due(self) -> float | None:
        """When the oldest value leaves the window, and so what it holds changes."""
        return self._panes[0].start + self._width + self._span if self._panes else None

    def leave(self, now: float) -> bool:
        """Forget what is older than the window; say whether there was anything."""
        panes, limit = self._panes, now - self._width - self._span
        if not panes or panes[0].start > limit:
            return False
        while panes and panes[0].start <= limit:
            if not self._older:
                self._turn()
            old = panes.popleft()
            self._count -= old.count
            if self._older:
                self._older.pop()
            if self._sketch is not None:
                self._sketch.remove(old.sketch)
            part = self._part(old)
            if part in self.kept and (not panes or self._part(panes[0]) != part):
                self.gone.add(part)
        if not panes:
            self._newer = 0.0
        self._extremes.leave(limit)
        return True

    def value(self) -> float | None:
        """What the rule compares. Of nothing there are none, and none per second; anything else is not known."""
        count = self._count
        match self._aggregate:
            case "count":
                return float(count)
            case "rate":
                return self._sum / self._span if count else 0.0
            case _ if not count:
                return None
            case "mean":  # Rounding must not put a mean of equal values beyond them.
                return min(self._extremes.most, max(self._extremes.least, self._sum / count))
            case "sum" | "increase":
                return self._sum
            case "min":
                return self._extremes.least
            case "max":
                return self._extremes.most
            case "last":
                return self._panes[-1].last
            case quantile:
                assert self._sketch is not None
                found = self._sketch.quantile(SHARES[quantile])
                return min(self._extremes.most, max(self._extremes.least, found))

    # Writing down

    def dump(self) -> Any:
        """What changes with every value: the newest part, and what a value is compared with."""
        if not self._panes:
            return [[], self.before]
        newest = self._part(self._panes[-1])
        found: list[Pane] = []
        for pane in reversed(self._panes):
            if self._part(pane) != newest:
                break
            found.append(pane)
        return [found[::-1], self.before]

    def parts(self) -> Iterator[tuple[int, Sequence[Pane]]]:
        """The parts that are over and not written down."""
        if not self._panes:
            return
        newest = self._part(self._panes[-1])
        older: dict[int, list[Pane]] = {}
        for pane in reversed(self._panes):  # The newest of them come first, and there is seldom more than one.
            part = self._part(pane)
            if part in self.kept:
                break
            if part != newest:
                older.setdefault(part, []).insert(0, pane)
        yield from older.items()

    def written(self) -> None:
        """Say that what was to be written down is."""
        self.kept.update(part for part, _ in self.parts())
        self.kept -= self.gone
        self.gone.clear()

    @classmethod
    def load(cls, span: float, aggregate: Aggregate, dumped: Any, parts: Sequence[tuple[int, Any]] = ()) -> Panes:
        """Take up what was written down; ``parts`` in their order."""
        newest, before = dumped or ((), None)
        saved = [pane for _, part in parts for pane in part] + list(newest)
        panes = cls(span, aggregate, msgspec.convert(saved, list[Pane], strict=False))
        panes.before = before
        panes.kept = {part for part, _ in parts}
        return panes

    @property
    def _sum(self) -> float:
        return self._older[-1] + self._newer if self._older else self._newer

    def _turn(self) -> None:
        """Make all panes but the newest older ones: seldom, so that each is added up once more on the whole."""
        panes = list(self._panes)
        self._newer, total = panes[-1].sum, 0.0
        for pane in reversed(panes[:-1]):
            total += pane.sum
            self._older.append(total)

    def _part(self, pane: Pane) -> int:
        return int(pane.start // (self._width * PART))

    def _climbed(self, value: float) -> float:
        """By how much a value that only climbs has climbed; one that is smaller than before began anew at nothing."""
        if self.before is None:
            return 0.0
        return value - self.before if value >= self.before else value


_NOTHING: dict[int, int] = {}
"""The sketch of panes that have none."""
