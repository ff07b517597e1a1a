"""The runbook's requests, one by one, against a server that was started as an operator starts it."""

import re
import subprocess
import sys
import time
from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import Operator
from tests.integration.processes import at_leisure

WORDS = {"healthy", "degraded", "unhealthy", "unknown"}
CHECKS = {
    "C015": "environment-resolver",
    "C016": "configuration-validity",
    "C017": "provider-health",
    "C018": "system-resources",
    "C019": "metrics-collector",
}
METRICS = {
    "C021": "configuration_resolution_time",
    "C022": "provider_initialization_time",
    "C023": "build_performance",
    "C024": "cache_hit_rate",
}
PAGES = {"c025": "?period=5m", "c026": "?period=7d", "c027": "", "a5": "?period=604800000"}


@pytest.fixture(scope="module", autouse=True)
def build(server: Operator) -> None:
    """The build that the requests ask for."""
    detail = {"duration": 930, "environment": "production", "phases": {"bundle": 410}}
    server.emit({"type": "build-completed", "detail": detail})
    server.until("metrics/build_performance", lambda data: data["current"] == 930)


def test_c010_the_dashboard_is_a_page_with_values(server: Operator) -> None:
    page = server.get("/")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "930" in page.text and "<html" in page.text


def test_c011_c014_health_is_answered_on_its_port(server: Operator) -> None:
    reply = server.get("health", "health")
    assert reply.status_code == 200 and set(CHECKS.values()) <= {one["name"] for one in reply.json()["data"]["checks"]}


@pytest.mark.parametrize(("number", "name"), CHECKS.items())
def test_c015_c019_each_check_is_answered_by_name(number: str, name: str, server: Operator) -> None:
    reply = server.get(f"health/{name}", "health").json()
    assert reply["success"] and reply["data"]["name"] == name and reply["data"]["status"] in WORDS


def test_c019_an_unknown_check_is_404_with_the_names_there_are(server: Operator) -> None:
    reply = server.get("health/provider-helth", "health")
    assert reply.status_code == 404
    error = reply.json()["error"]
    assert "did you mean 'provider-health'" in error["message"] and set(CHECKS.values()) <= set(error["known"])


def test_c012_c020_metrics_are_answered_on_their_port(server: Operator) -> None:
    data = server.data("metrics", "metrics")
    assert set(METRICS.values()) <= set(data) and data["build_performance"]["current"] == 930


@pytest.mark.parametrize(("number", "name"), METRICS.items())
def test_c021_c024_each_metric_has_a_value_and_a_unit(number: str, name: str, server: Operator) -> None:
    data = server.data(f"metrics/{name}", "metrics")
    assert data["type"] == name and "current" in data and data["unit"] in ("ms", "%")


def test_c024_a_metric_without_data_is_null_and_unknown_and_one_that_is_not_registered_is_404(server: Operator) -> None:
    data = server.data("metrics/deployment_lead_time", "metrics")
    assert data["current"] is None and data["healthStatus"] == "unknown"
    assert server.get("metrics/no_such_metric", "metrics").status_code == 404


@pytest.mark.parametrize("query", PAGES.values(), ids=PAGES)
def test_c025_c026_c027_the_report_takes_any_way_to_write_a_period(query: str, server: Operator) -> None:
    data = server.data(f"metrics/report{query}", "metrics")
    milliseconds = 604_800_000 if "7d" in query or "604800000" in query else 300_000
    assert data["periodMs"] == milliseconds and isinstance(data["recommendations"], list)


def test_c027_a_period_that_is_none_is_400(server: Operator) -> None:
    assert server.get("metrics/report?period=abc", "metrics").status_code == 400


def test_c013_c028_c049_c052_c055_status_says_what_runs(server: Operator) -> None:
    data = server.data("dashboard/status")
    assert data["components"] == dict.fromkeys(data["components"], True)
    assert isinstance(data["server"]["uptime"], int) and isinstance(data["server"]["sseClients"], int)


def test_c029_c030_c031_c053_alerts_are_an_array_and_their_statistics_an_object(server: Operator) -> None:
    assert isinstance(server.data("alerts"), list)
    assert server.data("alerts/stats")["periodMs"] == 86_400_000
    assert server.data("alerts/stats?period=604800000")["periodMs"] == 604_800_000


