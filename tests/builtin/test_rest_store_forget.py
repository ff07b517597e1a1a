"""Deleting what is stored of a metric: gone from memory, from every tier, from the file and from its log."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from bers import Refused
from bers.testing import VirtualClock
from bers_builtin.sinks.rest_store import RestStore, read_windows
from bers_builtin.sinks.rest_store.answers import AskForget, AskMetrics, Forgotten
from tests.builtin.test_rest_store_answers import CALLER, NOW, ask, fold, opened, tell

METRIC, OTHER = "configuration_resolution_time", "build_performance"
CUT = -100.0
"""Seconds from NOW before which is deleted: at a minute, five minutes and an hour it is amid a window."""


async def delete(store: RestStore, ago: float = CUT, labels: str = "") -> Forgotten:
    return await store.forget_metric(AskForget(METRIC, round((NOW + ago) * 1000), labels), CALLER)


def tier_starts(path: Path, metric: str) -> dict[float, list[float]]:
    """Where the parts of each tier begin that the file has of a metric."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT tier, start FROM pages JOIN series ON series = series.id WHERE metric = ? ORDER BY start", (metric,)
        ).fetchall()
    found: dict[float, list[float]] = {}
    for tier, start in rows:
        found.setdefault(tier, []).append(start)
    return found


@pytest.mark.parametrize("where", ["pending", "segment", "pages", "many parts", "restarted"])
async def test_what_began_before_is_gone_wherever_it_was(tmp_path: Path, where: str) -> None:
    values = [(-float(n), float(n)) for n in range(280)]
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        for end, n in enumerate(range(0, 280, 28), 1):
            await tell(store, METRIC, values[n : n + 28], (("cached", "true"),), end=end)
            await tell(store, OTHER, values[n : n + 28], end=end)
            if where == "many parts":
                await fold(store)
        if where == "segment":
            await store.commit()
        if where == "pages":
            await fold(store)
        if where != "restarted":
            await assert_deleted(store)
    if where == "restarted":
        async with opened(tmp_path, VirtualClock(NOW)) as store:
            await assert_deleted(store)
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await assert_gone(store)


async def assert_deleted(store: RestStore) -> None:
    told = await delete(store)
    assert (told.type, told.series, told.windows >= 179) == (METRIC, 1, True)
    await assert_gone(store)
    assert (await delete(store)).windows == 0


async def assert_gone(store: RestStore) -> None:
    answer = await ask(store, METRIC)
    assert (answer.count, answer.max, answer.current) == (101, 100, 0)
    assert sum(point[1] for point in answer.series[0].points) == 101
    other = await ask(store, OTHER)
    assert (other.count, other.max) == (280, 279)
    starts = tier_starts(store.path, METRIC)
    assert starts and min(min(tier) for tier in starts.values()) >= NOW + CUT
    finest = [window for window in read_windows(store.path) if window.metric == METRIC]
    assert (len(finest), min(window.start for window in finest)) == (101, NOW + CUT)
    hour = await ask(store, METRIC, period="24h")
    assert hour.max is None or hour.max <= 100


async def test_only_the_series_that_were_meant_are_touched(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        for n, cached in enumerate(("true", "false"), 1):
            await tell(store, METRIC, [(-200.0, 1.0), (-10.0, 2.0)], (("cached", cached),), end=n)
        assert (await delete(store, labels="cached=true")).series == 1
        counts = {line.labels["cached"]: line.count for line in (await ask(store, METRIC)).series}
        assert counts == {"true": 1, "false": 2}


async def test_a_value_that_is_deleted_is_not_current_any_more(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        await tell(store, METRIC, [(-200.0, 1.0)])
        await delete(store)
        answer = await ask(store, METRIC)
        assert (answer.current, answer.last_updated, answer.count) == (None, None, 0)
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        assert (await ask(store, METRIC)).current is None
        await tell(store, METRIC, [(-150.0, 7.0)], end=2)  # What comes late is stored as ever.
        assert (await ask(store, METRIC)).current == 7


async def test_no_byte_of_it_is_left_in_the_file_or_its_log(tmp_path: Path) -> None:
    def last_bytes() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.glob("metrics.db*"))

    label = "a-place-that-nobody-shall-find"
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        rng = random.Random(1)
        await tell(store, METRIC, [(-200.0 - n, rng.random()) for n in range(50)], (("cached", label),))
        await fold(store)
        with closing(sqlite3.connect(store.path)) as connection:
            rows = [data for (data,) in connection.execute("SELECT data FROM pages").fetchall()]
        largest = max(rows, key=len)
        assert largest[8:40] in last_bytes()
        await delete(store)
        assert largest[8:40] not in last_bytes()


async def test_what_was_set_aside_as_damaged_is_deleted_too(tmp_path: Path) -> None:
    def run(query: str) -> list[tuple[int]]:
        with closing(sqlite3.connect(tmp_path / "metrics.db")) as connection, connection:
            return connection.execute(query).fetchall()

    async with opened(tmp_path, VirtualClock(NOW), cache="1B") as store:
        for metric, end in ((METRIC, 1), (OTHER, 2)):
            await tell(store, metric, [(-200.0 - n, float(n)) for n in range(50)], (("cached", "true"),), end=end)
        await fold(store)
        run("UPDATE pages SET data = zeroblob(20) WHERE tier = 1.0")
        assert (await ask(store, METRIC)).count == (await ask(store, OTHER)).count == 0
        ((aside,),) = run("SELECT count(*) FROM damaged")
        await delete(store)
        assert run("SELECT count(*) FROM damaged") == [(aside // 2,)]
        assert aside >= 2


async def test_nothing_else_is_lost_while_it_goes_on(tmp_path: Path) -> None:
    """Emitters write, commits and foldings happen, and somebody reads, all beside deletions."""
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        async with anyio.create_task_group() as group:

            async def emit() -> None:
                for end in range(1, 120):
                    await tell(store, OTHER, [(-float(end), 1.0)], end=end)
                    await tell(store, METRIC, [(-float(end % 90), 1.0)], end=end)
                    if end % 7 == 0:
                        await store.commit()
                    await anyio.lowlevel.checkpoint()

            async def upkeep() -> None:
                for _ in range(12):
                    await store.fold()
                    await store.compact()
                    await store.sweep()

            async def remove() -> None:
                for _ in range(8):
                    await delete(store)
                    await store.metrics(AskMetrics(), CALLER)

            for work in (emit, upkeep, remove):
                group.start_soon(work)
        assert (await ask(store, OTHER)).count == 119
        assert (await ask(store, METRIC)).count == 119


async def test_the_future_is_not_deleted_and_an_unknown_metric_is_none(tmp_path: Path) -> None:
    async with opened(tmp_path, VirtualClock(NOW)) as store:
        with pytest.raises(Refused, match="lies in the future") as refused:
            await delete(store, 1.0)
        assert refused.value.reason == "invalid"
        with pytest.raises(Refused, match="unknown metric"):
            await store.forget_metric(AskForget("nope", 0), CALLER)
