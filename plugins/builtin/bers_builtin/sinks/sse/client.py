"""One client of the stream: what waits for it, and what it has missed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

import anyio

from bers import Clock, Outlet
from bers_builtin.sinks.sse.frames import ENCODED, Format, Frame, Portion

_CHUNK = 64 * 1024


@dataclass
class Tally:
    """What came of clients that were slow, all together."""

    skipped: int = 0
    """Frames that gave way because their client did not read."""
    ended: int = 0
    """Clients that were sent away because they took nothing."""


class Client:
    """A bounded queue in front of one outlet. A state that waits is replaced; of the rest the oldest goes first.

    Whoever keeps up is handed what is told on the spot; the queue, and the task behind it, are for those that do not.
    """

    def __init__(
        self, outlet: Outlet, clock: Clock, tally: Tally, *, format: Format, capacity: int, since: int
    ) -> None:
        """``since`` is the position that broadcasts begin after, for this client."""
        self.since = since
        self.scope = anyio.CancelScope()
        """Cancelled, the client is sent away."""
        self.told_at = clock.monotonic()
        """When something was put on its way to this client last."""
        self._outlet = outlet
        self._clock = clock
        self._format: Format = format
        self._capacity = capacity
        self._tally = tally
        self._waiting: dict[str | int, Frame] = {}
        self._numbers = count()
        self._news = anyio.Event()
        self._missed = 0
        self._missed_to = 0
        self._busy_since: float | None = None

    def offer(self, portion: Portion) -> None:
        """Hand over frames, or put them into the queue; never waits."""
        self.told_at = self._clock.monotonic()
        if self._keeps_up:
            data = portion.joined(self._format)
            if len(data) <= _CHUNK and self._outlet.offer(data):
                return
        for frame in portion.frames:
            if frame.slot:
                self._waiting.pop(frame.slot, None)  # The newer state stands behind what happened before it.
            self._waiting[frame.slot or next(self._numbers)] = frame
            if len(self._waiting) > self._capacity:
                self._drop()
        self._news.set()

    @property
    def _keeps_up(self) -> bool:
        """Whether nothing waits, and nothing is being sent."""
        return not self._waiting and self._busy_since is None

    def stuck(self) -> float:
        """For how many seconds the client has not taken what was sent."""
        return 0.0 if self._busy_since is None else self._clock.monotonic() - self._busy_since

    async def send(self, frames: Iterable[Frame]) -> None:
        """Hand frames over at the pace of the client."""
        encoded = ENCODED[self._format]
        chunk: list[bytes] = []
        size = 0
        for frame in frames:
            data = encoded(frame)
            chunk.append(data)
            size += len(data)
            if size >= _CHUNK:
                await self._deliver(b"".join(chunk))
                chunk, size = [], 0
        if chunk:
            await self._deliver(b"".join(chunk))

    async def run(self) -> None:
        """Send what waits, until cancelled."""
        while True:
            if not self._waiting:
                await self._news.wait()
            self._news = anyio.Event()
            frames = list(self._waiting.values())
            self._waiting.clear()
            if self._missed:
                missed, self._missed = {"dropped": self._missed, "reason": "the client is slow"}, 0
                frames.append(Frame(self._missed_to, "gap", missed))
                frames.sort(key=lambda frame: frame.position)
            await self.send(frames)

    async def _deliver(self, data: bytes) -> None:
        self._busy_since = self._clock.monotonic()
        try:
            await self._outlet.send(data)
        finally:
            self._busy_since = None

    def _drop(self) -> None:
        oldest = next((key for key in self._waiting if isinstance(key, int)), next(iter(self._waiting)))
        frame = self._waiting.pop(oldest)
        self._missed += 1
        self._tally.skipped += 1
        self._missed_to = max(self._missed_to, frame.position)
