"""The intake takes each event once, lets its source read it, and undoes what could not be kept."""

import random
import zlib
from collections.abc import Sequence
from pathlib import Path
from time import thread_time
from typing import Any

import anyio
import msgspec
import pytest

from bers import Event, Full, Table
from bers.claims import Owners
from bers.counters import Counters
from bers.intake import AT_ONCE, SLICE, Intake, Receipt
from bers.log import Log
from bers.snapshots import position_of
from bers.testing import VirtualClock


class Joining:
    """A source that joins two halves by subject, whichever comes first."""

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        table.put(f"{event.subject} {event.type}", event)
        started, finished = table.get(f"{event.subject} half.started"), table.get(f"{event.subject} half.finished")
        if not (started and finished):
            return [event]
        took = {"took": finished.time - started.time}
        whole = Event(f"{event.subject}/whole", event.source, "half.whole", 0.0, measures=took, cause=event.id)
        return [event, whole]


OWNERS = Owners({"joining": ["half.*"]})
STARTED = Event("1", "/ci", "half.started", 10.0, subject="b")


class FullDisk(Log):
    """A bus that fails as often as told."""

    failures = 0

    async def append(self, partition: int, events: Sequence[Event], *, durable: bool = True) -> int:
        await anyio.lowlevel.checkpoint()
        if self.failures:
            self.failures -= 1
            raise OSError("no space left on device")
        return await super().append(partition, events, durable=durable)


def copy(event: Event) -> Event:
    return msgspec.structs.replace(event)


def joining(bus: Log) -> Intake:
    return Intake(bus, OWNERS, {"joining": Joining()})


async def everything(bus: Log) -> list[Event]:
    _, end = await bus.span(0)
    found: list[Event] = []
    async for batch in bus.read(0, after=0):
        found += batch.events
        if batch.end == end:
            break
    return found


@pytest.mark.parametrize("seed", range(20))
async def test_joins_survive_any_order_repeats_restarts_and_failed_appends(seed: int) -> None:
    rng = random.Random(seed)
    halves = [
        Event(f"{kind}-{n}", "/ci", f"half.{kind}", n + (kind == "finished"), subject=f"b{n}")
        for n in range(30)
        for kind in ("started", "finished")
    ]
    todo = halves + rng.sample(halves, 15)
    rng.shuffle(todo)
    bus = FullDisk()
    intake = joining(bus)
    snapshot: bytearray | None = None
    while todo:
        event = todo.pop()
        bus.failures = rng.random() < 0.1
        try:
            await intake.submit([copy(event)])
        except Full:
            todo.insert(rng.randrange(len(todo) + 1), event)
        bus.failures = 0
        if rng.random() < 0.1:
            _, snapshot = await intake.snapshot()
        if rng.random() < 0.1:
            intake = joining(bus)
            await intake.recover(snapshot if rng.random() < 0.5 else None)
    found = await everything(bus)
    assert sorted(event.id for event in found if not event.cause) == sorted(event.id for event in halves)
    assert sorted(event.id for event in found if event.cause) == sorted(f"b{n}/whole" for n in range(30))
    assert {event.measures["took"] for event in found if event.cause} == {1.0}


async def test_those_who_wait_are_taken_together_and_each_gets_its_answer() -> None:
    bus, receipts = FullDisk(), list[Receipt]()

    async def submit(*ids: str) -> None:
        receipts.append(await intake.submit([Event(id, "/ci", "reading", 0.0) for id in ids]))

    intake = Intake(bus)
    async with anyio.create_task_group() as group:
        for ids in (("a",), ("a", "b"), ("b", "c")):
            group.start_soon(submit, *ids)
    assert receipts == [Receipt(1, 0), Receipt(1, 1), Receipt(1, 1)]
    assert [event.id for event in await everything(bus)] == ["a", "b", "c"]
    assert intake.receivers.unmapped == {"reading": 3}


