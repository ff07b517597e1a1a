"""Looking at details of events for those that are wanted: in slices, in turn where it takes long, and not for ever."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf
from time import perf_counter

from bers import Event

from .asked import conditions
from .bounds import Heavy
from .pace import Pace

BRIEFLY = 0.02
"""Seconds for which conditions are compared at once; for longer, it is when it is their turn."""
LOOKED_FOR = 1.0
"""Seconds for which one answer compares them at most."""


class Looking:
    """Looks for one answer."""

    def __init__(
        self, wanted: Callable[[Event], bool], texts: Sequence[bytes], heavy: Heavy, turns: AsyncExitStack
    ) -> None:
        self.texts = texts
        """What has to be in the details of every event that is wanted."""
        self._wanted, self._heavy, self._turns = wanted, heavy, turns
        self._pace = Pace()
        self._spent, self._has_turn = 0.0, False

    @property
    def is_over(self) -> bool:
        """Whether it took as long as one answer may."""
        return self._spent > LOOKED_FOR

    async def at(self, event: Event) -> bool:
        """Whether an event is wanted; raise Refused as :meth:`take_turn` does."""
        began = perf_counter()
        found = self._wanted(event)
        self._spent += perf_counter() - began
        if self._spent > BRIEFLY:
            await self.take_turn()
        await self._pace()
        return found

    async def take_turn(self) -> None:
        """Wait until few others look for long; raise Refused where many do."""
        if not self._has_turn:
            self._has_turn = True
            await self._turns.enter_async_context(self._heavy.turn(inf))


@asynccontextmanager
async def looking(where: str, heavy: Heavy) -> AsyncGenerator[Looking]:
    """Look for what conditions want, as people write them. ``heavy`` gives turns to those that take long."""
    async with AsyncExitStack() as turns:
        look = Looking(*conditions(where), heavy, turns)
        if "~" in where:  # Of a pattern already the first text may take long.
            await look.take_turn()
        yield look
