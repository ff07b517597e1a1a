"""A month of deployments, told over HTTP to a node as it ships, and what it makes of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from bers.cloudevents import rfc3339
from tests.acceptance.conftest import Operator

DAY, HOUR = 86_400, 3_600
HOURS = HOUR * 1000
NOW = time.time()


def told(type: str, ago: float, id: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": type, "time": rfc3339(NOW - ago), "id": id, "source": "/cd/month", "service": "chat",
        "environment": "production", "outcome": "success", **fields,
    }  # fmt: skip


def deployed(day: int, **fields: Any) -> dict[str, Any]:
    """A deployment that finished so many days ago, of a commit that was then as many hours old."""
    commit = {"revision": f"r{day}", "committed_at": rfc3339(NOW - day * DAY - day * HOUR)}
    more = {"subject": f"deploy-{day}", "version": f"1.{day}", "vcs": commit, "run": {"id": f"{day}"}, **fields}
    return told("deployment.finished", day * DAY, f"d{day}", **more)


@pytest.fixture(scope="module")
def month(server: Operator) -> Operator:
    """Ten deployments, one every three days from 29 days ago on; what became of them comes in no order."""
    answered: Mapping[str, Any] = {"service": "chat", "environment": "production", "outcome": None}
    server.emit(
        told("incident.resolved", 23 * DAY - 3 * HOUR, "i2", subject="inc-1", **answered),
        # 29 26 23 20 17 14 11 8 5 2 days ago
        *(deployed(day) for day in (2, 8, 11, 14, 17, 23, 29)),
        deployed(26, outcome="failure"),
        deployed(20, vcs=None),
        deployed(5, labels={"kind": "hotfix"}, data={"cause": "inc-1"}),
        told("deployment.finished", 4 * DAY, "s1", environment="staging"),
        told("deployment.finished", 4 * DAY, "u1", environment=None),
        told("service.rolledback", 14 * DAY - 2 * HOUR, "r1", outcome=None),
        told("incident.detected", 23 * DAY - 1 * HOUR, "i1", subject="inc-1", outcome=None),
    )
    server.until("dora", lambda found: found["counts"]["deployments"] == 10)
    return server


def test_b13_dora_is_answered_where_metrics_are_read_and_where_everything_is(month: Operator) -> None:
    assert month.data("dora", "metrics")["counts"] == month.data("dora")["counts"]
    elsewhere = month.get("dora", "health")
    assert elsewhere.status_code == 404
    assert elsewhere.json()["error"]["hint"]


def test_a_month_is_answered_as_by_hand(month: Operator) -> None:
    answer = month.data("dora?period=30d", "metrics")
    figures = answer["metrics"]
    # Three failed: that of 26 days ago by its outcome, 23 by an incident, 14 because it was rolled back.
    assert answer["counts"] == {"deployments": 10, "succeeded": 9, "failed": 3, "incidents": 1}
    # Hours 2 5 8 11 14 17 23 29, of eight whose commit is known: between 11 and 14.
    assert figures["changeLeadTime"]["value"] == pytest.approx(12.5 * HOURS)
    assert (figures["changeLeadTime"]["n"], figures["changeLeadTime"]["excluded"]) == (8, {"unknownCommit": 1})
    # The node is young, and the oldest deployment it was told of is 29 days old.
    assert figures["deploymentFrequency"]["value"] == pytest.approx(9 / 29, rel=0.01)
    assert figures["deploymentFrequency"]["excluded"] == {"unknownEnvironment": 1}
    assert answer["coverage"]["percent"] == pytest.approx(29 / 30 * 100, rel=0.01)
    assert (figures["changeFailRate"]["value"], figures["changeFailRate"]["band"]) == (30, "low")
    # 26: the next success is three days later; 23: the incident is over after 3 h; 14: rolled back after 2 h.
    assert figures["failedDeploymentRecoveryTime"]["value"] == pytest.approx(3 * HOURS)
    assert figures["deploymentReworkRate"]["value"] == 10
    assert figures["deploymentReworkRate"]["band"] is None


def test_a_service_that_nobody_deployed_is_null_and_a_period_beyond_the_records_is_refused(month: Operator) -> None:
    assert all(one["value"] is None for one in month.data("dora?service=nobody")["metrics"].values())
    assert month.data("dora?environment=staging")["counts"]["deployments"] == 1
    refused = month.get("dora?period=91d", "metrics")
    assert refused.status_code == 400
    assert "longer than the 90d" in refused.json()["error"]["message"]
    assert "lasting_keep" in refused.json()["error"]["hint"]


def test_people_are_shown_a_table_and_scripts_json(month: Operator) -> None:
    shown = month.bers("dora", "--period", "30d").stdout
    assert "deployments   10, 3 of them failed" in shown
    assert "change lead time\t12.5 h\t8\telite (2023)" in shown
    assert "unknown commit: 1" in shown
    answer = msgspec.json.decode(month.bers("dora", "--json", "--service", "chat").stdout)
    assert answer["counts"]["deployments"] == 9 + 1


def test_the_command_line_can_tell_all_that_is_needed(month: Operator) -> None:
    before = month.data("dora?service=web")["counts"]
    assert before["deployments"] == 0
    commit = ["--revision", "abc", "--committed-at", rfc3339(time.time() - 2 * HOUR), "--run", "42"]
    place = ["--service", "web", "--env", "production"]
    month.bers("emit", "deployment.finished", *place, "--outcome", "success", "--version", "2.0", *commit, "--strict")
    month.bers("emit", "incident.detected", *place, "--subject", "inc-9", "--cause", "42", "--strict")
    month.bers("emit", "incident.resolved", "--subject", "inc-9", "--strict")
    month.bers("emit", "deployment.finished", *place, "--outcome", "success", "--cause", "inc-9", "--strict")
    answer = month.until("dora?service=web", lambda found: found["counts"]["deployments"] == 2)
    figures = answer["metrics"]
    assert figures["changeLeadTime"]["value"] == pytest.approx(2 * HOURS, rel=0.02)
    assert (figures["changeFailRate"]["value"], figures["deploymentReworkRate"]["value"]) == (50, 50)
    assert 0 <= figures["failedDeploymentRecoveryTime"]["value"] < 60_000
