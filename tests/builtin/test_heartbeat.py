"""The dead man's heartbeat: somebody is called while the whole way of an alert works, and for no longer."""

import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from bers import Batch, Config, ConfigError, Context, Event, ProcessorSpec, Stage
from bers.testing import VirtualClock, check_spec, step
from bers.testing.endpoint import Endpoint
from bers.testing.server import Server, serving
from bers_builtin.sinks.alert_engine.engine import AlertEngine
from bers_builtin.sinks.heartbeat import HEARTBEAT, HeartbeatSink


class Watchman(Endpoint):
    """Who is called."""

    @property
    def calls(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.requests]

    async def next(self, seconds: float = 30.0) -> None:
        """Wait for a call after this moment."""
        self.news = anyio.Event()
        with anyio.fail_after(seconds):
            await self.news.wait()

    async def is_left_alone(self, seconds: float) -> bool:
        """Whether nobody calls for so long, once the one that was due already has come."""
        await anyio.sleep(1.5)
        before = len(self.calls)
        await anyio.sleep(seconds)
        return len(self.calls) == before


def watchman(*answers: str) -> AbstractAsyncContextManager[Watchman]:
    return Watchman("/ping/5e0a7b1c9d3f", "200 OK", list(answers)).serving(60)


@asynccontextmanager
async def sink(there: Watchman, **options: Any) -> AsyncGenerator[HeartbeatSink]:
    async with step(HEARTBEAT, url=there.url, allow_internal=True, **options).open() as stage:
        assert isinstance(stage, HeartbeatSink)
        yield stage


def beat(time: float, number: int = 1) -> Event:
    return Event(f"b-{number}", "bers:alert-engine", "watchdog.beat", time, subject="alert-engine")


async def write(stage: HeartbeatSink, *events: Event) -> None:
    await stage.write(Batch(list(events), reader="notify", end=len(events)))


def beating(there: Watchman) -> Sequence[tuple[tuple[str, ...], Any]]:
    return [
        (("sinks", "alert-engine", "heartbeat"), "200ms"),
        (("sinks", "heartbeat"), {"url": there.url, "allow_internal": True}),
    ]


class NoOptions(Config, frozen=True):
    """Nothing to configure."""


