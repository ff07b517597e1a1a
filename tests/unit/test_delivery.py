"""What a sink does not take is handed in again, or kept with the reason; every record is accounted for."""

import errno
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from bers import Batch, Context, Database, Event, Interval, PluginError, Refused, Rejected, Window, Written
from bers.counters import Counters
from bers.courier import Courier
from bers.dead_letters import DeadLetters
from bers.delivery import Delivery, Retry, Target
from bers.letters import Filter, Finding, Place
from bers.pipeline import Pipeline
from bers.testing import VirtualClock, feed
from bers.units import Duration, Size
from tests.unit.ledger import Ledger, LedgerConfig, written

PLACE = Place("test", "sink")


class Jittery(Random):
    """Draws the longest pause each time, and tells what it was asked for."""

    def __init__(self) -> None:
        super().__init__(0)
        self.asked: list[float] = []

    def uniform(self, a: float, b: float) -> float:
        assert a == 0
        self.asked.append(b)
        return b


@dataclass
class Sink:
    """Takes what a test says it takes, and notes the ids."""

    answers: Callable[[Batch], Written | None] = lambda _: None
    taken: list[list[str]] = field(default_factory=list[list[str]])
    calls: int = 0

    async def write(self, batch: Batch) -> Written | None:
        self.calls += 1
        result = self.answers(batch)
        left = {**result.kept, **result.rejected} if result else {}
        self.taken.append([one for n, one in enumerate(ids(batch)) if n not in left])
        return result


class Poisoned(Ledger):
    """A ledger that can never take events of some ids; it names them only if told to."""

    poison: Sequence[str] = ("bad",)
    naming = False

    async def write(self, batch: Batch) -> None:
        found = {n: f"{event.id} is poison" for n, event in enumerate(batch.events) if event.id in self.poison}
        if found:
            raise Rejected("there is poison in it", found if self.naming else None)
        await super().write(batch)


def ids(batch: Batch) -> list[str]:
    return [*(event.id for event in batch.events), *(window.metric for window in batch.windows)]


def events(*names: str) -> list[Event]:
    return [Event(name, "/ci", "build.finished", 0.0, seq=n) for n, name in enumerate(names, 1)]


def window(metric: str = "window") -> Window:
    return Window.of((metric, (), 0.0, 1.0), 5.0, 0.0, 1)


def raising(times: int, exc: Exception) -> Callable[[Batch], None]:
    left = iter(range(times))

    def answer(_: Batch) -> None:
        if next(left, None) is not None:
            raise exc

    return answer


@dataclass
class Bench:
    """A courier with time of its own, and the dead letters that it writes."""

    sink: Any
    durable: bool = False
    delivery: Delivery = Delivery()
    dead: DeadLetters = field(default_factory=lambda: DeadLetters(Database()))
    clock: VirtualClock = field(default_factory=VirtualClock)
    random: Jittery = field(default_factory=Jittery)
    counters: Counters = field(default_factory=Counters)

    @property
    def edge(self) -> Any:
        return self.counters.edge("test/sink")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Courier]:
        await self.dead.begin()
        self.dead.clock = self.clock
        target = Target("sink", self.sink, self.durable, self.delivery)
        courier = Courier("test", target, self.edge, self.clock, self.random, self.dead)
        position = await self.sink.position("test", 0, begin=0) if self.durable else 0
        await courier.begin(position)
        async with anyio.create_task_group() as group:
            group.start_soon(courier.attempts.watch)
            await courier.settle()
            try:
                yield courier
            finally:
                group.cancel_scope.cancel()
        assert not self.counters.gaps()
        assert self.edge.queued == 0

    async def let(self, call: Callable[..., Awaitable[object]], *arguments: Any) -> None:
        """Await a call, and let time pass for as long as it takes; threads need some of the real one."""
        done = anyio.Event()

        async def run() -> None:
            await call(*arguments)
            done.set()

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(run)
                while not done.is_set():
                    await self.clock.advance(1)
                    await anyio.sleep(0.001)

    async def letters(self) -> list[tuple[str, int, str]]:
        found, _ = await self.dead.list()
        return [(letter.reason, letter.records, letter.last_error) for letter in reversed(found)]

    async def originals(self) -> list[list[str]]:
        found, _ = await self.dead.list()
        whole = [await self.dead.get(letter.id) for letter in reversed(found)]
        return [ids(letter.batch) for letter in whole if letter]


