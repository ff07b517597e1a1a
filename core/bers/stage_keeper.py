"""What keeps one source or sink open: it opens the stage, starts it again when it fails, and closes it at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import anyio

from bers.cells import Cell, Pause, reasons
from bers.errors import PluginError
from bers.keepers import PATIENCE, Keeper, Keeping
from bers.metering import metered
from bers.receivers import Seat
from bers.stages import Emit, Receiver, Source
from bers.ward import Stay, late

_log = logging.getLogger(__name__)


class StageKeeper(Keeper):
    """Keeps one source or sink open."""

    def __init__(self, cell: Cell, keeping: Keeping, seat: Seat, emit: Emit) -> None:
        super().__init__((cell,), keeping, Pause(cell.context.clock))
        self.cell = cell
        """The stage."""
        self._seat = seat
        self._emit = emit
        self._fault: BaseException | None = None
        self._leaked = False
        self._wanted: Stay | None = None
        """Whose stage is held out when it has opened; nobody's as soon as it is to close."""

    def fail(self, exc: BaseException, *, given_up: bool = False) -> None:
        """Say that the open stage is broken: it is closed, and opened anew after a pause.

        ``given_up`` says that some of its work goes on and does not heed that it should not.
        """
        if self.cell.stage is not None and self._fault is None:
            self._fault, self._leaked = exc, given_up
            self._shared.bell.ring()

    async def _keep(self, tell: Callable[[], None]) -> None:
        cell, bell, settings = self.cell, self._shared.bell, self._shared.settings
        self._fault, self._leaked = None, False
        cell.standing.opening()
        stay = self._wanted = self._shared.ward.take(cell.name, self._live, bell=bell)
        patience = min(PATIENCE, settings.open_within)
        if not await bell.until(lambda: cell.stage is not None or stay.over or self._wish, patience):
            tell()
        left = settings.open_within - patience
        if not await bell.until(lambda: cell.stage is not None or stay.over or self._wish, left):
            self._fault = late(cell.name, "open", settings.open_within)
        if cell.stage is not None and not self._wish:
            cell.standing.opened()
            self._pause.begin()
            tell()
        await bell.until(lambda: stay.over or self._wish or self._fault)
        if not self._wish and not self._fault:
            self._fault = stay.error or PluginError(f"{cell.name}: it closed without being told to")
        if self._wish == "restart":
            cell.standing.opening()
        elif self._fault and not self._wish:
            cell.standing.failed("it is being closed", reasons(self._fault))
        cell.stage = self._wanted = None  # Nobody asks a stage that is closing, or that opens too late.
        self._seat.detach(cell.key)
        bell.ring()
        await bell.until(lambda: not cell.users, settings.close_within + 2.0)
        ended = await self._leave(stay)
        if ended and stay.error and not self._fault:
            _log.error("stage %r failed while it closed: %s", cell.name, reasons(stay.error), exc_info=stay.error)
        if not ended:
            _log.error("stage %r did not end when it was told to, and was given up", cell.name)
        if not self._wish or (self._wish == "restart" and not ended):
            fault = self._fault or late(cell.name, "close", settings.close_within)
            self._wish = ""
            await self._failed(cell, fault, given_up=not ended or self._leaked)

    async def _live(self, stay: Stay) -> None:
        """The life of the stage, from opening to closing, in one task."""
        cell = self.cell
        async with cell.step.open() as stage:
            if cell.kind == "sink" and not callable(getattr(stage, "write", None)):
                raise PluginError(f"{cell.name}: opening it gave a {type(stage).__name__}; yield what has `write`")
            if stage is None:
                raise PluginError(f"{cell.name}: opening it gave nothing; yield the stage")
            if self._wanted is not stay:  # Meanwhile it was to close: held out now, it would be held out closed.
                return
            with stay.body:  # Within the stage, so that one that is stopped may still close in peace.
                cell.stage = stage
                if cell.kind == "source" and isinstance(stage, Receiver):
                    self._seat.attach(cell.key, stage)
                self._shared.bell.ring()
                await self._work(stage)

    async def _work(self, stage: Any) -> None:
        await self._shared.go.wait()
        # A sink may be a source too: then it says so in the file of stages.
        if isinstance(stage, Source) and (self.cell.kind == "source" or self.cell.declared.source):
            await metered(stage.run(self._emit), self.cell.running)
        await anyio.sleep_forever()
