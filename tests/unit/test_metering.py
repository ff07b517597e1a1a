"""What a call costs is charged to whom it belongs, and how long calls take is known in bounded memory."""

import gc
from collections.abc import Generator
from time import perf_counter, thread_time

import anyio
import pytest
from anyio.lowlevel import checkpoint

from bers.metering import WINDOW, Cost, Latencies, metered


@pytest.fixture(autouse=True)
def nothing_is_collected() -> Generator[None]:
    """What other tests have left behind is charged to nobody here."""
    gc.disable()
    yield
    gc.enable()


def burn(seconds: float) -> None:
    until = thread_time() + seconds
    while thread_time() < until:
        pass


async def test_one_that_burns_is_charged_and_one_that_sleeps_is_not() -> None:
    burning, sleeping = Cost(), Cost()

    async def burns() -> None:
        for _ in range(4):
            burn(0.005)
            await checkpoint()

    async def sleeps() -> None:
        await metered(anyio.sleep(0.02), sleeping)

    began = perf_counter()
    async with anyio.create_task_group() as group:
        group.start_soon(sleeps)
        await metered(burns(), burning)
    assert perf_counter() - began >= 0.02
    assert 0.02 <= burning.cpu < 0.03
    assert sleeping.cpu < 0.002


async def test_what_is_charged_to_somebody_else_is_not_charged_twice() -> None:
    outer, inner = Cost(), Cost()

    async def work() -> None:
        burn(0.005)
        await metered(half(), inner, within=outer)

    async def half() -> None:
        burn(0.01)
        await checkpoint()
        burn(0.01)

    await metered(work(), outer)
    assert 0.005 <= outer.cpu < 0.01
    assert 0.02 <= inner.cpu < 0.03


async def test_one_that_waits_in_a_task_of_its_own_is_not_relieved_of_what_it_was_not_charged() -> None:
    outer, inner = Cost(), Cost()

    async def half() -> None:
        burn(0.005)

    async def in_a_task() -> None:
        await metered(half(), inner, within=outer)

    async def work() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(in_a_task)

    await metered(work(), outer)
    assert 0 <= outer.cpu < 0.003
    assert inner.cpu >= 0.005


async def test_what_it_returns_raises_and_catches_is_as_if_it_were_awaited() -> None:
    async def answer() -> int:
        await checkpoint()
        return 42

    async def fail() -> None:
        await checkpoint()
        raise KeyError("broken")

    assert await metered(answer(), Cost()) == 42
    with pytest.raises(KeyError, match="broken"):
        await metered(fail(), Cost())


async def test_a_cancellation_reaches_the_work_and_its_end_is_waited_for() -> None:
    said: list[str] = []
    cost = Cost()

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await checkpoint()
                burn(0.002)
            said.append("closed")

    with anyio.move_on_after(0.01) as scope:
        await metered(work(), cost)
    assert scope.cancelled_caught and said == ["closed"] and cost.cpu >= 0.002 and not cost.inside


def test_a_quantile_is_of_the_last_one_to_two_minutes() -> None:
    latencies = Latencies()
    assert latencies.quantile(0.99, 0.0) is None
    for n in range(100):
        latencies.add(1.0 if n >= 98 else 0.001, 10.0)
    assert latencies.quantile(0.5, 11.0) == pytest.approx(0.001, rel=0.011)
    assert latencies.quantile(0.99, 11.0) == pytest.approx(1.0, rel=0.011)
    latencies.add(0.002, 10.0 + WINDOW)
    assert latencies.quantile(0.99, 11.0 + WINDOW) == pytest.approx(1.0, rel=0.011)
    assert latencies.quantile(0.99, 11.0 + 2 * WINDOW) == pytest.approx(0.002, rel=0.011)
    assert latencies.quantile(0.99, 11.0 + 4 * WINDOW) is None
