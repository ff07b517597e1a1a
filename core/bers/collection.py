"""The check `metrics-collector`: whether what happens is taken in, kept and told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bers.cells import Cell
from bers.checks import Check, Finding
from bers.counters import Counters
from bers.directory import Directory
from bers.errors import Refused
from bers.log import Log
from bers.operations import Caller
from bers.pipeline import Pipeline
from bers.units import Interval

JOURNAL_REMEDY = "Make room on the disk, raise intake.journal.max_bytes, or mend the sink that lags (`bers status`)."
STAGE_REMEDY = "See `bers status` for the error of each stage; it is restarted by itself."


@dataclass(frozen=True)
class Collection:
    """Everything that an event passes, to be looked at as a whole."""

    bus: Log
    counters: Counters
    directory: Directory
    sources: Mapping[str, Cell]
    sinks: Mapping[str, Cell]
    pipelines: Mapping[str, Pipeline]

    async def look(self) -> Finding:
        cells = [*self.sources.values(), *self.sinks.values()]
        failing = {cell.key: cell.error for cell in cells if cell.state == "failing"}
        required = [cell.key for cell in self.sinks.values() if cell.declared.delivery.required]
        door = self.counters.edge("intake")
        _, end = await self.bus.span(0)
        details = {
            "accepted": door.out,
            "duplicates": door.filtered,
            "bufferUtilization": {**await self._buffers(), "journal": round(self.bus.fill, 4)},
            "lag": {name: max(0, end - pipeline.position) for name, pipeline in self.pipelines.items()},
            "failing": failing,
            "unaccounted": self.counters.gaps(),
        }
        if self.bus.fill >= 1:
            return Finding("unhealthy", "the journal is full: new events are refused", details, JOURNAL_REMEDY)
        if any(key in failing for key in required):
            return Finding("unhealthy", f"a required sink fails: {', '.join(failing)}", details, STAGE_REMEDY)
        if failing:
            return Finding("degraded", f"failing: {', '.join(failing)}", details, STAGE_REMEDY)
        return Finding("healthy", "events are taken in and delivered", details)

    async def _buffers(self) -> Mapping[str, Any]:
        """How full the store's buffers are, as it says beside its metrics."""
        routes, _ = self.directory.match("/api/monitoring/metrics")
        try:
            reply = await self.directory.ask(routes["GET"], {}, Caller("bers"))
        except (KeyError, Refused):
            return {}
        return dict(reply.beside.get("bufferUtilization", {}))


CHECK = Check(
    "metrics-collector",
    Collection.look,
    "Whether events are taken in, kept and delivered.",
    interval=Interval("10s"),
    critical=True,
)
