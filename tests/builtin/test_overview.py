"""The running graph is told as it is: every place, how it is doing, and what goes from one to the next."""

import time
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, thread_time
from typing import Any

import anyio
import pytest

from bers import Batch, Config, Emit, SinkSpec, SourceSpec, Stage
from bers.testing.server import serving

SHIPPED = {"metrics": ["windows", "sampling", "retention", "store"], "alerts": ["alert-engine"],
           "notify": ["webhooks", "heartbeat"], "history": ["store"], "live": ["sse", "dashboard"]}  # fmt: skip


def by_id(overview: Mapping[str, Any]) -> dict[str, Any]:
    return {node["id"]: node for node in overview["nodes"]}


async def test_every_place_is_there_and_is_led_to(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        overview = await server.data("pipelines")
    nodes, links = by_id(overview), {(one["from"], one["to"]) for one in overview["links"]}
    assert {name for name, node in nodes.items() if node["kind"] == "pipeline"} == SHIPPED.keys()
    for name, stages in SHIPPED.items():
        assert ("bus", name) in links
        assert {node["stage"] for node in nodes.values() if node["pipeline"] == name} == {"", *stages}
    assert {("metrics", "metrics/windows"), ("metrics/retention", "metrics/store")} <= links
    assert {("intake", "source/build"), ("source/build", "bus"), ("source/alert-engine", "bus")} <= links
    assert {end for _, end in links} | {"intake"} == nodes.keys()
    assert nodes["metrics/store"]["use"] == "rest-store" and nodes["metrics/store"]["state"] == "ok"


async def test_what_passed_is_counted_timed_and_rated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bers.speedometer.SPAN", 3600)  # However long it takes, a rate is of all of it.
    began = monotonic()
    async with serving(tmp_path) as server:
        now = time.time()
        for first in range(0, 600, 100):
            await server.emit(
                *({"id": f"b-{first + n}", "source": "/ci", "type": "build.finished", "time": now} for n in range(100))
            )
        overview = await server.until(
            "pipelines",
            lambda data: by_id(data)["metrics/store"]["counters"]["taken"] >= 600 and not by_id(data)["metrics"]["lag"],
        )
        seconds = monotonic() - began
    nodes = by_id(overview)
    assert nodes["source/build"]["counters"]["taken"] >= 600
    assert nodes["source/build"]["p99"] > 0 and nodes["source/build"]["counters"]["cpu"] > 0
    assert nodes["intake"]["p99"] > nodes["intake"]["p50"] > 0
    assert nodes["metrics/windows"]["rates"]["taken"] * seconds >= 599 and nodes["metrics"]["lag"] == 0
    assert (overview["unaccounted"], {node["unaccounted"] for node in nodes.values()}) == ({}, {0})
    assert overview["process"]["cpu"] > overview["process"]["other"] >= 0
    rates = {(one["from"], one["to"]): one["rate"] for one in overview["links"]}
    assert rates["bus", "metrics"] == nodes["metrics"]["rates"]["taken"]


class NoConfig(Config, frozen=True):
    """Nothing to configure."""


class Toiling(Stage[NoConfig]):
    """Takes 20 ms of CPU to find out nothing, rests as long, and tells."""

    async def run(self, emit: Emit) -> None:
        while True:
            until = thread_time() + 0.02
            while thread_time() < until:
                pass
            await anyio.sleep(0.02)
            await emit([self.context.event("toil.done")], durable=True)


async def test_a_source_that_measures_by_itself_is_charged_with_what_that_takes(tmp_path: Path) -> None:
    text = "sources: {toil: {use: toiling}}\nsinks: {store: {use: rest-store}}\n"
    text += "pipelines: {all: {sources: [toil], sinks: [store]}}\n"
    toiling = SourceSpec("toiling", NoConfig, Toiling, claims=["toil.*"])
    async with serving(tmp_path, text, specs=[("source", toiling)]) as server:
        overview = await server.until("pipelines", lambda data: by_id(data)["source/toil"]["counters"]["taken"] >= 10)
    toil, intake = by_id(overview)["source/toil"]["counters"], by_id(overview)["intake"]["counters"]
    assert 0.2 <= toil["cpu"] < 0.025 * (toil["taken"] + 2)
    assert intake["cpu"] < toil["cpu"] / 2


class Broken(Stage[NoConfig]):
    async def write(self, batch: Batch) -> None:
        raise RuntimeError("the line is down")


TEXT = """
sources: {build: {}}
sinks: {line: {use: broken, delivery: {required: true}}}
pipelines: {only: {sources: [build], sinks: [line]}}
"""


async def test_a_sink_that_fails_shows_its_errors_and_what_waits_for_it(tmp_path: Path) -> None:
    broken = SinkSpec("broken", NoConfig, Broken)
    async with serving(tmp_path, TEXT, specs=[("sink", broken)]) as server:
        await server.emit({"type": "build.finished", "source": "/ci"})
        await server.until("pipelines", lambda data: by_id(data)["only/line"]["counters"]["errors"])
        await server.emit({"type": "build.finished", "source": "/ci"})
        overview = await server.until("pipelines", lambda data: by_id(data)["only"]["queueAge"])
        metrics = (await server.get("/metrics")).text
    nodes = by_id(overview)
    assert nodes["only"]["lag"] >= 1 and nodes["only/line"]["queued"] >= 1
    assert nodes["only/line"]["counters"]["last_error"] == "RuntimeError: the line is down"
    assert 'bers_stage_cpu_seconds_total{stage="only/line"}' in metrics
    assert 'bers_stage_latency_seconds{stage="intake",quantile="0.99"}' in metrics
    assert 'bers_pipeline_lag{pipeline="only"} 0' not in metrics and 'bers_pipeline_lag{pipeline="only"}' in metrics