REQUIRED = Delivery(required=True)


def batch(*names: str, end: int = 0, windows: Sequence[Window] = ()) -> Batch:
    return Batch(events(*names), windows, "test", 0, end or len(names))


@asynccontextmanager
async def ledger(path: Path, kind: type[Any] = Ledger) -> AsyncGenerator[Any]:
    async with kind(LedgerConfig(path=str(path)), Context("sink")) as sink:
        yield sink


# Attempts


async def test_pauses_double_up_to_the_longest_and_each_is_a_random_part() -> None:
    bench = Bench(Sink(raising(9, OSError("down"))), delivery=REQUIRED)
    async with bench.open() as courier, anyio.create_task_group() as group:
        group.start_soon(courier.take, batch("a"))
        await bench.clock.advance(0.2)
        assert (courier.attempts.failed, courier.failing_since, courier.attempts.last_error) == (
            1,
            0.0,
            "OSError: down",
        )
        await bench.clock.advance(120)
    assert bench.random.asked == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert bench.sink.taken == [["a"]]
    assert (courier.attempts.failed, courier.failing_since, bench.edge.errors, bench.edge.out) == (0, None, 9, 1)


async def test_a_real_generator_draws_the_whole_range() -> None:
    bench = Bench(Sink(raising(200, OSError("down"))), delivery=REQUIRED)
    draws: list[float] = []

    class Noted(Random):
        def uniform(self, a: float, b: float) -> float:
            drawn = super().uniform(a, b)
            draws.append(drawn / b)
            return drawn

    bench.random = Noted(7)  # type: ignore[assignment]
    async with bench.open() as courier, anyio.create_task_group() as group:
        group.start_soon(courier.take, batch("a"))
        await bench.clock.advance(6000)
    assert len(draws) == 200 and min(draws) < 0.05 and max(draws) > 0.95


async def test_a_sink_whose_disk_is_full_is_asked_again_soon_however_long_it_lasts() -> None:
    bench = Bench(Sink(raising(50, OSError(errno.ENOSPC, "No space left on device"))), delivery=REQUIRED)
    async with bench.open() as courier:
        await bench.let(courier.take, batch("a"))
    assert bench.sink.taken == [["a"]] and max(bench.random.asked) == 2.0


async def test_an_optional_sink_is_given_up_after_its_time_and_a_required_one_never() -> None:
    retry = Retry(give_up_after=Duration("10s"))
    for required, letters in ((False, [("gave_up", 2, "OSError: down")]), (True, [])):
        bench = Bench(Sink(raising(10**6, OSError("down"))), delivery=Delivery(required=required, retry=retry))
        async with bench.open() as courier, anyio.create_task_group() as group:
            group.start_soon(courier.take, batch("a", "b"))
            await bench.clock.advance(9.99)
            assert await bench.letters() == []
            await bench.clock.advance(600)
            assert await bench.letters() == letters
            group.cancel_scope.cancel()
        assert bench.edge.dead == (0 if required else 2)
        assert bench.edge.dropped["stopped"] == (2 if required else 0)


async def test_a_letter_tells_of_the_first_and_the_last_error_and_no_secrets() -> None:
    errors = iter([OSError("first: https://user:pa55@host/"), *[OSError("Bearer abcdefgh12345678")] * 99])

    def answer(_: Batch) -> None:
        raise next(errors)

    bench = Bench(Sink(answer), delivery=Delivery(retry=Retry(give_up_after=Duration("1s"))))
    async with bench.open() as courier, anyio.create_task_group() as group:
        group.start_soon(courier.take, batch("a"))
        await bench.clock.advance(5)
    (letter,), total = await bench.dead.list()
    assert (total, letter.attempts, letter.place, letter.position) == (1, 4, PLACE, 1)
    assert (letter.first_error, letter.last_error) == ("OSError: first: https://***@host/", "OSError: Bearer ***")
    assert letter.last_time - letter.first_time == pytest.approx(1)
    assert courier.attempts.last_error == "OSError: Bearer ***"


