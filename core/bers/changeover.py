"""How one configuration takes the place of another while events go on: in steps, each with what undoes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from bers.all_positions import forget_positions
from bers.catalog import Catalog
from bers.cells import Cell, reasons
from bers.config import Plan
from bers.config.located import steps_of
from bers.differences import Changes, alone
from bers.errors import ConfigError
from bers.housekeeping import Housekeeping, readers
from bers.intake import Intake
from bers.keepers import Keeper, Keeping, name_late, stop
from bers.log import Log
from bers.logs import Logs, files_of
from bers.pipeline_keeper import PipelineKeeper
from bers.roster import KINDS, Roster, StageId
from bers.stage_keeper import StageKeeper
from bers.stages import Receiver
from bers.tables import Table
from bers.ward import Stay
from bers.workshop import Workshop, declared_in, edges


@dataclass(frozen=True)
class Site:
    """The parts of a node in which something is changed; they themselves stay."""

    roster: Roster
    workshop: Workshop
    keeping: Keeping
    intake: Intake
    bus: Log
    housekeeping: Housekeeping
    metrics: Catalog
    """What is lent to stages: it goes with the configuration."""
    logs: Logs | None
    data_dir: Path
    changing: anyio.Lock
    """Held by whoever starts or stops stages."""
    stopping: Callable[[], bool]
    """Whether the node stops: then nobody waits for anything to start."""


class Changeover:
    """Puts a plan in the place of another, once. If that fails, the one that was there is there again."""

    def __init__(
        self, site: Site, tasks: TaskGroup, plan: Plan, changes: Changes, left_behind: Set[tuple[str, str]]
    ) -> None:
        """``tasks`` is where keepers run, ``changes`` what differs from the plan that is in place.

        ``left_behind`` are readers that come back, and whose positions are of no use any more.
        """
        self._site = site
        self._roster = site.roster
        self._workshop = site.workshop
        self._tasks = tasks
        self._old = site.roster.plan
        self._new = plan
        self._changes = changes
        self._left_behind = left_behind
        self._within = plan.settings.stop_within
        self._go = anyio.Event()
        """Set when sources that are new may emit."""
        self._before = site.roster.stages()
        """Who was in place."""
        self._opened: dict[StageId, StageKeeper] = {}
        """Who comes."""
        self._positions: dict[str, int | None] = {}
        """How far the pipelines had come that were stopped."""
        self._tables = self._memories()
        self._undo = AsyncExitStack()

    async def run(self) -> None:
        """Do everything that may fail; then stop who has nothing to do any more. Raise ConfigError where it failed.

        What can be opened beside its former self is open before anything stops. What cannot (it is alone with its
        files, or on its port) is closed first, while its pipelines wait at their positions.
        """
        coming = [(kind, key) for kind in KINDS for key in getattr(self._changes, kind).coming]
        going = [(kind, key) for kind in KINDS for key in getattr(self._changes, kind).going]
        closed = [one for one in going if self._is_alone(one)]
        async with self._undo:
            self._lend()
            for name in self._changes.pipelines.coming:
                await self._try_processors(name)
            await self._expect_readers()
            for one in coming:
                if not self._is_alone(one):
                    await self._open_new(one)
            for name in self._changes.pipelines.going:
                await self._stop_pipeline(name)
            self._undo.callback(self._roster.handed_over.clear)
            for one in closed:
                await self._close_old(one)
            await to_thread.run_sync(forget_positions, self._site.data_dir, self._left_behind)
            for one in coming:
                if self._is_alone(one):
                    await self._open_new(one)
            await self._put_new()
            for name in self._changes.pipelines.coming:
                await self._start_pipeline(name)
            self._undo.pop_all()  # What is left to do cannot fail, or is no reason to go back.
        await self._retire({one: self._before[one] for one in going if one not in closed})

    # The steps, each with what undoes it.

    def _lend(self) -> None:
        """Let stages and logs know what the new plan says, before any stage of it is opened."""
        metrics, logs = self._site.metrics, self._site.logs
        self._undo.callback(metrics.adopt, Catalog(metrics.values()))
        metrics.adopt(self._new.metrics)
        if logs:
            self._undo.callback(logs.change, self._old.settings.log, files_of(self._old))
            logs.change(self._new.settings.log, files_of(self._new))

    async def _try_processors(self, name: str) -> None:
        """Open the processors of a pipeline once, and close them: nothing is left to undo."""
        keeping = self._site.keeping
        within = keeping.settings.open_within
        for cell in self._workshop.processors(self._new, name):
            steps = ("processors", cell.key)
            stay = keeping.ward.take(cell.name, partial(_try, cell), bell=keeping.bell)
            if not await keeping.bell.until(stay.ended.is_set, within):
                await stay.leave(min(1.0, keeping.settings.close_within))
                raise ConfigError([self._new.fault(steps, f"did not open within {within:g} s")])
            if isinstance(stay.error, ConfigError):
                faults = [self._new.fault((*steps, *steps_of(one.path)), one.message) for one in stay.error.faults]
                raise ConfigError(faults)
            if stay.error:
                raise ConfigError([self._new.fault(steps, f"cannot be opened: {reasons(stay.error)}")])

    async def _expect_readers(self) -> None:
        """From here on the journal is kept for who will read it."""
        house = self._site.housekeeping
        self._undo.push_async_callback(house.settle, readers(self._old), self._old.settings.intake)
        await house.expect(readers(self._new))

    async def _open_new(self, one: StageId) -> None:
        """Open a source or a sink; it takes its place later, with all others."""
        keeper = self._workshop.stage_keeper(self._new, one, self._go, self._tables.get(one[1]))
        self._opened[one] = keeper
        self._undo.push_async_callback(self._close, keeper)
        await self._open(keeper, self._new, one)

    async def _stop_pipeline(self, name: str) -> None:
        """Let a pipeline deliver what it read, and stop it."""
        self._undo.push_async_callback(self._resume, name)
        self._positions[name] = await self._finish(name)

    async def _close_old(self, one: StageId) -> None:
        """Close a stage whose files or port are needed."""
        self._undo.push_async_callback(self._reopen, one)
        keeper = self._before[one]
        self._roster.handed_over.append(keeper.cell)
        if not await self._close(keeper):
            raise ConfigError([self._new.fault(one, f"its former self did not close within {self._within:g} s")])

    async def _put_new(self) -> None:
        """Let everybody who has been opened take their places."""
        tables = self._site.intake.receivers.tables(self._tables)
        self._undo.push_async_callback(self._put, self._old, self._before, tables)
        await self._put(self._new, {**self._before, **self._opened}, self._tables)

    async def _start_pipeline(self, name: str) -> None:
        """Start a pipeline at its position."""
        before = self._roster.pipeline_keepers.get(name)
        self._undo.push_async_callback(self._take_back, name, before)
        await self._begin(name, self._positions.get(name))

    async def _retire(self, retired: Mapping[StageId, StageKeeper]) -> None:
        """Stop those whose places others have taken. It cannot fail: who does not stop in time is named."""
        for kind in KINDS:
            keepers = [keeper for one, keeper in retired.items() if one[0] == kind]
            await stop(keepers, anyio.current_time() + self._within)
            self._go.set()  # Those that measure by themselves take turns.
        name_late([keeper.cell for keeper in retired.values()], self._within)
        for name in self._changes.pipelines.removed:
            self._roster.remove(name)
        self._roster.arrange()

    # What undoes them, where it is more than to do the opposite.

    async def _resume(self, name: str) -> None:
        """Start a pipeline again as it was, if it has stopped."""
        keeper = self._roster.pipeline_keepers[name]
        if not keeper.done.is_set():
            return
        with suppress(ConfigError):
            await self._begin(name, self._positions.get(name, keeper.position))

    async def _reopen(self, one: StageId) -> None:
        """Open a stage again as it was, and wait a while for it; its keeper goes on trying."""
        if not self._roster.stages()[one].done.is_set():
            return  # It could not be closed in time, and is still there.
        keeper = self._workshop.stage_keeper(self._roster.plan, one)
        self._roster.seat(one, keeper)
        with suppress(ConfigError):
            await self._open(keeper, self._roster.plan, one)

    async def _take_back(self, name: str, before: PipelineKeeper | None) -> None:
        """Stop a pipeline that was begun; the one that was there before goes on where this one has come to."""
        begun = self._roster.pipeline_keepers.get(name)
        if begun is not None and begun is not before:
            self._positions[name] = await self._finish(name) or self._positions.get(name)
        if before is None:
            self._roster.remove(name)
        else:
            self._roster.pipeline_keepers[name] = before

    # What both are made of.

    async def _open(self, keeper: StageKeeper, plan: Plan, one: StageId) -> None:
        """Start a keeper; raise ConfigError where its stage does not open."""
        cell, settings, stopping = keeper.cell, self._site.keeping.settings, self._site.stopping
        self._tasks.start_soon(keeper.run)
        # Its keeper holds it to these; a moment more, for it to say so.
        within = settings.open_within + settings.close_within + 2.0
        await self._site.keeping.bell.until(lambda: cell.stage is not None or cell.restarts or stopping(), within)
        if cell.stage is None:
            why = cell.error or ("this node is stopping" if stopping() else f"no answer within {within:g} s")
            raise ConfigError([plan.fault(one, f"cannot be opened: {why}")])

    async def _close(self, keeper: Keeper) -> bool:
        return await stop([keeper], anyio.current_time() + self._within)

    async def _put(
        self, plan: Plan, keepers: Mapping[StageId, StageKeeper], tables: Mapping[str, Table | None]
    ) -> None:
        """Let a plan and its stages take the place of those that are there, between one frame and the next."""
        roster, receivers, journal = self._roster, self._site.intake.receivers, plan.settings.intake.journal
        async with self._site.intake.between():
            gone = roster.sources.keys() - plan.stages.sources.keys()
            roster.reseat(plan, keepers)
            for key in gone:
                receivers.detach(key)
            for key, cell in roster.sources.items():
                if isinstance(cell.stage, Receiver):
                    receivers.attach(key, cell.stage)
                else:
                    receivers.detach(key)
            for key, cell in roster.sinks.items():
                cell.edges = edges(plan, "sink", key)
            receivers.own(plan.owners, tables)
            self._site.bus.limit(journal.max_bytes, journal.when_full, int(journal.min_free))
            for name, pipeline in roster.pipelines.items():
                if name in plan.pipelines:
                    pipeline.choose(self._workshop.wants(name))
            roster.handed_over.clear()

    async def _begin(self, name: str, position: int | None) -> None:
        """Start a pipeline, at its position where it has one; raise ConfigError where it does not start."""
        roster, stopping = self._roster, self._site.stopping
        roster.remove(name)
        keeper = roster.pipeline_keepers[name] = self._workshop.pipeline_keeper(name, position)
        self._tasks.start_soon(keeper.run)
        await self._site.keeping.bell.until(lambda: keeper.at_work or keeper.held or stopping())
        waited = [cell for key in roster.plan.pipelines[name].sinks if (cell := roster.sinks[key]).waited_for]
        # Where a sink is down that it waits for, it starts when that is up again.
        if not keeper.at_work and all(cell.stage is not None for cell in waited):
            why = keeper.held or "this node is stopping"
            raise ConfigError([roster.plan.fault(("pipelines", name), f"does not start: {why}")])

    async def _finish(self, name: str) -> int | None:
        """Stop a pipeline when it has delivered what it read, if it can; return its position."""
        keeper = self._roster.pipeline_keepers[name]
        keeper.finish()
        with anyio.move_on_after(self._within):
            await keeper.done.wait()
        if not (keeper.done.is_set() or await self._close(keeper)):
            message = f"did not stop within {self._within:g} s"
            raise ConfigError([self._roster.plan.fault(("pipelines", name), message)])
        return keeper.position

    # What it goes by.

    def _is_alone(self, one: StageId) -> bool:
        """Whether a stage cannot be open beside its former self."""
        kind, key = one
        plans = [plan for plan in (self._old, self._new) if key in getattr(plan.stages, kind)]
        return any(alone(declared_in(plan, one)) for plan in plans)

    def _memories(self) -> dict[str, Table | None]:
        """What becomes of what sources remember: it is of no use to another type of source, or to none."""
        old, new, sources = self._old.stages.sources, self._new.stages.sources, self._changes.sources
        other = [key for key in sources.changed if old[key].spec is not new[key].spec]
        return {**{key: Table() for key in other}, **dict.fromkeys(sources.removed)}


async def _try(cell: Cell, _: Stay) -> None:
    async with cell.step.open():
        pass
