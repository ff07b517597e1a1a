"""What windows come to, for each step of a chart: figures at once, and sketches many at a time."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import ItemsView
from itertools import compress
from math import floor, inf
from typing import Self

from bers import Labels, Window

from .pace import Pace
from .strips import Strip

MANY = 1024
"""How many buckets of sketches wait until they are added up: some kilobytes of each step."""
DISTINCT = 2048
"""How many buckets a sketch has at most."""


class Pile:
    """Windows added up: what merging them one after the other comes to, in a third of the time."""

    __slots__ = ("_buckets", "_more", "_sketch", "count", "last", "max", "min", "sum", "time")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self.min = inf
        self.max = -inf
        self.last: float = -inf
        self.time: float = -inf
        self._sketch: dict[int, int] | None = None
        self._buckets = array("i")
        """Of sketches that wait to be added up."""
        self._more = array("q")

    @classmethod
    def of(cls, strip: Strip, first: int, end: int) -> Self:
        """Windows of a strip that follow each other."""
        pile = cls()
        counts = strip.counts[first:end]
        pile.count, pile.sum = sum(counts), sum(strip.sums[first:end])
        pile.min, pile.max = min(strip.least[first:end]), max(strip.most[first:end])
        pile.time, pile.last = strip.times[end - 1], strip.lasts[end - 1]
        begin, until = strip.ends[first], strip.ends[end]
        pile._buckets, pile._more = strip.buckets[begin:until], strip.more[begin:until]
        return pile

    def pour(self, other: Pile) -> None:
        """Add what another has, which stays as it is."""
        self.count += other.count
        self.sum += other.sum
        if other.min < self.min:
            self.min = other.min
        if other.max > self.max:
            self.max = other.max
        if other.time > self.time or (other.time == self.time and other.last > self.last):
            self.time, self.last = other.time, other.last
        if other._sketch:
            self._merge(other._sketch)
        if other._buckets:
            self._buckets += other._buckets
            self._more += other._more
            if len(self._buckets) > MANY:
                self._settle()

    def quantile(self, share: float) -> float:
        self._settle()
        return self._window("", (), 0.0, 0.0, self._sketch or {}).quantile(share)

    def window(self, metric: str = "", labels: Labels = (), start: float = 0.0, width: float = 0.0) -> Window:
        """All of it as a window of its own."""
        self._settle()
        return self._window(metric, labels, start, width, dict(self._sketch or {}))

    def _window(self, metric: str, labels: Labels, start: float, width: float, sketch: dict[int, int]) -> Window:
        seen = self.time, -1  # At which position does not matter for what is not kept.
        return Window(metric, labels, start, width, self.count, self.sum, self.min, self.max, self.last, seen, sketch)

    def _settle(self) -> None:
        """Add up the sketches that wait."""
        if self._buckets:
            counted: dict[int, int]
            if 2 * self._more.count(0) < len(self._more):  # Where most buckets have several values, one after another.
                counted = {}
                for bucket, more in zip(self._buckets, self._more, strict=True):
                    counted[bucket] = counted.get(bucket, 0) + more + 1
            else:
                counted = Counter(self._buckets)
                for bucket, more in zip(compress(self._buckets, self._more), filter(None, self._more), strict=True):
                    counted[bucket] += more
            self._buckets, self._more = array("i"), array("q")
            self._merge(counted)

    def _merge(self, sketch: dict[int, int]) -> None:
        if self._sketch is None and len(sketch) <= DISTINCT:
            self._sketch = dict(sketch)
            return
        # A window knows how to make a sketch smaller where it has too many buckets.
        whole, other = (
            Window("", (), 0.0, 0.0, 0, 0.0, inf, -inf, 0.0, (0.0, 0), one) for one in (self._sketch or {}, sketch)
        )
        whole.merge(other)
        self._sketch = whole.sketch


class Piles:
    """A pile for each step, by its number since 1970, and all in one; a step without end has that alone."""

    def __init__(self, step: float, now: float) -> None:
        self._step = step
        self._now = now
        self._piles: dict[int, Pile] = {}
        self.whole = Pile()

    def __bool__(self) -> bool:
        return self.whole.count > 0

    def items(self) -> ItemsView[int, Pile]:
        return self._piles.items()

    async def add(self, strip: Strip, first: int, end: int, pace: Pace) -> None:
        """Put each window where it counts: in its middle, or now where that is still to come."""
        ends = strip.ends
        while first < end:  # In pieces that are soon added up.
            until = max(first + 1, bisect_right(ends, ends[first] + MANY, first, end + 1) - 1)
            self.whole.pour(Pile.of(strip, first, until))
            if self._step < inf:
                self._divide(strip, first, until)
            first = until
            await pace()

    async def pour(self, other: Piles, pace: Pace) -> None:
        """Add what another has, which stays as it is."""
        self.whole.pour(other.whole)
        for number, pile in other.items():
            if number not in self._piles:
                self._piles[number] = Pile()
            self._piles[number].pour(pile)
            await pace()

    async def take(self, other: Piles, pace: Pace) -> None:
        """The same with one that is not used any more."""
        self.whole.pour(other.whole)
        for number in self._piles.keys() & other._piles.keys():
            self._piles[number].pour(other._piles.pop(number))
            await pace()
        self._piles |= other._piles

    def _divide(self, strip: Strip, first: int, end: int) -> None:
        half, now, step = strip.width / 2, self._now, self._step
        numbers = [
            floor((now if start <= now < start + half else start + half) / step) for start in strip.starts[first:end]
        ]
        begin, before = first, numbers[0]
        for at, number in enumerate(numbers, first):
            if number != before:
                self._add(before, Pile.of(strip, begin, at))
                begin, before = at, number
        self._add(before, Pile.of(strip, begin, end))

    def _add(self, number: int, pile: Pile) -> None:
        """Add one that nobody else uses."""
        if number in self._piles:
            self._piles[number].pour(pile)
        else:
            self._piles[number] = pile
