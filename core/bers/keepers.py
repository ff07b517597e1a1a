"""What keeps stages open: it opens them, starts them again when they fail, and closes them when it is told to stop."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import anyio
from anyio.abc import TaskStatus

from bers.bus import Bus
from bers.cells import Cell, Pause, reasons
from bers.config.settings import SupervisionSettings
from bers.counters import Counters
from bers.errors import PluginError, leaves
from bers.guards import Fail, Post
from bers.intake import Seat
from bers.metering import metered
from bers.pipeline import Pipeline
from bers.stages import Emit, Receiver, Source
from bers.ward import Bell, Stay, Ward, late

PATIENCE = 2.0
"""Seconds for which the start of a node waits for one stage; then it goes on without."""

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
        cell.restarts += 1
        self._shared.bell.ring()
        _log.error("stage %r failed: %s", cell.name, why, exc_info=exc)
        if given_up:
            cell.standing.quarantined("it did not end when it was told to, and still holds what it held", why)
            await self._rest(None)
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


class StageKeeper(Keeper):
    """Keeps one source or sink open."""

    def __init__(self, cell: Cell, keeping: Keeping, intake: Seat, emit: Emit) -> None:
        super().__init__((cell,), keeping, Pause(cell.context.clock))
        self._cell = cell
        self._intake = intake
        self._emit = emit
        self._fault: BaseException | None = None
        self._leaked = False

    def fail(self, exc: BaseException, *, given_up: bool = False) -> None:
        """Say that the open stage is broken: it is closed, and opened anew after a pause.

        ``given_up`` says that some of its work goes on and does not heed that it should not.
        """
        if self._cell.stage is not None and self._fault is None:
            self._fault, self._leaked = exc, given_up
            self._shared.bell.ring()

    async def _keep(self, tell: Callable[[], None]) -> None:
        cell, bell, settings = self._cell, self._shared.bell, self._shared.settings
        self._fault, self._leaked = None, False
        cell.standing.opening()
        stay = self._shared.ward.take(cell.name, self._live, bell=bell)
        if not await bell.until(lambda: cell.stage is not None or stay.over or self._wish, PATIENCE):
            tell()
        if not await bell.until(lambda: cell.stage is not None or stay.over or self._wish, settings.open_within):
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
        cell.stage = None  # Nobody asks a stage that is closing.
        self._intake.detach(cell.key)
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
        cell = self._cell
        async with cell.step.open() as stage:
            if cell.kind == "sink" and not callable(getattr(stage, "write", None)):
                raise PluginError(f"{cell.name}: opening it gave a {type(stage).__name__}; yield what has `write`")
            if stage is None:
                raise PluginError(f"{cell.name}: opening it gave nothing; yield the stage")
            with stay.body:  # Within the stage, so that one that is stopped may still close in peace.
                cell.stage = stage
                if cell.kind == "source" and isinstance(stage, Receiver):
                    self._intake.attach(cell.key, stage)
                self._shared.bell.ring()
                await self._work(stage)

    async def _work(self, stage: Any) -> None:
        await self._shared.go.wait()
        # A sink may be a source too: then it says so in the file of stages.
        if isinstance(stage, Source) and (self._cell.kind == "source" or self._cell.declared.source):
            await metered(stage.run(self._emit), self._cell.running)
        await anyio.sleep_forever()


class PipelineKeeper(Keeper):
    """Keeps one pipeline at work, with the processors that are its own, while the sinks are open that it waits for."""

    def __init__(
        self,
        name: str,
        processors: Sequence[Cell],
        waited: Sequence[Cell],
        bus: Bus,
        counters: Counters,
        keeping: Keeping,
        pause: Pause,
        make: Callable[[Post], Pipeline],
        fail: Fail,
        *,
        holds: bool,
        begin: int | None = None,
    ) -> None:
        """``waited`` are the sinks that it waits for, ``make`` makes the pipeline when they are open.

        ``fail`` says which of them broke. ``holds`` says that what it has not read yet is owed to somebody.
        ``begin`` is where those go on that hold no position: the end of the bus if not told.
        """
        super().__init__(processors, keeping, pause)
        self.name = name
        self._held = ""
        self._waited = waited
        self._bus = bus
        self._counters = counters
        self._make = make
        self._fail = fail
        self._holds = holds
        self.at_work = False
        """Whether it runs."""
        self._pipeline: Pipeline | None = None
        self._finishing = False
        self._begin_at = begin
        """Where those go on that hold no position."""
        self._skip = False
        """Whether it goes on at the end of the bus: what came meanwhile is given up."""
        self._post: Post | None = None
        self._fault: BaseException | None = None

    def excuse(self, seconds: float) -> None:
        super().excuse(seconds)
        if self._post:
            self._post.excuse(seconds)

    @property
    def position(self) -> int | None:
        """How far it has come; None where it has never run."""
        return self._begin_at

    def finish(self) -> None:
        """Stop for good when what was read has been delivered; at once where nothing is at work."""
        if self._pipeline is None:
            self.stop()
        else:
            self._finishing = True
            self._pipeline.finish()

    @property
    def held(self) -> str:
        """Why nothing goes through it; empty while something does."""
        return self._held

    @held.setter
    def held(self, why: str) -> None:
        if why != self._held:
            self._held = why
            self._shared.stir()
            self._shared.bell.ring()

    def look(self) -> None:
        if self._post and not self._fault and (overdue := self._post.overdue()):
            if self._post.cell:
                self._post.cell.raised = overdue
            self._fault = overdue
            self._shared.bell.ring()

    async def _keep(self, tell: Callable[[], None]) -> None:
        bell = self._shared.bell
        self._fault = None
        if self._begin_at is None:
            _, self._begin_at = await self._bus.span(0)
        if not all(cell.stage is not None for cell in self._waited):
            closed = ", ".join(cell.name for cell in self._waited if cell.stage is None)
            self.held = f"it waits for {closed}"
            tell()
            for cell in self.cells:
                cell.standing.opening(f"its pipeline waits for {closed}")
            await bell.until(lambda: all(cell.stage is not None for cell in self._waited) or self._wish)
            if self._wish:
                return
        sinks = [cell.stage for cell in self._waited]
        post = self._post = Post(self.name, self._shared.settings)
        for cell in self.cells:
            cell.standing.opening()
            cell.raised = None
        for cell in self._waited:
            cell.raised = None
            cell.users += 1
        begin = await self._next()
        pipeline = self._pipeline = self._make(post)
        started = _Started(bell)
        stay = self._shared.ward.take(
            self.name,
            lambda stay: pipeline.run(self._bus, begin=begin, task_status=started),
            stage=post.at,
            bell=bell,
        )
        post.stay = stay

        def over() -> object:
            replaced = any(cell.stage is not sink for cell, sink in zip(self._waited, sinks, strict=True))
            return stay.over or self._wish or self._fault or replaced

        if not await bell.until(lambda: started.told or over(), PATIENCE):
            tell()
        await bell.until(lambda: started.told or over())
        if started.told:
            self.held, self.at_work = "", True
            self._shared.bell.ring()
            self._pause.begin()
            tell()
        await bell.until(over)
        fault = self._fault or stay.error
        ended = stay.over or await stay.leave(self._shared.settings.close_within)
        fault = fault or stay.error
        self._post = self._pipeline = None
        self.at_work = False
        if self._finishing:
            self._wish = "stop"
        if started.told:
            self._begin_at = max(begin, pipeline.position)
        if not ended:
            self._counters.disown(self.name)
        for cell in self._waited:
            cell.users -= 1
        for cell in self.cells:
            cell.stage = None
        bell.ring()
        if not self._wish and (fault or not ended):
            await self._broke(fault or late(self.name, "stop", self._shared.settings.close_within), post, ended=ended)

    async def _isolate(self) -> None:
        self.held, self._skip = self._why, not self._holds
        await super()._isolate()

    async def _broke(self, fault: BaseException, post: Post, *, ended: bool) -> None:
        """Say whose fault it was, and wait until it makes sense to try again."""
        found = leaves(fault)
        blamed = [cell for cell in (*self.cells, *self._waited) if any(cell.raised is leaf for leaf in found)]
        for cell in blamed:
            if cell in self._waited:
                self._fail(cell, fault, given_up=not ended)
        mine = [cell for cell in blamed if cell in self.cells]
        if mine:
            if not self._holds and self._begin_at is not None:
                self._begin_at = max(self._begin_at, post.end)  # Counted as crashed; nobody is owed it.
            self.held = f"{mine[0].name} failed: {reasons(fault)}"
            for other in self.cells:
                if other is not mine[0]:
                    other.standing.opening(f"its pipeline stands still, because {mine[0].name} failed")
            await self._failed(mine[0], fault, given_up=not ended)
            # What came while nobody tried is given up where nobody is owed it.
            self._skip = not self._holds and mine[0].standing.settled == "quarantined"
        elif not blamed:
            self.held = reasons(fault)
            _log.error("pipeline %r failed: %s", self.name, self.held, exc_info=fault)
            with anyio.CancelScope() as self._resting:
                if not self._wish:
                    await self._pause.wait()

    async def _next(self) -> int:
        """Where it goes on; what is given up on the way is counted."""
        oldest, end = await self._bus.span(0)
        begin = min(end, self._begin_at or 0)
        to = end if self._skip else max(begin, oldest)
        if to > begin:
            edge = self._counters.edge(self.name)
            edge.taken += to - begin
            edge.dropped["quarantined" if self._skip else "trimmed"] += to - begin
        self._skip, self._begin_at = False, to
        return to


class _Started(TaskStatus[None]):
    """Notes that a pipeline has begun."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self.told = False

    def started(self, value: None = None) -> None:
        self.told = True
        self._bell.ring()
