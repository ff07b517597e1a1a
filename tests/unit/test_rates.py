"""Everybody has a bucket: a burst, then a steady rate, and memory that does not grow."""

from bers.rates import MOST, Rates
from bers.testing import VirtualClock


async def test_a26_a_burst_of_sixty_then_twenty_a_second(clock: VirtualClock) -> None:
    rates = Rates(clock, per_second=20, burst=60)
    assert [rates.take("ada") for _ in range(60)] == [0.0] * 60
    assert rates.take("ada") == 0.05
    await clock.advance(1)
    assert [rates.take("ada") > 0 for _ in range(21)] == [False] * 20 + [True]


async def test_who_rests_has_no_more_than_a_burst(clock: VirtualClock) -> None:
    rates = Rates(clock, per_second=20, burst=60)
    await clock.advance(3600)
    assert sum(not rates.take("ada") for _ in range(200)) == 60


async def test_who_is_refused_loses_nothing_by_asking(clock: VirtualClock) -> None:
    rates = Rates(clock, per_second=1, burst=1)
    assert rates.take("ada") == 0.0
    for _ in range(9):
        await clock.advance(0.1)
        assert rates.take("ada") > 0
    await clock.advance(0.11)
    assert rates.take("ada") == 0.0


def test_one_does_not_pay_for_another(clock: VirtualClock) -> None:
    rates = Rates(clock, per_second=1, burst=1)
    assert (rates.take("ada"), rates.take("ben")) == (0.0, 0.0)
    assert rates.take("ada") > 0


def test_looking_takes_nothing(clock: VirtualClock) -> None:
    rates = Rates(clock, per_second=1, burst=1)
    assert [rates.wait("ada") for _ in range(3)] == [0.0] * 3
    rates.take("ada")
    assert rates.wait("ada") == 1.0


def test_many_callers_take_no_more_memory_than_a_few_thousand(clock: VirtualClock) -> None:
    rates = Rates(clock, per_second=1, burst=1)
    rates.take("busy")
    for n in range(20_000):
        rates.take(f"stranger {n}")
        assert rates.take("busy") > 0, "who goes on asking is not forgotten"
    assert len(rates) == MOST


async def test_a_request_larger_than_the_bucket_is_taken_whole_and_waited_for_afterwards(clock: VirtualClock) -> None:
    rates = Rates(clock, per_second=100, burst=100)
    assert rates.take("a", 1000) == 0
    assert rates.take("a", 1) == rates.wait("a") == 9.01
    await clock.advance(9.01)
    assert rates.wait("a") == 0


async def test_over_time_nobody_has_more_than_his_rate(clock: VirtualClock) -> None:
    rates = Rates(clock, per_second=50, burst=50)
    taken = 0
    for _ in range(1000):
        if not rates.take("a", 7):
            taken += 7
        await clock.advance(0.01)
    assert 500 <= taken <= 500 + 50 + 7
