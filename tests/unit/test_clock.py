"""A clock that is watched: whether it was set, whether the machine slept, and what to forget by meanwhile."""

import anyio
import pytest

from bers import Clock, Stamp, SystemClock
from bers.availability import Heartbeats
from bers.clock import Jump, SteadyClock
from bers.database import Database
from bers.health.breaker import Breaker
from bers.rates import Rates
from bers.testing import VirtualClock
from bers.timekeeping import FRESH, Timekeeping

HOUR = 3600.0
NOW = 1_700_000_000.0


async def test_time_that_goes_on_is_no_jump() -> None:
    clock = VirtualClock()
    steady = SteadyClock(clock)
    for _ in range(100):
        await clock.advance(60)
        assert steady.settled() == clock.time()
    assert steady.jumps == []


@pytest.mark.parametrize("step", [HOUR, -HOUR, 3.0])
async def test_a_step_is_told_with_its_size_and_both_times(step: float) -> None:
    clock = VirtualClock()
    steady = SteadyClock(clock)
    await clock.advance(10)
    clock.step(step)
    steady.look()
    steady.look()
    assert steady.jumps == [Jump("step", step, NOW + 10, NOW + 10 + step)]


async def test_small_steps_are_told_when_they_come_to_much() -> None:
    clock = VirtualClock()
    steady = SteadyClock(clock)
    for _ in range(5):
        clock.step(0.5)
        steady.look()
    assert steady.jumps == [Jump("step", 2.5, NOW, NOW + 2.5)]


async def test_a_step_forward_and_back_is_never_believed() -> None:
    clock = VirtualClock()
    steady = SteadyClock(clock)
    clock.step(HOUR)
    await clock.advance(HOUR - 1)
    assert steady.settled() == NOW + HOUR - 1 and steady.behind == HOUR
    clock.step(-HOUR)
    await clock.advance(2 * HOUR)
    assert steady.settled() == clock.time() == NOW + 3 * HOUR - 1


async def test_a_step_forward_that_stands_for_an_hour_is_believed() -> None:
    clock = VirtualClock()
    steady = SteadyClock(clock)
    clock.step(HOUR)
    assert steady.settled() == NOW
    await clock.advance(HOUR / 2)
    clock.step(60)  # Somebody is still at it: the hour begins anew.
    assert steady.settled() == NOW + HOUR / 2
    await clock.advance(HOUR - 1)
    assert steady.settled() == NOW + 1.5 * HOUR - 1
    await clock.advance(1)
    assert steady.settled() == clock.time() and steady.behind == 0


async def test_a_step_back_is_believed_at_once() -> None:
    clock = VirtualClock()
    steady = SteadyClock(clock)
    clock.step(-HOUR)
    assert steady.settled() == clock.time() == NOW - HOUR


async def test_the_sleep_of_a_machine_is_told_apart_from_a_step() -> None:
    clock = VirtualClock()
    steady = SteadyClock(clock)
    await clock.suspend(600, machine=True)
    steady.look()
    assert steady.jumps == [Jump("sleep", 600, NOW, NOW + 600)]
    assert steady.settled() == clock.time(), "that time has really passed"


async def test_whoever_is_stopped_while_he_reads_two_clocks_sees_no_step() -> None:
    class Interrupted(VirtualClock):
        """The process is stopped for ten minutes between two readings, once."""

        stopped = False

        def time(self) -> float:
            now = super().time()
            if self.stopped:
                self._now += 600
                self.stopped = False
            return now

    clock = Interrupted()
    steady = SteadyClock(clock)
    clock.stopped = True
    steady.look()
    assert steady.jumps == []


