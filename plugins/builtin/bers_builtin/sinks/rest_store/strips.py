"""Windows of one series as columns: what a chart reads of a page, without making a window of each."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import NamedTuple

from bers import Labels, Window


class Strip(NamedTuple):
    """Windows of one width, one after another in time."""

    metric: str
    labels: Labels
    width: float
    starts: Sequence[float]
    counts: Sequence[int]
    sums: Sequence[float]
    least: Sequence[float]
    most: Sequence[float]
    lasts: Sequence[float]
    times: Sequence[float]
    """When the last values were seen."""
    ends: Sequence[int]
    """Where the buckets of each window begin, and where those of the last one end."""
    buckets: array[int]
    more: array[int]
    """How many values each bucket has beyond the first."""

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return 1000 + 300 * len(self.starts) + 12 * len(self.buckets)

    @classmethod
    def of(cls, windows: Sequence[Window]) -> Strip:
        first, sketches = windows[0], [window.sketch for window in windows]
        return cls(
            first.metric, first.labels, first.width,
            [window.start for window in windows],
            [window.count for window in windows],
            [window.sum for window in windows],
            [window.min for window in windows],
            [window.max for window in windows],
            [window.last for window in windows],
            [window.seen[0] for window in windows],
            list(accumulate(map(len, sketches), initial=0)),
            array("i", chain.from_iterable(sketches)),
            array("q", [count - 1 for sketch in sketches for count in sketch.values()]),
        )  # fmt: skip
