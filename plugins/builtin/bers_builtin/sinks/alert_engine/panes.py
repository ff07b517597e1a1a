"""What was measured in the last seconds or minutes, in partial windows of one second by arrival."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import floor, fsum

from bers import Window
from bers_builtin.sinks.alert_engine.rules import Aggregate

_SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class Panes:
    """A window that slides by seconds. Adding a value is cheap, and so is asking what it holds."""

    def __init__(self, span: float, aggregate: Aggregate, panes: Iterable[Window] = ()) -> None:
        self._span = span
        self._aggregate: Aggregate = aggregate
        self._add = Window.add if aggregate in _SHARES else _add_without_sketch
        self._panes = {int(pane.start): pane for pane in panes}
        self._total: Window | None = None
        self._sum()

    def __len__(self) -> int:
        """How many values there are, by their weight."""
        return self._total.count if self._total else 0

    def add(self, value: float, at: float, weight: int = 1) -> None:
        second = floor(at)
        if pane := self._panes.get(second):
            self._add(pane, value, at, 0, weight)
        else:
            self._panes[second] = _window(second, value, at, weight)
        if self._total:
            self._add(self._total, value, at, 0, weight)
        else:
            self._total = _window(second, value, at, weight)

    @property
    def due(self) -> float | None:
        """When the oldest value leaves the window, and so what it holds changes."""
        oldest = next(iter(self._panes), None)
        return None if oldest is None else oldest + 1 + self._span

    def leave(self, now: float) -> None:
        """Forget what is older than the window."""
        if self.due is not None and self.due <= now:
            self._panes = {second: pane for second, pane in self._panes.items() if second + 1 + self._span > now}
            self._sum()

    def value(self) -> float | None:
        """What the rule compares; nothing where nothing was measured."""
        total = self._total
        if total is None:
            return None
        match self._aggregate:
            case "last":
                return total.last
            case "mean":  # Rounding must not put a mean of equal values beyond them.
                return min(total.max, max(total.min, total.sum / total.count))
            case "min":
                return total.min
            case "max":
                return total.max
            case "sum":
                return total.sum
            case "count":
                return float(total.count)
            case quantile:
                return total.quantile(_SHARES[quantile])

    def dump(self) -> Sequence[Window]:
        return list(self._panes.values())

    def _sum(self) -> None:
        panes = list(self._panes.values())
        if not panes:
            self._total = None
        elif self._aggregate in _SHARES:
            self._total = panes[0].copy()
            for pane in panes[1:]:
                self._total.merge(pane)
        else:
            newest = max(panes, key=lambda pane: pane.seen)
            self._total = newest.copy()
            self._total.count = sum(pane.count for pane in panes)
            self._total.sum = fsum(pane.sum for pane in panes)
            self._total.min = min(pane.min for pane in panes)
            self._total.max = max(pane.max for pane in panes)


def _add_without_sketch(window: Window, value: float, at: float, position: int, weight: int) -> None:
    """What :meth:`Window.add` does, but for the sketch: no quantile is asked for, and it is half of the cost."""
    window.count += weight
    window.sum += value * weight
    if value < window.min:
        window.min = value
    if value > window.max:
        window.max = value
    if (at, position) >= window.seen:
        window.last, window.seen = value, (at, position)


def _window(second: int, value: float, at: float, weight: int) -> Window:
    return Window.of(("", (), float(second), 1.0), value, at, 0, weight)
