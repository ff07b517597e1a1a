"""A pipeline delivers to durable sinks exactly once, and to optional ones as well as it can."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from time import thread_time
from typing import Annotated, Any

import anyio
import pytest
from msgspec import Meta

from bers import Batch, Config, Conflict, Context, Event, Interval, ProcessorSpec, SinkSpec, Stage
from bers.delivery import Delivery, Retry, Target
from bers.pipeline import Pipeline, Step
from bers.testing import Log, collect, feed, run_pipeline, step
from tests.unit.ledger import LEDGER, Ledger, LedgerConfig, written


class NoConfig(Config, frozen=True):
    """Nothing to configure."""


class AboveConfig(Config, frozen=True):
    """Keep the events that measure more than a limit."""

    limit: Annotated[float, Meta(description="The limit.")]


class Above(Stage[AboveConfig]):
    async def process(self, batch: Batch) -> Batch:
        kept = [event for event in batch.events if event.measures["m"] > self.config.limit]
        return Batch(kept, batch.windows, batch.reader, batch.partition, batch.end)


ABOVE = ProcessorSpec("above", AboveConfig, Above)


def events(*values: float) -> list[Event]:
    return [Event(f"e-{n}", "/ci", "reading", n / 2, measures={"m": value}) for n, value in enumerate(values)]


def ledger(folder: Path, name: str = "ledger.db") -> Step[Any]:
    return step(LEDGER, path=str(folder / name), context=Context(name))


async def position(folder: Path, reader: str = "test") -> int:
    async with ledger(folder).open() as sink:
        return int(await sink.position(reader, 0, begin=-1))


async def test_an_emptied_batch_still_moves_the_position(tmp_path: Path) -> None:
    await run_pipeline(await feed(events(1, 2, 3)), processors=[step(ABOVE, limit=9)], sinks=[ledger(tmp_path)])
    assert await position(tmp_path) == 3


async def test_sinks_at_different_positions_get_what_they_lack_and_nothing_twice(tmp_path: Path) -> None:
    ahead, behind = ledger(tmp_path, "ahead.db"), ledger(tmp_path, "behind.db")
    bus = await feed(events(1, 2, 3), [Event(f"f-{n}", "/ci", "reading", 0.0) for n in range(3)])
    await run_pipeline(bus, sinks=[ahead], until=4)
    await run_pipeline(bus, sinks=[behind], until=1)
    await run_pipeline(bus, sinks=[ahead, behind], begin=None)
    everything = ["e-0", "e-1", "e-2", "f-0", "f-1", "f-2"]
    assert written(tmp_path / "ahead.db") == written(tmp_path / "behind.db") == everything


async def test_an_optional_sink_begins_where_the_bus_ends(tmp_path: Path, collected: list[Batch]) -> None:
    bus = await feed(events(1, 2))
    await run_pipeline(bus, sinks=[ledger(tmp_path)], until=1)
    async with ledger(tmp_path).open() as durable, collect(collected).open() as optional:
        pipeline = Pipeline("test", targets=[Target("ledger", durable, durable=True), Target("collect", optional)])
        async with anyio.create_task_group() as group:
            await group.start(pipeline.run, bus)
            await bus.append(0, events(3))
            with anyio.fail_after(30):
                while pipeline.position < 3 or not collected:
                    await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert [(batch.end, len(batch.events)) for batch in collected] == [(3, 1)]
    assert len(written(tmp_path / "ledger.db")) == 3


@pytest.mark.parametrize(("when_full", "kept"), [("drop_oldest", "e-99"), ("drop_newest", "e-1")])
async def test_a_slow_optional_sink_loses_records_and_slows_nobody(when_full: Any, kept: str) -> None:
    class Stuck(Stage[NoConfig]):
        async def write(self, batch: Batch) -> None:
            stuck.append(batch.events[0].id)
            await release.wait()

    stuck: list[str] = []
    release = anyio.Event()
    bus = await feed()
    async with Step("stuck", SinkSpec("stuck", NoConfig, Stuck), NoConfig()).open() as sink:
        pipeline = Pipeline("test", targets=[Target("stuck", sink, delivery=Delivery(queue=10, when_full=when_full))])
        async with anyio.create_task_group() as group:
            await group.start(pipeline.run, bus)
            for n in range(100):
                await bus.append(0, [Event(f"e-{n}", "/ci", "reading", 0.0)])
                await anyio.wait_all_tasks_blocked()
            edge = pipeline.counters.edge("test/stuck")
            assert (edge.taken, edge.dropped["full"], edge.queued) == (100, 89, 11)
            release.set()
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert len(stuck) == 11 and kept in stuck
    assert not pipeline.counters.gaps()


async def test_a_failing_optional_sink_costs_its_own_batches_only(collected: list[Batch]) -> None:
    class Broken(Stage[NoConfig]):
        async def write(self, batch: Batch) -> None:
            raise OSError("network down")

    broken = Step("broken", SinkSpec("broken", NoConfig, Broken), NoConfig())
    pipeline = await run_pipeline(await feed(events(1)), sinks=[broken, collect(collected)])
    edge = pipeline.counters.edge("test/broken")
    assert len(collected) == 1 and edge.dead == 1 and edge.last_error == "OSError: network down"


async def test_a_sink_of_another_bus_is_refused(tmp_path: Path) -> None:
    await run_pipeline(await feed(events(1, 2)), sinks=[ledger(tmp_path)])
    with pytest.raises(Conflict, match="'test' holds position 2, but the bus ends at 0"):
        await run_pipeline(Log(), sinks=[ledger(tmp_path)], begin=None, until=1)


async def test_a_sink_that_stands_before_the_journal_misses_what_lay_between_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A copy that took a database first, and the journal when it had been trimmed, is like that."""
    await run_pipeline(await feed(events(1, 2)), sinks=[ledger(tmp_path)])
    async with Log(tmp_path / "journal", begin=5) as bus:
        await bus.append(0, [Event(f"late-{n}", "/ci", "reading", 0.0) for n in range(2)])
        await run_pipeline(bus, sinks=[ledger(tmp_path)], until=7)
    assert written(tmp_path / "ledger.db") == ["e-0", "e-1", "late-0", "late-1"]
    assert await position(tmp_path) == 7
    assert (
        "the journal begins at position 5, and sink 'ledger.db' of pipeline 'test' has seen what lies before 2: it "
        "misses what lay between" in caplog.text
    )


