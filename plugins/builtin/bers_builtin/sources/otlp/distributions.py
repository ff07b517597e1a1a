"""A distribution that was told in buckets, as values again: as many as there were, and as true as it says itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import inf, isfinite
from typing import NamedTuple, TypeAlias

Values: TypeAlias = list[tuple[float, int]]
"""Values, and how often each was there."""


class Bucket(NamedTuple):
    """So many values between two bounds, which may be infinite."""

    low: float
    high: float
    number: int


def explicit(bounds: Sequence[float], counts: Sequence[int]) -> list[Bucket]:
    """The buckets of a histogram; raise ValueError where bounds and counts do not fit."""
    if len(counts) != len(bounds) + 1:
        raise ValueError(
            f"{len(bounds)} bounds and {len(counts)} buckets do not fit; there is one bucket more than bounds"
        )
    if any(one >= two for one, two in pairwise(bounds)):
        raise ValueError("the bounds do not rise")
    edges = [-inf, *bounds, inf]
    return [Bucket(edges[n], edges[n + 1], count) for n, count in enumerate(counts) if count]


def exponential(scale: int, offset: int, counts: Sequence[int]) -> list[Bucket]:
    """One side of an exponential histogram; raise ValueError where it reaches beyond all numbers."""
    found: list[Bucket] = []
    for index, count in enumerate(counts, offset):
        if count:
            try:
                low, high = 2.0 ** (index * 2.0**-scale), 2.0 ** ((index + 1) * 2.0**-scale)
            except OverflowError:
                raise ValueError(f"bucket {index} at scale {scale} is beyond all numbers") from None
            found.append(Bucket(low, high, count))
    return found


def mirrored(buckets: Iterable[Bucket]) -> list[Bucket]:
    """The buckets of the negative values, lowest first."""
    return [Bucket(-one.high, -one.low, one.number) for one in reversed(list(buckets))]


def values(buckets: Sequence[Bucket], total: float | None, least: float | None, greatest: float | None) -> Values:
    """Values whose number and sum, least and greatest are those that were told, each within its bucket.

    So a mean is exact, and a quantile is off by the width of a bucket at most. Where there is one value, it is exact.
    """
    count = sum(one.number for one in buckets)
    if count == 1 and (known := total if total is not None else least if least is not None else greatest) is not None:
        return [(known, 1)]
    if count == 2 and least is not None and greatest is not None:
        return [(least, 1), (greatest, 1)]
    ends: Values = []
    rest = list(buckets)
    if least is not None and greatest is not None and rest and least < greatest and count > 2:
        ends = [(least, 1), (greatest, 1)]
        rest[0] = rest[0]._replace(number=rest[0].number - 1)
        rest[-1] = rest[-1]._replace(number=rest[-1].number - 1)
        rest = [one for one in rest if one.number]
    left = None if total is None else total - sum(value for value, _ in ends)
    return sorted([*ends, *_spread(rest, left, least, greatest)])


def _spread(buckets: Sequence[Bucket], total: float | None, least: float | None, greatest: float | None) -> Values:
    """One value for each bucket: the middle, moved towards one side in all of them until the sum is right."""
    closed = [_closed(one, least, greatest) for one in buckets]
    if closed and not isfinite(closed[-1].high):
        closed[-1] = _open_ended(closed, total)
    middles = [(one.low + one.high) / 2 for one in closed]
    if total is None:
        return [(middle, one.number) for middle, one in zip(middles, closed, strict=True)]
    missing = total - sum(middle * one.number for middle, one in zip(middles, closed, strict=True))
    edges = [one.high if missing > 0 else one.low for one in closed]
    room = sum((edge - middle) * one.number for edge, middle, one in zip(edges, middles, closed, strict=True))
    share = min(1.0, missing / room) if room else 0.0
    return [
        (middle + share * (edge - middle), one.number) for middle, edge, one in zip(middles, edges, closed, strict=True)
    ]


def _closed(bucket: Bucket, least: float | None, greatest: float | None) -> Bucket:
    """The bucket without what lies beyond the least and the greatest value; with nothing told, from zero on."""
    low, high, count = bucket
    if least is not None:
        low = max(low, least)
    elif low == -inf:
        low = min(0.0, high) if isfinite(high) else 0.0
    if greatest is not None:
        high = min(high, greatest)
    return Bucket(low, max(low, high), count)


def _open_ended(buckets: Sequence[Bucket], total: float | None) -> Bucket:
    """The last bucket, as high as the sum asks for; where no sum was told, of no width."""
    low, _, count = buckets[-1]
    if total is None:
        return Bucket(low, low, count)
    others = sum((one.low + one.high) / 2 * one.number for one in buckets[:-1])
    return Bucket(low, max(low, 2 * (total - others) / count - low), count)
