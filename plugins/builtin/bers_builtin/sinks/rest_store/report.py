"""The performance report: every metric against its target and its past, and what the runbook would do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Literal, TypeAlias

import msgspec

from bers import Catalog, Metric, Status, Window, format_duration, format_value, rfc3339

from .answers import MetricSummary, Tiered
from .figures import STEADY, coverage, mean, tier_name, title
from .reading import Span, Totals

Standing: TypeAlias = Literal["excellent", "good", "missed", "unknown"]
Concern: TypeAlias = Literal["missed", "worse", "silent"]

BASELINES = (
    ("Build Time", "build_performance"),
    ("Configuration Resolution", "configuration_resolution_time"),
    ("Provider Initialization", "provider_initialization_time"),
    ("Deployment Time", "deployment_performance"),
    ("Test Coverage", "test_coverage"),
    ("Error Rate", "error_rate"),
)
"""The rows of the runbook's table, and its critical threshold for errors."""

LIMITS: Mapping[str, tuple[float, bool]] = {
    "cache_hit_rate": (60.0, True),
    "error_rate": (1.0, False),
    "system_memory_usage": (80.0, False),
}
"""What the runbook calls too much (or, where True, too little) of metrics that may have no target, in their unit."""

STEPS = {
    "build_performance": "Build Performance Degraded: review logs/build.log, check health/system-resources, then "
    "dependencies (bers doctor)",
    "configuration_resolution_time": "Configuration Resolution Slow: check metrics/cache_hit_rate, then "
    "POST environment-resolver/clear-cache and watch metrics/configuration_resolution_time",
    "cache_hit_rate": "Configuration Resolution Slow, steps 2 and 3: check metrics/cache_hit_rate, then "
    "POST environment-resolver/clear-cache",
    "provider_initialization_time": "Provider Initialization Time: see metrics/provider_initialization_time, then "
    "health/provider-health and logs/provider-health.log",
    "error_rate": "Environment Detection Failed: check health/environment-resolver, the environment variables and "
    "files, and run bers env detect",
    "environment_detection_time": "Environment Detection Failed, step 1: check health/environment-resolver",
    "system_memory_usage": "High Memory Usage: check health/system-resources and bufferUtilization, reduce retention, "
    "enable adaptive sampling, then POST metrics/clear-cache",
    "deployment_performance": "Deployment Pipeline Integration: compare metrics/deployment_performance by environment",
    "test_coverage": "Validation Framework Integration: see metrics/test_coverage and the last run's coverage report",
}
"""Where the runbook says what to do, by metric."""

WORSE = 0.10
"""A mean is worth a word if it is worse by this share than in the period before."""
ENOUGH = 20
"""How many samples both periods need for that."""
CERTAIN = 3.0
"""How many standard errors the difference has to be: one in a thousand such words is noise."""
EXPECTED = 5.0
"""How many samples a period without any should have had, for its silence to be news: by chance it is one in 150."""

SILENT = (
    "Metrics Not Collecting: check components.metricsCollector of dashboard/status, health/metrics-collector and the "
    "sampling, then POST metrics/restart"
)
ELSE = "Real-time Metrics: see metrics/{metric}, and review its threshold (Weekly Maintenance, step 5)"


class Previous(msgspec.Struct, rename="camel"):
    """The period before, of the same length: from the same tier, or the next coarser one that reaches so far back."""

    count: int = 0
    average: float | None = None
    p95: float | None = None
    change: float | None = None
    """By how many per cent the mean changed since; null without a mean, or from zero."""
    width_ms: int = 0
    tier: Tiered = "realtime"
    coverage: float = 0.0
    complete: bool = False
    """Whether all of it lies within what is kept."""
    certain: bool = False
    """Whether the means differ by more than chance would have it, with enough samples in both periods."""


