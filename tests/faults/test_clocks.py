"""Wall clocks that are set forward and back, and a process that is suspended: nothing is lost, doubled or invented."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from math import floor
from pathlib import Path
from typing import Any

import anyio
import pytest

from bers import Event
from bers.testing.server import Server
from tests.faults.simulated import Hurried, all_read, simulating

HOUR = 3600.0
RULE = {
    "id": "slow",
    "name": "Slow builds",
    "metric": "build_performance",
    "above": "5s",
    "for": "60s",
    "severity": "error",
    "window": None,
}
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
            await self.clock.advance(1.0)
            await all_read(self.server)
        await self.rest()

    async def rest(self) -> None:
        """Let the store write down and fold what it has."""
        for _ in range(12):
            await self.clock.advance(1.0)
            await all_read(self.server)
            await anyio.sleep(0.02)

    async def told(self, type: str) -> list[Event]:
        return [event for event in await self.journal() if event.type == type]

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
        counts = Counter[int]()
        while start < until:
            end = min(until, (start // width + 4000) * width)
            ask = f"from={round(start * 1000)}&to={round(end * 1000)}&step={width:g}s&points=5000"
            found = await self.server.data(f"metrics/{metric}?{ask}")
            assert found["widthMs"] == width * 1000, "another tier answered"
            for line in found["series"]:
                for time, count, *_ in line["points"]:
                    counts[time // round(width * 1000)] = count
            start = end
        return +counts

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
                assert await one.windows(metric, period, width) == await one.expected(metric, period, width), width
        readings = await one.told("system.measured")
        gaps = [b.time - a.time for a, b in zip(readings, readings[1:], strict=False)]
        assert sorted(round(gap) for gap in gaps)[1:-1] == [1] * (len(gaps) - 2), "a reading each second, whatever"
        jumps = await one.told("clock.jumped")
        assert [(jump.data["cause"], round(jump.data["seconds"])) for jump in jumps] == [("step", step), ("step", -step)]


def _seconds(period: str) -> float:
    return float(period[:-1]) * {"m": 60, "h": HOUR, "d": 24 * HOUR}[period[-1]]
