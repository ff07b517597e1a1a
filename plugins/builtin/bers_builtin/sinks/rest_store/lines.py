"""The lines of a chart: series one group after another, the fullest ones kept, and all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from bers import Labels, Window

from .answers import Figure, Line, Point
from .asked import TAKES
from .figures import mean, newest
from .pace import Pace
from .pages import absorb, together
from .partials import Series
from .reading import GROUP, Gathered, Reader, Span, Totals


@dataclass
class Group:
    """The series of one line, merged."""

    series: list[Series]
    windows: dict[int, Window] = field(default_factory=dict[int, Window])
    count: int = 0


@dataclass
class Lines:
    """What was read for a chart. However many series there are, few are in memory at a time."""

    kept: list[tuple[Labels, Group]]
    """Those with the most samples, the fullest first."""
    found: int
    """How many there are with samples."""
    overall: Mapping[int, Window]
    totals: Totals
    """What everything that was read comes to."""


def grouped(series: Iterable[Series], name: Callable[[Labels], Labels]) -> dict[Labels, list[Series]]:
    """Series by the labels that name their line."""
    groups: dict[Labels, list[Series]] = {}
    for one in series:
        groups.setdefault(name(one.labels), []).append(one)
    return groups


async def read(reader: Reader, span: Span, step: float, groups: Mapping[Labels, Sequence[Series]], limit: int) -> Lines:
    """Read the lines of a span, and keep the fullest."""
    pace, gathered = Pace(), Gathered()
    kept: list[tuple[Labels, Group]] = []
    found = 0
    todo = iter([(labels, one) for labels, members in groups.items() for one in members])
    while some := list(islice(todo, GROUP)):
        part = replace(span, tiers={one: span.tiers[one] for _, one in some})
        points = await reader.points(part, step, gathered)
        for labels, one in some:
            if not (windows := points.pop(one, None)):
                continue
            if not kept or kept[-1][0] != labels:
                _prune(kept, limit)
                kept.append((labels, Group(list(groups[labels]))))
                found += 1
            group = kept[-1][1]
            for number, window in windows.items():
                known = group.windows.get(number)
                group.windows[number] = absorb(known, window) if known else window
                group.count += window.count
                await pace()
    _prune(kept, limit)
    totals = await gathered.totals(pace)
    return Lines(sorted(kept, key=lambda one: one[1].count, reverse=True), found, gathered.steps(), totals)


async def draw(lines: Lines, step: float, figures: Sequence[Figure], now: float) -> list[Line]:
    """Each line with what it amounts to."""
    pace, drawn = Pace(), list[Line]()
    for labels, group in lines.kept:
        total = await together(group.windows.values(), pace)
        assert total is not None, "a line without a sample is none"
        current, updated = newest(group.series, now)
        drawn.append(
            Line(
                labels=dict(labels), current=current, last_updated=updated, count=total.count, average=mean(total),
                min=total.min, max=total.max, p95=total.quantile(0.95),
                points=await points(group.windows, step, figures),
            )
        )  # fmt: skip
    return drawn


async def points(windows: Mapping[int, Window], step: float, figures: Sequence[Figure]) -> list[Point]:
    """Windows as a chart takes them, the earliest first."""
    pace, told = Pace(), list[Point]()
    takes = [TAKES[one] for one in figures]
    for number, window in sorted(windows.items()):
        told.append((round(number * step * 1000), *(take(window) for take in takes)))
        await pace()
    return told


def _prune(kept: list[tuple[Labels, Group]], limit: int) -> None:
    """Drop the emptiest line where there is one too many; each that is here is complete."""
    if len(kept) > limit:
        kept.remove(min(kept, key=lambda one: one[1].count))
