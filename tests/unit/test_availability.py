"""How much of the time this node was there, restarts and gaps included."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from bers import Database
from bers.availability import BEAT, Heartbeats
from bers.testing import VirtualClock


@pytest.fixture
async def state(tmp_path: Path) -> AsyncGenerator[Database]:
    database = Database(tmp_path / "state.db")
    yield database
    database.close()


async def test_a_node_that_never_beat_is_blamed_for_nothing(state: Database) -> None:
    found = await Heartbeats(state, VirtualClock()).availability()
    assert (found.percent, found.budget_remaining, found.window) == (100.0, 100.0, 10_000)


async def test_a_gap_counts_and_a_restart_is_one_node_going_on(state: Database, clock: VirtualClock) -> None:
    for n in range(100):
        if n not in range(40, 45):
            await Heartbeats(state, clock).beat()  # Each is a new process: nothing is kept but the rows.
        await clock.advance(BEAT)
    await Heartbeats(state, clock).beat()
    found = await Heartbeats(state, clock).availability()
    assert found.percent == pytest.approx(100 * 96 / 101, abs=1e-4)
    assert found.window == 101 * 10_000


async def test_the_budget_is_overdrawn_below_the_target(state: Database, clock: VirtualClock) -> None:
    beats = Heartbeats(state, clock)
    await beats.beat()
    await clock.advance(BEAT)
    await clock.advance(BEAT)
    await beats.beat()
    found = await beats.availability()
    assert (round(found.percent, 2), found.target) == (66.67, 99.9)
    assert found.budget_remaining == pytest.approx(100 * (1 - 33.3333 / 0.1), abs=0.1)


async def test_only_the_window_is_looked_at(state: Database, clock: VirtualClock) -> None:
    beats = Heartbeats(state, clock)
    await beats.beat()
    await clock.advance(1000)
    for _ in range(10):
        await beats.beat()
        await clock.advance(BEAT)
    await beats.beat()
    assert (await beats.availability(10 * BEAT)).percent == 100.0
    assert (await beats.availability()).percent < 15


async def test_beats_come_by_themselves_and_two_in_one_span_are_one(state: Database, clock: VirtualClock) -> None:
    beats = Heartbeats(state, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(beats.run)
        await beats.beat()
        for _ in range(5):
            await state.run(lambda _: None)  # Behind the beat in the database's one thread: it is written then.
            await anyio.wait_all_tasks_blocked()
            await clock.advance(BEAT)
        await state.run(lambda _: None)
        group.cancel_scope.cancel()
    assert await state.run(lambda db: db.execute("SELECT count(*) FROM heartbeats").fetchone()[0]) == 6


async def test_beats_of_long_ago_are_swept(state: Database, clock: VirtualClock) -> None:
    beats = Heartbeats(state, clock)
    await beats.beat()
    await clock.advance(1000)
    await beats.beat(keep=500)
    assert await state.run(lambda db: db.execute("SELECT count(*) FROM heartbeats").fetchone()[0]) == 1


async def test_a_timer_that_wakes_too_early_misses_no_beat(state: Database) -> None:
    class Early(VirtualClock):
        """Wakes sleepers a little before their time, as real timers may."""

        async def sleep(self, seconds: float) -> None:
            await super().sleep(max(0.0, seconds - 0.0005))

    clock = Early(1_700_000_000.0)
    beats = Heartbeats(state, clock)
    async with anyio.create_task_group() as group:
        group.start_soon(beats.run)
        for second in range(60):
            with anyio.fail_after(5):
                while (await beats.availability()).percent < 100.0 or await _beats(state) < second // 10 + 1:
                    await clock.advance(0.001)
            await clock.advance(1.0)
        group.cancel_scope.cancel()


async def _beats(state: Database) -> int:
    return int((await state.run(lambda db: db.execute("SELECT count(*) FROM heartbeats").fetchone()))[0])
