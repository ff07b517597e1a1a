"""What build systems, test runners and pipelines report becomes a metric, a frame on the stream and a line in a log."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Operator
from tests.integration.processes import at_leisure

SEED = {
    f"{kind}-{end}": (kind, end)
    for kind in ("build", "validation", "deployment")
    for end in ("started", "completed", "failed")
}
"""The names that the runbook's system gives its browser events."""

REPORTED: Mapping[str, tuple[dict[str, Any], str, str, float]] = {
    "c160_c164_build": (
        {"type": "build-completed", "detail": {"duration": 941}},
        "build-completed", "build_performance", 941,
    ),
    "c160_failed": (
        {"type": "build-failed", "detail": {"error": "lint"}},
        "build-failed", "build_success_rate", 0,
    ),
    "c161_phase": (
        {"type": "build-completed", "detail": {"phases": {"bundle": 412}}},
        "build-completed", "build_phase_time", 412,
    ),
    "c161_cache": (
        {"type": "build-completed", "detail": {"cacheHitRate": 61.5}},
        "build-completed", "build_cache_hit_rate", 61.5,
    ),
    "c162_dependencies": (
        {"type": "build.finished", "outcome": "success", "measures": {"dependencies.resolve": 733}},
        "build-completed", "dependency_resolution_time", 733,
    ),
    "c163_bundle": (
        {"type": "build-completed", "detail": {"bundleSize": 412_331}},
        "build-completed", "bundle_size_total", 412_331,
    ),
    "c165_suite": (
        {"type": "testsuiterun.finished", "outcome": "success", "duration_ms": 12_345, "labels": {"suite": "unit"}},
        "validation-completed", "test_suite_duration", 12_345,
    ),
    "c165_validation": (
        {"type": "validation-completed", "detail": {"duration": 2_222}},
        "validation-completed", "validation_duration", 2_222,
    ),
    "c166_failures": (
        {"type": "validation-completed", "detail": {"tests": {"total": 200, "failed": 1}}},
        "validation-completed", "test_failure_rate", 0.5,
    ),
    "c167_coverage": (
        {"type": "validation-completed", "detail": {"coverage": 95.2}},
        "validation-completed", "test_coverage", 95.2,
    ),
    "c168_environments": (
        {"type": "validation.environment", "outcome": "success", "environment": "staging"},
        "validation-environment", "cross_environment_validation", 100,
    ),
    "c168_drift": (
        {"type": "validation.environment", "outcome": "failure", "measures": {"drift": 3}},
        "validation-environment", "environment_drift_count", 3,
    ),
    "c169_deployment": (
        {"type": "deployment-completed", "detail": {"duration": 94_000, "environment": "staging"}},
        "deployment-completed", "deployment_performance", 94_000,
    ),
    "c170_staging": (
        {"type": "deployment.validated", "outcome": "success", "environment": "staging", "duration_ms": 31_000},
        "deployment-validated", "staging_validation_duration", 31_000,
    ),
    "c170_staging_success": (
        {"type": "deployment.validated", "outcome": "success", "environment": "staging"},
        "deployment-validated", "staging_validation_success", 100,
    ),
    "c171_success": (
        {"type": "deployment-completed", "detail": {"environment": "production"}},
        "deployment-completed", "deployment_success_rate", 100,
    ),
    "c171_failure": (
        {"type": "deployment-failed", "detail": {"environment": "production"}},
        "deployment-failed", "deployment_success_rate", 0,
    ),
    "c172_rollback": (
        {"type": "deployment.rolledback", "environment": "production", "duration_ms": 45_000},
        "deployment-rolledback", "deployment_recovery_time", 45_000,
    ),
}  # fmt: skip
"""What is sent, the name of its frame, and the metric and value that it leads to."""


@pytest.mark.parametrize("name", REPORTED)
def test_c160_c173_what_is_sent_is_a_metric_a_frame_and_a_line_without_any_configuration(
    name: str, server: Operator
) -> None:
    event, frame, metric, value = REPORTED[name]
    with server.stream() as frames:
        server.emit({**event, "id": name, "source": "/ci"})
        heard = _until(frames, name)
    assert heard[0] == frame
    server.until(f"metrics/{metric}", lambda data: data["current"] == value)
    _logged(server, "build" if frame.startswith("build") else "monitoring", name)


