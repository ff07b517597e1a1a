"""Answering a question about a span of time: which tier has it, and what pages, segments and memory say together."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from math import ceil, floor, inf
from typing import NamedTuple, TypeAlias

import anyio

from bers import Database, Tier, Window

from . import page_rows, pages
from .cache import PageCache
from .losses import Losses
from .pace import Pace
from .pages import Key, absorb, together
from .partials import Partials, Series

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

    def place(self, window: Window) -> float:
        """When it counts: in its middle, or now where it is wider than its tier and that is still to come."""
        middle = window.start + window.width / 2
        return self.now if window.start <= self.now < middle else middle

    def holds(self, window: Window) -> bool:
        return self.start <= self.place(window) < self.end


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

    halves: tuple[dict[int, Window], dict[int, Window]] = field(default_factory=lambda: ({}, {}))
    filled: int = 0

    def add(self, number: int, window: Window, *, second: bool) -> None:
        into = self.halves[second]
        into[number] = absorb(into.get(number), window)

    async def totals(self, pace: Pace) -> Totals:
        first, second = [await together(half.values(), pace) for half in self.halves]
        return Totals(first, second, self.filled)

    def steps(self) -> dict[int, Window]:
        """All steps of both halves; it is asked last, because one that lies in both is merged in place."""
        return _joined(*self.halves)


_Found: TypeAlias = list[tuple[int, Key, bytes | Sequence[Window], bool]]
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


def _joined(first: dict[int, Window], second: Mapping[int, Window]) -> dict[int, Window]:
    """Both in the first; a window that lies in both is merged in place."""
    for number, window in second.items():
        first[number] = absorb(first[number], window) if number in first else window
    return first


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
        gathered = Gathered()
        async for _ in self._read(span, inf, gathered):
            pass
        return await gathered.totals(Pace())

    async def points(
        self, span: Span, step: float, gathered: Gathered | None = None
    ) -> dict[Series, dict[int, Window]]:
        """Every series in windows of one step, by their number since 1970; what all of them come to is gathered."""
        return {series: windows async for series, windows in self._read(span, step, gathered) if windows}

    async def _read(
        self, span: Span, step: float, gathered: Gathered | None
    ) -> AsyncGenerator[tuple[Series, dict[int, Window]]]:
        """One series after another. A part of a page that lies in one step is read by what it says that it comes to."""
        pace, middle = Pace(), span.middle

        def whole(start: float, end: float) -> bool:
            apart = start < middle < end and gathered is not None
            return span.start <= start and end <= span.end and not apart and end <= (start // step + 1) * step

        async for series, found, live in self._collect(span, whole):
            number = self._numbers(span, series)
            halves: tuple[dict[int, Window], dict[int, Window]] = {}, {}
            filled, starts = 0, set[float]()

            def add(window: Window, halves: tuple[dict[int, Window], dict[int, Window]] = halves) -> None:
                into = halves[gathered is not None and window.start + window.width / 2 >= middle]
                place = 0 if step == inf else floor(span.place(window) / step)
                into[place] = absorb(into.get(place), window)

            # One part after the other, so that others have the loop between two.
            for id, key, content, summed in found:
                if summed and isinstance(content, bytes):
                    add(pages.unpack_summary(series, key, content))
                    filled += key.windows
                    await pace()
                    continue
                for window in self._windows(series, id, key, content):
                    if (at := number(window)) is not None:
                        starts.add(at)
                        add(window)
                    await pace()
            for window in live:
                if (at := number(window)) is not None:
                    starts.add(at)
                    add(window)
                await pace()
            if gathered:
                gathered.filled = max(gathered.filled, filled + len(starts))
                for half, windows in enumerate(halves):
                    for place, window in windows.items():
                        gathered.add(place, window, second=bool(half))
                        await pace()
            yield series, _joined(*halves)

    @staticmethod
    def _numbers(span: Span, series: Series) -> Callable[[Window], float | None]:
        """In which window of its tier a window falls; None where it is not asked for, or not kept any more."""
        width, keep = series.tiers[span.tiers[series]]

        def number(window: Window) -> float | None:
            wide = max(width, window.width)
            at = pages.number(window.start, window.width, wide)
            return at if span.holds(window) and (at + 1) * wide + keep > span.now else None

        return number

    async def _collect(
        self, span: Span, whole: Callable[[float, float], bool]
    ) -> AsyncGenerator[tuple[Series, _Found, list[Window]]]:
        """Each series with its parts of pages, and with its windows that no page holds."""
        todo = iter(span.tiers)
        while group := list(islice(todo, GROUP)):

            def read(connection: sqlite3.Connection, group: Sequence[Series] = group) -> list[_Found]:
                return [self._find(connection, series, span, whole) for series in group]

            async with self._turn:
                found = await self._database.run(read)
                live = [[w.copy() for part in self._waiting() for w in part.of(series)] for series in group]
            for one in zip(group, found, live, strict=True):
                yield one

    def _find(
        self, connection: sqlite3.Connection, series: Series, span: Span, whole: Callable[[float, float], bool]
    ) -> _Found:
        tier = series.tiers[span.tiers[series]]
        kept, found = span.now - tier.keep, list[tuple[int, Key, bytes | Sequence[Window], bool]]()
        longest = pages.LONGEST_SPAN + tier.width
        for id, key in page_rows.parts_between(connection, series.id, tier.width, span.start, span.end, longest):
            if pages.is_over(key, kept):
                continue
            summed = key.windows >= pages.SUMMED and key.start + key.width > kept and whole(key.start, key.end)
            if not summed and (known := self._cache.get(id)):
                found.append((id, key, known, False))
                continue
            part = self._losses.read_part(connection, series, id, key, whole=not summed)
            if summed and part and not part.summary:  # It is one that was written as it came.
                summed, part = False, self._losses.read_part(connection, series, id, key)
            if part:
                found.append((id, key, part.summary if summed else part.data or b"", summed))
        return found

    def _windows(self, series: Series, id: int, key: Key, content: bytes | Sequence[Window]) -> Sequence[Window]:
        if isinstance(content, bytes):
            content = pages.unpack(series, key, content)
            self._cache.put(id, content)
        self._cache.touch(id)
        return content
