"""Where what a plan declares is made: stages with what is lent to them, pipelines, and the keepers of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import anyio

from bers.bus import Bus
from bers.cells import Budget, Cell, Kind, Pause
from bers.clock import Clock
from bers.config import Declared, Plan
from bers.counters import Counters
from bers.dead_letters import DeadLetters
from bers.delivery import Target
from bers.guards import Post, Waited, Way, step
from bers.housekeeping import Housekeeping
from bers.intake import Intake
from bers.keepers import Keeping
from bers.pipeline import Pipeline
from bers.pipeline_keeper import PipelineKeeper
from bers.recorded import OnBus
from bers.roster import KINDS, Roster, StageId
from bers.seats import Seats
from bers.stage_keeper import StageKeeper
from bers.stages import Context, DurableSpec
from bers.states import Change, Standing
from bers.tables import Table


@dataclass(frozen=True)
class Workshop:
    """Makes what one node runs. What it makes is in place when it is in the roster; until then it is being tried."""

    roster: Roster
    keeping: Keeping
    lend: Callable[[str], Context]
    """What the node lends to the stage of that key."""
    changed: Callable[[Cell, Change], None]
    """Hears of every stage in place that comes to another state."""
    clock: Clock
    counters: Counters
    bus: Bus
    intake: Intake
    housekeeping: Housekeeping
    dead: DeadLetters
    seats: Seats
    _lent: dict[str, Context] = field(default_factory=dict[str, Context])

    def fill(self, plan: Plan) -> None:
        """Make everything that a plan declares, and put it in the roster, which is empty."""
        sources, sinks = plan.stages.sources, plan.stages.sinks
        stages: list[StageId] = [*(("sources", key) for key in sources), *(("sinks", key) for key in sinks)]
        self.roster.reseat(plan, {one: self.stage_keeper(plan, one) for one in stages})
        self.roster.pipeline_keepers.update((name, self.pipeline_keeper(name)) for name in plan.pipelines)

    def stage_keeper(
        self, plan: Plan, one: StageId, go: anyio.Event | None = None, table: Table | None = None
    ) -> StageKeeper:
        """A source or a sink, as a plan declares it, and who keeps it.

        ``go`` is set when it may emit: with everybody else if not told. ``table`` is what a source remembers: what its
        key is remembered by if not told.
        """
        cell = self._cell(plan, declared_in(plan, one), KINDS[one[0]], table=table)
        keeping = replace(self.keeping, go=go or self.keeping.go)
        return StageKeeper(cell, keeping, self.seats.of(cell), partial(self.seats.emit, cell))

    def processors(self, plan: Plan, pipeline: str) -> list[Cell]:
        """The processors of a pipeline, as a plan declares them."""
        keys = plan.pipelines[pipeline].processors
        return [self._cell(plan, plan.stages.processors[key], "processor", pipeline) for key in keys]

    def pipeline_keeper(self, name: str, begin: int | None = None) -> PipelineKeeper:
        """A pipeline of the plan that is in place, and who keeps it.

        ``begin`` is where its sinks go on that hold no position: the end of the bus if not told.
        """
        plan, sinks = self.roster.plan, self.roster.sinks
        waited = [sinks[key] for key in plan.pipelines[name].sinks if sinks[key].waited_for]
        processors = self.processors(plan, name)
        return PipelineKeeper(
            name, processors, waited, self.bus, self.counters, self.keeping, Pause(self.clock),
            partial(self._pipeline, name, processors), self.roster.fail, holds=bool(waited), begin=begin,
        )  # fmt: skip

    def wants(self, name: str) -> Callable[[str], bool]:
        """Whether a pipeline reads the events of a type, by the plan that is in place."""
        plan = self.roster.plan
        owners, sources = plan.owners, frozenset(plan.pipelines[name].sources)
        return lambda event_type: owners.of(event_type) in sources

    def _pipeline(self, name: str, processors: list[Cell], post: Post) -> Pipeline:
        sinks = self.roster.sinks
        pipeline = self.roster.pipelines[name] = Pipeline(
            name,
            [step(cell, post) for cell in processors],
            [self._target(sinks[key], name, post) for key in self.roster.plan.pipelines[name].sinks],
            self.wants(name),
            self.counters,
            self.clock,
            dead=self.dead,
        )
        return pipeline

    def _target(self, cell: Cell, pipeline: str, post: Post) -> Target:
        durable = isinstance(cell.spec, DurableSpec)
        begin = self.housekeeping.begins.get((cell.key, pipeline))
        shared = self.keeping
        edge = self.counters.edge(f"{pipeline}/{cell.key}")
        way = Way(cell, shared.ward, shared.bell, shared.settings, self.roster.fail, edge)
        sink = Waited(cell, post) if cell.waited_for else way
        return Target(cell.key, sink, durable, cell.declared.delivery, begin)

    def _cell(self, plan: Plan, declared: Declared, kind: Kind, pipeline: str = "", table: Table | None = None) -> Cell:
        supervision, key = plan.settings.supervision, declared.key

        def changed(change: Change) -> None:
            if self.roster.has(cell):  # What is just being tried is nobody's business yet.
                self.changed(cell, change)

        cell = Cell(
            declared,
            self._context(key, table),
            kind,
            Standing(self.clock, changed),
            Budget(self.clock, supervision.restarts, supervision.within),
            Budget(self.clock, supervision.watchdog.blocks, supervision.watchdog.within),
            edges(plan, kind, key, pipeline),
            pipeline,
        )
        if kind == "source" or declared.source:
            cell.running = self.counters.edge(f"source/{key}")
        return cell

    def _context(self, key: str, table: Table | None) -> Context:
        if key not in self._lent:
            self._lent[key] = self.lend(key)
        # Always of the first one: the numbers of a stage's events go on, however often it is changed.
        return replace(
            self._lent[key],
            table=self.intake.receivers.table(key) if table is None else table,
            recorded=OnBus(self.bus, lambda: self._given(key)),
        )

    def _given(self, key: str) -> Callable[[str], bool]:
        """Whether a sink is given the events of a type, by the plan that is in place."""
        given = [self.wants(name) for name, one in self.roster.plan.pipelines.items() if key in one.sinks]
        return lambda event_type: any(wants(event_type) for wants in given)


def declared_in(plan: Plan, one: StageId) -> Declared:
    """What a plan says of one stage."""
    kind, key = one
    declared: Mapping[str, Declared] = getattr(plan.stages, kind)
    return declared[key]


def edges(plan: Plan, kind: Kind, key: str, pipeline: str = "") -> list[str]:
    """Where a stage is counted."""
    if kind == "sink":
        return [f"{name}/{key}" for name, one in plan.pipelines.items() if key in one.sinks]
    return [f"source/{key}"] if kind == "source" else [f"{pipeline}/{key}"]
