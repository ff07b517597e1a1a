"""What REST is asked about metrics, and what it answers: figures, a verdict and a trend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bers import Metric, Period, Refused, Status, Window, period

from .partials import Series
from .reading import Totals

Trend: TypeAlias = Literal["improving", "stable", "worsening", "unknown"]

STEADY = 0.05
"""A mean that changes by less than this share from one half of the period to the other is stable."""

LATEST = 253_402_300_799_999
"""The end of the year 9999, in milliseconds since 1970."""
POINTS = 5000
"""How many points a series may be asked for at most."""
RECORDS = 1000
"""How many details may be asked for at most."""

_Millis = Annotated[int, Meta(ge=0, le=LATEST)]

Point: TypeAlias = tuple[int, int, float, float, float, float]
"""Start in ms, count, average, min, max, p95."""


class AskMetrics(msgspec.Struct):
    """What all metrics did lately."""

    period: Annotated[Period, Meta(description="How far to look back: 5m, 7d, or milliseconds.")] = "5m"


class AskMetric(msgspec.Struct, kw_only=True):
    """What one metric did in a span of time."""

    type: Annotated[str, Meta(description="The metric's name.")]
    period: Annotated[Period, Meta(description="How far to look back from `to`: 5m, 7d, or milliseconds.")] = "5m"
    from_: Annotated[_Millis | None, Meta(description="The start, in ms since 1970, instead of a period.")] = (
        msgspec.field(default=None, name="from")
    )
    to: Annotated[_Millis | None, Meta(description="The end, in ms since 1970; now if not told.")] = None
    step: Annotated[
        Period | None, Meta(description="How far apart points lie: 10s, or milliseconds; fitting if not told.")
    ] = None
    labels: Annotated[
        str,
        Meta(
            description="Only series with these labels: `kind=raw,cached=true`.",
            extra_json_schema={"pattern": "^(?:[^,=]+=[^,]*(?:,[^,=]+=[^,]*)*)?$", "examples": ["kind=raw"]},
        ),
    ] = ""
    points: Annotated[
        int,
        Meta(
            description=f"How many points a series may have at most, up to {POINTS}.",
            extra_json_schema={"minimum": 1, "maximum": POINTS},
        ),
    ] = 300


class AskReport(msgspec.Struct):
    """How all metrics stand."""

    period: Annotated[Period, Meta(description="What the report covers: 5m, 7d, or milliseconds.")] = "5m"


class AskRecords(msgspec.Struct):
    """Which event details are wanted."""

    id: Annotated[
        str, Meta(description="Only the event of this id; `type`, `subject` and `since` do not matter then.")
    ] = ""
    source: Annotated[str, Meta(description="With `id`: its source, where several may have used the id.")] = ""
    type: Annotated[str, Meta(description="An event type, or all of a kind as in `build.*`.")] = "*"
    subject: Annotated[str, Meta(description="Only what happened to this.")] = ""
    since: Annotated[_Millis, Meta(description="Only what happened from then on, in ms since 1970.")] = 0
    limit: Annotated[
        int,
        Meta(
            description=f"How many at most, up to {RECORDS}.",
            extra_json_schema={"minimum": 1, "maximum": RECORDS},
        ),
    ] = 50


class MetricSummary(msgspec.Struct, rename="camel", kw_only=True):
    """One metric over one period, all its series together, in the metric's unit.

    ``current`` is the newest sample of all, whenever it was. ``trend`` compares the mean of the period's second half
    with that of the first. ``healthStatus`` is unhealthy where the mean misses the target, degraded where the p95 or
    the newest sample does, and unknown without a sample.
    """

    type: str
    title: str
    unit: str
    description: str
    target: float | None
    current: float | None
    average: float | None = None
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    count: int = 0
    trend: Trend = "unknown"
    health_status: Status = "unknown"
    last_updated: int | None = None
    period_ms: int = 0


class Line(msgspec.Struct, rename="camel"):
    """One series: its labels, and points of (start in ms, count, average, min, max, p95)."""

    labels: dict[str, str]
    points: list[Point]


class MetricAnswer(MetricSummary, rename="camel", kw_only=True):
    """One metric with its series. ``from`` and ``to`` are widened to whole windows of the tier that answers."""

    from_: int = msgspec.field(default=0, name="from")
    to: int = 0
    width_ms: int = 0
    step_ms: int = 0
    series_count: int = 0
    """How many series there are; those with the most samples are told."""
    series: list[Line] = []


class BufferBeside(msgspec.Struct, rename="camel"):
    """How full the buffers are, 0 to 1: windows of each metric that no page holds yet, and the fullest of all."""

    buffer_utilization: dict[str, float]


class Cleared(msgspec.Struct, rename="camel"):
    """How many decoded pages were dropped, and about how many bytes they took."""

    cleared: int
    bytes: int


Record: TypeAlias = dict[str, Any]


def seconds(text: str) -> float:
    """A period as it was asked for."""
    try:
        return period(text)
    except ValueError as exc:
        raise Refused("bad_request", str(exc)) from exc


def labels_of(text: str) -> dict[str, str]:
    """``kind=raw,cached=true`` as a mapping."""
    result: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise Refused("bad_request", f"labels: {part!r} has no '='; write labels=kind=raw,cached=true")
        result[name.strip()] = value.strip()
    return result


def newest(series: Sequence[Series], now: float) -> tuple[float | None, int | None]:
    """The newest sample of all that is still kept, and its time in ms."""
    kept = [one for one in series if one.seen[0] > now - max(tier.keep for tier in one.tiers)]
    if not kept:
        return None, None
    last = max(kept, key=lambda one: (one.seen, one.last))
    return last.last, round(last.seen[0] * 1000)


def summarize(metric: Metric, series: Sequence[Series], totals: Totals, now: float, period: float) -> MetricSummary:
    current, updated = newest(series, now)
    summary = MetricSummary(
        type=metric.name,
        title=title(metric),
        unit=metric.unit,
        description=metric.description,
        target=metric.target,
        current=current,
        last_updated=updated,
        period_ms=round(period * 1000),
    )
    if whole := totals.whole:
        summary.count = whole.count
        summary.average = whole.sum / whole.count
        summary.min, summary.max = whole.min, whole.max
        summary.p50, summary.p95, summary.p99 = (whole.quantile(share) for share in (0.5, 0.95, 0.99))
        summary.trend = trend(metric, totals)
    summary.health_status = verdict(metric, summary)
    return summary


def verdict(metric: Metric, summary: MetricSummary) -> Status:
    """How a metric stands to its target."""
    mean = summary.current if summary.average is None else summary.average
    if mean is None:
        return "unknown"
    if not metric.meets(mean):
        return "unhealthy"
    # The tail on the bad side: p95 says nothing against a metric of which more is better.
    tail = summary.p95 if metric.better == "lower" else None
    return "healthy" if all(metric.meets(one) for one in (tail, summary.current) if one is not None) else "degraded"


def trend(metric: Metric, totals: Totals) -> Trend:
    """Whether the second half of the period was better than the first."""
    if totals.first is None or totals.second is None:
        return "unknown"
    before, after = mean(totals.first), mean(totals.second)
    if abs(after - before) <= STEADY * abs(before):
        return "stable"
    if metric.better == "neither":
        return "unknown"
    return "improving" if (after < before) == (metric.better == "lower") else "worsening"


def mean(window: Window) -> float:
    return window.sum / window.count


def title(metric: Metric) -> str:
    return metric.title or metric.name.replace("_", " ").capitalize()
