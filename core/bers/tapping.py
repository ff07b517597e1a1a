"""Taps: what passes one place of the running pipelines, shown to somebody who looks, at no cost to what passes."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import Annotated, Any, NamedTuple

import anyio
import msgspec
from anyio.lowlevel import checkpoint
from msgspec import Meta

from bers.bus import Bus
from bers.clock import Clock
from bers.counters import Counters
from bers.errors import Conflict, Refused, unknown
from bers.filters import MAX_FILTER, Filter, FilterError, Record
from bers.operations import Outlet
from bers.patterns import TooMuchWork
from bers.records import Batch, Event, Window
from bers.redaction import redact

MAX_TAPS = 8
"""How many may look at the same time."""
MAX_WAITING = 10_000
"""How many records may wait for one who looks; what is more is skipped, and said."""
STALL = 30.0
"""Seconds that a client may take nothing before its tap is closed."""
SIGN_OF_LIFE = 5.0
"""Seconds after which a tap says how much it has seen, where there is nothing to show."""
TURN = 0.001
"""Seconds that a tap works before others have their turn."""
REST = 20
"""For how many times what a filter took in vain its tap lets others work."""

BUS = "bus"


class AskTap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody wants to look at."""

    pattern: Annotated[
        str,
        Meta(
            max_length=MAX_FILTER,
            description="Event types, comma-separated; `build.*` is all of a kind. For windows it is their metric. "
            "Empty: everything.",
        ),
    ] = ""
    where: Annotated[
        str,
        Meta(
            description="Conditions that must all hold, as in `outcome=failure and labels.branch~^main`: a field, one "
            "of = != > >= < <= ~ (matches) !~, and a value."
        ),
    ] = ""
    at: Annotated[
        str,
        Meta(
            description="Where to look: `bus`, what is taken in; PIPELINE, what it reads; PIPELINE/STAGE, what comes "
            "out of a processor, or what a sink was given."
        ),
    ] = BUS
    limit: Annotated[int, Meta(ge=0, description="After how many records to end; 0 is never.")] = 0
    every: Annotated[int, Meta(ge=1, description="Of so many records that are wanted, show one.")] = 1


class _Portion(NamedTuple):
    """What passed, and how much passed before it that nobody could look at."""

    records: Sequence[Record]
    skipped: int = 0


class Taps:
    """Everybody who looks. Each looks at their own pace; what passes never waits for them."""

    def __init__(self, bus: Bus, counters: Counters, clock: Clock) -> None:
        self._bus = bus
        self._counters = counters
        self._clock = clock
        self.open = 0
        """How many look at present."""

    async def tap(self, ask: AskTap, outlet: Outlet, places: Sequence[str]) -> None:
        """Show somebody what passes, one JSON object a line, until they leave or have seen enough.

        ``places`` are the edges that can be looked at besides the bus.
        """
        try:
            wanted = Filter(ask.where)
        except FilterError as exc:
            raise Refused("invalid", f"where: {exc}", details=[("where", str(exc))]) from exc
        if ask.at != BUS and ask.at not in places:
            fault = unknown("place", ask.at, [BUS, *places])
            raise Refused("not_found", f"at: {fault}", known=[BUS, *places])
        if self.open >= MAX_TAPS:
            raise Refused("unavailable", f"{self.open} taps are open, which is all there may be", hint="close one")
        self.open += 1
        heap = _Heap()
        taps = [] if ask.at == BUS else self._counters.edge(ask.at).taps
        taps.append(heap.add)  # Before the client is told that we look: what passes from then on, it is shown.
        try:
            _, end = await self._bus.span(0)
            await _View(ask, wanted, outlet, self._clock).show(
                self._from_bus(end) if ask.at == BUS else _from_heap(heap)
            )
        finally:
            taps.remove(heap.add)
            self.open -= 1

    async def _from_bus(self, at: int) -> AsyncGenerator[_Portion]:
        """What the bus takes from a position on. Whoever is far behind goes on at its end."""
        while True:
            try:
                async with aclosing(self._bus.read(0, after=at)) as batches:
                    async for batch in batches:
                        yield _Portion(batch.events)
                        at = batch.end
                        _, end = await self._bus.span(0)
                        if end - at > MAX_WAITING:
                            break
            except Conflict:
                pass  # What it would have read next is gone: nobody keeps it for one who only looks.
            _, end = await self._bus.span(0)
            yield _Portion((), end - at)
            at = end


