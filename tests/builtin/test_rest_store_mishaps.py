"""The store where somebody goes away, a disk does not let it write, and a row has something else where a number was."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from bers import ConfigError, Event, Window
from bers.config import plan
from bers.config.located import parse
from bers.plugins import load as load_plugins
from bers.testing import VirtualClock
from bers_builtin.sinks.rest_store import read_windows
from bers_builtin.sinks.rest_store.answers import AskForget, AskMetric, AskRecords
from tests.builtin.test_rest_store import CALLER, LONG, NOW, batch, one, opened, rows


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8, 13, 21])
async def test_whoever_folds_and_goes_away_takes_no_window_with_him(tmp_path: Path, turns: int) -> None:
    windows = [one(i % 7 + 1.0, NOW - i % 300, labels=(("kind", str(i % 50)),)) for i in range(3000)]
    async with opened(tmp_path, tiers=LONG) as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, windows))
        await store.commit()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(store.fold)
                for _ in range(turns):
                    await checkpoint()
                scope.cancel()
        await store.fold()
        assert (await store.metric(AskMetric(type="latency", period="6d"), CALLER)).count == 3000
    assert sum(window.count for window in read_windows(tmp_path / "metrics.db")) == 3000


async def test_a_damaged_page_is_told_once_while_the_disk_lets_nobody_write_and_the_rest_is_answered(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, tiers=LONG) as store:
        await store.position("metrics", 0, begin=0)
        for start in (0, 4000):
            await store.write(batch(1, [one(1.0, NOW - start - i) for i in range(50)]))
            await store.commit()
            await store.fold()
        run = store._database.run  # pyright: ignore[reportPrivateUsage]
        await run(lambda db: db.execute(f"UPDATE pages SET data = x'00' WHERE tier = 60 AND start < {NOW - 3000}"))
        await run(lambda db: db.execute("PRAGMA query_only = ON"))
        for _ in range(3):
            answer = await store.metric(AskMetric(type="latency", period="2h"), CALLER)
            assert answer.count == 50
        assert len(store._losses.known) == 1  # pyright: ignore[reportPrivateUsage]
        store._database._connection.execute("PRAGMA query_only = OFF")  # type: ignore[union-attr]  # pyright: ignore
        await store.sweep()
        assert (await store.metric(AskMetric(type="latency", period="2h"), CALLER)).count == 50
        assert len(store._losses.known) == 1  # pyright: ignore[reportPrivateUsage]
    assert rows(tmp_path / "metrics.db", "SELECT count(*) FROM damaged") == [(1,)]


@pytest.mark.parametrize("value", ["'text'", "x'00ff'", "7"])
@pytest.mark.parametrize("column", ["time", "subject", "type", "body"])
async def test_an_event_with_something_else_where_a_value_was_is_told_as_damaged(
    tmp_path: Path, column: str, value: str
) -> None:
    async with opened(tmp_path) as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, events=[Event(f"e{n}", "/ci", "build.finished", NOW) for n in range(2)]))
        await store.commit()
        run = store._database.run  # pyright: ignore[reportPrivateUsage]
        await run(lambda db: db.execute(f"UPDATE events SET {column} = {value} WHERE id = 'e0'"))
        assert (await store.records(AskRecords(id="e0"), CALLER)).data == []
        assert len(store._losses.known) == 1  # pyright: ignore[reportPrivateUsage]
        assert [one["id"] for one in (await store.records(AskRecords(), CALLER)).data] == ["e1"]


async def test_what_was_set_aside_of_whole_commits_is_overwritten_when_a_series_is_forgotten(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, [one(1.0, NOW)]))
        await store.commit()
        run = store._database.run  # pyright: ignore[reportPrivateUsage]
        await run(lambda db: db.execute("UPDATE segments SET checksum = checksum + 1"))
    async with opened(tmp_path) as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(2, [one(2.0, NOW)]))
        assert rows(store.path, "SELECT length(row) > 20 FROM damaged") == [(1,)]
        await store.forget_metric(AskForget("latency", round(NOW * 1000), ""), CALLER)
        assert rows(store.path, "SELECT length(row) FROM damaged") == [(0,)]
        assert len(store._losses.known) == 1  # pyright: ignore[reportPrivateUsage]


async def test_an_open_window_that_is_wider_than_its_tier_counts_from_its_first_moment_on(tmp_path: Path) -> None:
    tiers = [{"width": "2s", "keep": "1h"}, {"width": "5s", "keep": "2h"}]
    async with opened(tmp_path, tiers=tiers) as store:
        await store.position("metrics", 0, begin=0)
        clock = store.context.clock
        assert isinstance(clock, VirtualClock)
        await store.write(batch(1, [Window.of(("latency", (), NOW, 10.0), 3.0, NOW, 1)]))
        for _ in range(4):
            for period in ("10m", "2h"):
                answer = await store.metric(AskMetric(type="latency", period=period), CALLER)
                assert (answer.count, sum(point[1] for point in answer.overall)) == (1, 1)
                assert answer.overall[-1][0] < answer.to
            await store.fold()
            await clock.advance(3)


@pytest.mark.parametrize("path", ["metrics.db", "./metrics.db", "a/../metrics.db"])
def test_two_stores_of_one_file_are_refused_before_they_mix_up_their_series(path: str) -> None:
    text = f"""
version: 1
sinks:
  one: {{use: rest-store}}
  two: {{use: rest-store, path: {path}}}
  three: {{use: rest-store, path: state.db}}
  four: {{use: rest-store, path: other.db}}
pipelines:
  all: {{sources: [unmapped], sinks: [one, two, three, four]}}
"""
    with pytest.raises(ConfigError) as refused:
        plan(parse(text, "pipelines.yaml"), load_plugins(installed=False), environ={})
    assert [str(fault).partition(": ")[2] for fault in refused.value.faults] == [
        "sinks.two.path: 'metrics.db' is the file of 'one'; name another",
        "sinks.three.path: 'state.db' is the file of the server itself; name another",
    ]
