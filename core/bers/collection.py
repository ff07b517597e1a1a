"""The check `metrics-collector`: whether what happens is taken in, kept and told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from bers import disk
from bers.cells import Cell
from bers.checks import Check, Finding
from bers.config import Plan
from bers.counters import Counters
from bers.dead_letters import DeadLetters
from bers.directory import Directory
from bers.errors import Refused
from bers.log import Log
from bers.memory import Memory
from bers.operations import Caller
from bers.pipeline import Pipeline
from bers.series import Series
from bers.timekeeping import Timekeeping
from bers.units import Interval

JOURNAL_REMEDY = "Make room on the disk, raise intake.journal.max_bytes, or mend the sink that lags (`bers status`)."
DISK_REMEDY = "Make room on the disk, or let this server write to its data directory; it tries again by itself."
MEMORY_REMEDY = "Send less at once, or raise intake.memory."
DEAD_REMEDY = "Look at them (`bers dead list`), then replay or drop them; dead_letters.max_bytes says how many may be."
LABELS_REMEDY = (
    "Let that emitter put what has endless values (a run's number, a user, a path) in `data`, or raise intake.labels."
)
CLOCK_REMEDY = (
    "See who set the clock of this machine. What is stored by the wrong time stays under it; after a step forward "
    "nothing is forgotten by the new time before it has stood for an hour."
)
STAGE_REMEDY = "See `bers status` for the error of each stage; it is restarted by itself."

QUARANTINE_REMEDY = "See `bers status` for the error of each stage; mend it, then `bers stages restart KEY`."
PLUGIN_REMEDY = "`bers plugins list` says why; mend or remove them, then `bers restart`."

MOST_TOLD = 10
"""How many of those are named whose labels have too many values."""


@runtime_checkable
class Buffering(Protocol):
    """A store that says at once how full its buffers are."""

    def utilization(self) -> Mapping[str, float]:
        """By metric, 0 to 1, and the fullest as ``overall``."""
        ...


@dataclass(frozen=True)
class Collection:
    """Everything that an event passes, to be looked at as a whole."""

    bus: Log
    memory: Memory
    counters: Counters
    directory: Directory
    cells: Callable[[], Sequence[Cell]]
    pipelines: Mapping[str, Pipeline]
    held: Callable[[], Mapping[str, str]]
    """The pipelines through which nothing goes, and why."""
    plan: Callable[[], Plan]
    """The configuration that is in place."""
    dead: DeadLetters
    time: Timekeeping
    series: Series

    async def look(self) -> Finding:
        cells, held, plan = self.cells(), self.held(), self.plan()
        required = {cell.key for cell in cells if cell.kind == "sink" and cell.declared.delivery.required}
        down = {cell.name: cell.error for cell in cells if cell.down}
        weak = {cell.name: cell.standing.reason for cell in cells if cell.state == "degraded"}
        stopped = [name for name in held if required & set(plan.pipelines[name].sinks)]
        door = self.counters.edge("intake")
        _, end = await self.bus.span(0)
        details = {
            "accepted": door.out,
            "duplicates": door.filtered,
            "bufferUtilization": {**await self._buffers(), "journal": round(self.bus.fill, 4)},
            "memory": {"budget": self.memory.budget, "used": self.memory.used, "refused": self.memory.refused},
            "lag": {name: max(0, end - pipeline.position) for name, pipeline in self.pipelines.items()},
            "failing": down,
            "quarantined": [cell.name for cell in cells if cell.standing.settled == "quarantined"],
            "degraded": weak,
            "held": dict(held),
            "pluginsFailed": {name: str(error) for name, error in plan.catalogue.failed.items()},
            "deadLetters": {"letters": self.dead.count, "bytes": self.dead.bytes, "droppedRecords": self.dead.dropped},
            "clock": _clock(self.time),
            "labelsFolded": culprits(self.series),
            "unaccounted": self.counters.gaps(),
        }
        if self.bus.fault:
            why = f"the journal cannot be written: {self.bus.fault}; new events are refused"
            return Finding("unhealthy", why, details, DISK_REMEDY)
        if self.bus.fill >= 1:
            return Finding("unhealthy", "the journal is full: new events are refused", details, JOURNAL_REMEDY)
        if wrong := [key for key in required if key in down]:
            return Finding("unhealthy", f"a required sink fails: {', '.join(wrong)}", details, _remedy(details))
        if stopped and down:
            message = f"nothing gets to a required sink through {', '.join(stopped)}: failing: {', '.join(down)}"
            return Finding("unhealthy", message, details, _remedy(details))
        if down:
            return Finding("degraded", f"failing: {', '.join(down)}", details, _remedy(details))
        if self.memory.refusing:
            return Finding("degraded", "memory is short: some new events are refused", details, MEMORY_REMEDY)
        if held:
            names = "; ".join(f"{name}: {why}" for name, why in held.items())
            return Finding("degraded", f"nothing goes through {names}", details, STAGE_REMEDY)
        if weak:
            return Finding("degraded", f"not quite well: {', '.join(weak)}", details, STAGE_REMEDY)
        if failed := plan.catalogue.failed:
            return Finding("degraded", f"plugins could not be loaded: {', '.join(failed)}", details, PLUGIN_REMEDY)
        if self.dead.full:
            return Finding("degraded", "the dead letters have reached their quota", details, DEAD_REMEDY)
        if worst := self.series.worst:
            whose = f" of {worst.metric!r}" if worst.metric else ""
            message = f"{worst.source!r} sends too many values of label {worst.label!r}{whose}; more count as 'other'"
            return Finding("degraded", message, details, LABELS_REMEDY)
        if self.time.trouble:
            return Finding("degraded", self.time.trouble, details, CLOCK_REMEDY)
        return Finding("healthy", "events are taken in and delivered", details)

    async def _buffers(self) -> Mapping[str, Any]:
        """How full the store's buffers are, as it says beside its metrics."""
        routes, _ = self.directory.match("/api/monitoring/metrics")
        try:
            stage = routes["GET"].stage()
            if isinstance(stage, Buffering):  # The figures of every metric are much to read for so little.
                return stage.utilization()
            reply = await self.directory.ask(routes["GET"], {}, Caller("bers"))
        except Exception as exc:
            if not (isinstance(exc, (KeyError, Refused)) or disk.disk_fault(exc)):
                raise
            return {}
        return dict(reply.beside.get("bufferUtilization", {}))


def culprits(series: Series) -> Sequence[Mapping[str, Any]]:
    """Who sends more values of labels than there are series for, those first who send most."""
    most = sorted(series.culprits.items(), key=lambda one: -one[1])[:MOST_TOLD]
    return [{**one._asdict(), "values": count} for one, count in most]


def _clock(time: Timekeeping) -> Mapping[str, Any]:
    return {
        "jumps": dict(time.jumps),
        "last": str(time.last or "") or None,
        "forgettingBehindSeconds": round(time.clock.behind, 3),
    }


def _remedy(details: Mapping[str, Any]) -> str:
    return QUARANTINE_REMEDY if details["quarantined"] else STAGE_REMEDY


CHECK = Check(
    "metrics-collector",
    Collection.look,
    "Whether events are taken in, kept and delivered.",
    interval=Interval("10s"),
    critical=True,
)