@pytest.mark.parametrize("verb", ["acknowledge", "resolve"])
def test_c032_c033_an_unknown_alert_is_404_a_get_405_and_another_media_type_415(verb: str, server: Operator) -> None:
    body = {"operator": "admin", "notes": "x"}
    assert server.post(f"alerts/no-such-alert/{verb}", body).status_code == 404
    refused = server.get(f"alerts/no-such-alert/{verb}")
    assert refused.status_code == 405 and refused.headers["allow"] == "POST"
    text = httpx2.post(
        server.url(f"alerts/x/{verb}"), content=b"operator=admin", headers={"Content-Type": "text/plain"}
    )
    assert text.status_code == 415


def test_c034_clearing_the_resolver_cache_makes_the_next_resolution_a_miss(server: Operator) -> None:
    cleared = server.post("environment-resolver/clear-cache").json()["data"]
    assert isinstance(cleared["cleared"], int)
    assert _audited(server, "POST /api/monitoring/environment-resolver/clear-cache")


def test_c035_restarting_the_collector_resets_its_uptime_and_keeps_what_is_stored(server: Operator) -> None:
    restarted = server.post("metrics/restart").json()["data"]["restarted"]
    assert "host" in restarted
    stages = server.until("dashboard/status", lambda data: _stage(data, "host")["state"] == "ok")
    assert _stage(stages, "host")["since"] < 5_000
    assert server.data("metrics/build_performance")["current"] == 930


def test_c036_resetting_breakers_is_answered_and_audited(server: Operator) -> None:
    assert server.post("health/circuit-breakers/reset").json()["data"]["reset"] == []
    assert _audited(server, "POST /api/monitoring/health/circuit-breakers/reset")


def test_c037_clearing_the_metrics_cache_keeps_what_is_stored(server: Operator) -> None:
    server.data("metrics/report?period=5m")
    assert server.post("metrics/clear-cache").status_code == 200
    assert server.data("metrics/build_performance")["current"] == 930
    assert server.get("metrics/clear-cache").status_code == 405


def test_c038_c142_the_stream_begins_at_once_and_goes_on_every_second(server: Operator) -> None:
    waits: list[float] = []
    for _ in range(5):  # A busy machine holds up one of us now and then; the stream itself waits for nothing.
        started = time.monotonic()
        with httpx2.stream("GET", server.url("events"), timeout=10) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            assert reply.headers["x-accel-buffering"] == "no" and reply.headers["cache-control"] == "no-store"
            next(reply.iter_raw())
            waits.append(time.monotonic() - started)
    assert min(waits) < at_leisure(0.2), waits
    with httpx2.stream("GET", server.url("events"), timeout=10) as reply:
        started, text = time.monotonic(), ""
        pieces = reply.iter_raw()
        while time.monotonic() - started < 3.2:
            text += next(pieces).decode()
    assert text.count("event: performance_metrics") >= 2 and "\nid: " in text


def test_c052_a_client_that_leaves_is_no_longer_counted(server: Operator) -> None:
    server.until("dashboard/status", lambda data: data["server"]["sseClients"] == 0)  # Others have just left.
    with server.stream() as frames:
        assert next(frames)[0] == "connected"
        assert server.data("dashboard/status")["server"]["sseClients"] == 1
    server.until("dashboard/status", lambda data: data["server"]["sseClients"] == 0)


def test_c040_c046_the_paths_of_the_health_answer(server: Operator) -> None:
    reply = server.get("health", "health").json()
    data = reply["data"]
    assert reply["success"] is True
    assert isinstance(data["timestamp"], int) and abs(data["timestamp"] / 1000 - time.time()) < 60
    assert data["overallStatus"] in WORDS and data["version"] == "1.0.0" and data["environment"] == "production"
    assert len(data["checks"]) >= 5
    assert server.get("health", "health").json()["data"]["uptime"] >= data["uptime"]


