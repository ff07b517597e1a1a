"""Our store and the databases that people run today, given the same samples and asked the same questions over HTTP.

    python -m tests.bench.against FOLDER

serves what :func:`stored` wrote into a folder, as a whole node in a process of its own, until its input is closed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeAlias

import anyio
import httpx2
import msgspec

from bers import Batch, Catalog, Context, Metric, Window
from bers.testing import VirtualClock, step
from bers.testing.server import serving
from bers_builtin.sinks.rest_store import REST_STORE, RestStore, page_rows, pages
from tests.bench.mixed import Line, latencies, mixed
from tests.bench.peers import REPEATS, Peer, cpu, prometheus, victoria_metrics

METRIC = "build_performance"
"""One of the shipped ones, so that the node is the shipped one."""
WEEK = 7 * 86_400
SERIES = 40
EVERY = 10
"""Seconds between two samples of the week."""

Values: TypeAlias = Mapping[str, Sequence[float]]
"""Percentiles, by the number of the series."""


ABOUT = """
The same samples and questions. Everybody is asked over HTTP, and answers in JSON that is decoded here; peers are the
packages of the system, which are years older than their heads. `first` is the first answer of a process that has just
started, with its files in the system's cache; `median` is that of the next ones, of which no database remembers its
answers, nor ours a decoded page; `CPU` is what one of these takes of the processor, on however many cores. `off by`
is the largest distance from the exact nearest-rank percentile.
What is fair: samples, questions, points, transport. What is not: ours answers from sketches in windows of 5 minutes or
an hour, which is what they are for, and has windows that follow one another only; peers compute the percentile from
all samples, interpolate it between two ranks, and take windows that overlap, told as a line of their own. Ours tells
more in each answer: a summary of each line, and all of them together. Bytes: the whole file of ours with one tier of a
second; what is in the folder of the peers' data when everything is merged."""

COLUMNS = (
    ("first", 10), ("median", 10), ("to ours", 9), ("CPU", 10), ("to ours", 9), ("off by", 8), ("bytes/sample", 14),
    ("to ours", 9),
)  # fmt: skip


class Told(NamedTuple):
    """A question, answered."""

    first: float
    """Seconds until the first answer is read whole."""
    usual: float
    """The median of the next ones, each without what the database itself remembers of answers."""
    cpu: float
    """Seconds of processor time that one of these takes in the database's process."""
    values: Values


