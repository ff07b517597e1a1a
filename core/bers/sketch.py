"""Quantiles of any number of values within one per cent, in a few hundred bytes that merge."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from math import ceil, exp, log, sqrt
from typing import TypeAlias

Sketch: TypeAlias = dict[int, int]
"""How many values fell into each bucket. An empty dict is the empty sketch; sorted keys are sorted values."""

ERROR = 0.01
LIMIT = 2048

_WIDTH = log((1 + ERROR) / (1 - ERROR))
_ONE = 40_000  # The bucket of 1.0: above every magnitude a float has, so that positive values have positive keys.


def bucket(value: float) -> int:
    """Name the bucket of a finite value; negative values mirror positive ones, and zero has bucket 0."""
    if value > 0:
        return ceil(log(value) / _WIDTH) + _ONE
    return -bucket(-value) if value else 0


def add(sketch: Sketch, value: float, count: int = 1) -> None:
    key = bucket(value)
    sketch[key] = sketch.get(key, 0) + count
    if len(sketch) > LIMIT:
        _shrink(sketch)


def merge(sketch: Sketch, other: Sketch) -> None:
    """Add every value of the other sketch to this one, in any order and with the same result."""
    for key, count in other.items():
        sketch[key] = sketch.get(key, 0) + count
    while len(sketch) > LIMIT:
        _shrink(sketch)


def quantile(sketch: Sketch, share: float) -> float:
    """Return the nearest-rank quantile, at most ERROR (relative) away from the value of that rank.

    The bound holds for up to LIMIT buckets, which is 17 orders of magnitude; beyond that the smallest values blur.
    """
    if not sketch:
        raise ValueError("an empty sketch has no quantiles")
    keys = sorted(sketch)
    ranks = list(accumulate(map(sketch.__getitem__, keys)))
    return _value(keys[bisect_left(ranks, max(1, ceil(share * ranks[-1])))])


def deviation(sketch: Sketch) -> float:
    """How far values lie from their mean, as the root of the mean square; within a few per cent of the mean."""
    number = sum(sketch.values())
    if len(sketch) < 2:
        return 0.0
    mean = sum(_value(key) * count for key, count in sketch.items()) / number
    return sqrt(sum((_value(key) - mean) ** 2 * count for key, count in sketch.items()) / number)


def of(values: Iterable[float]) -> Sketch:
    sketch: Sketch = {}
    for value in values:
        add(sketch, value)
    return sketch


def _value(key: int) -> float:
    if key <= 0:
        return -_value(-key) if key else 0.0
    # The point of the bucket that is equally far, relatively, from both of its ends.
    return exp((key - _ONE) * _WIDTH) * (1 - ERROR)


def _shrink(sketch: Sketch) -> None:
    """Join the two buckets nearest to zero: small values lose detail before large ones do."""
    first, second = sorted(sketch, key=abs)[:2]
    sketch[second] += sketch.pop(first)
