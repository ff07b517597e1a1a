"""Answering a question about a span of time: which tier has it, and what pages, segments and memory say together."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil, floor
from typing import NamedTuple, TypeAlias

import anyio

from bers import Database, Tier, Window

from . import file, pages
from .pace import Pace
from .pages import Page, PageCache, PageKey, Raw, absorb
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

    @property
    def size(self) -> int:
        """How many windows of the widest tier there are."""
        return round((self.end - self.start) / self.width)

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    def holds(self, window: Window) -> bool:
        return self.start <= window.start + window.width / 2 < self.end


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


_Found: TypeAlias = list[tuple[PageKey, int, bytes, Page | Raw | None]]


def span_of(series: Iterable[Series], tiers: Sequence[Tier], start: float, end: float, now: float) -> Span:
    """Choose, for each series, the finest tier that reaches back to the start, and whole windows around the span.

    ``tiers`` are those of a metric that has no series yet. The window that is open now belongs to what ends now.
    """
    chosen = {one: _choose(one.tiers, start, end, now) for one in series}
    widths = [one.tiers[tier].width for one, tier in chosen.items()]
    width = max(widths, default=tiers[_choose(tiers, start, end, now)].width)
    until = floor(end / width) + 1 if end >= now else ceil(end / width)
    return Span(floor(start / width) * width, until * width, width, chosen)


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
        turn: anyio.Lock,
        waiting: Callable[[], Sequence[Partials]],
    ) -> None:
        self._database = database
        self._cache = cache
        self._turn = turn
        self._waiting = waiting

    async def totals(self, span: Span) -> Totals:
        """Merge everything in the span; whole pages by their summaries."""
        first = second = None
        fullest = 0
        pace = Pace()

        def whole(key: PageKey) -> bool:
            return span.start <= key.start and key.end <= span.end and not key.start < span.middle < key.end

        async for series, found, live in self._collect(span, whole):
            filled = 0
            for key, crc, summary, body in found:
                if body is None:
                    window, count = pages.unpack_summary(series, key, summary)
                    filled += count
                    parts: Iterable[Window] = (window,)
                else:
                    parts = self._page(series, key, crc, body).windows.values()
                    filled += sum(span.holds(window) for window in parts)
                for window in parts:
                    if body is None or span.holds(window):
                        if window.start + window.width / 2 < span.middle:
                            first = absorb(first, window)
                        else:
                            second = absorb(second, window)
                    await pace()
            starts: set[float] = set()
            for window in filter(span.holds, live):
                starts.add(floor((window.start + window.width / 2) / span.width))
                if window.start + window.width / 2 < span.middle:
                    first = absorb(first, window)
                else:
                    second = absorb(second, window)
                await pace()
            fullest = max(fullest, filled + len(starts))
        return Totals(first, second, fullest)

    async def points(self, span: Span, step: float) -> dict[Series, dict[int, Window]]:
        """Every series in windows of one step, by their number since 1970."""
        pace = Pace()
        result: dict[Series, dict[int, Window]] = {}
        async for series, found, live in self._collect(span, lambda _: False):
            into: dict[int, Window] = {}
            bodies = [
                self._page(series, key, crc, body).windows.values() for key, crc, _, body in found if body is not None
            ]
            for windows in (*bodies, live):
                for window in windows:
                    if span.holds(window):
                        number = pages.number(window.start, window.width, step)
                        into[number] = absorb(into.get(number), window)
                    await pace()
            if into:
                result[series] = into
        return result

    async def _collect(
        self, span: Span, whole: Callable[[PageKey], bool]
    ) -> AsyncGenerator[tuple[Series, _Found, list[Window]]]:
        """Each series with its pages, and with its windows that no page holds."""
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
        self, connection: sqlite3.Connection, series: Series, span: Span, whole: Callable[[PageKey], bool]
    ) -> _Found:
        found: _Found = []
        for key, crc, summary in file.pages_between(connection, series.id, span.tiers[series], span.start, span.end):
            body = None if whole(key) else self._cache.get(key, crc) or file.read_page(connection, key)
            found.append((key, crc, summary, body))
        return found

    def _page(self, series: Series, key: PageKey, crc: int, body: Page | Raw) -> Page:
        if isinstance(body, Raw):
            body = pages.unpack(series, key, body)
            self._cache.put(key, crc, body)
        self._cache.touch(key)
        return body
