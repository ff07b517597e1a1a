"""A node that is reloaded again and again, rightly and wrongly, under 5 000 events/s, loses and doubles nothing."""

import asyncio
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from bers import Event, plugins
from bers.config import Plan, plan
from bers.config.located import parse
from bers.supervisor import Supervisor
from bers_builtin.sinks.rest_store import read_windows
from tests.unit.ledger import LEDGER, written

ROUNDS = 100 if os.environ.get("BERS_TEST_LONG") else 10
RATE = 5_000
BATCH = 100

TEXT = """
environment: test
stop_within: 5s
sources: {{build: {{}}, host: {{use: system-resources, interval: 100ms}}}}
processors:
  windows: {{use: aggregation, window: 10s}}
  sampling: {{}}
sinks:
  store: {{use: rest-store, commit_every: 50ms, tiers: [{{width: 10s, keep: 365000d}}], delivery: {{required: true}}}}
  ledger: {{path: {folder}/ledger.db}}
  sibling: {{use: ledger, path: {folder}/sibling.db}}
  alert-engine: {{}}
  sse: {{}}
pipelines:
  metrics: {{sources: [build], processors: [windows, sampling], sinks: [store]}}
  changed: {{sources: [build], processors: [sampling], sinks: [ledger]}}
  untouched: {{sources: [build], sinks: [sibling]}}
  alerts: {{sources: [build, host], sinks: [alert-engine]}}
  live: {{sources: [build, host, alert-engine], sinks: [sse]}}
"""

RIGHT = [
    ("build: {}", "build: {lost_after: 7h}"),
    ("interval: 100ms", "interval: 200ms"),
    ("sampling: {}", "sampling: {threshold_trigger: 1h}"),
    ("commit_every: 50ms", "commit_every: 20ms"),
    ("ledger.db}", "ledger.db, delivery: {queue: 5}}"),
    ("alert-engine: {}", "alert-engine: {commit_every: 500ms}"),
    ("  sse: {}", "  sse: {replay: 2000}"),
    ("  alerts: ", "  warnings: "),
    ("environment: test", "metrics: {build_performance: {target: 4s}}\nenvironment: test"),
    ("environment: test", "health: {breaker: {failures: 3}}\nlog: {level: warning}\nenvironment: test"),
]
WRONG = [
    ("sources: {build", "sources: [build"),
    ("build: {}", "build: {lost: 7h}"),
    ("[windows, sampling]", "[windows, smapling]"),
    ("interval: 100ms", "interval: often"),
    ("ledger: {path: ", "ledger: {path: /dev/null"),
    ("environment: test", "environment: production"),
    ("environment: test", "server: {control: 1}\nenvironment: test"),
    ("alert-engine: {}", "alert-engine: {rules: [{name: x}]}"),
    ("  changed: ", "  metrics: "),
    ("sibling.db}", "sibling.db}\n  other: {use: ledger, path: /dev/null/other.db}"),
]
"""Among them two that are found out only when a sink is opened: one in place of another, and one that is new."""


class Operator:
    """Writes the file, and reloads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stages = plugins.load(installed=False).with_specs([("sink", LEDGER)])
        self.text = self.now = TEXT.format(folder=folder)

    def read(self) -> Plan:
        document = parse(self.now, "pipelines.yaml")
        document.put(("data_dir",), str(self.folder / "data"))
        return plan(document, self.stages, environ={})

    async def reload(self, node: Supervisor, changes: list[tuple[str, str]]) -> str:
        self.now = self.text
        for old, new in changes:
            assert old in self.now, old
            self.now = self.now.replace(old, new, 1)
        return (await node.reload(by="test")).result


class Emitter:
    """Hands in events at a steady rate, whatever happens."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    async def run(self, node: Supervisor) -> None:
        began = anyio.current_time()
        while True:
            first = len(self.numbers)
            batch = range(first, first + BATCH)
            await node.intake.submit(
                [
                    Event(f"b-{n}", "/ci", "build.finished", 1000.0 + n % 50, subject=f"b{n}", duration_ms=1.0)
                    for n in batch
                ]
            )
            self.numbers += batch
            await anyio.sleep(max(0.0, began + len(self.numbers) / RATE - anyio.current_time()))


async def test_reloads_right_and_wrong_under_load_lose_nothing_and_leave_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    operator, emitter, results = Operator(tmp_path), Emitter(), Counter[str]()
    async with Supervisor(operator.read(), reread=operator.read) as node:
        await node.settled.wait()
        sibling, others = node.sinks["sibling"].stage, node.pipelines["untouched"]
        async with anyio.create_task_group() as group:
            group.start_soon(emitter.run, node)
            with anyio.fail_after(30):  # Before that not everything is open yet.
                while not emitter.numbers or min(one.position for one in node.pipelines.values()) < 1:
                    await anyio.sleep(0.01)
            before = await _at_rest()
            for n in range(ROUNDS):
                results[await operator.reload(node, [WRONG[n % len(WRONG)], RIGHT[(n * 3 + 1) % len(RIGHT)]])] += 1
                results[await operator.reload(node, [RIGHT[n % len(RIGHT)]])] += 1
            assert await operator.reload(node, []) == "ok"
            with anyio.fail_after(30):  # A look at health or a commit may be under way at either moment.
                while (rest := await _at_rest())[0] > before[0] or rest[1:] != before[1:]:
                    await anyio.sleep(0.05)
            group.cancel_scope.cancel()
        assert results == {"failed": ROUNDS, "ok": ROUNDS}
        assert node.configuration.generation == ROUNDS + 2
        assert node.sinks["sibling"].stage is sibling and node.pipelines["untouched"] is others
        assert {cell.key: cell.restarts for cell in node.cells if cell.restarts} == {}
        _, end = await node.bus.span(0)
        with anyio.fail_after(30):
            while min(pipeline.position for pipeline in node.pipelines.values()) < end:
                await anyio.sleep(0.01)
        assert node.counters.gaps() == {}
        edges = node.counters.snapshot()
        assert {name: edge.dropped for name, edge in edges.items() if edge.dropped} == {}
        assert edges["untouched/sibling"].out >= len(emitter.numbers)
    expected = [f"b-{n}" for n in emitter.numbers]
    for name in ("sibling", "ledger"):
        ids = [id for id in written(tmp_path / f"{name}.db") if id.startswith("b-")]
        assert len(ids) == len(set(ids)), f"{name} has some twice"
        assert set(expected) <= set(ids), f"{name} has not all"
    windows = [one for one in read_windows(tmp_path / "data" / "metrics.db") if one.metric == "build_performance"]
    assert sum(window.count for window in windows) == len(ids)


async def _at_rest() -> tuple[int, set[str]]:
    """The tasks that do not end by themselves, and what is open."""
    tasks: set[int] = set()
    for _ in range(50):
        await anyio.sleep(0.01)
        now = {id(task) for task in asyncio.all_tasks()}
        tasks = now if not tasks else tasks & now
    files: set[str] = set()
    for one in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            files.add(str(one.readlink()))
    return len(tasks), files