async def test_two_sinks_on_one_file_cannot_both_move_a_position(tmp_path: Path) -> None:
    @asynccontextmanager
    async def opened() -> AsyncGenerator[Ledger]:
        async with Ledger(LedgerConfig(path=str(tmp_path / "db")), Context("one")) as sink:
            assert await sink.position("test", 0, begin=0) == 0
            yield sink

    async with opened() as one, opened() as two:
        await one.write(Batch(events(1), reader="test", end=1))
        with pytest.raises(Conflict, match="'test' in 'one' was moved by somebody else"):
            await two.write(Batch(events(1), reader="test", end=1))
    assert written(tmp_path / "db") == ["e-0"]


async def test_a_pipeline_takes_only_what_it_wants(collected: list[Batch]) -> None:
    bus = await feed([Event("1", "/ci", "build.started", 0.0), Event("2", "/ci", "other.thing", 0.0)])
    async with collect(collected).open() as sink:
        pipeline = Pipeline("test", targets=[Target("collect", sink)], wants=lambda kind: kind.startswith("build."))
        await pipeline.run(bus, begin=0, until=2)
    assert [event.id for event in collected[0].events] == ["1"]
    edge = pipeline.counters.edge("test")
    assert (edge.taken, edge.filtered, edge.out) == (2, 1, 1)


async def test_a_processor_that_raises_is_counted_and_ends_the_pipeline() -> None:
    class Broken(Stage[NoConfig]):
        async def process(self, batch: Batch) -> Batch:
            raise ZeroDivisionError

    broken = Step("broken", ProcessorSpec("broken", NoConfig, Broken), NoConfig())
    pipeline = Pipeline("test", [broken])
    with pytest.raises(ExceptionGroup):
        await pipeline.run(await feed(events(1, 2)), begin=0, until=2)
    assert pipeline.counters.edge("test/broken").dropped == {"crashed": 2}
    assert not pipeline.counters.gaps()


async def test_a_required_sink_is_asked_again_until_it_takes_the_batch(collected: list[Batch]) -> None:
    class Reluctant(Stage[NoConfig]):
        refusals = 2

        async def write(self, batch: Batch) -> None:
            if self.refusals:
                self.refusals -= 1
                raise OSError("not yet")
            collected.append(batch)

    delivery = Delivery(required=True, retry=Retry(first=Interval("1ms")))
    async with Step("reluctant", SinkSpec("reluctant", NoConfig, Reluctant), NoConfig()).open() as sink:
        pipeline = Pipeline("test", targets=[Target("reluctant", sink, delivery=delivery)])
        await pipeline.run(await feed(events(1, 2)), begin=0, until=2)
    edge = pipeline.counters.edge("test/reluctant")
    assert ([len(batch) for batch in collected], edge.out, edge.errors, edge.gap()) == ([2], 2, 2, 0)


