"""Series for charts: no spike is lost, gaps stay gaps, and what a question may cost is known before it is answered."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from time import thread_time

import anyio
import pytest

from bers import Batch, Refused, Window
from bers.testing import VirtualClock
from bers_builtin.sinks.rest_store import RestStore, bounds
from bers_builtin.sinks.rest_store.answers import AskCurrent, Line, MetricAnswer
from tests.builtin.test_rest_store_answers import CALLER, NOW, ask, fold, opened, tell

DAY = 86_400.0
COLUMN = {"start": 0, "count": 1, "average": 2, "min": 3, "max": 4, "p95": 5}


def column(line: Line, name: str) -> list[float]:
    return [point[COLUMN[name]] for point in line.points]


@pytest.mark.parametrize("where", ["memory", "segments", "pages", "restarted"])
async def test_one_second_in_thirty_days_is_seen(tmp_path: Path, where: str) -> None:
    rng, clock = random.Random(30), VirtualClock(NOW)
    values = [(-n * 600.0, rng.uniform(90, 110)) for n in range(4300)]
    spike, dip = (-rng.uniform(1 * DAY, 28 * DAY), 9_000.0), (-rng.uniform(1 * DAY, 28 * DAY), 1.0)
    async with opened(tmp_path, clock, buffer=100_000) as store:
        await tell(store, "build_performance", [*values, spike, dip])
        if where != "memory":
            await store.commit()
        if where in ("pages", "restarted"):
            await store.fold()
        if where != "restarted":
            await assert_seen(store, spike[0], dip[0])
    if where == "restarted":
        async with opened(tmp_path, clock, buffer=100_000) as store:
            await assert_seen(store, spike[0], dip[0])


async def assert_seen(store: RestStore, spike: float, dip: float) -> None:
    answer = await ask(store, "build_performance", period="30d", points=300)
    (line,) = answer.series
    assert (answer.tier, answer.width_ms, answer.max, answer.min) == ("long-term", 3_600_000, 9_000, 1)
    assert 200 < len(line.points) <= 300
    for when, name, extreme in ((spike, "max", max(column(line, "max"))), (dip, "min", min(column(line, "min")))):
        (point,) = (one for one in line.points if one[COLUMN[name]] == extreme)
        assert point[0] <= (NOW + when) * 1000 < point[0] + answer.step_ms
    assert (max(column(line, "max")), min(column(line, "min"))) == (9_000, 1)
    assert max(column(line, "average")) < 1_000, "the mean hides it, and so would every other sampling"


async def test_gaps_stay_gaps(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell(store, "build_performance", [(-float(n), 1.0) for n in range(100) if not 20 <= n < 50])
        answer = await ask(store, "build_performance", step="10s")
        starts = column(answer.series[0], "start")
        gaps = [later - earlier for earlier, later in pairwise(starts)]
        assert sorted(gaps)[-2:] == [10_000, 30_000]
        assert all(count > 0 for count in column(answer.series[0], "count"))


@pytest.mark.parametrize("seed", range(5))
async def test_points_are_never_more_than_were_asked_for_and_hold_every_sample(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    values = [(-rng.uniform(0, 290), rng.uniform(1, 9)) for _ in range(200)]
    async with opened(tmp_path, VirtualClock(NOW + rng.random())) as store:
        await tell(store, "build_performance", values)
        for points in (1, 2, 3, 7, 10, 59, 60, 299, 300):
            answer = await ask(store, "build_performance", points=points)
            assert len(answer.series[0].points) <= points
            assert sum(column(answer.series[0], "count")) == answer.count == 200
            assert answer.step_ms % answer.width_ms == 0


async def test_points_tell_what_was_asked_for_in_that_order(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell(store, "build_performance", [(-9.5, 10.0), (-9.25, 30.0), (-9.0, 20.0)])
        answer = await ask(store, "build_performance", fields="last,sum,p50,max,count", step="5s")
        assert answer.fields == ["start", "last", "sum", "p50", "max", "count"]
        (point,) = answer.series[0].points
        assert (point[1:3], point[4:]) == ((20, 60), (30, 3))
        assert point[3] == pytest.approx(20, rel=0.01)
        with pytest.raises(Refused, match="unknown figure 'p96'; did you mean 'p99'") as refused:
            await ask(store, "build_performance", fields="count,p96")
        assert (refused.value.reason, "average" in refused.value.known) == ("invalid", True)


async def test_every_figure_of_a_point_is_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell(store, "build_performance", [(n / 1000 - 9.5, float(n)) for n in (*range(2, 101), 1)])
        answer = await ask(store, "build_performance", fields="count,sum,average,min,max,last,p50,p95,p99", step="5s")
        (point,) = answer.series[0].points
        assert point[1:] == pytest.approx([100, 5050, 50.5, 1, 100, 100, 50, 95, 99], rel=0.01)


RESOLUTION = "configuration_resolution_time"


async def tell_four(store: RestStore) -> None:
    """Four series, of 1, 2, 3 and 4 samples; 10, 20, 30 and 40 ms each."""
    for n, cached in enumerate(("true", "false", "maybe", "never"), 1):
        values = [(-float(ago), 10.0 * n) for ago in range(n)]
        await tell(store, RESOLUTION, values, (("cached", cached),), end=n)


async def test_all_series_together_stand_beside_each_one(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell_four(store)
        answer = await ask(store, RESOLUTION, step="1m", fields="count,sum")
        assert [line.labels["cached"] for line in answer.series] == ["never", "maybe", "false", "true"]
        assert [line.count for line in answer.series] == [4, 3, 2, 1]
        assert sum(point[1] for point in answer.overall) == 10
        assert sum(point[2] for point in answer.overall) == 300
        fullest = answer.series[0]
        assert (fullest.current, fullest.average, fullest.min, fullest.max) == (40, 40, 40, 40)
        few = await ask(store, RESOLUTION, limit=2, step="1m", fields="count,sum")
        assert [line.count for line in few.series] == [4, 3]
        assert (few.series_count, few.count, few.overall) == (4, 10, answer.overall)


async def test_series_are_grouped_by_labels(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell_four(store)
        one = await ask(store, RESOLUTION, by="", step="1m")
        assert [(line.labels, line.count, line.max) for line in one.series] == [({}, 10, 40)]
        assert one.series[0].points == one.overall
        each = await ask(store, RESOLUTION, by="cached")
        assert each.series == (await ask(store, RESOLUTION)).series
        with pytest.raises(Refused, match="by: unknown label 'cache'; did you mean 'cached'"):
            await ask(store, RESOLUTION, by="cache")


@pytest.mark.parametrize(
    ("labels", "chosen"),
    [
        ("cached=true", {"true"}),
        ("cached=true|false", {"true", "false"}),
        ("cached!=true", {"false", "maybe", "never"}),
        ("cached!=true|false,cached!=never", {"maybe"}),
        ("cached=", set[str]()),
        ("cached!=", {"true", "false", "maybe", "never"}),
        ("other=", {"true", "false", "maybe", "never"}),
        ("other=x", set[str]()),
    ],
)
async def test_labels_choose_series(tmp_path: Path, labels: str, chosen: set[str]) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell_four(store)
        answer = await ask(store, RESOLUTION, labels=labels)
        assert {line.labels["cached"] for line in answer.series} == chosen


async def test_the_fullest_lines_are_found_among_many(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        sizes = random.Random(4).sample(range(1, 200), 120)
        for n, size in enumerate(sizes):
            values = [(-float(ago), 1.0) for ago in range(size)]
            await tell(store, RESOLUTION, values, (("cached", str(n)),), end=n + 1)
        answer = await ask(store, RESOLUTION, limit=7)
        assert [line.count for line in answer.series] == sorted(sizes, reverse=True)[:7]
        assert (answer.series_count, answer.count) == (120, sum(sizes))


def sealed(store: RestStore) -> None:
    """Let whoever reads fail."""
    store._reader = None  # type: ignore[assignment]  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


async def test_too_large_an_answer_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        for n in range(70):
            await tell(store, RESOLUTION, [(0.0, 1.0)], (("cached", str(n)),), end=n + 1)
        assert len((await ask(store, RESOLUTION, limit=60)).series) == 60
        sealed(store)
        with pytest.raises(Refused, match="70 lines of 300 points are 21000") as refused:
            await ask(store, RESOLUTION, limit=70)
        assert refused.value.reason == "invalid"
        assert "larger step" in refused.value.hint
        with pytest.raises(Refused, match="limit: 501"):
            await ask(store, RESOLUTION, limit=501)


async def test_many_series_are_answered_from_a_coarser_tier_and_refused_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "WINDOWS", 1000)
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell_four(store)
        answer = await ask(store, RESOLUTION)
        assert (answer.tier, answer.width_ms, answer.count) == ("short-term", 60_000, 10)
        assert (await ask(store, RESOLUTION, labels="cached=true")).tier == "realtime"
    async with opened(tmp_path / "fine", VirtualClock(NOW), tiers=[{"width": "1s", "keep": "1h"}]) as store:
        await tell_four(store)
        sealed(store)
        with pytest.raises(Refused, match="4 series have 1200 windows of 1s; a question may read 1000") as refused:
            await ask(store, RESOLUTION)
        assert "labels=" in refused.value.hint
        assert refused.value.reason == "invalid"


async def test_few_large_questions_are_answered_at_a_time_and_small_ones_pass() -> None:
    heavy, leave, inside = bounds.Heavy(), anyio.Event(), list[int]()

    async def question(number: int) -> None:
        async with heavy.turn(bounds.LIGHT + 1):
            inside.append(number)
            await leave.wait()

    async with anyio.create_task_group() as group:
        for n in range(bounds.AT_ONCE + bounds.WAITING):
            group.start_soon(question, n)
        await anyio.wait_all_tasks_blocked()
        assert len(inside) == bounds.AT_ONCE
        with pytest.raises(Refused, match="large questions are being answered") as refused:
            async with heavy.turn(bounds.LIGHT + 1):
                pass
        assert (refused.value.reason, refused.value.retry_after) == ("rate_limited", bounds.LATER)
        async with heavy.turn(bounds.LIGHT):
            leave.set()
    assert len(inside) == bounds.AT_ONCE + bounds.WAITING


async def test_others_have_the_loop_beside_a_week_of_many_windows(tmp_path: Path) -> None:
    """Measured in CPU of the loop's thread from one turn to the next, so that other processes do not matter."""
    tiers = [{"width": "60s", "keep": "8d"}]
    async with opened(tmp_path, VirtualClock(NOW), tiers=tiers, buffer=100_000, cache="1MiB") as store:
        for n in range(4):
            values = [(-60.0 * ago, random.uniform(1, 99)) for ago in range(10_000)]
            await tell(store, RESOLUTION, values, (("cached", str(n)),), end=n + 1)
            await fold(store)
        answers, turns = list[MetricAnswer](), list[float]()
        async with anyio.create_task_group() as group:

            async def look() -> None:
                while True:
                    began = thread_time()
                    await anyio.lowlevel.checkpoint()
                    turns.append(thread_time() - began)

            group.start_soon(look)
            while len(answers) < 2 or (len(turns) <= 200 and len(answers) < 10):  # It decides who has how many turns.
                answers.append(await ask(store, RESOLUTION, period="7d"))
            group.cancel_scope.cancel()
        assert {answer.count for answer in answers} == {40_000}
        assert len(turns) > 200
        assert percentile(turns, 0.99) < 0.010, f"p99 of a turn: {percentile(turns, 0.99) * 1000:.1f} ms"
        assert max(turns) < 0.050, f"the longest turn: {max(turns) * 1000:.1f} ms"


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


