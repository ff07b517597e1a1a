"""What became of a check is remembered, counted by a clock that nobody sets, through restarts and crashes."""

import sqlite3
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from bers import Database, Refused, Stamp, Status
from bers.clock import Jump, SteadyClock
from bers.health.history import KEEP, History
from bers.health.spans import CheckHistory
from bers.testing import VirtualClock

DAY = 86400.0
START = 1_700_000_000_000


@pytest.fixture
async def state(tmp_path: Path) -> AsyncGenerator[Database]:
    database = Database(tmp_path / "state.db")
    yield database
    database.close()


@pytest.fixture(params=["", "one"], ids=["no-boot", "boot"])
def clock(request: pytest.FixtureRequest) -> VirtualClock:
    """Of a machine that counts its seconds across processes, and of one that does not."""
    return VirtualClock(boot=request.param)


async def process(state: Database, clock: VirtualClock, last: Stamp | None = None, *, most: int = 500) -> History:
    """A new process: nothing is kept but the rows, and when the last one was there."""
    history = History(state, SteadyClock(clock), most=most)
    await history.begin(last)
    return history


def spans(found: CheckHistory) -> list[tuple[str, int]]:
    """The statuses, newest first, and for how many seconds each."""
    return [(one.status, round(one.duration / 1000)) for one in found.spans]


async def test_what_was_never_looked_at_has_no_history(state: Database, clock: VirtualClock) -> None:
    found = (await process(state, clock)).story("web", DAY, 10)
    assert (found.percent, found.spans, found.outages, found.known_ms) == (None, [], 0, 0)


async def test_availability_is_the_time_it_was_well_of_the_time_it_was_known(
    state: Database, clock: VirtualClock
) -> None:
    history = await process(state, clock)
    lived: Sequence[tuple[Status, int]] = (
        ("healthy", 600), ("unhealthy", 60), ("degraded", 240), ("unknown", 100), ("healthy", 100),
    )  # fmt: skip
    for status, seconds in lived:
        history.note("web", status, status)
        await clock.advance(seconds)
    found = history.story("web", DAY, 10)
    assert spans(found) == [("healthy", 100), ("unknown", 100), ("degraded", 240), ("unhealthy", 60), ("healthy", 600)]
    assert (found.percent, found.up_ms, found.downtime_ms, found.unknown_ms) == (94.0, 940_000, 60_000, 100_000)
    assert (found.outages, found.longest_ms, found.known_ms, found.since) == (1, 60_000, 1_100_000, START)
    assert (found.spans[0].ongoing, found.spans[1].ongoing) == (True, False)
    assert (found.spans[3].from_, found.spans[3].to) == (START + 600_000, START + 660_000)
    assert history.shares("web")["24h"].percent == 94.0
    assert history.since("web") == START / 1000 + 1000


async def test_only_the_period_is_looked_at_and_so_many_times_are_told(state: Database, clock: VirtualClock) -> None:
    history = await process(state, clock)
    for number in range(10):
        history.note("web", "unhealthy" if number % 2 else "healthy", "")
        await clock.advance(100)
    found = history.story("web", 250, 2)
    assert (spans(found), found.left_out, found.known_ms) == ([("unhealthy", 100), ("healthy", 100)], 1, 250_000)
    assert (found.percent, found.outages, found.longest_ms) == (40.0, 2, 100_000)
    with pytest.raises(Refused, match="91"):
        history.story("web", 91 * DAY, 2)


async def test_the_time_in_which_the_node_was_not_there_is_a_gap_and_not_up(
    state: Database, clock: VirtualClock
) -> None:
    history = await process(state, clock)
    history.note("web", "healthy", "well")
    await clock.advance(900)
    await history.close()
    await clock.advance(100)
    history = await process(state, clock)
    quiet = history.story("web", DAY, 10)  # Nobody has looked yet.
    assert spans(quiet) == [("absent", 100), ("healthy", 900)]
    history.note("web", "healthy", "well")
    await clock.advance(1000)
    found = history.story("web", DAY, 10)
    assert spans(found) == [("healthy", 1000), ("absent", 100), ("healthy", 900)]
    assert (found.percent, found.absent_ms, found.up_ms) == (100.0, 100_000, 1_900_000)
    assert history.since("web") == START / 1000  # As far as anybody knows.


async def test_what_a_killed_process_saw_ended_with_its_last_heartbeat(state: Database, clock: VirtualClock) -> None:
    history = await process(state, clock)
    history.note("web", "unhealthy", "down")
    await history.save()
    await clock.advance(300)
    beat = Stamp.of(clock)
    await clock.advance(5)  # It lived on for a while, and nobody can know that any more.
    await clock.advance(95)
    history = await process(state, clock, beat)
    history.note("web", "unhealthy", "down")
    await clock.advance(10)
    history.note("web", "healthy", "well")
    await clock.advance(50)
    found = history.story("web", DAY, 10)
    assert spans(found) == [("healthy", 50), ("unhealthy", 10), ("absent", 100), ("unhealthy", 300)]
    assert (found.outages, found.longest_ms, found.downtime_ms) == (1, 310_000, 310_000)  # Nobody saw it end between.