@pytest.mark.parametrize("durable", [False, True])
async def test_a_write_that_hangs_is_cancelled_at_its_deadline_and_asked_again(durable: bool, tmp_path: Path) -> None:
    class Hanging(Ledger):
        hangs = 2

        async def write(self, batch: Batch) -> None:
            if self.hangs:
                self.hangs -= 1
                await anyio.sleep_forever()
            await super().write(batch)

    delivery = Delivery(required=True, within=Interval("30s"))
    async with ledger(tmp_path / "db", Hanging) as sink:
        await sink.position("test", 0, begin=0)
        bench = Bench(sink, durable=durable, delivery=delivery)
        async with bench.open() as courier, anyio.create_task_group() as group:
            await bench.clock.advance(17)  # However long nothing came.
            group.start_soon(courier.take, batch("a"))
            await bench.clock.advance(29.99)
            assert (courier.attempts.deadline, courier.attempts.failed) == (47.0, 0)
            await bench.clock.advance(0.02)
            assert (courier.attempts.failed, courier.attempts.last_error) == (
                1,
                "TimeoutError: it did not take a batch within 30 s",
            )
            with anyio.fail_after(30):
                while courier.position == 0:
                    await bench.clock.advance(1)
                    await anyio.sleep(0.001)
    assert written(tmp_path / "db") == ["a"]
    assert bench.edge.errors == 2


async def test_nonsense_is_named_as_such_and_the_batch_is_asked_for_again() -> None:
    answers = iter([7, Written(merged=4), Written(rejected={3: "x"}), Written(rejected={0: "x"}, kept={0: "y"}), None])
    bench = Bench(Sink(lambda _: None), delivery=REQUIRED)
    said: list[str] = []

    class Silly:
        async def write(self, batch: Batch) -> Any:
            said.append(bench.edge.last_error)
            return next(answers)

    bench.sink = Silly()
    async with bench.open() as courier, anyio.create_task_group() as group:
        group.start_soon(courier.take, batch("a", "b", "c"))
        await bench.clock.advance(60)
    assert said[1] == "PluginError: sink 'sink' returned 'int' from write; return None or Written"
    assert all(text.startswith("PluginError: sink 'sink' returned Written(") for text in said[2:])
    assert (len(said), bench.edge.errors, bench.edge.out, bench.edge.dead) == (5, 4, 3, 0)


# Partial failure


async def test_what_is_rejected_is_a_dead_letter_what_is_kept_is_asked_for_alone() -> None:
    answers = iter([Written(1, rejected={1: "too odd"}, kept={0: "busy", 3: "busy"}), Written(kept={1: "still"})])
    bench = Bench(Sink(lambda _: next(answers, None)))
    async with bench.open() as courier:
        await bench.let(courier.take, batch("a", "b", "c", windows=[window()]))
    assert bench.sink.taken == [["c"], ["a"], ["window"]]
    assert await bench.letters() == [("rejected", 1, "too odd")]
    assert await bench.originals() == [["b"]]
    edge = bench.edge
    assert (edge.taken, edge.out, edge.merged, edge.dead) == (4, 2, 1, 1)


async def test_what_is_kept_too_often_is_given_up_by_an_optional_sink() -> None:
    bench = Bench(
        Sink(lambda batch: Written(kept={len(batch) - 1: "no room"})),
        delivery=Delivery(retry=Retry(give_up_after=Duration("2s"))),
    )
    async with bench.open() as courier:
        await bench.let(courier.take, batch("a", "b"))
    assert await bench.letters() == [("gave_up", 1, "no room")]
    assert await bench.originals() == [["b"]]


@pytest.mark.parametrize("naming", [False, True])
async def test_one_bad_event_of_a_hundred_costs_only_itself(naming: bool) -> None:
    def answer(batch: Batch) -> None:
        bad = [n for n, one in enumerate(ids(batch)) if one == "e-37"]
        if bad:
            raise Rejected("no", dict.fromkeys(bad, "never that") if naming else None)

    bench = Bench(Sink(answer))
    async with bench.open() as courier:
        await courier.take(batch(*(f"e-{n}" for n in range(100))))
    assert [one for part in bench.sink.taken for one in part] == [f"e-{n}" for n in range(100) if n != 37]
    assert await bench.originals() == [["e-37"]]
    assert (bench.edge.out, bench.edge.dead) == (99, 1)
    assert bench.sink.calls < 20


async def test_a_rejection_inside_a_group_of_one_is_a_rejection() -> None:
    bench = Bench(Sink(raising(1, ExceptionGroup("in a task group", [Rejected("never")]))))
    async with bench.open() as courier:
        await courier.take(batch("a"))
    assert await bench.letters() == [("rejected", 1, "never")]


