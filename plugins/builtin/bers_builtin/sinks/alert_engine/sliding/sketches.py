"""The quantiles of a window that slides: sketches can be taken out again as they were put in, bucket by bucket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

from bers import Window


class Sketch:
    """What the sketches of all panes add up to."""

    __slots__ = ("_total",)

    def __init__(self, panes: Iterable[Mapping[int, int]] = ()) -> None:
        self._total = Window("", (), 0.0, 0.0, 0, 0.0, -inf, inf, 0.0, (0.0, 0), {})
        for pane in panes:
            for bucket, count in pane.items():
                self._total.sketch[bucket] = self._total.sketch.get(bucket, 0) + count

    def add(self, pane: dict[int, int], value: float, weight: int) -> None:
        """Count a value in a pane, and so in all of them."""
        total = self._total.sketch
        for bucket, count in Window.of(("", (), 0.0, 0.0), value, 0.0, 0, weight).sketch.items():
            pane[bucket] = pane.get(bucket, 0) + count
            total[bucket] = total.get(bucket, 0) + count

    def remove(self, pane: Mapping[int, int]) -> None:
        """Take a pane out. Counts are whole numbers, so that nothing drifts."""
        total = self._total.sketch
        for bucket, count in pane.items():
            left = total[bucket] - count
            if left:
                total[bucket] = left
            else:
                del total[bucket]

    def quantile(self, share: float) -> float:
        return self._total.quantile(share)
