"""Alerts, measured: from a breach to the bytes that tell of it, a thousand rules, and a storm; and beside others.

    python -m tests.bench.alerts [flips] [rules] [storm] [peers] [--count 200] [--rate 10000]

Flips: so many services turn bad and good again, each at a random moment, while ten thousand samples a second come in
over HTTP and are folded; rate limit and deduplication are off. Rules: a thousand of them, each with a sample a second,
as the CPU of what the alert engine does in that second, of its commits too. Storm: 20 000 services fail within a
second, each with a warning of its own, under the limits as they are. Peers: the same flips and rules for Debian's
Prometheus and Alertmanager, where both are installed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx2
import msgspec
import psutil

from bers import Batch, Catalog, Context, Event, Metric, collector
from bers.testing import VirtualClock, step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE
from tests.bench import watched_by_prometheus as peers
from tests.bench.flips import Ear, Flip, Latencies, flip, listening, quantile
from tests.bench.nodes import Changes, Server, serving
from tests.bench.peers import cpu
from tests.bench.store import begin

RULES = 1000
STORM = 20_000
KINDS = 8
"""The storm is watched by so many rules, because one of them tells 5 000 subjects apart."""
TOGETHER = 100
"""Samples in one request."""
HEADERS = {"Content-Type": "application/json"}
OFF: dict[str, Any] = {
    "deduplication": {"enabled": False}, "rate_limiting": {"max_alerts": 1_000_000}, "flapping": {"enabled": False},
    "escalation": [],
}  # fmt: skip


def settings(ear: Ear, engine: dict[str, Any]) -> Changes:
    """Other rules, a channel, and much folding."""
    channel = {"name": "ear", "url": ear.url, "allow_internal": True, "events": ["alert.firing", "alert.resolved"]}
    return [
        (("sinks", "alert-engine"), {"defaults": False, **engine}),
        (("sinks", "webhooks", "channels"), [channel]),
        (("sinks", "store", "fold_every"), "2s"),
        (("access", "rate"), {"per_second": 1_000_000, "burst": 1_000_000}),
    ]


def told(body: Any) -> list[Flip]:
    alert = body["data"]["data"]
    return [(int(alert["labels"]["subject"]), body["type"] == "io.bers.alert.firing.v1")]


# Flips


def measure_flips(folder: Path, services: int, rate: int) -> None:
    print(f"\nflips: {services} services turn bad and good again; from the change to the first bytes that tell of it")
    rule = {"name": "Flip", "metric": "provider_initialization_time", "above": "1s", "group": ["subject"]}
    for load in (0, rate):
        with listening() as ear, serving(folder / f"load-{load}", settings(ear, {"rules": [rule], **OFF})) as server:
            with httpx2.Client(timeout=60, headers=HEADERS) as client, loaded(server.url, load) as sent:

                def turn(number: int, bad: bool, client: httpx2.Client = client, server: Server = server) -> None:
                    event = {
                        "id": f"{number}-{bad}", "source": "/bench", "type": "service-is.measured",
                        "subject": str(number), "measures": {"provider_initialization_time": 2e3 if bad else 10.0},
                    }  # fmt: skip
                    reply = client.post(f"{server.url}/ingest", content=msgspec.json.encode([event]))
                    assert reply.status_code == 202, reply.text

                time.sleep(5.0 if load else 1.0)
                before, began, first = cpu(server.pid), time.monotonic(), len(sent)
                found = flip(turn, ear, told, count=services, span=services / 8, hold=1.0, patience=30.0)
                seconds = time.monotonic() - began
                busy, real = (cpu(server.pid) - before) / seconds, (len(sent) - first) * TOGETHER / seconds
            _row(f"ours, {real:,.0f} samples/s", found, f"{busy:.0%} of a core")


@contextmanager
def loaded(url: str, rate: int) -> Generator[Sequence[float]]:
    """Hand in so many samples a second, a hundred in a request, from a process of its own; one entry for each."""
    sent: list[float] = []
    if not rate:
        yield sent
        return
    command = [sys.executable, "-m", "tests.bench.alerts", "load", url, "--rate", str(rate)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout

    def note() -> None:
        assert process.stdout
        for _ in process.stdout:
            sent.append(time.monotonic())  # noqa: PERF401 - as they come

    thread = threading.Thread(target=note)
    thread.start()
    try:
        yield sent
    finally:
        process.terminate()
        process.wait()
        thread.join()
        process.stdout.close()


def load(url: str, rate: int) -> None:
    """Send until we are ended, four requests at a time; where the server is slower than that, as fast as it goes."""
    numbers, began = count(), time.monotonic()

    def send(client: httpx2.Client) -> None:
        while True:
            turn = next(numbers)
            time.sleep(max(0.0, began + turn * TOGETHER / rate - time.monotonic()))
            events = [
                {"id": f"load-{n}", "source": "/load", "type": "build.measured", "subject": "b",
                 "labels": {"phase": f"phase-{n % 40}"}, "measures": {"build_phase_time": 10.0 + n % 100}}
                for n in range(turn * TOGETHER, (turn + 1) * TOGETHER)
            ]  # fmt: skip
            client.post(f"{url}/ingest", content=msgspec.json.encode(events)).raise_for_status()
            print(flush=True)

    with httpx2.Client(timeout=60, headers=HEADERS) as client, ThreadPoolExecutor(4) as pool:
        for _ in pool.map(send, [client] * 4):
            pass


def measure_flips_of_peers(folder: Path, services: int, rate: int) -> None:
    name = peers.names()
    for pace, many, span, hold, patience in (
        (peers.TUNED, services, services / 8, 6.0, 30.0),
        (peers.DEFAULTS, 20, 60.0, 0.0, 240.0),
    ):
        where = folder / pace.name.replace(" ", "-")
        where.mkdir()
        target = peers.Target(many, rate if pace is peers.TUNED else 0)
        with listening() as ear, peers.watching(where, target, ear, pace):
            found = flip(target.turn, ear, peers.read, count=many, span=span, hold=hold, patience=patience)
        _row(f"{name}, {pace.name}", found, "" if hold else f"{many} services, that stay bad")


def _row(name: str, found: Latencies, more: str) -> None:
    parts = [
        f"{what} p50 {quantile(some, 0.5) * 1000:8.1f}  p99 {quantile(some, 0.99) * 1000:8.1f}  "
        f"max {some[-1] * 1000:8.1f} ms"
        for what, some in (("firing", found.firing), ("resolved", found.resolved))
        if some
    ]
    print(f"{name}\n    {'   '.join(parts)}   {found.missing} not told   {more}", flush=True)


# Rules


class Kind(NamedTuple):
    """What all of a thousand rules ask, here and there."""

    name: str
    ours: dict[str, Any]
    theirs: str
    lasting: str = "0s"


ONES = (
    Kind("last", {}, "{}"),
    Kind("last, for 60s", {"for": "60s"}, "{}", "60s"),
    Kind("mean over 1m", {"aggregate": "mean", "window": "1m"}, "avg_over_time({}[1m])"),
    Kind("max over 1m", {"aggregate": "max", "window": "1m"}, "max_over_time({}[1m])"),
    Kind("p95 over 1m", {"aggregate": "p95", "window": "1m"}, "quantile_over_time(0.95, {}[1m])"),
)


def measure_rules(folder: Path) -> None:
    print(f"\n{RULES} rules, each second: CPU of one pass of everything in ms")
    for kind in ONES:
        for shared in (False, True):
            seconds = anyio.run(ours, folder / f"{kind.name} {shared}", kind, shared)
            where = "all on one series" if shared else "each on a series of its own"
            print(f"{'ours':12} {kind.name:16} {where:30} {seconds * 1000:8.1f}", flush=True)


async def ours(folder: Path, kind: Kind, shared: bool, passes: int = 20) -> float:
    """CPU seconds in which the engine reads a sample for each rule and commits what follows; half of them breach."""
    metric = Metric("latency", "ms", "How long it takes.", labels=("number",))
    rules = [
        {"name": f"Rule {n}", "metric": "latency", "above": f"{100 + n % 2}ms",
         **({} if shared else {"where": {"number": str(n)}}), **kind.ours}
        for n in range(RULES)
    ]  # fmt: skip
    clock = VirtualClock()
    context = Context("alert-engine", data_dir=folder, clock=clock, metrics=Catalog([metric]))
    used, end = 0.0, 0
    async with step(ALERT_ENGINE, context=context, defaults=False, rules=rules, **OFF).open() as stage:
        await stage.position("alerts", 0, begin=0)
        collector.settle()  # As a node does.
        for second in range(-5, passes):
            events = [
                Event(f"{second}-{n}", "/bench", "x.measured", clock.time(), measures={"latency": 100.5},
                      labels={"number": str(n)}, received=clock.time())
                for n in range(1 if shared else RULES)
            ]  # fmt: skip
            end += len(events)
            began = time.process_time()
            await stage.write(Batch(events, (), "alerts", 0, end))
            await clock.advance(1.0)
            if second >= 0:
                used += time.process_time() - began
    return used / passes


def measure_rules_of_peers(folder: Path) -> None:
    for kind in ONES:
        where = folder / kind.name.replace(" ", "-")
        where.mkdir()
        series = [f'bench_load{{number="{n}"}}' for n in range(RULES)]
        texts = [f"{kind.theirs.format(one)} > {9 + n % 2}" for n, one in enumerate(series)]
        found = peers.passes(where, texts, load=RULES, lasting=kind.lasting, seconds=20.0)
        print(
            f"{'Prometheus':12} {kind.name:16} {'each on a series of its own':30} {found.cpu * 1000:8.1f}"
            f"   (says itself {found.reported * 1000:.1f} ms of the wall's clock)",
            flush=True,
        )


# Storm


def measure_storm(folder: Path) -> None:
    print(f"\nstorm: {STORM:,} services fail within a second, each with a warning of its own, limits as they are")
    rules = [
        {"name": f"Failed {kind}", "event": f"service-is.failed{kind}", "group": ["subject"]} for kind in range(KINDS)
    ]
    with listening() as ear, serving(folder / "storm", settings(ear, {"rules": rules})) as server:
        process = psutil.Process(server.pid)
        with httpx2.Client(timeout=120, headers=HEADERS) as client:
            bodies = [
                msgspec.json.encode(
                    [
                        {"id": str(n), "source": "/bench", "type": f"service-is.failed{n % KINDS}", "subject": str(n)}
                        for n in range(first, first + 1000)
                    ]
                )
                for first in range(0, STORM, 1000)
            ]
            before, used, began = process.memory_info().rss, cpu(server.pid), time.monotonic()
            for body in bodies:
                client.post(f"{server.url}/ingest", content=body).raise_for_status()
            accepted = time.monotonic() - began
            ask = f"{server.url}/alerts?status=active,suppressed&limit=1"
            while (found := client.get(ask).json()["meta"]["total"]) < STORM and time.monotonic() < began + 120:
                time.sleep(0.05)
            took = time.monotonic() - began
            ids = {
                alert["id"]
                for kind in range(KINDS)
                for alert in client.get(
                    f"{server.url}/alerts?status=active,suppressed&limit=10000&rule=Failed {kind}"
                ).json()["data"]
            }
            time.sleep(5.0)
            memory = process.memory_info().rss - before
            print(
                f"accepted in {accepted:.2f} s, {found:,} alerts known after {took:.2f} s, {len(ids):,} listed;"
                f" {len(ear.heard)} notifications; {(cpu(server.pid) - used):.1f} s CPU, {memory / 1e6:.0f} MB more"
            )


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("wanted", nargs="*")
    arguments.add_argument("--count", type=int, default=200)
    arguments.add_argument("--rate", type=int, default=10_000)
    given = arguments.parse_args()
    if given.wanted[:1] == ["load"]:
        load(given.wanted[1], given.rate)
        return
    begin()
    wanted = given.wanted or ["flips", "rules", "storm", "peers"]
    absent = peers.missing()
    if "peers" in wanted and absent:
        print(f"Prometheus with Alertmanager is not compared: {absent} is not installed")
    beside = "peers" in wanted and not absent
    with tempfile.TemporaryDirectory() as scratch:
        parts: Sequence[tuple[str, Callable[[Path], object], Callable[[Path], object] | None]] = (
            (
                "flips",
                lambda folder: measure_flips(folder, given.count, given.rate),
                lambda folder: measure_flips_of_peers(folder, given.count, given.rate),
            ),
            ("rules", measure_rules, measure_rules_of_peers),
            ("storm", measure_storm, None),
        )
        for name, mine, theirs in parts:
            if name in wanted or wanted == ["peers"]:
                (folder := Path(scratch) / name).mkdir()
                mine(folder)
                if beside and theirs:
                    (folder := folder / "peers").mkdir()
                    theirs(folder)


if __name__ == "__main__":
    main()
