"""When a source looks again: after its interval, or as soon as somebody wants to know."""

from __future__ import annotations

import anyio

from bers import Clock


class Pace:
    """The pause between two looks."""

    def __init__(self, clock: Clock, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self._wanted = anyio.Event()

    def hurry(self) -> None:
        """Say that somebody wants to know now."""
        self._wanted.set()

    async def pause(self) -> None:
        """Wait for the interval to end, or for somebody who wants to know now."""

        async with anyio.create_task_group() as group:

            async def wait() -> None:
                await self._wanted.wait()
                group.cancel_scope.cancel()

            group.start_soon(wait)
            await self._clock.sleep(self._interval)
            group.cancel_scope.cancel()
        if self._wanted.is_set():
            self._wanted = anyio.Event()
