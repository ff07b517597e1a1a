"""Retention: what is past its time leaves the database, its file and its log."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from bers import Database, Tier

from . import details, file, page_rows, running, series_rows
from .cache import PageCache
from .cap import Cap
from .figures import alive
from .losses import Losses
from .pace import Pace
from .partials import Registry, Series

SLICE = 0.004
"""Seconds after which a transaction that deletes is closed, so that commits come between."""
AT_A_TIME = 20
"""How many rows are deleted between two looks at the time."""
LOG_PATIENCE = 5.0
"""Seconds that the log waits to be emptied for those who read it."""
SERIES = 50
"""Of how many series the pages are told in one transaction how long they are kept."""

T = TypeVar("T")


class Retention:
    """Deletes in slices, gives the room back to the disk, and empties the log, which still has what was deleted."""

    def __init__(self, database: Database, cache: PageCache, losses: Losses, registry: Registry, cap: Cap) -> None:
        self._cap = cap
        self._database = database
        self._cache = cache
        self._losses = losses
        self._registry = registry

    async def sweep(self, now: float) -> None:
        """Delete what is past its time, and what is too much."""
        await self._follow_the_tiers(now)
        gone = 0
        while ids := await self._sliced(lambda connection: page_rows.delete_expired(connection, now, AT_A_TIME)):
            self._cache.drop(ids)
            gone += len(ids)
        while await self._sliced(lambda connection: [0] * details.delete_expired(connection, now, AT_A_TIME)):
            gone += 1
        await self._database.run(lambda connection: running.forget(connection, now - running.LATELY))
        gone += await self._forget_newest(now)
        await self._database.run(self._losses.forget)
        if await self._database.run(self._cap.begin):
            while ids := await self._sliced(self._cap.evict):
                self._cache.drop(ids)
                gone += len(ids)
            self._cap.warn(now)
            await self._database.run(self._cap.look)
        if gone:
            await self.give_back()

    async def give_back(self) -> None:
        """Shorten the file if much of it is free, and empty the log, which has what was deleted still."""
        if await self._database.run(file.is_airy):
            while await self._sliced(file.shorten):
                pass
        await self._database.empty_log(patience=LOG_PATIENCE)

    async def _follow_the_tiers(self, now: float) -> None:
        """Keep what there is of a series as long as its tiers say now, where they said otherwise before."""
        pace = Pace()
        changed, longest = list[Series](), dict[float, float]()
        for one in self._registry.everyone():
            if one.kept != one.tiers:
                changed.append(one)
            for tier in one.tiers:
                longest[tier.width] = max(tier.keep, longest.get(tier.width, 0.0))
            await pace()
        self._cap.keeps = {f"{width:g}s": keep for width, keep in longest.items()}
        for n in range(0, len(changed), SERIES):
            some = changed[n : n + SERIES]
            tiers = [one.tiers for one in some]
            rows = [series_rows.row_of(one, kept) for one, kept in zip(some, tiers, strict=True)]
            kept_as = [(one.id, kept) for one, kept in zip(some, tiers, strict=True)]

            def work(
                connection: sqlite3.Connection,
                kept_as: Sequence[tuple[int, tuple[Tier, ...]]] = kept_as,
                rows: Sequence[tuple[Any, ...]] = rows,
            ) -> None:
                page_rows.keep_as(connection, kept_as, now)
                series_rows.save_series(connection, rows)

            await self._database.run(work)
            for one, kept in zip(some, tiers, strict=True):
                one.kept = kept

    async def _forget_newest(self, now: float) -> int:
        """Forget the newest value of every series of which nothing is kept any more: it is a sample like others."""
        pace, silent = Pace(), list[Series]()
        for one in self._registry.everyone():
            if one.seen[0] > float("-inf") and not alive((one,), now):
                silent.append(one)
            await pace()
        for n in range(0, len(silent), SERIES):
            # One that was heard of meanwhile is left alone.
            some = [one for one in silent[n : n + SERIES] if not alive((one,), now)]
            for one in some:
                one.forget()
            await self._database.run(partial(series_rows.save_series, rows=[series_rows.row_of(one) for one in some]))
        return len(silent)

    async def _sliced(self, delete: Callable[[sqlite3.Connection], Sequence[T]]) -> list[T]:
        """Delete some rows at a time, until there are none or it took long enough."""

        def work(connection: sqlite3.Connection) -> list[T]:
            done, until = list[T](), perf_counter() + SLICE
            while some := delete(connection):
                done += some
                if perf_counter() >= until:
                    break
            return done

        return await self._database.run(work)
