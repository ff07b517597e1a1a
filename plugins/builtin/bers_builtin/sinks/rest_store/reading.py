"""Answering a question about a span of time: which tier has it, and what pages, segments and memory say together."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil, floor, inf
from typing import NamedTuple, TypeAlias

import anyio

from bers import Database, Tier, Window

from . import page_rows, pages
from .cache import PageCache
from .losses import Losses
from .pace import Pace
from .pages import Key, absorb
from .partials import Partials, Series
from .piles import Piles
from .strips import Strip

GROUP = 32
"""How many series are read at a time, while nothing is folded."""
RESOLUTION = 5000
"""With how many windows per series a coarser tier is taken, where there is one."""


@dataclass(frozen=True)
class Span:
    """Whole windows of one tier for each series; ``width`` is the widest."""

    start: float
    end: float
    width: float
    tiers: Mapping[Series, int]
    now: float = 0.0
    """What a tier does not keep any more by now is not answered, even if it is on disk still."""

    @property
    def size(self) -> int:
        """How many windows of the widest tier there are."""
        return round((self.end - self.start) / self.width)

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    def holds(self, start: float, width: float) -> bool:
        """Whether a window counts in it: in its middle, or now where it is wider than its tier and that is to come."""
        middle = start + width / 2
        return self.start <= (self.now if start <= self.now < middle else middle) < self.end


class Totals(NamedTuple):
    """All series of a question together, in the two halves of its span."""

    first: Window | None = None
    second: Window | None = None
    filled: int = 0
    """How many windows of the fullest series hold something."""

    @property
    def whole(self) -> Window | None:
        if self.first is None or self.second is None:
            return self.first or self.second
        return absorb(self.first.copy(), self.second)


@dataclass
class Gathered:
    """The same, while it is added up: every step by its number, and the halves apart."""

    span: Span
    step: float
    filled: int = 0

    def __post_init__(self) -> None:
        self.halves = Piles(self.step, self.span.now), Piles(self.step, self.span.now)

    def totals(self) -> Totals:
        first, second = [half.whole.window() if half else None for half in self.halves]
        return Totals(first, second, self.filled)

    async def steps(self, pace: Pace) -> Piles:
        """All steps of both halves; it is asked last, because both are in the first half then."""
        first, second = self.halves
        await first.take(second, pace)
        return first


class _Asked:
    """Which windows of a series are asked for, and which of its tier's windows these fill."""

    def __init__(self, span: Span, series: Series) -> None:
        self._span = span
        self._width, self._keep = series.tiers[span.tiers[series]]
        self.filled = set[float]()
        """The beginnings of those."""

    def of_part(self, strip: Strip) -> tuple[Strip, int, int]:
        """Those of a part, of which some at its beginning and some at its end may not be."""
        first, end, starts = 0, len(strip.starts), strip.starts
        while first < end and not self._is_asked(starts[first], strip.width):
            first += 1
        while first < end and not self._is_asked(starts[end - 1], strip.width):
            end -= 1
        if strip.width >= self._width:
            self.filled.update(starts[first:end])
        else:
            self.filled.update([self._number(start, strip.width) * self._width for start in starts[first:end]])
        return strip, first, end

    def _number(self, start: float, width: float) -> int:
        return pages.number(start, width, max(self._width, width))

    def _is_asked(self, start: float, width: float) -> bool:
        kept = (self._number(start, width) + 1) * max(self._width, width) + self._keep
        return self._span.holds(start, width) and kept > self._span.now


_Found: TypeAlias = list[tuple[int, Key, bytes | Strip, bool]]
"""The parts of pages: row, key, content, and whether that is only what the part comes to."""


def span_of(series: Iterable[Series], tiers: Sequence[Tier], start: float, end: float, now: float) -> Span:
    """Choose, for each series, the finest tier that reaches back to the start, and whole windows around the span.

    ``tiers`` are those of a metric that has no series yet. The window that is open now belongs to what ends now.
    """
    chosen = {one: _choose(one.tiers, start, end, now) for one in series}
    widths = [one.tiers[tier].width for one, tier in chosen.items()]
    width = max(widths, default=tiers[_choose(tiers, start, end, now)].width)
    until = floor(end / width) + 1 if end >= now else ceil(end / width)
    return Span(floor(start / width) * width, until * width, width, chosen, now)


def lately(series: Iterable[Series], tiers: Sequence[Tier], period: float, now: float) -> Span:
    """As many windows as the period has, the last of them the one that is open now."""
    span = span_of(series, tiers, now - period, now, now)
    return replace(span, start=span.end - ceil(period / span.width) * span.width)


def _choose(tiers: Sequence[Tier], start: float, end: float, now: float) -> int:
    reach = [n for n, tier in enumerate(tiers) if tier.keep + tier.width >= now - start] or [len(tiers) - 1]
    return next((n for n in reach if (end - start) / tiers[n].width <= RESOLUTION), reach[-1])