async def test_setting_the_clock_invents_neither_downtime_nor_time(state: Database, clock: VirtualClock) -> None:
    steady = SteadyClock(clock)
    history = History(state, steady)
    await history.begin(None)
    history.note("web", "unhealthy", "down")
    await clock.advance(60)
    history.note("web", "healthy", "well")
    for step in (7200.0, -3600.0):
        await clock.advance(100)
        clock.step(step)
        steady.look()
        await history.missed(steady.jumps.pop())
    await clock.advance(100)
    found = history.story("web", DAY, 10)
    assert spans(found) == [("healthy", 300), ("unhealthy", 60)]
    assert (found.downtime_ms, found.absent_ms, found.known_ms) == (60_000, 0, 360_000)
    assert found.spans[0].to == round(clock.time() * 1000)


async def test_the_time_in_which_this_process_was_stopped_is_a_gap(state: Database, clock: VirtualClock) -> None:
    history = await process(state, clock)
    history.note("web", "healthy", "well")
    await clock.advance(100)
    before = clock.time()
    await clock.suspend(50)
    await history.missed(Jump("stop", 50.0, before, clock.time()))
    await clock.advance(100)
    assert spans(history.story("web", DAY, 10)) == [("healthy", 100), ("absent", 50), ("healthy", 100)]


async def test_what_is_not_made_any_more_ends_and_goes_on_when_it_is_made_again(
    state: Database, clock: VirtualClock
) -> None:
    history = await process(state, clock)
    history.note("web", "healthy", "well")
    await clock.advance(100)
    history.end("web")
    await clock.advance(50)
    history.note("web", "healthy", "well")
    await clock.advance(10)
    assert spans(history.story("web", DAY, 10)) == [("healthy", 10), ("absent", 50), ("healthy", 100)]


async def test_what_is_old_is_forgotten_and_what_changes_too_often_loses_its_oldest(
    state: Database, clock: VirtualClock
) -> None:
    history = await process(state, clock, most=4)
    for number in range(9):
        history.note("web", "unhealthy" if number % 2 else "healthy", "")
        await clock.advance(10)
    history.note("db", "unhealthy", "")
    await clock.advance(10)
    history.note("db", "healthy", "")
    await clock.advance(KEEP)
    history.note("db", "degraded", "")
    await clock.advance(10)
    history.note("db", "healthy", "")
    await history.close()
    rows = await state.run(lambda one: one.execute("SELECT name, count(*) FROM health_spans GROUP BY name").fetchall())
    assert rows == [("db", 3), ("web", 4)]
    assert (await process(state, clock)).story("db", 90 * DAY, 10).outages == 0


async def test_what_cannot_be_written_now_is_written_the_next_time(state: Database, clock: VirtualClock) -> None:
    history = await process(state, clock)
    blocker = sqlite3.connect(str(state.path), isolation_level=None)
    await state.run(lambda connection: connection.execute("PRAGMA busy_timeout = 1").fetchall())
    blocker.execute("BEGIN EXCLUSIVE")
    history.note("web", "unhealthy", "down")
    assert await history.save() is False
    blocker.execute("ROLLBACK")
    blocker.close()
    await clock.advance(10)
    assert await history.save() is True
    again = await process(state, clock, Stamp.of(clock))
    assert spans(again.story("web", DAY, 10)) == [("unhealthy", 10)]


async def test_what_could_not_be_read_at_the_start_is_not_written_over(state: Database, clock: VirtualClock) -> None:
    first = await process(state, clock)
    first.note("web", "healthy", "up")
    await clock.advance(100)
    first.note("web", "unhealthy", "down")
    await clock.advance(20)
    await first.close()
    await clock.advance(30)
    blocker = sqlite3.connect(str(state.path), isolation_level=None)
    await state.run(lambda connection: connection.execute("PRAGMA busy_timeout = 1").fetchall())
    blocker.execute("BEGIN EXCLUSIVE")
    history = await process(state, clock)
    history.note("web", "healthy", "up again")
    await clock.advance(10)
    assert await history.save() is False
    assert spans(history.story("web", DAY, 10)) == [("healthy", 10)]
    blocker.execute("ROLLBACK")
    blocker.close()
    history.note("web", "degraded", "slow")
    await clock.advance(5)
    assert await history.save() is True
    told = [("degraded", 5), ("healthy", 10), ("absent", 30), ("unhealthy", 20), ("healthy", 100)]
    assert spans(history.story("web", DAY, 10)) == told
    await history.close()
    assert spans((await process(state, clock, Stamp.of(clock))).story("web", DAY, 10)) == told


async def test_rows_that_are_damaged_are_left_out(
    state: Database, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    history = await process(state, clock)
    statuses: Sequence[Status] = ("healthy", "unhealthy", "degraded")
    for status in statuses:
        history.note("web", status, status)
        await clock.advance(10)
    await history.close()
    await state.run(lambda one: one.execute("UPDATE health_spans SET status = 'great' WHERE number = 2").fetchall())
    again = await process(state, clock)
    assert spans(again.story("web", DAY, 10)) == [("degraded", 10), ("healthy", 10)]
    assert "is damaged, and left out" in caplog.text
