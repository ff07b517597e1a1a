"""How much there may be of something in a second."""

from __future__ import annotations


class Allowance:
    """So many a second, and as many at once after a rest."""

    def __init__(self, per_second: float, now: float) -> None:
        self._most = per_second
        self._left = per_second
        self._at = now

    def left(self, now: float) -> float:
        """How many there may be."""
        self._left = min(self._most, self._left + (now - self._at) * self._most)
        self._at = now
        return self._left

    def spend(self, count: int) -> None:
        self._left -= count
