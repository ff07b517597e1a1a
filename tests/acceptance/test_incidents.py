"""Alerts that are incidents (B9): what a rule with `incidents: true` makes of DORA's figures on a node as it ships."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import pytest

from tests.acceptance.conftest import Operator, configuration, operating

RULES = """alert-engine:
    rules:
      - name: Deployment Failed
        severity: critical
        event: deployment.finished
        outcome: [failure, error, timeout]
        clears: {event: deployment.finished, outcome: success}
        incidents: true
      - name: Outage
        severity: critical
        event: custom.outage
        outcome: failure
        clears: {event: custom.outage, outcome: success}
        incidents: true
      - name: Noise
        severity: critical
        event: custom.noise
      - name: Incidents Watched
        severity: critical
        event: incident.detected
        incidents: true"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("incidents")
    configuration(folder, **{"alert-engine: {}": RULES})
    with operating(folder) as operator:
        yield operator


def deployed(service: str, subject: str, outcome: str) -> dict[str, Any]:
    return {"type": "deployment.finished", "subject": subject, "outcome": outcome, "service": service,
            "environment": "production", "version": subject}  # fmt: skip


def happened(type: str, service: str, outcome: str | None = None) -> dict[str, Any]:
    return {"type": type, "service": service, "outcome": outcome, "environment": "production"}


def incidents(server: Operator, type: str, service: str) -> list[dict[str, Any]]:
    return [one for one in server.data(f"records?type=incident.{type}") if one.get("service") == service]


def wait_for(server: Operator, type: str, service: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while not (found := incidents(server, type, service)):
        assert time.monotonic() < deadline, f"no incident.{type}"
        time.sleep(0.05)
    (one,) = found
    return one


def test_b9_a_deployment_that_fails_is_an_incident_until_the_next_good_one(server: Operator) -> None:
    server.emit(deployed("chat", "d-1", "success"))
    server.emit(deployed("chat", "d-2", "failure"))
    detected = wait_for(server, "detected", "chat")
    (alert,) = [one for one in server.data("alerts") if one["rule"] == "Deployment Failed"]
    assert (detected["subject"], detected["data"]["cause"]) == (alert["id"], "d-2")
    server.until("dora?service=chat", lambda found: found["counts"]["incidents"] == 1)
    assert server.data("dora?service=chat")["metrics"]["failedDeploymentRecoveryTime"]["value"] is None
    time.sleep(1)
    server.emit(deployed("chat", "d-3", "success"))
    assert wait_for(server, "resolved", "chat")["subject"] == alert["id"]
    answer = server.until("dora?service=chat", lambda found: found["counts"]["deployments"] == 3)
    assert answer["counts"] == {"deployments": 3, "succeeded": 2, "failed": 1, "incidents": 1}
    assert 1000 <= answer["metrics"]["failedDeploymentRecoveryTime"]["value"] < 10_000
    current = server.until("metrics/incident_recovery_time", lambda data: data["current"] is not None)
    assert 1000 <= current["current"] < 10_000


def test_b9_an_outage_is_the_fault_of_the_deployment_before_it_and_its_end_is_the_recovery(server: Operator) -> None:
    server.emit(deployed("mail", "m-1", "success"))
    time.sleep(0.5)
    server.emit(happened("outage", "mail", "failure"))
    assert "cause" not in wait_for(server, "detected", "mail")["data"]
    time.sleep(1)
    server.emit(happened("outage", "mail", "success"))
    wait_for(server, "resolved", "mail")
    answer = server.until("dora?service=mail", lambda found: found["counts"]["failed"] == 1)
    assert answer["counts"] == {"deployments": 1, "succeeded": 1, "failed": 1, "incidents": 1}
    assert 1000 <= answer["metrics"]["failedDeploymentRecoveryTime"]["value"] < 10_000


def test_b9_an_alert_of_any_other_rule_is_no_incident_and_our_own_incidents_make_no_alerts(server: Operator) -> None:
    server.emit(happened("noise", "shop"))
    server.until("alerts", lambda found: any(one["rule"] == "Noise" for one in found))
    server.emit({"type": "incident.detected", "subject": "told-by-hand", "service": "shop"})
    server.until("alerts", lambda found: any(one["rule"] == "Incidents Watched" for one in found))
    deadline = time.monotonic() + 30
    while len(incidents(server, "detected", "shop")) < 2:  # What was told by hand, and what our rule made of that.
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    assert len(incidents(server, "detected", "shop")) == 2
    (watched,) = [one for one in server.data("alerts") if one["rule"] == "Incidents Watched"]
    assert (watched["count"], watched["metadata"]["subject"]) == (1, "told-by-hand")
