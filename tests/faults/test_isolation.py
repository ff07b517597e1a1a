"""A stage that fails, hangs, leaks, blocks or answers nonsense harms nobody but itself, and the truth is told of it."""

import asyncio
import os
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Self, cast

import anyio
import pytest

from bers import Batch, Config, DurableSpec, Emit, Event, ProcessorSpec, SinkSpec, SourceSpec, Stage, Table
from bers.plugins import Kind
from bers.stages import AnySpec
from bers.testing.server import Server, serving
from tests.integration.processes import at_leisure
from tests.unit.ledger import Ledger, LedgerConfig, written

LONG = bool(os.environ.get("BERS_TEST_LONG"))
RATE = 5_000
SECONDS = 10.0 if LONG else 1.2
"""How long each fault lasts under load."""
TRUTH = at_leisure(5.0)
"""Seconds within which status and health say what is so."""
HANGING = at_leisure(2.0)
"""Seconds more in which what hangs yet when a fault is over is found, by `write_within` and the next round."""


class NoConfig(Config, frozen=True):
    """Nothing to configure."""


@dataclass
class World:
    """What is to go wrong, and what the stages that work have got."""

    fault: str = ""
    place: str = ""
    heard: Counter[str] = field(default_factory=Counter[str])
    opened: Counter[str] = field(default_factory=Counter[str])

    def strikes(self, place: str) -> str:
        return self.fault if self.place == place else ""

    async def strike(self, place: str) -> Any:
        """Do what goes wrong at that place; return what is to be returned instead of an answer."""
        match self.strikes(place):
            case "raise":
                raise RuntimeError("it is broken")
            case "hang":
                await anyio.sleep_forever()
            case "leak":
                while self.strikes(place) == "leak":
                    with suppress(BaseException):
                        await anyio.sleep(0.02)
            case "cancel":
                raise asyncio.CancelledError
            case "exit":
                raise SystemExit(3)
            case "interrupt":
                raise KeyboardInterrupt
            case "generator exit":
                raise GeneratorExit
            case "group":
                raise BaseExceptionGroup("both", [KeyboardInterrupt(), RuntimeError("one")])
            case "block":
                self.fault = ""
                time.sleep(2)  # noqa: ASYNC251
            case _:
                pass


class Shaky(Stage[Any]):
    world: World

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        await self.world.strike("open")
        self.world.opened[self.context.stage_id] += 1
        yield self
        await self.world.strike("close")


class Good(Stage[Any]):
    world: World

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        self.world.opened[self.context.stage_id] += 1
        yield self


class Reading(Good):
    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        return [event]


class ShakyReading(Shaky):
    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        match self.world.strikes("receive"):
            case "raise":
                raise RuntimeError("it is broken")
            case "nonsense":
                return cast("Sequence[Event]", "events")
            case "block":
                self.world.fault = ""
                time.sleep(2)
            case _:
                pass
        return [event]


class ShakySource(Shaky):
    async def run(self, emit: Emit) -> None:
        while True:
            await self.world.strike("run")
            if self.world.strikes("run") == "nonsense":
                nonsense: Any = ["not an event"]
                await emit(nonsense)
            await emit([self.context.event("shaky.ticked")])
            await anyio.sleep(0.05)


class ShakyProcessor(Shaky):
    async def process(self, batch: Batch) -> Batch:
        await self.world.strike("process")
        match self.world.strikes("process"):
            case "none":
                return cast("Batch", None)
            case "another end":
                return replace(batch, end=batch.end + 1)
            case "no events":
                return replace(batch, events=cast("Any", ["one"]))
            case _:
                return batch


class ShakySink(Shaky):
    async def write(self, batch: Batch) -> Any:
        await self.world.strike("write")
        self.world.heard[self.context.stage_id] += len(batch.events)
        return 7 if self.world.strikes("write") == "nonsense" else None


class ShakyLedger(Ledger):
    world: World

    async def write(self, batch: Batch) -> None:
        await self.world.strike("write")
        await super().write(batch)


class Hearing(Good):
    async def write(self, batch: Batch) -> None:
        self.world.heard[self.context.stage_id] += len(batch.events)


