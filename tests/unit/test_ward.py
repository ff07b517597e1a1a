"""What a plugin does ends with its task, however it ends; and who does not end is given up."""

import asyncio
import os
import signal
import subprocess
import sys
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
        with anyio.fail_after(30):
            while not told:  # Where the machine stands still too, some of it is nobody's fault.
                await anyio.sleep(0.15)
                time.sleep(0.6)  # noqa: ASYNC251
    block = told[0]
    assert block.stage == "here"
    assert "time.sleep(0.6)" in block.stack
    assert 0.2 <= block.seconds < 5


@pytest.mark.parametrize(
    ("seen", "blamed"), [(["next", *["slow"] * 99], "slow"), ([f"stage {n}" for n in range(99)], "")]
)
async def test_one_look_that_comes_when_somebody_else_is_at_work_changes_nothing(seen: list[str], blamed: str) -> None:
    told: list[Block] = []
    answers = iter(seen)
    async with Watchdog(0.2, told.append, lambda task: next(answers), dict):
        with anyio.fail_after(30):
            while not told:
                await anyio.sleep(0.15)
                time.sleep(1.2)  # noqa: ASYNC251
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


BUSY = """
import asyncio, time
from bers.watchdog import Watchdog

async def some(until):
    while time.monotonic() < until:
        time.sleep(0.01)
        await asyncio.sleep(0)

async def main():
    async with Watchdog(0.5, lambda block: print(block.stage, end="", flush=True), lambda task: "busy", dict):
        print("begun", flush=True)
        await asyncio.gather(*(some(time.monotonic() + 6) for _ in range(4)))

asyncio.run(main())
"""


STARVED = """
import asyncio, os, subprocess, sys, threading, time
from bers.watchdog import Watchdog

def work(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

async def main():
    async with Watchdog(0.5, lambda block: print(block.stage, end="", flush=True), lambda task: "working", dict):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # This thread alone, and those that come of it.
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(15)]
        await asyncio.sleep(0.3)
        slowest = 0.0
        for _ in range(4):
            began = time.monotonic()
            work(0.06)
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.15)
        for other in others:
            other.kill()
            other.wait()
        assert slowest > 0.5, "nobody was starved"

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not let a thread have one processor")
def test_who_waits_for_a_processor_is_not_to_blame() -> None:
    done = subprocess.run([sys.executable, "-c", STARVED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_process_that_is_held_for_moments_is_nobodys_fault() -> None:
    """As on a machine that is busy with something else, for too short to be told from a stage that blocks."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "begun\n"
        while process.poll() is None:
            time.sleep(0.2)
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.45)
            process.send_signal(signal.SIGCONT)
        assert process.stdout.read() == ""
    assert process.returncode == 0
