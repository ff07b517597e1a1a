"""The store, measured: bytes per sample, ingest, how long it takes to open and to answer, memory; and beside others.

    python -m tests.bench.store [bytes] [cpu] [open] [memory] [peers]

Bytes: the mixed data (200 series, two hours, a sample each second) with one tier of a second, every page over, as the
size of the database file after a checkpoint; everything is read back and compared bit by bit. CPU: a thousand series
with a sample each second in the default tiers, by phase, and how many samples that is a second. Open: a database of 30
days and 1 000 series, and a p95 over 7 days of 40 of them. Memory: what a series costs that has a sample each minute.
Peers: the same samples and questions for Prometheus and VictoriaMetrics, where Debian's packages of them are installed.
"""

from __future__ import annotations

import gc
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from array import array
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import psutil

from bers import Batch, Catalog, Context, Labels, Metric, Window, collector
from bers.testing import VirtualClock, step
from bers_builtin.sinks.rest_store import REST_STORE, RestStore, page_rows, pages, read_windows
from bers_builtin.sinks.rest_store.partials import Registry
from bers_builtin.sinks.rest_store.reading import lately
from tests.bench import against
from tests.bench.mixed import mixed

START = 1_700_006_400.0
"""The beginning of an hour."""
METRICS = Catalog([Metric("latency", "ms", "How long it takes.")])
LONG = [{"width": "1s", "keep": "7d"}]


@asynccontextmanager
async def opened(folder: Path, clock: VirtualClock, **options: object) -> AsyncGenerator[RestStore]:
    """A store that does nothing by itself: its clock stands still until it is moved."""
    context = Context("store", data_dir=folder, clock=clock, metrics=METRICS)
    async with step(REST_STORE, context=context, **options).open() as stage:
        assert isinstance(stage, RestStore)
        await stage.position("metrics", 0, begin=0)
        yield stage


async def measure_bytes(folder: Path) -> float:
    """Return how many bytes a sample takes in the file."""
    lines, clock = mixed(), VirtualClock(START)
    names = [(("kind", line.kind), ("number", str(line.number))) for line in lines]
    async with opened(folder, clock, tiers=LONG, fold_every="365d", commit_every="1d") as store:
        for at in range(7200):
            when = START + at
            windows = [
                Window.of(("latency", labels, when, 1.0), line.values[at], when, at + 1)
                for line, labels in zip(lines, names, strict=True)
            ]
            await store.write(Batch((), windows, "metrics", 0, at + 1))
            clock.step(1.0)
            if at % 60 == 59:
                await store.commit()
                await store.fold()
                await store.compact()
        clock.step(7200.0)
        await store.compact()
        await store._retention.give_back()  # pyright: ignore[reportPrivateUsage]
        parts = await store._database.run(sizes)  # pyright: ignore[reportPrivateUsage]
    told = {
        (labels, START + at): value
        for line, labels in zip(lines, names, strict=True)
        for at, value in enumerate(line.values)
    }
    kept = {(window.labels, window.start): window.last for window in read_windows(folder / "metrics.db")}
    assert kept.keys() == told.keys()
    assert array("d", [kept[key] for key in told]).tobytes() == array("d", told.values()).tobytes()
    for kind in dict.fromkeys(line.kind for line in lines):
        size = sum(bytes for labels, bytes in parts if ("kind", kind) in labels)
        print(f"{kind:10} {size / sum(len(line.values) for line in lines if line.kind == kind):6.3f} bytes per sample")
    size = sum(one.stat().st_size for one in folder.iterdir())
    print(f"{'the file':10} {size / len(told):6.3f} bytes per sample, read back bit by bit")
    return size / len(told)


def sizes(connection: sqlite3.Connection) -> list[tuple[Labels, int]]:
    """What the pages of each series take, as they are written."""
    return [
        (msgspec.msgpack.decode(labels, type=Labels), bytes)
        for labels, bytes in connection.execute(
            "SELECT labels, sum(length(data) + length(summary)) FROM pages JOIN series ON series = series.id "
            "GROUP BY series"
        )
    ]


