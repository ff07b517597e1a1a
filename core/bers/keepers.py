"""What keeps stages open: it opens them, starts them again when they fail, and closes them when it is told to stop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol

import anyio
from anyio.abc import TaskStatus

from bers.bus import Bus
from bers.cells import Cell, Pause, Unit, once
from bers.errors import leaves
from bers.intake import Intake
from bers.pipeline import Pipeline
from bers.redaction import redact_text
from bers.stages import Emit, Receiver, Source

_log = logging.getLogger(__name__)


class Keeper(Protocol):
    """Looks after stages that start, fail and stop together."""

    @property
    def cells(self) -> Sequence[Cell]:
        """The stages; each says when it has stopped for good."""
        ...

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep them open until told to stop. "Started" says that they were opened, or could not be."""
        ...

    def restart(self) -> None:
        """Close the stages and open them anew; at once where they wait to be tried again."""
        ...

    def stop(self) -> None:
        """Close the stages for good; :meth:`run` returns when they are."""
        ...


class SourceKeeper:
    """Keeps one source open; lets it receive, and run."""

    def __init__(self, cell: Cell, intake: Intake, emit: Emit, go: anyio.Event) -> None:
        """``go`` is set when it may emit: when everybody is there who has to read it."""
        self.cells = (cell,)
        self._cell = cell
        self._intake = intake
        self._emit = emit
        self._go = go
        self._scope = anyio.CancelScope()
        """What is under way: a stage at work, or the pause before the next attempt."""
        self._stopping = False

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        try:
            await self._keep(once(task_status))
        finally:
            self._cell.stop()

    def restart(self) -> None:
        self._scope.cancel()

    def stop(self) -> None:
        self._stopping = True
        self._cell.become("stopping")
        self._scope.cancel()

    async def _keep(self, tell: Callable[[], None]) -> None:
        cell = self._cell
        pause = Pause(cell.context.clock)
        while not self._stopping:
            cell.become("starting")
            scope = self._scope = anyio.CancelScope()
            try:
                async with cell.step.open() as stage:
                    with scope:  # Within the stage, so that a stage that is stopped may still close in peace.
                        await self._work(stage, pause, tell)
            except Exception as exc:
                failed(cell, exc)
            finally:
                cell.stage = None
                self._intake.detach(cell.key)
            tell()
            if not (self._stopping or scope.cancelled_caught):
                cell.restarts += 1
                with anyio.CancelScope() as self._scope:  # To stop is not to wait for the next attempt.
                    await pause.wait()

    async def _work(self, stage: Any, pause: Pause, tell: Callable[[], None]) -> None:
        cell = self._cell
        cell.stage = stage
        if isinstance(stage, Receiver):
            self._intake.attach(cell.key, stage)
        cell.become("ok")
        tell()
        await self._go.wait()
        pause.begin()
        if isinstance(stage, Source):
            await stage.run(self._emit)
        await anyio.sleep_forever()


class UnitKeeper:
    """Keeps sinks open that share pipelines, and those pipelines running."""

    def __init__(
        self,
        unit: Unit,
        bus: Bus,
        pipeline: Callable[[str], Pipeline],
        emit: Callable[[Cell], Emit],
        go: anyio.Event,
    ) -> None:
        """``pipeline`` makes a pipeline by its name once its sinks are open; ``emit`` is the way in for a cell."""
        self.cells = unit.cells
        self._names = unit.pipelines
        self._bus = bus
        self._pipeline = pipeline
        self._emit = emit
        self._go = go
        self._scope = anyio.CancelScope()
        """What is under way: pipelines at work, or the pause before the next attempt."""
        self._stopping = False

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        try:
            await self._keep(once(task_status))
        finally:
            for cell in self.cells:
                cell.stop()

    def restart(self) -> None:
        self._scope.cancel()

    def stop(self) -> None:
        self._stopping = True
        for cell in self.cells:
            cell.become("stopping")
        self._scope.cancel()

    async def _keep(self, tell: Callable[[], None]) -> None:
        pause = Pause(self.cells[0].context.clock)
        while not self._stopping:
            for cell in self.cells:
                cell.become("starting")
            scope = self._scope = anyio.CancelScope()
            try:
                async with AsyncExitStack() as stack:
                    for cell in self.cells:
                        cell.stage = await stack.enter_async_context(cell.step.open())
                    with scope:  # Within the stages, so that they may still commit.
                        await self._work(pause, tell)
                    for cell in self.cells:
                        cell.stage = None  # Nobody asks a stage that is closing.
            except Exception as exc:
                for cell in self.cells:
                    failed(cell, exc)
                    cell.restarts += 1
            finally:
                for cell in self.cells:
                    cell.stage = None
            tell()
            if not (self._stopping or scope.cancelled_caught):
                with anyio.CancelScope() as self._scope:
                    await pause.wait()

    async def _work(self, pause: Pause, tell: Callable[[], None]) -> None:
        async with anyio.create_task_group() as group:
            for name in self._names:
                await group.start(self._run_pipeline, self._pipeline(name))
            for cell in self.cells:
                cell.become("ok")
                if cell.declared.source and isinstance(cell.stage, Source):
                    group.start_soon(self._run_source, cell, cell.stage)
            tell()
            pause.begin()
            await anyio.sleep_forever()

    async def _run_pipeline(self, pipeline: Pipeline, *, task_status: TaskStatus[None]) -> None:
        await pipeline.run(self._bus, task_status=task_status)

    async def _run_source(self, cell: Cell, stage: Source) -> None:
        """Let a sink emit that is a source too."""
        await self._go.wait()
        await stage.run(self._emit(cell))


def failed(cell: Cell, exc: BaseException) -> None:
    """Write down why a stage does not run, in its cell and in the log."""
    reasons = "; ".join(redact_text(f"{type(leaf).__name__}: {leaf}") for leaf in leaves(exc))
    cell.become("failing", reasons)
    _log.error("stage %r failed: %s", cell.key, reasons, exc_info=exc)
