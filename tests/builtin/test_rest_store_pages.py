"""Pages of the store: parts that are merged later, rows that are damaged, files of another layout, and what is kept."""

from __future__ import annotations

import logging
import math
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bers import BersError, Event, Nothing, Tier, Window, rfc3339
from bers.testing import VirtualClock
from bers_builtin.sinks.rest_store import RestStore, pages, read_windows
from bers_builtin.sinks.rest_store.answers import AskMetric, AskRecords
from bers_builtin.sinks.rest_store.page_rows import part_is_sound
from bers_builtin.sinks.rest_store.pages import Key
from bers_builtin.sinks.rest_store.tables import TABLES
from tests.builtin.test_rest_store import CALLER, NOW, batch, merged, one, opened, rows, same

MINUTES = [{"width": "1s", "keep": "7d"}, {"width": "1m", "keep": "30d"}]


@pytest.mark.parametrize(
    ("width", "keep", "count"),
    [(1, 300, 60), (60, 3600, 12), (300, 86_400, 48), (3600, 30 * 86_400, 24), (1, 7 * 86_400, 3600), (60, 70, 1)],
)
def test_a_page_spans_at_most_a_fifth_of_what_is_kept_and_a_day(width: float, keep: float, count: int) -> None:
    assert pages.per_page(width, keep) == count


async def fold_minutes(store: RestStore, clock: VirtualClock, minutes: int, *, compact: bool = True) -> list[Window]:
    """A sample each 10 s, and a folding each minute."""
    told: list[Window] = []
    for _ in range(minutes):
        now = clock.time()
        told += [one(n + now % 97, now + 10 * n + 0.5, end=len(told) + 1) for n in range(6)]
        await store.write(batch(int(now - NOW) + 1, told[-6:]))
        clock.step(60)
        await store.commit()
        await store.fold()
        if compact:
            await store.compact()
    return told


