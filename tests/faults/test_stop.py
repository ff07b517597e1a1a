"""What is acknowledged while a node stops is not less than what was acknowledged before."""

from itertools import count
from pathlib import Path

import anyio

from bers import Event, plugins
from bers.config import Plan, plan
from bers.config.located import parse
from bers.errors import Full
from bers.supervisor import Supervisor
from bers_builtin.sinks.rest_store import read_windows

TEXT = """
version: 1
sources: {build: {}}
processors: {windows: {use: aggregation, window: 10s}}
sinks: {store: {use: rest-store, tiers: [{width: 10s, keep: 365000d}]}}
pipelines: {metrics: {sources: [build], processors: [windows], sinks: [store]}}
"""


async def test_an_event_that_is_taken_while_sources_stop_is_measured(tmp_path: Path) -> None:
    taken: list[str] = []

    async def emit(node: Supervisor, name: str) -> None:
        for n in count():
            event = Event(f"{name}-{n}", "/ci", "build.finished", 1000.0, outcome="success", duration_ms=1.0)
            try:
                await node.intake.submit([event])
            except Full:
                return
            taken.append(event.id)

    async with anyio.create_task_group() as group:
        async with Supervisor(_plan(tmp_path)) as node:
            for name in ("one", "another"):
                group.start_soon(emit, node, name)
            while len(taken) < 50:
                await anyio.sleep(0.001)
    async with Supervisor(_plan(tmp_path)) as node:
        _, end = await node.bus.span(0)
        with anyio.fail_after(30):
            while node.pipelines["metrics"].position < end:
                await anyio.sleep(0.001)
    windows = [one for one in read_windows(tmp_path / "metrics.db") if one.metric == "build_performance"]
    assert sum(window.count for window in windows) == len(taken)


def _plan(folder: Path) -> Plan:
    document = parse(TEXT, "pipelines.yaml")
    document.put(("data_dir",), str(folder))
    return plan(document, plugins.load(installed=False), environ={})
