"""The live stream in front of a crowd: how soon everybody is told, what a client costs, and what those that stall do.

    python -m tests.bench.sse [--clients 1000] [--stalled 50] [--rate 10000] [--seconds 15]

A server as `bers start` runs it; a process that is all clients, each with a socket of its own; one that hands in events
at a rate, where there are to be some; and this one, which hands in a build ten times a second, at random moments, and
takes the time from just before that until each client has read its frame. What follows each other is measured on one
server, so that it can be compared. Those that stall are full by the time that they are measured with.
"""

from __future__ import annotations

import argparse
import http.client
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2
import msgspec
import psutil

from tests.bench.alerts import TOGETHER, loaded
from tests.bench.crowd import Crowd, Report, gathered, subject
from tests.bench.flips import quantile
from tests.bench.nodes import Server, serving
from tests.bench.peers import cpu

FEW = 10
"""Clients that stand for nobody."""

PER_SECOND = 10
PATIENCE = 5.0
"""Seconds that a frame is waited for."""
FLOWING = 20
"""Requests after which a load has begun."""
SETTLE = 4.0
"""Seconds that pass between a change and the measurement."""


class Probes:
    """Builds that end, handed in one by one."""

    def __init__(self, server: Server) -> None:
        at = urlsplit(server.url)
        self._connection = http.client.HTTPConnection(at.hostname or "", at.port)
        self._path = f"{at.path}/ingest"
        self._random = Random(7)
        self._count = 0

    def send(self, seconds: float) -> dict[int, float]:
        """Hand in builds for so long; when each was handed in."""
        self._connection.close()  # The server may have closed it meanwhile; it opens by itself.
        sent: dict[int, float] = {}
        began = time.monotonic()
        for turn in range(int(seconds * PER_SECOND)):
            at = began + (turn + self._random.random()) / PER_SECOND
            time.sleep(max(0.0, at - time.monotonic()))
            self._count += 1
            sent[self._count] = time.monotonic()
            event = {
                "id": f"probe-{self._count}", "source": "/bench", "type": "build.finished", "outcome": "success",
                "subject": subject(self._count), "duration_ms": 900.0,
            }  # fmt: skip
            self._connection.request(
                "POST", self._path, msgspec.json.encode([event]), {"Content-Type": "application/json"}
            )
            reply = self._connection.getresponse()
            assert reply.status == 202, reply.read()
            reply.read()
        return sent


class Told(NamedTuple):
    """What came of the probes of a span."""

    took: Sequence[float]
    """Seconds, of every client and every probe, sorted."""
    missing: int
    """How often a client that reads did not read a probe."""


class Span(NamedTuple):
    """One measured span of time."""

    told: Told
    server: float
    """Processor seconds a second, like the following."""
    clients: float
    others: float
    memory: int
    rate: float
    """Events a second that were handed in besides."""
    frames: float
    """How often a second clients had something to read, all together."""

    def __str__(self) -> str:
        took = self.told.took
        return (
            f"p50 {quantile(took, 0.5) * 1000:6.1f}  p99 {quantile(took, 0.99) * 1000:6.1f}  "
            f"max {took[-1] * 1000:6.1f} ms  missing {self.told.missing:3}   CPU: server {self.server:4.0%}  "
            f"clients {self.clients:4.0%}  load {self.others:4.0%}   {self.memory / 1e6:4.0f} MB  "
            f"{self.rate:6,.0f} events/s"
        )


def told_of(server: Server) -> dict[str, int]:
    """What the stream says of itself."""
    found: dict[str, int] = httpx2.get(f"{server.url}/dashboard/status").json()["data"]["details"]["sse"]
    return found


