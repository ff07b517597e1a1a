"""How much each of many may ask for: a bucket for each, that fills with time."""

from __future__ import annotations

from bers.clock import Clock

MOST = 4096
"""Buckets that are remembered; beyond, the one that was used longest ago is forgotten, and is full when it comes again.
So many at once have more than one machine's worth of requests anyway; memory stays bounded."""


class Rates:
    """Token buckets by name: so many units a second, and a burst of them at once."""

    def __init__(self, clock: Clock, *, per_second: float, burst: float) -> None:
        self._clock = clock
        self._per_second = per_second
        self._burst = float(burst)
        self._buckets: dict[str, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: str, count: int = 1) -> float:
        """Take so many; or nothing, and return in how many seconds there is one.

        More than what is left is taken whole, and waited for afterwards: a request cannot come in halves.
        """
        now = self._clock.monotonic()
        left = self._left(name, now)
        taken = left >= 1
        self._buckets.pop(name, None)
        self._buckets[name] = (left - count if taken else left, now)  # At the end: the first is the first to go.
        if len(self._buckets) > MOST:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if taken else (1 - left) / self._per_second

    def wait(self, name: str) -> float:
        """In how many seconds there is one to take, without taking it."""
        left = self._left(name, self._clock.monotonic())
        return 0.0 if left >= 1 else (1 - left) / self._per_second

    def _left(self, name: str, now: float) -> float:
        level, at = self._buckets.get(name, (self._burst, now))
        return min(self._burst, level + (now - at) * self._per_second)