async def stored(folder: Path, lines: Iterable[Line], *, start: int, every: int) -> None:
    """Write lines as the pages of all tiers that a store has of them, as compaction would."""
    end = start
    clock = VirtualClock(time.time())
    context = Context("store", data_dir=folder, clock=clock, metrics=Catalog([Metric(METRIC, "ms", "Latency.")]))
    async with step(REST_STORE, context=context).open() as store:
        assert isinstance(store, RestStore)
        await store.position("bench", 0, begin=0)
        for line in lines:
            labels, end = (("number", str(line.number)),), start + len(line.values) * every
            last = Window.of((METRIC, labels, float(end - every), 1.0), line.values[-1], float(end - every), 1)
            await store.write(Batch((), [last], "bench", 0, line.number + 1))
            await store.commit()
            await store.fold()
            await store._database.run(lambda connection: connection.execute("DELETE FROM pages WHERE folds = 1"))  # pyright: ignore[reportPrivateUsage]
            (one,) = [one for one in store._registry.everyone() if one.labels == labels]  # pyright: ignore[reportPrivateUsage]
            for tier in one.tiers:
                kept: dict[int, Window] = {}
                first = max(0, len(line.values) - int(tier.keep) // every)
                for n, value in enumerate(islice(line.values, first, None), first):
                    when = start + n * every
                    number = int(when // tier.width)
                    if window := kept.get(number):
                        window.add(value, float(when), 1)
                    else:
                        kept[number] = Window.of((METRIC, labels, number * tier.width, tier.width), value, when, 1)
                packed: list[pages.Packing] = []
                for some in pages.by_page(kept, tier.width, tier.keep):
                    total: Window | None = None
                    for window in some.values():
                        total = pages.absorb(total, window)
                    part = pages.Part(one, tier.width, tier.width, some, tier.keep)
                    packed.append(pages.pack(part, 1, clock.time(), 60, total))
                await store._database.run(lambda c, p=packed: page_rows.add_parts(c, p))  # type: ignore[misc]  # pyright: ignore[reportPrivateUsage]


class Ours(NamedTuple):
    """A node at work on what was stored."""

    url: str
    pid: int

    def ask(self, **parameters: str | int) -> Told:
        """Ask for the p95 of each series, and of each step."""
        times, answer, used = list[float](), dict[str, Any](), 0.0
        with httpx2.Client(timeout=300) as client:
            for n in range(REPEATS + 1):
                used = cpu(self.pid) if n == 1 else used
                began = time.perf_counter()
                reply = client.get(f"{self.url}/metrics/{METRIC}", params={"fields": "p95", **parameters})
                answer = msgspec.json.decode(reply.content)
                times.append(time.perf_counter() - began)
                assert reply.status_code == 200, reply.text
                assert client.post(f"{self.url}/metrics/clear-cache").is_success
        values = {one["labels"]["number"]: [p95 for _, p95 in one["points"]] for one in answer["data"]["series"]}
        return Told(times[0], median(times[1:]), (cpu(self.pid) - used) / REPEATS, values)


@contextmanager
def ours(folder: Path) -> Generator[Ours]:
    command = (sys.executable, "-m", "tests.bench.against", str(folder))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    try:
        yield Ours(process.stdout.readline().strip(), process.pid)
    finally:
        process.stdin.close()
        process.wait(60)


def told_by(peer: Peer, query: str, *, start: int, end: int, every: int, repeats: int = REPEATS) -> Told:
    parameters: dict[str, str | int] = {"query": query, "start": start, "end": end, "step": every, "nocache": "1"}
    times, values, used = list[float](), dict[str, list[float]](), 0.0
    with httpx2.Client(timeout=300) as client:
        for n in range(repeats + 1):
            used = cpu(peer.pid) if n == 1 else used
            began = time.perf_counter()
            reply = client.get(f"{peer.url}/api/v1/query_range", params=parameters)
            answer = msgspec.json.decode(reply.content)
            times.append(time.perf_counter() - began)
            assert reply.status_code == 200, reply.text
            found = answer["data"]["result"]
            values = {one["metric"]["number"]: [float(value) for _, value in one["values"]] for one in found}
    return Told(times[0], median(times[1:]), (cpu(peer.pid) - used) / repeats, values)


def compare(bytes_per_sample: float) -> None:
    """Print a table: what everybody takes on disk, and how long everybody takes to answer."""
    now = int(time.time())
    print(ABOUT)
    with tempfile.TemporaryDirectory() as scratch:
        hours = (now // 7200 - 2) * 7200
        title = "mixed data: 200 series, 2 h, a sample each second; p95 of each 5 minutes of 40 of them"
        _table(Path(scratch) / "hours", title, mixed(), hours, 1, 300, bytes_per_sample)
        week = (now // WEEK - 1) * WEEK
        title = "40 series, 7 days, a sample each 10 s; p95 of all of it, of each"
        lines = list(latencies(series=SERIES, samples=WEEK // EVERY))
        _table(Path(scratch) / "week", title, lines, week, EVERY, WEEK)


def _table(
    folder: Path, title: str, lines: Sequence[Line], start: int, every: int, window: int, size: float | None = None
) -> None:
    """The answers for one set of samples, of which every ``window`` seconds are one point."""
    asked = [line for line in lines if line.kind == "latency"]
    samples, end = sum(len(line.values) for line in lines), start + len(lines[0].values) * every
    exact = {str(line.number): _percentiles(line.values, window // every) for line in asked}
    print(f"\n{title}\n{'':52}" + "".join(f"{name:>{width}}" for name, width in COLUMNS))
    (folder / "ours").mkdir(parents=True)
    anyio.run(partial(stored, folder / "ours" / ".bers", asked, start=start, every=every))
    with ours(folder / "ours") as node:
        points = max(2, (end - start) // window)
        span = {"from": start * 1000, "to": end * 1000 - 1, "limit": SERIES}
        mine = node.ask(**span, step=f"{window}s", points=points)
    _row("bers", mine, exact, None, size, size)
    for name, make in _PEERS:
        data = folder / name
        data.mkdir()
        with make(lines, data, start=start, step=every) as peer:
            if peer is None:
                print(f"{name}: not installed")
                continue
            query = f"quantile_over_time(0.95, bench_latency[{window}s])"
            last = end - every  # Both ends are in a window of PromQL; ours has its beginning in it, and not its end.
            named = f"{peer.name} {peer.version}"
            found = told_by(peer, query, start=start + window - every, end=last, every=window)
            _row(named, found, exact, mine, peer.bytes / samples, size)
            floats = {str(line.number): line.values for line in lines if line.kind == "float"}
            if floats:
                kept = peer.values("bench_float", start=start, end=last)
                same = sum(kept.get(number) == values for number, values in floats.items())
                print(f"  of {len(floats)} series of full floats, {same} come back from {peer.name} as they were")
            if window < end - start:
                more = told_by(peer, query, start=start + window - every, end=last, every=10, repeats=3)
                _row(f"{named}, windows that end each 10 s", more, None, None, None, None)


def _row(
    name: str, told: Told, exact: Values | None, ours: Told | None, size: float | None, our_size: float | None
) -> None:
    off = f"{_apart(told.values, exact):.2%}" if exact else ""
    ratio = f"{told.usual / ours.usual:.1f}" if ours else ""
    taken = f"{size:.2f}" if size is not None else ""
    relation = f"{size / our_size:.1f}" if ours and size and our_size else ""
    first, usual, used = told.first * 1000, told.usual * 1000, told.cpu * 1000
    busier = f"{told.cpu / ours.cpu:.1f}" if ours else ""
    told_as = f"{first:.0f} ms", f"{usual:.0f} ms", ratio, f"{used:.0f} ms", busier, off, taken, relation
    line = "".join(f"{one:>{width}}" for one, (_, width) in zip(told_as, COLUMNS, strict=True))
    print(f"{name:52}{line}", flush=True)


def _percentiles(values: Sequence[float], each: int) -> list[float]:
    """The nearest-rank p95 of each so many values."""
    parts = [sorted(values[n : n + each]) for n in range(0, len(values), each)]
    return [part[ceil(0.95 * len(part)) - 1] for part in parts]


def _apart(told: Values, exact: Values) -> float:
    """How far an answer is from the truth at most, relatively; it is to have a point for each window."""
    assert told.keys() == exact.keys()
    pairs: list[tuple[float, float]] = []
    for number, values in told.items():
        assert len(values) == len(exact[number]), f"series {number}: {len(values)} points of {len(exact[number])}"
        pairs += zip(values, exact[number], strict=True)
    return max(abs(one - other) / other for one, other in pairs)


_PEERS: tuple[tuple[str, Callable[..., Any]], ...] = (("Prometheus", prometheus), ("VictoriaMetrics", victoria_metrics))


async def main(folder: Path) -> None:
    async with serving(folder) as server:
        print(server.url("").rstrip("/"), flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
