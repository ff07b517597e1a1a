"""What the store answers: figures with a verdict and a trend, series for charts, the report, event details."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from bers import Batch, Caller, Catalog, Context, Event, Labels, Metric, Nothing, Refused, Reply, Window
from bers.testing import VirtualClock, step
from bers_builtin.sinks.rest_store import REST_STORE, RestStore, read_windows
from bers_builtin.sinks.rest_store.answers import AskMetric, AskMetrics, AskRecords, AskReport, MetricAnswer
from bers_builtin.sinks.rest_store.report import Report

NOW = 1_700_000_000.0
CALLER = Caller()
BUILD = Metric("build_performance", "ms", "How long a build takes.", 30_000, title="Build Time")
METRICS = Catalog(
    [
        BUILD,
        Metric("configuration_resolution_time", "ms", "How long resolving takes.", 100, labels=("cached",)),
        Metric("cache_hit_rate", "%", "Share of resolutions from the cache.", better="higher"),
        Metric("test_coverage", "%", "Share of lines that tests run.", 95, better="higher"),
        Metric("error_rate", "%", "Share of what failed.", 1),
        Metric("test_count", "{test}", "How many tests ran.", better="neither"),
    ]
)


@asynccontextmanager
async def opened(folder: Path, clock: VirtualClock, **options: object) -> AsyncGenerator[RestStore]:
    context = Context("store", data_dir=folder, clock=clock, environment="test", metrics=METRICS)
    async with step(REST_STORE, context=context, **options).open() as stage:
        assert isinstance(stage, RestStore)
        await stage.position("metrics", 0, begin=0)
        yield stage


async def tell(
    store: RestStore, metric: str, values: Sequence[tuple[float, float]], labels: Labels = (), end: int = 1
) -> None:
    """Write (seconds from NOW, value), and leave it in memory, uncommitted."""
    made = [Window.of((metric, labels, (NOW + ago) // 1 * 1.0, 1.0), value, NOW + ago, end) for ago, value in values]
    await store.write(Batch((), made, "metrics", 0, end))


async def fold(store: RestStore) -> None:
    await store.commit()
    await store.fold()


async def ask(store: RestStore, type: str, **fields: object) -> MetricAnswer:
    """As REST would: through the request's Struct."""
    return await store.metric(msgspec.convert({"type": type, **fields}, AskMetric), CALLER)


