"""How many requests a caller may make: a bucket for each, that fills with time."""

from __future__ import annotations

from collections import OrderedDict

from bers.clock import Clock

MOST = 4096
"""Buckets that are remembered; beyond, the one that was idle for longest is forgotten, and is full when it comes again.
So many callers at once have more than one machine's worth of requests anyway; memory stays bounded."""


class Rates:
    """Token buckets by name."""

    def __init__(self, clock: Clock, *, per_second: float, burst: int) -> None:
        self._clock = clock
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str) -> float:
        """Take one; return in how many seconds there is one, which is 0 where there was."""
        now = self._clock.monotonic()
        left = self._left(name, now)
        taken = left >= 1
        self._buckets[name] = (left - 1 if taken else left, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - left) / self._per_second

    def wait(self, name: str) -> float:
        """In how many seconds there is one to take, without taking it."""
        left = self._left(name, self._clock.monotonic())
        return 0.0 if left >= 1 else (1 - left) / self._per_second

    def _left(self, name: str, now: float) -> float:
        tokens, at = self._buckets.get(name, (float(self._burst), now))
        return min(float(self._burst), tokens + (now - at) * self._per_second)
