"""The least and the greatest value of a window that slides, without looking at all of them again."""

from __future__ import annotations

from collections import deque


class Extremes:
    """Only what can still become the least or the greatest is remembered: at most one value of each pane, twice."""

    __slots__ = ("_falling", "_rising")

    def __init__(self) -> None:
        self._rising: deque[tuple[float, float]] = deque()
        """Values that rise from the least on, each with the start of its pane."""
        self._falling: deque[tuple[float, float]] = deque()

    def add(self, start: float, value: float) -> None:
        """Take in a value of a pane; panes come in their order."""
        rising, falling = self._rising, self._falling
        while rising and rising[-1][1] >= value:
            rising.pop()
        if not rising or rising[-1][0] != start:
            rising.append((start, value))
        while falling and falling[-1][1] <= value:
            falling.pop()
        if not falling or falling[-1][0] != start:
            falling.append((start, value))

    def leave(self, limit: float) -> None:
        """Forget the panes that began at that time or before."""
        for values in (self._rising, self._falling):
            while values and values[0][0] <= limit:
                values.popleft()

    @property
    def least(self) -> float:
        return self._rising[0][1]

    @property
    def most(self) -> float:
        return self._falling[0][1]