async def test_a_metric_without_data_is_unknown_and_current_is_null(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        answer = await ask(store, "build_performance")
        assert (answer.current, answer.health_status, answer.trend, answer.count) == (None, "unknown", "unknown", 0)
        assert (answer.unit, answer.target, answer.title, answer.series) == ("ms", 30_000, "Build Time", [])
        with pytest.raises(Refused, match="unknown metric 'no_such_metric'") as refused:
            await ask(store, "no_such_metric")
        assert refused.value.reason == "not_found"
        assert "cache_hit_rate" in refused.value.known


@pytest.mark.parametrize("where", ["pending", "segment", "page", "restarted"])
async def test_an_answer_is_the_same_wherever_the_windows_are(tmp_path: Path, where: str) -> None:
    values = [(-200.0, 300.0), (-120.0, 100.0), (-119.5, 500.0), (-2.0, 900.0), (0.0, 930.0)]
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell(store, "build_performance", values)
        if where == "segment":
            await store.commit()
        if where == "page":
            await fold(store)
        if where != "restarted":
            await assert_told(store)
    if where == "restarted":
        async with opened(tmp_path, VirtualClock(NOW)) as store:
            await assert_told(store)
            await store.fold()
            await assert_told(store)


async def assert_told(store: RestStore) -> None:
    answer = await ask(store, "build_performance", step="60s")
    assert (answer.current, answer.last_updated) == (930, round(NOW * 1000))
    assert (answer.count, answer.average, answer.min, answer.max) == (5, 546, 100, 930)
    assert answer.p50 == pytest.approx(500, rel=0.01)
    assert answer.p99 == pytest.approx(930, rel=0.01)
    assert (answer.trend, answer.health_status, answer.period_ms) == ("worsening", "healthy", 300_000)
    (line,) = answer.series
    assert [(count, average) for _, count, average, *_ in line.points] == [(1, 300), (2, 300), (2, 915)]
    assert all(time % 60_000 == 0 for time, *_ in line.points)


async def test_current_is_the_newest_by_event_time_not_the_last_to_come(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock) as store:
        await tell(store, "build_performance", [(-1.0, 930.0)])
        await fold(store)
        await tell(store, "build_performance", [(-50.0, 80_000.0)], (("kind", "late"),), end=2)
        await tell(store, "build_performance", [(-40.0, 70_000.0)], end=3)
        answer = await ask(store, "build_performance")
        assert (answer.current, answer.count) == (930, 3)
    clock.step(7200)
    async with opened(tmp_path, clock) as store:
        answer = await ask(store, "build_performance")
        assert (answer.current, answer.count, answer.average, answer.health_status) == (930, 0, None, "healthy")


@pytest.mark.parametrize(
    ("metric", "values", "verdict"),
    [
        ("build_performance", [100, 30_000], "healthy"),
        ("build_performance", [100] * 30 + [31_000], "degraded"),
        ("build_performance", [31_000] * 6 + [100] * 40, "degraded"),
        ("build_performance", [31_000, 31_000], "unhealthy"),
        ("test_coverage", [95.2, 95.2], "healthy"),
        ("test_coverage", [99, 94], "degraded"),
        ("test_coverage", [94.9], "unhealthy"),
        ("test_count", [1], "healthy"),
    ],
)
async def test_health_follows_the_target(tmp_path: Path, metric: str, values: list[float], verdict: str) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell(store, metric, [(n - 60.0, value) for n, value in enumerate(values)])
        assert (await ask(store, metric)).health_status == verdict


@pytest.mark.parametrize(
    ("metric", "before", "after", "trend"),
    [
        ("build_performance", 100, 80, "improving"),
        ("build_performance", 100, 104, "stable"),
        ("build_performance", 100, 130, "worsening"),
        ("test_coverage", 90, 99, "improving"),
        ("test_count", 100, 100, "stable"),
        ("test_count", 100, 200, "unknown"),
    ],
)
async def test_a_trend_compares_the_halves(
    tmp_path: Path, metric: str, before: float, after: float, trend: str
) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell(store, metric, [(-250, before), (-160, before), (-140, after), (-1, after)])
        assert (await ask(store, metric)).trend == trend


DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "uniform": lambda rng: rng.uniform(1, 1000),
    "lognormal": lambda rng: rng.lognormvariate(4, 1),
    "bimodal": lambda rng: rng.gauss(20, 2) if rng.random() < 0.7 else rng.gauss(900, 30),
    "constant": lambda _: 42.0,
    "heavy": lambda rng: 10 * rng.paretovariate(1.2),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
async def test_percentiles_are_within_one_per_cent_from_every_tier(tmp_path: Path, name: str) -> None:
    rng, clock = random.Random(name), VirtualClock(NOW)
    values = [(-rng.uniform(0, 240), DISTRIBUTIONS[name](rng)) for _ in range(3000)]
    exact = sorted(value for _, value in values)
    async with opened(tmp_path, clock) as store:
        for end in range(1, 11):
            await tell(store, "build_performance", values[(end - 1) * 300 : end * 300], end=end)
            if end % 3:
                await fold(store)
        widths: list[int] = []
        for passed, period in ((0, "5m"), (600, "20m"), (7200, "3h"), (90_000, "2d")):
            clock.step(NOW + passed - clock.time())
            await store.sweep()
            answer = await ask(store, "build_performance", period=period)
            widths.append(answer.width_ms)
            assert answer.count == 3000
            for share, found in ((0.5, answer.p50), (0.95, answer.p95), (0.99, answer.p99)):
                assert found == pytest.approx(exact[math.ceil(share * 3000) - 1], rel=0.01)
        assert widths == [1000, 60_000, 300_000, 3_600_000]


async def test_series_are_split_by_labels_and_chosen_by_them(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        for cached, value in (("true", 2.0), ("false", 80.0)):
            await tell(store, "configuration_resolution_time", [(-9, value), (-3, value)], (("cached", cached),))
        both = await ask(store, "configuration_resolution_time")
        assert [line.labels for line in both.series] == [{"cached": "true"}, {"cached": "false"}]
        assert (both.count, both.series_count) == (4, 2)
        cold = await ask(store, "configuration_resolution_time", labels="cached=false")
        assert (cold.count, cold.average, cold.current) == (2, 80, 80)
        assert (await ask(store, "configuration_resolution_time", labels="cached=maybe")).current is None
        with pytest.raises(Refused, match="'cached' has no '='"):
            await ask(store, "configuration_resolution_time", labels="cached")


async def test_from_and_to_bound_the_points(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell(store, "build_performance", [(-n, float(n)) for n in range(100)])
        start, end = round(NOW * 1000) - 20_000, round(NOW * 1000) - 10_000
        answer = await ask(store, "build_performance", **{"from": start, "to": end})
        assert (answer.from_, answer.to, answer.count) == (start, end, 10)
        assert [point[0] for point in answer.series[0].points] == list(range(start, end, 1000))
        answer = await ask(store, "build_performance", **{"from": start, "to": end, "step": "5s"})
        assert [(point[1], point[3], point[4]) for point in answer.series[0].points] == [(5, 16, 20), (5, 11, 15)]
        answer = await ask(store, "build_performance", points=10)
        assert (answer.step_ms, len(answer.series[0].points) <= 10) == (60_000, True)


@pytest.mark.parametrize(
    ("fields", "reason", "message"),
    [
        ({"period": "abc"}, "bad_request", "^period: 'abc' is not a period"),
        ({"period": "401d"}, "bad_request", "out of range"),
        ({"points": 5001}, "invalid", "points: 5001"),
        ({"points": 0}, "invalid", "points: 0"),
        ({"step": "1s", "points": 50}, "invalid", "^step: 1s makes 300 points; 50"),
        (
            {"step": "7m", "period": "30d"},
            "invalid",
            "^step: 7m, as windows are 1h wide, makes 720 points; 300 may be at most$",
        ),
        ({"step": "x"}, "bad_request", "^step: 'x' is not a period"),
        ({"from": 2000, "to": 1000}, "invalid", "before to"),
    ],
)
async def test_a_question_that_cannot_be_answered_is_refused(
    tmp_path: Path, fields: dict[str, object], reason: str, message: str
) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        with pytest.raises(Refused, match=message) as refused:
            await ask(store, "build_performance", **fields)
        assert refused.value.reason == reason


async def test_too_many_windows_are_refused_with_the_remedy(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW), tiers=[{"width": "1s", "keep": "30d"}]) as store:
        await tell(store, "build_performance", [(0, 1.0)])
        with pytest.raises(Refused, match="604800 windows of 1s") as refused:
            await ask(store, "build_performance", period="7d")
        assert "shorter period" in refused.value.hint


async def test_all_metrics_come_with_how_full_the_buffers_are(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW), buffer=10) as store:
        await tell(store, "build_performance", [(0, 1.0), (1, 2.0)])
        reply = await store.metrics(AskMetrics(), CALLER)
        assert isinstance(reply, Reply)
        assert set(reply.data) == set(METRICS)
        assert reply.data["build_performance"].current == 2
        full = reply.beside["bufferUtilization"]
        assert set(full) == {*METRICS, "overall"}
        assert (full["build_performance"], full["overall"], full["error_rate"]) == (0.2, 0.2, 0)
        text = msgspec.json.decode(msgspec.json.encode(reply.data["build_performance"]))
        assert {"healthStatus", "lastUpdated", "p95", "periodMs"} <= set(text)


async def report(store: RestStore, period: str = "5m") -> Report:
    return await store.report(AskReport(period), CALLER)


async def test_a_report_without_data_recommends_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        found = await report(store)
        assert (found.timestamp, found.environment, found.recommendations) == (round(NOW * 1000), "test", [])
        assert {row.status for row in found.baselines} == {"unknown"}
        assert (found.summary.metrics, found.summary.measured) == (len(METRICS), 0)
        for text, milliseconds in (("5m", 300_000), ("7d", 604_800_000), ("604800000", 604_800_000)):
            assert (await report(store, text)).period_ms == milliseconds
        with pytest.raises(Refused) as refused:
            await report(store, "abc")
        assert refused.value.reason == "bad_request"


async def test_a_report_has_the_runbooks_table(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell(store, "build_performance", [(-5, 930.0)])
        await tell(store, "configuration_resolution_time", [(-5, 75.0)])
        await tell(store, "test_coverage", [(-5, 95.2)])
        await tell(store, "error_rate", [(-5, 3.0)])
        rows = {row.metric: row for row in (await report(store)).baselines}
        assert list(rows) == [
            "Build Time", "Configuration Resolution", "Provider Initialization", "Deployment Time", "Test Coverage",
            "Error Rate",
        ]  # fmt: skip
        assert [row.status for row in rows.values()] == ["excellent", "good", "unknown", "unknown", "good", "missed"]
        build = rows["Build Time"]
        assert (build.target, build.achieved, build.target_text, build.achieved_text) == (
            30_000,
            930,
            "<30 s",
            "930 ms",
        )
        assert rows["Test Coverage"].target_text == ">95 %"


async def test_recommendations_follow_from_the_figures(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell(store, "build_performance", [(-5, 930.0)])
        await tell(
            store, "configuration_resolution_time", [(n - 100.0, 50.0) for n in range(18)] + [(0, 150), (-1, 150)]
        )
        await tell(store, "cache_hit_rate", [(-5, 12.0)])
        await tell(store, "error_rate", [(-5, 3.0), (-400, 1.5)])
        found = {one.metric: one for one in (await report(store)).recommendations}
        assert set(found) == {"configuration_resolution_time", "cache_hit_rate", "error_rate"}
        assert found["configuration_resolution_time"].value == pytest.approx(150, rel=0.01)
        assert "p95" in found["configuration_resolution_time"].message
        assert (found["cache_hit_rate"].value, found["cache_hit_rate"].threshold) == (12, 60)
        assert "clear-cache" in found["cache_hit_rate"].step
        assert "changed by +100 %" in found["error_rate"].message


async def test_a_report_says_which_tier_answered_and_how_much_it_covers(tmp_path: Path) -> None:
    clock = VirtualClock(NOW // 3600 * 3600)
    async with opened(tmp_path, clock) as store:
        base = clock.time() - NOW
        await tell(store, "build_performance", [(base - 1 - n, 100.0) for n in range(150)])
        await fold(store)
        figure = (await report(store)).metrics["build_performance"]
        assert (figure.width_ms, figure.coverage, figure.previous.count) == (1000, 50, 0)
        clock.step(300)
        await tell(store, "build_performance", [(base + 10, 50.0)], end=2)
        figure = (await report(store)).metrics["build_performance"]
        assert (figure.count, figure.previous.count, figure.previous.average) == (1, 150, 100)
        assert figure.previous.change == -50
        figure = (await report(store, "10h")).metrics["build_performance"]
        assert (figure.width_ms, figure.count) == (300_000, 151)


async def test_clearing_the_cache_drops_decoded_pages_and_nothing_else(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell(store, "build_performance", [(-n, float(n)) for n in range(200)])
        await fold(store)
        before, windows = await ask(store, "build_performance"), read_windows(store.path)
        cleared = await store.clear_cache(Nothing(), CALLER)
        assert cleared.cleared > 3
        assert cleared.bytes > 1000
        assert (await store.clear_cache(Nothing(), CALLER)).bytes == 0
        assert await ask(store, "build_performance") == before
        assert read_windows(store.path) == windows


async def test_the_cache_stays_within_its_bounds(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW), cache="64KiB") as store:
        await tell(store, "build_performance", [(-n, float(n)) for n in range(290)])
        await fold(store)
        answer = await ask(store, "build_performance")
        assert answer.count == 290
        assert 0 < (await store.clear_cache(Nothing(), CALLER)).bytes <= 64 * 1024


async def records(store: RestStore, **fields: object) -> list[str]:
    found = await store.records(msgspec.convert(fields, AskRecords), CALLER)
    return [record["id"] for record in found.data]


async def test_event_details_come_newest_first_and_without_secrets(tmp_path: Path) -> None:
    token = "ghp_" + "a" * 36
    events = [
        Event("1", "ci", "build.started", NOW - 20, subject="run-1"),
        Event("2", "ci", "build.finished", NOW - 10, subject="run-1", outcome="failure", reason=f"bad {token}"),
        Event("3", "ci", "buildx.other", NOW - 5),
        Event("4", "ci", "deployment.finished", NOW - 30, subject="run-2", data={"api_key": "hunter2"}),
    ]
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await store.position("history", 0, begin=0)
        await store.write(Batch(events, (), "metrics", 0, 4))
        await store.write(Batch(events[:1], (), "history", 0, 4))  # A second pipeline brings the same event.
        await store.commit()
        assert await records(store) == ["3", "2", "1", "4"]
        assert await records(store, type="build.*") == ["2", "1"]
        assert await records(store, type="build.started") == ["1"]
        assert await records(store, subject="run-2") == ["4"]
        assert await records(store, since=round(NOW * 1000) - 12_000) == ["3", "2"]
        assert await records(store, limit=1) == ["3"]
        _, failed, _, deployed = (await store.records(AskRecords(), CALLER)).data
        assert (failed["time"], failed["specversion"]) == ("2023-11-14T22:13:10.000Z", "1.0")
        assert failed["timestamp"] == round(NOW * 1000) - 10_000
        assert (failed["reason"], deployed["data"]) == ("bad ***", {"api_key": "***"})
        msgspec.json.encode(deployed)
        with pytest.raises(Refused, match="limit: 0"):
            await records(store, limit=0)