async def test_a_stop_of_the_process_is_told_by_who_looks_every_second() -> None:
    clock = VirtualClock()
    keeping = Timekeeping(SteadyClock(clock))
    told: list[Jump] = []

    async def hear(jump: Jump) -> None:
        told.append(jump)

    keeping.listeners.append(hear)
    async with anyio.create_task_group() as group:
        group.start_soon(keeping.run)
        await clock.advance(5)
        await clock.suspend(600)
        await clock.advance(5)
        await clock.suspend(600, machine=True)
        await clock.advance(5)
        assert keeping.trouble == "", "neither is a fault"
        clock.step(HOUR)
        await clock.advance(5)
        assert keeping.trouble == "the wall clock was set forward by 3600.0 s"
        await clock.advance(FRESH)
        assert keeping.trouble == ""
        group.cancel_scope.cancel()
    assert [jump.cause for jump in told] == ["stop", "sleep", "step"]
    assert [round(jump.seconds) for jump in told] == [599, 600, 3600], "a stop is known to a second"
    assert keeping.jumps == {"stop": 1, "sleep": 1, "step": 1} and keeping.last == told[-1]


@pytest.mark.parametrize(
    ("jump", "said"),
    [
        (Jump("step", 3600.0, 0, 0), "the wall clock was set forward by 3600.0 s"),
        (Jump("step", -2.5, 0, 0), "the wall clock was set back by 2.5 s"),
        (Jump("sleep", 60.0, 0, 0), "the machine slept for 60.0 s"),
        (Jump("stop", 60.0, 0, 0), "this process was stopped for 60.0 s"),
    ],
)
def test_a_jump_is_a_sentence(jump: Jump, said: str) -> None:
    assert str(jump) == said


async def test_a_stamp_knows_its_age_whatever_the_wall_clock_says_while_the_machine_runs() -> None:
    clock = VirtualClock(boot="one")
    stamp = Stamp.of(clock)
    await clock.advance(10)
    clock.step(HOUR)
    assert stamp.age(clock) == 10
    other = VirtualClock(NOW + 100, boot="two")
    assert stamp.age(other) == 100, "another start of the machine: only the wall clock knows"
    assert stamp.age(VirtualClock(NOW - 100, boot="two")) == 0


@pytest.mark.parametrize(("step", "behind"), [(HOUR, HOUR), (-HOUR, 0.0)])
async def test_a_restart_does_not_make_a_wrong_clock_right(step: float, behind: float) -> None:
    clock, state = VirtualClock(boot="one"), Database()
    await Heartbeats(state, SteadyClock(clock)).beat()
    await clock.advance(5)
    clock.step(step)  # While nobody was there to see it.
    again = SteadyClock(clock)
    await Heartbeats(state, again).beat()
    assert again.behind == behind
    assert [round(jump.seconds) for jump in again.jumps] == [step]
    third = SteadyClock(clock)
    await Heartbeats(state, third).beat()
    assert third.behind == behind and third.jumps == [], "it is told once"
    state.close()


async def test_another_start_of_the_machine_begins_with_what_its_clock_says() -> None:
    clock, state = VirtualClock(boot="one"), Database()
    await Heartbeats(state, SteadyClock(clock)).beat()
    later = SteadyClock(VirtualClock(NOW + 7 * HOUR, boot="two"))
    await Heartbeats(state, later).beat()
    assert (later.behind, later.jumps) == (0.0, [])
    state.close()


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_what_waits_by_monotonic_time_does_not_mind(step: float) -> None:
    clock = VirtualClock()
    steady = SteadyClock(clock)
    breaker, rates = Breaker(steady, failures=1, reset_after=60, successes=3), Rates(steady, per_second=1, burst=2)
    breaker.failed()
    taken = [rates.take("somebody") for _ in range(3)]
    clock.step(step)
    assert (breaker.state, breaker.wait) == ("open", 60.0)
    assert rates.take("somebody") == taken[-1], "nothing was filled up by that"


def test_the_clock_of_this_machine_counts_what_passed() -> None:
    clock: Clock = SystemClock()
    before = clock.monotonic()  # First: between two looks any time may pass.
    assert clock.elapsed() >= before - 0.001
    assert clock.boot == SystemClock().boot
    assert Stamp.of(clock).age(clock) < 60
