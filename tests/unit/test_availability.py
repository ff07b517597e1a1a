"""How much of the time this node was there, restarts and gaps included."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from bers import Database, Refused
from bers.availability import BEAT, GAPS, Heartbeats
from bers.clock import Jump, SteadyClock
from bers.testing import VirtualClock

DAY = 86400.0
HOUR = 3600.0
BOOT = "one"


@pytest.fixture
async def state(tmp_path: Path) -> AsyncGenerator[Database]:
    database = Database(tmp_path / "state.db")
    yield database
    database.close()


@pytest.fixture(params=["", BOOT], ids=["no-boot", "boot"])
def clock(request: pytest.FixtureRequest) -> VirtualClock:
    """Of a machine that counts its seconds across processes, and of one that does not."""
    return VirtualClock(boot=request.param)


def process(state: Database, clock: VirtualClock) -> Heartbeats:
    """A new process: nothing is kept but the rows."""
    return Heartbeats(state, SteadyClock(clock))


async def lived(beats: Heartbeats, clock: VirtualClock, seconds: float) -> None:
    """Let a process live; it beats at the end, too."""
    await beats.beat()
    for _ in range(int(seconds // 600)):
        await clock.advance(600)
        await beats.beat()
    await clock.advance(seconds % 600)
    await beats.beat()


async def test_a_node_that_never_beat_is_blamed_for_nothing(state: Database) -> None:
    found = process(state, VirtualClock()).availability()
    assert (found.percent, found.budget_remaining, found.window, found.gaps) == (100.0, 100.0, 0, [])


async def test_a_restart_is_one_node_going_on_and_what_lies_between_is_a_gap(
    state: Database, clock: VirtualClock
) -> None:
    began = clock.time()
    await lived(process(state, clock), clock, 900)
    await clock.advance(100)
    beats = process(state, clock)
    await lived(beats, clock, 1000)
    found = beats.availability()
    assert (found.window, found.percent) == (2_000_000, 95.0)
    assert found.since == began * 1000
    (gap,) = found.gaps
    assert (gap.from_, gap.to, gap.duration) == ((began + 900) * 1000, (began + 1000) * 1000, 100_000)


async def test_the_budget_is_that_of_the_window_asked_for(state: Database, clock: VirtualClock) -> None:
    await lived(process(state, clock), clock, 600)
    await clock.advance(30 * 60)
    beats = process(state, clock)
    await lived(beats, clock, DAY)
    month = beats.availability()
    assert (month.period_ms, month.budget_minutes) == (30 * 86_400_000, 43.2)
    assert (month.spent_minutes, month.left_minutes, month.budget_remaining) == (30.0, 13.2, 30.56)
    week = beats.availability(7 * DAY)
    assert (week.budget_minutes, week.left_minutes) == (10.08, -19.92), "overdrawn"
    assert week.budget_remaining == pytest.approx(-197.62)


async def test_only_the_window_is_looked_at(state: Database, clock: VirtualClock) -> None:
    await lived(process(state, clock), clock, 600)
    await clock.advance(1000)
    beats = process(state, clock)
    await lived(beats, clock, 300)
    assert beats.availability(300).percent == 100.0
    half = beats.availability(800)
    assert (half.percent, half.window, half.spent_minutes) == (37.5, 800_000, 8.333)
    assert half.gaps[0].duration == 1_000_000, "the gap is told whole"
    assert beats.availability(1600).percent == pytest.approx(100 * 600 / 1600)


@pytest.mark.parametrize("window", [0, 9, 91 * DAY, float("inf"), float("nan")])
async def test_a_window_out_of_range_is_refused(state: Database, window: float) -> None:
    with pytest.raises(Refused, match="ask for 10s to 90d"):
        process(state, VirtualClock()).availability(window)


async def test_the_seconds_since_the_last_heartbeat_count(state: Database, clock: VirtualClock) -> None:
    beats = process(state, clock)
    await beats.beat()
    await clock.advance(7)
    assert beats.availability().window == 7000


async def test_beats_come_by_themselves(state: Database, clock: VirtualClock) -> None:
    beats = process(state, clock)
    async with anyio.create_task_group() as group:
        await beats.beat()
        group.start_soon(beats.run)
        for _ in range(5):
            await clock.advance(BEAT)
            await state.run(lambda _: None)  # Behind the beat in the database's one thread: it is written then.
            await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    again = process(state, clock)
    await again.beat()
    assert again.availability().window == 50_000 and again.availability().percent == 100.0


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_step_of_the_wall_clock_is_neither_a_gap_nor_time_twice(
    state: Database, clock: VirtualClock, step: float
) -> None:
    beats = process(state, clock)
    await lived(beats, clock, 600)
    clock.step(step)
    await beats.missed(Jump("step", step, 0, 0))
    await lived(beats, clock, 600)
    clock.step(-step)  # And a step that nobody has told of yet.
    await lived(beats, clock, 600)
    for one in (beats, process(state, clock)):
        await one.beat()
        assert (one.availability().window, one.availability().gap_count) == (1_800_000, 0)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_step_while_nobody_is_there_makes_the_gap_no_longer(state: Database, step: float) -> None:
    clock = VirtualClock(boot=BOOT)
    await lived(process(state, clock), clock, 600)
    await clock.advance(60)
    clock.step(step)
    beats = process(state, clock)
    await lived(beats, clock, 600)
    assert beats.availability().gaps[0].duration == 60_000


async def test_where_only_the_wall_clock_knows_it_is_believed(state: Database) -> None:
    await lived(process(state, clock := VirtualClock(boot=BOOT)), clock, 600)
    later = VirtualClock(clock.time() + 120, boot="another start of the machine")
    beats = process(state, later)
    await beats.beat()
    assert beats.availability().gaps[0].duration == 120_000


@pytest.mark.parametrize("machine", [False, True])
async def test_a_suspended_process_was_away(state: Database, clock: VirtualClock, machine: bool) -> None:
    beats = process(state, clock)
    await lived(beats, clock, 600)
    await clock.suspend(300, machine=machine)
    await beats.missed(Jump("sleep" if machine else "stop", 300, 0, 0))
    await lived(beats, clock, 600)
    found = beats.availability()
    assert (found.window, found.percent, found.gap_count) == (1_500_000, 80.0, 1)
    assert found.gaps[0].to - found.gaps[0].from_ == found.gaps[0].duration == 300_000


async def test_a_database_that_takes_nothing_for_a_while_makes_no_gap(state: Database, clock: VirtualClock) -> None:
    beats = process(state, clock)
    await beats.beat()
    await state.run(
        lambda db: db.execute("CREATE TRIGGER full BEFORE INSERT ON spells BEGIN SELECT raise(ABORT, 'full'); END")
    )
    for _ in range(10):
        await clock.advance(60)
        await beats.try_to_beat()
    assert beats.availability().percent == 100.0
    await state.run(lambda db: db.execute("DROP TRIGGER full"))
    await beats.beat()
    again = process(state, clock)
    await again.beat()
    assert (again.availability().window, again.availability().gap_count) == (600_000, 0)


async def test_many_crashes_stay_few_rows_and_the_figure_stays_right(state: Database, clock: VirtualClock) -> None:
    beats = process(state, clock)
    for _ in range(GAPS + 30):
        beats = Heartbeats(state, SteadyClock(clock), most=GAPS + 10)
        await beats.beat()
        await clock.advance(9)
        await beats.beat()
        await clock.advance(1)
    found = beats.availability()
    assert found.percent == pytest.approx(90.0, abs=0.2)
    assert found.window == (GAPS + 30) * 10_000
    assert len(found.gaps) == GAPS and found.gap_count == GAPS + 10
    assert await state.run(lambda db: db.execute("SELECT count(*) FROM spells").fetchone()[0]) == GAPS + 10


async def test_what_is_past_all_windows_is_forgotten(state: Database, clock: VirtualClock) -> None:
    beats = process(state, clock)
    for _ in range(12):
        beats = process(state, clock)
        await beats.beat()
        await clock.advance(10 * DAY)
        await beats.beat()
    assert await state.run(lambda db: db.execute("SELECT count(*) FROM spells").fetchone()[0]) == 11
    assert beats.availability(90 * DAY).percent == 100.0


async def test_heartbeats_as_they_were_once_written_down_are_taken_over(state: Database, clock: VirtualClock) -> None:
    first = int(clock.time() // 10)
    slots = [first - 100 + n for n in range(100) if n not in range(40, 45)]

    def write(db: object) -> None:
        import sqlite3

        assert isinstance(db, sqlite3.Connection)
        db.execute("CREATE TABLE heartbeats (slot INTEGER PRIMARY KEY) WITHOUT ROWID")
        db.executemany("INSERT INTO heartbeats VALUES (?)", [(slot,) for slot in slots])

    await state.run(write)
    beats = process(state, clock)
    await beats.beat()
    found = beats.availability()
    assert (found.window, found.percent, found.gaps[-1].duration) == (1_000_000, 95.0, 50_000)
    assert found.since == (first - 100) * 10_000


@pytest.mark.parametrize("value", ["'text'", "x'00'", "1e308", "9e999", "-5", "-1e308"])
@pytest.mark.parametrize("column", ["away", "lasted", "began", "ended", "settled", "elapsed"])
async def test_a_damaged_spell_keeps_no_node_from_starting_and_is_left_out(
    state: Database, clock: VirtualClock, column: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = process(state, clock)
    await lived(before, clock, HOUR)
    await state.run(lambda db: db.execute(f"UPDATE spells SET {column} = {value}"))
    await clock.advance(60)
    beats = process(state, clock)
    await lived(beats, clock, HOUR)
    found = beats.availability()
    assert (found.percent, found.window, found.gaps) == (100.0, HOUR * 1000, [])
    assert "the availability leaves them out" in caplog.text
    await clock.advance(60)
    assert process(state, clock).availability().percent == 100.0
    caplog.clear()
    await process(state, clock).begin()
    assert not caplog.records
