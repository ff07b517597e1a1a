"""Looks after every stage twice a second, and tells of what has changed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

import anyio

from bers.cells import Cell
from bers.counters import Counters
from bers.keepers import Keeper
from bers.states import Change
from bers.ward import Bell
from bers.watchdog import Block

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
        self.blocks: Counter[str] = Counter()
        """How often the event loop stood still, by the name of the stage; empty where it was none."""
        self.blocked: Counter[str] = Counter()
        """For how many milliseconds."""

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

    def stood_still(self, block: Block) -> None:
        """The event loop was blocked. Whose fault that was is said, and the third time it is kept from it."""
        whose = f"by stage {block.stage!r}" if block.stage else "by nobody in particular"
        _log.error("the event loop was blocked for %.1f s %s; there:\n%s", block.seconds, whose, block.stack)
        self.blocks[block.stage] += 1
        self.blocked[block.stage] += round(block.seconds * 1000)
        keeper, cell = next(
            ((keeper, cell) for keeper in self._keepers() for cell in keeper.cells if cell.name == block.stage),
            (None, None),
        )
        if keeper is None or cell is None:
            return
        reason = f"it blocked the event loop for {block.seconds:.1f} s"
        cell.standing.stumbled(reason, f"{reason}, at {_place(block.stack)}")
        cell.blocks.spend()
        if not cell.blocks.left and cell.stage is not None:
            keeper.quarantine(cell, f"{reason}, once too often; `bers stages restart {cell.key}` starts it anew")

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


def _place(stack: str) -> str:
    """The innermost line of a stack, short enough for a table."""
    lines = [line.strip() for line in stack.splitlines() if line.lstrip().startswith("File ")]
    return lines[-1] if lines else "a place that was not seen"
