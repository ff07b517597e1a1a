"""The report: what it recommends follows from the data, at the thresholds and not beside them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bers import Catalog, Metric
from bers.plugins import load
from bers.testing import VirtualClock
from bers_builtin.sinks.rest_store import RestStore, report
from bers_builtin.sinks.rest_store.answers import AskReport
from bers_builtin.sinks.rest_store.report import Previous, Recommendation, Report, Reported
from tests.builtin.test_rest_store_answers import CALLER, NOW, fold, opened, tell

DAY = 86_400.0
TIME = Metric("configuration_resolution_time", "ms", "How long resolving takes.", 100)
SHARE = Metric("test_coverage", "%", "Share of lines that tests run.", 95, better="higher")
HITS = Metric("cache_hit_rate", "%", "Share of resolutions from the cache.", better="higher")
ERRORS = Metric("error_rate", "%", "Share of what failed.")
COUNT = Metric("test_count", "{test}", "How many tests ran.", 10, better="neither")
PLAIN = Metric("queue_time", "ms", "How long something waits.")
CATALOG = Catalog([TIME, SHARE, HITS, ERRORS, COUNT, PLAIN])


def figure(metric: Metric, average: float | None, p95: float | None = None, **more: Any) -> Reported:
    fields: dict[str, Any] = {
        "type": metric.name, "title": "", "unit": metric.unit, "description": "", "target": metric.target,
        "current": average, "average": average, "p95": average if p95 is None else p95,
        "count": 0 if average is None else 100, "period_ms": 300_000,
    }  # fmt: skip
    return Reported(**{**fields, **more})


def advise(metric: Metric, one: Reported) -> Recommendation | None:
    found = report.recommendations(CATALOG, {metric.name: one}, NOW)
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize(
    ("metric", "average", "p95", "value"),
    [
        (TIME, 100.0, 100.0, None),
        (TIME, 100.1, 500.0, 100.1),
        (TIME, 99.9, 100.1, 100.1),
        (TIME, 0.0, 0.0, None),
        (SHARE, 95.0, 95.0, None),
        (SHARE, 94.9, 99.0, 94.9),
        (SHARE, 95.2, 10.0, None),
        (HITS, 60.0, 60.0, None),
        (HITS, 59.9, 99.0, 59.9),
        (ERRORS, 1.0, 1.0, None),
        (ERRORS, 1.01, 0.0, 1.01),
        (ERRORS, 0.5, 100.0, 100.0),
        (COUNT, 1e6, 1e6, None),
        (PLAIN, 1e6, 1e6, None),
    ],
)
def test_a_threshold_is_missed_beyond_it_and_not_at_it(
    metric: Metric, average: float, p95: float, value: float | None
) -> None:
    found = advise(metric, figure(metric, average, p95))
    assert (found.value if found else None) == value
    if found:
        limit = metric.target or report.LIMITS[metric.name][0]
        assert (found.metric, found.threshold, found.kind, found.unit) == (metric.name, limit, "missed", metric.unit)
        assert found.step == report.STEPS[metric.name]


OURS = load(installed=False).metrics()


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_metric_of_ours_has_a_step_for_what_it_misses(name: str) -> None:
    metric = OURS[name]
    if metric.target is None or metric.better == "neither":
        return
    bad = metric.target / 2 if metric.better == "higher" else metric.target * 2 + 1
    (found,) = report.recommendations(OURS, {metric.name: figure(metric, bad)}, NOW)
    assert found.value == bad
    assert found.threshold == metric.target
    assert found.step.split(":")[0] in RUNBOOK or found.step == report.ELSE.format(metric=metric.name)
    assert "should be" in found.message


RUNBOOK = {
    "Build Performance Degraded",
    "Configuration Resolution Slow",
    "Configuration Resolution Slow, steps 2 and 3",
    "Deployment Pipeline Integration",
    "Environment Detection Failed",
    "Environment Detection Failed, step 1",
    "High Memory Usage",
    "Metrics Not Collecting",
    "Provider Initialization Time",
    "Real-time Metrics",
    "Validation Framework Integration",
}
"""Headings of the operations guide, which every step begins with."""


def test_every_step_begins_with_a_heading_of_the_runbook() -> None:
    steps = [*report.STEPS.values(), report.SILENT, report.ELSE]
    assert {step.split(":")[0] for step in steps} == RUNBOOK


def before(average: float, *, certain: bool = True, complete: bool = True) -> Previous:
    return Previous(100, average, average, None, certain=certain, complete=complete)


@pytest.mark.parametrize(
    ("metric", "then", "now", "worse"),
    [
        (TIME, before(50), 55.0, False),
        (TIME, before(50), 55.1, True),
        (TIME, before(50), 45.0, False),
        (TIME, before(50, certain=False), 90.0, False),
        (TIME, before(50, complete=False), 90.0, False),
        (TIME, before(0.0), 90.0, False),
        (HITS, before(90), 81.0, False),
        (HITS, before(90), 80.9, True),
        (HITS, before(90), 99.0, False),
        (COUNT, before(5), 500.0, False),
        (PLAIN, before(50), 90.0, False),
    ],
)
def test_a_mean_that_is_surely_worse_by_a_tenth_is_worth_a_word(
    metric: Metric, then: Previous, now: float, worse: bool
) -> None:
    then.change = report.change(now, then.average)
    found = advise(metric, figure(metric, now, previous=then))
    assert (found is not None) == worse
    if found and then.average:
        assert (found.kind, found.value) == ("worse", now)
        assert found.threshold == pytest.approx(then.average * (0.9 if metric.better == "higher" else 1.1))
        assert "worse than" in found.message
        assert "of the period before" in found.message


@pytest.mark.parametrize(
    ("metric", "more", "silent"),
    [
        (TIME, {"expected": 5.0}, True),
        (TIME, {"expected": 4.9}, False),
        (TIME, {"expected": 5.0, "last_updated": None}, False),
        (PLAIN, {"expected": 500.0}, False),
    ],
)
def test_what_fell_silent_is_named_with_since_when(metric: Metric, more: dict[str, Any], silent: bool) -> None:
    fields: dict[str, Any] = {"last_updated": round((NOW - 7200) * 1000), **more}
    found = advise(metric, figure(metric, None, **fields))
    assert (found is not None) == silent
    if found:
        assert (found.kind, found.value, found.threshold, found.unit) == ("silent", 7_200_000, 300_000, "ms")
        assert (
            "has no data since 2023-11-14T20:13:20.000Z, 2h ago; 5 samples were to be expected in 5m" in found.message
        )
        assert "metrics/restart" in found.step


def test_what_misses_by_most_comes_first() -> None:
    figures = {
        "test_coverage": figure(SHARE, 80.0),
        "configuration_resolution_time": figure(TIME, 900.0),
        "cache_hit_rate": figure(HITS, 70.0, previous=before(90.0)),
        "error_rate": figure(ERRORS, None, last_updated=0, expected=9.0),
    }
    found = report.recommendations(CATALOG, figures, NOW)
    assert [(one.metric, one.kind) for one in found] == [
        ("configuration_resolution_time", "missed"),
        ("test_coverage", "missed"),
        ("cache_hit_rate", "worse"),
        ("error_rate", "silent"),
    ]


async def ask(store: RestStore, period: str) -> Report:
    return await store.report(AskReport(period), CALLER)


@pytest.mark.parametrize(
    ("samples", "spread", "factor", "certain"),
    [(19, 0.0, 2.0, False), (20, 0.0, 2.0, True), (100, 5.0, 1.5, True), (100, 40.0, 1.02, False)],
)
async def test_a_difference_is_certain_with_enough_samples_that_agree(
    tmp_path: Path, samples: int, spread: float, factor: float, certain: bool
) -> None:
    rng = random.Random(samples)
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        for end, (shift, scale) in enumerate(((-420.0, 1.0), (-100.0, factor)), 1):
            values = [(shift - n / 2, scale * 50 + rng.uniform(-spread, spread)) for n in range(samples)]
            await tell(store, "configuration_resolution_time", values, end=end)
        previous = (await ask(store, "5m")).metrics["configuration_resolution_time"].previous
        assert (previous.count, previous.certain, previous.complete) == (samples, certain, True)


async def test_a_report_says_worse_only_where_it_is_certain(tmp_path: Path) -> None:
    rng = random.Random(7)
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        for end, (shift, scale) in enumerate(((-400.0, 1.0), (-80.0, 1.4)), 1):
            values = [(shift - n, scale * rng.uniform(40, 60)) for n in range(80)]
            await tell(store, "configuration_resolution_time", values, end=end)
        await tell(store, "build_performance", [(-400, 1000.0), (-10, 9000.0)], end=3)
        (found,) = (await ask(store, "5m")).recommendations
        assert (found.metric, found.kind) == ("configuration_resolution_time", "worse")
        assert 65 < found.value < 75
        assert 50 < found.threshold < 60


async def test_a_report_says_what_fell_silent(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock) as store:
        await tell(store, "configuration_resolution_time", [(-10.0 * n, 50.0) for n in range(360)])
        await tell(store, "build_performance", [(-10.0, 50.0), (-20.0, 60.0)], end=2)
        await fold(store)
        assert (await ask(store, "5m")).recommendations == []
        clock.step(400)
        (found,) = (await ask(store, "5m")).recommendations
        assert (found.metric, found.kind, found.value) == ("configuration_resolution_time", "silent", 400_000)
        assert (await ask(store, "1h")).recommendations == []
        clock.step(NOW + 4 * 3600 - clock.time())  # The period before has nothing either: the day before counts.
        (found,) = (await ask(store, "1h")).recommendations
        assert (found.kind, found.value, found.threshold) == ("silent", 4 * 3_600_000, 3_600_000)
        assert "15 samples were to be expected in 1h" in found.message


async def test_a_month_is_reported_from_the_long_tier_with_what_was_kept_before(tmp_path: Path) -> None:
    clock = VirtualClock(NOW // 3600 * 3600)
    async with opened(tmp_path, clock) as store:
        base = clock.time() - NOW
        values = [(base - n * 3600.0 - 1, 200.0 if n < 30 * 24 else 100.0) for n in range(45 * 24)]
        await tell(store, "build_performance", values)
        await fold(store)
        await store.sweep()
        found = await ask(store, "30d")
        build = found.metrics["build_performance"]
        assert found.period_ms == 30 * DAY * 1000
        assert (build.tier, build.width_ms, build.average) == ("long-term", 3_600_000, 200)
        assert build.coverage > 99
        assert build.previous.complete is False, "no tier keeps more than 30 days"
        day = (await ask(store, "1d")).metrics["build_performance"]
        assert (day.tier, day.previous.tier) == ("medium-term", "long-term")
        assert (day.previous.complete, day.previous.change) == (True, 0)


def test_the_baselines_are_excellent_where_they_are_twice_as_good() -> None:
    def standing(metric: Metric, average: float) -> str:
        rows = report.baselines(Catalog([metric]), {metric.name: figure(metric, average)})
        return next(row.status for row in rows if row.type == metric.name)

    build = replace(TIME, name="build_performance", target=30_000)
    assert [standing(build, one) for one in (15_000, 15_001, 30_000, 30_001)] == ["excellent", "good", "good", "missed"]
    assert [standing(SHARE, one) for one in (97.5, 97.4, 95.0, 94.9)] == ["excellent", "good", "good", "missed"]
