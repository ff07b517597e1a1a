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
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeAlias

import anyio
import httpx2
import msgspec

from bers import Batch, Catalog, Context, Metric, Window
from bers.testing import VirtualClock, step
from bers.testing.server import serving
from bers_builtin.sinks.rest_store import REST_STORE, RestStore, file, pages
from tests.bench.mixed import Line, latencies, mixed
from tests.bench.peers import REPEATS, Peer, prometheus, victoria_metrics

METRIC = "build_performance"
"""One of the shipped ones, so that the node is the shipped one."""
WEEK = 7 * 86_400
SERIES = 40
EVERY = 10
"""Seconds between two samples of the week."""

Values: TypeAlias = Mapping[str, Sequence[float]]
"""Percentiles, by the number of the series."""


class Told(NamedTuple):
    """A question, answered."""

    first: float
    """Seconds until the first answer is read whole."""
    usual: float
    """The median of the next ones, each without what the database itself remembers of answers."""
    values: Values


async def stored(folder: Path, lines: Iterable[Line], *, start: int, step_: int) -> None:
    """Write lines as the pages of all tiers that a store has of them, as compaction would."""
    end = start
    clock = VirtualClock(time.time())
    context = Context("store", data_dir=folder, clock=clock, metrics=Catalog([Metric(METRIC, "ms", "Latency.")]))
    async with step(REST_STORE, context=context).open() as store:
        assert isinstance(store, RestStore)
        await store.position("bench", 0, begin=0)
        for line in lines:
            labels, end = (("number", str(line.number)),), start + len(line.values) * step_
            last = Window.of((METRIC, labels, float(end - step_), 1.0), line.values[-1], float(end - step_), 1)
            await store.write(Batch((), [last], "bench", 0, line.number + 1))
            await store.commit()
            await store.fold()
            await store._database.run(lambda connection: connection.execute("DELETE FROM pages WHERE folds = 1"))  # pyright: ignore[reportPrivateUsage]
            (one,) = [one for one in store._registry.everyone() if one.labels == labels]  # pyright: ignore[reportPrivateUsage]
            for tier in one.tiers:
                kept: dict[int, Window] = {}
                first = max(0, len(line.values) - int(tier.keep) // step_)
                for n, value in enumerate(islice(line.values, first, None), first):
                    when = start + n * step_
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
                await store._database.run(lambda c, p=packed: file.add_parts(c, p))  # type: ignore[misc]  # pyright: ignore[reportPrivateUsage]


class Ours(NamedTuple):
    """A node at work on what was stored."""

    url: str

    def ask(self, **parameters: str | int) -> Told:
        """Ask for the p95 of each series, and of each step."""
        times, answer = list[float](), dict[str, Any]()
        with httpx2.Client(timeout=300) as client:
            for _ in range(REPEATS + 1):
                began = time.perf_counter()
                reply = client.get(f"{self.url}/metrics/{METRIC}", params={"fields": "p95", **parameters})
                answer = msgspec.json.decode(reply.content)
                times.append(time.perf_counter() - began)
                assert reply.status_code == 200, reply.text
                assert client.post(f"{self.url}/metrics/clear-cache").is_success
        lines = answer["data"]["series"]
        return Told(
            times[0], median(times[1:]), {one["labels"]["number"]: [p for _, p in one["points"]] for one in lines}
        )


@contextmanager
def ours(folder: Path) -> Generator[Ours]:
    command = (sys.executable, "-m", "tests.bench.against", str(folder))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout
    try:
        yield Ours(process.stdout.readline().strip())
    finally:
        process.stdin.close()
        process.wait(60)


def peer_told(peer: Peer, query: str, *, start: int, end: int, step_: int) -> Told:
    parameters = {"query": query, "start": start, "end": end, "step": step_, "nocache": "1"}
    times, values = list[float](), dict[str, list[float]]()
    with httpx2.Client(timeout=300) as client:
        for _ in range(REPEATS + 1):
            began = time.perf_counter()
            reply = client.get(f"{peer.url}/api/v1/query_range", params=parameters)
            answer = msgspec.json.decode(reply.content)
            times.append(time.perf_counter() - began)
            assert reply.status_code == 200, reply.text
            values = {
                one["metric"]["number"]: [float(value) for _, value in one["values"]]
                for one in answer["data"]["result"]
            }
    return Told(times[0], median(times[1:]), values)


def compare(bytes_per_sample: float | None) -> None:
    """Print a table: what everybody takes on disk, and how long everybody takes to answer."""
    print(
        "\nThe same samples and questions. Everybody answers over HTTP, in JSON that is decoded here; peers are Debian's"
    )
    print("builds, years older than their heads. `first` is the first answer of a process that has just started, files")
    print("in the system's cache; `median` is that of the next ones, without what a database remembers of answers.")
    now = int(time.time())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        hours = (now // 7200 - 2) * 7200
        _table(
            folder / "hours", "mixed data: 200 series, 2 h, a sample each second", mixed(), hours, 1, bytes_per_sample,
            "p95 of each 5 minutes, 40 series, 2 h", "quantile_over_time(0.95, bench_latency[5m])", 300, 300,
            extra=("the same of 5 minutes that end each 10 s", 10),
        )  # fmt: skip
        print(
            "  Ours answers windows that follow one another, from the tier of 5 minutes, whose windows have sketches;"
        )
        print("  theirs are computed of the samples, exactly, and may overlap as closely as one likes: ours may not.")
        week = now // 86_400 * 86_400 - WEEK
        lines = list(latencies(series=SERIES, samples=WEEK // EVERY))
        _table(
            folder / "week", "40 series, 7 days, a sample each 10 s", lines, week, EVERY, None,
            "p95 of 7 days, 40 series", "quantile_over_time(0.95, bench_latency[7d])", WEEK, WEEK,
        )  # fmt: skip
        print("  Ours also draws each series, and says what all of them come to; it answers from windows of an hour,")
        print("  and is within 1 % of the truth: how far it is from each peer's answer at most stands behind.")


def _table(
    folder: Path, title: str, lines: Sequence[Line], start: int, every: int, size: float | None,
    question: str, query: str, window: int, step_: int, extra: tuple[str, int] | None = None,
) -> None:  # fmt: skip
    samples, longest = sum(len(line.values) for line in lines), len(lines[0].values) * every
    asked = [line for line in lines if line.kind == "latency"]
    print(f"\n{title}\n{'':42}{'first':>10}{'median':>10}{'theirs/ours':>13}{'off by':>8}{'bytes/sample':>14}")
    (folder / "ours").mkdir(parents=True)
    anyio.run(_store, folder / "ours" / ".bers", asked, start, every)
    with ours(folder / "ours") as node:
        span = {"from": start * 1000, "to": (start + longest) * 1000, "limit": SERIES}
        told = node.ask(**span, step=f"{step_}s", points=max(2, longest // step_ + 1))
    _row("ours: " + question, told, None, size, size)
    for name, make in _PEERS:
        data = folder / name
        data.mkdir()
        with make(lines, data, start=start, step=every) as peer:
            if peer is None:
                print(f"{name}: not installed")
                continue
            # A window of PromQL has its end in it, and its beginning not: it ends with the last sample.
            first = start + window - every
            found = peer_told(peer, query, start=first, end=start + longest - every, step_=step_)
            _row(f"{peer.name} {peer.version}: {question}", found, told, peer.bytes / samples, size)
            if extra:
                more = peer_told(peer, query, start=first, end=start + longest - every, step_=extra[1])
                _row(f"{peer.name} {peer.version}: {extra[0]}", more, None, None, None)


async def _store(folder: Path, lines: Sequence[Line], start: int, every: int) -> None:
    await stored(folder, lines, start=start, step_=every)


def _row(name: str, told: Told, ours: Told | None, size: float | None, our_size: float | None) -> None:
    ratio = off = taken = ""
    if ours:
        ratio = f"{told.usual / ours.usual:.1f}"
        off = f"{_apart(told.values, ours.values):.2%}"
    if size is not None:
        taken = f"{size:.2f}" + (f" ({size / our_size:.1f})" if ours and our_size else "")
    print(f"{name:42} {told.first * 1000:6.0f} ms {told.usual * 1000:6.0f} ms{ratio:>13}{off:>8}{taken:>14}")


def _apart(theirs: Values, ours: Values) -> float:
    """How far two answers are apart at most, relatively; they are to have the same points."""
    assert theirs.keys() == ours.keys()
    pairs: list[tuple[float, float]] = []
    for number, values in theirs.items():
        assert len(values) == len(ours[number]), f"series {number}: {len(values)} points, ours has {len(ours[number])}"
        pairs += zip(values, ours[number], strict=True)
    return max(abs(one - other) / one for one, other in pairs)


_PEERS: tuple[tuple[str, Callable[..., Any]], ...] = (("Prometheus", prometheus), ("VictoriaMetrics", victoria_metrics))


async def main(folder: Path) -> None:
    async with serving(folder) as server:
        print(server.url("").rstrip("/"), flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
