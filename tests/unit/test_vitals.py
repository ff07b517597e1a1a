"""How a node is doing in figures: what nobody knows at a moment is not said to be well."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from bers.checks import Finding, Status
from bers.clock import SteadyClock
from bers.counters import Counters
from bers.health.board import Health
from bers.health.breaker import Breaker
from bers.health.reports import CheckReport
from bers.health.watch import Watch
from bers.log import Log
from bers.pipeline import Pipeline
from bers.stages import Vital
from bers.storage import Storage
from bers.testing import VirtualClock
from bers.timekeeping import Timekeeping
from bers.vitals import Vitals


async def told(report: CheckReport, before: CheckReport | None) -> None:
    """Nobody listens."""


def node(
    folder: Path, clock: VirtualClock, bus: Log, probe: Callable[[], Awaitable[Finding]], pipelines: Mapping[str, int]
) -> tuple[Vitals, Health]:
    health, counters = Health(clock, told), Counters()
    breaker = Breaker(clock, failures=5, reset_after=60, successes=1)
    health.add(Watch("gateway", probe, 30.0, 5.0, False, breaker))
    storage = Storage(folder, clock, counters, {}, lambda: 0, lambda: None)
    running = {name: cast("Pipeline", SimpleNamespace(position=at, queues={})) for name, at in pipelines.items()}
    timekeeping = Timekeeping(SteadyClock(clock))
    vitals = Vitals(clock, bus, counters, storage, timekeeping, health, list, lambda: running, lambda: 0, lambda: False)
    return vitals, health


async def test_an_unknown_check_is_there_and_has_no_state(tmp_path: Path, clock: VirtualClock) -> None:
    statuses: list[Status] = ["unhealthy", "unknown", "healthy"]

    async def probe() -> Finding:
        return Finding(statuses.pop(0), "as the test says")

    seen: list[float | None] = []
    async with Log(None) as bus:
        vitals, health = node(tmp_path, clock, bus, probe, {})
        while statuses:
            await health.look(["gateway"])
            seen += [one.value for one in await vitals.read(5.0) if one.metric == "check_state"]
    assert seen == [2.0, None, 0.0]


async def test_after_a_stop_nobody_is_late_and_nobody_is_said_to_be_in_time(
    tmp_path: Path, clock: VirtualClock
) -> None:
    async def probe() -> Finding:
        return Finding("healthy", "all is well")

    async with Log(None) as bus:
        vitals, _ = node(tmp_path, clock, bus, probe, {"metrics": 0})

        async def lag() -> list[Vital]:
            return [one for one in await vitals.read(5.0) if one.metric == "pipeline_lag"]

        assert await lag() == [Vital("pipeline_lag", 0.0, {"pipeline": "metrics"})]
        await clock.suspend(60)
        assert await lag() == [Vital("pipeline_lag", None, {"pipeline": "metrics"})]
        await clock.advance(5)
        assert await lag() == [Vital("pipeline_lag", 0.0, {"pipeline": "metrics"})]
