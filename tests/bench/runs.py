"""What questions about runs and DORA's figures cost among a million events, and what their indexes cost who writes.

    python -m tests.bench.runs [--events 1000000] [--folder FOLDER]

Builds with a start, an end and four measures, suites with a start, an end and two, all of the last day; 10 000
deployments of 30 days with a start and an end each, one in ten failed, one in twenty with an incident. One run in a
hundred is lost, fifty go on. With a folder the store is left there, and is not filled again.

Each question is asked first, and then again and again: its processor time and its time, and the longest step of the
loop meanwhile. In the end it is asked while a commit is made every ten milliseconds, and the commits are timed.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import anyio
from msgspec.structs import replace

from bers import Batch, Caller, Context, Event, Run, Vcs, collector
from bers.testing import VirtualClock, step
from bers_builtin.sinks.rest_store import REST_STORE, RestStore, details, file, running
from bers_builtin.sinks.rest_store.config import RestStoreConfig
from bers_builtin.sinks.rest_store.dora.answers import AskDora
from bers_builtin.sinks.rest_store.runs import AskRuns
from tests.bench.steps import Steps

NOW, DAY = 1_700_000_000.0, 86_400.0
DEPLOYMENTS = 10_000
AGAIN = 30
APPS = 20
Ask = Callable[[RestStore], Awaitable[object]]


def deployments(chance: random.Random, number: int) -> Iterator[Event]:
    for n in range(number):
        at, service = NOW - 30 * DAY * (1 - n / number), f"app-{n % APPS}"
        vcs = Vcs(revision=f"{n:040x}", ref="main", committed_at=at - DAY * chance.random())
        begun = Event(
            f"d-{n}/begun", "/cd", "deployment.started", at - 60, f"cd/{n}", environment="production",
            service=service, version=f"1.{n}", run=Run(id=f"{n}"),
        )  # fmt: skip
        outcome = "failure" if chance.random() < 0.1 else "success"
        yield begun
        yield replace(
            begun, id=f"d-{n}", type="deployment.finished", time=at, outcome=outcome, vcs=vcs, duration_ms=60_000.0,
            data={"log": "x" * 200},
        )  # fmt: skip
        if not n % 20:
            detected = Event(f"i-{n}", "/on-call", "incident.detected", at + 600, f"incident/{n}", service=service)
            yield detected
            yield replace(detected, id=f"i-{n}/over", type="incident.resolved", time=at + 4000)


def runs(chance: random.Random, events: int) -> Iterator[Event]:
    """Builds and suites of a day, as many as come to so many events."""
    number = events // 10
    for n in range(number):
        at = NOW - DAY * (1 - n / number)
        yield from _run(chance, at, n, "build", "build", ("phase/bundle", "phase/types", "kind/raw", "kind/gzip"))
        yield from _run(chance, at, n, "testsuiterun", "suite", ("status/passed", "status/failed"))


def _run(chance: random.Random, at: float, n: int, what: str, label: str, parts: tuple[str, ...]) -> Iterator[Event]:
    name, labels = f"{what}-{n}", {label: f"app-{n % APPS}", "branch": f"topic-{n % 1000}"}
    took = chance.uniform(10.0, 60.0)
    yield Event(
        f"{name}/begun", "/ci", f"{what}.started", at - took, name, labels=labels, environment="ci",
        vcs=Vcs(revision=f"{n:040x}", ref=f"topic-{n % 1000}"),
    )  # fmt: skip
    if at > NOW - 21:
        return
    if chance.random() < 0.01:
        yield Event(f"{name}/lost", "/ci", f"{what}.lost", at + 600, name, outcome="error", labels=labels)
        return
    end = f"{name}/end"
    yield Event(
        end, "/ci", f"{what}.finished", at, name, outcome="failure" if chance.random() < 0.1 else "success",
        duration_ms=took * 1000, labels=labels, environment="ci",
        vcs=Vcs(revision=f"{n:040x}", ref=f"topic-{n % 1000}"),
        data={"command": "make", "timeline": [["bundle", 0, 5]] * 4, "assets": [{"name": "main.js", "raw": 5}] * 5},
    )  # fmt: skip
    for part in parts:
        which = part.partition("/")
        yield Event(
            f"{end}/{part}", "/ci", f"{what}.measured", at, name, measures={"build_phase_time": took}, cause=end,
            labels={**labels, which[0]: which[2]},
        )  # fmt: skip


async def fill(store: RestStore, told: Iterator[Event], end: int) -> int:
    while some := list(islice(told, 2000)):
        end += len(some)
        await store.write(Batch(some, (), "metrics", 0, end))
        await store.commit()
    return end


QUESTIONS: dict[str, Ask] = {
    "builds": lambda store: store.runs(AskRuns(limit=15), Caller()),
    "suites": lambda store: store.runs(AskRuns(kind="validation", limit=15), Caller()),
    "deployments": lambda store: store.runs(AskRuns(kind="deployment", limit=15), Caller()),
    "builds that failed": lambda store: store.runs(AskRuns(where="outcome=failure", limit=15), Caller()),
    "builds of one branch in 1,000": lambda store: store.runs(AskRuns(where="vcs.ref=topic-7", limit=15), Caller()),
    "builds of no branch there is": lambda store: store.runs(AskRuns(where="vcs.ref=none", limit=15), Caller()),
    "builds of 20 hours ago": lambda store: store.runs(
        AskRuns(after=details.as_text((NOW - 20 * 3600, "", "")), limit=15), Caller()
    ),
    "one build, whole": lambda store: store.runs(AskRuns(id="build-5000"), Caller()),
    "no build": lambda store: store.runs(AskRuns(id="build-5000/none"), Caller()),
}


async def main(events: int, folder: Path) -> None:
    context = Context("store", data_dir=folder, clock=VirtualClock(NOW))
    is_new = not (folder / "metrics.db").exists()
    chance, end = random.Random(7), 0
    async with step(REST_STORE, context=context, max_bytes="8GiB").open() as store:
        assert isinstance(store, RestStore)
        end = await store.position("metrics", 0, begin=0)
        if is_new:
            number = min(DEPLOYMENTS, events // 10)
            end = await fill(store, deployments(chance, number), end)
            end = await fill(store, runs(chance, events - round(2.1 * number)), end)
        (count,) = await store._database.run(lambda c: c.execute("SELECT count(*) FROM events").fetchone())  # pyright: ignore[reportPrivateUsage]
        print(f"{count:,} events, {file.disk_bytes(store.path) / 1e6:,.0f} MB")
        collector.settle()  # As a node does.
        steps = Steps()
        for what, ask in QUESTIONS.items():
            await measure(store, steps, what, ask)
        for period in ("7d", "30d"):
            store._dora._discard()  # pyright: ignore[reportPrivateUsage]
            await store.sweep()  # Nothing is known then, and what was known is gone.
            news = deployments(random.Random(period), 10_000)

            async def dora(store: RestStore, period: str = period) -> object:
                return await store.dora(AskDora(period=period), Caller())

            async def tell(n: int, news: Iterator[Event] = news, period: str = period) -> None:
                nonlocal end
                some = [
                    replace(one, id=f"{one.id}-{period}", time=NOW - 1, run=Run(id=f"{one.subject}-{period}"))
                    for one in islice(news, 6)
                ]
                end = await fill(store, iter(some), end)

            await measure(store, steps, f"DORA of {period}, after each 3 new deployments", dora, tell)
        await beside(store, end)


async def measure(
    store: RestStore, steps: Steps, what: str, ask: Ask, before: Callable[[int], Awaitable[None]] | None = None
) -> None:
    """Ask first, and again and again."""
    cpus, walls, longest = list[float](), list[float](), 0.0
    for n in range(AGAIN + 1):
        if before and n:
            await before(n)
        steps.clear()
        began, cpu = time.perf_counter(), time.process_time()
        await ask(store)
        walls.append((time.perf_counter() - began) * 1000)
        cpus.append((time.process_time() - cpu) * 1000)
        longest = max(longest, steps.longest)
    first, again = (cpus[0], walls[0]), (sorted(cpus[1:]), sorted(walls[1:]))
    middle = len(again[0]) // 2
    print(
        f"{what:45} first {first[1]:6.1f} ms, {first[0]:6.1f} of CPU; then p50 {again[1][middle]:5.1f} ms, "
        f"{again[0][middle]:5.1f} of CPU, most {again[1][-1]:5.1f} ms, {again[0][-1]:5.1f} of CPU; longest step "
        f"{longest * 1000:.1f} ms of CPU",
        flush=True,
    )


async def beside(store: RestStore, end: int) -> None:
    """Commit as often as can be, alone, and while somebody asks."""
    for what, ask in {
        "nobody asks": None,
        "the first page is asked for": QUESTIONS["builds"],
        "a rare one is looked for": QUESTIONS["builds of no branch there is"],
    }.items():
        took: list[float] = []
        async with anyio.create_task_group() as group:

            async def asking(ask: Ask | None = ask) -> None:
                while ask:
                    await ask(store)

            group.start_soon(asking)
            for _ in range(100):
                end += 1
                new = Event(f"w-{end}", "/ci", "build.measured", NOW, f"w/{end}")
                await store.write(Batch([new], (), "metrics", 0, end))
                began = time.perf_counter()
                await store.commit()
                took.append((time.perf_counter() - began) * 1000)
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        took.sort()
        print(f"a commit while {what:30} p50 {took[50]:6.1f} ms, most {took[-1]:6.1f} ms", flush=True)


def cost_of_writing(number: int = 100_000) -> None:
    """The processor time of adding events as a commit does, with and without what tells of runs; medians of five."""
    told = [details.row(one, RestStoreConfig(), NOW) for one in runs(random.Random(7), number)]
    cpus: dict[bool, list[float]] = {True: [], False: []}
    for n in range(10):
        with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "metrics.db")) as opened:
            opened.isolation_level = None
            opened.execute("PRAGMA page_size = 1024")
            opened.execute("PRAGMA journal_mode = WAL")
            opened.execute("PRAGMA synchronous = NORMAL")
            file.prepare(opened)
            running.prepare(opened, anew=False)
            if n % 2:
                opened.execute("DROP INDEX runs_by_subject")
            began = time.process_time()
            for at in range(0, len(told), 500):
                opened.execute("BEGIN")
                write(opened, told[at : at + 500], whole=not n % 2)
                opened.execute("COMMIT")
            cpus[not n % 2].append((time.process_time() - began) / len(told) * 1e6)
    whole, bare = (sorted(cpus[one])[2] for one in (True, False))
    print(f"an event written: {whole:.1f} us CPU, {bare:.1f} us without what tells of runs: {whole / bare:.2f} times")


def write(connection: sqlite3.Connection, rows: list[details.EventRow], *, whole: bool) -> None:
    details.add(connection, rows)
    if whole:
        running.add(connection, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        anyio.run(main, given.events, given.folder or Path(temporary))
    cost_of_writing()
