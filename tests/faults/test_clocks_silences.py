"""Acknowledgements that expire, silences and maintenance, while clocks are set and a process is suspended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bers import Event
from bers.testing.server import Server
from tests.faults.simulated import Hurried, all_read, simulating

HOUR = 3600.0
DOWN = {"name": "Down", "event": "service-is.down", "clears": {"event": "service-is.up"}, "group": ["subject"]}


@dataclass
class World:
    """A node with one rule, and its clock."""

    server: Server
    clock: Hurried
    sent: int = 0

    async def happen(self, kind: str, subject: str = "a") -> None:
        self.sent += 1
        event = Event(f"e-{self.sent}", "/ci", f"service-is.{kind}", self.clock.time(), subject=subject)
        await self.server.node.supervisor.intake.submit([event])
        await all_read(self.server)

    async def statuses(self, *, after: float = 0.0) -> Sequence[str]:
        """Of every living alert, the oldest first."""
        for _ in range(int(after)):
            await self.clock.advance(1.0)
        alerts = await self.server.data("alerts?status=pending,active,acknowledged,suppressed")
        return [alert["status"] for alert in reversed(alerts)]

    async def post(self, path: str, body: Any) -> Any:
        reply = (await self.server.post(path, body)).json()
        assert reply["success"], reply
        return reply["data"]


@asynccontextmanager
async def world(folder: Path, **engine: Any) -> AsyncGenerator[World]:
    clock = Hurried()
    changes: Sequence[tuple[tuple[str, ...], Any]] = [
        (("sources",), {}),
        (("processors",), {}),
        (("pipelines",), {"alerts": {"sources": ["unmapped"], "sinks": ["alert-engine"]}}),
        (("sinks",), {"alert-engine": {"defaults": False, "rules": [DOWN], "escalation": [], **engine}}),
    ]
    async with simulating(folder, clock, changes) as server:
        yield World(server, clock)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_an_acknowledgement_expires_at_its_time(step: float, tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.happen("down")
        (alert,) = await one.server.data("alerts")
        await one.post(f"alerts/{alert['id']}/acknowledge", {"operator": "ada", "expires": "60s"})
        assert await one.statuses(after=20) == ["acknowledged"]
        one.clock.step(step)
        assert await one.statuses(after=37) == ["acknowledged"]
        assert await one.statuses(after=5) == ["active"]


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_silence_ends_at_its_time(step: float, tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        ask = {"matchers": ["rule=Down"], "comment": "known", "duration": "60s", "operator": "ada"}
        await one.post("silences", ask)
        await one.happen("down")
        assert await one.statuses(after=20) == ["suppressed"]
        one.clock.step(step)
        await one.happen("down", "b")
        assert await one.statuses(after=37) == ["suppressed", "suppressed"]
        assert await one.statuses(after=5) == ["active", "active"]


async def test_what_was_to_end_while_we_were_suspended_has_ended_after_it(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        await one.happen("down")
        (alert,) = await one.server.data("alerts")
        await one.post(f"alerts/{alert['id']}/acknowledge", {"operator": "ada", "expires": "60s"})
        ask = {"matchers": ["labels.subject=b"], "comment": "known", "duration": "5m", "operator": "ada"}
        await one.post("silences", ask)
        await one.happen("down", "b")
        assert sorted(await one.statuses(after=1)) == ["acknowledged", "suppressed"]
        one.clock.suspend(600)
        assert sorted(await one.statuses(after=2)) == ["active", "active"]


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("begins", "ends", "day"),
    [
        pytest.param("01:30", "03:30", (2026, 3, 29), id="an hour is skipped"),
        pytest.param("01:30", "03:30", (2026, 10, 25), id="an hour comes twice"),
    ],
)
async def test_maintenance_is_by_the_clock_of_its_place_when_that_is_set(
    begins: str, ends: str, day: tuple[int, int, int], tmp_path: Path
) -> None:
    window = {"name": "Night", "from": begins, "to": ends, "time_zone": "Europe/Berlin"}
    starts, over = (datetime(*day, hour, 30, tzinfo=BERLIN).timestamp() for hour in (1, 3))
    length = over - starts
    assert length == (HOUR if day[1] == 3 else 3 * HOUR)
    async with world(tmp_path, maintenance=[window]) as one:
        one.clock.step(starts - 120 - one.clock.time())
        for _ in range(70):  # A clock that was set is believed after an hour; that is another day's window.
            await one.clock.advance(1.0)
        await one.happen("down", "before")
        assert await one.statuses() == ["active"]
        while one.clock.time() < starts + 2:
            await one.clock.advance(1.0)
        await one.happen("down", "in")
        assert sorted(await one.statuses()) == ["suppressed", "suppressed"]
        while one.clock.time() < over - 5:
            await one.clock.advance(30.0 if one.clock.time() < over - 40 else 1.0)
        assert sorted(await one.statuses()) == ["suppressed", "suppressed"]
        assert sorted(await one.statuses(after=8)) == ["active", "active"]
