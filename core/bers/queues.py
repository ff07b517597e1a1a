"""What waits for a sink that nobody waits for: bounded, and the oldest or the newest give way."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import anyio

from bers.courier import Courier
from bers.records import Batch

RECORD_BYTES = 500
"""About what a record takes in memory beside what it took on the bus."""


class _Waiting(NamedTuple):
    batch: Batch
    bytes: int
    since: float


class Queue:
    """The batches in front of one optional sink. At least one may wait, however large it is."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._delivery = courier.target.delivery
        self._edge = courier.edge
        self._waiting: deque[_Waiting] = deque()
        self._taken: _Waiting | None = None
        """What the courier has in hand."""
        self._news = anyio.Event()
        self._closed = False
        self.size = 0
        """How many records wait."""
        self.bytes = 0
        """About how many bytes they have."""

    def age(self, now: float) -> float:
        """Seconds, by the monotonic clock, since that came which waits longest, what is being delivered included."""
        oldest = self._taken or (self._waiting[0] if self._waiting else None)
        return max(0.0, now - oldest.since) if oldest else 0.0

    def offer(self, batch: Batch) -> None:
        """Let a batch wait. What goes for it is counted as dropped."""
        records = len(batch)
        if not records:
            return
        size = batch.size + records * RECORD_BYTES
        self._edge.taken += records
        self._edge.queued += records
        self._waiting.append(_Waiting(batch, size, self._courier.clock.monotonic()))
        self.size += records
        self.bytes += size
        while len(self._waiting) > 1 and (full := self._full()):
            one = self._waiting.pop() if self._delivery.when_full == "drop_newest" else self._waiting.popleft()
            self._drop(one, full)
        self._news.set()

    def close(self) -> None:
        """Say that no more comes: what waits is delivered, or given up after one attempt each."""
        self._closed = True
        self._courier.attempts.hurry()
        self._news.set()

    async def run(self) -> None:
        """Deliver what comes, until the queue is closed and empty."""
        try:
            while self._waiting or not self._closed:
                if not self._waiting:
                    await self._news.wait()
                    self._news = anyio.Event()
                    continue
                self._taken = self._waiting.popleft()
                self.size -= len(self._taken.batch)
                self.bytes -= self._taken.bytes
                await self._courier.deliver(self._taken.batch)
                self._taken = None
        finally:
            self._taken = None
            while self._waiting:
                self._drop(self._waiting.popleft(), "stopped")

    def _full(self) -> str:
        """Why something has to go; empty where nothing has."""
        if self.size > self._delivery.queue:
            return "full"
        return "full_bytes" if self.bytes > self._delivery.queue_bytes else ""

    def _drop(self, one: _Waiting, reason: str) -> None:
        self.size -= len(one.batch)
        self.bytes -= one.bytes
        self._edge.queued -= len(one.batch)
        self._edge.dropped[reason] += len(one.batch)
