"""The lines of a chart: one after another, the fullest ones kept, and all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from operator import itemgetter

from bers import Labels

from .answers import Figure, Line, Point
from .asked import TAKES
from .figures import mean, newest
from .pace import Pace
from .partials import Series
from .piles import Piles
from .reading import Gathered, Reader, Span, Totals


@dataclass
class Lines:
    """What was read for a chart. However many series there are, the windows of few are in memory at a time."""

    kept: list[Line]
    """Those with the most samples, the fullest first."""
    found: int
    """How many there are with samples."""
    overall: list[Point]
    totals: Totals
    """What everything that was read comes to."""


@dataclass
class Wanted:
    """How lines are drawn."""

    step: float
    figures: Sequence[Figure]
    """What a point tells of all lines together."""
    of_lines: Sequence[Figure]
    """And of a single one."""
    limit: int
    now: float


def grouped(series: Iterable[Series], name: Callable[[Labels], Labels]) -> dict[Labels, list[Series]]:
    """Series by the labels that name their line."""
    groups: dict[Labels, list[Series]] = {}
    for one in series:
        groups.setdefault(name(one.labels), []).append(one)
    return groups


async def read(reader: Reader, span: Span, groups: Mapping[Labels, Sequence[Series]], wanted: Wanted) -> Lines:
    """Read the lines of a span, and keep the fullest."""
    pace, gathered, step = Pace(), Gathered(span, wanted.step), wanted.step
    kept: list[Line] = []
    found = 0
    labels_of = {one: labels for labels, members in groups.items() for one in members}
    lasts = {members[-1] for members in groups.values()}
    line = Piles(step, span.now)
    read = reader.series(replace(span, tiers={one: span.tiers[one] for one in labels_of}), step, gathered)
    async with aclosing(read):
        async for one, piles in read:
            await line.take(piles, pace)
            if one not in lasts:
                continue
            if line:
                found += 1
                labels = labels_of[one]
                kept.append(await _drawn(labels, groups[labels], line, wanted, pace))
                if len(kept) > wanted.limit:  # Drop the emptiest; each that is here is complete.
                    kept.remove(min(kept, key=lambda one: one.count))
            line = Piles(step, span.now)
    totals = gathered.totals()
    overall = await _points(await gathered.steps(pace), step, wanted.figures, pace)
    return Lines(sorted(kept, key=lambda one: one.count, reverse=True), found, overall, totals)


async def _drawn(labels: Labels, series: Sequence[Series], piles: Piles, wanted: Wanted, pace: Pace) -> Line:
    """A line with what it amounts to."""
    points = await _points(piles, wanted.step, wanted.of_lines, pace)
    total = piles.whole.window()
    current, updated = newest(series, wanted.now)
    return Line(
        labels=dict(labels), current=current, last_updated=updated, count=total.count, average=mean(total),
        min=total.min, max=total.max, p95=total.quantile(0.95), points=points,
    )  # fmt: skip


async def _points(piles: Piles, step: float, figures: Sequence[Figure], pace: Pace) -> list[Point]:
    """Piles as a chart takes them, the earliest first."""
    told: list[Point] = []
    takes = [TAKES[one] for one in figures]
    for number, pile in sorted(piles.items(), key=itemgetter(0)):
        told.append((round(number * step * 1000), *[take(pile) for take in takes]))
        await pace()
    return told
