"""This server itself: what lags, waits, fails or is silent, how late its own work is done, and what it never got."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from msgspec import Meta
from msgspec.structs import replace

from bers import (
    Clock,
    Config,
    Context,
    Emit,
    Event,
    Full,
    Interval,
    Metric,
    Refused,
    SourceSpec,
    Stage,
    Table,
    hookimpl,
)

TICK = 0.1
"""Seconds that the event loop is asked to wait, again and again, to see how much later it comes back."""

SAY_AGAIN = 60.0
"""Seconds after which a figure of which there is nothing to say is told nevertheless, so that charts go on."""

COUNTED = ("alert_evaluations_missed", "events_refused")
"""Figures that count what happened since the reading before: of one that nobody took, they belong to the next."""

Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


class SelfMonitoringConfig(Config, frozen=True):
    """Measure this server: what lags and waits, what fails or is silent, and what room is left to it."""

    interval: Annotated[Interval, Meta(description="The time between two readings.")] = Interval("5s")


class SelfMonitoring(Stage[SelfMonitoringConfig]):
    def __init__(self, config: SelfMonitoringConfig, context: Context) -> None:
        super().__init__(config, context)
        self._told: dict[Key, tuple[float, float]] = {}
        """What was told last of each figure that has labels, and when."""
        self._missed = 0
        self._untold: Mapping[str, float] = {}
        """What was counted for readings that nobody took."""

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        """What an emitter reports of itself: what it had to drop before it could be sent."""
        if event.type != "emitter.report":
            return (event,)
        lost = {"emitter_events_lost": event.measures["dropped"]} if "dropped" in event.measures else {}
        return (replace(event, measures=lost),)

    async def run(self, emit: Emit) -> None:
        """Measure for ever."""
        await self._evaluations()  # What was missed before we began was told, or is long ago.
        while True:
            late = await _lateness(self.context.clock, self.config.interval)
            whole = {"loop_lag": late * 1000, **await self._evaluations()}
            parts: dict[Key, float | None] = {}
            for vital in await self.context.vitals(self.config.interval):
                if vital.labels:
                    parts[vital.metric, tuple(vital.labels.items())] = vital.value
                elif vital.value is not None:
                    whole[vital.metric] = vital.value
            whole |= {name: whole.get(name, 0.0) + count for name, count in self._untold.items()}
            due, gone = self._due(parts)
            try:
                await emit([self._event(whole), *(self._event({key[0]: due[key]}, dict(key[1])) for key in due)])
            except Full:  # The next reading is a better use of the room there is, but for what was counted.
                self._untold = {name: whole[name] for name in COUNTED if whole.get(name)}
                continue
            self._untold = {}
            now = self.context.clock.monotonic()
            self._told |= {key: (value, now) for key, value in due.items()}
            for key in gone:
                del self._told[key]

    def _due(self, found: Mapping[Key, float | None]) -> tuple[Mapping[Key, float], Collection[Key]]:
        """What has labels is told when there is something to say: it is not nothing, or was not; and now and then.

        What is not there any more is nothing now; of what is there and not known, nothing is said. Return both what is
        to be told and what of it is gone.
        """
        now = self.context.clock.monotonic()
        gone = {key: 0.0 for key, (value, _) in self._told.items() if value and key not in found and _ends(key)}
        due: dict[Key, float] = {}
        for key, value in {**found, **gone}.items():
            said, at = self._told.get(key, (None, 0.0))
            if value is not None and (value or said != value or now - at >= SAY_AGAIN):
                due[key] = value
        return due, gone

    def _event(self, measures: Mapping[str, float], labels: Mapping[str, str] | None = None) -> Event:
        return self.context.event("monitoring.measured", measures=measures, labels=labels)

    async def _evaluations(self) -> Mapping[str, float]:
        """How many evaluations of the alert engine came too late since the last reading."""
        try:
            pulse = await self.context.call("GET", "alerts/heartbeat", {})
        except Refused:  # No alert engine, or it is not running, which others tell of.
            return {}
        before, self._missed = self._missed, int(pulse["missed"])
        since = before if before <= self._missed else 0  # It counts anew where it was started anew.
        return {"alert_evaluations_missed": float(self._missed - since)}


def _ends(key: Key) -> bool:
    """Whether a figure that is not read any more is nothing now: its pipeline, stage or check is there no longer."""
    return key[0] in {metric.name for metric in METRICS if metric.labels}


async def _lateness(clock: Clock, seconds: float) -> float:
    """Wait, and return by how many seconds the event loop was late at most meanwhile."""
    end = clock.monotonic() + seconds
    late = 0.0
    while (now := clock.monotonic()) < end:
        pause = min(TICK, end - now)
        await clock.sleep(pause)
        late = max(late, clock.monotonic() - now - pause)
    return late


METRICS: Sequence[Metric] = (
    Metric("loop_lag", "ms", "By how much the event loop was late at most between two readings."),
    Metric("alert_evaluations_missed", "{evaluation}", "Evaluations of the alert engine that came too late."),
    Metric("pipeline_lag", "ms", "How long the oldest event waits that a pipeline has to read.", labels=("pipeline",)),
    Metric("queue_age", "ms", "How long that waits which waits longest in front of a sink.", labels=("stage",)),
    Metric("source_overdue", "ms", "By how much a source is late that measures at an interval.", labels=("source",)),
    Metric("stage_failing", "1", "Whether a stage is failing: 1, else 0.", labels=("stage",)),
    Metric("stage_quarantined", "1", "Whether a stage was quarantined: 1, else 0.", labels=("stage",)),
    Metric(
        "check_state", "1", "What a health check says: 0 healthy, 1 degraded, 2 unhealthy; unknown is not told.",
        labels=("check",),
    ),
    Metric("journal_fill", "%", "Share of its quota that the journal has used."),
    Metric(
        "disk_headroom", "1", "Free space on the disk of the data directory, as a multiple of what is to stay free.",
        better="higher",
    ),
    Metric("events_refused", "{event}", "Events that the intake refused between two readings."),
    Metric("emitter_events_lost", "{event}", "Events that an emitter dropped before they were sent, as it reports."),
    Metric("clock_step", "ms", "By how much the wall clock was set in the last five minutes."),
    Metric("reload_failed", "1", "Whether the last reload of the configuration failed: 1, else 0."),
)  # fmt: skip

SELF_MONITORING = SourceSpec(
    "self-monitoring",
    SelfMonitoringConfig,
    SelfMonitoring,
    claims=("monitoring.measured", "emitter.report"),
    metrics=METRICS,
    log="",
)


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [SELF_MONITORING]
