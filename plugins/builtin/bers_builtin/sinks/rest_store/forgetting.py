"""Forgetting: what an operator wants deleted before its time is over, in every tier, and in what is set aside."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from bers import Database, Window

from . import page_rows, pages, series_rows
from .cache import PageCache
from .losses import Losses
from .pace import Pace
from .page_rows import Found
from .pages import Key, Packing, Part
from .partials import Series


class Forgetting:
    """Deletes the windows of series that begin before a time; nobody folds or compacts meanwhile."""

    def __init__(self, database: Database, cache: PageCache, losses: Losses) -> None:
        self._database = database
        self._cache = cache
        self._losses = losses

    async def forget(self, series: Sequence[Series], before: float, now: float) -> int:
        """Return how many windows are gone, of all tiers together."""
        gone, pace = 0, Pace()
        for one in series:
            gone += await self._forget(one, before, now, pace)
        await self._database.run(lambda connection: self._losses.forget_series(connection, series, before))
        return gone

    async def _forget(self, series: Series, before: float, now: float, pace: Pace) -> int:
        def read(connection: sqlite3.Connection) -> list[tuple[int, Key, float, Found | None]]:
            return [
                (
                    id,
                    key,
                    expires,
                    self._losses.read_part(connection, series, id, key) if _is_cut(key, before) else None,
                )
                for id, key, expires in page_rows.parts_before(connection, series.id, before)
            ]

        found = await self._database.run(read)
        gone, rests = 0, list[Packing]()
        for _, key, expires, part in found:
            gone += key.windows
            if part:
                rest = await self._rest(series, key, part.data or b"", before, pace)
                gone -= len(rest)
                packed = await self._pack(series, key, rest, now, pace)
                rests.append(packed._replace(expires=expires))
        ids = [id for id, *_ in found]
        if series.seen[0] < before:
            series.forget()

        def write(connection: sqlite3.Connection) -> None:
            page_rows.delete_parts(connection, ids)
            page_rows.add_parts(connection, rests)
            series_rows.save_series(connection, [row])

        row = series_rows.row_of(series)
        await self._database.run(write)
        self._cache.drop(ids)
        return gone

    @staticmethod
    async def _rest(series: Series, key: Key, data: bytes, before: float, pace: Pace) -> dict[int, Window]:
        """The windows of a part that stay."""
        rest: dict[int, Window] = {}
        for number, window in pages.numbered(pages.unpack(series, key, data), key.width):
            if window.start >= before:
                rest[number] = window
            await pace()
        return rest

    @staticmethod
    async def _pack(series: Series, key: Key, rest: dict[int, Window], now: float, pace: Pace) -> Packing:
        total = await pages.together(rest.values(), pace) if len(rest) >= pages.SUMMED else None
        return pages.pack(Part(series, key.tier, key.width, rest, 0.0), key.seq, now, key.folds, total)


def _is_cut(key: Key, before: float) -> bool:
    """Whether some windows of a part stay: its last one begins later."""
    return key.end - key.width >= before
