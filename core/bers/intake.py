"""The one way in: drop repeats, let the owning source read, append, answer."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

import anyio
import msgspec
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

from bers import disk, snapshots
from bers.bus import Bus
from bers.claims import Owners
from bers.clock import Clock, SystemClock
from bers.counters import Counters
from bers.errors import Full
from bers.metering import Cost, metered
from bers.receivers import Receivers, Rehearsal
from bers.records import Event
from bers.redaction import Redactor
from bers.repeats import Repeats
from bers.series import Series
from bers.stages import Receiver

SLICE = 97
"""How many events are handled before others have their turn. The reading of one of them is timed, and stands for all:
the number is a prime, because what is handed in repeats itself."""

FIRST, QUICK = 8, 0.002
"""How many events are masked at first, and within how many seconds for more at once: some have much data."""

AT_ONCE = 4_000
"""How many of the events that sources remember are looked at before others have their turn."""

GROUP = 10_000
"""How many events are taken together: those who wait behind them have their turn next."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Receipt:
    """The answer to an emitter: how many events were new, and how many were there already."""

    new: int
    repeated: int


@dataclass
class _Submission:
    events: Sequence[Event]
    durable: bool
    own: bool = False
    fresh: list[Event] = field(default_factory=list[Event])
    answer: Receipt | Exception | None = None