async def test_parts_of_a_page_are_merged_and_nothing_changes(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, tiers=MINUTES, fold_every="1d", commit_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        told = await fold_minutes(store, clock, 20, compact=False)
        ask = AskMetric(type="latency", period="1h")
        before = await store.metric(ask, CALLER)
        (parts,) = rows(store.path, "SELECT count(*) FROM pages WHERE tier = 1")[0]
        await store.compact()
        assert rows(store.path, "SELECT count(*) FROM pages WHERE tier = 1")[0] < (parts,)
        assert await store.metric(ask, CALLER) == before
        clock.step(7200)
        await store.compact()
        spans = rows(store.path, "SELECT count(*), sum(folds), sum(windows) FROM pages WHERE tier = 1")
        assert spans == [(1, parts, 120)]
    assert same(read_windows(tmp_path / "metrics.db"), merged(told).values())


async def test_parts_stay_few_however_long_a_page_grows(tmp_path: Path) -> None:
    clock = VirtualClock(NOW // 86_400 * 86_400)
    tiers = [{"width": "10s", "keep": "30d"}, {"width": "1h", "keep": "365d"}]
    async with opened(tmp_path, clock, tiers=tiers, fold_every="1d", commit_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        told = await fold_minutes(store, clock, 200)
        per_page = rows(store.path, "SELECT count(*), sum(folds) FROM pages GROUP BY tier, width, start / 86400")
        assert all(count <= 8 + 8 + 3 for count, _ in per_page), per_page
        assert sum(folds for _, folds in per_page) == 2 * 200
    kept = {window.start: (window.count, window.sum) for window in read_windows(tmp_path / "metrics.db")}
    assert kept == {window.start: (1, window.sum) for window in told}


async def test_parts_are_merged_as_soon_as_they_are_enough(tmp_path: Path) -> None:
    clock = VirtualClock(NOW // 86_400 * 86_400)
    parts: list[int] = []
    for _ in range(2):  # The second one begins with what the first has left: one of eight, and one.
        async with opened(tmp_path, clock, tiers=MINUTES, fold_every="1d", commit_every="1d") as store:
            await store.position("metrics", 0, begin=0)
            for _ in range(9):
                await fold_minutes(store, clock, 1)
                parts += rows(store.path, "SELECT count(*) FROM pages WHERE tier = 60")[0]
    assert parts == [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 8, 2, 3, 4]


async def test_what_is_left_of_a_page_is_merged_when_it_is_over(tmp_path: Path) -> None:
    clock = VirtualClock(NOW // 86_400 * 86_400)
    async with opened(tmp_path, clock, tiers=MINUTES, fold_every="1d", commit_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        await fold_minutes(store, clock, 16)
        assert rows(store.path, "SELECT count(*) FROM pages WHERE tier = 60") == [(2,)]
        clock.step(2 * 86_400)
        await store.compact()
        assert rows(store.path, "SELECT count(*), sum(folds) FROM pages WHERE tier = 60") == [(1, 16)]


async def test_a_restarted_store_merges_what_was_there_before(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, tiers=MINUTES, fold_every="1d", commit_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        told = await fold_minutes(store, clock, 5, compact=False)
    clock.step(7200)
    async with opened(tmp_path, clock, tiers=MINUTES, fold_every="1d", commit_every="1d") as store:
        await store.compact()
        assert rows(store.path, "SELECT count(*) FROM pages WHERE tier = 1") == [(1,)]
    assert same(read_windows(tmp_path / "metrics.db"), merged(told).values())


async def test_two_configurations_answer_from_the_rows_of_both(tmp_path: Path) -> None:
    """Pages of another span lie beside each other; a tier that is no more is not answered from."""
    clock = VirtualClock(NOW)
    told: list[Window] = []
    for keep in ("7d", "2h", "1d"):
        tiers = [{"width": "1s", "keep": keep}, {"width": "1m", "keep": "30d"}]
        async with opened(tmp_path, clock, tiers=tiers, fold_every="1d", commit_every="1d") as store:
            await store.position("metrics", 0, begin=0)
            told += await fold_minutes(store, clock, 10)
            for period in ("31m", "3h"):
                answer = await store.metric(AskMetric(type="latency", period=period), CALLER)
                assert (answer.count, answer.min) == (len(told), min(window.min for window in told))
    assert same(read_windows(tmp_path / "metrics.db"), merged(told).values())


async def test_a_shorter_keep_applies_to_what_is_there_already(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, tiers=MINUTES, fold_every="1d", commit_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        await fold_minutes(store, clock, 10)
    clock.step(3600)
    tiers = [{"width": "1s", "keep": "5m"}, {"width": "1m", "keep": "30d"}]
    async with opened(tmp_path, clock, tiers=tiers, fold_every="1d", commit_every="1d") as store:
        answer = await store.metric(AskMetric(type="latency", from_=round(NOW * 1000), to=None), CALLER)
        assert (answer.width_ms, answer.count) == (60_000, 60)
        await store.sweep()
        assert rows(store.path, "SELECT DISTINCT tier FROM pages") == [(60.0,)]


async def test_what_is_too_old_is_not_answered_even_if_its_page_lies_on_disk(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, tiers=[{"width": "1s", "keep": "5m"}], fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, [one(1.0, NOW - 280), one(2.0, NOW - 200), one(3.0, NOW)]))
        for _ in range(2):
            assert (await store.metric(AskMetric(type="latency", period="10m"), CALLER)).min == 1.0
            await store.commit()
            await store.fold()
        clock.step(60)
        for _ in range(2):
            answer = await store.metric(AskMetric(type="latency", period="10m"), CALLER)
            assert (answer.min, answer.count) == (2.0, 2)
            await store.clear_cache(Nothing(), CALLER)
        assert rows(store.path, "SELECT min(start) FROM pages") == [(NOW - 280,)]


@pytest.mark.parametrize("where", ["memory", "disk"])
async def test_of_a_page_that_is_partly_too_old_the_rest_is_answered(where: str, tmp_path: Path) -> None:
    page = NOW // 60 * 60 - 240
    clock = VirtualClock(page + 300)
    async with opened(tmp_path, clock, tiers=[{"width": "1s", "keep": "5m"}], fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, [one(1.0, page + 5), one(2.0, page + 50)]))
        if where == "disk":
            await store.commit()
            await store.fold()
            assert rows(store.path, "SELECT start, end FROM pages") == [(page + 5, page + 51)]
        ask = AskMetric(type="latency", period="10m")
        assert (await store.metric(ask, CALLER)).count == 2
        clock.step(30)
        answer = await store.metric(ask, CALLER)
        assert (answer.min, answer.count) == (2.0, 1)


async def test_a_window_from_the_future_is_not_kept_the_longer_for_it(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, [one(1.0, NOW + 365 * 86_400)]))
        await store.commit()
        await store.fold()
        assert rows(store.path, "SELECT max(expires) FROM pages") == [(NOW + 30 * 86_400,)]


def spoil(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "change",
    [
        "data = zeroblob(length(data))",
        "data = substr(data, 1, length(data) - 1)",
        "checksums = zeroblob(8)",
        "windows = windows + 1",
        "seq = seq + 1",
        "data = (SELECT data FROM pages AS other WHERE other.id > pages.id LIMIT 1)",
        "data = 'text'",
    ],
)
async def test_a_damaged_page_costs_that_page_and_is_told(
    tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, tiers=MINUTES, fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        for end, kind in enumerate("ab", 1):
            windows = [one(float(n), NOW - n, labels=(("kind", kind),), end=end) for n in (300, 100, 1)]
            await store.write(batch(end, windows))
            await store.commit()
            await store.fold()
    spoil(tmp_path / "metrics.db", f"UPDATE pages SET {change} WHERE tier = 1 AND series = 1")
    for _ in range(2):  # It is still told after a restart.
        async with opened(tmp_path, clock, tiers=MINUTES, fold_every="1d") as store:
            answer = await store.metric(AskMetric(type="latency", period="10m"), CALLER)
            assert (answer.count, [line.labels for line in answer.series]) == (3, [{"kind": "b"}])
            found = await store.check()
            assert (found.status, len(found.details["losses"])) == ("degraded", 1)
            loss = found.details["losses"][0]
            assert (loss["kind"], loss["metric"], loss["labels"], loss["width"]) == (
                "page",
                "latency",
                {"kind": "a"},
                1,
            )
            assert (loss["start"], loss["end"]) == (NOW - 300, NOW)
            assert f"lost from {rfc3339(NOW - 300)} to {rfc3339(NOW)}, in windows of" in found.message
            await store.fold()
            await store.compact()
    assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 1
    assert "latency{kind=a}" in caplog.text and "lost from 2023-11-14T22:08:20" in caplog.text
    clock.step(8 * 86_400)
    async with opened(tmp_path, clock, tiers=MINUTES, fold_every="1d") as store:
        await store.sweep()
        assert (await store.check()).status == "healthy", "what would be gone by now is no loss"


async def test_a_page_whose_end_is_another_is_not_believed(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, tiers=MINUTES, fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, [one(float(n), NOW - n) for n in (300, 100, 1)]))
        await store.commit()
        await store.fold()
    spoil(tmp_path / "metrics.db", "UPDATE pages SET end = end - 50 WHERE tier = 1")
    async with opened(tmp_path, clock, tiers=MINUTES, fold_every="1d") as store:
        assert (await store.metric(AskMetric(type="latency", period="10m"), CALLER)).count == 0
        (loss,) = (await store.check()).details["losses"]
        assert (loss["kind"], loss["start"], loss["windows"]) == ("page", NOW - 300, 3)


async def test_merging_goes_on_past_a_damaged_part(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, tiers=MINUTES, fold_every="1d", commit_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        await fold_minutes(store, clock, 10, compact=False)
        spoil(store.path, "UPDATE pages SET data = x'00' WHERE id = (SELECT min(id) FROM pages WHERE tier = 1)")
        clock.step(7200)
        await store.compact()
        assert rows(store.path, "SELECT sum(windows) FROM pages WHERE tier = 1") == [(54,)]
        (loss,) = (await store.check()).details["losses"]
        assert (loss["start"], loss["windows"]) == (NOW, 6)


async def test_a_damaged_segment_costs_what_it_held(tmp_path: Path) -> None:
    async with opened(tmp_path, fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        for end in (1, 2, 3):
            await store.write(batch(end, [one(float(end), NOW - end, end=end)]))
            await store.commit()
    spoil(tmp_path / "metrics.db", "UPDATE segments SET windows = zeroblob(9) WHERE id = 2")
    async with opened(tmp_path, fold_every="1d") as store:
        assert await store.position("metrics", 0, begin=0) == 3
        await store.fold()
        assert (await store.metric(AskMetric(type="latency"), CALLER)).count == 2
        (loss,) = (await store.check()).details["losses"]
        assert (loss["kind"], loss["what"][:9]) == ("segment", "segment 2")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE folding SET upto = upto - 1",
        "UPDATE folding SET series = 0",
        "UPDATE folding SET checksum = 0",
        "UPDATE folding SET upto = 'text'",
        "DELETE FROM folding",
    ],
)
async def test_a_damaged_mark_of_a_folding_rather_loses_windows_than_counts_them_twice(
    tmp_path: Path, change: str
) -> None:
    """Killed between two slices of a folding: the first one's windows are in pages, and in segments still."""
    live, image = tmp_path / "live", tmp_path / "image"
    async with opened(live, fold_every="1d", commit_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        windows = [one(1.0, NOW - 1, labels=(("n", str(n)),)) for n in range(100)]
        await store.write(batch(1, windows))
        await store.commit()
        write, slices = store._folder._write, list[int]()  # pyright: ignore[reportPrivateUsage]

        async def copying(*slice: Any) -> None:
            await write(*slice)
            slices.append(1)
            if len(slices) == 1:
                await store._database.run(lambda _: shutil.copytree(live, image))  # pyright: ignore[reportPrivateUsage]

        store._folder._write = copying  # type: ignore[assignment, method-assign]  # pyright: ignore[reportPrivateUsage]
        await store.fold()
        assert len(slices) > 1
    in_pages = rows(image / "metrics.db", "SELECT count(*) FROM pages WHERE tier = 1")[0][0]
    assert 0 < in_pages < 100
    spoil(image / "metrics.db", change)
    for _ in range(2):  # It is still told after a restart, and what comes next is kept.
        async with opened(image, fold_every="1d") as store:
            await store.fold()
            assert (await store.metric(AskMetric(type="latency"), CALLER)).count == in_pages
            (loss,) = (await store.check()).details["losses"]
            assert (loss["kind"], loss["windows"]) == ("segment", 100)
            assert (loss["start"], loss["end"]) == (NOW - 1, NOW)
    async with opened(image, fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(2, [one(1.0, NOW)]))
        await store.commit()
    async with opened(image, fold_every="1d") as store:
        assert (await store.metric(AskMetric(type="latency"), CALLER)).count == in_pages + 1


async def test_a_damaged_beginning_is_told_and_begins_anew(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock):
        pass
    spoil(tmp_path / "metrics.db", "UPDATE kept SET since = since - 1e8")
    clock.step(60)
    for _ in range(2):
        async with opened(tmp_path, clock) as store:
            assert rows(store.path, "SELECT since FROM kept") == [(NOW + 60,)]
            (loss,) = (await store.check()).details["losses"]
            assert (loss["kind"], loss["what"][:30]) == ("event", "since when records are kept is")


async def test_a_file_without_checksums_of_its_marks_gets_them(tmp_path: Path) -> None:
    async with opened(tmp_path, fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, [one(1.0, NOW)]))
        await store.commit()
    for statement in (
        "DROP TABLE folding",
        "CREATE TABLE folding (one INTEGER PRIMARY KEY CHECK (one = 1), upto INTEGER, series INTEGER)",
        "DROP TABLE kept",
        "CREATE TABLE kept (one INTEGER PRIMARY KEY CHECK (one = 1), since REAL NOT NULL)",
        "INSERT INTO kept VALUES (1, 5.0)",
    ):
        spoil(tmp_path / "metrics.db", statement)
    async with opened(tmp_path, fold_every="1d") as store:
        assert (await store.metric(AskMetric(type="latency"), CALLER)).count == 1
        assert rows(store.path, "SELECT since FROM kept") == [(5.0,)]
        assert (await store.check()).status == "healthy"


@pytest.mark.parametrize("folded", [False, True])
async def test_a_damaged_series_leaves_its_pages_without_a_name(tmp_path: Path, folded: bool) -> None:
    kinds = [(("kind", kind),) for kind in "ab"]
    async with opened(tmp_path, fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, [one(1.0, NOW, labels=labels) for labels in kinds]))
        await store.commit()
        if folded:
            await store.fold()
    spoil(tmp_path / "metrics.db", "UPDATE series SET labels = x'90' WHERE id = 2")
    async with opened(tmp_path, fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        assert (await store.metric(AskMetric(type="latency"), CALLER)).count == 1
        (loss,) = (await store.check()).details["losses"]
        assert loss["kind"] == "series" and f"its {4 if folded else 0} pages have no name" in loss["what"]
        await store.write(batch(2, [one(5.0, NOW, labels=labels, end=2) for labels in kinds]))
        await store.commit()
        await store.fold()
        answer = await store.metric(AskMetric(type="latency"), CALLER)
        assert (answer.count, sorted(sum(point[1] for point in line.points) for line in answer.series)) == (3, [1, 2])


async def test_damaged_details_of_an_event_are_not_told(tmp_path: Path) -> None:
    async with opened(tmp_path, fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, events=[Event(str(n), "/ci", "build.finished", NOW - n) for n in range(3)]))
        await store.commit()
        spoil(store.path, "UPDATE events SET subject = 'else' WHERE id = '1'")
        assert [record["id"] for record in (await store.records(AskRecords(), CALLER)).data] == ["0", "2"]
        (loss,) = (await store.check()).details["losses"]
        assert (loss["kind"], loss["what"]) == ("event", "the details of event '1' (build.finished) are damaged")


async def test_a_database_of_an_older_layout_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.db"
    spoil(path, "CREATE TABLE segments (id INTEGER PRIMARY KEY, windows BLOB)")
    spoil(path, "PRAGMA user_version = 1")
    async with opened(tmp_path) as store:
        assert await store.position("metrics", 0, begin=4) == 4
        found = await store.check()
        assert (found.status, "metrics.db.layout-1" in found.message) == ("degraded", True)
    assert "is now metrics.db.layout-1" in caplog.text
    assert rows(tmp_path / "metrics.db.layout-1", "SELECT name FROM sqlite_master") == [("segments",)]
    (tmp_path / "metrics.db.layout-1").unlink()
    async with opened(tmp_path) as store:
        assert (await store.check()).status == "healthy"


async def test_a_database_of_a_newer_layout_is_left_alone(tmp_path: Path) -> None:
    spoil(tmp_path / "metrics.db", "PRAGMA user_version = 3")
    with pytest.raises(BersError, match="its layout is 3, and this bers reads layout 2; use the bers that wrote it"):
        async with opened(tmp_path):
            pass
    assert [one.name for one in tmp_path.iterdir() if "layout" in one.name] == []


async def test_what_is_deleted_leaves_the_file_and_its_log(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, fold_every="1d", commit_every="1d", events_keep="1h") as store:
        await store.position("metrics", 0, begin=0)
        events = [Event(str(n), "/ci", "build.finished", NOW, data={"note": f"mark-{n}" * 50}) for n in range(500)]
        await store.write(batch(1, [one(1.0, NOW)], events))
        await store.commit()
        before = store.path.stat().st_size + (tmp_path / "metrics.db-wal").stat().st_size
        clock.step(3601)
        await store.sweep()
        content = store.path.read_bytes() + (tmp_path / "metrics.db-wal").read_bytes()
        assert b"mark-" not in content
        assert len(content) < before / 5


VALUES: dict[str, Callable[[random.Random], float]] = {
    "uniform": lambda rng: rng.uniform(1.0, 1000.0),
    "lognormal": lambda rng: rng.lognormvariate(3.0, 1.0),
    "bimodal": lambda rng: rng.gauss(20.0, 2.0) if rng.random() < 0.7 else rng.gauss(900.0, 50.0),
    "constant": lambda _: 42.5,
    "heavy tail": lambda rng: rng.paretovariate(1.1),
}


@pytest.mark.parametrize("kind", VALUES)
async def test_quantiles_are_within_one_per_cent_from_every_tier(tmp_path: Path, kind: str) -> None:
    rng, clock = random.Random(kind), VirtualClock(NOW)
    values: list[float] = []
    async with opened(tmp_path, clock, fold_every="1d", commit_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        for end in range(1, 13):
            told: list[Window] = []
            for _ in range(150):
                values.append(VALUES[kind](rng))
                told.append(one(values[-1], NOW - rng.random() * 200, end=end))
            rng.shuffle(told)
            await store.write(batch(end, list(merged(told).values())))
            await store.commit()
            if end % 3:
                await store.fold()
                await store.compact()
        values.sort()
        for period, width in (("5m", 1000), ("1h", 60_000), ("1d", 300_000), ("30d", 3_600_000)):
            answer = await store.metric(AskMetric(type="latency", period=period), CALLER)
            assert (answer.width_ms, answer.count) == (width, len(values))
            for found, share in ((answer.p50, 0.5), (answer.p95, 0.95), (answer.p99, 0.99)):
                assert found == pytest.approx(values[math.ceil(share * len(values)) - 1], rel=0.0101)


@settings(max_examples=100)
@given(st.data(), st.sampled_from(sorted(VALUES)), st.integers(0, 2**32))
def test_no_order_or_grouping_of_merges_moves_a_quantile(data: st.DataObject, kind: str, seed: int) -> None:
    rng = random.Random(seed)
    values = [VALUES[kind](rng) for _ in range(200)]
    parts = [one(value, NOW, end=n) for n, value in enumerate(values)]
    while len(parts) > 1:
        n = data.draw(st.integers(0, len(parts) - 1))
        part = parts.pop(n)
        parts[data.draw(st.integers(0, len(parts) - 1))].merge(part)
    values.sort()
    for share in (0.5, 0.95, 0.99):
        assert parts[0].quantile(share) == pytest.approx(values[math.ceil(share * 200) - 1], rel=0.0101)


async def test_a_tier_stands_in_where_windows_are_wider_than_it(tmp_path: Path) -> None:
    """Each tier keeps them once, whatever else has that width."""
    tiers = (Tier(1, 3600), Tier(60, 7200), Tier(120, 86_400))
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        wide = [Window.of(("latency", (), NOW // 120 * 120 - n * 120, 120.0), 5.0, NOW, 1) for n in range(3)]
        for window in wide:
            window.tiers = tiers
        await store.write(batch(1, wide))
        await store.commit()
        await store.fold()
        for period in ("30m", "90m", "10h"):
            assert (await store.metric(AskMetric(type="latency", period=period), CALLER)).count == 3
    assert same(read_windows(tmp_path / "metrics.db"), wide)


async def test_a_cap_on_disk_takes_the_oldest_of_what_is_most_and_lasting_records_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, rng = VirtualClock(NOW), random.Random(5)
    tiers = [{"width": "1s", "keep": "7d"}, {"width": "1h", "keep": "30d"}]
    options: dict[str, object] = {"tiers": tiers, "fold_every": "1d", "commit_every": "1d", "max_bytes": "300KiB"}
    async with opened(tmp_path, clock, **options) as store:
        await store.position("metrics", 0, begin=0)
        events = [Event(str(n), "/ci", "deployment.finished", NOW - n) for n in range(100)]
        await store.write(batch(1, events=events))
        for hour in range(12):
            now = clock.time()
            windows = [one(rng.random(), now + n, end=hour + 2) for n in range(3600)]
            await store.write(batch(hour + 2, windows))
            clock.step(3600)
            await store.commit()
            await store.fold()
            await store.compact()
            await store.sweep()
        found = await store.check()
        disk = found.details["disk"]
        assert disk["usedBytes"] <= disk["maxBytes"] == 300 * 1024
        kinds = disk["kinds"]
        assert kinds["1s"]["evictedBytes"] > 20_000 and NOW < kinds["1s"]["oldest"] < NOW + 11 * 3600
        assert (kinds["3600s"]["evictedBytes"], kinds["3600s"]["keep"]) == (0, 30 * 86_400)
        assert (kinds["lasting"]["rows"], kinds["lasting"]["evictedBytes"]) == (100, 0)
        assert (
            found.status == "degraded"
            and "kB of windows of 1s were deleted early" in found.message
            and found.remediation == "raise `max_bytes` (300KiB), or shorten `retention`"
        )
        assert len([one for one in caplog.records if "reached `max_bytes`" in one.message]) > 0
        assert store.path.stat().st_size < 330 * 1024
        answer = await store.metric(AskMetric(type="latency", period="13h"), CALLER)
        assert answer.count == 12 * 3600, "the coarse tier still has everything"
        clock.step(8 * 86_400)
        await store.sweep()
        assert (await store.check()).status == "healthy", "what is kept is what should be"


async def test_lasting_records_go_when_nothing_else_is_left(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with opened(tmp_path, clock, fold_every="1d", commit_every="1d", max_bytes="100KiB") as store:
        await store.position("metrics", 0, begin=0)
        for kind, count in (("build", 300), ("deployment", 600)):
            events = [
                Event(f"{kind}-{n}", "/ci", f"{kind}.finished", NOW + n, data={"note": "x" * 200}) for n in range(count)
            ]
            await store.write(batch(count, events=events))
        await store.commit()
        await store.sweep()
        kept = rows(store.path, "SELECT type, count(*), max(time) FROM events GROUP BY type")
        assert [(type, newest) for type, _, newest in kept] == [("deployment.finished", NOW + 599)]
        assert 50 < kept[0][1] < 400


async def test_every_row_of_a_sound_database_is_sound_and_a_changed_one_is_not(tmp_path: Path) -> None:
    """What a salvage goes by names every table there is."""
    async with opened(tmp_path, fold_every="1d") as store:
        await store.position("metrics", 0, begin=0)
        await store.write(batch(1, [one(float(n), NOW - n) for n in range(20)], [Event("1", "/ci", "build.x", NOW)]))
        await store.commit()
        await store.fold()
        await store.write(batch(2, [one(1.0, NOW, end=2)]))
        await store.commit()
        names = {name for (name,) in rows(store.path, "SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert names == {*TABLES, "commits", "positions", "positions_again", "schema_copy", "sqlite_sequence"}
        for table in ("folding", "kept"):
            (row,) = rows(store.path, f"SELECT * FROM {table}")
            assert TABLES[table](row)
            for at in range(1, len(row)):
                assert not TABLES[table]((*row[:at], row[at] + 1, *row[at + 1 :]))
        for table in ("series", "segments", "pages", "events"):
            found = rows(store.path, f"SELECT * FROM {table}")
            assert found and all(TABLES[table](row) for row in found)
            for row in found:
                at = max(n for n, value in enumerate(row) if isinstance(value, bytes) and value)
                changed = (*row[:at], row[at][:-1] + bytes([row[at][-1] ^ 1]), *row[at + 1 :])
                assert not TABLES[table](changed)


def test_a_part_of_an_older_file_is_sound_and_one_of_today_still_covers_its_end() -> None:
    key = Key(series=1, tier=60.0, width=60.0, start=0.0, end=300.0, seq=1, folds=1, windows=5)
    older = key.former_checksum(b"what it says").to_bytes(4, "little")
    today = key.checksum(b"what it says").to_bytes(4, "little")

    assert part_is_sound(key, older, b"what it says", None)
    assert not part_is_sound(key, older, b"what it said", None)
    assert not part_is_sound(key._replace(series=2), older, b"what it says", None)
    assert part_is_sound(key, today, b"what it says", None)
    assert not part_is_sound(key._replace(end=360.0), today, b"what it says", None)
