"""Compaction: the parts of a page are merged while it grows, so that they stay few, and once its time is over."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from bers import Database, Window

from . import page_rows, pages
from .cache import PageCache
from .losses import Losses
from .pace import Pace
from .page_rows import Found
from .pages import Key, Packing, Part
from .partials import Series

FAN = 8
"""So many parts are merged into one; and so many of these into one of theirs."""
LASTING = 6 * 3600.0
"""What is kept for less than these seconds is not merged once more when its page is over: it is soon gone."""
DENSE = 100
"""So many windows are written as small as they can be, even if they are merged once more later."""
GRACE = 60.0
"""Seconds for which a page that is over waits for windows that are late."""
SLICE = 16
"""How many pages are merged between two transactions."""
LOOKED_AT = 50
"""Of how many series the parts are counted at a time."""


class Page(NamedTuple):
    """One series, one tier, one span of time."""

    series: Series
    tier: float
    width: float
    keep: float
    number: int

    @property
    def span(self) -> float:
        return pages.per_page(self.width, self.keep) * self.width

    @property
    def start(self) -> float:
        return self.number * self.span

    @property
    def end(self) -> float:
        return (self.number + 1) * self.span

    def is_over(self, now: float) -> bool:
        """Whether nothing comes any more, not even what is late."""
        return self.end + GRACE <= now


class Compactor:
    """Knows of which pages parts were written, and merges those of a page where they are many or the page is over."""

    def __init__(
        self,
        database: Database,
        cache: PageCache,
        losses: Losses,
        everyone: Callable[[], Sequence[Series]],
    ) -> None:
        self._database = database
        self._cache = cache
        self._losses = losses
        self._everyone = everyone
        self._parts: dict[Page, int] = {}
        """How many parts a page got since it was merged last; of pages that are not over."""
        self._known = False
        """Whether the parts were counted that the database has."""

    def note(self, part: Part) -> None:
        """A part was written."""
        if self._known:  # Until then it is counted with all others.
            page = Page(part.series, part.tier, part.width, part.keep, part.page)
            self._parts[page] = self._parts.get(page, 0) + 1

    async def compact(self, now: float) -> None:
        """Merge what is due."""
        try:
            await self._compact(now, Pace())
        except BaseException:  # What was due is not known any more: it is counted anew.
            self._parts.clear()
            self._known = False
            raise

    async def _compact(self, now: float, pace: Pace) -> None:
        if not self._known:
            await self._look(now, pace)
        due: list[tuple[Page, bool]] = []
        for page, count in list(self._parts.items()):
            over = page.is_over(now)
            if over:
                del self._parts[page]
            elif count >= FAN:
                self._parts[page] = 0  # It stays known: what is not merged now is when it is over.
            if count >= FAN or (over and page.keep >= LASTING):
                due.append((page, over and page.keep >= LASTING))
            await pace()
        due.sort(key=lambda one: one[0].series.id)
        for n in range(0, len(due), SLICE):
            await self._merge(due[n : n + SLICE], now, pace)

    async def _look(self, now: float, pace: Pace) -> None:
        """Count the parts of each page that the database has."""
        everything: dict[Page, int] = {}
        series = {one.id: one for one in self._everyone()}
        ids = sorted(series)
        for n in range(0, len(ids), LOOKED_AT):
            first, last = ids[n], ids[min(n + LOOKED_AT, len(ids)) - 1]
            for key in await self._database.run(partial(page_rows.keys_of, first=first, last=last)):
                if (one := series.get(key.series)) and (page := page_of(one, key)):
                    everything[page] = everything.get(page, 0) + 1
                    self._parts[page] = self._parts.get(page, 0) + (key.folds < FAN)
                await pace()
        for page, count in everything.items():
            if count == 1 and page.is_over(now):
                del self._parts[page]
        self._known = True

    async def _merge(self, due: Sequence[tuple[Page, bool]], now: float, pace: Pace) -> None:
        def read(connection: sqlite3.Connection) -> list[list[Found]]:
            return [self._read(connection, page, over) for page, over in due]

        packed: list[tuple[Packing, list[int]]] = []
        for (page, over), found in zip(due, await self._database.run(read), strict=True):
            if len(found) > 1:
                packed.append((await self._merged(page, found, now, over=over, pace=pace), [one.id for one in found]))

        def write(connection: sqlite3.Connection) -> None:
            for part, ids in packed:
                page_rows.delete_parts(connection, ids)
                page_rows.add_parts(connection, [part])

        if packed:
            await self._database.run(write)
            self._cache.drop(id for _, ids in packed for id in ids)

    def _read(self, connection: sqlite3.Connection, page: Page, over: bool) -> list[Found]:
        """The parts to merge: all of a page that is over, otherwise the newest, as many as are about as large."""
        rows = page_rows.parts_within(connection, page.series.id, page.tier, page.width, page.start, page.end)
        if not over:
            rows = _newest(rows)
        if len(rows) < 2:
            return []
        return self._losses.read_parts(connection, page.series, dict(rows))

    async def _merged(self, page: Page, found: Sequence[Found], now: float, *, over: bool, pace: Pace) -> Packing:
        windows: dict[int, Window] = {}
        for one in found:
            for n, window in pages.numbered(pages.unpack(page.series, one.key, one.data or b""), page.width):
                if known := windows.get(n):
                    known.merge(window)
                else:
                    windows[n] = window
                await pace()
        dense = over or len(windows) >= DENSE
        summed = dense and len(windows) >= pages.SUMMED
        total = await pages.together(windows.values(), pace) if summed else None
        part = Part(page.series, page.tier, page.width, windows, page.keep)
        seq, folds = max(one.key.seq for one in found), sum(one.key.folds for one in found)
        return pages.pack(part, seq, now, folds, total, quick=not dense)


def page_of(series: Series, key: Key) -> Page | None:
    """The page that a part belongs to as pages are now; None where its tier is no more."""
    for tier in series.tiers:
        if tier.width == key.tier:
            size = pages.per_page(key.width, tier.keep)
            return Page(series, key.tier, key.width, tier.keep, round(key.start / key.width) // size)
    return None


def _newest(rows: list[tuple[int, Key]]) -> list[tuple[int, Key]]:
    """Of parts in the order in which they came: the newest that are alike, where they come to one of the next size."""
    chosen: list[tuple[int, Key]] = []
    size = FAN
    while True:
        alike = _suffix(rows, size)
        if sum(key.folds for _, key in alike) >= size:
            chosen = alike
        if len(alike) == len(rows):
            return chosen
        size *= FAN


def _suffix(rows: list[tuple[int, Key]], folds: int) -> list[tuple[int, Key]]:
    """The newest rows, each of fewer foldings."""
    n = len(rows)
    while n and rows[n - 1][1].folds < folds:
        n -= 1
    return rows[n:]
