"""Each sender has a bucket of events, filled at a steady rate; there are not more buckets than so many."""

from bers.rates import MAX_SENDERS, Rates
from bers.testing import VirtualClock


async def test_a_sender_that_is_too_fast_is_told_when_to_come_again_and_others_are_not() -> None:
    clock = VirtualClock()
    rates = Rates(100, clock)
    assert rates.take("a", 100) == 0
    assert rates.wait("a") == 0.01
    assert rates.take("b", 1) == 0
    await clock.advance(0.5)
    assert rates.take("a", 50) == 0
    assert rates.take("a", 1) > 0


async def test_a_request_larger_than_the_bucket_is_taken_whole_and_waited_for_afterwards() -> None:
    clock = VirtualClock()
    rates = Rates(100, clock)
    assert rates.take("a", 1000) == 0
    assert rates.take("a", 1) == rates.wait("a") == 9.01
    await clock.advance(9.01)
    assert rates.wait("a") == 0


async def test_over_time_nobody_has_more_than_his_rate() -> None:
    clock = VirtualClock()
    rates = Rates(50, clock)
    taken = 0
    for _ in range(1000):
        if not rates.take("a", 7):
            taken += 7
        await clock.advance(0.01)
    assert 500 <= taken <= 500 + 50 + 7


def test_names_without_end_take_no_memory_without_end() -> None:
    rates = Rates(1, VirtualClock())
    for n in range(MAX_SENDERS + 100):
        rates.take(f"sender {n}", 1)
    assert len(rates._buckets) == MAX_SENDERS  # pyright: ignore[reportPrivateUsage]