async def test_a_pipeline_that_is_to_finish_delivers_what_it_read_and_another_goes_on_there(tmp_path: Path) -> None:
    class Slow(Stage[NoConfig]):
        async def write(self, batch: Batch) -> None:
            await turn.wait()
            heard.extend(event.id for event in batch.events)

    heard: list[str] = []
    turn, bus = anyio.Event(), await feed()
    async with (
        ledger(tmp_path).open() as durable,
        Step("slow", SinkSpec("slow", NoConfig, Slow), NoConfig()).open() as optional,
    ):
        targets = [Target("ledger", durable, durable=True), Target("slow", optional)]
        first, second = Pipeline("test", targets=targets), Pipeline("test", targets=targets)
        async with anyio.create_task_group() as group:
            await group.start(first.run, bus)
            await bus.append(0, events(1, 2))
            with anyio.fail_after(30):
                while first.position < 2:
                    await anyio.wait_all_tasks_blocked()
            first.finish()
            await bus.append(0, [Event("later", "/ci", "reading", 0.0)])
            await anyio.wait_all_tasks_blocked()
            assert (first.position, heard) == (2, [])
            turn.set()
        assert heard == ["e-0", "e-1"]
        await second.run(bus, begin=first.position, until=3)
    assert heard == ["e-0", "e-1", "later"] == written(tmp_path / "ledger.db")
    assert not first.counters.gaps() and not first.counters.edge("test/slow").dropped


async def test_what_waits_for_a_sink_when_its_pipeline_is_stopped_is_counted() -> None:
    class Stuck(Stage[NoConfig]):
        async def write(self, batch: Batch) -> None:
            await anyio.sleep_forever()

    bus = await feed()
    async with Step("stuck", SinkSpec("stuck", NoConfig, Stuck), NoConfig()).open() as sink:
        pipeline = Pipeline("test", targets=[Target("stuck", sink)])
        async with anyio.create_task_group() as group:
            await group.start(pipeline.run, bus)
            for n in range(3):
                await bus.append(0, [Event(f"e-{n}", "/ci", "reading", 0.0)])
                await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    edge = pipeline.counters.edge("test/stuck")
    assert (edge.taken, dict(edge.dropped), edge.queued) == (3, {"stopped": 3}, 0)


async def test_a_running_pipeline_takes_other_types_from_the_next_batch_on(collected: list[Batch]) -> None:
    bus = await feed()
    async with collect(collected).open() as sink:
        pipeline = Pipeline("test", targets=[Target("collect", sink)], wants=lambda kind: kind == "one")
        async with anyio.create_task_group() as group:
            await group.start(pipeline.run, bus)
            for wanted in ("one", "two"):
                pipeline.choose(wanted.__eq__)
                await bus.append(0, [Event(f"{kind}-{wanted}", "/ci", kind, 0.0) for kind in ("one", "two")])
                with anyio.fail_after(30):
                    while not any(event.id.endswith(wanted) for batch in collected for event in batch.events):
                        await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert [event.id for batch in collected for event in batch.events] == ["one-one", "two-two"]


class CostConfig(Config, frozen=True):
    """Take time."""

    burn: Annotated[float, Meta(description="Seconds of CPU.")] = 0.0
    sleep: Annotated[float, Meta(description="Seconds of nothing.")] = 0.0


class Costing(Stage[CostConfig]):
    async def process(self, batch: Batch) -> Batch:
        until = thread_time() + self.config.burn
        while thread_time() < until:
            pass
        await anyio.sleep(self.config.sleep)
        return batch


COSTING = ProcessorSpec("costing", CostConfig, Costing)


async def test_cpu_is_charged_to_who_burns_it_and_time_to_both(collected: list[Batch]) -> None:
    burning = step(COSTING, burn=0.02, context=Context("burning"))
    sleeping = step(COSTING, sleep=0.02, context=Context("sleeping"))
    pipeline = await run_pipeline(await feed(events(1)), processors=[burning, sleeping], sinks=[collect(collected)])
    counts = pipeline.counters.snapshot()
    burned, slept = counts["test/burning"], counts["test/sleeping"]
    assert burned.cpu >= 0.02 and slept.cpu < 0.005
    assert burned.seconds >= 0.02 and slept.seconds >= 0.02
    assert slept.p99 is not None and slept.p99 >= 0.019
    assert counts["test/collect"].cpu < 0.005