@pytest.mark.parametrize("name", SEED)
def test_a27_b7_every_name_of_the_seed_is_understood(name: str, server: Operator) -> None:
    kind, end = SEED[name]
    with server.stream() as frames:
        server.emit(
            {"type": name, "id": f"seed-{name}", "source": "/browser", "detail": {"correlationId": f"s-{name}"}}
        )
        frame, told = _until(frames, f"seed-{name}")
    assert frame == name and told["subject"] == f"s-{name}"
    assert told["type"] == f"io.bers.{kind}.{'started' if end == 'started' else 'finished'}.v1"
    assert told["data"].get("outcome") == {"started": None, "completed": "success", "failed": "failure"}[end]
    assert told["data"]["origin"] == f"seed/{name}"


@pytest.mark.parametrize("type", ["build_completed", "Build-Completed", "io.bers.build.finished.v1",
                                  "dev.cdevents.build.finished.0.2.0", "BUILD.FINISHED"])  # fmt: skip
def test_a27_b7_one_event_has_many_spellings(type: str, server: Operator) -> None:
    with server.stream() as frames:
        server.emit({"type": type, "id": f"spelt-{type}", "source": "/ci", "outcome": "success", "duration_ms": 1})
        frame, told = _until(frames, f"spelt-{type}")
    assert frame == "build-completed" and told["type"] == "io.bers.build.finished.v1"


def test_b7_b8_what_nobody_claims_is_kept_and_told_under_a_name_of_its_own(server: Operator) -> None:
    with server.stream() as frames:
        server.emit({"type": "Cache_Warmed", "id": "w-1", "source": "/cron", "measures": {"entries": 7}, "keys": ["a"]})
        frame, told = _until(frames, "w-1")
    assert (frame, told["type"]) == ("event", "io.bers.custom.cache-warmed.v1")
    assert told["data"]["origin"] == "Cache_Warmed"
    assert server.data("dashboard/status")["unmapped"]["custom.cache-warmed"] == 1
    _logged(server, "monitoring", "w-1")
    server.until("records?type=custom.cache-warmed", len)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in-order", "out-of-order"])
def test_c160_start_and_end_are_joined_in_any_order_and_repeats_count_once(
    order: tuple[int, int], server: Operator
) -> None:
    name, now = f"joined-{order[0]}", time.time()
    same = {"source": "/ci", "subject": name, "environment": name}  # That nobody else builds in.
    both: list[dict[str, Any]] = [
        {**same, "type": "build.started", "id": f"{name}/start", "time": now - 7.25},
        {**same, "type": "build.finished", "id": f"{name}/end", "time": now, "outcome": "success"},
    ]
    for at in order:
        server.emit(both[at])
    server.until("metrics/build_performance", lambda data: _near(data["current"], 7250))
    again = server.post("ingest", both).json()["data"]
    assert (again["accepted"], again["duplicates"]) == (0, 2)
    counted = server.until(f"metrics/build_total?labels=environment={name}", lambda data: data["series"])
    assert sum(point[1] for one in counted["series"] for point in one["points"]) == 1
    for event in both:
        _logged(server, "build", str(event["id"]))


def test_c169_a_deployment_is_joined_and_its_failure_is_critical_in_production(server: Operator) -> None:
    now = time.time()
    both = {"source": "/cd", "subject": "release-9", "environment": "production", "service": "chat"}
    server.emit(
        {**both, "type": "deployment.finished", "id": "release-9/end", "time": now, "outcome": "failure"},
        {**both, "type": "deployment.started", "id": "release-9/start", "time": now - 61},
    )
    alerts = server.until("alerts", lambda data: [one for one in data if one["rule"] == "Deployment Failed"])
    assert "critical" in [one["severity"] for one in alerts if one["rule"] == "Deployment Failed"]
    _logged(server, "monitoring", "release-9/end")


BUILD = """
with bers_emit.build('chat-widget', environment='test') as b:
    with bers_emit.phase('bundle'):
        pass
    b.measure('bundle.size', 4097, kind='gzip')
"""
DEPLOYMENT = "with bers_emit.deployment('chat', environment='staging', version='1.5.0'): pass"
SUITE = "with bers_emit.suite('unit'): pass"
ROLLBACK = "bers_emit.emit('deployment.rolledback', service='chat', environment='production', duration_ms=3)"


