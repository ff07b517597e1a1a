"""What the configuration says becomes checks, and a change of it changes only what differs."""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from bers import Database, Metric
from bers.catalog import Catalog
from bers.clock import SteadyClock, SystemClock
from bers.health.board import Health
from bers.health.history import History
from bers.health.reports import CheckReport
from bers.health.rests import Rests
from bers.health.settings import HealthSettings
from bers.health.watch import Watch
from bers.schemas import decode
from bers.testing import VirtualClock
from bers.watches import Watches

METRICS = Catalog([Metric("speed", "ms", "How fast.")])


async def call(method: str, path: str, fields: Mapping[str, Any]) -> Any:
    return {"count": 1, "average": 5.0}


def watches(clock: VirtualClock, **settings: Any) -> list[Watch]:
    """Those that only the configuration knows."""
    found = msgspec.convert(settings, HealthSettings, dec_hook=decode)
    nobody: Any = None
    made = Watches(found, clock, METRICS, call).all(nobody, nobody, nobody, [], lambda _: False)
    return [watch for watch in made if watch.name not in ("metrics-collector", "data-files", "storage")]


@asynccontextmanager
async def at_work(
    clock: VirtualClock, made: list[Watch], state: Database | None = None
) -> AsyncGenerator[tuple[Health, list[CheckReport]]]:
    told: list[CheckReport] = []

    async def publish(report: CheckReport, before: CheckReport | None) -> None:
        told.append(report)

    history = History(state, SteadyClock(clock)) if state else None
    health = Health(clock, publish, None, history, Rests(state) if state else None)
    if history:
        await history.begin(None)
    for watch in made:
        health.add(watch)
    await health.recall()
    async with anyio.create_task_group() as group:
        await health.look_at_all()
        group.start_soon(health.run)
        await anyio.wait_all_tasks_blocked()
        yield health, told
        group.cancel_scope.cancel()
    await health.close()


def command(code: int, **more: Any) -> dict[str, Any]:
    return {"command": {"argv": ["/bin/sh", "-c", f"exit {code}"]}, **more}


async def test_a7_the_start_waits_for_the_first_look_of_a_slow_program() -> None:
    slow = {"command": {"argv": ["/bin/sh", "-c", "sleep 1.5"]}}
    health = Health(SystemClock(), _told_to_nobody)
    for watch in watches(VirtualClock(), checks={"slow": slow}):
        health.add(watch)
    await health.look_at_all()
    assert health.report("slow").status == "healthy"


async def _told_to_nobody(report: CheckReport, before: CheckReport | None) -> None:
    pass


async def test_only_what_goes_outside_waits_for_connectivity(clock: VirtualClock) -> None:
    here, there = {"tcp": {"address": "localhost:1"}}, {"http": {"url": "https://shop.example.com/"}}
    checks = {
        "here": here, "there": there, "inside": {**there, "outside": False}, "sent": command(0, outside=True),
        "stays": command(0), "chain": {**there, "depends_on": ["there"]},
        "speed": {"metric": {"name": "speed", "degraded_above": "1s"}}, "off": {**there, "enabled": False},
    }  # fmt: skip
    guarded = watches(clock, checks=checks, connectivity={"targets": ["192.0.2.1:443"]})
    assert {watch.name: list(watch.depends_on) for watch in guarded} == {
        "connectivity": [], "here": [], "there": ["connectivity"], "inside": [], "sent": ["connectivity"],
        "stays": [], "chain": ["connectivity", "there"], "speed": [],
    }  # fmt: skip
    assert not any("connectivity" in (watch.name, *watch.depends_on) for watch in watches(clock, checks=checks))


async def test_what_is_not_told_is_as_the_page_says(clock: VirtualClock) -> None:
    (plain,) = watches(clock, checks={"a": command(0)})
    assert (plain.interval, plain.critical, plain.impatient, plain.patient) == (30.0, False, False, False)
    (told,) = watches(clock, checks={"a": command(0, interval="5s", critical=True, description="What.", confirm="1s")})
    assert (told.interval, told.critical, told.description, told.confirm) == (5.0, True, "What.", 1.0)


async def test_a_change_of_the_configuration_changes_only_what_differs(clock: VirtualClock) -> None:
    before = watches(clock, checks={"same": command(0), "other": command(0), "gone": command(0)})
    async with at_work(clock, before) as (health, _):
        same = health.report("same").timestamp
        await clock.advance(10)
        health.change(watches(clock, checks={"same": command(0), "other": command(2), "new": command(1)}))
        assert list(health.names) == ["same", "other", "new"]
        with anyio.fail_after(30):
            while [health.report(one).status for one in health.names] != ["healthy", "unhealthy", "degraded"]:
                await clock.advance(0)
                await anyio.sleep(0.01)
        assert health.report("same").timestamp == same


async def test_a_rest_ends_with_what_is_looked_at(clock: VirtualClock, tmp_path: Path) -> None:
    gone = {"command": {"argv": ["/no/such/program"]}}
    breaker = {"failures": 1, "reset_after": "1h"}
    state = Database(tmp_path / "state.db")
    async with at_work(clock, watches(clock, checks={"a": gone, "b": gone}, breaker=breaker), state) as (health, _):
        assert {one.state for one in health.breakers().values()} == {"open"}
    other = watches(clock, checks={"a": gone, "b": command(0)}, breaker=breaker)
    await clock.advance(600)
    async with at_work(clock, other, state) as (health, told):
        assert health.report("a").breaker.state == "open" and health.report("a").status == "unhealthy"
        assert health.report("b").status == "healthy"
        assert [report.name for report in told] == ["b"]  # Of the other, nothing is new.
        await clock.advance(2999)
        assert health.report("a").breaker.state == "open"
        assert health.report("a").breaker.failures == 1
        await clock.advance(2)
        with anyio.fail_after(30):
            while health.report("a").breaker.failures == 1:
                await clock.advance(30)
                await anyio.sleep(0.01)
    state.close()


async def test_a_disk_that_takes_nothing_keeps_no_check_from_being_told(
    clock: VirtualClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = Database(tmp_path / "state.db")
    async with at_work(clock, watches(clock, checks={"a": command(0)}), state) as (health, _):
        state.close()  # Whoever asks it is refused from now on.
        health.change(watches(clock, checks={"a": command(2)}))
        with anyio.fail_after(30):
            while health.report("a").status != "unhealthy":
                await clock.advance(0)
                await anyio.sleep(0.01)
    assert all(record.levelno <= logging.WARNING for record in caplog.records)