def specs(world: World) -> list[tuple[Kind, AnySpec]]:
    def of(stage: type[Any]) -> Any:
        return type(stage.__name__, (stage,), {"world": world})

    return [
        ("source", SourceSpec("good-reading", NoConfig, of(Reading), claims=("load.*",))),
        ("source", SourceSpec("shaky-reading", NoConfig, of(ShakyReading), claims=("shaky-load.*",))),
        ("source", SourceSpec("shaky-source", NoConfig, of(ShakySource), claims=("shaky.*",))),
        ("processor", ProcessorSpec("shaky-processor", NoConfig, of(ShakyProcessor))),
        ("sink", SinkSpec("shaky-sink", NoConfig, of(ShakySink))),
        ("sink", SinkSpec("hearing", NoConfig, of(Hearing))),
        ("sink", DurableSpec("ledger", LedgerConfig, Ledger)),
        ("sink", DurableSpec("shaky-ledger", LedgerConfig, of(ShakyLedger))),
    ]


# Those that are well keep to these times too, on a disk that others have to sync to.
HASTY = """
version: 1
environment: production
supervision:
  restarts: {restarts}
  within: 60s
  release_after: {release:g}s
  open_within: {patience:g}s
  process_within: {patience:g}s
  write_within: {patience:g}s
  close_within: 500ms
"""

SOURCES = """
sources: {reading: {use: good-reading}, shaky: {use: shaky-source}, shaky-read: {use: shaky-reading}}
sinks: {book: {use: ledger, path: FOLDER/book.db, delivery: {required: true}}, plain: {use: hearing}}
pipelines:
  keep: {sources: [reading, shaky, shaky-read, unmapped], sinks: [book]}
  hear: {sources: [reading], sinks: [plain]}
"""

PROCESSOR = """
sources: {reading: {use: good-reading}}
processors: {shaky: {use: shaky-processor}}
sinks:
  book: {use: ledger, path: FOLDER/book.db, delivery: {required: true}}
  plain: {use: hearing}
  beside: {use: hearing}
pipelines:
  keep: {sources: [reading], sinks: [book]}
  hear: {sources: [reading], sinks: [plain]}
  shake: {sources: [reading], processors: [shaky], sinks: [beside]}
"""

SINK = """
sources: {reading: {use: good-reading}}
sinks:
  book: {use: ledger, path: FOLDER/book.db, delivery: {required: true}}
  plain: {use: hearing}
  shaky: {use: shaky-sink, delivery: {queue: 2000, retry: {longest: 500ms}}}
pipelines:
  keep: {sources: [reading], sinks: [book]}
  hear: {sources: [reading], sinks: [shaky, plain]}
"""

REQUIRED = """
sources: {reading: {use: good-reading}}
sinks:
  book: {use: ledger, path: FOLDER/book.db}
  plain: {use: hearing}
  beside: {use: ledger, path: FOLDER/beside.db}
  shaky: {use: shaky-ledger, path: FOLDER/shaky.db, delivery: {required: true, retry: {longest: 500ms}}}
pipelines:
  keep: {sources: [reading], sinks: [book]}
  hear: {sources: [reading], sinks: [plain]}
  shake: {sources: [reading], sinks: [beside, shaky]}
"""


@asynccontextmanager
async def node(
    folder: Path, world: World, text: str, *, restarts: int = 1000, release: float = 60.0
) -> AsyncGenerator[Server]:
    head = HASTY.format(restarts=restarts, release=release, patience=at_leisure(1.0))
    async with serving(folder, head + text.replace("FOLDER", str(folder)), specs=specs(world)) as server:
        try:
            yield server
        finally:
            world.fault = ""  # What leaks, leaks no longer: the process has to end.


class Load:
    """Hands in so many events a second, and knows which were accepted."""

    def __init__(self, server: Server, type: str = "load.put") -> None:
        self._server = server
        self._type = type
        self.accepted = 0
        self.over = False
        """Set to end it sooner."""

    async def run(self, seconds: float) -> None:
        began, size, name = time.monotonic(), 100, os.urandom(4).hex()
        for n in range(int(RATE * seconds / size)):
            await anyio.sleep(max(0.0, began + n * size / RATE - time.monotonic()))
            if self.over:
                return
            batch = [Event(f"{name}-{n}-{k}", "/ci", self._type, time.time()) for k in range(size)]
            receipt = await self._server.node.supervisor.intake.submit(batch)
            self.accepted += receipt.new


async def truth(server: Server, states: set[str], key: str = "shaky", within: float = TRUTH) -> dict[str, Any]:
    """Wait until status says that a stage is in one of these states, and health says what follows from it."""

    def good(report: Any) -> bool:
        (stage,) = [one for one in report["stages"] if one["key"] == key]
        return stage["state"] in states

    report = await server.until("dashboard/status", good, seconds=within)
    (stage,) = [one for one in report["stages"] if one["key"] == key]
    return dict(stage)


