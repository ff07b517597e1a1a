"""The path of one event is told: who read it, who took it, and what each stage made of it."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bers import Batch, Config, Event, ProcessorSpec, SinkSpec, Stage, explaining
from bers.plugins import Kind
from bers.stages import AnySpec
from bers.testing.server import serving

THIN = ("processors", "sampling"), {"rate": 0.0}
IN_MEMORY = ("intake", "journal", "durable"), False


def build(id: str, subject: str, type: str = "build.finished", **more: Any) -> dict[str, Any]:
    return {"id": id, "source": "/ci", "type": type, "subject": subject, "time": time.time(), **more}


def stages(explanation: Mapping[str, Any], pipeline: str) -> dict[str, Any]:
    (found,) = [one for one in explanation["pipelines"] if one["pipeline"] == pipeline]
    return {stage["stage"]: stage for stage in found["stages"]}


async def test_an_event_that_is_sampled_out_leaves_its_figures(tmp_path: Path) -> None:
    async with serving(tmp_path, changes=[THIN]) as server:
        await server.emit(build("b-1", "b1", outcome="success", duration_ms=10))
        told = await server.until(
            "explain/b-1", lambda data: stages(data, "metrics")["store"]["outcome"] == "delivered"
        )
    assert (told["owner"], told["foundIn"], told["cause"], told["follows"]) == ("build", "journal", None, [])
    found = stages(told, "metrics")
    assert {name: stage["outcome"] for name, stage in found.items()} == {
        "windows": "changed", "sampling": "left out", "retention": "changed", "store": "delivered",
    }  # fmt: skip
    metrics = {window["metric"]: window["last"] for window in found["windows"]["windows"]}
    assert metrics == {"build_total": 1.0, "build_success_rate": 100.0, "build_performance": 10.0}
    assert found["sampling"]["says"][0] == "It leaves the event out."
    assert found["sampling"]["says"][1].startswith("It is not of the 0 of all runs")
    assert found["retention"]["windows"][0]["tiers"][1] == {"width": 60.0, "keep": 3600.0}
    assert found["store"]["says"][-1] == "It keeps no details of the event."


async def test_an_event_and_what_follows_from_it_name_each_other(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        now = time.time()
        await server.emit(build("f-1", "b1", outcome="success", time=now))
        await server.emit(build("s-1", "b1", type="build.started", time=now - 2))  # It comes late.
        begin = await server.data("explain/s-1")
        (follower,) = begin["follows"]
        end = await server.data(f"explain/at/{follower['position']}")
    assert begin["reading"][-1] == "It made 1 more of it."
    assert follower["measures"].keys() == {"build_performance"}
    assert (end["event"]["id"], end["event"]["cause"]) == (follower["id"], "s-1")
    assert (end["cause"]["id"], end["cause"]["position"]) == ("s-1", begin["position"])
    assert end["reading"] == ["It follows from event 's-1': the source that read that one made it."]


async def test_an_event_that_nobody_claims_is_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit({"id": "u-1", "source": "/x", "type": "strange.thing", "labels": {"api_key": "abcdef"}})
        told = await server.data("explain/u-1")
    assert told["owner"] == "unmapped"
    assert told["reading"] == ["No source claims the type 'strange.thing'; it was kept as it came."]
    assert told["event"]["labels"] == {"api_key": "***"}
    assert {one["pipeline"]: one["takes"] for one in told["pipelines"]} == {
        "metrics": True, "alerts": True, "notify": False, "history": False, "live": True,
    }  # fmt: skip
    assert stages(told, "metrics")["windows"]["outcome"] == "passed on"
    assert stages(told, "alerts")["alert-engine"]["says"][-1].startswith("No rule reads events of its type")


async def test_a_breach_names_the_rule_and_the_alert_that_it_fired(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(build("b-1", "b1", outcome="success", duration_ms=6200))
        (alert,) = await server.until("alerts", bool)
        told = await server.data("explain/b-1")
        await server.emit(build("b-2", "b2", outcome="success", duration_ms=10))
        await server.until("alerts", lambda data: not data)
        later = await server.data("explain/b-1")
    assert stages(told, "alerts")["alert-engine"]["says"][-1] == (
        "Rule 'Build Performance Degraded' (last > 5 s): build_performance of 6.2 s is beyond the threshold. "
        f"Alert {alert['id']} is active; this event brought it last."
    )
    assert f"Alert {alert['id']} is resolved" in stages(later, "alerts")["alert-engine"]["says"][-1]


async def test_one_that_the_journal_has_given_up_is_explained_from_the_store(tmp_path: Path) -> None:
    async with serving(tmp_path, changes=[IN_MEMORY]) as server:
        await server.emit(build("b-1", "b1", outcome="failure", duration_ms=10))
        await server.until("records?id=b-1", bool)
        _, end = await server.node.supervisor.bus.span(0)
        await server.node.supervisor.bus.trim(0, end)
        told = await server.data("explain/b-1?source=/ci")
        gone = await server.get("explain/at/1")
    assert (told["foundIn"], told["event"]["outcome"]) == ("store", "failure")
    assert stages(told, "metrics")["store"]["says"][-1].startswith("It keeps the details of the event until ")
    assert gone.status_code == 404 and "the journal" in gone.json()["error"]["hint"]


async def test_an_event_that_is_not_there_is_answered_with_how_far_back_one_can_ask(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit(build("b/1", "b1"))
        missing = await server.get("explain/b-1")
        other = await server.get("explain?id=b/1&source=/elsewhere")
        nowhere = await server.get("explain/at/0")
        assert (await server.data("explain?id=b/1&source=/ci"))["event"]["id"] == "b/1"
    assert (missing.status_code, other.status_code, nowhere.status_code) == (404, 404, 422)
    assert "the journal reaches back to position 1, to 20" in missing.json()["error"]["hint"]


async def test_it_is_looked_for_slice_by_slice_and_the_newest_of_an_id_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "SLICE", 2)
    async with serving(tmp_path) as server:
        await server.emit(build("old", "b1"), build("same", "b2"))
        for number in range(5):
            await server.emit(build(f"b-{number}", "b3"))
        await server.emit({**build("same", "b4"), "source": "/other"})
        assert (await server.data("explain/old"))["event"]["subject"] == "b1"
        assert (await server.data("explain/same"))["event"]["subject"] == "b4"
        assert (await server.data("explain/same?source=/ci"))["event"]["subject"] == "b2"


class NoConfig(Config, frozen=True):
    """Nothing to configure."""


class Choking(Stage[NoConfig]):
    async def process(self, batch: Batch) -> Batch:
        if any(event.id == "bad" for event in batch.events):
            raise ValueError("it tastes of token ghp_" + "a" * 30)
        return batch


class Chatty(Stage[NoConfig]):
    async def write(self, batch: Batch) -> None:
        pass

    async def explain(self, event: Event) -> Sequence[str]:
        if event.id == "worse":
            raise KeyError("worse")
        return [f"It likes {event.id}."]


TEXT = """
sources: {build: {}}
processors: {choke: {use: choking}, again: {use: choking}}
sinks: {ear: {use: chatty, delivery: {required: true}}}
pipelines: {only: {sources: [build], processors: [choke, again], sinks: [ear]}}
"""


async def test_a_stage_that_fails_to_answer_is_told_so_and_the_others_answer(tmp_path: Path) -> None:
    own: list[tuple[Kind, AnySpec]] = [
        ("processor", ProcessorSpec("choking", NoConfig, Choking)),
        ("sink", SinkSpec("chatty", NoConfig, Chatty)),
    ]
    async with serving(tmp_path, TEXT, specs=own) as server:
        await server.emit(build("good", "b1"), build("worse", "b1"))
        good = await server.until("explain/good", lambda data: stages(data, "only")["ear"]["outcome"] == "delivered")
        worse = await server.data("explain/worse")
        await server.emit(build("bad", "b1"))
        bad = await server.data("explain/bad")
    assert stages(good, "only")["ear"]["says"][-1] == "It likes good."
    assert stages(worse, "only")["ear"]["says"][-1] == "It cannot say more: KeyError: 'worse'"
    found = stages(bad, "only")
    assert (found["choke"]["outcome"], found["choke"]["says"]) == (
        "failed",
        ["It raises ValueError: it tastes of token ***"],
    )
    assert (found["again"]["outcome"], found["ear"]["outcome"]) == ("not reached", "waiting")
