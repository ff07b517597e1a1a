"""The runbook's alerts fire, are looked after and end, with every step on REST, on the stream and at a webhook."""

import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.acceptance.conftest import Operator, configuration, needs, operating
from tests.acceptance.receiving import Receiver, receiving
from tests.integration.processes import at_leisure


@pytest.fixture(scope="module")
def told() -> Generator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, told: Receiver) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("alerts")
    channel = f"{{channels: [{{name: team, url: '{told.url}', allow_internal: true}}]}}"
    configuration(folder, **{"webhooks: {}": f"webhooks: {channel}"})
    with operating(folder) as operator:
        yield operator


@needs("curl")
def test_c032_c033_c073_a_slow_build_fires_is_acknowledged_and_resolved_by_the_lines_of_the_runbook(
    server: Operator, told: Receiver
) -> None:
    with server.stream() as frames:
        server.emit({"type": "build-completed", "detail": {"duration": 5001, "environment": "production"}})
        (alert,) = server.until("alerts", len)
        assert (alert["rule"], alert["severity"], alert["status"]) == ("Build Performance Degraded", "error", "active")
        assert (alert["value"], alert["threshold"], alert["unit"]) == (5001, 5000, "ms")
        told.until("alert.firing")

        acknowledged = curl(server, alert["id"], "acknowledge", "Investigating configuration issue")
        assert acknowledged["data"]["status"] == "acknowledged"
        assert acknowledged["data"]["acknowledgment"]["operator"] == "admin"
        again = curl(server, alert["id"], "acknowledge", "Investigating configuration issue")
        assert again["data"]["acknowledgment"] == acknowledged["data"]["acknowledgment"]
        assert [one["id"] for one in server.data("alerts")] == [alert["id"]]

        resolved = curl(server, alert["id"], "resolve", "Fixed by clearing cache")
        assert resolved["data"]["status"] == "resolved" and server.data("alerts") == []
        told.until("alert.firing", "alert.acknowledged", "alert.resolved")
        assert len(set(told.ids)) == 3

        wanted = ["alert_firing", "alert_acknowledged", "alert_resolved"]
        seen: list[str] = []
        for name, _data in frames:
            seen += [name] if name in wanted else []
            if seen == wanted:
                break
    history = server.data("alerts/history")
    assert [one["id"] for one in history] == [alert["id"]]
    assert history[0]["resolution"]["operator"] == "admin"


def test_c033_an_acknowledgement_without_an_operator_is_refused(server: Operator) -> None:
    server.emit(
        {"type": "deployment.finished", "outcome": "success", "environment": "production", "duration_ms": 300_001}
    )
    alert = next(one for one in server.until("alerts", len) if one["rule"] == "Deployment Slow")
    refused = server.post(f"alerts/{alert['id']}/acknowledge", {"notes": "who?"})
    assert refused.status_code == 422
    assert refused.json()["error"]["details"][0]["path"] == "operator"
    server.post(f"alerts/{alert['id']}/resolve", {"operator": "admin", "notes": ""})


@pytest.mark.parametrize(
    ("event", "rule", "severity"),
    [
        (
            {"type": "provider.initialized", "subject": "api", "outcome": "success", "duration_ms": 51},
            "Provider Initialization Slow",
            "warning",
        ),
        (
            {"type": "deployment.rolledback", "environment": "production", "service": "chat"},
            "Deployment Rolled Back",
            "error",
        ),
        ({"type": "validation-completed", "detail": {"coverage": 94.9}}, "Test Coverage Low", "error"),
    ],
    ids=["c072", "c172", "c079"],
)
def test_c072_c079_c172_what_goes_wrong_fires_at_once(
    event: dict[str, Any], rule: str, severity: str, server: Operator
) -> None:
    server.emit(event)
    alert = server.until("alerts", lambda data: any(one["rule"] == rule for one in data))
    assert next(one for one in alert if one["rule"] == rule)["severity"] == severity