async def healthy(server: Server, *statuses: str, quarantined: Sequence[str] = ()) -> dict[str, Any]:
    """Wait until the check of the collection finds one of these, and these in quarantine; what it finds."""
    found: dict[str, Any] = {}
    with anyio.move_on_after(TRUTH):
        while True:
            found = (await server.get("health/metrics-collector")).json()["data"]
            if found["status"] in statuses and set(quarantined) <= set(found["details"]["quarantined"]):
                return found
            await anyio.sleep(0.05)
    raise AssertionError(f"after {TRUTH} s health still says {found}")


async def delivered(good: Callable[[], bool], seconds: float = 30.0) -> None:
    with anyio.fail_after(seconds):
        while not good():
            await anyio.sleep(0.01)


UNHARMED = {"book": 0, "plain": 0, "reading": 0}


async def restarts(server: Server) -> dict[str, int]:
    """How often each of the others was started anew; every one of them has to be well."""
    return {key: (await truth(server, {"ok"}, key))["restarts"] for key in UNHARMED}


async def suffer(
    server: Server, world: World, folder: Path, place: str, fault: str, *, required: bool = False, restart: bool = False
) -> dict[str, Any]:
    """Let something go wrong under load; assert what everybody is told, and that siblings have got everything."""
    await healthy(server, "healthy")
    load = Load(server)
    stage: dict[str, Any] = {}
    well: dict[str, Any] = {}
    async with anyio.create_task_group() as group:
        world.place, world.fault = place, fault
        if place in ("open", "close"):
            server.node.supervisor.restart("shaky")
        group.start_soon(load.run, SECONDS)
        stage = await truth(server, {"degraded", "failing", "quarantined"} if place != "open" else NOT_WELL)
        await healthy(server, "unhealthy" if required else "degraded")
        assert (await server.get("/readyz")).status_code == (503 if required else 200)
        exposed = (await server.get("/metrics")).text
        assert 'state="quarantined"' in exposed
    await delivered(lambda: world.heard["plain"] >= load.accepted)
    await delivered(lambda: len(written(folder / "book.db")) >= load.accepted)
    assert world.heard["plain"] == load.accepted == int(RATE * SECONDS)
    assert not server.node.supervisor.counters.gaps()
    assert await restarts(server) == UNHARMED
    if restart:
        await truth(server, {"quarantined"})
    world.fault = ""
    if restart:
        reply = await server.post("stages/shaky/restart")
        assert reply.status_code == 200, reply.text
    async with anyio.create_task_group() as group:
        group.start_soon(load.run, 1.0)
        well = await truth(server, {"ok"}, within=TRUTH + HANGING)
        await healthy(server, "healthy")
        assert (await server.get("/readyz")).status_code == 200
    assert well["error"], "what it failed of last is still known"
    assert not server.node.supervisor.counters.gaps()
    return stage


NOT_WELL = {"starting", "degraded", "failing", "quarantined"}
EVIL = ["raise", "hang", "leak", "cancel", "exit", "interrupt", "generator exit", "group"]


def some(faults: Sequence[Any], *always: Any) -> list[Any]:
    """All of these faults in the long run, else those that are always tried."""
    return list(faults if LONG else always)


@pytest.mark.parametrize(
    ("place", "fault"),
    some(
        [*(("run", fault) for fault in ("raise", "cancel", "exit", "group", "nonsense")),
         *(("open", fault) for fault in ("raise", "hang", "exit"))],
        ("run", "raise"), ("open", "hang"),
    ),
)  # fmt: skip
async def test_a_source_that_fails_harms_nobody(place: str, fault: str, tmp_path: Path) -> None:
    world = World()
    async with node(tmp_path, world, SOURCES) as server:
        await suffer(server, world, tmp_path, place, fault)
        assert await restarts(server) == UNHARMED


@pytest.mark.parametrize("fault", some(EVIL, "hang", "leak", "interrupt"))
async def test_a_processor_that_fails_harms_nobody(fault: str, tmp_path: Path) -> None:
    world = World()
    async with node(tmp_path, world, PROCESSOR) as server:
        await suffer(server, world, tmp_path, "process", fault, restart=fault == "leak")
        assert await restarts(server) == UNHARMED


