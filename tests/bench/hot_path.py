"""The hot path, measured: CPU per event, events per second and peak memory, in process and over HTTP.

    python tests/bench/hot_path.py [--events 200000] [--series 40]

In process: batches of 1 000 events go through the intake, the journal (durable), windows, retention, the store and the
alert rules of the shipped configuration, with one rule more that looks at every event. Over HTTP: the same server as
`bers start` runs it, fed with batches of 100 by a process of its own. CPU is that of the server alone; a run ends when
every pipeline has read everything.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import anyio
import httpx2
import msgspec
import psutil

from bers import Event, config, lock, plugins
from bers.config.located import Document
from bers.supervisor import Supervisor

BATCH_IN_PROCESS = 1_000
BATCH_HTTP = 100
WARM_UP = 10_000


class Result(NamedTuple):
    """One measured run."""

    name: str
    events: int
    cpu_seconds: float
    seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        cpu, rate = self.cpu_seconds / self.events * 1e6, self.events / self.seconds
        return f"{self.name:34} {cpu:7.2f} us CPU/event  {rate:10,.0f} events/s  {self.peak_bytes / 1e6:6.0f} MB peak"


def fields(n: int, series: int) -> dict[str, object]:
    """The n-th event: one measure, in one of so many series, 0.1 ms after the one before."""
    return {
        "id": f"bench-{n}", "source": "/bench", "type": "build.measured", "time": time.time(), "subject": f"b{n}",
        "labels": {"phase": f"phase-{n % series}"}, "measures": {"build_phase_time": 10.0 + n % 17},
    }  # fmt: skip


def configuration(folder: Path, *, events_logged: bool) -> Document:
    document = config.shipped()
    for steps, value in (
        (("data_dir",), str(folder / ".bers")),
        (("log", "folder"), str(folder / "logs")),
        (("log", "events"), events_logged),
        (("sinks", "alert-engine", "rules"), [{"name": "Slow Phase", "metric": "build_phase_time", "above": "1s"}]),
        *((("server", surface), 0) for surface in ("health", "metrics", "control")),
    ):
        document.put(steps, value)
    return document


async def in_process(count: int, series: int) -> Result:
    with tempfile.TemporaryDirectory() as name:
        plan = config.plan(configuration(Path(name), events_logged=False), plugins.load(installed=False))
        async with Supervisor(plan) as node:
            await node.settled.wait()
            cpu = wall = 0.0
            for start in range(0, WARM_UP + count, BATCH_IN_PROCESS):
                batch = [_event(n, series) for n in range(start, start + BATCH_IN_PROCESS)]
                began, began_cpu = time.perf_counter(), time.process_time()
                await node.intake.submit(batch)
                _, end = await node.bus.span(0)
                while any(pipeline.position < end for pipeline in node.pipelines.values()):
                    await anyio.sleep(0.0005)
                if start >= WARM_UP:
                    cpu += time.process_time() - began_cpu
                    wall += time.perf_counter() - began
            assert not node.counters.gaps()
    return Result(f"in process, {series} series", count, cpu, wall, _peak())


def over_http(count: int, series: int) -> Result:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "pipelines.yaml"
        path.write_bytes(msgspec.json.encode(configuration(folder, events_logged=False).value))
        server = subprocess.Popen([sys.executable, "-m", "bers", "start"], cwd=folder, stdout=subprocess.DEVNULL)
        try:
            url = _wait(folder, server)
            process = psutil.Process(server.pid)
            _send(url, bodies(0, WARM_UP, series))
            _drained(url)
            before, began = _cpu(process), time.perf_counter()
            sent = list(bodies(WARM_UP, WARM_UP + count, series))
            began = time.perf_counter()
            _send(url, iter(sent))
            _drained(url)
            seconds, cpu = time.perf_counter() - began, _cpu(process) - before
            peak = int(Path(f"/proc/{server.pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
        finally:
            server.terminate()
            server.wait(20)
    return Result(f"HTTP, batches of {BATCH_HTTP}, {series} series", count, cpu, seconds, peak)


def bodies(start: int, stop: int, series: int) -> Iterator[bytes]:
    for first in range(start, stop, BATCH_HTTP):
        yield msgspec.json.encode([fields(n, series) for n in range(first, min(stop, first + BATCH_HTTP))])


def _event(n: int, series: int) -> Event:
    return msgspec.convert(fields(n, series), Event)


def _send(url: str, sent: Iterator[bytes]) -> None:
    """Post every body, four at a time: so many wait for the disk together."""
    with httpx2.Client(timeout=60) as client, ThreadPoolExecutor(4) as pool:

        def post(body: bytes) -> None:
            reply = client.post(
                f"{url}/api/monitoring/ingest", content=body, headers={"Content-Type": "application/json"}
            )
            assert reply.status_code == 202, reply.text

        for _ in pool.map(post, sent):
            pass


def _drained(url: str) -> None:
    while True:
        status = httpx2.get(f"{url}/api/monitoring/dashboard/status").json()["data"]
        if max(status["pipelines"].values()) < 100:
            return
        time.sleep(0.02)


def _wait(folder: Path, server: subprocess.Popen[bytes]) -> str:
    while lock.holder(folder / ".bers") != server.pid or not (found := lock.announced(folder / ".bers")):
        assert server.poll() is None, "the server did not start"
        time.sleep(0.02)
    while httpx2.get(f"{found[0]}/readyz").status_code != 200:
        time.sleep(0.02)
    return found[0]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--events", type=int, default=200_000)
    arguments.add_argument("--series", type=int, default=40)
    chosen = arguments.parse_args()
    print(anyio.run(in_process, chosen.events, chosen.series, backend_options={"use_uvloop": True}), flush=True)
    print(over_http(chosen.events, chosen.series), flush=True)


if __name__ == "__main__":
    main()
