"""Let those who read keep up with what comes in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio

from bers.bus import Bus
from bers.errors import Full

ROOM = 2_000
"""How many events a reader may be behind before others are waited with."""

GLANCE = 0.01
"""Seconds between two looks at where readers are."""

LOOKS = 100
"""How often they are looked at before it is asked who has moved since: one that stands still is not waited for."""

SECONDS = 10
"""How many times that is asked before what waits goes on, and how many seconds a large request waits for its turn."""

FAR = 20_000
"""How many events behind a reader is one that catches up with what was there long before: it is waited for once."""

FEW = 100
"""Up to so many events pass while larger numbers wait: an alert does not depend on how much others send."""

AT_A_TIME = 1_000
"""How many events of a request pass at a time: a reader has those before it that came just now."""

LINES = 2
"""How many large requests pass side by side, piece by piece; others wait until one of them is through."""


class Pace:
    """Holds back what comes while a reader is behind and moves; one that stands still is not waited for.

    Without it, what comes in would take the processor from those who evaluate it, and alerts would be late.
    """

    def __init__(self, bus: Bus, positions: Callable[[], Mapping[str, int]]) -> None:
        """``positions`` tells how far each reader is."""
        self._bus = bus
        self._positions = positions
        self._lines = anyio.Semaphore(LINES)
        self._coming = 0
        """How many events have passed and are not on the bus yet."""
        self._still: Mapping[str, int] = {}
        """Where readers stood that did not move all the while somebody waited for them."""

    @asynccontextmanager
    async def turn(self, count: int) -> AsyncGenerator[None]:
        """Wait until few enough requests of more than one piece pass; raise Full where that takes too long."""
        if count <= AT_A_TIME:
            yield
            return
        with anyio.move_on_after(SECONDS * LOOKS * GLANCE) as waiting:
            await self._lines.acquire()
        if waiting.cancelled_caught:
            raise Full("events come faster than they are evaluated")
        try:
            yield
        finally:
            self._lines.release()

    @asynccontextmanager
    async def passing(self, count: int) -> AsyncGenerator[None]:
        """Wait until nobody is far behind who moves, or for some seconds; then let so many events pass."""
        room = ROOM if count > FEW else 2 * ROOM
        began: Mapping[str, int] = {}
        for look in range(SECONDS * LOOKS):
            behind = await self._behind(room)
            if look and not look % LOOKS:
                self._still = _same(began, behind)
                _, end = await self._bus.span(0)
                behind = {name: at for name, at in behind.items() if name not in self._still and end - at <= FAR}
                began = behind
            began = began or behind
            if not behind:
                break
            await anyio.sleep(GLANCE)
        self._coming += count
        try:
            yield
        finally:
            self._coming -= count

    async def _behind(self, room: int) -> Mapping[str, int]:
        _, end = await self._bus.span(0)
        last = end + self._coming - room
        return {name: at for name, at in self._positions().items() if at < last and self._still.get(name) != at}


def _same(before: Mapping[str, int], after: Mapping[str, int]) -> Mapping[str, int]:
    """Where those are that did not move."""
    return {name: at for name, at in after.items() if before.get(name) == at}
