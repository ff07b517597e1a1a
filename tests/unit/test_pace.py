"""What comes in waits for readers that are behind and move, and not for those that stand still."""

from collections.abc import Mapping
from time import monotonic

import pytest

from bers import Event
from bers.errors import Full
from bers.log import Log
from bers.pace import AT_A_TIME, FAR, FEW, GLANCE, LINES, LOOKS, ROOM, Pace


class Readers:
    """Where they are, for whoever looks; one of them moves with the looks, and not with the time that they take."""

    def __init__(self, *, moves: int = 0, every: int = 1, **others: int) -> None:
        self.at = {"alerts": 0, **others}
        self.looks = 0
        self._moves, self._every = moves, every

    def __call__(self) -> Mapping[str, int]:
        seen = dict(self.at)
        self.looks += 1
        if self.looks % self._every == 0:
            self.at["alerts"] += self._moves
        return seen


async def bus(size: int) -> Log:
    log = Log()
    await log.append(0, [Event(f"e-{n}", "/ci", "reading", 0.0) for n in range(size)])
    return log


async def waits(pace: Pace, readers: Readers, events: int = FEW + 1) -> int:
    """How many glances so many events wait."""
    before = readers.looks
    async with pace.passing(events):
        return readers.looks - before - 1


async def test_nobody_waits_while_readers_keep_up() -> None:
    readers = Readers()
    assert await waits(Pace(await bus(ROOM), readers), readers) == 0


async def test_what_comes_waits_until_a_reader_has_caught_up() -> None:
    readers = Readers(moves=ROOM // 5, metrics=2 * ROOM)
    assert await waits(Pace(await bus(2 * ROOM), readers), readers) == 5
    assert readers.at["alerts"] >= ROOM


async def test_a_reader_that_stands_still_is_waited_for_once_and_again_when_it_moves() -> None:
    readers = Readers()
    pace, began = Pace(await bus(3 * ROOM), readers), monotonic()
    assert await waits(pace, readers) == LOOKS
    assert monotonic() - began >= LOOKS * GLANCE
    assert await waits(pace, readers) == 0
    readers.at["alerts"] = 1
    assert await waits(pace, readers) == LOOKS


async def test_what_has_passed_and_is_not_there_yet_counts_as_if_it_were() -> None:
    readers = Readers()
    pace = Pace(await bus(1), readers)
    async with pace.passing(ROOM):
        assert await waits(pace, readers) == LOOKS
    assert await waits(pace, readers) == 0


async def test_a_reader_that_moves_slowly_is_waited_for_longer() -> None:
    readers = Readers(moves=ROOM // 5, every=LOOKS // 2)
    assert await waits(Pace(await bus(2 * ROOM), readers), readers) == 5 * LOOKS // 2
    assert readers.at["alerts"] >= ROOM


async def test_a_reader_that_is_far_behind_is_waited_for_once() -> None:
    readers = Readers(moves=1)
    assert await waits(Pace(await bus(FAR + 2 * ROOM), readers), readers) == LOOKS


async def test_a_few_events_pass_while_many_wait() -> None:
    readers = Readers()
    pace = Pace(await bus(ROOM + FEW), readers)
    assert await waits(pace, readers, FEW) == 0
    assert await waits(pace, readers) == LOOKS


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
