"""The store as a durable sink: every window counted once, whatever is committed, folded, swept or killed in between."""

from __future__ import annotations

import gc
import random
import shutil
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bers import Batch, BersError, Caller, Catalog, Conflict, Context, Event, Metric, Tier, Window
from bers.checksums import connect
from bers.testing import VirtualClock, check_spec, feed, run_pipeline, step
from bers_builtin.processors.aggregation import AGGREGATION
from bers_builtin.sinks.rest_store import REST_STORE, RestStore, pages, read_windows
from bers_builtin.sinks.rest_store.answers import AskMetric

CALLER = Caller()
NOW = 1_700_000_000.0
METRICS = Catalog([Metric("build_performance", "ms", "How long a build takes."), Metric("latency", "ms", "Latency.")])
LONG = [{"width": "1s", "keep": "7d"}, {"width": "60s", "keep": "8d"}, {"width": "1h", "keep": "9d"}]


@asynccontextmanager
async def opened(folder: Path, clock: VirtualClock | None = None, **options: object) -> AsyncGenerator[RestStore]:
    """A store that commits and folds when it is told to, or when somebody moves its clock."""
    context = Context("store", data_dir=folder, clock=clock or VirtualClock(NOW), metrics=METRICS)
    async with step(REST_STORE, context=context, **options).open() as stage:
        assert isinstance(stage, RestStore)
        yield stage


