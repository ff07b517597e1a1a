"""What comes in waits for readers that are behind and move, and not for those that stand still."""

from time import monotonic

import anyio

from bers import Event
from bers.log import Log
from bers.pace import GLANCE, LOOKS, ROOM, Pace

LONGEST = GLANCE * LOOKS


async def bus(size: int) -> Log:
    log = Log()
    await log.append(0, [Event(f"e-{n}", "/ci", "reading", 0.0) for n in range(size)])
    return log


async def passed(pace: Pace) -> float:
    """How many seconds one event waits."""
    began = monotonic()
    async with pace.passing(1):
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