def test_c047_c048_the_paths_of_the_metric_answers(server: Operator) -> None:
    server.until("metrics/configuration_resolution_time", lambda data: data["current"] is not None)
    assert isinstance(server.data("metrics/configuration_resolution_time", "metrics")["current"], (int, float))
    assert isinstance(server.data("metrics/build_performance", "metrics"), dict)


def test_c050_memory_usage_is_that_of_the_machine_in_per_cent(server: Operator) -> None:
    usage = server.data("health/system-resources", "health")["details"]["memoryUsage"]
    assert 0 < usage <= 100


def test_c051_buffer_utilization_stands_beside_the_metrics_and_in_the_collector_check(server: Operator) -> None:
    beside = server.get("metrics", "metrics").json()["bufferUtilization"]
    assert "overall" in beside and all(0 <= value <= 1 for value in beside.values())
    assert "overall" in server.data("health/metrics-collector", "health")["details"]["bufferUtilization"]


def test_c054_c056_c081_the_weekly_report_is_json_with_the_baselines_of_the_runbook(server: Operator) -> None:
    report = server.get("metrics/report?period=7d", "metrics").json()["data"]
    rows = {row["metric"]: row for row in report["baselines"]}
    assert {
        "Build Time",
        "Configuration Resolution",
        "Provider Initialization",
        "Deployment Time",
        "Test Coverage",
    } <= set(rows)
    assert isinstance(report["recommendations"], list)


def test_c077_availability_is_told_with_its_error_budget(server: Operator) -> None:
    availability = server.data("health")["availability"]
    assert (
        availability["percent"] == 100.0 and availability["target"] == 99.9 and availability["budgetRemaining"] == 100.0
    )


def test_c065_a7_the_whole_has_a_severity(server: Operator) -> None:
    data = server.data("health")
    assert data["severity"] in ("none", "info", "warning", "error") and data["summary"]["critical"] == 0


def test_a1_each_family_is_answered_on_its_port_and_everything_on_the_control_port(server: Operator) -> None:
    for path, wrong, right in (
        ("metrics", "health", "metrics"),
        ("health", "metrics", "health"),
        ("alerts", "metrics", "control"),
    ):
        refused = server.get(path, wrong)
        assert refused.status_code == 404 and str(server.ports[right]) in refused.json()["error"]["hint"]
        assert server.get(path).status_code == 200
    assert server.post("metrics/restart", surface="metrics").status_code == 404


def test_a8_liveness_and_readiness_are_plain_on_every_port(server: Operator) -> None:
    for surface in server.ports:
        for path in ("/livez", "/readyz"):
            reply = server.get(path, surface)
            assert (reply.status_code, reply.content) == (200, b"")


def test_b3_b13_the_description_of_a_listener_names_its_own_routes(server: Operator) -> None:
    control, health = (server.get("/openapi.json", surface).json()["paths"] for surface in ("control", "health"))
    assert "/api/monitoring/alerts/{id}/acknowledge" in control and "/api/monitoring/ingest" in control
    assert set(health) == {
        f"/api/monitoring/{path}"
        for path in (
            "availability", "health", "health/history", "health/badge.svg", "health/availability.svg",
            "health/circuit-breakers", "health/{check}", "health/{check}/history", "health/{check}/badge.svg",
            "health/{check}/availability.svg",
        )
    }  # fmt: skip
    assert re.search(
        r"^bers_build_performance_seconds(\{.*\})? 0\.93$", server.get("/metrics", "metrics").text, re.MULTILINE
    )


def test_c006_a_port_in_use_is_named_with_its_holder(server: Operator) -> None:
    folder = server.folder / "second"
    folder.mkdir(exist_ok=True)
    text = f"server: {{health: 0, metrics: 0, control: {server.ports['control']}}}\n"
    (folder / "pipelines.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "bers", "start"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert f"server.control: port {server.ports['control']} is in use" in done.stderr
    assert f"process {server.process.pid}" in done.stderr


def _stage(status: Any, key: str) -> Any:
    return next(stage for stage in status["stages"] if stage["key"] == key)


def _audited(server: Operator, action: str) -> bool:
    return any(entry["action"] == action and entry["outcome"] == "done" for entry in server.data("audit"))
