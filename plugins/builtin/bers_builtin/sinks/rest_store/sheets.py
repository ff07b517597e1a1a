"""The store's answers as tables: times as RFC 3339 and in milliseconds, units in the names of columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bers import Event, Reply, Sheet, rfc3339

from .answers import AskCurrent, AskMetric, AskMetrics, AskRecords, AskReport, MetricAnswer, MetricSummary, Record
from .answers import Standing as Current
from .report import Report

_UNITS = {"%": "percent", "By": "bytes", "By/s": "bytes_per_second", "1": ""}

_SUMMARY = (
    "type", "title", "unit", "current", "average", "min", "max", "p50", "p95", "p99", "count", "target", "trend",
    "health_status",
)  # fmt: skip
_TIMES = ("time", "time_ms")
_RECEIVED = ("received", "received_ms")
_UPDATED = ("last_updated", "last_updated_ms")
_RECORD = [name for name in Event.__struct_fields__ if name not in ("time", "received")]


def metric(ask: AskMetric, reply: Reply[MetricAnswer]) -> Sheet:
    """A row for each point of each line, with the labels of the line."""
    answer = reply.data
    labels = sorted({name for line in answer.series for name in line.labels})
    figures = [name if name == "count" else column(name, answer.unit) for name in answer.line_fields[1:]]
    return Sheet(
        f"{answer.type}-{ask.period if ask.from_ is None else 'series'}",
        [*_TIMES, *(f"label_{name}" for name in labels), *figures],
        (
            [*_times(round(start)), *(line.labels.get(name, "") for name in labels), *values]
            for line in answer.series
            for start, *values in line.points
        ),
    )


def metrics(ask: AskMetrics, reply: Reply[dict[str, MetricSummary]]) -> Sheet:
    return Sheet(
        f"metrics-{ask.period}",
        [*_SUMMARY, *_UPDATED, "period_ms"],
        ([*_summary(one), one.period_ms] for one in reply.data.values()),
    )


def current(_: AskCurrent, reply: Reply[dict[str, list[Current]]]) -> Sheet:
    return Sheet(
        "current",
        ["type", "labels", "value", *_UPDATED, "count", "sum", "p50", "p95", "p99"],
        (
            [name, one.labels, one.value, *_times(one.last_updated), one.count, one.sum, one.p50, one.p95, one.p99]
            for name, series in reply.data.items()
            for one in series
        ),
    )


def report(ask: AskReport, reply: Reply[Report]) -> Sheet:
    """A row for each metric; what is recommended about it stands in the last columns."""
    advice = {one.metric: one for one in reply.data.recommendations}
    before = ("count", "average", "p95", "tier", "coverage_percent", "change_percent")

    def rows() -> Iterable[Sequence[Any]]:
        for name, one in reply.data.metrics.items():
            then, found = one.previous, advice.get(name)
            yield [
                *_summary(one), one.period_ms, one.tier, one.width_ms, one.coverage, then.count, then.average, then.p95,
                then.tier, then.coverage, then.change,
                *((found.kind, found.message, found.step) if found else ("",) * 3),
            ]  # fmt: skip

    return Sheet(
        f"report-{ask.period}",
        [
            *_SUMMARY, *_UPDATED, "period_ms", "tier", "width_ms", "coverage_percent",
            *(f"previous_{name}" for name in before), "concern", "recommendation", "step",
        ],
        rows(),
    )  # fmt: skip


def records(_: AskRecords, reply: Reply[list[Record]]) -> Sheet:
    """A row for each event, with every field that an event has."""
    return Sheet(
        "records",
        [*_TIMES, *_RECORD, *_RECEIVED],
        (
            [one["time"], one["timestamp"], *(one.get(name) for name in _RECORD), *_received(one.get("received"))]
            for one in reply.data
        ),
        reply.beside.get("next") or "",
    )


def column(name: str, unit: str) -> str:
    """The name of a column, with its unit: ``average_ms``, ``max_percent``, ``sum_bytes``."""
    suffix = _UNITS.get(unit, unit.strip("{}"))
    return f"{name}_{suffix}" if suffix else name


def _times(milliseconds: int | None) -> Sequence[Any]:
    return (None, None) if milliseconds is None else (rfc3339(milliseconds / 1000), milliseconds)


def _received(seconds: float | None) -> Sequence[Any]:
    return _times(None if seconds is None else round(seconds * 1000))


def _summary(one: MetricSummary) -> Sequence[Any]:
    return [*(getattr(one, name) for name in _SUMMARY), *_times(one.last_updated)]