class Stand:
    """Where everything is measured: one server, one crowd."""

    def __init__(self, server: Server, crowd: Crowd, seconds: float) -> None:
        self._server = server
        self._crowd = crowd
        self._seconds = seconds
        self._probes = Probes(server)
        self._process = psutil.Process(server.pid)

    def measure(self, name: str, reading: int, rate: int) -> Span:
        """Send probes for a while, with so many events a second beside, of which ``reading`` clients are to hear."""
        with loaded(self._server.url, rate) as sent:
            while rate and len(sent) < FLOWING:
                time.sleep(0.05)
            time.sleep(SETTLE)
            self._crowd.report()
            used, began, first, mine = cpu(self._server.pid), time.monotonic(), len(sent), _children()
            probes = self._probes.send(self._seconds)
            report = self._heard(reading * len(probes))
            seconds = time.monotonic() - began
            span = Span(
                _told(probes, report, reading),
                (cpu(self._server.pid) - used) / seconds,
                report.cpu / seconds,
                (_children() - mine - report.cpu) / seconds,
                self._process.memory_info().rss,
                (len(sent) - first) * TOGETHER / seconds,
                report.reads / seconds,
            )
        print(f"{name:34} {span}", flush=True)
        return span

    def _heard(self, wanted: int) -> Report:
        """What the crowd reports, as soon as it has heard so much, or no more comes."""
        report, deadline = self._crowd.report(), time.monotonic() + PATIENCE
        while len(report.heard) < wanted and time.monotonic() < deadline:
            time.sleep(0.2)
            more = self._crowd.report()
            report = Report(
                report.heard + more.heard,
                report.bytes + more.bytes,
                report.reads + more.reads,
                more.ended,
                report.cpu + more.cpu,
            )
        return report


def _children() -> float:
    """Processor seconds of this process, and of those it has started but for the server."""
    own = psutil.Process()
    return sum(cpu(one.pid) for one in [own, *own.children()] if "start" not in one.cmdline())


def _told(probes: dict[int, float], report: Report, reading: int) -> Told:
    took = sorted(one.at - probes[one.probe] for one in report.heard if one.probe in probes)
    return Told(took, reading * len(probes) - len(took))


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--clients", type=int, default=1000)
    arguments.add_argument("--stalled", type=int, default=50)
    arguments.add_argument("--rate", type=int, default=10_000)
    arguments.add_argument("--seconds", type=float, default=15.0)
    given = arguments.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(serving(folder, [(("sinks", "sse", "stall"), "1h")]))  # Who stalls is borne with.
        crowd = stack.enter_context(gathered(f"{server.url}/events"))
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
        stand = Stand(server, crowd, given.seconds)
        reading = given.clients - given.stalled
        crowd.join(FEW)
        idle = stand.measure(f"{FEW} clients", FEW, 0)
        few = stand.measure(f"{FEW} clients, load", FEW, given.rate)
        began = time.monotonic()
        crowd.join(reading - FEW)
        crowd.join(given.stalled, small=True)
        joined = time.monotonic() - began
        all = stand.measure(f"{given.clients} clients", given.clients, 0)
        loud = stand.measure(f"{given.clients} clients, load", given.clients, given.rate)
        crowd.stall()
        with loaded(server.url, given.rate):
            while told_of(server)["slow"] < given.stalled:
                time.sleep(0.5)
        stuck = stand.measure(f"{given.stalled} of them stalled", reading, 0)
        worst = stand.measure(f"{given.stalled} of them stalled, load", reading, given.rate)
        more = given.clients - FEW
        print(
            f"\nall joined in {joined:.2f} s; a client takes {(all.memory - few.memory) / more / 1000:.1f} kB, and "
            f"{(all.server - idle.server) / all.frames * 1e6:.1f} us of processor time a frame, of which it is sent "
            f"{all.frames / given.clients:.1f} a second: {(all.server - idle.server) / more:.3%} of a processor\n"
            f"p99 with the stalled, by that without: {_ratio(stuck, all)}, with load {_ratio(worst, loud)}; with "
            f"{given.clients} clients, by that with {FEW}: {_ratio(all, idle)}, with load {_ratio(loud, few)}\n"
            f"the server says: {told_of(server)}; load average {os.getloadavg()[0]:.1f}"
        )


def _ratio(one: Span, other: Span) -> str:
    return f"{quantile(one.told.took, 0.99) / quantile(other.told.took, 0.99):.2f}"


if __name__ == "__main__":
    main()
