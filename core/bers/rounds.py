"""Looks after every stage twice a second, and tells of what has changed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

import anyio

from bers.cells import Cell
from bers.counters import Counters
from bers.keepers import Keeper
from bers.states import Change
from bers.ward import Bell

EVERY = 0.5
"""Seconds between two rounds. Real ones, whatever the node's clock says: who hangs, hangs in real time."""

_log = logging.getLogger(__name__)


class Rounds:
    """Sees what the edges of stages counted and who takes too long, and passes on what was found."""

    def __init__(
        self,
        cells: Callable[[], Sequence[Cell]],
        keepers: Callable[[], Sequence[Keeper]],
        counters: Counters,
        told: Callable[[Cell | None, Change | None], Awaitable[None]],
    ) -> None:
        """``told`` hears of every change from one settled state to another, in order.

        It hears of nothing in particular where a pipeline was held up, or is no longer.
        """
        self._cells = cells
        self._keepers = keepers
        self._counters = counters
        self._told = told
        self._changes: list[tuple[Cell | None, Change | None]] = []
        self._bell = Bell()

    def changed(self, cell: Cell, change: Change) -> None:
        """A stage came to another state."""
        level = logging.INFO if change.after == "ok" else logging.WARNING
        why = f": {change.reason}" if change.reason else ""
        _log.log(level, "stage %r was %s and is %s%s", cell.name, change.before, change.after, why)
        self._changes.append((cell, change))
        self._bell.ring()

    def stir(self) -> None:
        """Something is not as it was, though no stage came to another state."""
        self._changes.append((None, None))
        self._bell.ring()

    async def run(self) -> None:
        """Make rounds, and tell, for ever."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell)
            while True:
                began = monotonic()
                await anyio.sleep(EVERY)
                late = monotonic() - began - EVERY
                if late > EVERY:  # Nobody could do anything meanwhile: the loop was blocked, or the process stopped.
                    for keeper in self._keepers():
                        keeper.excuse(late)
                self.look()

    def look(self) -> None:
        """Make one round."""
        for keeper in self._keepers():
            keeper.look()
        for cell in self._cells():
            cell.standing.look(self._counters.known(cell.edges))

    async def _tell(self) -> None:
        while True:
            await self._bell.until(lambda: self._changes)
            changes, self._changes = self._changes, []
            for cell, change in changes:
                await self._told(cell, change)
