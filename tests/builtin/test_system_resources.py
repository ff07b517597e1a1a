"""What is read of this machine."""

import os
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import anyio
import psutil
import pytest
from anyio import create_task_group

from bers import Clock, Context, Event, Finding, Full
from bers.testing import VirtualClock, check_spec, run_source, step
from bers_builtin.sources.system_resources import SYSTEM_RESOURCES, SystemResources

LEVELS = {
    "system_memory_usage",
    "system_disk_usage",
    "system_load_1m",
    "process_memory_rss",
    "process_open_files",
}
RATES = {"system_cpu_usage", "process_cpu_usage", "system_network_receive", "system_network_transmit"}


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(SYSTEM_RESOURCES)


async def test_b6_a_reading_has_every_metric_from_the_second_on() -> None:
    first, second = await run_source(SYSTEM_RESOURCES, count=2, interval="50ms")
    assert first.measures.keys() == LEVELS  # A rate is the difference of two readings.
    assert second.measures.keys() == LEVELS | RATES == {metric.name for metric in SYSTEM_RESOURCES.metrics}
    assert first.type == "system.measured"


async def test_readings_are_those_of_this_machine_and_this_process() -> None:
    *_, last = await run_source(SYSTEM_RESOURCES, count=3, interval="50ms")
    values = last.measures
    assert values["system_memory_usage"] == pytest.approx(psutil.virtual_memory().percent, abs=10)
    assert values["process_memory_rss"] == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert all(0 <= values[name] <= 100 for name in ("system_cpu_usage", "system_memory_usage", "system_disk_usage"))
    assert values["system_network_receive"] >= 0


async def test_open_files_are_counted(tmp_path: Path) -> None:
    (before,) = await run_source(SYSTEM_RESOURCES)
    held = [os.open(tmp_path, os.O_RDONLY) for _ in range(50)]
    (during,) = await run_source(SYSTEM_RESOURCES)
    for file in held:
        os.close(file)
    assert during.measures["process_open_files"] - before.measures["process_open_files"] == pytest.approx(50, abs=5)


async def test_a_process_that_works_shows() -> None:
    seen: list[Event] = []
    took: list[tuple[float, float]] = []
    """How much of a processor this process had taken after each reading, and when, in seconds."""
    async with step(SYSTEM_RESOURCES, interval="200ms").open() as stage, create_task_group() as group:

        async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
            seen.extend(events)
            took.append((process_time(), monotonic()))
            if len(seen) == 2:
                group.cancel_scope.cancel()
            while process_time() < took[-1][0] + 0.5:
                pass

        with anyio.fail_after(60):
            await stage.run(emit)
    (worked, began), (still, ended) = took
    assert still - worked >= 0.5
    # On a machine that is busy it takes longer, which makes it a smaller share.
    assert seen[1].measures["process_cpu_usage"] == pytest.approx(100 * (still - worked) / (ended - began), rel=0.3)


class LeapingClock(Clock):
    """Time that passes by sleeping alone, and at once."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await anyio.lowlevel.checkpoint()


async def test_readings_stay_on_the_beat_however_long_one_takes() -> None:
    clock = LeapingClock()
    times: list[float] = []
    async with create_task_group() as group:

        async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
            times.append(events[0].time)
            await clock.sleep(2.5 if len(times) == 3 else 0.25)
            if len(times) == 6:
                group.cancel_scope.cancel()

        with anyio.fail_after(30):
            await SystemResources(SYSTEM_RESOURCES.config(), Context("host", clock=clock)).run(emit)
    assert times == [0, 1, 2, 5, 6, 7]


async def test_a_reading_that_nobody_takes_is_left_out() -> None:
    tries = anyio.Event()

    async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
        if len(events[0].measures) == len(LEVELS | RATES):
            tries.set()
        raise Full("there is no room")

    async with step(SYSTEM_RESOURCES, interval="10ms").open() as stage, create_task_group() as group:
        group.start_soon(stage.run, emit)
        with anyio.fail_after(30):
            await tries.wait()
        group.cancel_scope.cancel()


async def look(**options: str) -> Finding:
    (check,) = SYSTEM_RESOURCES.checks
    assert check.name == "system-resources"
    plenty = {"memory_threshold": "100%", "disk_threshold": "100%", "cpu_threshold": "100%"}
    given: dict[str, Any] = {**plenty, **options}
    async with step(SYSTEM_RESOURCES, **given).open() as stage:
        finding: Finding = await check.probe(stage)
    return finding


async def test_c050_the_check_tells_what_is_in_use() -> None:
    finding = await look()
    assert finding.status == "healthy"
    assert 0 < finding.details["memoryUsage"] <= 100
    assert finding.details["memoryRss"] > 1e6
    assert finding.details.keys() == {"memoryUsage", "memoryRss", "cpuUsage", "diskUsage", "loadAverage", "openFiles"}
    assert not finding.remediation


async def test_what_the_processor_did_long_ago_is_not_told_as_what_it_does(clock: VirtualClock) -> None:
    taken = list[Event]()
    stuck = anyio.Event()

    async def emit(events: Sequence[Event], *, durable: bool = False) -> None:
        taken.extend(events)
        if "system_cpu_usage" in events[0].measures:  # The machine has counted on since the reading before.
            stuck.set()
            await anyio.sleep_forever()

    async with step(SYSTEM_RESOURCES, context=Context("host", clock=clock), interval="1s").open() as stage:
        async with create_task_group() as group:
            group.start_soon(stage.run, emit)
            with anyio.fail_after(30):
                while not stuck.is_set():
                    await clock.advance(0.5)
                    await anyio.sleep(0.005)  # A thread reads the disk.
            assert (await stage.check()).details["cpuUsage"] == taken[-1].measures["system_cpu_usage"]
            await clock.advance(9)
            finding = await stage.check()
            assert finding.details["cpuUsage"] is None and finding.details["memoryUsage"] is not None
            group.cancel_scope.cancel()


async def test_c080_the_machine_is_degraded_above_the_threshold_for_memory() -> None:
    finding = await look(memory_threshold="0.01%")
    assert finding.status == "degraded"
    assert finding.message.endswith("% in use, above 0.01%")
    assert "'High Memory Usage'" in finding.remediation
    assert (await look()).status == "healthy"


async def test_the_machine_is_degraded_above_the_threshold_for_the_disk(tmp_path: Path) -> None:
    finding = await look(disk_threshold="0.000001%", disk=str(tmp_path / "not" / "there" / "yet"))
    assert (finding.status, finding.message.split(" is ")[0]) == ("degraded", f"the disk of {tmp_path}")
    assert "Free some space" in finding.remediation


def test_the_thresholds_are_those_of_the_runbook() -> None:
    config = SYSTEM_RESOURCES.config()
    assert [float(config.memory_threshold), float(config.disk_threshold), float(config.cpu_threshold)] == [80, 90, 95]