class Reader:
    """Reads pages, unfolded segments and what is not committed yet, each window once."""

    def __init__(
        self,
        database: Database,
        cache: PageCache,
        losses: Losses,
        turn: anyio.Lock,
        waiting: Callable[[], Sequence[Partials]],
    ) -> None:
        self._database = database
        self._cache = cache
        self._losses = losses
        self._turn = turn
        self._waiting = waiting

    async def totals(self, span: Span) -> Totals:
        """Merge everything in the span; whole parts of pages by what they say that they come to."""
        gathered = Gathered(span, inf)
        async for _ in self.series(span, inf, gathered):
            pass
        return gathered.totals()

    async def points(self, span: Span, step: float) -> dict[Series, dict[int, Window]]:
        """Every series in windows of one step, by their number since 1970."""
        pace, found = Pace(), dict[Series, dict[int, Window]]()
        async for series, piles in self.series(span, step):
            windows: dict[int, Window] = {}
            for number, pile in piles.items():
                windows[number] = pile.window(series.metric, series.labels, number * step, step)
                await pace()
            if windows:
                found[series] = windows
        return found

    async def series(
        self, span: Span, step: float, gathered: Gathered | None = None
    ) -> AsyncGenerator[tuple[Series, Piles]]:
        """One series after another, in steps; what all of them come to is gathered.

        A part of a page that lies in one step is read by what it says that it comes to.
        """
        pace, middle = Pace(), inf if gathered is None else span.middle

        def whole(start: float, end: float) -> bool:
            apart = start < middle < end and gathered is not None
            return span.start <= start and end <= span.end and not apart and end <= (start // step + 1) * step

        async for series, found, live in self._collect(span, whole):
            asked, filled = _Asked(span, series), 0
            first, second = Piles(step, span.now), Piles(step, span.now)

            async def add(strip: Strip, begin: int, end: int, first: Piles = first, second: Piles = second) -> None:
                half = strip.width / 2
                apart = bisect_left(strip.starts, middle, begin, end, key=lambda start: start + half)
                await first.add(strip, begin, apart, pace)
                await second.add(strip, apart, end, pace)

            # One part after the other, so that others have the loop between two.
            for id, key, content, summed in found:
                if summed and isinstance(content, bytes):
                    filled += key.windows
                    await add(Strip.of([pages.unpack_summary(series, key, content)]), 0, 1)
                else:
                    await add(*asked.of_part(self._strip(series, id, key, content)))
            for windows in live:
                await add(*asked.of_part(Strip.of(windows)))
            if gathered:
                gathered.filled = max(gathered.filled, filled + len(asked.filled))
                for half, piles in zip(gathered.halves, (first, second), strict=True):
                    await half.pour(piles, pace)
            await first.take(second, pace)
            yield series, first

    async def _collect(
        self, span: Span, whole: Callable[[float, float], bool]
    ) -> AsyncGenerator[tuple[Series, _Found, list[list[Window]]]]:
        """Each series with its parts of pages, and with its windows that no page holds."""
        todo, pace = iter(span.tiers), Pace()
        while group := list(islice(todo, GROUP)):

            def read(connection: sqlite3.Connection, group: Sequence[Series] = group) -> list[_Found]:
                return [self._find(connection, series, span, whole) for series in group]

            async with self._turn:
                found = await self._database.run(read)
                live: list[list[list[Window]]] = []
                for series in group:  # What comes in meanwhile may be in it or not.
                    live.append(_by_width(window for part in self._waiting() for window in part.of(series)))
                    await pace()
            for one in zip(group, found, live, strict=True):
                yield one

    def _find(
        self, connection: sqlite3.Connection, series: Series, span: Span, whole: Callable[[float, float], bool]
    ) -> _Found:
        tier = series.tiers[span.tiers[series]]
        kept, longest = span.now - tier.keep, pages.LONGEST_SPAN + tier.width
        rows = page_rows.parts_between(connection, series.id, tier.width, span.start, span.end, longest)
        rows = [(id, key) for id, key in rows if not pages.is_over(key, kept)]
        sums = {
            id: key
            for id, key in rows
            if key.windows >= pages.SUMMED and key.start + key.width > kept and whole(key.start, key.end)
        }
        told = {one.id: one.summary for one in self._losses.read_parts(connection, series, sums, whole=False)}
        # One that was written as it came does not say what it comes to.
        single = {id: key for id, key in rows if not told.get(id) and (id in told or id not in sums)}
        known = {id: strip for id in single if (strip := self._cache.get(id))}
        asked = {id: key for id, key in single.items() if id not in known}
        read = {one.id: one.data or b"" for one in self._losses.read_parts(connection, series, asked)}
        found: _Found = []
        for id, key in rows:
            if summary := told.get(id):
                found.append((id, key, summary, True))
            elif content := known.get(id) or read.get(id):
                found.append((id, key, content, False))
        return found

    def _strip(self, series: Series, id: int, key: Key, content: bytes | Strip) -> Strip:
        if isinstance(content, bytes):
            content = pages.unpack_strip(series, key, content)
            self._cache.put(id, content)
        self._cache.touch(id)
        return content


def _by_width(windows: Iterable[Window]) -> list[list[Window]]:
    """Windows in the order of time, each once, and those of each width apart."""
    found: dict[float, dict[float, Window]] = {}
    for window in windows:
        each = found.setdefault(window.width, {})
        each[window.start] = absorb(each.get(window.start), window)
    return [[each[start] for start in sorted(each)] for each in found.values()]
