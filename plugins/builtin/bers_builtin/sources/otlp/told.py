"""What one point of a stream said, the difference between two of them, and the values that there were in between."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from bers_builtin.sources.otlp.distributions import Bucket, Values, explicit, exponential, mirrored, values

Kind: TypeAlias = Literal["gauge", "sum", "histogram", "exponential", "summary"]
Side: TypeAlias = tuple[int, list[int]]
"""The index of the first bucket, and how many values are in each from there on."""

MAX_BUCKETS = 2_000
MAX_COUNT = 10**9
MAX_VALUE = 1e18
"""Beyond that a number is a mark for something else, and sums of some of them are no numbers any more."""


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """A point as its event keeps it; times in nanoseconds since 1970, ``start`` 0 where it is not known."""

    kind: Kind
    time: int
    metric: str = ""
    goal: str = ""
    """What it goes to: a metric of the catalogue, or a name of the conventions."""
    start: int = 0
    unit: str = ""
    scale: float = 1.0
    """What makes the unit that of the metric it goes to."""
    cumulative: bool = False
    monotonic: bool = False
    value: float = 0.0
    count: Annotated[int, Meta(ge=0, le=MAX_COUNT)] = 0
    sum: float | None = None
    min: float | None = None
    max: float | None = None
    bounds: list[float] = []
    buckets: list[int] = []
    resolution: int = 0
    """The scale of an exponential histogram."""
    zero: int = 0
    zero_width: float = 0.0
    positive: Side = (0, [])
    negative: Side = (0, [])
    quantiles: list[tuple[float, float]] = []


def values_of(told: Told) -> Values:
    """The values that a point tells of, in the sender's unit, and how often each was there."""
    if told.kind in ("gauge", "sum"):
        return [(told.value, 1)]
    return values(buckets(told), told.sum, told.min, told.max) if told.count else []


def buckets(told: Told) -> list[Bucket]:
    """The values of a distribution between bounds, lowest first; raise ValueError where they are none."""
    if told.kind == "histogram" and (told.buckets or told.bounds):
        return explicit(told.bounds, told.buckets)
    if told.kind == "exponential":
        middle = [Bucket(-told.zero_width, told.zero_width, told.zero)] if told.zero else []
        negative = mirrored(exponential(told.resolution, *told.negative))
        return [*negative, *middle, *exponential(told.resolution, *told.positive)]
    if told.kind == "summary" and told.quantiles:
        return _between(told)
    return [Bucket(-inf, inf, told.count)] if told.count else []


def growth(before: Told | None, now: Told) -> Told | None:
    """What a cumulative point tells beyond the one before; None where it is older, or begins a stream.

    A stream begins anew where its start is later, or where it tells of less than there was.
    """
    if before is None or is_older(before, now):
        return None
    if begins_anew(before, now):
        return now
    if now.kind == "sum":
        return replace(now, value=now.value - before.value)
    total = None if now.sum is None or before.sum is None else now.sum - before.sum
    # The least and the greatest are of all the time since the start: nobody knows whether they were now.
    grown = replace(now, count=now.count - before.count, sum=total, min=None, max=None)
    if now.kind == "histogram":
        return replace(grown, buckets=[new - old for new, old in zip(now.buckets, before.buckets, strict=True)])
    if now.kind == "exponential":
        return _exponential_growth(before, grown)
    return grown


def is_older(before: Told | None, now: Told) -> bool:
    """Whether a point of this stream that tells of later was here before."""
    return before is not None and (now.time <= before.time or 0 < now.start < before.start)


def begins_anew(before: Told, now: Told) -> bool:
    if now.start and before.start and now.start > before.start:
        return True
    if now.kind == "sum":
        return now.monotonic and now.value < before.value
    if now.count < before.count or now.bounds != before.bounds or len(now.buckets) != len(before.buckets):
        return True
    if now.kind == "exponential":
        resolution = min(now.resolution, before.resolution)
        pairs = [
            (_coarser(old, before.resolution - resolution), _coarser(new, now.resolution - resolution))
            for old, new in ((before.positive, now.positive), (before.negative, now.negative))
        ]
        return now.zero < before.zero or any(old[index] > new.get(index, 0) for old, new in pairs for index in old)
    return any(new < old for new, old in zip(now.buckets, before.buckets, strict=True))


def _exponential_growth(before: Told, now: Told) -> Told:
    """The difference at the coarser of two resolutions: a sender makes buckets wider when values spread."""
    resolution = min(now.resolution, before.resolution)
    sides: list[Side] = []
    for new, old in ((now.positive, before.positive), (now.negative, before.negative)):
        counts = _coarser(new, now.resolution - resolution)
        for index, count in _coarser(old, before.resolution - resolution).items():
            counts[index] = counts.get(index, 0) - count
        sides.append(_side(counts))
    return replace(now, resolution=resolution, zero=now.zero - before.zero, positive=sides[0], negative=sides[1])


def _coarser(side: Side, steps: int) -> dict[int, int]:
    """Buckets by index when two neighbours are made one, so many times."""
    found: dict[int, int] = {}
    for index, count in enumerate(side[1], side[0]):
        if count:
            found[index >> steps] = found.get(index >> steps, 0) + count
    return found


def _side(counts: dict[int, int]) -> Side:
    used = [index for index, count in counts.items() if count]
    if not used:
        return 0, []
    return min(used), [counts.get(index, 0) for index in range(min(used), max(used) + 1)]


def _between(told: Told) -> list[Bucket]:
    """A summary's quantiles as buckets: so large a share of the values lies between two of them."""
    known = sorted((min(1.0, max(0.0, share)), value) for share, value in told.quantiles)
    edges: Sequence[tuple[float, float]] = [(0.0, known[0][1]), *known, (1.0, known[-1][1])]
    found: list[Bucket] = []
    given = 0
    for (_, low), (share, high) in pairwise(edges):
        upto = round(share * told.count)
        if upto > given and high >= low:
            found.append(Bucket(low, high, upto - given))
            given = upto
    if given < told.count:  # Quantiles that contradict each other: what is left has the highest value.
        found.append(Bucket(known[-1][1], known[-1][1], told.count - given))
    return found
