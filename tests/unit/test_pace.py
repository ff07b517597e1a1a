"""What comes in waits for readers that are behind and move, and not for those that stand still."""

from time import monotonic

import anyio
import pytest

from bers import Event
from bers.errors import Full
from bers.log import Log
from bers.pace import AT_A_TIME, FAR, FEW, GLANCE, LINES, LOOKS, ROOM, Pace

LONGEST = GLANCE * LOOKS


async def bus(size: int) -> Log:
    log = Log()
    await log.append(0, [Event(f"e-{n}", "/ci", "reading", 0.0) for n in range(size)])
    return log


async def passed(pace: Pace, events: int = FEW + 1) -> float:
    """How many seconds so many events wait."""
    began = monotonic()
    async with pace.passing(events):
        return monotonic() - began


async def test_nobody_waits_while_readers_keep_up() -> None:
    pace = Pace(await bus(ROOM), lambda: {"alerts": 0})
    assert await passed(pace) < LONGEST / 2


async def test_what_comes_waits_until_a_reader_has_caught_up() -> None:
    positions = {"alerts": 0, "metrics": 2 * ROOM}
    pace = Pace(await bus(2 * ROOM), lambda: positions)

    async def catch_up() -> None:
        for _ in range(5):
            await anyio.sleep(GLANCE)
            positions["alerts"] += ROOM // 5 + 1

    async with anyio.create_task_group() as group:
        group.start_soon(catch_up)
        assert await passed(pace) > GLANCE * 4
        assert positions["alerts"] >= ROOM


async def test_a_reader_that_stands_still_is_waited_for_once_and_again_when_it_moves() -> None:
    positions = {"alerts": 0}
    pace = Pace(await bus(3 * ROOM), lambda: positions)
    assert await passed(pace) >= LONGEST
    assert await passed(pace) < LONGEST / 2
    positions["alerts"] = 1
    assert await passed(pace) >= LONGEST


async def test_what_has_passed_and_is_not_there_yet_counts_as_if_it_were() -> None:
    pace = Pace(await bus(1), lambda: {"alerts": 0})
    async with pace.passing(ROOM):
        assert await passed(pace) >= LONGEST
    assert await passed(pace) < LONGEST / 2


async def test_a_reader_that_moves_slowly_is_waited_for_longer() -> None:
    positions = {"alerts": 0}
    pace = Pace(await bus(2 * ROOM), lambda: positions)

    async def crawl() -> None:
        while positions["alerts"] < ROOM:
            await anyio.sleep(LONGEST / 2)
            positions["alerts"] += ROOM // 5

    async with anyio.create_task_group() as group:
        group.start_soon(crawl)
        assert await passed(pace) > LONGEST * 2
        assert positions["alerts"] >= ROOM


async def test_a_reader_that_is_far_behind_is_waited_for_once() -> None:
    positions = {"alerts": 0}
    pace = Pace(await bus(FAR + 2 * ROOM), lambda: positions)

    async def crawl() -> None:
        while True:
            await anyio.sleep(GLANCE)
            positions["alerts"] += 1

    async with anyio.create_task_group() as group:
        group.start_soon(crawl)
        assert LONGEST <= await passed(pace) < LONGEST * 3
        group.cancel_scope.cancel()


async def test_a_few_events_pass_while_many_wait() -> None:
    pace = Pace(await bus(ROOM + FEW), lambda: {"alerts": 0})
    assert await passed(pace, FEW) < LONGEST / 2
    assert await passed(pace) >= LONGEST


async def test_large_requests_wait_in_line_and_are_refused_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bers.pace.SECONDS", 0.1)
    pace = Pace(await bus(0), dict[str, int])
    async with pace.turn(AT_A_TIME + 1):
        assert LINES == 2
        async with pace.turn(AT_A_TIME + 1):
            with pytest.raises(Full):
                async with pace.turn(AT_A_TIME + 1):
                    pass
            async with pace.turn(AT_A_TIME):
                pass
        async with pace.turn(AT_A_TIME + 1):
            pass