@pytest.mark.parametrize("fault", some(["none", "another end", "no events"], "none"))
async def test_a_processor_that_returns_nonsense_is_told_what_to_return(fault: str, tmp_path: Path) -> None:
    world = World()
    async with node(tmp_path, world, PROCESSOR) as server:
        stage = await suffer(server, world, tmp_path, "process", fault)
    assert "shake/shaky: process returned a" in stage["error"].replace("NoneType", "a NoneType")
    assert "; return " in stage["error"]


@pytest.mark.parametrize(
    ("place", "fault"),
    some(
        [*(("write", fault) for fault in (*EVIL, "nonsense")), ("open", "raise"), ("open", "hang")],
        ("write", "hang"), ("write", "leak"), ("open", "raise"),
    ),
)  # fmt: skip
async def test_an_optional_sink_that_fails_harms_not_even_those_beside_it(
    place: str, fault: str, tmp_path: Path
) -> None:
    world = World()
    async with node(tmp_path, world, SINK) as server:
        await suffer(server, world, tmp_path, place, fault, restart=fault == "leak")
        assert await restarts(server) == UNHARMED


@pytest.mark.parametrize("fault", some(["raise", "hang", "leak", "exit"], "raise"))
async def test_a_required_sink_that_fails_holds_its_pipeline_up_and_nothing_else(fault: str, tmp_path: Path) -> None:
    world = World()
    async with node(tmp_path, world, REQUIRED) as server:
        await suffer(server, world, tmp_path, "write", fault, required=True, restart=fault == "leak")
        accepted = server.node.supervisor.counters.edge("source/reading").out
        for name in ("book", "beside", "shaky"):
            await delivered(partial(_all_there, tmp_path / f"{name}.db", accepted))
        assert (await truth(server, {"ok"}, "beside"))["restarts"] == 0
    assert written(tmp_path / "shaky.db") == written(tmp_path / "beside.db") == written(tmp_path / "book.db")


@pytest.mark.parametrize("fault", some(["raise", "nonsense"], "raise"))
async def test_a_source_that_cannot_read_costs_its_own_figures_alone(fault: str, tmp_path: Path) -> None:
    world = World(fault, "receive")
    async with node(tmp_path, world, SOURCES) as server:
        load, shaky = Load(server), Load(server, "shaky-load.put")
        async with anyio.create_task_group() as group:
            group.start_soon(load.run, SECONDS)
            group.start_soon(shaky.run, SECONDS)
            await truth(server, {"failing", "degraded"}, "shaky-read")
            await healthy(server, "degraded")
        await delivered(lambda: world.heard["plain"] == load.accepted)
        world.fault = ""
        async with anyio.create_task_group() as group:
            group.start_soon(shaky.run, 1.0)
            await truth(server, {"ok"}, "shaky-read")
            await healthy(server, "healthy")
        await delivered(lambda: len(written(tmp_path / "book.db")) >= load.accepted + shaky.accepted)
        assert world.heard["plain"] == load.accepted
        assert await restarts(server) == UNHARMED


async def test_a_stage_that_keeps_failing_is_quarantined_and_comes_back_by_itself(tmp_path: Path) -> None:
    world = World()
    async with node(tmp_path, world, PROCESSOR, restarts=2, release=at_leisure(1.0)) as server:
        load = Load(server)
        world.place, world.fault = "process", "raise"
        async with anyio.create_task_group() as group:
            group.start_soon(load.run, 60.0)
            stage = await truth(server, {"quarantined"})
            assert (stage["restarts"], stage["restartsLeft"]) == (3, 0)
            assert stage["reason"] == "it failed more than 2 times"
            found = await healthy(server, "degraded", quarantined=["shake/shaky"])
            assert "bers stages restart" in found["remediation"]
            world.fault = ""
            await truth(server, {"ok"})
            load.over = True
        await delivered(lambda: world.heard["plain"] == load.accepted)
        edge = server.node.supervisor.counters.edge("shake")
        assert edge.dropped["quarantined"] > 0
        await delivered(lambda: edge.taken == server.node.supervisor.counters.edge("intake").out)
        crashed = server.node.supervisor.counters.edge("shake/shaky").dropped["crashed"]
        await delivered(lambda: world.heard["beside"] == edge.out - crashed)


