"""Let those who read keep up with what comes in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio

from bers.bus import Bus

ROOM = 2_000
"""How many events a reader may be behind before others are waited with."""

GLANCE = 0.01
"""Seconds between two looks at where readers are."""

LOOKS = 100
"""How often they are looked at before what waits goes on."""


class Pace:
    """Holds back what comes while a reader is behind and moves; one that stands still is not waited for.

    Without it, what comes in would take the processor from those who evaluate it, and alerts would be late.
    """

    def __init__(self, bus: Bus, positions: Callable[[], Mapping[str, int]]) -> None:
        """``positions`` tells how far each reader is."""
        self._bus = bus
        self._positions = positions
        self._coming = 0
        """How many events have passed and are not on the bus yet."""
        self._still: Mapping[str, int] = {}
        """Where readers stood that did not move all the while somebody waited for them."""

    @asynccontextmanager
    async def passing(self, count: int) -> AsyncGenerator[None]:
        """Wait until nobody is far behind who moves, or for a second; then let so many events pass."""
        began: Mapping[str, int] = {}
        for look in range(LOOKS):
            behind = await self._behind()
            began = began or behind
            if not behind:
                break
            if look == LOOKS - 1:
                self._still = {name: at for name, at in behind.items() if began.get(name) == at}
            await anyio.sleep(GLANCE)
        self._coming += count
        try:
            yield
        finally:
            self._coming -= count

    async def _behind(self) -> Mapping[str, int]:
        _, end = await self._bus.span(0)
        last = end + self._coming - ROOM
        return {name: at for name, at in self._positions().items() if at < last and self._still.get(name) != at}
