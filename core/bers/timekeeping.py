"""What looks after the clock: whether it was set, and whether nothing happened here for a while; and tells of it."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from bers.clock import Cause, Jump, SteadyClock

LOOK_EVERY = 1.0

STOPPED = 5.0
"""Seconds that a look may come too late before somebody must have stopped this process."""

FRESH = 300.0
"""For how many seconds health tells of a clock that was set."""

_log = logging.getLogger(__name__)


class Timekeeping:
    """Looks at the clock every second."""

    def __init__(self, clock: SteadyClock) -> None:
        self.clock = clock
        self.listeners: list[Callable[[Jump], Awaitable[None]]] = []
        """Who is told of every jump, in order."""
        self.jumps = Counter[Cause]()
        """How many there were since the start."""
        self.last: Jump | None = None
        self._step: tuple[float, Jump] | None = None
        """How the wall clock was set last, and when in seconds counted."""

    @property
    def trouble(self) -> str:
        """What of the clock somebody should look at: it was set lately; empty where it goes as it should."""
        if self._step is None:
            return ""
        at, jump = self._step
        return str(jump) if self.clock.elapsed() - at <= FRESH else ""

    @property
    def stepped(self) -> float:
        """By how many seconds the wall clock was set lately; 0 where it goes as it should."""
        return self._step[1].seconds if self._step and self.trouble else 0.0

    async def run(self) -> None:
        """Look for ever."""
        while True:
            began, cpu = self.clock.monotonic(), time.process_time()
            await self.clock.sleep(LOOK_EVERY)
            late = self.clock.monotonic() - began - LOOK_EVERY
            await self.look()
            # Who is kept waiting by code that does not await is busy meanwhile: the watchdog tells of that.
            if late > STOPPED and time.process_time() - cpu < late / 2:
                now = self.clock.time()
                await self._tell(Jump("stop", late, now - late, now))

    async def look(self) -> None:
        """Look once, and tell what was found."""
        self.clock.look()
        while self.clock.jumps:
            await self._tell(self.clock.jumps.pop(0))

    async def _tell(self, jump: Jump) -> None:
        self.jumps[jump.cause] += 1
        self.last = jump
        if jump.cause == "step":
            self._step = self.clock.elapsed(), jump
        _log.warning("%s", jump)
        for told in self.listeners:
            await told(jump)
