"""The performance report: every metric against its target and its past, and what the runbook would do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from bers import Catalog, Metric, Status, format_value

from .answers import STEADY, MetricSummary, title

Standing: TypeAlias = Literal["excellent", "good", "missed", "unknown"]

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

ELSE = "Real-time Metrics: see metrics/{metric}, and review its threshold (Weekly Maintenance, step 5)"


class Previous(msgspec.Struct, rename="camel"):
    """The period before, of the same length."""

    count: int = 0
    average: float | None = None
    p95: float | None = None
    change: float | None = None
    """By how many per cent the mean changed since; null without a mean, or from zero."""


class Reported(MetricSummary, rename="camel", kw_only=True):
    """One metric of the report."""

    width_ms: int = 0
    """How wide the windows are of the tier that answered."""
    coverage: float = 0.0
    """In how many per cent of these windows its fullest series has samples."""
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
    """A figure on the wrong side of a threshold, and the step of the runbook for it."""

    metric: str
    value: float
    threshold: float
    message: str
    step: str


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


def recommendations(catalog: Catalog, figures: Mapping[str, Reported]) -> list[Recommendation]:
    """What the figures ask for, and nothing else."""
    return [found for name, figure in figures.items() if (found := _recommend(catalog[name], figure))]


def summary(figures: Mapping[str, Reported], advice: Iterable[Recommendation]) -> ReportSummary:
    statuses: dict[Status, int] = {"healthy": 0, "degraded": 0, "unhealthy": 0, "unknown": 0}
    for figure in figures.values():
        statuses[figure.health_status] += 1
    return ReportSummary(
        len(figures), sum(figure.count > 0 for figure in figures.values()), statuses, len(list(advice))
    )


def compare(figure: Reported, before: MetricSummary) -> Previous:
    change = None
    if before.average and figure.average is not None:
        change = (figure.average - before.average) / abs(before.average) * 100
    return Previous(before.count, before.average, before.p95, change)


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


def _recommend(metric: Metric, figure: Reported) -> Recommendation | None:
    if figure.average is None or figure.p95 is None:
        return None
    target = metric.target if metric.better != "neither" else None
    low = metric.better == "higher"
    if target is None:
        if metric.name not in LIMITS:
            return None
        target, low = LIMITS[metric.name]
    if figure.average < target if low else figure.average > target:
        value, what = figure.average, "averages"
    elif not low and figure.p95 > target:
        value, what = figure.p95, "has a p95 of"
    else:
        return None
    unit = metric.unit
    message = (
        f"{title(metric)} {what} {format_value(value, unit)}; it should be {'at least' if low else 'at most'} "
        f"{format_value(target, unit)}"
    )
    if figure.previous.change is not None and abs(figure.previous.change) > STEADY * 100:
        message += f", and its mean changed by {figure.previous.change:+.0f} % since the period before"
    return Recommendation(metric.name, value, target, message, STEPS.get(metric.name, ELSE.format(metric=metric.name)))
