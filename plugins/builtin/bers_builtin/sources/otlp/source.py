"""The source at work: requests become events, and events of points become what was measured since the point before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from bers import Context, Delivery, Event, Stage, Table
from bers_builtin.sources.otlp import conventions, messages, points, protobuf, records
from bers_builtin.sources.otlp.config import OtlpConfig
from bers_builtin.sources.otlp.manners import PROTOBUF
from bers_builtin.sources.otlp.points import Document, Names, Unknown
from bers_builtin.sources.otlp.told import Told, growth, is_older, values_of

MAX_UNKNOWN = 200
"""How many metrics that nothing here stands for are counted by name."""

_SCORES: Mapping[str | None, float] = {"success": 100.0, "failure": 0.0, "error": 0.0, "timeout": 0.0}


class OtlpSource(Stage[OtlpConfig]):
    def __init__(self, config: OtlpConfig, context: Context) -> None:
        super().__init__(config, context)
        self._names = Names(context.metrics, {one.name: (one.metric, one.unit) for one in config.metrics})
        self._unknown = Counter[str]()

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        try:
            now = msgspec.convert(event.data.get("point"), Told)
        except msgspec.ValidationError:  # Somebody else's event of this type: there is nothing to measure.
            return [event]
        told = self._since(event, now, table)
        if told is None:
            return [event]
        found = [
            (measures, weight)
            for value, weight in values_of(told)
            if (measures := _measures(told, value * told.scale, event.outcome))
        ]
        if not found:
            return [event]
        (first, weight), *others = found
        return [
            replace(event, measures=first, weight=weight),
            *[
                replace(event, id=f"{event.id}/{n}", measures=measures, weight=weight, cause=event.id, data={})
                for n, (measures, weight) in enumerate(others, 1)
            ],
        ]

    def tell(self) -> Mapping[str, Any]:
        return {"unknown": dict(self._unknown)}

    def _since(self, event: Event, now: Told, table: Table) -> Told | None:
        """What a point tells that none before it has told; None where there is nothing.

        Of a stream that is told since its start, the last point is remembered. That is no other whether this is the
        first time that the point is seen or a restart reads it again.
        """
        level = now.kind == "sum" and not now.monotonic
        if now.kind == "gauge" or (now.cumulative and level) or not (now.cumulative or level):
            return now
        before = _recalled(table.get(event.subject))
        if level:  # Told in steps: where it stands is what they add up to.
            now = replace(now, value=now.value + (before.value if before else 0.0))
            _remember(table, event, now)
            return now
        if is_older(before, now):
            return None
        _remember(table, event, now)
        if before is not None:
            return growth(before, now)
        moment = event.received or event.time
        if not 0 < now.start < now.time or moment - now.start / 1e9 > self.config.count_from_start:
            return None  # Nobody knows when most of it was.
        return now

    def read_metrics(self, delivery: Delivery) -> Iterator[Document | ValueError | None]:
        """The points of a request as documents of events, or what is wrong with each."""
        read = protobuf.read_metrics if delivery.media == PROTOBUF else messages.read_metrics
        for one in points.documents(read(delivery.body), self._names):
            if isinstance(one, Unknown):
                known = one.name in self._unknown or len(self._unknown) < MAX_UNKNOWN
                self._unknown[one.name[:200] if known else "other"] += 1
            yield one

    def read_logs(self, delivery: Delivery) -> Iterator[Document | ValueError | None]:
        """The events among the log records of a request, or why one is none."""
        read = protobuf.read_logs if delivery.media == PROTOBUF else messages.read_logs
        labels = {name for metric in self.context.metrics.values() for name in metric.labels}
        return records.documents(read(delivery.body), labels - {"environment", "outcome", "service"})


def _measures(told: Told, value: float, outcome: str | None) -> dict[str, float]:
    if told.kind == "sum" and told.monotonic and not value:
        return {}  # Nothing was counted since.
    if told.goal != conventions.RUN:
        return {told.goal: value}
    measures = {"build_total": 1.0}
    if outcome in (None, "success"):
        measures["build_performance"] = value
    if outcome in _SCORES:
        measures["build_success_rate"] = _SCORES[outcome]
    return measures


def _remember(table: Table, event: Event, now: Told) -> None:
    kept = msgspec.to_builtins(replace(now, metric="", goal="", unit="", scale=1.0))
    table.put(event.subject, Event("", "", "", event.time, received=event.received, data=kept))


def _recalled(known: Event | None) -> Told | None:
    return None if known is None else msgspec.convert(known.data, Told)
