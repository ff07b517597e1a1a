"""The process has a budget of bytes: who comes is let in while there is room, waits for a moment, or is refused."""

from collections.abc import Callable
from time import monotonic

import anyio
import pytest
from anyio.lowlevel import checkpoint

from bers import Refused
from bers.memory import MAX_WAITING, OWN, PAUSE, SMALL, SPARE, Hold, Memory
from bers.testing import VirtualClock


class Process:
    """What a process takes, as a test sets it."""

    def __init__(self, resident: int) -> None:
        self.resident = resident
        self.looks = 0

    def __call__(self) -> int:
        self.looks += 1
        return self.resident


def budget(size: int, *, resident: Callable[[], int] = lambda: 0) -> tuple[Memory, VirtualClock]:
    clock = VirtualClock()
    return Memory(size, clock, resident=resident), clock


def fill(hold: Hold, size: int) -> None:
    """Take so much in small pieces, of which each may use all that is left."""
    for taken in range(SMALL, size, SMALL):
        hold.grow(taken)
    hold.grow(size)


def test_what_is_promised_is_given_back_whatever_happens() -> None:
    memory, _ = budget(100)
    with pytest.raises(ZeroDivisionError), memory.hold() as hold:
        hold.grow(60)
        hold.grow(40)
        assert dict(memory.accounts()) == {"requests": 60}
        raise ZeroDivisionError
    assert memory.used == 0


def test_who_finds_no_room_is_refused_and_told_when_to_come_again() -> None:
    memory, _ = budget(100)
    with memory.hold() as first, memory.hold() as second:
        first.grow(60)
        with pytest.raises(Refused, match="at most 100 bytes of memory") as info:
            second.grow(41)
        assert (info.value.reason, info.value.retry_after) == ("full", PAUSE)
        second.grow(40)
    assert memory.refused == 1


async def test_it_is_short_of_memory_for_a_second_after_the_last_was_refused() -> None:
    memory, clock = budget(100)
    assert not memory.refusing
    with pytest.raises(Refused):
        memory.admit(101)
    assert memory.refusing
    await clock.advance(PAUSE)
    assert not memory.refusing


async def test_the_process_is_measured_now_and_then_and_counts_with_all_that_nobody_has_an_account_of() -> None:
    process, queue = Process(50), [5]
    memory, clock = budget(100, resident=process)
    memory.account("queue", lambda: queue[0])
    assert memory.used == 50, "the queue is part of the process"
    queue[0] = 25
    process.resident = 97
    assert (memory.used, process.looks) == (70, 1), "what has grown since is added, until it is measured again"
    await clock.advance(1)
    assert (memory.used, process.looks) == (97, 2)
    with pytest.raises(Refused):
        memory.admit(4)
    process.resident = 60
    await clock.advance(1)
    memory.admit(4)


async def test_who_waits_is_let_in_as_soon_as_there_is_room() -> None:
    memory, _ = budget(OWN + 100)
    order = list[str]()

    async def come(name: str, size: int) -> None:
        with memory.hold() as hold:
            await memory.wait(size)
            hold.grow(size)
            order.append(name)
            await checkpoint()

    async with anyio.create_task_group() as group:
        with memory.hold() as hold:
            fill(hold, OWN + 50)
            group.start_soon(come, "large", 80)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(come, "larger", 90)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(come, "small", 10)
            await anyio.wait_all_tasks_blocked()
            assert order == ["small"]
    assert order == ["small", "large", "larger"]
    assert memory.used == 0 and not memory.refused


async def test_nobody_waits_for_ever_and_not_more_than_so_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bers.memory.PATIENCE", 0.3)
    memory, _ = budget(OWN + 100)
    waited = list[float]()

    async def come() -> None:
        began = monotonic()
        with memory.hold() as refused:
            await memory.wait(80)
            with pytest.raises(Refused):
                refused.grow(80)
            waited.append(monotonic() - began)

    with memory.hold() as hold, anyio.fail_after(30):
        fill(hold, OWN + 50)
        async with anyio.create_task_group() as group:
            for _ in range(MAX_WAITING + 10):
                group.start_soon(come)
    assert [seconds < 0.3 for seconds in sorted(waited)] == [True] * 10 + [False] * MAX_WAITING


async def test_what_could_never_be_let_in_is_told_so() -> None:
    memory, _ = budget(OWN + 100)
    with pytest.raises(Refused) as info:
        await memory.wait(101)
    assert info.value.reason == "too_large"


def test_large_requests_leave_room_for_small_ones() -> None:
    memory, _ = budget(OWN)
    with memory.hold() as large, memory.hold() as more, memory.hold() as small:
        large.grow(OWN - SPARE)
        with pytest.raises(Refused):
            more.grow(SMALL + 1)
        small.grow(SMALL)
