"""How many of the events of a long window were bad, in few panes: what burn rates and error budgets are made of."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import ceil, floor
from typing import Any

import msgspec

MOST_PANES = 60
"""How many panes a tally has; so it looks further back than it says by a 60th of its window at most, or by 1 s."""


class Tally:
    """A window that counts good and bad. Memory: at most :data:`MOST_PANES` and one more, about 150 bytes each."""

    __slots__ = ("_panes", "_span", "_width", "bad", "total")

    def __init__(self, span: float, panes: Iterable[tuple[float, int, int]] = ()) -> None:
        self._span = span
        self._width = float(max(1, ceil(span / MOST_PANES)))
        self._panes = deque([list(pane) for pane in panes])
        self.total = sum(int(pane[1]) for pane in self._panes)
        self.bad = sum(int(pane[2]) for pane in self._panes)

    def add(self, bad: int, total: int, at: float) -> None:
        """Count events that arrive now, in the order of their arrival."""
        start = floor(at / self._width) * self._width
        if self._panes and self._panes[-1][0] >= start:
            pane = self._panes[-1]
            pane[1] += total
            pane[2] += bad
        else:
            self._panes.append([start, total, bad])
        self.total += total
        self.bad += bad

    def leave(self, now: float) -> None:
        """Forget what is older than the window."""
        panes, limit = self._panes, now - self._width - self._span
        while panes and panes[0][0] <= limit:
            _, total, bad = panes.popleft()
            self.total -= int(total)
            self.bad -= int(bad)

    @property
    def due(self) -> float | None:
        """When the oldest events leave the window."""
        return self._panes[0][0] + self._width + self._span if self._panes else None

    @property
    def share(self) -> float | None:
        """Which share was bad; nothing where there was nothing."""
        return self.bad / self.total if self.total else None

    def dump(self) -> Any:
        return [tuple(pane) for pane in self._panes]

    @classmethod
    def load(cls, span: float, dumped: Any) -> Tally:
        return cls(span, msgspec.convert(dumped or (), list[tuple[float, int, int]], strict=False))