def partials(rng: random.Random, end: int, count: int = 40) -> list[Window]:
    """What a batch might say: few keys, so that most are merged. Eighths add up exactly in any order."""
    made: dict[object, Window] = {}
    for _ in range(count):
        when = NOW - rng.choice([0, 0, 0, 1, 2, 30, 90, 4000]) - rng.random()
        labels = (("kind", rng.choice("abc")),)
        metric, value = rng.choice(list(METRICS)), rng.randint(1, 8000) / 8
        key = (metric, labels, when // 1 * 1.0, 1.0)
        if known := made.get(key):
            known.add(value, when, end)
        else:
            made[key] = Window.of(key, value, when, end, rng.choice([1, 1, 3]))
    return list(made.values())


def merged(windows: Iterable[Window]) -> dict[object, Window]:
    """The oracle: merge by key, and nothing else."""
    result: dict[object, Window] = {}
    for window in windows:
        if known := result.get(window.key):
            known.merge(window)
        else:
            result[window.key] = window.copy()
    return result


def same(found: Iterable[Window], expected: Iterable[Window]) -> bool:
    def facts(windows: Iterable[Window]) -> Sequence[object]:
        return sorted(
            (w.key, w.count, w.sum, w.min, w.max, w.last, w.seen[0], sorted(w.sketch.items())) for w in windows
        )

    return facts(found) == facts(expected)


def batch(end: int, windows: Sequence[Window] = (), events: Sequence[Event] = (), reader: str = "metrics") -> Batch:
    return Batch(events, windows, reader, 0, end)


def one(value: float, when: float, metric: str = "latency", end: int = 1, labels: Any = (), tiers: Any = ()) -> Window:
    window = Window.of((metric, labels, when // 1 * 1.0, 1.0), value, when, end)
    window.tiers = tiers
    return window


def rows(path: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def test_the_spec_keeps_its_promises(tmp_path: Path) -> None:
    await check_spec(REST_STORE, context=Context("store", data_dir=tmp_path))


@pytest.mark.parametrize("seed", range(6))
async def test_every_window_is_counted_once_over_commits_foldings_and_restarts(tmp_path: Path, seed: int) -> None:
    rng, told, end = random.Random(seed), list[Window](), 0
    for _ in range(4):
        async with opened(tmp_path, tiers=LONG) as store:
            assert await store.position("metrics", 0, begin=0) == end
            for _ in range(rng.randint(1, 12)):
                end += 1
                windows = partials(rng, end)
                told += [window.copy() for window in windows]
                pending = {w.key for part in store._waiting()[:1] for _, ws in part for w in ws.values()}  # pyright: ignore[reportPrivateUsage]
                written = await store.write(batch(end, windows))
                assert written.merged == sum(window.key in pending for window in windows)
                if rng.random() < 0.5:
                    await store.commit()
                if rng.random() < 0.3:
                    await store.fold()
            answer = await store.metric(AskMetric(type="latency", period="6d"), CALLER)
            assert answer.count == sum(window.count for window in told if window.metric == "latency")
        assert same(read_windows(tmp_path / "metrics.db"), merged(told).values())


@pytest.mark.parametrize("seed", range(3))
async def test_the_files_of_any_moment_hold_whole_batches(tmp_path: Path, seed: int) -> None:
    """Each copy is what a kill at that moment would have left behind."""
    rng, told, images = random.Random(seed), list[tuple[int, Window]](), list[Path]()
    live = tmp_path / "live"
    async with opened(live, tiers=LONG) as store:
        await store.position("metrics", 0, begin=0)

        async def keep_copying() -> None:
            while True:
                image = tmp_path / f"image-{len(images)}"
                await store._database.run(lambda _, image=image: shutil.copytree(live, image))  # type: ignore[misc]  # pyright: ignore[reportPrivateUsage]
                images.append(image)

        async with anyio.create_task_group() as group:
            group.start_soon(keep_copying)
            for end in range(1, 13):
                windows = [
                    window
                    for number in range(40)
                    for window in partials(rng, end, 2)
                    for window.labels in [(("series", str(number)),)]
                ]
                told += [(end, window.copy()) for window in windows]
                await store.write(batch(end, windows))
                await store.commit()
                if not end % 3:
                    await store.fold()
                    await store.compact()
            group.cancel_scope.cancel()
    folding = compacted = 0
    for image in rng.sample(images, min(40, len(images))):
        (position,) = rows(image / "metrics.db", "SELECT coalesce(max(position), 0) FROM positions")[0]
        expected = merged(window for end, window in told if end <= position).values()
        folding += bool(rows(image / "metrics.db", "SELECT * FROM folding WHERE upto > 0"))
        compacted += bool(rows(image / "metrics.db", "SELECT * FROM pages WHERE folds > 1"))
        assert same(read_windows(image / "metrics.db"), expected)
        async with opened(image, tiers=LONG) as store:
            assert await store.position("metrics", 0, begin=0) == position
            await store.fold()
            await store.compact()
        assert same(read_windows(image / "metrics.db"), expected)
        assert not rows(image / "metrics.db", "SELECT * FROM segments")
    assert folding, "no copy was made in the middle of a folding"
    assert compacted, "no copy was made after parts were merged"


@settings(max_examples=60)
@given(
    values=st.lists(st.tuples(st.integers(0, 20_000), st.integers(-80, 800)), min_size=1, max_size=80),
    widths=st.sampled_from([(1, 60, 300, 3600), (1, 7, 60), (0.5, 2, 5), (10,), (1, 1, 60)]),
    finest=st.sampled_from([0.1, 0.5, 1.0, 2.0, 90.0]),
)
def test_a_cascade_of_tiers_equals_direct_folding(
    values: list[tuple[int, int]], widths: Sequence[float], finest: float
) -> None:
    windows = list(
        merged(
            Window.of(("m", (), (NOW + t) // finest * finest, finest), v / 8, NOW + t, 1) for t, v in values
        ).values()
    )
    for tier, folded in pages.cascade(windows, [Tier(width, 60) for width in widths]):
        direct = merged(
            Window.of(("m", (), start * tier.width, tier.width), v / 8, NOW + t, 1)
            for t, v in values
            for start in [pages.number((NOW + t) // finest * finest, finest, tier.width)]
        )
        assert same(folded.values(), direct.values())
        if not tier.width % finest:  # Nor does it matter that there were windows in between.
            assert {w.start for w in direct.values()} == {(NOW + t) // tier.width * tier.width for t, _ in values}


async def test_a_failed_commit_ends_the_stage_and_moves_nothing(tmp_path: Path) -> None:
    clock, stores = VirtualClock(NOW), list[RestStore]()

    async def work() -> None:
        async with opened(tmp_path, clock) as store:
            stores.append(store)
            await store.position("metrics", 0, begin=0)
            await store.write(batch(7, [one(1.0, NOW)]))
            refuse = "CREATE TRIGGER refuse BEFORE INSERT ON segments BEGIN SELECT RAISE(ABORT, 'no space'); END"
            rows(tmp_path / "metrics.db", refuse)
            await clock.advance(1.0)
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as failed:
        await work()
    (store,) = stores
    assert failed.group_contains(sqlite3.DatabaseError, match="no space")
    assert store.utilization()["latency"] > 0
    assert rows(tmp_path / "metrics.db", "SELECT position FROM positions") == [(0,)]
    rows(tmp_path / "metrics.db", "DROP TRIGGER refuse")
    async with opened(tmp_path) as again:
        assert await again.position("metrics", 0, begin=9) == 0


async def test_an_event_that_cannot_be_written_down_costs_only_itself(tmp_path: Path) -> None:
    odd = Event("odd", "/ci", "build.finished", NOW, data={"handle": object()})
    others = [Event(f"e-{n}", "/ci", "build.finished", NOW) for n in range(9)]
    context = Context("store", data_dir=tmp_path, clock=VirtualClock(NOW), metrics=METRICS)
    pipeline = await run_pipeline(
        await feed([*others[:4], odd, *others[4:]]), sinks=[step(REST_STORE, context=context)]
    )
    edge = pipeline.counters.edge("test/store")
    assert (edge.out, edge.dead, edge.taken) == (9, 1, 10)
    with sqlite3.connect(tmp_path / "metrics.db") as connection:
        kept = [id for (id,) in connection.execute("SELECT id FROM events ORDER BY id")]
        assert kept == [event.id for event in others]
        assert connection.execute("SELECT position FROM positions").fetchall() == [(10,)]


async def test_a_position_that_somebody_else_moved_ends_the_stage(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(tmp_path) as store:
            await store.position("metrics", 0, begin=3)
            await store.write(batch(7, [one(1.0, NOW)]))
            connection = connect(tmp_path / "metrics.db", isolation_level=None)
            connection.execute("UPDATE positions SET position = 5")
            connection.close()
            await store.commit()

    with pytest.raises(ExceptionGroup) as failed:
        await work()
    assert failed.group_contains(Conflict)
    assert not read_windows(tmp_path / "metrics.db")


async def test_two_pipelines_each_have_their_position(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert await store.position("metrics", 0, begin=10) == 10
        assert await store.position("history", 0, begin=20) == 20
        await store.write(batch(11, [one(1.0, NOW)]))
        await store.write(batch(25, events=[Event("1", "s", "alert.fired", NOW)], reader="history"))
        await store.write(batch(12, [one(2.0, NOW)]))
        # A pipeline that begins again while the store stays goes on after what waits for its commit.
        assert await store.position("metrics", 0, begin=0) == 12
    async with opened(tmp_path) as store:
        assert await store.position("metrics", 0, begin=0) == 12
        assert await store.position("history", 0, begin=0) == 25
    assert [window.count for window in read_windows(tmp_path / "metrics.db")] == [2]


async def test_a_pipeline_accounts_for_every_record_it_stores(tmp_path: Path) -> None:
    events = [
        Event(str(n), "ci", "build.finished", NOW - n % 7, measures={"latency": n + 1.0, "build_performance": 5.0})
        for n in range(200)
    ]
    bus = await feed(*[events[n : n + 20] for n in range(0, 200, 20)])
    windows = step(AGGREGATION, context=Context("windows", metrics=METRICS))
    context = Context("store", data_dir=tmp_path, clock=VirtualClock(NOW), metrics=METRICS)
    for until in (100, 200):  # It goes on where it was; the kit asserts that nothing is unaccounted for.
        store = step(REST_STORE, context=context)
        pipeline = await run_pipeline(bus, processors=[windows], sinks=[store], until=until)
        assert pipeline.counters.edge("test/store").taken == 100 + 14
    found = {(window.metric, window.start): window.count for window in read_windows(tmp_path / "metrics.db")}
    assert (len(found), sum(found.values())) == (14, 400)


async def test_commits_come_in_time_and_an_end_alone_takes_longer(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock) as store:
        await store.position("metrics", 0, begin=0)
        position = "SELECT position FROM positions"
        await store.write(batch(1, [one(1.0, NOW)]))
        await settled(clock, 0.25, lambda: rows(store.path, position) == [(1,)])
        await store.write(batch(2))
        await clock.advance(0.5)
        assert rows(store.path, position) == [(1,)]
        await settled(clock, 0.75, lambda: rows(store.path, position) == [(2,)])


async def test_a_segment_becomes_pages_by_itself(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock) as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, [one(1.0, NOW)]))
        await settled(clock, 0.25, lambda: bool(rows(store.path, "SELECT * FROM segments")))
        await settled(clock, 60, lambda: not rows(store.path, "SELECT * FROM segments"))
        assert [tier for (tier,) in rows(store.path, "SELECT tier FROM pages ORDER BY tier")] == [1, 60, 300, 3600]


async def settled(clock: VirtualClock, seconds: float, condition: Callable[[], bool]) -> None:
    """Let time pass, and the database's thread come to an end with it."""
    await clock.advance(seconds)
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.005)


async def test_what_is_past_its_time_is_deleted_from_disk(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    marks = {"build.finished": b"mark-of-a-build", "deployment.finished": b"mark-of-a-deployment"}
    async with opened(tmp_path, clock) as store:
        await store.position("metrics", 0, begin=0)
        events = [Event(type, "s", type, NOW, data={"note": mark.decode()}) for type, mark in marks.items()]
        await store.write(batch(1, [one(1.0, NOW)], events))
        await store.commit()
        await store.fold()
        tiers = list[list[int]]()
        for passed in (300 + 60, 3600 + 720, 86_400 + 3600, 30 * 86_400 + 43_200):
            clock.step(NOW + passed - clock.time())
            await store.sweep()
            tiers.append([tier for (tier,) in rows(store.path, "SELECT DISTINCT tier FROM pages ORDER BY tier")])
        assert tiers == [[60, 300, 3600], [300, 3600], [3600], []]
        answer = await store.metric(AskMetric(type="latency", period="60d"), CALLER)
        assert (answer.current, answer.count, answer.series) == (None, 0, [])
        assert rows(store.path, "SELECT type FROM events") == [("deployment.finished",)]
    content = (tmp_path / "metrics.db").read_bytes()
    assert marks["build.finished"] not in content
    assert marks["deployment.finished"] in content
    async with opened(tmp_path, clock) as store:
        clock.step(90 * 86_400)
        await store.sweep()
    assert marks["deployment.finished"] not in (tmp_path / "metrics.db").read_bytes()


async def test_a_window_is_kept_as_retention_stamped_it(tmp_path: Path) -> None:
    tiers = (Tier(60, 120), Tier(10, 20))
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock) as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, [one(1.0, NOW, tiers=tiers), one(2.0, NOW, "build_performance")]))
        await store.commit()
        await store.fold()
    kept = "SELECT metric, tier, width FROM pages JOIN series ON series = series.id ORDER BY metric, tier"
    assert rows(tmp_path / "metrics.db", kept)[4:] == [("latency", 10.0, 10.0), ("latency", 60.0, 60.0)]
    async with opened(tmp_path, clock) as store:  # It is known after a restart, too.
        await store.position("metrics", 0, begin=0)
        clock.step(15)
        answer = await store.metric(AskMetric(type="latency", period="20s"), CALLER)
        assert (answer.width_ms, answer.count) == (10_000, 1)
        assert (await store.check()).details["disk"]["usedBytes"] is None, "nobody has looked yet"
        await store.sweep()
        assert (await store.check()).details["disk"]["usedBytes"] > 0
        kinds = (await store.check()).details["disk"]["kinds"]
        assert {kind: one["keep"] for kind, one in kinds.items() if kind.endswith("0s")} == {
            "10s": 20, "60s": 3600, "300s": 86_400, "3600s": 30 * 86_400,
        }, "what the series say, and where several keep a tier, the longest"  # fmt: skip


async def test_windows_wider_than_the_finest_tier_stay_as_they_are(tmp_path: Path) -> None:
    wide = Window.of(("latency", (), NOW // 120 * 120, 120.0), 5.0, NOW, 1)
    async with opened(tmp_path) as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, [wide]))
        await store.commit()
        await store.fold()
        assert (await store.metric(AskMetric(type="latency"), None)).count == 1  # type: ignore[arg-type]
    assert same(read_windows(tmp_path / "metrics.db"), [wide])


async def test_a_full_buffer_makes_the_pipeline_wait_and_shows(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, buffer=20) as store:
        await store.position("metrics", 0, begin=0)
        seen = [store.utilization()["overall"]]
        for end in range(1, 5):  # Nobody moves the clock: commits are stalled.
            await store.write(batch(end, [one(1.0, NOW + 5 * end + i) for i in range(5)]))
            seen.append(store.utilization()["overall"])
        assert seen == [0, 0.25, 0.5, 0.75, 1]
        assert store.utilization()["latency"] == 1
        assert store.utilization()["build_performance"] == 0
        assert (await store.check()).details["bufferUtilization"]["overall"] == 1
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for end in (5, 6):
                    group.start_soon(store.write, batch(end, [one(1.0, NOW + 100 + end)]))
                await anyio.wait_all_tasks_blocked()
                assert store.utilization()["overall"] == 1
                await clock.advance(0.25)
        assert store.utilization()["overall"] < 1
    assert len(read_windows(tmp_path / "metrics.db")) == 22


async def test_a_commit_that_takes_long_is_reported(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, commit_every="1h") as store:
        await store.position("metrics", 0, begin=0)
        assert (await store.check()).status == "healthy"
        await store.write(batch(1, [one(1.0, NOW)]))
        await clock.advance(6)
        found = await store.check()
        assert (found.status, found.details["positions"]) == ("degraded", {"metrics/0": 0})
        await store.commit()
        assert (await store.check()).status == "healthy"


@pytest.mark.parametrize("content", [b"not a database at all" * 100, None])
async def test_a_file_that_cannot_be_read_is_named_with_a_remedy(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "metrics.db").write_bytes(content)
    else:
        rows(tmp_path / "metrics.db", "PRAGMA user_version = 99")
    with pytest.raises(BersError, match=r"metrics\.db: .*restore it from a backup, or move it away"):
        async with opened(tmp_path):
            pass


async def test_folding_a_thousand_series_leaves_the_loop_to_others(tmp_path: Path) -> None:
    """In processor time of the loop's thread: what other processes take is not our fault."""
    longest = 0.0
    async with opened(tmp_path) as store:
        await store.position("metrics", 0, begin=0)
        for second in range(10):
            windows = [one(1.0 + n, NOW - second, labels=(("n", str(n)),)) for n in range(1000)]
            for window in windows:
                window.add(2.0, NOW - second, 1)
            await store.write(batch(second + 1, windows))
            await store.commit()

        async def tick() -> None:
            nonlocal longest
            before = time.thread_time()
            while True:
                await anyio.lowlevel.checkpoint()
                now = time.thread_time()
                longest, before = max(longest, now - before), now

        gc.collect()
        gc.freeze()  # What other tests left behind is not our fault either.
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(tick)
                await store.fold()
                group.cancel_scope.cancel()
        finally:
            gc.unfreeze()
    assert longest < 0.02
    assert sum(window.count for window in read_windows(tmp_path / "metrics.db")) == 20_000
