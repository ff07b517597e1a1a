"""Reloads under load, measured: what they cost, and what a sibling that nobody touches notices of them.

    python tests/bench/reloads.py [--rounds 50] [--pause 0.1]

A node takes 5 000 events a second, in batches of 100, each synced before the next. Each round is a reload that fails
and one that does not, of tests/faults/test_reload.py. The rate is that of a durable sink whose pipeline stays.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import anyio

from bers.supervisor import Supervisor
from tests.faults.test_reload import RATE, RIGHT, WRONG, Emitter, Operator

WARM_UP = 3.0


async def main(rounds: int, pause: float) -> None:
    logging.disable(logging.CRITICAL)
    took: dict[str, list[float]] = {"ok": [], "failed": []}
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        operator, emitter = Operator(Path(folder)), Emitter()
        async with Supervisor(operator.read(), reread=operator.read) as node:
            await node.settled.wait()
            edge = node.counters.edge("untouched/sibling")
            alone = during = 0.0
            async with anyio.create_task_group() as group:
                group.start_soon(emitter.run, node)
                began = time.perf_counter()
                await anyio.sleep(WARM_UP)
                rates.append(edge.out / (time.perf_counter() - began))
                before, began = edge.out, time.perf_counter()
                for n in range(rounds):
                    for changes in ([WRONG[n % len(WRONG)]], [RIGHT[n % len(RIGHT)]]):
                        await anyio.sleep(pause)
                        started = time.perf_counter()
                        took[await operator.reload(node, changes)].append(time.perf_counter() - started)
                rates.append((edge.out - before) / (time.perf_counter() - began))
                group.cancel_scope.cancel()
    alone, during = rates
    print(f"the sibling takes {alone:,.0f} events/s before, {during:,.0f} during {2 * rounds} reloads, of {RATE:,}")
    for result, seconds in took.items():
        print(f"{len(seconds):5} {result:7} {_at(seconds, 0.5):7.1f} ms median {_at(seconds, 0.99):7.1f} ms p99")


def _at(seconds: Sequence[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))] * 1000


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--pause", type=float, default=0.1, help="Seconds between two reloads.")
    chosen = parser.parse_args()
    anyio.run(main, chosen.rounds, chosen.pause, backend_options={"use_uvloop": True})
