"""The store at work: what is written waits in memory, is committed with its positions, and is folded into pages."""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import msgspec
from anyio import to_thread
from anyio.lowlevel import checkpoint

from bers import (
    Batch,
    BersError,
    Context,
    Database,
    Positions,
    Rejected,
    Stage,
    Tier,
    Unwritable,
    Written,
)

from . import details, file, running, segments, series_rows
from .cache import PageCache
from .cap import Cap
from .compaction import Compactor
from .config import RestStoreConfig
from .details import EventRow
from .folding import Folder
from .forgetting import Forgetting
from .loading import load
from .losses import Losses
from .pace import Pace
from .partials import Partials, Registry, Series
from .reading import Reader
from .retention import Retention
from .unwritten import Unwritten

logger = logging.getLogger("bers.rest_store")  # A node writes down what comes under this name alone.

SLICE = 500
"""How many windows of one batch are folded before others have the loop: less than a millisecond."""
FEW = 20
"""How many windows pass between two looks at the time."""
END_ALONE = 1.0
"""Seconds between two commits that tell nothing but how far readers are."""


class Store(Stage[RestStoreConfig]):
    """A durable sink: what it was told is in its file, up to the position it tells, or in its memory."""

    def __init__(self, config: RestStoreConfig, context: Context) -> None:
        super().__init__(config, context)
        self.path = context.data_dir / config.path
        self._database = Database(self.path, synchronous="NORMAL", layout=file.LAYOUT)
        self._positions = Positions(self._database, context.stage_id)
        self._registry = Registry(config.default_tiers())
        self._cache = PageCache(config.cache)
        self._losses = Losses(context.clock.settled)
        self._compactor = Compactor(self._database, self._cache, self._losses, self._registry.everyone)
        self._folder = Folder(self._database, self._compactor)
        self._reader = Reader(self._database, self._cache, self._losses, self._folder.turn, self._waiting)
        self._cap = Cap(config)
        self._retention = Retention(self._database, self._cache, self._losses, self._registry, self._cap)
        self._forgetting = Forgetting(self._database, self._cache, self._losses)
        self._pending = Partials()
        """Not committed."""
        self._committing = Partials()
        self._unfolded = Partials()
        """In segments."""
        self._segment = 0
        """The newest segment of which every window is unfolded."""
        self._events: list[EventRow] = []
        self._ends: dict[tuple[str, int], int] = {}
        self._committed = 0.0
        self._since: float | None = None
        """When what is not committed began to wait."""
        self._failure = ""
        """Why the last commit failed."""
        self._unwritten = Unwritten(context, self.path)
        self._writing = anyio.Lock(fast_acquire=True)
        self._turn = anyio.Lock(fast_acquire=True)
        """Held by whoever moves windows from pending to unfolded, or from there to the folder."""
        self._upkeep = anyio.Lock()
        """Held by whoever changes pages: folds, merges their parts, deletes."""
        self._room = anyio.Event()
        self._urged = anyio.Event()
        self._filled = anyio.Event()
        """Set when so many details wait that they are committed at once."""

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        try:
            try:
                await self._load()
            except (BersError, sqlite3.DatabaseError, zlib.error, msgspec.MsgspecError, KeyError) as exc:
                raise BersError(
                    f"{self.path}: the metrics database cannot be read: {exc}; restore it from a backup, or move it "
                    f"away, and it is built again as far as the journal reaches"
                ) from exc
            async with anyio.create_task_group() as group:
                group.start_soon(self._commit_regularly)
                group.start_soon(self._fold_regularly)
                group.start_soon(self._inspect)
                try:
                    yield self
                finally:
                    group.cancel_scope.cancel()
                    if not self._failure or self._unwritten:
                        with anyio.CancelScope(shield=True):
                            await self._attempt(self.commit)
        finally:
            await self._database.shut()

    async def position(self, reader: str, partition: int, *, begin: int) -> int:
        if (reader, partition) not in self._ends:
            self._ends[reader, partition] = await self._positions.begin(reader, partition, begin)
        return self._ends[reader, partition]

    async def write(self, batch: Batch) -> Written:
        while self._is_full():
            if self._unwritten:  # As much waits as may: the rest is left in the journal, and we are asked again.
                raise Unwritable(f"{self.path} cannot be written: {self._unwritten.longest[1]}")
            if self._room.is_set():
                self._room = anyio.Event()
            self._urged.set()
            await self._room.wait()
        merged, rows = 0, await self._rows(batch)
        async with self._writing:
            with anyio.CancelScope(shield=True):  # Half a batch must never be committed.
                self._registry.now = self.context.clock.time()
                for count, window in enumerate(batch.windows, 1):
                    merged += self._pending.fold(self._registry.of(window), window)
                    if not count % SLICE:
                        await checkpoint()
                self._events += rows
                self._ends[batch.reader, batch.partition] = batch.end
        if len(self._events) >= self.config.event_buffer // 2:
            self._filled.set()  # Details are large: that many do not wait for their time.
        if self._since is None and len(batch):
            self._since = self.context.clock.monotonic()
        return Written(merged)

    async def _rows(self, batch: Batch) -> list[EventRow]:
        """What is kept of the events; made now, because one that cannot be kept must not fail in a commit with others.

        Raise Rejected for those.
        """
        now, rows, rejected = self.context.clock.time(), list[EventRow](), dict[int, str]()
        for n, event in enumerate(batch.events):
            if n % SLICE == SLICE - 1:
                await checkpoint()
            try:
                rows.append(details.row(event, self.config, now))
            except (TypeError, ValueError, OverflowError, RecursionError) as exc:
                rejected[n] = f"event {event.id!r} cannot be written down: {exc}"
        if rejected:
            raise Rejected(f"{len(rejected)} events cannot be written down", rejected)
        return rows

    async def commit(self) -> None:
        """Make durable what was written, with the positions it leads to; if it raises, nothing of it is."""
        async with self._turn:
            async with self._writing:
                windows, self._pending = self._pending, Partials()
                events, self._events = self._events, []
                ends = {key: end for key, end in self._ends.items() if end > self._positions.held(*key)}
            self._committing = windows
            if ends or windows or events:
                try:
                    with anyio.CancelScope(shield=True):  # Data and position stay together, or the stage is over.
                        await self._commit(windows, events, ends)
                except BaseException as exc:
                    self._take_back(windows, events)
                    self._failure = f"{type(exc).__name__}: {exc}"
                    raise
            self._failure = ""
            self._committed = self.context.clock.monotonic()
            self._since = self._committed if self._pending or self._events else None

    async def fold(self) -> None:
        """Bring what was committed into pages."""
        async with self._upkeep:
            await self._fold()

    async def compact(self) -> None:
        """Merge the parts of pages where they are many, or their page is over."""
        async with self._upkeep:
            await self._compactor.compact(self.context.clock.settled())

    async def sweep(self) -> None:
        """Delete what is past its time."""
        async with self._upkeep:
            await self._retention.sweep(self.context.clock.settled())

    async def forget(self, series: Sequence[Series], before: float) -> int:
        """Delete the windows of series that begin before a time; return how many there were, of all tiers.

        When this returns they are neither in memory nor in the file nor in its log.
        """
        await self.commit()
        async with self._upkeep:
            await self._fold()  # What is here by now is in pages then; segments have many series in one.
            gone = await self._forgetting.forget(series, before, self.context.clock.settled())
            await self._retention.give_back()
        return gone

    async def _fold(self) -> None:
        now = self.context.clock.settled()
        if self._folder.busy:  # A folding that was interrupted.
            await self._folder.fold(now)
        async with self._turn:
            unfolded, self._unfolded = self._unfolded, Partials()
            self._folder.begin(unfolded, self._segment)
            self._segment = 0
        if self._folder.busy:
            await self._folder.fold(now)
        self._make_room()

    def utilization(self) -> dict[str, float]:
        """How full the buffers are, 0 to 1: by metric, and the fullest as ``overall``."""
        waiting = dict.fromkeys(self.context.metrics, 0)
        for partials in self._waiting():
            for series, spans in partials:
                waiting[series.metric] = waiting.get(series.metric, 0) + len(spans)
        shares = {metric: min(1.0, count / self.config.buffer) for metric, count in waiting.items()}
        windows = sum(waiting.values()) / self.config.buffer
        return shares | {"overall": min(1.0, max(windows, len(self._events) / self.config.event_buffer))}

    def _waiting(self) -> Sequence[Partials]:
        """Every window that no page holds, each once."""
        return self._pending, self._committing, self._unfolded, self._folder.partials

    def _is_full(self) -> bool:
        windows = sum(partials.size for partials in self._waiting())
        return windows >= self.config.buffer or len(self._events) >= self.config.event_buffer

    def _make_room(self) -> None:
        """Let writers go on that wait, or see to it that they soon can."""
        if not self._is_full():
            self._room.set()
        if self._unfolded.size >= self.config.buffer // 2 or (self._unfolded and self._is_full()):
            self._urged.set()

    async def _load(self) -> None:
        """Read what the file holds: series, their newest values, and the segments that are not in pages yet."""
        if aside := await to_thread.run_sync(file.put_older_aside, self.path):
            logger.warning(
                "%s has a layout that this bers does not read; it is now %s, and a new one is built from the journal "
                "as far as that reaches",
                self.path,
                aside.name,
            )
        now = self._registry.now = self.context.clock.time()
        loaded = await load(self._database, self._losses, self._registry, now)
        self._unfolded, self._segment = loaded.unfolded, loaded.segment
        if loaded.upto:
            self._folder.begin(loaded.interrupted, loaded.upto)
        self._committed = self.context.clock.monotonic()

    async def _inspect(self) -> None:
        """Look through a file that is too large to be looked through when it is opened; if it is damaged, open anew."""
        if faults := await self._database.inspect():
            self._failure = faults[0]
            raise BersError(f"{self.path} is damaged, and is mended when it is opened again: {faults[0]}")

    async def _commit_regularly(self) -> None:
        while True:
            await self._sleep_or(self._filled, self.config.commit_every)
            self._filled = anyio.Event()
            data = self._pending or self._events
            if data or self.context.clock.monotonic() - self._committed >= END_ALONE:
                await self._attempt(self.commit)

    async def _fold_regularly(self) -> None:
        while True:
            await self._sleep_or(self._urged, self.config.fold_every)
            self._urged = anyio.Event()
            await self._attempt(self.fold)
            await self._attempt(self.compact)
            await self._attempt(self.sweep)

    async def _attempt(self, write: Callable[[], Awaitable[None]]) -> None:
        await self._unwritten.attempt(write, self._room.set)  # Who waits for room is told why there is none.

    async def _sleep_or(self, urged: anyio.Event, seconds: float) -> None:
        """Sleep; less if it is urgent."""
        async with anyio.create_task_group() as group:

            async def sleep() -> None:
                await self.context.clock.sleep(seconds)
                group.cancel_scope.cancel()

            group.start_soon(sleep)
            await urged.wait()
            group.cancel_scope.cancel()

    async def _commit(self, windows: Partials, events: Sequence[EventRow], ends: dict[tuple[str, int], int]) -> None:
        pace = Pace()
        packed = await segments.pack(windows, pace)
        saving: list[tuple[Series, tuple[Tier, ...], tuple[Any, ...]]] = []
        for series in self._registry.unsaved() if packed else ():
            saving.append((series, series.stamp, series_rows.row_of(series)))
            await pace()

        def work(connection: sqlite3.Connection) -> int:
            series_rows.save_series(connection, [row for _, _, row in saving])
            details.add(connection, events)
            running.add(connection, events)
            for (reader, partition), end in ends.items():
                self._positions.move(connection, reader, partition, end)
            return segments.add(connection, packed)

        segment = await self._database.run(work)
        self._committed_details(events)
        for (reader, partition), end in ends.items():
            self._positions.moved(reader, partition, end)
        for series, stamp, _ in saving:
            self._registry.saved(series, stamp)
        for n, series in enumerate(windows.series()):
            windows.move(series, self._unfolded)
            if not n % FEW:
                await pace()
        if packed:
            self._segment = segment
        self._make_room()

    def _committed_details(self, rows: Sequence[EventRow]) -> None:
        """Told which details of events were committed."""

    def _take_back(self, windows: Partials, events: list[EventRow]) -> None:
        """Undo the beginning of a commit."""
        for series in self._pending.series():
            self._pending.move(series, windows)
        self._pending, self._committing = windows, Partials()
        self._events = events + self._events
