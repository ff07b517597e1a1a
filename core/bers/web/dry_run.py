"""What would become of events that somebody would like to hand in: each as it would be kept, and what it measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from bers.catalog import Metric
from bers.decoding import Decoded, Rejection
from bers.intake import Intake
from bers.receivers import Rehearsal
from bers.records import Event
from bers.redaction import Redactor

AT_MOST = 100
"""How many events are shown, and what they measure: sources read them at once."""

MAX_SHOWN = 256 << 10
"""Bytes of events beyond which no more are shown: nobody reads them, and sources read them at once."""

_FIELDS = ("environment", "outcome", "service")
"""Labels that an event need not repeat, because it has them as fields."""


class Figure(msgspec.Struct, frozen=True):
    """A number that one event would write into a metric."""

    event: int
    """Which of the events."""
    metric: str
    value: float
    unit: str
    labels: dict[str, str]


class Fate(msgspec.Struct, frozen=True, omit_defaults=True):
    """What would become of one event."""

    event: int
    source: str
    """The source in pipelines.yaml that reads it; `unmapped` where none does."""
    duplicate: bool = False
    """It was handed in before, and would not be taken."""
    ignored: list[str] = []
    """Measures that no metric is declared for."""
    follows: list[str] = []
    """The types of the events that would follow from it."""
    error: str = ""
    """Why the source could not read it; it would be kept as it came."""


class DryRun(msgspec.Struct, frozen=True, rename="camel"):
    """What would become of the events of one request: each as it would be kept, and the metrics that it would write.
    Of many, the first are shown.
    """

    total: int
    """How many events would be taken, unless they are repeats."""
    total_rejected: int
    events: list[Any]
    rejected: list[Rejection]
    fates: list[Fate]
    metrics: list[Figure]


def dry_run(decoded: Decoded, redactor: Redactor, intake: Intake, metrics: Mapping[str, Metric]) -> DryRun:
    """Let sources read the events, and look at what they make of them; nothing is kept."""
    shown = list(_shown(decoded.events, redactor))
    found = list(enumerate(intake.rehearse(shown)))
    return DryRun(
        len(decoded.events),
        len(decoded.rejected),
        [msgspec.to_builtins(event) for event in shown],
        list(decoded.rejected[:AT_MOST]),
        [_fate(index, one, metrics) for index, one in found],
        [figure for index, one in found if not one.known for figure in _figures(index, one, metrics)],
    )


def _shown(events: Sequence[Event], redactor: Redactor) -> Iterator[Event]:
    """The first events, as they would be kept."""
    size = 0
    for event in events[:AT_MOST]:
        yield redactor.event(event)
        size += len(msgspec.json.encode(event))
        if size > MAX_SHOWN:
            return


def _fate(index: int, rehearsal: Rehearsal, metrics: Mapping[str, Metric]) -> Fate:
    measures = [name for event in rehearsal.events for name in event.measures]
    return Fate(
        index,
        rehearsal.owner,
        rehearsal.known,
        sorted({name for name in measures if name not in metrics}),
        sorted({event.type for event in rehearsal.events[1:]}),
        rehearsal.error,
    )


def _figures(index: int, rehearsal: Rehearsal, metrics: Mapping[str, Metric]) -> list[Figure]:
    return [
        Figure(index, name, value, metric.unit, _labels(event, metric))
        for event in rehearsal.events
        for name, value in event.measures.items()
        if (metric := metrics.get(name)) is not None
    ]


def _labels(event: Event, metric: Metric) -> dict[str, str]:
    said = {
        name: event.labels.get(name) or (getattr(event, name) if name in _FIELDS else None) for name in metric.labels
    }
    return {name: value for name, value in said.items() if value}
