"""Tekton's CloudEvents: what it tells of runs, in whatever order and however often, is what happened."""

import json
from typing import Any

import pytest

from bers import Event
from bers.decoding import Decoder
from tests.unit.test_cloudevents import NOW, raw


def run(reason: str = "Succeeded", **labels: str) -> dict[str, Any]:
    return {
        "kind": "PipelineRun",
        "metadata": {"name": "release-x7", "namespace": "ci", "uid": "u-1",
                     "labels": {"tekton.dev/pipeline": "release", **labels}},
        "spec": {"pipelineRef": {"name": "release"}},
        "status": {
            "startTime": "2023-11-14T22:13:20Z", "completionTime": "2023-11-14T22:14:20Z",
            "conditions": [{"type": "Succeeded", "status": "False", "reason": reason, "message": f"it is {reason}"}],
        },
    }  # fmt: skip


def told(word: str, body: Any, what: str = "pipelinerun", id: str = "random") -> Event:
    """As Tekton sends it: in binary mode."""
    headers = {
        "specversion": "1.0", "id": id, "type": f"dev.tekton.event.{what}.{word}.v1",
        "source": "/apis/tekton.dev/v1/namespaces/ci/pipelineruns/release-x7", "time": "2023-11-14T22:15:00Z",
    }  # fmt: skip
    found = Decoder().binary(raw(headers), "application/json", json.dumps(body).encode(), now=NOW)
    assert not found.rejected, found.rejected
    (event,) = found.events
    return event


@pytest.mark.parametrize(
    ("word", "reason", "type", "outcome", "time"),
    [
        ("queued", "", "pipelinerun.queued", None, 1_700_000_100.0),
        ("started", "", "pipelinerun.started", None, 1_700_000_000.0),
        ("running", "", "pipelinerun.running", None, 1_700_000_100.0),
        ("unknown", "", "pipelinerun.running", None, 1_700_000_100.0),
        ("successful", "Succeeded", "pipelinerun.finished", "success", 1_700_000_060.0),
        ("failed", "Failed", "pipelinerun.finished", "failure", 1_700_000_060.0),
        ("failed", "Cancelled", "pipelinerun.finished", "cancel", 1_700_000_060.0),
        ("failed", "PipelineRunTimeout", "pipelinerun.finished", "timeout", 1_700_000_060.0),
    ],
)
def test_every_word_is_what_it_means(word: str, reason: str, type: str, outcome: str | None, time: float) -> None:
    event = told(word, {"pipelineRun": run(reason)})
    assert (event.type, event.outcome, event.time, event.subject) == (type, outcome, time, "ci/release-x7")
    assert event.duration_ms == (60_000.0 if type == "pipelinerun.finished" else None)
    assert event.reason == (f"it is {reason}" if word == "failed" else None)
    assert event.run
    assert (event.run.system, event.run.pipeline, event.run.id) == ("tekton", "release", "release-x7")
    assert (event.data, event.origin) == ({}, f"tekton/dev.tekton.event.pipelinerun.{word}.v1")


def test_what_is_told_again_is_the_same_event() -> None:
    first, again = (told("successful", {"pipelineRun": run()}, id=id) for id in ("a", "b"))
    assert (first.source, first.id) == (again.source, again.id)
    assert told("failed", {"pipelineRun": run()}).id == first.id  # A run ends once.


@pytest.mark.parametrize("kind", ["build", "validation", "deployment"])
def test_a_label_says_what_a_run_is(kind: str) -> None:
    assert told("started", {"pipelineRun": run(**{"bers/kind": kind})}).type == f"{kind}.started"
    assert told("started", {"taskRun": run()}, "taskrun").type == "taskrun.started"


@pytest.mark.parametrize(
    "body", [{}, {"pipelineRun": 5}, {"pipelineRun": {"metadata": [], "status": {"conditions": 1}}}]
)
def test_what_is_not_told_is_not_known(body: Any) -> None:
    event = told("successful", body)
    assert (event.id, event.type, event.outcome, event.duration_ms) == (
        "random", "pipelinerun.finished", "success", None,
    )  # fmt: skip


def test_a_label_cannot_make_a_run_one_of_our_own_events() -> None:
    headers = {"specversion": "1.0", "id": "1", "source": "/t", "type": "dev.tekton.event.pipelinerun.started.v1"}
    body = json.dumps({"pipelineRun": run(**{"bers/kind": "alert"})}).encode()
    (rejection,) = Decoder().binary(raw(headers), "application/json", body, now=NOW).rejected
    assert "is reserved for this server's own events" in rejection.error
