"""Whose code it was that blocked the event loop, and what becomes of a stage that does so too often."""

from __future__ import annotations

import logging
from asyncio import Task
from collections import Counter
from collections.abc import Mapping

import anyio

from bers.receivers import Receivers
from bers.roster import Roster
from bers.ward import Ward
from bers.watchdog import Block, Watchdog

_log = logging.getLogger(__name__)


class Blame:
    """Names the stage for which everybody had to wait, and keeps it from the loop when its budget is used up."""

    def __init__(self, roster: Roster, ward: Ward, receivers: Receivers) -> None:
        self._roster = roster
        self._ward = ward
        self._receivers = receivers
        self.blocks: Counter[str] = Counter()
        """How often the event loop stood still, by the name of the stage; empty where it was none."""
        self.blocked: Counter[str] = Counter()
        """For how many milliseconds."""

    async def run(self) -> None:
        """Watch the event loop, for ever."""
        block = self._roster.plan.settings.supervision.watchdog.block
        async with Watchdog(block, self.stood_still, self._at_work_in, self._packages):
            await anyio.sleep_forever()

    def stood_still(self, block: Block) -> None:
        """The event loop was blocked: say whose fault it was, and quarantine who has no more blocks left."""
        whose = f"by stage {block.stage!r}" if block.stage else "by nobody in particular"
        _log.error("the event loop was blocked for %.1f s %s; there:\n%s", block.seconds, whose, block.stack)
        self.blocks[block.stage] += 1
        self.blocked[block.stage] += round(block.seconds * 1000)
        keeper, cell = next(
            ((keeper, cell) for keeper in self._roster.keepers for cell in keeper.cells if cell.name == block.stage),
            (None, None),
        )
        if keeper is None or cell is None:
            return
        reason = f"it blocked the event loop for {block.seconds:.1f} s"
        cell.standing.stumbled(reason, f"{reason}, at {_place(block.stack)}")
        cell.blocks.spend()
        if not cell.blocks.left and cell.stage is not None:
            keeper.quarantine(cell, f"{reason}, once too often; `bers stages restart {cell.key}` starts it anew")

    # Both are asked from the watchdog's thread. Copies of the roster's lists are safe to look at there.

    def _at_work_in(self, task: Task[object] | None) -> str:
        """Whose code a task runs at this moment."""
        owner = self._receivers.reading
        return owner if owner in self._roster.source_keepers else self._ward.stage_of(task)

    def _packages(self) -> Mapping[str, str]:
        """The stage that a module or a package belongs to, where there is only one."""
        cells = self._roster.cells
        places = [(place, cell.name) for cell in cells for place in _module_and_package(cell.spec.config.__module__)]
        counts = Counter(place for place, _ in places)
        return {place: name for place, name in places if counts[place] == 1}


def _module_and_package(module: str) -> list[str]:
    """A module, and the package that it is in."""
    package = module.rpartition(".")[0]
    return [module, package] if package else [module]


def _place(stack: str) -> str:
    """The innermost line of a stack, short enough for a table."""
    lines = [line.strip() for line in stack.splitlines() if line.lstrip().startswith("File ")]
    return lines[-1] if lines else "a place that was not seen"
