"""A node whose durable sink never takes some events, for test_kill_poisoned.py: ids on stdin, those taken on stdout.

With ``--drain`` it takes nothing: it brings the sink up to the end of the bus, prints the dead letters, and exits.
"""

import sys
from pathlib import Path

import anyio

from bers import Batch, DurableSpec, Event, Rejected, config, plugins
from bers.config.located import parse
from bers.letters import Filter
from bers.supervisor import Supervisor
from tests.unit.ledger import Ledger, LedgerConfig

PIPELINES = """
version: 1
intake: {{snapshot_every: 150ms}}
sources: {{build: {{}}}}
sinks: {{ledger: {{path: {folder}/ledger.db, delivery: {{retry: {{first: 1ms}}}}}}}}
pipelines: {{all: {{sources: [build, unmapped], sinks: [ledger]}}}}
"""


class Poisoned(Ledger):
    """Takes no batch with poison in it; whether it names the poison depends on the batch."""

    async def write(self, batch: Batch) -> None:
        bad = {n: f"{event.id} is poison" for n, event in enumerate(batch.events) if event.id.startswith("poison")}
        if bad:
            raise Rejected("there is poison in it", bad if batch.end % 2 else None)
        await super().write(batch)


async def main(folder: Path, drain: bool) -> None:
    catalogue = plugins.load(installed=False).with_specs([("sink", DurableSpec("ledger", LedgerConfig, Poisoned))])
    async with Supervisor(config.plan(parse(PIPELINES.format(folder=folder), "pipelines.yaml"), catalogue)) as node:
        if drain:
            _, end = await node.bus.span(0)
            while node.pipelines["all"].position < end:
                await anyio.sleep(0.01)
            assert not node.counters.gaps(), node.counters.gaps()
            letters, _ = await node.dead.list(Filter(), 1 << 30)
            for letter in letters:
                whole = await node.dead.get(letter.id)
                assert whole and whole.reason == "rejected"
                print(*(event.id for event in whole.batch.events), sep="\n")
            return

        async def take(line: str) -> None:
            number, *ids = line.split()
            await node.intake.submit([Event(id, "/ci", "build.finished", 0.0) for id in ids])
            print(number, flush=True)

        print("ready", flush=True)
        async with anyio.create_task_group() as requests:
            async for line in anyio.wrap_file(sys.stdin):
                requests.start_soon(take, line)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), "--drain" in sys.argv)
