"""What keeps one pipeline at work: it starts it when its sinks are open, and again when one of its stages fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskStatus

from bers.bus import Bus
from bers.cells import Cell, Pause, reasons
from bers.counters import Counters
from bers.errors import leaves
from bers.guards import Fail, Post
from bers.keepers import PATIENCE, Keeper, Keeping
from bers.pipeline import Pipeline
from bers.ward import Bell, late

_log = logging.getLogger(__name__)


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
            self._fault = overdue
            self._shared.bell.ring()

    async def _keep(self, tell: Callable[[], None]) -> None:
        bell = self._shared.bell
        self._fault = None
        if self._begin_at is None:
            _, self._begin_at = await self._bus.span(0)
        if not await self._sinks_are_open(tell):
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

    async def _sinks_are_open(self, tell: Callable[[], None]) -> bool:
        """Wait for the sinks; False where something else is asked for meanwhile."""
        closed = [cell.name for cell in self._waited if cell.stage is None]
        if not closed:
            return True
        self.held = f"it waits for {', '.join(closed)}"
        tell()
        for cell in self.cells:
            cell.standing.opening(f"its pipeline waits for {', '.join(closed)}")
        await self._shared.bell.until(lambda: all(cell.stage is not None for cell in self._waited) or self._wish)
        return not self._wish

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