class Reported(MetricSummary, rename="camel", kw_only=True):
    """One metric of the report."""

    width_ms: int = 0
    """How wide the windows are of the tier that answered."""
    tier: Tiered = "realtime"
    """What such a tier is called."""
    coverage: float = 0.0
    """In how many per cent of these windows its fullest series has samples."""
    expected: float = 0.0
    """Of a metric without a sample: how many it should have had, as before its newest one."""
    previous: Previous = msgspec.field(default_factory=Previous)


class Baseline(msgspec.Struct, rename="camel"):
    """One row of the runbook's table: excellent is twice as good as the target asks."""

    metric: str
    type: str
    unit: str
    target: float | None
    achieved: float | None
    target_text: str
    achieved_text: str
    status: Standing


class Recommendation(msgspec.Struct, rename="camel"):
    """A figure on the wrong side of a threshold, and the step of the runbook for it.

    ``missed``: the mean or the p95 misses the target, or what the runbook calls too much. ``worse``: the mean is
    worse than in the period before; the threshold is the mean from which that is said. ``silent``: there is no sample
    any more; the value is how long ago the newest was, the threshold how long the period is.
    """

    metric: str
    value: float
    threshold: float
    message: str
    step: str
    kind: Concern = "missed"
    unit: str = ""
    """That of the value and of the threshold."""


class ReportSummary(msgspec.Struct, rename="camel"):
    """How many metrics have samples, and how those stand."""

    metrics: int
    measured: int
    statuses: dict[Status, int]
    recommendations: int


class Report(msgspec.Struct, rename="camel"):
    """Everything of a period."""

    timestamp: int
    period: str
    period_ms: int
    environment: str
    metrics: dict[str, Reported]
    baselines: list[Baseline]
    recommendations: list[Recommendation]
    summary: ReportSummary


def baselines(catalog: Catalog, figures: Mapping[str, Reported]) -> list[Baseline]:
    """The runbook's table from what was measured; what nobody measures is unknown."""
    return [_baseline(name, catalog.get(type), figures.get(type), type) for name, type in BASELINES]


def recommendations(catalog: Catalog, figures: Mapping[str, Reported], now: float) -> list[Recommendation]:
    """What the figures ask for, and nothing else: what misses its threshold by most comes first."""
    found: list[Recommendation] = []
    for name, figure in figures.items():
        metric = catalog[name]
        if one := _missed(metric, figure) or _worse(metric, figure) or _silent(metric, figure, now):
            found.append(one)
    return sorted(found, key=_urgency)


def summary(figures: Mapping[str, Reported], advice: Sequence[Recommendation]) -> ReportSummary:
    statuses: dict[Status, int] = {"healthy": 0, "degraded": 0, "unhealthy": 0, "unknown": 0}
    for figure in figures.values():
        statuses[figure.health_status] += 1
    return ReportSummary(len(figures), sum(figure.count > 0 for figure in figures.values()), statuses, len(advice))


def change(after: float | None, before: float | None) -> float | None:
    """By how many per cent a figure changed."""
    return None if after is None or not before else (after - before) / abs(before) * 100


def compare(figure: Reported, totals: Totals, before: Totals, span: Span, now: float) -> Previous:
    """What the period before says to this one; ``span`` is the one before."""
    reached = all(one.tiers[tier].keep + span.width >= now - span.start for one, tier in span.tiers.items())
    found = Previous(
        width_ms=round(span.width * 1000), tier=tier_name(span.width), coverage=coverage(before, span), complete=reached
    )
    if whole := before.whole:
        found.count, found.average, found.p95 = whole.count, mean(whole), whole.quantile(0.95)
        found.change = change(figure.average, found.average)
        found.certain = differ(totals.whole, whole)
    return found


def differ(after: Window | None, before: Window | None) -> bool:
    """Whether two means differ by more than chance would have it (Welch's test), with enough samples."""
    if after is None or before is None or min(after.count, before.count) < ENOUGH:
        return False
    error = sqrt(after.deviation**2 / after.count + before.deviation**2 / before.count)
    return abs(mean(after) - mean(before)) > CERTAIN * error