@pytest.mark.parametrize(
    ("program", "frame", "metric", "log"),
    [
        (BUILD, "build-completed", "build_performance", "build"),
        (DEPLOYMENT, "deployment-completed", "deployment_performance", "monitoring"),
        (SUITE, "validation-completed", "test_suite_duration", "monitoring"),
        (ROLLBACK, "deployment-rolledback", "deployment_rollback_total", "monitoring"),
    ],
    ids=["c160_build", "c169_deployment", "c165_suite", "c172_rollback"],
)
def test_c160_c173_the_python_api_leads_to_the_same(
    program: str, frame: str, metric: str, log: str, server: Operator, tmp_path: Path
) -> None:
    began = time.time() * 1000
    with server.stream() as frames:
        subprocess.run([sys.executable, "-c", f"import bers_emit\n{program}"], check=True, timeout=30, env={
            "BERS_EMIT_URL": f"http://127.0.0.1:{server.ports['control']}", "BERS_EMIT_SPOOL": str(tmp_path),
            "BERS_EMIT_BUDGET": "30",
        })  # fmt: skip
        told = next(told for name, told in frames if name == frame)
    server.until(f"metrics/{metric}", lambda data: (data["lastUpdated"] or 0) >= began - 1)
    _logged(server, log, told["id"])
    if frame == "build-completed":
        server.until("metrics/bundle_size_total", lambda data: data["current"] == 4097)
    assert not list(tmp_path.iterdir())  # Delivered, so nothing is left in the spool.


def test_a27_the_command_line_leads_to_the_same(server: Operator, tmp_path: Path) -> None:
    with server.stream() as frames:
        done = server.bers("emit", "build-completed", "--duration", "1.5s", "--id", "by-hand", "--env", "staging",
                           "--strict", BERS_EMIT_SPOOL=str(tmp_path))  # fmt: skip
        assert (done.stdout, done.stderr) == ("", "")
        assert _until(frames, "by-hand")[0] == "build-completed"
    server.until("metrics/build_performance", lambda data: data["current"] == 1500)
    _logged(server, "build", "by-hand")


def test_a27_a_cloudevent_in_either_shape_is_taken_once(server: Operator) -> None:
    subject = {"id": "chat", "content": {"environment": {"id": "production"}}}
    event = {
        "specversion": "1.0", "id": "ce-1", "source": "/ce", "type": "dev.cdevents.service.rolledback.0.2.0",
        "data": {"context": {"specversion": "0.5.0-draft"}, "subject": subject},
    }  # fmt: skip
    cloud = {"Content-Type": "application/cloudevents+json"}
    one = server.post("ingest", headers=cloud, json=event).json()["data"]
    batch = server.post("ingest", headers={"Content-Type": "application/cloudevents-batch+json"}, json=[event]).json()[
        "data"
    ]
    assert (one["accepted"], batch["accepted"], batch["duplicates"]) == (1, 0, 1)
    _logged(server, "monitoring", "ce-1")


def test_a27_what_is_wrong_with_one_event_is_said_and_the_others_are_taken(server: Operator) -> None:
    reply = server.post("ingest", [
        {"type": "build.started", "id": "fine", "source": "/ci"}, {"type": "build finished!"},
        {"type": "alert.firing"}, {"type": "build.finished", "duration_ms": -1},
    ])  # fmt: skip
    assert reply.status_code == 202
    data = reply.json()["data"]
    assert data["accepted"] == 1 and [one["index"] for one in data["rejected"]] == [1, 2, 3]
    assert "reserved" in data["rejected"][1]["error"] and "negative" in data["rejected"][2]["error"]
    assert server.post("ingest", {"type": "no such type!"}).status_code == 422


def _until(frames: Any, id: str) -> tuple[str, Any]:
    """The frame of the event with that id; within a second or two, which the client's time-out sees to."""
    began = time.monotonic()
    for name, data in frames:
        if data.get("id") == id:
            return name, data
        assert time.monotonic() - began < at_leisure(5.0), f"{id} was not told"
    raise AssertionError("the stream ended")


def _logged(server: Operator, log: str, id: str) -> None:
    """Wait until an event has its one line in a log."""
    deadline = time.monotonic() + at_leisure(5.0)
    while not (found := [line for line in server.log(log) if line.get("id") == id]):
        assert time.monotonic() < deadline, f"{id} is not in logs/{log}.log"
        time.sleep(0.02)
    assert len(found) == 1 and found[0]["level"] == "INFO"


def _near(value: float | None, wanted: float) -> bool:
    return value is not None and abs(value - wanted) < 1