@pytest.mark.parametrize("naming", [False, True])
async def test_a_durable_sink_goes_on_behind_what_it_rejects(naming: bool, tmp_path: Path) -> None:
    async with ledger(tmp_path / "db", type("It", (Poisoned,), {"naming": naming})) as sink:
        bench = Bench(sink, durable=True)
        async with bench.open() as courier:
            await courier.take(batch("a", "bad", "b", "c"))
            await courier.take(batch("d", end=5))
        assert await sink.position("test", 0, begin=0) == 5
    assert written(tmp_path / "db") == ["a", "b", "c", "d"]
    assert await bench.originals() == [["bad"]]
    assert (bench.edge.taken, bench.edge.out, bench.edge.dead) == (5, 4, 1)


async def test_a_batch_that_is_rejected_as_a_whole_still_moves_the_position(tmp_path: Path) -> None:
    async with ledger(tmp_path / "db", type("It", (Poisoned,), {"poison": ("a", "b", "c")})) as sink:
        bench = Bench(sink, durable=True)
        async with bench.open() as courier:
            await courier.take(batch("a", "b", "c"))
        assert await sink.position("test", 0, begin=0) == 3
    assert await bench.originals() == [["a"], ["b"], ["c"]]
    assert {reason for reason, *_ in await bench.letters()} == {"rejected"}


async def test_a_durable_sink_that_returns_what_it_did_not_take_is_told_so_and_nothing_is_lost(tmp_path: Path) -> None:
    class Returning(Ledger):
        async def write(self, batch: Batch) -> Any:
            await super().write(batch)
            return Written(rejected={0: "odd"}, kept={1: "busy"})

    async with ledger(tmp_path / "db", Returning) as sink:
        bench = Bench(sink, durable=True)
        async with bench.open() as courier:
            await courier.take(batch("a", "b", "c"))
    assert "returned what it did not take; raise Rejected" in bench.edge.last_error
    assert sorted(await bench.originals()) == [["a"], ["b"]]


async def test_a_durable_sink_that_committed_before_it_raised_is_not_handed_the_batch_again(tmp_path: Path) -> None:
    class Late(Ledger):
        async def write(self, batch: Batch) -> None:
            await super().write(batch)
            raise OSError("after all")

    async with ledger(tmp_path / "db", Late) as sink:
        bench = Bench(sink, durable=True)
        async with bench.open() as courier:
            await bench.let(courier.take, batch("a"))
    assert written(tmp_path / "db") == ["a"]


# A crash


@pytest.mark.parametrize("moment", ["before the position", "after the position"])
async def test_a_crash_neither_loses_nor_doubles_a_letter(moment: str, tmp_path: Path) -> None:
    class Crashing(Poisoned):
        naming = True
        crash = True

        async def write(self, batch: Batch) -> None:
            emptied = batch.end == 2 and not any(event.id == "bad" for event in batch.events)
            if emptied and self.crash and moment == "before the position":
                raise KeyboardInterrupt
            await super().write(batch)
            if emptied and self.crash:
                raise KeyboardInterrupt

    dead = DeadLetters(Database(tmp_path / "state.db"), folder=tmp_path)
    for crash in (True, False):
        async with ledger(tmp_path / "db", type("It", (Crashing,), {"crash": crash})) as sink:
            bench = Bench(sink, durable=True, dead=dead)
            if crash:
                with pytest.raises(BaseExceptionGroup):
                    async with bench.open() as courier:
                        await courier.take(batch("bad", "a"))
                assert dead.count == 1
            else:
                async with bench.open() as courier:
                    assert dead.count == (0 if moment == "before the position" else 1)
                    if courier.position == 0:  # Cut in another way this time.
                        await courier.take(batch("bad"))
                        await courier.take(Batch(events("bad", "a")[1:], (), "test", 0, 2))
    assert await bench.originals() == [["bad"]]
    assert written(tmp_path / "db") == ["a"]
    dead.state.close()


class Mended(Poisoned):
    """Takes everything once it is mended, and may crash around the commit of what is replayed."""

    naming = True
    crash = ""

    async def write(self, batch: Batch) -> None:
        replay = batch.reader.startswith("dead-letters/")
        if replay and self.crash == "before":
            raise KeyboardInterrupt
        await super().write(batch)
        if replay and self.crash == "after":
            raise KeyboardInterrupt


