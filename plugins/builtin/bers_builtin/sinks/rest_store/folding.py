"""Folding segments into pages, and sweeping out what is past its time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import anyio

from bers import Database, Window

from . import file, pages
from .file import Progress
from .pace import Pace
from .pages import Page, PageCache, PageKey, Raw
from .partials import Partials, Series

SLICE = 32
"""How many pages one transaction writes: about three milliseconds."""
SWEPT = 50
"""How many pages, or ten times as many events, one transaction deletes."""

Added: TypeAlias = dict[PageKey, tuple[float, Mapping[int, Window]]]


class Folder:
    """Moves windows from memory and segments to pages, a slice of series at a time.

    A slice is one transaction, which also notes the last series in it: a folding that is interrupted goes on there.
    Readers hold :attr:`turn` while they collect, so that they meet each window once, here or there.
    """

    def __init__(self, database: Database, cache: PageCache) -> None:
        self._database = database
        self._cache = cache
        self._series: list[Series] = []
        self._upto = 0
        self.turn = anyio.Lock(fast_acquire=True)
        self.partials = Partials()
        """What is being folded: it is in segments up to one, and not in pages."""

    @property
    def busy(self) -> bool:
        return self._upto > 0

    def begin(self, partials: Partials, upto: int) -> None:
        """Take the windows of all segments up to one."""
        self.partials, self._upto = partials, upto
        self._series = sorted(partials.series(), key=lambda series: series.id, reverse=True)

    async def fold(self, now: float) -> None:
        """Bring everything that was taken into pages."""
        pace = Pace()
        while self._series:
            some, added = await self._next(now, pace)
            await self._write(some, await self._merge(some, added, pace), pace)
        upto, self._upto = self._upto, 0
        await self._database.run(lambda connection: file.finish_folding(connection, upto))

    async def sweep(self, now: float) -> None:
        """Delete what is past its time."""
        while gone := await self._database.run(lambda connection: file.delete_expired_pages(connection, now, SWEPT)):
            self._cache.drop(gone)
        while await self._database.run(lambda connection: file.delete_expired_events(connection, now, SWEPT * 10)):
            pass

    async def _next(self, now: float, pace: Pace) -> tuple[Sequence[Series], Added]:
        """Some series, and what each adds to which page, until that is a slice."""
        some: list[Series] = []
        added: Added = {}
        while self._series and len(added) < SLICE:
            series = self._series.pop()
            some.append(series)
            for windows in _by_width(self.partials.of(series)):
                for tier, (kept, folded) in enumerate(pages.cascade(windows, series.tiers)):
                    fresh = {i: w for i, w in folded.items() if (i + 1) * kept.width + kept.keep > now}
                    for number, part in pages.page_numbers(fresh, kept.width).items():
                        key = PageKey(series.id, tier, kept.width, number)
                        expires, known = added.get(key, (0.0, {}))
                        added[key] = (max(expires, key.end + kept.keep), _joined(known, part))
                await pace()
        return some, added

    async def _merge(self, some: Sequence[Series], added: Added, pace: Pace) -> dict[PageKey, Page]:
        """The pages as they will be."""
        by_id = {series.id: series for series in some}

        def read(connection: sqlite3.Connection) -> dict[PageKey, Page | tuple[int, Raw]]:
            found: dict[PageKey, Page | tuple[int, Raw]] = {}
            for key, crc in file.find_pages(connection, added).items():
                found[key] = self._cache.get(key, crc) or (crc, file.read_page(connection, key))
            return found

        known = await self._database.run(read)
        result: dict[PageKey, Page] = {}
        for key, (expires, windows) in added.items():
            page = known.get(key)
            if isinstance(page, tuple):
                page = pages.unpack(by_id[key.series], key, page[1])
            result[key] = pages.merged(page, windows, key, expires)
            await pace()
        return result

    async def _write(self, some: Sequence[Series], changed: Mapping[PageKey, Page], pace: Pace) -> None:
        packed: list[tuple[PageKey, float, bytes, bytes]] = []
        for key, page in changed.items():
            packed.append((key, page.expires, *pages.pack(page, key)))
            await pace()
        done = Progress(self._upto, some[-1].id)

        def work(connection: sqlite3.Connection) -> list[int]:
            file.folded(connection, done)
            return [file.write_page(connection, *one) for one in packed]

        async with self.turn:
            sums: list[int] = []
            with anyio.CancelScope(shield=True):  # Database and memory change together.
                sums = await self._database.run(work)
                for series in some:
                    self.partials.pop(series)
        for (key, page), crc in zip(changed.items(), sums, strict=True):
            self._cache.put(key, crc, page)
            await pace()


def _by_width(windows: Iterable[Window]) -> Iterable[Sequence[Window]]:
    widths: dict[float, list[Window]] = {}
    for window in windows:
        widths.setdefault(window.width, []).append(window)
    return widths.values()


def _joined(known: Mapping[int, Window], part: Mapping[int, Window]) -> Mapping[int, Window]:
    joined = dict(known)
    for index, window in part.items():
        joined[index] = pages.absorb(joined[index].copy(), window) if index in joined else window
    return joined