async def test_a_stage_in_quarantine_is_let_out_by_an_operator(tmp_path: Path) -> None:
    world = World("raise", "run")
    async with node(tmp_path, world, SOURCES, restarts=0) as server:
        await truth(server, {"quarantined"})
        world.fault = ""
        done = await anyio.run_process(
            [sys.executable, "-m", "bers", "stages", "restart", "shaky", "--url", server.url("/")[:-1]]
        )
        assert done.stdout.decode() == "starting anew: shaky\n"
        await truth(server, {"ok"})
        assert (await server.post("stages/unknown/restart")).status_code == 404


@pytest.mark.parametrize(
    ("text", "place", "name"),
    some(
        [(SOURCES, "run", "shaky"), (PROCESSOR, "process", "shake/shaky"), (SOURCES, "receive", "shaky-read"),
         (SINK, "write", "shaky"), (REQUIRED, "write", "shaky"), (SOURCES, "open", "shaky")],
        (PROCESSOR, "process", "shake/shaky"), (SOURCES, "receive", "shaky-read"),
    ),
)  # fmt: skip
async def test_who_blocks_the_loop_is_named_with_its_stack(
    text: str, place: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    async with node(tmp_path, world, text) as server:
        load = Load(server, "shaky-load.put" if place == "receive" else "load.put")
        async with anyio.create_task_group() as group:
            group.start_soon(load.run, 60.0)
            await anyio.sleep(0.3)
            await blamed(server, world, place, name, 1)
            load.over = True
        said = re.search(rf"the event loop was blocked for (\d\.\d) s by stage '{name}'", caplog.text)
        # What the watchdog itself was kept from seeing is not counted.
        assert said and 0.5 <= float(said[1]) < 2.0 + at_leisure(1.0), caplog.text
        assert "time.sleep(2)" in caplog.text
        if place != "receive":
            await delivered(lambda: world.heard["plain"] == load.accepted, at_leisure(1.0))
        exposed = (await server.get("/metrics")).text
        assert f'bers_loop_blocked_total{{stage="{name}"}} 1' in exposed


async def test_who_blocks_the_loop_three_times_is_kept_from_it(tmp_path: Path) -> None:
    world = World()
    async with node(tmp_path, world, SINK) as server:
        load = Load(server)
        async with anyio.create_task_group() as group:
            group.start_soon(load.run, 120.0)
            for n in range(3):
                await blamed(server, world, "write", "shaky", n + 1)
            stage = await truth(server, {"quarantined"})
            assert "blocked the event loop" in stage["reason"]
            world.fault = "block"
            await healthy(server, "degraded")
            load.over = True
        await delivered(lambda: world.heard["plain"] == load.accepted, at_leisure(1.0))
        assert world.fault == "block", "it was not called again"
        world.fault = ""
        await server.post("stages/shaky/restart")
        await truth(server, {"ok"})


def _all_there(path: Path, count: int) -> bool:
    return len(written(path)) == count


async def blamed(server: Server, world: World, place: str, name: str, times: int) -> None:
    """Let it block the loop, and wait until it is blamed so often.

    It blocks again where it was not: nobody is where the machine lets others run before the loop is alive again.
    """
    supervisor = server.node.supervisor
    for _ in range(3):
        world.place, world.fault = place, "block"
        if place == "open":
            supervisor.restart(name)
        await delivered(lambda: not world.fault)
        with anyio.move_on_after(at_leisure(1.0)):
            while supervisor.blame.blocks[name] < times:
                await anyio.sleep(0.01)
            break
    assert supervisor.blame.blocks[name] == times


async def test_changes_are_told_on_the_stream(tmp_path: Path) -> None:
    world = World()
    text = SOURCES.replace("plain: {use: hearing}}", "plain: {use: hearing}, sse: {}}")
    text += "  live: {sources: [unmapped], sinks: [sse]}\n"
    async with node(tmp_path, world, text) as server, server.events("?types=stage.*") as frames:
        world.place, world.fault = "run", "raise"
        told: list[tuple[str, str]] = []
        with anyio.fail_after(TRUTH):
            async for frame in frames:
                if frame.data["type"] == "io.bers.stage.changed.v1":
                    data = frame.data["data"]["data"]
                    told.append((data["before"], data["state"]))
                    if len(told) == 1:
                        assert data["error"] == "RuntimeError: it is broken"
                        world.fault = ""
                    if data["state"] == "ok":
                        break
        # It is tried again at once, and fails again until we have heard of it.
        assert told[0] == ("ok", "failing") and told[-2:] == [("failing", "degraded"), ("degraded", "ok")]
        assert all(was == before for (_, was), (before, _) in pairwise(told))
