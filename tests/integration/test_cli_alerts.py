"""`bers alerts` beside a server: an alert is shown, taken on, given back and ended, and its log tells all of it."""

from __future__ import annotations

import json
from collections.abc import Generator

import pytest

from tests.acceptance.conftest import Operator
from tests.integration.processes import configure, started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("alerts")
    configure(folder)
    with started(folder) as operator:
        yield operator


def test_the_life_of_an_alert_from_the_command_line(server: Operator) -> None:
    server.emit({"type": "deployment.rolledback", "service": "pay", "environment": "staging", "data": {}})
    (alert,) = server.until("alerts", len)
    id = alert["id"]

    shown = server.bers("alerts", "show", id).stdout.splitlines()
    told = dict(line.split(maxsplit=1) for line in shown if not line.startswith("before it"))
    assert (told["status"], told["told"], told["severity"]) == ("active", "yes", "warning")
    assert told["labels"] == "environment=staging, service=pay" and "next good deployment" in told["step"]
    assert json.loads(server.bers("alerts", "show", id, "--json").stdout)["id"] == id

    taken = server.bers("alerts", "acknowledge", id, "--operator", "ada", "--notes", "looking", "--expires", "4h")
    assert taken.stdout.endswith(": acknowledged\n")
    held = server.data(f"alerts/{id}")["acknowledgment"]
    assert held["expires"] - held["timestamp"] == 4 * 3_600_000
    assert "acknowledged" in server.bers("alerts", "show", id).stdout
    assert server.bers("alerts", "unacknowledge", id, "--operator", "ada").stdout.endswith(": active\n")
    assert server.bers("alerts", "resolve", id, "--operator", "ada", "--notes", "again").stdout.endswith(": resolved\n")
    assert server.bers("alerts", "list", "--status", "resolved").stdout.startswith(id)

    steps = [line.split("\t") for line in server.bers("alerts", "log", id).stdout.splitlines()]
    assert [(step[1], step[2], step[3]) for step in steps] == [
        ("firing", "active", "told"),
        ("acknowledged", "acknowledged", "told"),
        ("unacknowledged", "active", "told"),
        ("resolved", "resolved", "told"),
    ]
    assert steps[-1][4] == "ada: again"
    audited = [row["action"] for row in server.data(f"audit?target={id}")]
    assert audited == ["alerts/resolve", "alerts/unacknowledge", "alerts/acknowledge"]
    missing = server.bers("alerts", "log", "nope", check=False)
    assert (missing.returncode, "there is no alert 'nope'" in missing.stderr) == (1, True)
