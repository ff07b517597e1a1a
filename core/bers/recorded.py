"""What the journal still holds, by time: for whoever wants to know what would have been."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Protocol

from anyio import to_thread
from anyio.lowlevel import checkpoint

from bers.bus import Bus
from bers.claims import Answers
from bers.errors import Conflict
from bers.inspection import events_of
from bers.records import Event
from bers.segments import segment_files

_SLICE = 500
"""How many events are looked at before others have their turn."""


class Recorded(Protocol):
    """Events that were taken in, in their order, as far as somebody still has them."""

    async def begin(self) -> float | None:
        """When the oldest of them was taken in, in seconds since 1970; nothing where there is none."""
        ...

    def read(self, since: float, until: float) -> AsyncGenerator[Sequence[Event]]:
        """Those that were taken in from one time until before another, as many at a time as is quick."""
        ...


class NothingRecorded(Recorded):
    """A journal that holds nothing, for a stage without a node."""

    async def begin(self) -> float | None:
        return None

    async def read(self, since: float, until: float) -> AsyncGenerator[Sequence[Event]]:
        nothing: Sequence[Sequence[Event]] = ()
        for events in nothing:
            yield events


class OnBus(Recorded):
    """What a node's bus still holds of what one stage reads."""

    def __init__(self, bus: Bus, wants: Callable[[], Callable[[str], bool]]) -> None:
        """``wants`` says, whenever it is read, which types of events the stage is given."""
        self._bus = bus
        self._wants = wants

    async def begin(self) -> float | None:
        oldest, end = await self._bus.span(0)
        return await self._received(oldest, end)

    async def read(self, since: float, until: float) -> AsyncGenerator[Sequence[Event]]:
        oldest, end = await self._bus.span(0)
        after, wanted = await self._find(oldest, end, since), Answers(self._wants())
        if after >= end:
            return
        with suppress(Conflict):  # It was given up meanwhile.
            async with aclosing(self._bus.read(0, after=after, cuts=[end])) as batches:
                async for batch in batches:
                    for first in range(0, len(batch.events), _SLICE):
                        events = batch.events[first : first + _SLICE]
                        if events[0].received >= until:
                            return
                        yield [one for one in events if since <= one.received < until and wanted[one.type]]
                        await checkpoint()
                    if batch.end >= end:
                        return

    async def _find(self, low: int, high: int, since: float) -> int:
        """A position before the first event that was taken in at a time or later, and not far before."""
        end = high
        while high - low > _SLICE:
            middle = (low + high) // 2
            received = await self._received(middle, end)
            low, high = (middle, high) if received is not None and received < since else (low, middle)
        return low

    async def _received(self, after: int, end: int) -> float | None:
        """When the first event behind a position was taken in."""
        if after >= end:
            return None
        with suppress(Conflict):
            async with aclosing(self._bus.read(0, after=after, cuts=[end])) as batches:
                async for batch in batches:
                    if batch.events:
                        return batch.events[0].received
                    if batch.end >= end:
                        break
        return None


class OnDisk(Recorded):
    """What the files of a journal hold, beside a node or without one; nothing is changed."""

    def __init__(self, folder: Path, wants: Callable[[str], bool]) -> None:
        self._folder = folder
        self._wants = wants

    async def begin(self) -> float | None:
        for path in await to_thread.run_sync(segment_files, self._folder):
            with suppress(FileNotFoundError):
                for _, event in events_of(path):
                    return event.received
        return None

    async def read(self, since: float, until: float) -> AsyncGenerator[Sequence[Event]]:
        wanted = Answers(self._wants)
        for path in await to_thread.run_sync(segment_files, self._folder):
            piece: list[Event] = []
            with suppress(FileNotFoundError):  # A server that runs has given it up meanwhile.
                for _, event in events_of(path):
                    if since <= event.received < until and wanted[event.type]:
                        piece.append(event)
                    if len(piece) == _SLICE:
                        yield piece
                        piece = []
            yield piece
