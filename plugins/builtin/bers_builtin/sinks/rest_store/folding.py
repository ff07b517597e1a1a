"""Folding segments into pages: each folding adds a part to every page that it has windows for, and reads none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import anyio

from bers import Database, Window

from . import marks, page_rows, pages, segments, series_rows
from .compaction import Compactor
from .marks import Progress
from .pace import Pace
from .pages import Packing, Part
from .partials import Partials, Series

SLICE = 160
"""About how many parts one transaction writes: some three milliseconds."""


class Folder:
    """Moves windows from memory and segments to pages, a slice of series at a time.

    A slice is one transaction, which also notes the last series in it: a folding that is interrupted goes on there.
    Readers hold :attr:`turn` while they collect, so that they meet each window once, here or there.
    """

    def __init__(self, database: Database, compactor: Compactor) -> None:
        self._database = database
        self._compactor = compactor
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
            some: list[Series] = []
            try:
                parts, packed = await self._next(some, now, pace)
                await self._write(some, parts, packed)
            except BaseException:
                # The disk is full, or whoever asked is gone. It goes on here, and its end deletes every segment.
                self._series += reversed(some)
                raise
        await self._database.run(lambda connection: segments.finish(connection, self._upto))
        self._upto = 0  # Not before: until then it is known by it what of the segments is in pages.

    async def _next(self, some: list[Series], now: float, pace: Pace) -> tuple[Sequence[Part], Sequence[Packing]]:
        """Take some series, and what each adds to its pages, until that is a slice."""
        parts: list[Part] = []
        packed: list[Packing] = []
        while self._series and len(parts) < SLICE:
            series = self._series.pop()
            some.append(series)
            for part in self._parts(series, now):
                # The number of the segment is that of the folding: it grows, and one that is resumed has it still.
                parts.append(part)
                packed.append(pages.pack(part, self._upto, now, quick=True))
                await pace()
        return parts, packed

    def _parts(self, series: Series, now: float) -> Iterable[Part]:
        for windows in _by_width(self.partials.of(series)):
            for tier, (kept, folded) in zip(series.tiers, pages.cascade(windows, series.tiers), strict=True):
                width, keep = kept
                if (min(folded) + 1) * width + keep <= now:
                    folded = {n: window for n, window in folded.items() if (n + 1) * width + keep > now}
                if folded:
                    for some in pages.by_page(folded, width, keep):
                        yield Part(series, tier.width, width, some, keep)

    async def _write(self, some: Sequence[Series], parts: Sequence[Part], packed: Sequence[Packing]) -> None:
        done = Progress(self._upto, some[-1].id)

        def work(connection: sqlite3.Connection) -> None:
            marks.folded(connection, done)
            series_rows.save_series(connection, rows)
            page_rows.add_parts(connection, packed)

        rows = [series_rows.row_of(series) for series in some]
        async with self.turn:
            with anyio.CancelScope(shield=True):  # Database and memory change together.
                await self._database.run(work)
                for series in some:
                    self.partials.drop(series)
        for part in parts:
            self._compactor.note(part)


def _by_width(windows: Iterable[Window]) -> Iterable[Sequence[Window]]:
    widths: dict[float, list[Window]] = {}
    for window in windows:
        widths.setdefault(window.width, []).append(window)
    return widths.values()