@pytest.mark.parametrize(
    "event",
    [
        {"type": "validation-completed", "detail": {"coverage": 95.2}},
        {
            "type": "provider.initialized",
            "subject": "ok",
            "labels": {"provider": "ok"},
            "outcome": "success",
            "duration_ms": 50,
        },
        {"type": "build-completed", "detail": {"duration": 5000, "environment": "staging"}},
    ],
    ids=["c079-95.2", "c072-50", "c073-5000"],
)
def test_c072_c073_c079_what_just_meets_its_threshold_is_fine(event: dict[str, Any], server: Operator) -> None:
    before = {one["id"]: one["count"] for one in server.data("alerts")}
    server.emit(event)
    end = server.data("dashboard/status")["counters"]["alerts/alert-engine"]["out"]
    server.until("dashboard/status", lambda data: data["counters"]["alerts/alert-engine"]["out"] >= end)
    server.until("dashboard/status", lambda data: data["pipelines"]["alerts"] == 0)
    after = {one["id"]: one["count"] for one in server.data("alerts")}
    assert after.items() <= before.items()


def test_c075_detection_that_keeps_failing_is_critical(tmp_path: Path) -> None:
    configuration(
        tmp_path, **{"environment-resolver: {fallback: production}": "environment-resolver: {interval: 200ms}"}
    )
    with operating(tmp_path) as server:
        rule = "Environment Detection Failed"
        found = server.until("alerts", lambda data: any(one["rule"] == rule for one in data))
        assert next(one for one in found if one["rule"] == rule)["severity"] == "critical"
        # Its check is made at an interval of its own, and where nothing was looked for yet it says "unknown".
        server.until("health/environment-resolver", lambda check: check["status"] in ("degraded", "unhealthy"))


def curl(server: Operator, alert: str, verb: str, notes: str) -> Any:
    """The runbook's own line, with the port of this server."""
    line = f"""curl -s -X POST {server.url(f"alerts/{alert}/{verb}")} \\
      -H "Content-Type: application/json" \\
      -d '{{"operator": "admin", "notes": "{notes}"}}'"""
    return msgspec.json.decode(subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout)


def test_a34_an_alert_goes_to_the_next_contact_until_somebody_takes_it_on_and_its_log_says_so(tmp_path: Path) -> None:
    steps = "[{after: 1s, contact: secondary}, {after: 10s, contact: escalation}]"  # Time to answer in between.
    configuration(tmp_path, **{"alert-engine: {}": f"alert-engine: {{escalation: {steps}}}"})
    with operating(tmp_path) as server:
        server.emit({"type": "build-completed", "detail": {"duration": 5001, "environment": "production"}})
        (alert,) = server.until("alerts", len)
        path = f"alerts/{alert['id']}"
        server.until(path, lambda one: one["escalation"] == {"step": 1, "contact": "secondary"})
        answer = {"operator": "admin", "notes": "lunch", "expires": "1s"}
        assert server.post(f"{path}/acknowledge", answer).json()["data"]["status"] == "acknowledged"
        server.until(path, lambda one: one["status"] == "active")
        server.until(path, lambda one: one["escalation"]["contact"] == "escalation")
        assert server.post(f"{path}/acknowledge", {"operator": "admin"}).status_code == 200
        assert server.post(f"{path}/unacknowledge", {"operator": "admin"}).json()["data"]["status"] == "active"
        assert server.post(f"{path}/resolve", {"operator": "admin"}).status_code == 200
        entries = server.data(f"{path}/log")
        assert [(entry["kind"], entry["from"], entry["to"]) for entry in entries] == [
            ("firing", None, "active"),
            ("escalated", "active", "active"),
            ("acknowledged", "active", "acknowledged"),
            ("unacknowledged", "acknowledged", "active"),
            ("escalated", "active", "active"),
            ("acknowledged", "active", "acknowledged"),
            ("unacknowledged", "acknowledged", "active"),
            ("resolved", "active", "resolved"),
        ]
        assert 900 <= entries[1]["time"] - entries[0]["time"] < 1000 + 1000 * at_leisure(0.5)
        assert entries[3]["reason"] == {"word": "expired", "sentence": "the acknowledgement by admin has expired"}
        wanted = {"alert.escalated", "alert.unacknowledged", "alert.resolved"}
        server.until("records?type=alert.*", lambda found: wanted <= {one["type"] for one in found})
        assert server.get("alerts/nope/log").status_code == 404
        assert server.data("alerts/stats")["timeToAcknowledge"]["count"] == 2
        assert server.get("alerts/history?limit=1").json()["next"] is None