async def measure_cpu(folder: Path, series: int = 1000, minutes: int = 20) -> None:
    used, took = defaultdict[str, float](float), 0.0

    async def timed(what: str, work: Callable[[], object]) -> None:
        nonlocal took
        began, wall = time.process_time(), time.perf_counter()
        await work()  # type: ignore[misc]
        used[what] += time.process_time() - began
        took += time.perf_counter() - wall

    clock = VirtualClock(START)
    lines = [line.values for line in mixed(each=max(1, series // 5), samples=3600)][:series]
    names = [(("n", str(n)),) for n in range(series)]
    async with opened(folder, clock, fold_every="365d", commit_every="1d") as store:
        collector.settle()  # As a node does.
        for at in range(minutes * 60):
            when = START + at
            windows = [
                Window.of(("latency", labels, when, 1.0), values[at % 3600], when, at + 1)
                for values, labels in zip(lines, names, strict=True)
            ]
            batch = Batch((), windows, "metrics", 0, at + 1)
            clock.step(1.0)
            await timed("write", lambda batch=batch: store.write(batch))  # type: ignore[misc]
            await timed("commit", store.commit)
            if not (at + 1) % 50:  # Half of the buffer is full.
                await timed("fold", store.fold)
                await timed("compact", store.compact)
                await timed("sweep", store.sweep)
    count = series * minutes * 60
    for what, seconds in used.items():
        print(f"{what:10} {seconds / count * 1e6:6.2f} us CPU per window")
    print(f"{'together':10} {sum(used.values()) / count * 1e6:6.2f} us CPU per window ({series} series, {minutes} min)")
    print(f"{'ingest':10} {count / took:6.0f} samples a second, each of them a window, made durable each second")


async def measure_open(folder: Path, series: int = 1000, days: int = 30) -> None:
    clock = VirtualClock(START)
    async with opened(folder, clock) as store:
        windows = [Window.of(("latency", (("n", str(n)),), START - 1, 1.0), 1.0, START - 1, 1) for n in range(series)]
        await store.write(Batch((), windows, "metrics", 0, 1))
        await store.commit()
        await store.fold()
        await fill(store, store._registry, days)  # pyright: ignore[reportPrivateUsage]
    size = (folder / "metrics.db").stat().st_size
    began, cpu = time.perf_counter(), time.process_time()
    async with opened(folder, clock) as store:
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(f"open       {took:6.3f} s ({cpu:.3f} s CPU): {days} days, {series} series, {size / 1e6:.0f} MB")
        chosen = store._registry.everyone()[:40]  # pyright: ignore[reportPrivateUsage]
        span = lately(chosen, store._registry.tiers, 7 * 86_400.0, START)  # pyright: ignore[reportPrivateUsage]
        began, cpu = time.perf_counter(), time.process_time()
        whole = (await store._reader.totals(span)).whole  # pyright: ignore[reportPrivateUsage]
        assert whole
        p95, took, cpu = whole.quantile(0.95), time.perf_counter() - began, time.process_time() - cpu
        print(f"p95 of 7 d {took:6.3f} s ({cpu:.3f} s CPU): 40 series, {whole.count} samples, {p95:.1f} ms")
        began, cpu = time.perf_counter(), time.process_time()
        await store._reader.points(span, 3600.0)  # pyright: ignore[reportPrivateUsage]
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(f"chart      {took:6.3f} s ({cpu:.3f} s CPU): the same, each hour of each series")


async def fill(store: RestStore, registry: Registry, days: int) -> None:
    """Pages as they are when days have passed, written as compaction would."""
    now, rng = START, random.Random(7)
    values = [round(rng.lognormvariate(3.7, 0.35), 2) for _ in range(240)]
    samples = {tier: sample(tier.width, values) for tier in registry.tiers}
    for one in registry.everyone():
        packed: list[pages.Packing] = []
        for tier in one.tiers:
            span = min(tier.keep, days * 86_400.0)
            windows = {
                n: msgspec.structs.replace(samples[tier], start=n * tier.width, seen=((n + 1) * tier.width - 1, 0))
                for n in range(int((now - span) // tier.width), int(now // tier.width))
            }
            for some in pages.by_page(windows, tier.width, tier.keep):
                total: Window | None = None
                for each in some.values():
                    total = pages.absorb(total, each)
                packed.append(pages.pack(pages.Part(one, tier.width, tier.width, some, tier.keep), 1, now, 60, total))
        await store._database.run(lambda c, p=packed: page_rows.add_parts(c, p))  # type: ignore[misc]  # pyright: ignore[reportPrivateUsage]


def sample(width: float, values: Sequence[float]) -> Window:
    """A window with as many values as it has seconds, up to all."""
    one = Window.of(("latency", (), 0.0, width), values[0], 0.0, 1)
    for value in values[1 : int(width)]:
        one.add(value, 0.0, 1)
    return one


def measure_memory() -> None:
    for series in (10_000, 100_000):
        command = [sys.executable, "-m", "tests.bench.store", "series", str(series)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


async def series_memory(folder: Path, series: int, minutes: int = 3) -> None:
    clock, process = VirtualClock(START), psutil.Process()
    async with opened(folder, clock, buffer=1_000_000) as store:
        gc.collect()
        before = process.memory_info().rss
        for minute in range(minutes):
            for first in range(0, series, 1000):
                when = START + minute * 60 + first * 60 // series
                windows = [
                    Window.of(("latency", (("n", str(n)),), float(when), 1.0), n / 8, when, minute + 1)
                    for n in range(first, min(series, first + 1000))
                ]
                await store.write(Batch((), windows, "metrics", 0, minute * series + first + 1000))
                await store.commit()
            clock.step(60.0)
            await store.fold()
            await store.compact()
            await store.sweep()
        gc.collect()
        used = process.memory_info().rss - before
        print(f"memory     {used / series:6.0f} bytes per series, {series} series with a sample a minute in 4 tiers")


async def main(wanted: Sequence[str]) -> float:
    """Return the bytes per sample, where they are measured."""
    size = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if wanted[:1] == ["series"]:
            await series_memory(folder, int(wanted[1]))
            return size
        if not wanted or {"bytes", "peers"} & {*wanted}:
            size = await measure_bytes(folder / "bytes")
        if not wanted or "cpu" in wanted:
            await measure_cpu(folder / "cpu")
        if not wanted or "open" in wanted:
            await measure_open(folder / "open")
        if not wanted or "memory" in wanted:
            measure_memory()
    return size


def begin() -> None:
    """Say on what this is measured, and how busy it is."""
    with Path("/proc/loadavg").open() as load:
        print(f"load {load.read().strip()}; {platform.platform()}; Python {platform.python_version()}")


if __name__ == "__main__":
    if sys.argv[1:2] != ["series"]:
        begin()
    bytes_per_sample = anyio.run(main, sys.argv[1:])
    if not sys.argv[1:] or "peers" in sys.argv:
        against.compare(bytes_per_sample)
