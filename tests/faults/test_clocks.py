"""Wall clocks that are set forward and back, and a process that is suspended: nothing is lost, doubled or invented."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import Any

import anyio
import pytest

from bers import Event
from bers.testing.server import Server
from tests.faults.simulated import Hurried, all_read, simulating

HOUR = 3600.0
RULE = {"name": "Build Performance Degraded", "metric": "build_performance", "above": "5s", "for": "60s"}
FOR_A_MINUTE: tuple[tuple[str, ...], Any] = (("sinks", "alert-engine", "rules"), [RULE])
CHANGES: Sequence[tuple[tuple[str, ...], Any]] = [
    (("intake", "snapshot_every"), "12h"),  # The journal is the oracle: nothing of it is given up.
    (("sinks", "store", "fold_every"), "5s"),
]
TIERS = [("4m", 1.0), ("50m", 60.0), ("20h", 300.0), ("20d", 3600.0)]
"""A period that only this tier answers, and the width of its windows."""


@dataclass
class World:
    """A node, its clock, and whoever sends it events."""

    server: Server
    clock: Hurried
    sent: int = 0
    slow: bool = False
    paths: list[str] = field(default_factory=list[str])

    async def live(self, seconds: int) -> None:
        """Let so many seconds pass, with three builds that end in each."""
        node = self.server.node.supervisor
        for _ in range(seconds):
            events = [
                Event(
                    f"run-{self.sent + n}", "/ci", "build.finished", self.clock.time(), subject=f"b-{self.sent + n}",
                    outcome="success", duration_ms=9000.0 if self.slow else 100.0 + n,
                )
                for n in range(3)
            ]  # fmt: skip
            self.sent += len(events)
            await node.intake.submit(events)
            await self._pass()
        await self.rest()

    async def rest(self) -> None:
        """Let the store write down and fold what it has."""
        for _ in range(12):
            await self._pass()
            await anyio.sleep(0.02)
        await anyio.sleep(0.2)  # Readings wait for nobody, and are synced a tenth of a second later.
        await all_read(self.server)

    async def _pass(self) -> None:
        """Let a second pass; this machine takes its time for a reading, and is waited for."""
        edge = self.server.node.supervisor.counters.edge("source/host")
        read = edge.out
        await self.clock.advance(1.0)
        with anyio.fail_after(10):
            while edge.out == read:
                await anyio.sleep(0.001)
        await all_read(self.server)

    async def told(self, type: str) -> list[Event]:
        """What was told of a type; an alert says of a clock that it was set, and of a server that it stood still."""
        about = [event for event in await self.journal() if event.type == type]
        return [event for event in about if event.labels.get("rule") not in ("Clock Was Set", "Server Stood Still")]

    async def journal(self) -> list[Event]:
        bus = self.server.node.supervisor.bus
        oldest, end = await bus.span(0)
        events: list[Event] = []
        async with aclosing(bus.read(0, after=oldest, cuts=[end])) as batches:
            async for batch in batches:
                events += batch.events
                if batch.end == end:
                    return events
        raise AssertionError("the journal ended before its end")

    async def windows(self, metric: str, period: str, width: float) -> dict[int, int]:
        """How many samples the store has in each window of the period, and in the future."""
        start, until = self.clock.time() - _seconds(period), self.clock.time() + 1.2 * HOUR
        counts: dict[tuple[str, int], int] = {}
        while start < until:
            end = min(until, (start // width + 4000) * width)
            ask = f"from={round(start * 1000)}&to={round(end * 1000)}&step={width:g}s&points=5000"
            found = await self.server.data(f"metrics/{metric}?{ask}")
            assert found["widthMs"] == width * 1000, "another tier answered"
            for line in found["series"]:
                for time, count, *_ in line["points"]:
                    counts[repr(line["labels"]), time // round(width * 1000)] = count
            start = end
        whole = Counter[int]()
        for (_, number), count in counts.items():
            whole[number] += count
        return +whole

    async def agree(self, metric: str, period: str, width: float) -> None:
        """Assert that the store has what the oracle has; a reading that nobody waits for may yet be on its way."""
        found, expected = await self.windows(metric, period, width), await self.expected(metric, period, width)
        with anyio.move_on_after(5):
            while found != expected:
                await anyio.sleep(0.05)
                found, expected = await self.windows(metric, period, width), await self.expected(metric, period, width)
        assert found == expected, (metric, width)

    async def expected(self, metric: str, period: str, width: float) -> dict[int, int]:
        """The oracle: everything of the period that was acknowledged, at the time that it says itself."""
        times = [event.time for event in await self.journal() if metric in event.measures]
        first = floor((self.clock.time() - _seconds(period)) / width)
        return Counter(number for time in times if (number := floor(time / width)) >= first)


@asynccontextmanager
async def world(folder: Path, *changes: tuple[tuple[str, ...], Any]) -> AsyncGenerator[World]:
    clock = Hurried()
    async with simulating(folder, clock, [*CHANGES, *changes]) as server:
        yield World(server, clock)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_clock_that_is_wrong_for_a_while_costs_no_window_of_any_tier(step: float, tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.live(40)
        one.clock.step(step)
        await one.live(40)  # Folded and swept every five seconds by the wrong time.
        one.clock.step(-step)
        await one.live(40)
        for metric in ("build_performance", "system_memory_usage"):
            for period, width in TIERS:
                await one.agree(metric, period, width)
        readings = await one.told("system.measured")
        back, *gaps, ahead = sorted(b.time - a.time for a, b in pairwise(readings))
        assert (round(back / HOUR), round(ahead / HOUR)) == (-1, 1)
        # A second of this clock is over at once, and how much of it a reading sees that a thread takes is chance.
        assert gaps[0] >= 0 and gaps[-1] < 2 and sum(gaps) == pytest.approx(len(gaps), abs=3), "one each second"
        jumps = await one.told("clock.jumped")
        assert [(jump.data["cause"], round(jump.data["seconds"])) for jump in jumps] == [
            ("step", step),
            ("step", -step),
        ]


async def test_a_clock_that_was_set_for_good_is_believed_after_an_hour(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.live(10)
        before = one.clock.time()
        one.clock.step(HOUR)
        await one.live(10)
        assert sum((await one.windows("build_performance", "50m", 60.0)).values()) == 30, "it was an hour ago, it says"
        since, until = round((before - 60) * 1000), round(before * 1000)
        old = f"metrics/build_performance?from={since}&to={until}"
        assert (await one.server.data(old))["count"] == 30
        for _ in range(120):
            await one.clock.advance(60)
            await anyio.sleep(0.005)
        await one.live(10)
        clock = one.server.node.supervisor.clock
        assert clock.settled() == clock.time()
        records = await one.server.data("records?type=build.finished&limit=100")
        assert one.server.node.supervisor.timekeeping.jumps == {"step": 1}
        assert {record["subject"] for record in records} >= {f"b-{n}" for n in range(60, 90)}


async def test_a_clock_that_is_set_is_told_on_every_way(tmp_path: Path) -> None:
    async with world(tmp_path, (("log", "level"), "info")) as one, one.server.events("?types=clock.*") as frames:
        await one.live(2)
        one.clock.step(HOUR)
        await one.live(2)
        with anyio.fail_after(10):
            frame = await anext(frame async for frame in frames if frame.data.get("type", "").find("clock.jumped") > 0)
        now = round(one.clock.time() * 1000)
        told = frame.data["data"]["data"] if "data" in frame.data.get("data", {}) else frame.data["data"]
        assert (told["cause"], told["seconds"]) == ("step", HOUR)
        assert told["to"] - told["from"] == 3_600_000 and now - told["to"] < 60_000
        (record,) = await one.server.data("records?type=clock.jumped")
        assert record["reason"] == "the wall clock was set forward by 3600.0 s"
        lines = (tmp_path / "logs/monitoring.log").read_text().splitlines()
        warned = [line for line in lines if "set forward by 3600.0 s" in line and '"WARNING"' in line.upper()]
        assert len(warned) == 1

        check = await one.server.until("health", lambda data: _check(data)["status"] == "degraded")
        assert _check(check)["message"] == "the wall clock was set forward by 3600.0 s"
        details = _check(check)["details"]["clock"]
        assert details["jumps"] == {"step": 1} and details["forgettingBehindSeconds"] == HOUR
        page = (await one.server.get("/metrics")).text
        lines = page.splitlines()
        assert 'bers_clock_jumps_total{cause="step"} 1' in lines and "bers_availability_ratio 1" in lines

        await one.clock.advance(300)
        await one.rest()
        check = await one.server.until("health", lambda data: _check(data)["status"] == "healthy")
        assert _check(check)["details"]["clock"]["jumps"] == {"step": 1}, "it is remembered, and no trouble any more"


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_no_alert_fires_or_ends_because_the_clock_was_set(step: float, tmp_path: Path) -> None:
    async with world(tmp_path, FOR_A_MINUTE) as one:
        one.slow = True
        await one.live(20)
        one.clock.step(step)
        await one.live(10)  # And a little rest: 54 s in all.
        assert await one.told("alert.firing") == [], "an hour on the wall is no minute"
        one.clock.step(-step)
        await one.live(8)
        (fired,) = await one.told("alert.firing")
        first = next(event for event in await one.journal() if event.type == "build.finished")
        assert 60 <= fired.received - first.received < 75, "and no later than without"
        one.clock.step(step)
        await one.live(5)
        assert len(await one.told("alert.firing")) == 1 and await one.told("alert.resolved") == []
        one.slow = False
        await one.live(1)
        assert len(await one.told("alert.resolved")) == 1


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_stage_that_is_started_anew_after_a_step_goes_on_at_its_time(step: float, tmp_path: Path) -> None:
    async with world(tmp_path, FOR_A_MINUTE) as one:
        one.slow = True
        await one.live(15)
        one.clock.step(step)
        await one.server.post("stages/alert-engine/restart")
        await one.live(10)
        assert await one.told("alert.firing") == []
        await one.live(20)
        assert len(await one.told("alert.firing")) == 1


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_step_is_no_gap_and_no_time_that_counts_twice(step: float, tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.live(30)
        one.clock.step(step)
        await one.live(30)
        one.clock.step(-step)
        await one.live(30)
        found = await one.server.data("availability")
        assert (found["percent"], found["gapCount"], found["spentMinutes"]) == (100.0, 0, 0.0)
        assert found["window"] == pytest.approx(one.server.node.supervisor.uptime * 1000, abs=2000)


async def test_a_process_that_was_suspended_was_away_and_misses_no_window(tmp_path: Path) -> None:
    async with world(tmp_path, FOR_A_MINUTE) as one:
        await one.live(30)
        one.clock.suspend(600)
        await one.live(30)
        for metric in ("build_performance", "system_memory_usage"):
            for period, width in TIERS:
                await one.agree(metric, period, width)
        (jump,) = await one.told("clock.jumped")
        assert jump.data["cause"] == "stop" and jump.data["seconds"] == pytest.approx(600, abs=2)
        assert jump.data["to"] - jump.data["from"] == pytest.approx(600_000, abs=2000)
        found = await one.server.data("availability?window=1d")
        (gap,) = found["gaps"]
        assert gap["duration"] == pytest.approx(600_000, abs=2000)
        assert gap["to"] - gap["from"] == pytest.approx(600_000, abs=2000)
        assert found["spentMinutes"] == pytest.approx(10, abs=0.1)
        assert await one.told("alert.firing") == []
        statuses = {check["name"]: check["status"] for check in (await one.server.data("health"))["checks"]}
        assert statuses["metrics-collector"] == "healthy", "being suspended is no fault that somebody has to mend"


async def test_a_session_and_the_rate_of_a_client_outlive_a_step(tmp_path: Path) -> None:
    async with world(tmp_path, (("access", "rate"), {"per_second": 1, "burst": 50})) as one:
        for step in (HOUR, -HOUR):
            one.clock.step(step)
            statuses = [(await one.server.get("health")).status_code for _ in range(5)]
            assert statuses == [200] * 5, "nobody was given more, or less"


def _check(health: Any) -> Any:
    return next(check for check in health["checks"] if check["name"] == "metrics-collector")


def _seconds(period: str) -> float:
    return float(period[:-1]) * {"m": 60, "h": HOUR, "d": 24 * HOUR}[period[-1]]
