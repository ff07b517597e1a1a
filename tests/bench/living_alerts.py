"""What thousands of living alerts cost, measured: the longest step of the event loop in each thing that one can do.

    python -m tests.bench.living_alerts [--alerts 20000] [--silences 10]

Each line says how much of the loop's thread it took, and its longest step: for so long nobody else has a turn. Times
are of the processor, so that others on the machine do not count; the garbage collector is off, as a server has its own
way with it.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from bers import Batch, Caller, Catalog, Context, Database, Event, Metric, Nothing
from bers.testing import VirtualClock, step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE
from bers_builtin.sinks.alert_engine.desk import listing, silences, why
from bers_builtin.sinks.alert_engine.desk.answers import Answer, AskAlert, AskStats, ListAlerts
from bers_builtin.sinks.alert_engine.engine import AlertEngine
from tests.bench.steps import Steps

METRICS = Catalog([Metric("queue", "{event}", "Waiting.", labels=("name",))])
OPERATOR = Caller("anonymous", "10.0.0.7")
LONG = {"name": "Long Queue", "metric": "queue", "above": "10", "severity": "error"}
WAITS = {**LONG, "name": "Longest Queue", "above": "20", "for": "1h"}
BATCH = 500


@asynccontextmanager
async def timed(steps: Steps, what: str) -> AsyncGenerator[None]:
    await anyio.lowlevel.checkpoint()
    steps.clear()
    yield
    await anyio.lowlevel.checkpoint()
    print(f"{what:45} {steps.total * 1000:8.1f} ms {steps.longest * 1000:8.1f} ms in one step", flush=True)


@asynccontextmanager
async def engine(clock: VirtualClock, path: Path, size: int, **options: Any) -> AsyncGenerator[AlertEngine]:
    database = Database(path)
    context = Context("alert-engine", clock=clock, metrics=METRICS, state=database, environment="production")
    usual: dict[str, Any] = {
        "commit_every": "1h", "repeat": {}, "defaults": False, "rate_limiting": {"max_alerts": 2 * size},
        "escalation": [{"after": "2h", "contact": "secondary"}], "rules": [LONG, WAITS],
    }  # fmt: skip
    try:
        async with step(ALERT_ENGINE, context=context, **(usual | options)).open() as stage:
            await stage.position("alerts", 0, begin=0)
            yield stage
    finally:
        await database.shut()


class Emitter:
    """Says what each of so many queues holds."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._end = 0

    async def send(self, stage: AlertEngine, clock: VirtualClock, value: float) -> None:
        for first in range(0, self._size, BATCH):
            found = [
                Event(f"e-{self._end + n}", "/ci", "custom.measured", clock.time(), measures={"queue": value},
                      labels={"name": f"n{first + n}"})
                for n in range(min(BATCH, self._size - first))
            ]  # fmt: skip
            self._end += len(found)
            await stage.write(Batch(found, reader="alerts", end=self._end))


async def ask(steps: Steps, stage: AlertEngine, many: int) -> None:
    """Whatever operators ask, and say."""
    async with timed(steps, "GET alerts, 1 000 of them"):
        page = await stage.list_alerts(ListAlerts(), OPERATOR)
    async with timed(steps, "GET alerts, 10 000 of them"):
        await stage.list_alerts(ListAlerts(limit=10_000), OPERATOR)
    async with timed(steps, "GET alerts/{id}"):
        await listing.get_alert(stage, AskAlert(page.data[-1].id), OPERATOR)
    async with timed(steps, "GET alerts/stats"):
        await stage.count_alerts(AskStats(), OPERATOR)
    async with timed(steps, "GET alerts/rules"):
        await why.list_rules(stage, Nothing(), OPERATOR)
    async with timed(steps, "an acknowledgement"):
        await stage.acknowledge(Answer(page.data[0].id, "ada"), OPERATOR)
    async with timed(steps, "a resolution by hand"):
        await stage.resolve(Answer(page.data[1].id, "ada"), OPERATOR)
    for what, matcher in (("none", "labels.name=nobody"), ("all", "rule~^Long")):
        async with timed(steps, f"a silence of {what}"):
            asked = silences.AddSilence([matcher], "why", "1h", operator="ada")
            silence = await silences.add(stage, asked, OPERATOR)
        async with timed(steps, f"its end by hand, of {what}"):
            await silences.end(stage, silences.EndSilence(silence.id, "ada"), OPERATOR)
    async with timed(steps, f"{many} silences with a pattern"):
        for number in range(many):
            asked = silences.AddSilence([f"labels.name~^x{number}$"], "why", "1h", operator="ada")
            await silences.add(stage, asked, OPERATOR)
    async with timed(steps, "GET silences"):
        await silences.list_all(stage, silences.ListSilences(), OPERATOR)


async def grow(steps: Steps, stage: AlertEngine, clock: VirtualClock, emitter: Emitter) -> None:
    """Whatever becomes of them by time and by events."""
    async with timed(steps, "all are escalated"):
        for seconds in (3600, 3601, 1):
            await clock.advance(seconds)
            async with stage.books.turn:  # When it is written down.
                pass
    async with timed(steps, "all are seen again, and another rule waits"):
        await emitter.send(stage, clock, 21.0)
    async with timed(steps, "GET alerts?status=pending"):
        pending = await stage.list_alerts(ListAlerts(status="pending"), OPERATOR)
    async with timed(steps, "GET alerts/{id} of a pending one"):
        await listing.get_alert(stage, AskAlert(pending.data[-1].id), OPERATOR)


async def main(size: int, many: int) -> None:
    steps, clock, emitter = Steps(), VirtualClock(), Emitter(size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        async with engine(clock, path, size) as stage:
            async with timed(steps, f"{size} alerts begin, in batches of {BATCH}"):
                await emitter.send(stage, clock, 11.0)
        async with timed(steps, "a restart, or a reload that keeps their rule"), engine(clock, path, size):
            pass
        async with engine(clock, path, size) as stage:
            await ask(steps, stage, many)
            await grow(steps, stage, clock, emitter)
        changed = engine(clock, path, size, rules=[{**LONG, "above": "12"}])
        async with timed(steps, "a reload that changes their rule"), changed:
            pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=20_000)
    parser.add_argument("--silences", type=int, default=10)
    given = parser.parse_args()
    gc.disable()
    anyio.run(main, given.alerts, given.silences)