class _Heap:
    """What was left for one who looks: bounded, and never waited for."""

    def __init__(self) -> None:
        self._batches: deque[Sequence[Record]] = deque()
        self._size = 0
        self._skipped = 0
        self._news = anyio.Event()

    def add(self, batch: Batch) -> None:
        size = len(batch)
        if self._size + size > MAX_WAITING:
            self._skipped += size
        elif size:
            # A window is a sink's to change once it has it.
            self._batches.append([*batch.events, *(window.copy() for window in batch.windows)])
            self._size += size
        else:
            return
        self._news.set()

    async def take(self) -> _Portion:
        await self._news.wait()
        self._news = anyio.Event()
        records = [record for records in self._batches for record in records]
        skipped, self._skipped, self._size = self._skipped, 0, 0
        self._batches.clear()
        return _Portion(records, skipped)


async def _from_heap(heap: _Heap) -> AsyncGenerator[_Portion]:
    while True:
        yield await heap.take()


class _View:
    """One who looks: what of that which passes is shown to them."""

    def __init__(self, ask: AskTap, wanted: Filter, outlet: Outlet, clock: Clock) -> None:
        self._ask = ask
        self._wanted = wanted
        self._patterns = [one.strip() for one in ask.pattern.split(",") if one.strip()]
        self._outlet = outlet
        self._clock = clock
        self._seen = self._matched = self._told = self._skipped = 0
        self._told_at = clock.monotonic()

    async def show(self, portions: AsyncGenerator[_Portion]) -> None:
        await self._send({"tap": msgspec.to_builtins(self._ask)})
        async with anyio.create_task_group() as group, aclosing(portions):
            group.start_soon(self._say_signs_of_life)
            async for portion in portions:
                if portion.skipped:
                    self._skipped += portion.skipped
                    await self._send({"skipped": portion.skipped, "reason": "more passed than could be shown"})
                if await self._is_enough(portion.records):
                    break
            group.cancel_scope.cancel()
        await self._send({"end": self._counts()})

    async def _is_enough(self, records: Sequence[Record]) -> bool:
        """Show what is wanted of these; whether that was all that is."""
        ready: list[bytes] = []
        hard = 0
        began = perf_counter()
        for record in records:
            self._seen += 1
            try:
                wanted = self._is_wanted(record)
            except TooMuchWork:
                wanted, hard = False, hard + 1
                await self._clock.sleep((perf_counter() - began) * REST)
                began = perf_counter()
            if wanted:
                ready.append(_line(record))
                self._told += 1
                if self._told == self._ask.limit:
                    break
            if perf_counter() - began > TURN:
                if ready:
                    await self._hand_over(b"".join(ready))
                    ready = []
                await checkpoint()
                began = perf_counter()
        if ready:
            await self._hand_over(b"".join(ready))
        if hard:
            self._skipped += hard
            await self._send({"skipped": hard, "reason": "the filter's patterns take too long over them"})
        return 0 < self._ask.limit <= self._told

    def _is_wanted(self, record: Record) -> bool:
        name = record.type if isinstance(record, Event) else record.metric
        if self._patterns and not any(_matches(name, one) for one in self._patterns):
            return False
        if not self._wanted.holds(record):
            return False
        self._matched += 1
        return self._matched % self._ask.every == 0

    def _counts(self) -> dict[str, int]:
        return {"seen": self._seen, "matched": self._matched, "shown": self._told, "skipped": self._skipped}

    async def _say_signs_of_life(self) -> None:
        """Without one, whoever left is not missed until something is to be shown."""
        while True:
            await self._clock.sleep(SIGN_OF_LIFE)
            if self._clock.monotonic() - self._told_at >= SIGN_OF_LIFE:
                await self._send({"still": self._counts()})

    async def _send(self, said: dict[str, Any]) -> None:
        await self._hand_over(msgspec.json.encode(said) + b"\n")

    async def _hand_over(self, lines: bytes) -> None:
        self._told_at = self._clock.monotonic()
        try:
            with anyio.fail_after(STALL):
                await self._outlet.send(lines)
        except TimeoutError:
            raise Refused("unavailable", f"a tap was closed: its client took nothing for {STALL:g} s") from None


def _matches(name: str, pattern: str) -> bool:
    return pattern in ("*", name) or (pattern.endswith("*") and name.startswith(pattern[:-1]))


def shown(record: Record) -> dict[str, Any]:
    """A record as plain values that anybody may read; what is said with a default is left out."""
    if isinstance(record, Event):
        masked: dict[str, Any] = redact(msgspec.to_builtins(record))
        return masked
    return _shown_window(record)


def _shown_window(window: Window) -> dict[str, Any]:
    labels: dict[str, str] = redact(dict(window.labels))
    figures = {name: getattr(window, name) for name in ("start", "width", "count", "sum", "min", "max", "last")}
    tiers = [{"width": tier.width, "keep": tier.keep} for tier in window.tiers]
    return {"metric": window.metric, "labels": labels, **figures, **({"tiers": tiers} if tiers else {})}


def _line(record: Record) -> bytes:
    kind = "event" if isinstance(record, Event) else "window"
    return msgspec.json.encode({kind: shown(record)}) + b"\n"
