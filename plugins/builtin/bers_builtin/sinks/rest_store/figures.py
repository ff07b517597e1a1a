"""What windows of a metric amount to: figures, a verdict, and a trend."""

from __future__ import annotations

from collections.abc import Sequence

from bers import Metric, Status, Window

from .answers import MetricSummary, Tiered, Trend
from .partials import Series
from .reading import Span, Totals

STEADY = 0.05
"""A mean that changes by less than this share from one half of the period to the other is stable."""


def alive(series: Sequence[Series], now: float) -> list[Series]:
    """Those of which something is kept still."""
    return [one for one in series if one.seen[0] > now - max(tier.keep for tier in one.tiers)]


def newest(series: Sequence[Series], now: float) -> tuple[float | None, int | None]:
    """The newest sample of all that is still kept, and its time in ms."""
    kept = alive(series, now)
    if not kept:
        return None, None
    last = max(kept, key=lambda one: (one.seen[0], one.last))
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


def coverage(totals: Totals, span: Span) -> float:
    """In how many per cent of the windows of a span the fullest series has samples."""
    return min(100.0, totals.filled / span.size * 100) if span.size > 0 else 0.0


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


def tier_name(width: float) -> Tiered:
    """What the runbook calls a tier whose windows are so many seconds wide."""
    if width < 60:
        return "realtime"
    if width < 300:
        return "short-term"
    return "medium-term" if width < 3600 else "long-term"
