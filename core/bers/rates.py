"""How many events each sender may hand in: a bucket for each, filled at a steady rate."""

from __future__ import annotations

from dataclasses import dataclass

from bers.clock import Clock

MAX_SENDERS = 10_000
"""How many senders are told apart. The bucket that was used longest ago is forgotten, and so is full again."""


@dataclass
class Bucket:
    """What one sender may still hand in; below zero where a request brought more than that."""

    level: float
    filled: float
    """When it was filled last, on the monotonic clock."""


class Rates:
    """So many units a second from each sender, and as many at once."""

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._per_second = per_second
        self._burst = max(1.0, per_second)
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

    def wait(self, sender: str) -> float:
        """In how many seconds the sender may come again; none where it may come now."""
        level = self._fill(sender).level
        return 0.0 if level >= 1 else (1 - level) / self._per_second

    def take(self, sender: str, count: int) -> float:
        """Take what a request brought; or nothing, and return in how many seconds it may come again.

        A request that is larger than what is left is taken whole, and waited for afterwards: it cannot come in halves.
        """
        if wait := self.wait(sender):
            return wait
        self._buckets[sender].level -= count
        return 0.0

    def _fill(self, sender: str) -> Bucket:
        now = self._clock.monotonic()
        bucket = self._buckets.pop(sender, None) or Bucket(self._burst, now)
        self._buckets[sender] = bucket  # Put back at the end: the one used longest ago is the first to go.
        if len(self._buckets) > MAX_SENDERS:
            del self._buckets[next(iter(self._buckets))]
        bucket.level = min(self._burst, bucket.level + (now - bucket.filled) * self._per_second)
        bucket.filled = now
        return bucket
