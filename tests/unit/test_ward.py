"""What a plugin does ends with its task, however it ends; and who does not end is given up."""

import asyncio
import time

import anyio
import pytest

from bers.ward import Stay, Ward
from bers.watchdog import Block, Watchdog


@pytest.mark.parametrize(
    "error", [RuntimeError(), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
)
async def test_what_is_raised_ends_nothing_else(error: BaseException) -> None:
    async def work(stay: Stay) -> None:
        await anyio.sleep(0.001)
        raise error

    async with Ward() as ward:
        stay = ward.take("shaky", work)
        with anyio.fail_after(30):
            await stay.ended.wait()
        assert stay.error is error
        await anyio.sleep(0.001)


async def test_who_does_not_heed_is_given_up_and_no_longer_told() -> None:
    told = 0
    release = anyio.Event()

    async def work(stay: Stay) -> None:
        nonlocal told
        while not release.is_set():
            try:
                await release.wait()
            except BaseException:
                told += 1

    async with Ward() as ward:
        stay = ward.take("shaky", work)
        await anyio.sleep(0.001)
        assert not await stay.leave(0.02)
        assert (stay.given_up, ward.given_up) == (True, ["shaky"])
        before = told
        await anyio.sleep(0.02)
        assert told <= before + 1
        release.set()
        with anyio.fail_after(30):
            await stay.ended.wait()
        assert ward.given_up == []


async def test_to_leave_a_ward_cancels_what_goes_on() -> None:
    with anyio.fail_after(30):
        async with Ward() as ward:
            ward.take("idle", lambda stay: anyio.sleep_forever())


async def test_who_blocks_is_found_by_the_module_of_its_code_where_the_task_is_nobodys() -> None:
    told: list[Block] = []
    async with Watchdog(0.2, told.append, lambda task: "", lambda: {__name__: "here"}):
        await anyio.sleep(0.15)
        time.sleep(0.6)  # noqa: ASYNC251
        with anyio.fail_after(30):
            while not told:
                await anyio.sleep(0.01)
    (block,) = told
    assert block.stage == "here"
    assert "time.sleep(0.6)" in block.stack
    assert 0.3 < block.seconds < 5


@pytest.mark.parametrize(
    ("seen", "blamed"), [(["next", *["slow"] * 99], "slow"), ([f"stage {n}" for n in range(99)], "")]
)
async def test_one_look_that_comes_when_somebody_else_is_at_work_changes_nothing(seen: list[str], blamed: str) -> None:
    told: list[Block] = []
    answers = iter(seen)
    async with Watchdog(0.2, told.append, lambda task: next(answers), dict):
        await anyio.sleep(0.15)
        time.sleep(0.6)  # noqa: ASYNC251
        with anyio.fail_after(30):
            while not told:
                await anyio.sleep(0.01)
    assert told[0].stage == blamed


async def test_a_loop_that_is_busy_with_many_is_nobodys_fault() -> None:
    told: list[Block] = []

    async def some() -> None:
        for _ in range(10):
            time.sleep(0.01)  # noqa: ASYNC251
            await anyio.sleep(0)  # noqa: ASYNC115

    async with (
        Watchdog(0.3, told.append, lambda task: "", lambda: {__name__: "here"}),
        anyio.create_task_group() as group,
    ):
        for _ in range(10):
            group.start_soon(some)
    assert told == []
