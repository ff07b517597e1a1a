"""A whole node in one process, for test_kill.py: batches of events on stdin, the numbers of those taken on stdout.

With ``--drain`` it takes nothing: it brings every sink up to the end of the bus, and exits.
"""

import sys
from pathlib import Path

import anyio

from bers import config, plugins
from bers.config.located import parse
from bers.decoding import Decoder
from bers.supervisor import Supervisor

# Two stores that commit at different times, so that after a kill their positions differ; windows are kept for ever.
# Snapshots come often, so that kills fall before, between and after them.
PIPELINES = """
version: 1
intake: {snapshot_every: 150ms}
sources: {build: {lost_after: 365000d}}
processors: {windows: {use: aggregation, window: 10s}}
sinks:
  quick: {use: rest-store, path: quick.db, commit_every: 10ms, fold_every: 50ms, tiers: [{width: 10s, keep: 365000d}]}
  slow: {use: rest-store, path: slow.db, commit_every: 70ms, fold_every: 300ms, tiers: [{width: 10s, keep: 365000d}]}
pipelines:
  metrics: {sources: [build, unmapped], processors: [windows], sinks: [quick, slow]}
"""


async def main(folder: Path, drain: bool) -> None:
    document = parse(PIPELINES, "pipelines.yaml")
    document.put(("data_dir",), str(folder))
    async with Supervisor(config.plan(document, plugins.load(installed=False))) as node:
        if drain:
            while True:
                _, end = await node.bus.span(0)
                if node.pipelines["metrics"].position == end:
                    assert not node.counters.gaps(), node.counters.gaps()
                    return
                await anyio.sleep(0.01)
        decoder = Decoder()

        async def take(line: bytes) -> None:
            number, body = line.split(b" ", 1)
            decoded = await decoder.decode(body, now=0.0)
            await node.intake.submit(decoded.events)
            print(number.decode(), flush=True)

        print("ready", flush=True)
        async with anyio.create_task_group() as requests:
            async for line in anyio.wrap_file(sys.stdin.buffer):
                requests.start_soon(take, line)


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), "--drain" in sys.argv)
