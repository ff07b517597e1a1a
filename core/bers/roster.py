"""Who is in place: every stage and every pipeline, each with the keeper that looks after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from bers.cells import Cell, Kind
from bers.config import Plan
from bers.keepers import Keeper
from bers.pipeline import Pipeline
from bers.pipeline_keeper import PipelineKeeper
from bers.stage_keeper import StageKeeper
from bers.stages import Source

T = TypeVar("T")

StageId: TypeAlias = tuple[str, str]
"""``sources`` or ``sinks``, and a key."""

KINDS: Mapping[str, Kind] = {"sources": "source", "sinks": "sink"}
"""What has keepers of its own; the processors of a pipeline are looked after together with it."""


class Roster:
    """The stages and pipelines of one node. There is one for its whole life; others take places in it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        """The configuration that is in place."""
        self.source_keepers: dict[str, StageKeeper] = {}
        self.pipeline_keepers: dict[str, PipelineKeeper] = {}
        self.sink_keepers: dict[str, StageKeeper] = {}
        self.pipelines: dict[str, Pipeline] = {}
        """As each was started last."""
        self.handed_over: list[Cell] = []
        """Stages that are closed until others take their place; sources read on: `receive` needs nothing open."""

    @property
    def sources(self) -> Mapping[str, Cell]:
        return {key: keeper.cell for key, keeper in self.source_keepers.items()}

    @property
    def processors(self) -> Mapping[str, Cell]:
        """By pipeline and key, as in ``metrics/aggregation``."""
        return {cell.name: cell for keeper in self.pipeline_keepers.values() for cell in keeper.cells}

    @property
    def sinks(self) -> Mapping[str, Cell]:
        return {key: keeper.cell for key, keeper in self.sink_keepers.items()}

    @property
    def cells(self) -> Sequence[Cell]:
        """Every source, every processor of every pipeline, and every sink."""
        return [cell for keeper in self.keepers for cell in keeper.cells]

    @property
    def keepers(self) -> Sequence[Keeper]:
        """In the order in which events pass what they keep."""
        return [*self.source_keepers.values(), *self.pipeline_keepers.values(), *self.sink_keepers.values()]

    @property
    def held(self) -> Mapping[str, str]:
        """The pipelines through which nothing goes, and why."""
        return {name: keeper.held for name, keeper in self.pipeline_keepers.items() if keeper.held}

    def queued(self) -> int:
        """Bytes of what waits in the queues of sinks."""
        return sum(queue.bytes for pipeline in self.pipelines.values() for queue in pipeline.queues.values())

    def running(self, name: str) -> Any | None:
        """The open stage of that type: the primary one where there are several."""
        cells = [cell for cell in self.cells if cell.spec.name == name and cell.stage is not None]
        cells.sort(key=lambda cell: not cell.declared.primary)
        return cells[0].stage if cells else None

    def has(self, cell: Cell) -> bool:
        """Whether a stage is in place, rather than just being tried, or closed because another is."""
        return any(cell is one for one in self.cells)

    def is_handed_over(self, cell: Cell) -> bool:
        """Whether it is closed because another is about to take its place."""
        return any(cell is one for one in self.handed_over)

    def is_replaced(self, cell: Cell) -> bool:
        """Whether another is about to take its place, or has it: that it is closed is no fault then."""
        return self.is_handed_over(cell) or not self.has(cell)

    # What is asked of keepers.

    def restart(self, key: str) -> list[str]:
        """Close and open anew the stage of that key, in every pipeline; at once, and with a budget that is whole."""
        found: list[str] = []
        for keeper in self.keepers:
            if names := [cell.name for cell in keeper.cells if key in (cell.key, cell.name)]:
                found += names
                keeper.restart()
        return found

    def restart_sources(self) -> list[str]:
        """Close and open every source that measures by itself; return their keys."""
        keys = [key for key, cell in self.sources.items() if isinstance(cell.stage, Source)]
        keys += [key for key, cell in self.sources.items() if cell.stage is None and cell.down]
        for key in keys:
            self.source_keepers[key].restart()
        return keys

    def fail(self, cell: Cell, exc: BaseException, /, *, given_up: bool = False) -> None:
        """Say that a sink has to be started anew, and why; nobody minds where it is not in place."""
        keeper = self.sink_keepers.get(cell.key)
        if keeper and self.has(cell):
            keeper.fail(exc, given_up=given_up)

    # Who takes whose place.

    def stages(self) -> dict[StageId, StageKeeper]:
        """The keepers of sources and sinks, in one."""
        sources = {("sources", key): keeper for key, keeper in self.source_keepers.items()}
        return {**sources, **{("sinks", key): keeper for key, keeper in self.sink_keepers.items()}}

    def seat(self, one: StageId, keeper: StageKeeper) -> None:
        """Let one keeper take its place."""
        kind, key = one
        (self.source_keepers if kind == "sources" else self.sink_keepers)[key] = keeper

    def reseat(self, plan: Plan, keepers: Mapping[StageId, StageKeeper]) -> None:
        """Let a plan, its sources and its sinks take the place of those that are there."""
        self.plan = plan
        _refill(self.source_keepers, {key: keepers["sources", key] for key in plan.stages.sources})
        _refill(self.sink_keepers, {key: keepers["sinks", key] for key in plan.stages.sinks})

    def remove(self, name: str) -> None:
        """Forget a pipeline that has stopped."""
        self.pipeline_keepers.pop(name, None)
        self.pipelines.pop(name, None)

    def arrange(self) -> None:
        """Put the pipelines in the order of the plan, which is the order in which they are shown."""
        names = list(self.plan.pipelines)
        _refill(self.pipeline_keepers, {name: self.pipeline_keepers[name] for name in names})
        _refill(self.pipelines, {name: self.pipelines[name] for name in names if name in self.pipelines})


def _refill(here: dict[str, T], chosen: Mapping[str, T]) -> None:
    """Fill an object that others look at with something else."""
    here.clear()
    here.update(chosen)