@pytest.mark.parametrize("crash", ["before", "after"])
async def test_a_replay_that_a_crash_interrupts_is_made_good_and_not_made_twice(crash: str, tmp_path: Path) -> None:
    dead = DeadLetters(Database(tmp_path / "state.db"), folder=tmp_path)
    async with ledger(tmp_path / "sink.db", Mended) as sink:
        async with Bench(sink, durable=True, dead=dead).open() as courier:
            await courier.take(batch("a", "bad", "b"))
    ((letter,), _) = await dead.list()
    async with ledger(tmp_path / "sink.db", type("It", (Mended,), {"poison": (), "crash": crash})) as sink:
        with pytest.raises(BaseExceptionGroup):
            async with Bench(sink, durable=True, dead=dead).open() as courier:
                await courier.replay(letter.id)
    async with ledger(tmp_path / "sink.db", type("It", (Mended,), {"poison": ()})) as sink:
        async with Bench(sink, durable=True, dead=dead).open() as courier:
            assert await courier.replay(letter.id) is None
            assert dead.count == 0
            assert await sink.position("test", 0, begin=0) == 3
    assert written(tmp_path / "sink.db") == ["a", "b", "bad"]
    dead.state.close()


async def test_a_durable_sink_that_commits_late_is_handed_a_replay_again_after_a_crash(tmp_path: Path) -> None:
    class Lazy(Mended):
        """Keeps in memory what it took, as a store does, and commits when told to."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.batches: list[Batch] = []
            self.ends: dict[str, int] = {}

        async def position(self, reader: str, partition: int, *, begin: int) -> int:
            return self.ends.get(reader) or await super().position(reader, partition, begin=begin)

        async def write(self, batch: Batch) -> None:
            self.batches.append(batch)
            self.ends[batch.reader] = batch.end

        async def commit(self) -> None:
            for one in self.batches:
                await super().write(one)
            self.batches.clear()

    dead = DeadLetters(Database(tmp_path / "state.db"), folder=tmp_path)
    async with ledger(tmp_path / "sink.db", Mended) as sink:
        async with Bench(sink, durable=True, dead=dead).open() as courier:
            await courier.take(batch("bad"))
    lazy = type("It", (Lazy,), {"poison": ()})
    ((letter,), _) = await dead.list()
    async with ledger(tmp_path / "sink.db", lazy) as sink:
        async with Bench(sink, durable=True, dead=dead).open() as courier:
            done = await courier.replay(letter.id)
            assert done and done.delivered == 1
            assert (dead.count, await dead.get(letter.id)) == (0, None)
    assert written(tmp_path / "sink.db") == []  # The process ended before the commit.
    async with ledger(tmp_path / "sink.db", lazy) as sink:
        async with Bench(sink, durable=True, dead=dead).open():
            await sink.commit()
    assert written(tmp_path / "sink.db") == ["bad"]
    await dead.sweep()
    assert await dead.state.run(lambda db: db.execute("SELECT count(*) FROM dead_letters").fetchone()) == (0,)
    dead.state.close()


async def test_a_letter_that_was_delivered_is_not_dropped_for_want_of_room(tmp_path: Path) -> None:
    dead = DeadLetters(Database(), folder=tmp_path, max_bytes=1_500)
    await dead.begin()

    def finding(name: str) -> list[Finding]:
        return [Finding(batch(name), "rejected", 1, 0.0, "bad", "x" * 400)]

    await dead.add(PLACE, finding("a"))
    (letter,) = (await dead.list())[0]
    assert await dead.give_turn(letter, 0)
    await dead.handed_over(letter)  # It is kept until that is durable.
    for n in range(10):
        await dead.add(PLACE, finding(f"b{n}"))
    assert dead.bytes <= dead.max_bytes
    assert dead.count + dead.dropped == 10
    dead.state.close()


# Replay


async def test_a_letter_is_replayed_to_its_stage_alone_and_is_gone_then() -> None:
    bench = Bench(Sink(raising(1, Rejected("not yet"))))
    async with bench.open() as courier:
        await courier.take(batch("a"))
        ((letter,), _) = await bench.dead.list()
        done = await courier.replay(letter.id)
        assert done and (done.delivered, done.left) == (1, 0)
        assert await courier.replay(letter.id) is None
    assert bench.sink.taken == [["a"]]
    assert (bench.edge.taken, bench.edge.dead, bench.edge.out, bench.dead.count, bench.dead.bytes) == (2, 1, 1, 0, 0)


@pytest.mark.parametrize("durable", [False, True])
async def test_a_letter_that_is_replayed_twice_at_once_is_delivered_once(durable: bool, tmp_path: Path) -> None:
    async with ledger(tmp_path / "db", type("It", (Poisoned,), {"naming": True})) as sink:
        await sink.position("test", 0, begin=0)
        bench = Bench(sink, durable=durable)
        async with bench.open() as courier:
            await courier.take(batch("bad"))
            ((letter,), _) = await bench.dead.list()
            sink.poison = ()
            results: list[Any] = []

            async def replay() -> None:
                results.append(await courier.replay(letter.id))

            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(replay)
    assert len([one for one in results if one]) == 1
    assert written(tmp_path / "db") == ["bad"]


async def test_who_goes_while_he_asks_for_a_replay_does_not_keep_the_sink_to_himself() -> None:
    bench = Bench(Sink(raising(1, Rejected("not yet"))))
    async with bench.open() as courier:
        await courier.take(batch("a"))
        ((letter,), _) = await bench.dead.list()
        for steps in range(8):  # Wherever that is.
            async with anyio.create_task_group() as group:
                group.start_soon(courier.replay, letter.id)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
            with anyio.fail_after(30):
                await courier.take(batch(f"b{steps}"))


async def test_a_replay_finds_out_which_of_many_records_is_to_blame(tmp_path: Path) -> None:
    async with ledger(tmp_path / "db", type("It", (Poisoned,), {"poison": tuple("abcdef")})) as sink:
        bench = Bench(sink, durable=True)
        await bench.dead.begin()
        async with bench.open() as courier:
            await courier.take(Batch((), (), "test", 0, 1))
            await bench.dead.add(PLACE, [Finding(batch(*"abcdef"), "gave_up", 3, 0.0, "first", "last")])
            sink.poison = ("d",)
            ((letter,), _) = await bench.dead.list()
            done = await courier.replay(letter.id)
            assert done and (done.delivered, done.left, done.error) == (5, 1, "there is poison in it")
    assert sorted(written(tmp_path / "db")) == ["a", "b", "c", "e", "f"]
    assert await bench.originals() == [["d"]]


async def test_a_replay_that_fails_keeps_the_letter_and_what_is_known_of_it(tmp_path: Path) -> None:
    async with ledger(tmp_path / "db", type("It", (Poisoned,), {"naming": True})) as sink:
        bench = Bench(sink, durable=True)
        async with bench.open() as courier:
            await courier.take(batch("bad", "fine"))
            ((letter,), _) = await bench.dead.list()
            done = await courier.replay(letter.id)
            assert done and (done.delivered, done.left, done.error) == (0, 1, "bad is poison")
            ((again,), _) = await bench.dead.list()
            assert (again.id, again.attempts, again.reason) == (letter.id, letter.attempts + 1, "rejected")
            sink.poison = ()
            assert await courier.replay(letter.id)
    assert written(tmp_path / "db") == ["fine", "bad"]


async def test_a_busy_sink_refuses_a_replay_instead_of_keeping_its_operator() -> None:
    bench = Bench(Sink(raising(1, Rejected("never"))), delivery=REQUIRED)
    async with bench.open() as courier, anyio.create_task_group() as group:
        await courier.take(batch("a"))
        ((letter,), _) = await bench.dead.list()
        bench.sink.answers = raising(10**6, OSError("down"))
        group.start_soon(courier.take, batch("b"))
        refusals: list[Refused] = []

        async def replay() -> None:
            try:
                await courier.replay(letter.id)
            except Refused as refused:
                refusals.append(refused)

        group.start_soon(replay)
        await bench.clock.advance(6)
        assert [one.reason for one in refusals] == ["unavailable"]
        assert "OSError: down" in str(refusals[0])
        group.cancel_scope.cancel()


# Quota


async def test_the_oldest_letters_give_way_and_that_is_counted() -> None:
    bench = Bench(Sink(), dead=DeadLetters(Database(), max_bytes=5_000))
    bench.sink.answers = raising(10**6, Rejected("never"))
    async with bench.open() as courier:
        for n in range(100):
            await courier.take(batch(f"e-{n}"))
    kept = [one for (one,) in await bench.originals()]
    assert kept == [f"e-{n}" for n in range(100 - len(kept), 100)]
    assert 5 < len(kept) < 100 and bench.dead.bytes <= 5_000 and bench.dead.full
    assert (bench.dead.count, bench.dead.dropped, bench.edge.dead) == (len(kept), 100 - len(kept), 100)


async def test_where_letters_may_not_give_way_a_required_sink_waits_and_others_drop() -> None:
    for required in (True, False):
        bench = Bench(
            Sink(raising(10**6, Rejected("never"))),
            delivery=Delivery(required=required),
            dead=DeadLetters(Database(), max_bytes=700, when_full="refuse"),
        )
        async with bench.open() as courier, anyio.create_task_group() as group:
            for n in range(2):
                await courier.take(batch(f"e-{n}"))
            group.start_soon(courier.take, batch("last"))
            await bench.clock.advance(100)
            assert await bench.originals() == [["e-0"], ["e-1"]]
            assert bench.edge.dropped["rejected"] == (0 if required else 1)
            if required:
                assert "dead letters have reached their 700 bytes" in courier.attempts.last_error
                await bench.dead.drop(Filter())
                await bench.clock.advance(100)
                assert await bench.originals() == [["last"]]


async def test_many_large_records_that_are_given_up_together_become_letters_of_a_bounded_size() -> None:
    bench = Bench(Sink(raising(10**6, OSError("down"))), delivery=Delivery(retry=Retry(give_up_after=Duration("0s"))))
    large = [Event(f"e-{n}", "/ci", "x.y", 0.0, reason="x" * 200_000) for n in range(20)]
    async with bench.open() as courier:
        await courier.take(Batch(large, (), "test", 0, 20))
    assert sorted(one for part in await bench.originals() for one in part) == sorted(event.id for event in large)
    sizes = [letter.size for letter in (await bench.dead.list())[0]]
    assert len(sizes) > 3 and max(sizes) < 1_100_000


async def test_letters_and_windows_survive_as_they_were() -> None:
    bench = Bench(Sink(raising(1, OSError("x"))), delivery=Delivery(retry=Retry(give_up_after=Duration("0s"))))
    whole = batch("a", "b", windows=[window(), window("other")])
    async with bench.open() as courier:
        await courier.take(whole)
        ((letter,), _) = await bench.dead.list()
        kept = await bench.dead.get(letter.id)
        assert kept and (list(kept.batch.events), list(kept.batch.windows)) == (whole.events, whole.windows)
        await courier.replay(letter.id)
    assert bench.sink.taken == [["a", "b", "window", "other"]]


# In a pipeline


async def test_an_optional_sink_that_is_stopped_leaves_nothing_uncounted() -> None:
    clock, stuck = VirtualClock(), Sink(raising(10**6, OSError("down")))
    bus = await feed()
    pipeline = Pipeline("test", targets=[Target("sink", stuck)], clock=clock)
    async with anyio.create_task_group() as group:
        await group.start(pipeline.run, bus)
        for n in range(5):
            await bus.append(0, events(f"e-{n}"))
            await clock.advance(1)
        queue = pipeline.queues["sink"]
        assert (queue.size, queue.age(clock.monotonic())) == (4, 5.0)
        assert pipeline.deliveries["sink"].failing_since == 0.0
        group.cancel_scope.cancel()
    edge = pipeline.counters.edge("test/sink")
    assert (edge.taken, edge.queued, edge.dropped["stopped"], edge.gap()) == (5, 0, 5, 0)


async def test_a_queue_is_bounded_in_bytes_too() -> None:
    class Never:
        async def write(self, batch: Batch) -> None:
            await anyio.sleep_forever()

    bus = await feed()
    delivery = Delivery(queue_bytes=Size("10kB"))
    pipeline = Pipeline("test", targets=[Target("sink", Never(), delivery=delivery)], clock=VirtualClock())
    async with anyio.create_task_group() as group:
        await group.start(pipeline.run, bus)
        for n in range(50):
            await bus.append(0, events(f"e-{n}"))
            await anyio.wait_all_tasks_blocked()
        queue = pipeline.queues["sink"]
        assert 0 < queue.bytes <= 10_000 and 2 < queue.size < 12
        assert pipeline.counters.edge("test/sink").dropped["full_bytes"] == 49 - queue.size
        group.cancel_scope.cancel()
    assert not pipeline.counters.gaps()


def test_a_sink_gives_each_record_one_fate() -> None:
    assert issubclass(PluginError, Exception) and Written() == Written(0, {}, {})
