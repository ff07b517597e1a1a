"""The machine this runs on: processors, memory, disk, network, and what this process takes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import psutil
from anyio import to_thread
from msgspec import Meta

from bers import (
    Check,
    Config,
    Context,
    Emit,
    Finding,
    Full,
    Interval,
    Metric,
    Percent,
    SourceSpec,
    Stage,
    hookimpl,
)

MISSED, PATIENCE = 3, 5.0
"""So many readings, and seconds beside, after which the last one does not say how the processor is now."""


class SystemResourcesConfig(Config, frozen=True):
    """Read the load of this machine, and the footprint of this process, at a steady pace."""

    interval: Annotated[Interval, Meta(description="The time between two readings.")] = Interval("1s")
    disk: Annotated[
        str, Meta(description="A folder on the file system to watch. Where this is empty, it is the data directory.")
    ] = ""
    memory_threshold: Annotated[
        Percent, Meta(description="Above this share of memory in use, the health check finds the machine degraded.")
    ] = Percent("80%")
    disk_threshold: Annotated[
        Percent, Meta(description="Above this share of disk space in use, the health check finds the machine degraded.")
    ] = Percent("90%")
    cpu_threshold: Annotated[
        Percent,
        Meta(description="Above this share of processor time, the health check finds the machine degraded."),
    ] = Percent("95%")


class SystemResources(Stage[SystemResourcesConfig]):
    def __init__(self, config: SystemResourcesConfig, context: Context) -> None:
        super().__init__(config, context)
        self._process = psutil.Process()
        self._disk = _existing(Path(config.disk) if config.disk else context.data_dir)
        self._last: dict[str, float] = {}
        self._read_at = 0.0

    async def run(self, emit: Emit) -> None:
        clock, interval = self.context.clock, self.config.interval
        before: _Counted | None = None
        due = clock.monotonic()
        while True:
            counted = _count(self._process, clock.monotonic())
            measures = await self._levels()
            if before:
                measures |= _rates(before, counted)
            before, self._last, self._read_at = counted, measures, counted.at
            with suppress(Full):  # The next reading is a better use of the room there is than this one.
                await emit([self.context.event("system.measured", measures=measures)])
            now = clock.monotonic()
            due += interval * max(1, ceil((now - due) / interval))  # On the beat, however long a reading took.
            await clock.sleep(due - now)

    async def check(self) -> Finding:
        now = await self._levels()
        # What the processor did is no news where nobody takes the readings, so that none is made any more.
        if self.context.clock.monotonic() - self._read_at <= MISSED * self.config.interval + PATIENCE:
            now = {**self._last, **now}
        details = {said: now.get(metric) for said, metric in DETAILS.items()}
        faults = [
            (f"{what} is {now[metric]:.1f} % in use, above {threshold}", remedy)
            for metric, what, threshold, remedy in (
                ("system_memory_usage", "memory", self.config.memory_threshold, MEMORY_REMEDY),
                ("system_disk_usage", f"the disk of {self._disk}", self.config.disk_threshold, DISK_REMEDY),
                ("system_cpu_usage", "the processor", self.config.cpu_threshold, CPU_REMEDY),
            )
            if metric in now and now[metric] > threshold
        ]
        if faults:
            messages, remedies = zip(*faults, strict=True)
            return Finding("degraded", "; ".join(messages), details, " ".join(remedies))
        return Finding("healthy", f"memory is {now['system_memory_usage']:.1f} % in use", details)

    async def _levels(self) -> dict[str, float]:
        """What can be read off at any moment."""
        # Where a network file system hangs, this waits, and nobody else.
        disk = await to_thread.run_sync(psutil.disk_usage, str(self._disk), abandon_on_cancel=True)
        return {
            "system_memory_usage": psutil.virtual_memory().percent,
            "system_disk_usage": disk.percent,
            "system_load_1m": psutil.getloadavg()[0],
            "process_memory_rss": float(self._process.memory_info().rss),
            # Not `open_files`: that takes 5 ms for a thousand of them.
            "process_open_files": float(self._process.num_fds()),
        }


class _Counted(NamedTuple):
    """What only grows, so that two of these make a rate."""

    at: float
    busy: float
    idle: float
    own: float
    network: Mapping[str, tuple[int, int]]


def _count(process: psutil.Process, now: float) -> _Counted:
    times = psutil.cpu_times()._asdict()
    idle = times["idle"] + times.get("iowait", 0.0)
    # Linux counts guests among `user` and `nice` already.
    busy = sum(seconds for name, seconds in times.items() if name not in ("idle", "iowait", "guest", "guest_nice"))
    own = process.cpu_times()
    network = {
        name: (card.bytes_recv, card.bytes_sent)
        for name, card in psutil.net_io_counters(pernic=True, nowrap=False).items()
        if name not in ("lo", "lo0")
    }
    return _Counted(now, busy, idle, own.user + own.system, network)


def _rates(before: _Counted, now: _Counted) -> dict[str, float]:
    rates: dict[str, float] = {}
    busy, idle, seconds = max(0.0, now.busy - before.busy), max(0.0, now.idle - before.idle), now.at - before.at
    if busy + idle > 0:
        rates["system_cpu_usage"] = 100 * busy / (busy + idle)
    if seconds > 0:
        rates["process_cpu_usage"] = 100 * max(0.0, now.own - before.own) / seconds
        # A card that came, or began to count again, has no difference yet.
        pairs = [(before.network[name], count) for name, count in now.network.items() if name in before.network]
        for metric, way in (("system_network_receive", 0), ("system_network_transmit", 1)):
            rates[metric] = sum(max(0, late[way] - early[way]) for early, late in pairs) / seconds
    return rates


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there already."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


DETAILS = {
    "memoryUsage": "system_memory_usage",
    "memoryRss": "process_memory_rss",
    "cpuUsage": "system_cpu_usage",
    "diskUsage": "system_disk_usage",
    "loadAverage": "system_load_1m",
    "openFiles": "process_open_files",
}

MEMORY_REMEDY = (
    "Runbook, 'High Memory Usage': look at the buffer utilization, reduce the retention of metrics, enable adaptive "
    "sampling, then clear the cache of metrics (POST /api/monitoring/metrics/clear-cache)."
)
DISK_REMEDY = "Free some space, or reduce the retention of metrics in pipelines.yaml and restart."
CPU_REMEDY = "Look for what keeps the processor busy, or lengthen the intervals of the sources in pipelines.yaml."

METRICS = (
    Metric("system_cpu_usage", "%", "Share of the time of all processors that is busy.", title="CPU"),
    Metric("system_memory_usage", "%", "Share of memory that is in use.", target=80, title="Memory"),
    Metric("system_disk_usage", "%", "Share of the space for the data directory that is in use.", title="Disk"),
    Metric("system_load_1m", "1", "Processes that run or wait to run, on average over a minute.", title="Load"),
    Metric("system_network_receive", "By/s", "Bytes that arrive over the network.", better="neither"),
    Metric("system_network_transmit", "By/s", "Bytes that leave over the network.", better="neither"),
    Metric("process_cpu_usage", "%", "Share of one processor that this server keeps busy."),
    Metric("process_memory_rss", "By", "Memory that this server holds."),
    Metric("process_open_files", "{file}", "Files and connections that this server has open."),
)

SYSTEM_RESOURCES = SourceSpec(
    "system-resources",
    SystemResourcesConfig,
    SystemResources,
    claims=("system.measured",),
    metrics=METRICS,
    checks=(
        Check(
            "system-resources",
            SystemResources.check,
            "Memory, disk and processor of this machine have room left.",
        ),
    ),
    log="",
)


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [SYSTEM_RESOURCES]
