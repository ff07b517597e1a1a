"""The runbook's rules to the millisecond, through a whole node, on a clock that is told when to go on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from bers import Event, Outcome
from bers.testing.server import Server
from tests.faults.simulated import Hurried, all_read, simulating

# Nobody but the test measures what the test measures.
QUIET: Sequence[tuple[tuple[str, ...], Any]] = [
    (("sources", source, "interval"), "1d") for source in ("host", "environment-resolver", "self")
]


@dataclass
class Bench:
    """A node, its clock, and who hands in what happens."""

    server: Server
    clock: Hurried
    sent: int = 0

    async def happen(self, type: str, outcome: Outcome | None = "success", **fields: Any) -> None:
        self.sent += 1
        event = Event(f"e-{self.sent}", "/test", type, self.clock.time(), outcome=outcome, **fields)
        await self.server.node.supervisor.intake.submit([event])
        await all_read(self.server)

    async def resolve(self, ms: float) -> None:
        await self.happen("configuration.resolved", duration_ms=ms, labels={"cached": "false"})

    async def provider(self, outcome: Outcome) -> None:
        await self.happen("provider.initialized", outcome, labels={"provider": "p"})

    async def alerts(self, status: str = "active") -> list[str]:
        """What fires, once the engine has done what is due: it has threads of its own for that."""
        await anyio.sleep(0.05)
        found = await self.server.data(f"alerts?status={status}")
        return sorted(one["rule"] for one in found if one["rule"] != "No Data: Memory Usage High")  # There is none.


@asynccontextmanager
async def bench(folder: Path) -> AsyncGenerator[Bench]:
    clock = Hurried()
    async with simulating(folder, clock, QUIET) as server:
        await clock.advance(301)  # What the node measured at its start has left every window.
        yield Bench(server, clock)


async def test_c070_a_minute_is_sixty_seconds_and_not_a_millisecond_less(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        await at.resolve(101)
        for _ in range(59):
            await at.clock.advance(1)
            await at.resolve(101)
        await at.clock.advance(0.999)
        await at.resolve(101)
        assert await at.alerts() == [] and await at.alerts("pending") == ["Configuration Resolution Slow"]
        await at.clock.advance(0.001)
        await at.resolve(101)
        assert await at.alerts() == ["Configuration Resolution Slow"]
        await at.clock.advance(1)
        await at.resolve(100.0)
        assert await at.alerts() == []
        found = await at.server.data("alerts/history?period=1h")
        (alert,) = [one for one in found if one["rule"] == "Configuration Resolution Slow"]
        assert alert["count"] == 1
        assert alert["resolution"]["timestamp"] - alert["timestamp"] == 1000


async def test_c070_the_target_itself_is_fine_for_as_long_as_one_likes_and_a_dip_starts_anew(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        for _ in range(90):
            await at.resolve(100.0)
            await at.clock.advance(1)
        assert await at.alerts("pending") == []
        for second in range(30 + 60):
            await at.resolve(99.9 if second == 30 else 100.1)
            await at.clock.advance(1)
        assert await at.alerts() == []
        await at.resolve(100.1)
        assert await at.alerts() == []  # 59 seconds after the first beyond it, the dip at 30 left out.
        await at.clock.advance(1)
        await at.resolve(100.1)
        assert await at.alerts() == ["Configuration Resolution Slow"]


async def test_c080_memory_above_80_percent_for_a_minute(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        for value, seconds in ((80.0, 70), (80.1, 60)):
            for _ in range(seconds):
                await at.happen("system.measured", measures={"system_memory_usage": value})
                await at.clock.advance(1)
            assert await at.alerts() == []
        await at.happen("system.measured", measures={"system_memory_usage": 80.1})
        assert await at.alerts() == ["Memory Usage High"]
        await at.happen("system.measured", measures={"system_memory_usage": 80.0})
        assert await at.alerts() == []


async def test_c076_one_in_a_hundred_is_fine_and_more_fire_until_they_leave_the_window(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        for number in range(100):
            await at.provider("failure" if number == 99 else "success")
        assert await at.alerts() == []
        await at.provider("failure")
        assert await at.alerts() == ["Error Rate High"]
        await at.clock.advance(299)
        assert await at.alerts() == ["Error Rate High"]
        await at.clock.advance(3)
        assert await at.alerts() == ["Error Rate High"]  # Silence proves nothing.
        for _ in range(5):
            await at.provider("success")
        assert await at.alerts() == []


async def test_a21_half_of_three_in_five_minutes_and_three_in_a_row_however_far_apart(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        # One of two, and of three, that are never within five minutes of each other.
        shares: Sequence[Outcome] = ("failure", "success", "failure", "success")
        for outcome in shares:
            await at.happen("environment.detected", outcome)
            await at.clock.advance(200)
        assert await at.alerts() == []
        await at.clock.advance(301)
        for outcome in shares[:3]:
            assert await at.alerts() == []
            await at.happen("environment.detected", outcome)
            await at.clock.advance(100)
        assert await at.alerts() == ["Environment Detection Failed"]
        await at.clock.advance(301)
        await at.happen("environment.detected", "success")
        assert await at.alerts() == []
        for _ in range(3):
            assert await at.alerts() == []
            await at.clock.advance(1000)
            await at.happen("environment.detected", "failure")
        assert await at.alerts() == ["Environment Detection Failed"]