class Intake:
    """Takes events for one partition. Those who wait are taken together: one frame, one sync, one answer to each."""

    def __init__(
        self,
        bus: Bus,
        owners: Owners | None = None,
        receivers: Mapping[str, Receiver] | None = None,
        *,
        partition: int = 0,
        clock: Clock | None = None,
        counters: Counters | None = None,
        series: Series | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        """``receivers`` has the sources that read the events they own, by key; others may come and go."""
        self._bus = bus
        self._partition = partition
        self._clock = clock or SystemClock()
        self._counters = counters or Counters()
        self._redactor = redactor or Redactor()
        self._repeats = Repeats()
        self._waiting: deque[_Submission] = deque()
        self.receivers = Receivers(owners or Owners({}), receivers or {}, self._counters)
        """The sources that read, and what they remember."""
        self.series = series or Series({})
        """How many series labels make."""
        self._turn = anyio.Lock()
        self._closed = False
        self._door = self._counters.edge("intake")
        self._handled = 0
        """How many events were looked at, so that small submissions have their share of what is timed."""
        self.refused: Counter[str] = Counter()
        """Requests that were refused at a door, by reason."""

    @asynccontextmanager
    async def between(self) -> AsyncGenerator[None]:
        """Wait until no frame is in the making, and let none begin before the block is left."""
        async with self._turn:
            yield

    async def close(self) -> None:
        """Refuse, from now on, what comes from outside; return when no frame is in the making.

        Called before sources stop: an event that they do not read any more must not be acknowledged, because it would
        never be measured.
        """
        self._closed = True
        async with self._turn:
            pass

    async def submit(
        self, events: Sequence[Event], *, durable: bool = True, clean: bool = False, own: bool = False
    ) -> Receipt:
        """Return when the events, and the originals of the repeats among them, survive ``kill -9``.

        Raise Full if the bus does not take them: nothing is remembered then. Cancelled, they may or may not be in;
        handing them in again is right in every case. The events are the intake's from here on. ``clean`` says that
        the redactor found the bytes clean that they were decoded from; ``own`` that they come from this node itself.
        """
        began = perf_counter()
        # Before anything else: repeats, and what waits for its other half, know events as they are kept.
        mine = _Submission(await metered(self._mask(events, clean), self._door), durable, own)
        self._waiting.append(mine)
        async with self._turn:
            while mine.answer is None:
                group = self._next_group()
                with anyio.CancelScope(shield=True):  # Half an append cannot be undone.
                    await self._charged(group)
        self._door.took(began)
        if isinstance(mine.answer, Exception):
            raise mine.answer
        return mine.answer

    def rehearse(self, events: Sequence[Event]) -> list[Rehearsal]:
        """Let sources read events that are not taken, one after the other, and make it not have happened.

        Nobody else has a turn meanwhile, because they would see what was undone: hand in few.
        """
        now = self._clock.time()
        fresh = [msgspec.structs.replace(event, received=now, cause="") for event in events]
        return self.receivers.rehearse(fresh, self._repeats.knows)

    async def snapshot(self) -> tuple[int, bytearray]:
        """A position of the bus, and what is remembered there, for :meth:`recover`."""
        async with self._turn:
            position = await self._bus.append(self._partition, (), durable=True)
            repeats = msgspec.msgpack.encode(self._repeats.dump())
            tables = self.receivers.dump()
            series = self.series.dump()
        return position, await snapshots.written(position, repeats, tables, series)

    async def recover(self, snapshot: bytes | bytearray | None = None) -> None:
        """Learn again what was there, from a snapshot and from the bus: call it once, before the first submit."""
        at, end = await self._bus.span(self._partition)
        known = snapshots.decoded(snapshot)
        if known and known.position > end:
            _log.error(
                "the journal ends at position %d, and reached %d at least: events between are lost", end, known.position
            )
        if known and known.position <= end:
            self._repeats.load(known.repeats)
            self.series.load(known.series)
            self.receivers.load(known.tables)
            at = max(at, known.position)  # The journal of a copy may begin behind it.
        if at == end:
            return
        async with aclosing(self._bus.read(self._partition, after=at, cuts=[end])) as batches:
            async for batch in batches:
                for event in batch.events:
                    self.series.guard(event)
                    if not event.cause and self._repeats.add(event):
                        self.receivers.receive(self.receivers.owners.of(event.type), event)
                self.receivers.rest()
                if batch.end == end:
                    break
        self.receivers.keep()
        self.receivers.unmapped.clear()

    async def expire(self, seconds: float) -> None:
        """Let sources forget what has waited for longer than that; not while an append may still have to be undone."""
        for table, keys in self.receivers.slices(AT_ONCE):
            async with self._turn:
                table.expire(self._clock.settled() - seconds, keys)
                table.keep()

    def _next_group(self) -> Sequence[_Submission]:
        group = [self._waiting.popleft()]
        size = len(group[0].events)
        while self._waiting and size + len(self._waiting[0].events) <= GROUP:
            group.append(self._waiting.popleft())
            size += len(group[-1].events)
        return group

    async def _mask(self, events: Sequence[Event], clean: bool) -> Sequence[Event]:
        masked: list[Event] = []
        most, step, start = (2 * SLICE if clean else SLICE), FIRST, 0  # To look at names alone is quick.
        while start < len(events):
            if start:
                await checkpoint()
            began = perf_counter()
            masked += self._redactor.events(events[start : start + step], clean=clean)
            start += step
            step = min(most, 4 * step) if perf_counter() - began < QUICK else max(1, step // 4)
        return masked

    async def _charged(self, group: Sequence[_Submission]) -> None:
        """Take submissions, and be charged with it; with what sources read, they are."""
        cost = Cost()
        await metered(self._admit(group), cost)
        self._door.cpu += cost.cpu - self.receivers.charged(cost.cpu)

    async def _admit(self, group: Sequence[_Submission]) -> None:
        """Take submissions together, and give each its answer; what cannot be kept is as if it had never come."""
        if self._closed:
            self._refuse([one for one in group if not one.own], Full("this node is stopping", broken=True))
            group = [one for one in group if one.own]
        passed = Counter[str]()
        made = Counter[str]()
        try:
            records = await self._read(group, passed, made)
            await self._bus.append(self._partition, records, durable=any(one.durable for one in group))
        except Exception as exc:
            self.receivers.undo()
            self._repeats.forget([event for one in group for event in one.fresh])
            for one in group:
                one.fresh = []
            if not isinstance(exc, (Full, OSError)) and len(group) > 1:
                for one in group:  # One of them cannot be kept at all: the others shall not suffer for it.
                    await self._admit([one])
                return
            if isinstance(exc, OSError) and 0 < sum(one.durable for one in group) < len(group):
                await self._admit([one for one in group if not one.durable])  # Memory takes them, if no file does.
                group = [one for one in group if one.durable]
            refusal = (
                Full(f"the bus takes no events: {disk.disk_fault(exc) or exc}", broken=True)
                if isinstance(exc, OSError)
                else exc
            )
            self._refuse(group, refusal)
        else:
            self.receivers.keep()
            for owner, count in passed.items():
                edge = self._counters.edge(f"source/{owner}")
                edge.taken += count
                edge.made += made[owner]
                edge.out += count + made[owner]
            for one in group:
                self._door.taken += len(one.events)
                self._door.out += len(one.fresh)
                self._door.filtered += len(one.events) - len(one.fresh)
                one.answer = Receipt(len(one.fresh), len(one.events) - len(one.fresh))

    def _refuse(self, group: Sequence[_Submission], refusal: Exception) -> None:
        for one in group:
            self._door.taken += len(one.events)
            self._door.dropped["refused"] += len(one.events)
            one.answer = refusal

    async def _read(self, group: Sequence[_Submission], passed: Counter[str], made: Counter[str]) -> list[Event]:
        """Drop repeats, and let sources read what is new; return what is to be appended."""
        receivers, now, add, handled = self.receivers, self._clock.time(), self._repeats.add, self._handled
        own, timed = receivers.owners.of, partial(receivers.timed, SLICE)
        plain: Callable[[str, Event], Sequence[Event]] = receivers.receive
        receive = plain
        stamp = msgspec.structs.force_setattr
        guard = self.series.guard
        records: list[Event] = []
        for one in group:
            fresh = one.fresh
            for event in one.events:
                handled += 1
                if not handled % SLICE:
                    receivers.rest()
                    await cancel_shielded_checkpoint()
                    receive = timed
                if not add(event):
                    continue
                fresh.append(event)
                stamp(event, "received", now)
                if event.cause:  # Only sources may name one, and recovery tells the two apart by it.
                    stamp(event, "cause", "")
                owner = own(event.type)
                out = receive(owner, event)
                if receive is not plain:
                    receive = plain
                passed[owner] += 1
                records.append(guard(out[0]))
                if len(out) > 1:
                    made[owner] += len(out) - 1
                    records += map(guard, out[1:])
        receivers.rest()
        self._handled = handled
        return records