async def test_a_value_from_the_future_is_not_the_current_one_when_the_clock_is_right_again(tmp_path: Path) -> None:
    async def standing(store: RestStore) -> tuple[float | None, int | None]:
        (found,) = (await store.current(AskCurrent(), CALLER)).data[RESOLUTION]
        return found.value, found.last_updated

    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock) as store:
        await store.position("metrics", 0, begin=0)
        for end, (value, when) in enumerate([(1.0, NOW), (2.0, NOW + 3600), (3.0, NOW + 1), (4.0, NOW - 9)], 1):
            await store.write(Batch((), [Window.of((RESOLUTION, (), when, 1.0), value, when, end)], "metrics", 0, end))
        assert await standing(store) == (3.0, round((NOW + 1) * 1000)), "one that is only late is not newer"
        await store.commit()
    async with opened(tmp_path, clock) as store:  # It is the same after a restart.
        assert await standing(store) == (3.0, round((NOW + 1) * 1000))


async def test_every_series_tells_how_it_stands(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock) as store:
        await tell_four(store)
        reply = await store.current(AskCurrent(), CALLER)
        told = {one.labels["cached"]: one for one in reply.data[RESOLUTION]}
        assert (told["never"].value, told["never"].count, told["never"].sum) == (40, 4, 160)
        assert told["never"].p99 == 40
        assert (told["true"].last_updated, reply.beside) == (round(NOW * 1000), {"leftOut": 0})
        assert reply.data["build_performance"] == []
        reply = await store.current(AskCurrent(limit=3), CALLER)
        assert (len(reply.data[RESOLUTION]), reply.beside) == (3, {"leftOut": 1})
        clock.step(3600)
        later = (await store.current(AskCurrent(), CALLER)).data[RESOLUTION][0]
        assert (later.value, later.p95, later.count) == (10, None, 1)
    async with opened(tmp_path, clock) as store:
        again = {one.labels["cached"]: one for one in (await store.current(AskCurrent(), CALLER)).data[RESOLUTION]}
        assert (again["never"].value, again["never"].count) == (40, 0)


async def test_lines_may_tell_less_than_all_of_them_together(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        for environment in ("production", "staging"):
            samples = [(-float(n), 10.0) for n in range(20)]
            await tell(store, "build_performance", samples, (("environment", environment),))
        answer = await ask(store, "build_performance", step="5s", fields="count,p50", lineFields="average")
        assert (answer.fields, answer.line_fields) == (["start", "count", "p50"], ["start", "average"])
        assert {len(point) for line in answer.series for point in line.points} == {2}
        assert {point[1] for line in answer.series for point in line.points} == {10.0}
        assert sum(point[1] for point in answer.overall) == 40
        assert (await ask(store, "build_performance", fields="count")).line_fields == ["start", "count"]
        with pytest.raises(Refused, match="lineFields: unknown figure 'p96'"):
            await ask(store, "build_performance", lineFields="p96")