def _baseline(name: str, metric: Metric | None, figure: Reported | None, type: str) -> Baseline:
    if metric is None or figure is None:
        return Baseline(name, type, "", None, None, "–", "–", "unknown")
    side = "<" if metric.better == "lower" else ">"
    wanted = "–" if metric.target is None else side + format_value(metric.target, metric.unit)
    achieved = figure.average
    return Baseline(
        name, type, metric.unit, metric.target, achieved, wanted, format_value(achieved, metric.unit),
        _standing(metric, achieved),
    )  # fmt: skip


def _standing(metric: Metric, achieved: float | None) -> Standing:
    if achieved is None or metric.target is None:
        return "unknown"
    if not metric.meets(achieved):
        return "missed"
    if metric.better == "lower":
        return "excellent" if achieved <= metric.target / 2 else "good"
    best = 100.0 if metric.unit == "%" else 2 * metric.target
    return "excellent" if metric.target < best and achieved >= (metric.target + best) / 2 else "good"


def _threshold(metric: Metric) -> tuple[float, bool] | None:
    """What a metric should not exceed, or where True not fall below: its target, or else what the runbook says."""
    if metric.target is not None and metric.better != "neither":
        return metric.target, metric.better == "higher"
    return LIMITS.get(metric.name)


def _matters(metric: Metric) -> bool:
    return _threshold(metric) is not None or metric.name in {type for _, type in BASELINES}


def _missed(metric: Metric, figure: Reported) -> Recommendation | None:
    threshold = _threshold(metric)
    if threshold is None or figure.average is None or figure.p95 is None:
        return None
    target, low = threshold
    if figure.average < target if low else figure.average > target:
        value, what = figure.average, "averages"
    elif not low and figure.p95 > target:
        value, what = figure.p95, "has a p95 of"
    else:
        return None
    message = (
        f"{title(metric)} {what} {format_value(value, metric.unit)}; it should be {'at least' if low else 'at most'} "
        f"{format_value(target, metric.unit)}"
    )
    if figure.previous.change is not None and abs(figure.previous.change) > STEADY * 100:
        message += f", and its mean changed by {figure.previous.change:+.0f} % since the period before"
    return Recommendation(metric.name, value, target, message, _step(metric), "missed", metric.unit)


def _worse(metric: Metric, figure: Reported) -> Recommendation | None:
    before = figure.previous
    if metric.better == "neither" or not (_matters(metric) and before.complete and before.certain):
        return None
    if figure.average is None or not before.average:
        return None
    low = metric.better == "higher"
    threshold = before.average - abs(before.average) * WORSE if low else before.average + abs(before.average) * WORSE
    if figure.average >= threshold if low else figure.average <= threshold:
        return None
    now, then = (format_value(one, metric.unit) for one in (figure.average, before.average))
    by = abs(before.change or 0)
    message = f"{title(metric)} averages {now}, which is {by:.0f} % worse than the {then} of the period before"
    return Recommendation(metric.name, figure.average, threshold, message, _step(metric), "worse", metric.unit)


def _silent(metric: Metric, figure: Reported, now: float) -> Recommendation | None:
    if figure.count or figure.last_updated is None or figure.expected < EXPECTED or not _matters(metric):
        return None
    ago = now - figure.last_updated / 1000
    message = (
        f"{title(metric)} has no data since {rfc3339(figure.last_updated / 1000)}, {format_duration(round(ago))} ago; "
        f"{figure.expected:.0f} samples were to be expected in {format_duration(figure.period_ms / 1000)}"
    )
    return Recommendation(metric.name, round(ago * 1000), figure.period_ms, message, SILENT, "silent", "ms")


def _urgency(one: Recommendation) -> tuple[int, float]:
    """Misses first, and those first that miss by most of their threshold."""
    scale = abs(one.threshold) or 1.0
    return ("missed", "worse", "silent").index(one.kind), -abs(one.value - one.threshold) / scale


def _step(metric: Metric) -> str:
    return STEPS.get(metric.name, ELSE.format(metric=metric.name))