class Gate:
    """What lets batches pass, or not."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.open.set()

    def shut(self) -> None:
        self.open = anyio.Event()


class GateKeeper(Stage[NoOptions]):
    def __init__(self, config: NoOptions, context: Context, gate: Gate) -> None:
        super().__init__(config, context)
        self._gate = gate

    async def process(self, batch: Batch) -> Batch:
        await self._gate.open.wait()
        return batch


# The sink


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(HEARTBEAT)


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_each_beat_is_a_call_and_nothing_else_is(method: str) -> None:
    async with watchman() as there, sink(there, method=method) as stage:
        now = stage.context.clock.time()
        await write(stage, Event("t-1", "bers:alert-engine", "alert.firing", now))
        await write(stage, beat(now))
        await there.next()
        assert there.calls == [f"{method} /ping/5e0a7b1c9d3f"]
        assert (await stage.check()).status == "healthy"


async def test_a_stale_beat_calls_nobody() -> None:
    async with watchman() as there, sink(there, max_age="5s") as stage:
        await write(stage, beat(stage.context.clock.time() - 6))
        assert await there.is_left_alone(0.2) and there.calls == []


async def test_how_long_the_engine_is_silent_is_not_how_long_nobody_could_be_called(clock: VirtualClock) -> None:
    options = {"url": "http://127.0.0.1:9/", "allow_internal": True}
    async with step(HEARTBEAT, context=Context("heartbeat", clock=clock), **options).open() as stage:
        await clock.advance(600)
        await write(stage, beat(0.0))  # So old that nobody is called for it.
        assert (await stage.check()).message == "no call has succeeded for 10m: there was none"
        await clock.advance(240)
        assert (await stage.check()).message == "the alert engine has told no heartbeat for 4m"


async def test_who_does_not_answer_is_called_again_until_the_next_beat() -> None:
    async with watchman("503 Busy") as there, sink(there) as stage:
        await write(stage, beat(stage.context.clock.time()))
        await there.next()
        await there.next()
        assert len(there.calls) == 2


async def test_only_the_newest_beat_of_a_batch_is_told() -> None:
    async with watchman() as there, sink(there) as stage:
        now = stage.context.clock.time()
        await write(stage, beat(now, 1), beat(now, 2), beat(now, 3))
        await there.next()
        assert await there.is_left_alone(0.2) and len(there.calls) == 1


async def test_what_keeps_failing_shows_in_the_health_without_the_url() -> None:
    async with watchman(*["404 Not Found"] * 9) as there, sink(there, patience="100ms") as stage:
        await write(stage, beat(stage.context.clock.time()))
        await there.next()
        await anyio.sleep(0.2)
        await write(stage)
        found = await stage.check()
        assert found.status == "degraded" and "5e0a7b1c9d3f" not in repr(found)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:80/ping", "127.0.0.1 is an internal address; set allow_internal: true if that is meant"),
        ("http://169.254.169.254/latest", "169.254.169.254 is an address where machines keep their credentials"),
        ("hc-ping.com/abc", "the URL is not absolute"),
        ("http://hc-ping.com/abc", "http can be read on the way"),
    ],
)
async def test_a_url_that_must_not_be_called_is_refused_at_the_start(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        async with step(HEARTBEAT, url=url).open():
            pass


async def test_our_own_address_is_refused() -> None:
    context = Context("heartbeat", own_addresses=[("127.0.0.1", 3003)])
    with pytest.raises(ConfigError, match="this monitoring itself"):
        async with step(HEARTBEAT, context=context, url="http://127.0.0.1:3003/x", allow_internal=True).open():
            pass


# The whole way: rules, state.db, bus, notify, HTTP


async def test_calls_come_at_the_interval_while_all_is_well(tmp_path: Path) -> None:
    async with watchman() as there, serving(tmp_path, changes=beating(there)) as server:
        for _ in range(4):
            await there.next()
        pulse = await server.data("alerts/heartbeat")
        assert (pulse["every"], pulse["missed"], pulse["fault"]) == (200, 0, "") and pulse["at"]
        assert (await server.data("alerts")) == []


async def test_a_beat_is_no_alert_and_fires_nothing(tmp_path: Path) -> None:
    async with watchman() as there, serving(tmp_path, changes=beating(there)) as server:
        await there.next()
        assert await server.data("alerts/history") == []


def engine(server: Server) -> AlertEngine:
    found = server.node.supervisor.running("alert-engine")
    assert isinstance(found, AlertEngine)
    return found


async def test_an_engine_that_evaluates_nothing_calls_nobody(tmp_path: Path) -> None:
    async with watchman() as there, serving(tmp_path, changes=beating(there)) as server:
        await there.next()
        async with engine(server).books.turn:  # As if it wrote, or judged, for ever.
            assert await there.is_left_alone(1.0)
        await there.next()


async def test_a_state_that_cannot_be_written_calls_nobody(tmp_path: Path) -> None:
    async with watchman() as there, serving(tmp_path, changes=beating(there)) as server:
        await there.next()
        state, held, block = server.node.supervisor.state, anyio.Event(), threading.Event()
        async with anyio.create_task_group() as group:

            async def hold() -> None:
                held.set()
                await state.run(lambda _: block.wait(20))

            group.start_soon(hold)
            await held.wait()
            try:
                assert await there.is_left_alone(1.5)
            finally:
                block.set()
        await there.next()


async def test_a_bus_that_takes_nothing_calls_nobody(tmp_path: Path) -> None:
    async with watchman() as there, serving(tmp_path, changes=beating(there)) as server:
        await there.next()
        async with server.node.supervisor.intake.between():
            assert await there.is_left_alone(1.0)
        await there.next()


async def test_rules_whose_pipeline_stands_still_call_nobody(tmp_path: Path) -> None:
    gate = Gate()
    spec = ProcessorSpec("gate", NoOptions, lambda config, context: GateKeeper(config, context, gate))
    apart: list[tuple[tuple[str, ...], Any]] = [
        (("processors", "gate"), {}),
        (("pipelines", "alerts", "processors"), ["gate"]),
    ]
    async with (
        watchman() as there,
        serving(tmp_path, changes=[*beating(there), *apart], specs=[("processor", spec)]) as server,
    ):
        await there.next()
        gate.shut()
        assert await there.is_left_alone(3.0)
        pulse = await server.until("alerts/heartbeat", lambda data: data["missed"])
        assert pulse["missed"] == 1 and "'alerts' has read nothing" in pulse["fault"]
        gate.open.set()
        await there.next()
        assert (await server.data("alerts/heartbeat"))["fault"] == ""


async def test_without_a_way_from_the_engine_nobody_is_called(tmp_path: Path) -> None:
    apart = [(("pipelines", "notify", "sinks"), ["webhooks"]), (("pipelines", "live", "sinks"), ["sse", "dashboard"])]
    async with watchman() as there:
        changes = [*beating(there), *apart, (("pipelines", "away"), {"sources": ["host"], "sinks": ["heartbeat"]})]
        async with serving(tmp_path, changes=changes):
            assert await there.is_left_alone(1.0) and there.calls == []


async def test_no_interval_is_no_heartbeat(tmp_path: Path) -> None:
    async with watchman() as there:
        changes = [*beating(there), (("sinks", "alert-engine", "heartbeat"), "0s")]
        async with serving(tmp_path, changes=changes) as server:
            assert await there.is_left_alone(1.0) and there.calls == []
            assert (await server.data("alerts/heartbeat"))["every"] == 0
