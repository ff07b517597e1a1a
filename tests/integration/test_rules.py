"""Rules as code beside a real server: a back-test of its journal tells what it did, and why it did."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from functools import partial
from typing import Any

import pytest

from tests.acceptance.conftest import BERS, Operator
from tests.integration.processes import configure, environ, started

SLOW = "Configuration Resolution Slow"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("rules")
    rules = "{rules: [{name: Hasty, metric: build_performance, above: 1s, for: 1s}]}"
    configure(folder, {"alert-engine: {} ": f"alert-engine: {rules} "})
    with started(folder) as operator:
        for n, (outcome, duration) in enumerate([("failure", 6000), ("failure", 900), ("success", 7000)]):
            operator.emit(
                {"type": "build.finished", "id": f"b-{n}", "source": "/ci", "service": "web",
                 "environment": "production", "outcome": outcome, "duration": duration, "reason": "no space left"},
                {"type": "deployment.finished", "id": f"d-{n}", "source": "/ci", "service": f"s-{n}",
                 "environment": "production", "outcome": "failure"},
            )  # fmt: skip
            operator.until("alerts/stats", partial(_fired, n + 1))
        alerts = operator.data("alerts")
        taken = next(one for one in alerts if one["rule"] == "Deployment Failed")
        operator.post(f"alerts/{taken['id']}/acknowledge", {"operator": "anna", "notes": "I look"})
        yield operator


def _fired(least: int, stats: dict[str, Any]) -> bool:
    return bool(stats["byRule"].get("Deployment Failed", 0) >= least)


def bers(server: Operator, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BERS, *arguments], cwd=server.folder, env=environ(server.folder), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def lived(outcome: dict[str, Any], key: str) -> list[tuple[Any, ...]]:
    return sorted((tuple(one["labels"].items()), one["severity"], one["change"]) for one in outcome[key])


def test_a_back_test_of_the_journal_tells_what_fired_live_and_offline(server: Operator) -> None:
    done = bers(server, "rules", "backtest", "--since", "1h", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["changes"].keys() == {"same"}, found
    names = {rule["name"] for rule in found["rules"]}
    assert {"Build Failed", "Build Performance Degraded", "Deployment Failed"} <= names
    assert SLOW in found["silent"]
    history = server.data("alerts/history")
    assert sum(len(rule["did"]) for rule in found["rules"]) == len(history)
    for rule in found["rules"]:
        assert lived(rule, "would") == lived(rule, "did")
        for would, did in zip(rule["would"], rule["did"], strict=True):
            assert abs(would["from"] - did["from"]) < 1000
            assert (would["to"] is None) == (did["to"] is None)
            acknowledged = rule["name"] == "Deployment Failed" and did["told"] > would["told"]
            assert would["told"] == did["told"] or acknowledged
    assert found["stretches"][-1]["fedWith"] == "events"

    offline = bers(server, "rules", "backtest", "--since", "1h", "--data-dir", ".bers", "--json")
    assert offline.returncode == 0, offline.stderr
    other = json.loads(offline.stdout)
    assert other["changes"] == found["changes"]
    assert [rule["name"] for rule in other["rules"]] == [rule["name"] for rule in found["rules"]]


def test_other_rules_would_have_done_otherwise(server: Operator) -> None:
    new = server.folder / "new.yaml"
    new.write_text("defaults: false\nrules: [{name: Hasty, metric: build_performance, above: 1ms}]\n")
    done = bers(server, "rules", "backtest", "--since", "1h", "--rules", str(new), "--json")
    found = json.loads(done.stdout)
    by_name = {rule["name"]: rule for rule in found["rules"]}
    assert by_name["Hasty"]["changes"] == {"new": 1}
    assert set(by_name["Deployment Failed"]["changes"]) == {"gone"}
    said = bers(server, "rules", "backtest", "--since", "1h", "--rules", str(new)).stdout
    assert "events of the journal, each as it came" in said
    assert "would have fired" in said and "1 new" in said


def test_a_back_test_of_rules_that_are_wrong_is_refused_with_the_place(server: Operator) -> None:
    reply = server.post("alerts/backtest", {"config": {"rules": [{"name": "X", "metric": "no_such", "above": "1"}]}})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (422, "invalid")
    assert error["details"][0]["path"] == "config.rules[0].metric"
    new = server.folder / "wrong.yaml"
    new.write_text("rules: [{name: Hasty, metric: build_perform, above: 1ms}]\n")
    done = bers(server, "rules", "backtest", "--rules", str(new))
    assert done.returncode == 2
    assert "wrong.yaml:1:23: rules[0].metric: unknown metric 'build_perform'; did you mean" in done.stderr


def test_why_a_rule_fired_is_answered_over_rest(server: Operator) -> None:
    story = server.data("alerts/rules/build-failed")
    assert [one["decision"] for one in story["evaluations"]] == ["good", "breaching", "breaching"]
    assert story["evaluations"][-1]["reason"] == "active: build.finished (failure): web in production: no space left"
    missing = server.get("alerts/rules/no-such-rule")
    assert missing.status_code == 404
    assert "build-failed" in missing.json()["error"]["known"]


def test_the_list_of_rules_says_which_can_never_fire(server: Operator) -> None:
    listed = bers(server, "rules", "list")
    rows = {row.split("\t")[0]: row.split("\t") for row in listed.stdout.splitlines()}
    assert rows["Build Failed"][-1] == ""
    assert rows["Deployment Slow"][-1].startswith("it can never fire as things are: nothing has measured")


def test_explain_tells_the_story_of_an_alert(server: Operator) -> None:
    alerts = server.data("alerts/history")
    build = next(one for one in alerts if one["rule"] == "Build Failed")
    said = bers(server, "explain", build["id"])
    assert said.returncode == 0, said.stderr
    assert "Build Failed: " in said.stdout
    assert "firing: build.finished (failure): web in production: no space left" in said.stdout
    for event, outcome in (("b-0", "failure"), ("b-1", "failure"), ("b-2", "success")):
        assert f"build.finished {event} of /ci at position " in said.stdout
        assert f": {outcome}" in said.stdout
    story = server.data(f"alerts/{build['id']}/story")
    assert story["foundIn"] == "journal"
    assert [one["id"] for one in story["events"]] == ["b-0", "b-1", "b-2"]
    assert [one["kind"] for one in story["log"]] == ["firing", "resolved"]
    assert story["told"] == [], "no channel is configured"
    path = bers(server, "explain", "b-0")
    assert path.stdout.startswith("build.finished b-0 of /ci")
    nothing = bers(server, "explain", "0" * 32)
    assert nothing.returncode == 1 and "there is no event" in nothing.stderr
