"""The bus of one machine: a journal, and the newest events in memory."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal, Self, TypeAlias

import anyio
import msgspec
from anyio import AsyncContextManagerMixin

from bers import disk
from bers.errors import Full
from bers.frames import Frame
from bers.journal import Journal
from bers.records import Batch, Event, weigh
from bers.tail import Piece, Tail

MAX_EVENTS = 1_000
"""Frames are joined to batches of about so many events."""

SEGMENT_SHARE = 32
"""At most this part of a disk is one segment: they are given up as a whole."""

READ_BYTES = 256 << 10
"""How many bytes of the journal are read at a time: some thousand events."""

MAX_FRAME = 1 << 20
"""Bytes beyond which a frame is parted: who reads a frame has all of it in memory."""

MOST_GAPS = 100
"""How many gaps in a damaged journal are remembered."""

RETRY_EVERY = 1.0
"""Seconds between two attempts to write again, when the journal could not be written."""

WhenFull: TypeAlias = Literal["refuse", "drop_oldest"]

_log = logging.getLogger(__name__)


class Log(AsyncContextManagerMixin):
    """A :class:`~bers.bus.Bus` of one partition. Without a folder it lasts as long as its process."""

    partitions = 1

    def __init__(
        self,
        folder: Path | None = None,
        *,
        begin: int = 0,
        max_bytes: int = 512 << 20,
        when_full: WhenFull = "refuse",
        tail_bytes: int = 8 << 20,
        segment_bytes: int = 16 << 20,
        patience: float = 0.1,
        min_free: int = 0,
        on_drop: Callable[[int, int], None] = lambda start, end: None,
    ) -> None:
        """``begin`` is the position before which nothing is appended; ``max_bytes`` is what the journal may take.

        ``tail_bytes`` is about what the newest events may take in memory: who keeps up reads them there.

        ``patience`` is how many seconds events that need not be durable wait for some that need to be.

        ``min_free`` is what is left free of the disk at least, or of a small one a small part: who would take of that
        is refused, as if the disk were full. ``on_drop`` is told from which position to which events were dropped that
        somebody may not have read.
        """
        self._folder = folder
        self._begin = begin
        self._max_bytes = max_bytes
        self._when_full: WhenFull = when_full
        self._tail_bytes = tail_bytes
        self._most_of_a_segment = segment_bytes
        self._patience = patience
        self._min_free = min_free
        self._on_drop = on_drop
        self._journal: Journal | None = None
        self._pending: deque[Piece] = deque()
        self._repair = anyio.Lock()
        self.gaps: list[tuple[int, int]] = []
        """What readers missed because the journal is damaged, from one position to another; the newest."""
        self.dropped = 0
        """How many events were given up before their time, to make room."""
        self._oldest = (-1, 0.0)
        """Where the segment begins that is written to, and when its first event was received, once that is known."""
        self.fault = ""
        """Why the journal cannot be written, while it cannot."""
        self._tail = Tail(begin)
        self._news = anyio.Event()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[Event]).decode

    @property
    def held(self) -> int:
        """About how many bytes the newest events take in memory."""
        return self._tail.size + sum(piece.size for piece in self._pending)

    @property
    def fill(self) -> float:
        """How much of its quota the journal has used, from 0 to 1."""
        return min(1.0, (self._journal.size if self._journal else self._tail.size) / self._max_bytes)

    @property
    def size(self) -> int:
        """How many bytes the files have."""
        return self._journal.size if self._journal else 0

    def limit(self, max_bytes: int, when_full: WhenFull, min_free: int = 0) -> None:
        """Hold to another quota from now on, or to the same in another way."""
        self._max_bytes, self._when_full, self._min_free = max_bytes, when_full, min_free
        if self._journal and self._folder:
            self._journal.min_free = min_free
            self._journal.segment_bytes = self._segment_bytes(self._folder)

    def _segment_bytes(self, folder: Path) -> int:
        """How large a segment becomes. Whole ones are trimmed: of a small quota, each may be a part only."""
        size = min(self._most_of_a_segment, max(1, self._max_bytes // 8))
        return min(size, disk.room(folder).total // SEGMENT_SHARE or size)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if self._folder is None:
            yield self
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(
            self._folder,
            begin=self._begin,
            segment_bytes=self._segment_bytes(self._folder),
            min_free=self._min_free,
            on_loss=self._save_pending,
            give_way=self._give_way,
        )
        self._tail.end = self._journal.end
        try:
            await self._bridge(self._journal)
            async with anyio.create_task_group() as group:
                group.start_soon(self._sync_regularly)
                yield self
                group.cancel_scope.cancel()
            with anyio.CancelScope(shield=True), suppress(OSError):  # Nobody waits for what is left, and it is said.
                if not self.fault:
                    await self._sync()
        finally:
            self._journal.close()

    async def append(self, partition: int, events: Sequence[Event], *, durable: bool = True) -> int:
        if self.fault and durable:
            await self._mend()
        start = at = self._pending[-1].end if self._pending else self._tail.end
        end = start + len(events)
        if events:
            self._make_room()
            for seq, event in enumerate(events, start + 1):
                msgspec.structs.force_setattr(event, "seq", seq)
            for some, body in list(self._parts(events)):  # All or nothing: one that cannot be encoded raises here.
                self._pending.append(Piece(at, at + len(some), some, weigh(some, len(body)), durable))
                if self._journal and not self.fault:
                    self._journal.add(Frame(at, at + len(some), body))
                at += len(some)
        if self.fault:  # Memory has it, and nobody else, for as long as memory does.
            self._publish_pending()
        elif durable or not self._journal:
            await self._sync()
        return end

    async def read(self, partition: int, *, after: int, cuts: Collection[int] = ()) -> AsyncGenerator[Batch]:
        stops = sorted(cuts)
        while True:
            while after >= self._tail.end:
                await self._news.wait()
            stop = next((stop for stop in stops if stop > after), self._tail.end)
            events, after, size = await self._take(after, stop)
            yield Batch(events, partition=partition, end=after, size=size)

    async def span(self, partition: int) -> tuple[int, int]:
        return (self._journal.start if self._journal else self._tail.start), self._tail.end

    async def trim(self, partition: int, before: int) -> None:
        if self._journal:
            if self.fill >= 1 and before >= self._journal.end and not self.fault:
                # It may be the segment that is written to which fills it, as where the quota was lowered.
                with suppress(OSError):  # The disk is full as well: what can be deleted without is deleted.
                    await self._journal.roll()
            self._journal.trim(before)
        else:
            self._tail.forget(lambda piece: piece.end <= before)

    async def part(self, before: float) -> None:
        """Go on in another segment where this one has events that were received before a time, in seconds since 1970.

        Segments are given up as a whole: in a quiet node one would keep what it has for months.
        """
        journal = self._journal
        if journal is None or self.fault:
            return
        if self._oldest[0] != journal.active or not self._oldest[1]:
            self._oldest = journal.active, await self._received(journal, journal.active)
        if 0 < self._oldest[1] < before:
            await journal.roll()

    async def _received(self, journal: Journal, after: int) -> float:
        """When the first event was received that lies behind a position; 0 where there is none."""
        while after < journal.end:
            frames = await journal.read(after, max_bytes=1)
            if not frames:
                break
            if events := self._decode(frames[0].body):
                return events[0].received
            after = frames[0].end  # It leads over a gap.
        return 0.0

    async def _bridge(self, journal: Journal) -> None:
        """Go on where the databases beside us are, if they have seen more than the journal holds.

        That is so where a backup copied the journal first. What they have seen is in them; a frame without events
        leads over the gap, for the readers that are not there yet.
        """
        if journal.end < self._begin:
            self.gaps = [(journal.end, self._begin)]
            _log.error(
                "the journal ends at position %d and databases beside it have seen %d: going on from there; readers "
                "that were behind miss what lay between",
                journal.end,
                self._begin,
            )
            journal.add(Frame(journal.end, self._begin, self._encode([])))
            try:
                await journal.sync()
            except OSError as exc:  # A gap like any that memory alone knows: it is led over when there is room.
                self._fail(exc)
            self._tail.end = self._begin

    def _parts(self, events: Sequence[Event]) -> Iterator[tuple[Sequence[Event], bytes]]:
        """Frames of a size that readers can have in memory; a torn write never parts what follows from one event."""
        if len(events) > MAX_EVENTS and (middle := _middle(events)):
            yield from self._parts(events[:middle])
            yield from self._parts(events[middle:])
            return
        body = self._encode(events) if self._journal else b""
        if len(body) > MAX_FRAME and len(events) > 1 and (middle := _middle(events)):
            yield from self._parts(events[:middle])
            yield from self._parts(events[middle:])
        else:
            yield events, body

    def _make_room(self) -> None:
        """Hold to the quota: refuse, or give up the oldest."""
        journal = self._journal
        if journal is None:
            if self._tail.size >= self._max_bytes and self._when_full == "refuse":
                raise Full(f"the bus has reached its {self._max_bytes:d} bytes of memory", retry_after=5)
            self._tail.forget(lambda _: self._tail.size >= self._max_bytes)
            return
        while journal.size >= self._max_bytes:
            if self._when_full == "refuse":
                raise Full(f"the journal has reached its {self._max_bytes:d} bytes", retry_after=5)
            if not self._drop_oldest(journal, "the journal is full"):
                return

    def _drop_oldest(self, journal: Journal, why: str) -> bool:
        """Give up the oldest segment; False where that cannot be."""
        start = journal.start
        if not journal.drop_oldest():
            return False
        _log.warning("%s: events from position %d to %d were dropped", why, start, journal.start)
        self.dropped += journal.start - start
        self._on_drop(start, journal.start)
        return True

    def _give_way(self) -> bool:
        """The disk is full: make room for what comes, where the oldest are to go for that."""
        if self._when_full != "drop_oldest" or not self._journal:
            return False
        try:
            return self._drop_oldest(self._journal, "the disk is full")
        except OSError:
            return False

    async def _sync(self) -> None:
        if self._journal:
            try:
                await self._journal.sync()
            except OSError as exc:
                self._fail(exc)
                raise
        while self._pending and (not self._journal or self._pending[0].end <= self._journal.end):
            self._publish(self._pending.popleft())

    def _fail(self, error: OSError) -> None:
        """Note why it cannot be written: what the disk did rather than what followed from that."""
        self.fault = disk.disk_fault(error) or self.fault or str(error)

    def _save_pending(self) -> None:
        """Keep in memory what nobody waits for, when it cannot be written; the others are told that it cannot."""
        if not self.fault:
            self.fault = "it cannot be written"
            _log.error("the journal cannot be written: our own figures are kept in memory alone, all else is refused")
        kept = [piece for piece in self._pending if not piece.durable]
        self._pending.clear()
        for piece in kept:
            for seq, event in enumerate(piece.events, self._tail.end + 1):
                msgspec.structs.force_setattr(event, "seq", seq)
            self._publish(piece._replace(start=self._tail.end, end=self._tail.end + len(piece.events)))

    async def _mend(self) -> None:
        """Go on writing, behind what memory alone had; raise OSError where it still cannot be written."""
        async with self._repair:
            journal = self._journal
            while self.fault and journal:
                try:
                    if journal.end == self._tail.end:
                        await journal.probe()
                        if journal.end < self._tail.end:  # Meanwhile memory was given more.
                            continue
                        self.fault = ""
                        _log.warning("the journal is written again, from position %d on", self._tail.end)
                        return
                    journal.add(Frame(journal.end, self._tail.end, self._encode([])))
                    await journal.sync()
                except OSError as exc:
                    self._fail(exc)
                    raise

    async def _sync_regularly(self) -> None:
        while True:
            await anyio.sleep(RETRY_EVERY if self.fault else self._patience)
            with suppress(OSError):  # It has been said.
                await (self._mend() if self.fault else self._sync())

    def _publish_pending(self) -> None:
        while self._pending:
            self._publish(self._pending.popleft())

    def _publish(self, piece: Piece) -> None:
        self._tail.add(piece)
        if self._journal:  # Without one, what memory forgets is gone: that is for trim to say.
            self._tail.forget(lambda _: self._tail.size > self._tail_bytes)
        self._news.set()
        self._news = anyio.Event()

    async def _take(self, after: int, stop: int) -> tuple[Sequence[Event], int, int]:
        oldest, _ = await self.span(0)
        if after < oldest:
            if self._when_full != "drop_oldest":  # Then nobody dropped it: it is gone with the files it was in.
                self._miss(after, oldest)
            return [], min(oldest, stop), 0
        if self._journal and after < self._tail.start:
            if after >= self._journal.end:  # Memory alone had it, and has it no more.
                return [], min(self._tail.start, stop), 0
            frames = await self._journal.read(after, max_bytes=READ_BYTES)
            pieces = [Piece(start, end, self._decode(body), len(body)) for start, end, body in frames]
        else:
            pieces = self._tail.after(after)
        if not pieces or after < pieces[0].start:
            next = pieces[0].start if pieces else self._tail.start
            self._miss(after, next)
            return [], min(next, stop), 0
        at, size, events = after, 0, list[Event]()
        for piece in pieces:
            if at == stop or len(events) >= MAX_EVENTS or at < piece.start:
                break
            if at < piece.end:
                events += piece.events[at - piece.start : stop - piece.start]
                at = min(piece.end, stop)
                size += piece.size
        return events, at, size

    def _miss(self, after: int, next: int) -> None:
        _log.error("the journal is damaged: a reader misses what lay between positions %d and %d", after, next)
        if (after, next) not in self.gaps:
            self.gaps = [*self.gaps, (after, next)][-MOST_GAPS:]


def _middle(events: Sequence[Event]) -> int:
    """Where to part events: near the middle, and never between one and those that follow from it; 0 for nowhere."""
    for at in range(len(events) // 2, 0, -1):
        if not events[at].cause:
            return at
    return 0
