"""What all keepers have in common: they keep stages open, wait before they try again, and stop when told to."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import anyio
from anyio.abc import TaskGroup, TaskStatus

from bers import disk
from bers.cells import Cell, Pause, reasons
from bers.config.settings import SupervisionSettings
from bers.ward import Bell, Stay, Ward

PATIENCE = 2.0
"""Seconds for which the start of a node waits for one stage; then it goes on without."""

SAY_AGAIN = 60.0
"""Seconds until the log says once more that a stage waits for its disk."""

_log = logging.getLogger(__name__)

_Wish: TypeAlias = Literal["", "restart", "stop", "quarantine"]


@dataclass(frozen=True)
class Keeping:
    """What all keepers of one node share."""

    ward: Ward
    settings: SupervisionSettings
    go: anyio.Event
    """Set when sources may emit: when everybody is there who has to read it."""
    bell: Bell
    """Rung when something was opened, has ended, or was asked for."""
    stir: Callable[[], None] = lambda: None
    """Called when a pipeline was held up, or is no longer."""


class Keeper(ABC):
    """Looks after stages that start, fail and stop together."""

    def __init__(self, cells: Sequence[Cell], keeping: Keeping, pause: Pause) -> None:
        self.cells = cells
        """The stages; each says when it has stopped for good."""
        self.done = anyio.Event()
        """Set when they all have."""
        self._shared = keeping
        self._pause = pause
        self._wish: _Wish = ""
        self._why = ""
        """Why it was to be quarantined."""
        self._resting: anyio.CancelScope | None = None
        self._said = ("", 0.0)
        """What was written to the log last of a stage that does not run, and when."""

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep them open until told to stop. "Started" says that they were opened, or that nobody waits any longer."""
        told = False

        def tell() -> None:
            nonlocal told
            if not told:
                told = True
                task_status.started()

        try:
            while self._wish != "stop":
                isolate, self._wish = self._wish == "quarantine", ""
                await (self._isolate() if isolate else self._keep(tell))
                tell()
        finally:
            for cell in self.cells:
                cell.stop()
            self.done.set()
            self._shared.bell.ring()

    def restart(self) -> None:
        """Close the stages and open them anew; at once where they wait to be tried again, or are quarantined."""
        for cell in self.cells:
            cell.budget.restore()
            cell.blocks.restore()
        self._ask("restart")

    def stop(self) -> None:
        """Close the stages for good; :meth:`run` returns when they are."""
        for cell in self.cells:
            cell.standing.stopping()
        self._ask("stop")

    def quarantine(self, cell: Cell, why: str) -> None:
        """Close a stage, and leave it alone until somebody asks for it."""
        self._why = why
        cell.standing.quarantined(why)
        self._ask("quarantine")

    def look(self) -> None:  # noqa: B027 - A stage by itself has nothing that could take too long.
        """See whether something takes too long. Called twice a second."""

    def excuse(self, seconds: float) -> None:
        """Do not count so long against anybody: nothing at all could be done."""
        for cell in self.cells:
            cell.standing.excuse(seconds)

    @abstractmethod
    async def _keep(self, tell: Callable[[], None]) -> None:
        """Do it once: from opening to the end of the pause after it."""

    def _ask(self, wish: _Wish) -> None:
        if self._wish != "stop":
            self._wish = wish
        if self._resting:
            self._resting.cancel()
        self._shared.bell.ring()

    async def _isolate(self) -> None:
        """Leave it alone, until somebody asks for it."""
        _log.error("%s: quarantined, because %s", ", ".join(cell.name for cell in self.cells), self._why)
        await self._rest(None)

    async def _failed(self, cell: Cell, exc: BaseException, *, given_up: bool) -> None:
        """Write down why a stage does not run, and wait until it may be tried again."""
        why = reasons(exc)
        waits, now = disk.disk_fault(exc), cell.context.clock.monotonic()
        cell.restarts += 1
        self._shared.bell.ring()
        if not waits or self._said[0] != why or now - self._said[1] >= SAY_AGAIN:  # The log may be on the same disk.
            self._said = why, now
            _log.error("stage %r failed: %s", cell.name, why, exc_info=exc)
        if given_up:
            cell.standing.quarantined("it did not end when it was told to, and still holds what it held", why)
            await self._rest(None)
        elif waits:  # It is not the stage's fault, and may last: that is what the budget is not for.
            cell.standing.failed("it waits for its disk, and is tried again until that lets it write", why)
            with anyio.CancelScope() as self._resting:
                if not self._wish:
                    await self._pause.wait()
        elif not cell.budget.spend():
            cell.standing.quarantined(f"it failed more than {self._shared.settings.restarts} times", why)
            await self._rest(self._shared.settings.release_after)
        else:
            cell.standing.failed("it waits for its next attempt", why)
            with anyio.CancelScope() as self._resting:
                if not self._wish:
                    await self._pause.wait()

    async def _rest(self, seconds: float | None) -> None:
        """Wait until somebody asks for something, or so long."""
        with anyio.CancelScope() as self._resting:
            if self._wish:
                return
            if seconds is None:
                await anyio.sleep_forever()
            else:
                await self.cells[0].context.clock.sleep(seconds)

    async def _leave(self, stay: Stay) -> bool:
        """End what a stage does, and close it; False where it does not heed that, and had to be given up."""
        stay.body.pull()
        if not await self._shared.bell.until(lambda: stay.over, self._shared.settings.close_within):
            return await stay.leave(min(1.0, self._shared.settings.close_within))
        return True


async def start(group: TaskGroup, keepers: Iterable[Keeper]) -> None:
    """Start them side by side in a group: one that takes long to open keeps nobody else from it."""
    async with anyio.create_task_group() as starting:
        for keeper in keepers:
            starting.start_soon(group.start, partial(_run, keeper))


async def stop(keepers: Iterable[Keeper], deadline: float) -> bool:
    """Tell them all to stop, and wait for them, but not for longer than that; whether they have."""
    told = list(keepers)
    for keeper in told:
        keeper.stop()
    with anyio.move_on_after(max(0.0, deadline - anyio.current_time())):
        for keeper in told:
            await keeper.done.wait()
    return all(keeper.done.is_set() for keeper in told)


def name_late(cells: Iterable[Cell], within: float) -> None:
    """Write down which stages were told to stop and have not."""
    late = [cell.name for cell in cells if cell.state == "stopping"]
    if late:
        _log.error("did not stop within %g s: %s", within, ", ".join(late))


async def _run(keeper: Keeper, *, task_status: TaskStatus[None]) -> None:
    await keeper.run(task_status=task_status)
