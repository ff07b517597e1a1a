"""A clock that stands still until it is told to go on."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

import anyio
from anyio.lowlevel import checkpoint

from bers.clock import Clock


class VirtualClock(Clock):
    """A :class:`bers.Clock` for tests. Wall and monotonic time go on together, unless :meth:`step` sets the wall."""

    def __init__(self, start: float = 1_700_000_000.0, *, boot: str = "") -> None:
        self._wall = start
        self._boot = boot
        self._now = self._slept = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, anyio.Event]] = []

    def time(self) -> float:
        return self._wall + self._now + self._slept

    def monotonic(self) -> float:
        return self._now

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or a time server would."""
        self._wall += seconds

    def elapsed(self) -> float:
        return self._now + self._slept

    @property
    def boot(self) -> str:
        return self._boot

    async def suspend(self, seconds: float, *, machine: bool = False) -> None:
        """Let time pass in which this process does nothing; or the whole machine, and its monotonic clock, sleeps."""
        if machine:
            self._slept += seconds
        else:
            self._now += seconds
        await self.advance(0.0)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await checkpoint()
            return
        woken = anyio.Event()
        heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken.wait()

    async def advance(self, seconds: float) -> None:
        """Let time pass: wake whoever slept, each at their time, and let all tasks do what they then do."""
        end = self._now + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, woken = heappop(self._sleepers)
            self._now = max(self._now, due)
            woken.set()
            await _settle()
        self._now = end
        await _settle()


async def _settle() -> None:
    """Let every task do what it can. Turns first: waiting for all to be blocked costs 0.1 s where one is not yet."""
    for _ in range(20):
        await checkpoint()
    await anyio.wait_all_tasks_blocked()