async def test_a_source_that_raises_costs_its_figures_and_not_the_event(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def receive(self, event: Event, table: Table) -> Sequence[Event]:
            table.put("half", event)
            raise ZeroDivisionError

    bus = Log()
    intake = Intake(bus, OWNERS, {"joining": Broken()})
    assert await intake.submit([copy(STARTED)]) == Receipt(1, 0)
    assert [event.id for event in await everything(bus)] == ["1"]
    assert intake.receivers.unmapped == {"half.started": 1} and "stored as it came" in caplog.text
    assert not intake.receivers.table("joining").keys()


async def test_after_a_full_disk_a_resend_is_no_repeat(tmp_path: Path) -> None:
    async with FullDisk(tmp_path) as bus:
        intake = joining(bus)
        bus.failures = 1
        with pytest.raises(Full, match="no space left on device") as info:
            await intake.submit([copy(STARTED)])
        assert info.value.broken
        assert await intake.submit([copy(STARTED)]) == Receipt(1, 0)


async def test_own_figures_are_kept_where_the_disk_refuses_what_came_with_them() -> None:
    bus = FullDisk()
    intake = joining(bus)
    answers: dict[str, object] = {}

    async def submit(id: str, durable: bool) -> None:
        try:
            answers[id] = await intake.submit([replace_id(id)], durable=durable)
        except Full as exc:
            answers[id] = exc.broken

    bus.failures = 1  # For all of them together.
    async with anyio.create_task_group() as group:
        for id, durable in (("0", True), ("1", True), ("own-1", False), ("2", True), ("own-2", False)):
            group.start_soon(submit, id, durable)
    assert answers == {"0": True, "1": True, "2": True, "own-1": Receipt(1, 0), "own-2": Receipt(1, 0)}
    assert [event.id for event in await everything(bus)] == ["own-1", "own-2"]
    assert not intake._counters.gaps()  # pyright: ignore[reportPrivateUsage]


async def test_a_full_journal_refuses_and_says_when_to_come_again(tmp_path: Path) -> None:
    async with Log(tmp_path, max_bytes=1) as bus:
        intake = joining(bus)
        await intake.submit([copy(STARTED)])
        with pytest.raises(Full) as info:
            await intake.submit([replace_id("2")])
        assert info.value.retry_after > 0 and not info.value.broken


def replace_id(id: str) -> Event:
    return msgspec.structs.replace(STARTED, id=id)


async def test_what_is_handed_in_may_not_name_a_cause_and_is_stamped_by_the_clock() -> None:
    bus = Log()
    intake = Intake(bus, clock=VirtualClock(1_000.0))
    await intake.submit([Event("1", "/ci", "reading", 5.0, cause="somebody")])
    (event,) = await everything(bus)
    assert (event.cause, event.received, event.seq) == ("", 1_000.0, 1)


async def test_records_are_counted_at_the_door_and_at_their_source() -> None:
    bus = FullDisk()
    intake = joining(bus)
    await intake.submit([copy(STARTED), copy(STARTED)])
    bus.failures = 1
    with pytest.raises(Full):
        await intake.submit([Event("3", "/ci", "half.finished", 12.0, subject="b")])
    await intake.submit([Event("3", "/ci", "half.finished", 12.0, subject="b")])
    counters = intake._counters  # pyright: ignore[reportPrivateUsage]
    edge = counters.edge("source/joining")
    assert (edge.taken, edge.made, edge.out, edge.dropped) == (2, 1, 3, {})
    door = counters.edge("intake")
    assert (door.taken, door.filtered, door.out, door.dropped["refused"]) == (4, 1, 2, 1)
    assert not counters.gaps()


async def test_what_waits_too_long_for_its_other_half_is_forgotten() -> None:
    clock = VirtualClock()
    intake = Intake(Log(), OWNERS, {"joining": Joining()}, clock=clock)
    await intake.submit([copy(STARTED)])
    await clock.advance(100)
    await intake.expire(200)
    assert len(intake.receivers.table("joining")) == 1
    await clock.advance(101)
    await intake.expire(200)
    assert len(intake.receivers.table("joining")) == 0


def test_claims_are_found_by_the_longest_pattern() -> None:
    owners = Owners({"exact": ["build.finished"], "all": ["build.*"], "deep": ["build.step.*"]})
    assert [owners.of(kind) for kind in ("build.finished", "build.started", "build.step.x", "other.x")] == [
        "exact",
        "all",
        "deep",
        "unmapped",
    ]


@pytest.mark.parametrize("answer", [None, (), ["not an event"], iter(())], ids=["none", "empty", "text", "iterator"])
async def test_a_source_that_returns_nonsense_costs_its_figures_and_not_the_event(answer: object) -> None:
    class Nonsense:
        def receive(self, event: Event, table: Table) -> Any:
            return answer

    bus = Log()
    intake = Intake(bus, OWNERS, {"joining": Nonsense()})
    assert await intake.submit([copy(STARTED)]) == Receipt(1, 0)
    assert [event.id for event in await everything(bus)] == ["1"]


async def test_what_cannot_be_written_at_all_is_refused_alone_and_is_no_repeat_afterwards(tmp_path: Path) -> None:
    async with Log(tmp_path) as bus:
        intake = Intake(bus)
        answers: dict[str, object] = {}

        async def submit(id: str, data: dict[str, int]) -> None:
            try:
                answers[id] = await intake.submit([Event(id, "/ci", "reading", 0.0, data=data)])
            except OverflowError as exc:
                answers[id] = exc

        async with anyio.create_task_group() as group:
            for id, data in (("first", {}), ("poison", {"n": 1 << 70}), ("last", {})):
                group.start_soon(submit, id, data)
        assert (answers["first"], answers["last"]) == (Receipt(1, 0), Receipt(1, 0))
        assert isinstance(answers["poison"], OverflowError)
        assert await intake.submit([Event("poison", "/ci", "reading", 0.0)]) == Receipt(1, 0)
        assert not intake._counters.gaps()  # pyright: ignore[reportPrivateUsage]


class Burning:
    """A source that takes a millisecond to read an event."""

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        until = thread_time() + 0.001
        while thread_time() < until:
            pass
        return [event]


async def test_what_reading_costs_is_its_sources_and_not_the_intakes() -> None:
    counters = Counters()
    intake = Intake(Log(), Owners({"burning": ["a.*"]}), {"burning": Burning()}, counters=counters)
    for first in range(0, 5 * SLICE, 10):  # Small submissions are timed in their share as well.
        await intake.submit([Event(str(n), "/ci", "a.b", 0.0) for n in range(first, first + 10)])
    source, door = counters.snapshot()["source/burning"], counters.snapshot()["intake"]
    assert 0.9 < source.cpu / (5 * SLICE * 0.001) < 1.5
    assert source.p99 is not None and source.p99 > 0.0009
    assert door.cpu < source.cpu / 2 and door.p99 is not None and door.p99 > 0.009


class Muddled:
    """A source that adds to some events what nobody can write down."""

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        return [msgspec.structs.replace(event, data={"what": object()})] if event.subject == "bad" else [event]


async def test_what_a_source_spoils_costs_its_own_submission_and_leaves_nothing_behind(tmp_path: Path) -> None:
    answers: list[Receipt | str] = []
    async with Log(tmp_path) as bus:
        intake = Intake(bus, Owners({"muddled": ["half.*"]}), {"muddled": Muddled()})

        async def submit(name: str, bad: int) -> None:
            some = [Event(f"{name}{n}", "/ci", "half.put", 0.0, subject="bad" if n == bad else "") for n in range(900)]
            try:
                answers.append(await intake.submit(some))
            except TypeError:
                answers.append("refused")

        async with anyio.create_task_group() as group:
            async with intake.between():  # So that they are taken together.
                group.start_soon(submit, "a", -1)
                group.start_soon(submit, "b", 800)
                await anyio.wait_all_tasks_blocked()
        assert answers == [Receipt(900, 0), "refused"]
        ids = [event.id for event in await everything(bus)]
        assert len(ids) == len(set(ids)) == 900


async def test_a_large_snapshot_is_what_was_remembered() -> None:
    bus = Log()
    intake, again = joining(bus), joining(bus)
    for key, count in (("joining", 3 * AT_ONCE + 5), ("other", 15), ("third", 16), ("fourth", 0)):
        for n in range(count):
            intake.receivers.table(key).put(f"{key}-{n}", Event(str(n), "/ci", "half.started", float(n), received=1.0))
        intake.receivers.table(key).keep()
    assert (await intake.submit([Event("not counted", "/ci", "x", 0.0), Event("c-1", "/ci", "x", 0.0)])).new == 2
    _, snapshot = await intake.snapshot()
    await again.recover(snapshot)
    for key in ("joining", "other", "third", "fourth"):
        assert list(again.receivers.table(key).items()) == list(intake.receivers.table(key).items())
    assert (await again.submit([Event("not counted", "/ci", "x", 0.0), Event("c-1", "/ci", "x", 0.0)])).repeated == 2


async def test_a_snapshot_of_an_earlier_version_is_read() -> None:
    begun = Event("1", "/ci", "half.started", 1.0, subject="b", received=2.0)
    written = msgspec.msgpack.encode([0, [[["/ci", "c", [[1, 2]]]], [["/ci", "x"]]], {"joining": {"b": begun}}, {}])
    intake = joining(Log())
    await intake.recover(zlib.compress(written))
    assert intake.receivers.table("joining").get("b") == begun
    known = [Event(id, "/ci", "reading", 0.0) for id in ("c-1", "x", "new")]
    assert await intake.submit(known) == Receipt(1, 2)


async def test_what_waited_too_long_is_forgotten_a_part_at_a_time() -> None:
    intake = joining(Log())
    for n in range(2 * AT_ONCE + 1):
        intake.receivers.table("joining").put(
            str(n), Event(str(n), "/ci", "half.started", 0.0, received=float(n % 2 + 1))
        )
    intake.receivers.table("joining").keep()
    await intake.expire(intake._clock.time() - 1.5)  # pyright: ignore[reportPrivateUsage]
    assert len(intake.receivers.table("joining")) == AT_ONCE


@pytest.mark.parametrize("position", [0, 5, 127, 128, 40_000, 70_000, 5_000_000_000])
async def test_the_position_of_a_snapshot_can_be_read_from_its_beginning(position: int) -> None:
    intake = Intake(Log(begin=position))
    at, body = await intake.snapshot()
    assert at == position == position_of(bytes(body))


@pytest.mark.parametrize("text", [b"", b"no snapshot", zlib.compress(b"something else")])
def test_what_is_no_snapshot_has_no_position(text: bytes) -> None:
    with pytest.raises(ValueError, match="the snapshot"):
        position_of(text)


async def test_what_was_known_before_the_journal_begins_is_known_still(tmp_path: Path) -> None:
    """As in a copy that took the snapshot first, and the journal when it had been trimmed."""
    intake = joining(Log())
    await intake.submit([copy(STARTED), Event("r-1", "/ci", "reading", 0.0)])
    _, snapshot = await intake.snapshot()
    async with Log(tmp_path, begin=10) as bus:
        await bus.append(0, [Event("r-2", "/ci", "reading", 0.0)])
        intake = joining(bus)
        await intake.recover(snapshot)
        assert await intake.submit([Event(f"r-{n}", "/ci", "reading", 0.0) for n in (1, 2, 3)]) == Receipt(1, 2)
        finished = Event("2", "/ci", "half.finished", 12.0, subject="b")
        await intake.submit([finished])
        batch = await anext(bus.read(0, after=10))
        assert batch.events[-1].measures == {"took": 2.0}
