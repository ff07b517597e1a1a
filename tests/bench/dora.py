"""What DORA's figures over 90 days cost: CPU per answer, and of its longest step, for which others have to wait.

    python -m tests.bench.dora [--deployments 10000] [--services 20]

One deployment in ten fails, and one in twenty has an incident; each has a commit, a run and 200 bytes of other data.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import anyio

from bers import Batch, Caller, Context, Event, Run, Vcs
from bers.testing import VirtualClock, step
from bers_builtin.sinks.rest_store import REST_STORE, RestStore
from bers_builtin.sinks.rest_store.dora.answers import AskDora
from tests.bench.steps import Steps

NOW, SPAN = 1_700_000_000.0, 90 * 86_400.0


def events(deployments: int, services: int) -> Iterator[Event]:
    chance = random.Random(7)
    for n in range(deployments):
        finished, service = NOW - SPAN * chance.random(), f"service-{n % services}"
        yield Event(
            f"d-{n}", "/cd", "deployment.finished", finished, f"run/{n}", environment="production", service=service,
            outcome="failure" if chance.random() < 0.1 else "success", version=f"1.{n}", run=Run(id=f"{n}"),
            vcs=Vcs(revision=f"{n:040x}", committed_at=finished - 86_400 * chance.random()), data={"log": "x" * 200},
        )  # fmt: skip
        if not n % 20:
            yield Event(f"i-{n}", "/on-call", "incident.detected", finished + 600, f"i/{n}", service=service)


async def main(deployments: int, services: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        context = Context("store", data_dir=Path(folder), clock=VirtualClock(NOW))
        async with step(REST_STORE, context=context).open() as store:
            assert isinstance(store, RestStore)
            await store.position("metrics", 0, begin=0)
            end, told = 0, events(deployments, services)
            while some := list(islice(told, 1000)):
                end += len(some)
                await store.write(Batch(some, (), "metrics", 0, end))
                await store.commit()
            steps = Steps()
            for period in ("7d", "30d", "90d"):
                await _measure(store, steps, period)


async def _measure(store: RestStore, steps: Steps, period: str) -> None:
    steps.clear()
    began, cpu = time.perf_counter(), time.process_time()
    answer = await store.dora(AskDora(period=period), Caller())
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    taken = sorted(steps.taken)
    print(
        f"{period:>4} {answer.counts.deployments:7,} deployments {cpu * 1000:6.0f} ms CPU {wall * 1000:6.0f} ms, "
        f"steps p99 {taken[int(len(taken) * 0.99)] * 1000:.1f} ms, longest {taken[-1] * 1000:.1f} ms of CPU"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deployments", type=int, default=10_000)
    parser.add_argument("--services", type=int, default=20)
    given = parser.parse_args()
    anyio.run(main, given.deployments, given.services)
