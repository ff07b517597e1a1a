"""`bers silence` beside a server: alerts are silenced and told of again, and the stream hears of it."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from datetime import UTC, datetime

import pytest

from tests.acceptance.conftest import Operator
from tests.integration.processes import configure, started

DAY = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(datetime.now(UTC).weekday() + 3) % 7]
"""One on which no test runs that begins now, wherever it is."""
WINDOW = f"maintenance: [{{name: backup, from: 02:30, to: 03:30, days: [{DAY}], time_zone: Europe/Berlin}}]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("silence")
    path = configure(folder)
    text = path.read_text()
    assert "alert-engine: {}" in text
    path.write_text(text.replace("alert-engine: {}", f"alert-engine: {{{WINDOW}}}"))
    with started(folder) as operator:
        yield operator


def test_alerts_are_silenced_and_fire_when_the_silence_is_ended(server: Operator) -> None:
    with server.stream() as frames:
        server.emit({"type": "deployment.rolledback", "data": {}})
        (alert,) = server.until("alerts", len)
        done = server.bers(
            "silence", "add", "--alert", alert["id"], "--for", "1h", "--comment", "known", "--operator", "ada"
        )
        found = re.fullmatch(r"(\w+): active until \S+ \S+; 1 alert suppressed\n", done.stdout)
        assert found, done.stdout
        assert server.data("alerts") == []
        (held,) = server.data("alerts?status=suppressed")
        assert held["suppressedBy"]["id"] == found[1] and held["told"] is True

        listed = [line.split("\t") for line in server.bers("silence", "list").stdout.splitlines()]
        rule = f"rule={alert['rule']}, fingerprint={alert['fingerprint']}"
        assert [listed[0][n] for n in (0, 1, 2, 5, 6, 7)] == [found[1], "active", rule, "ada", "known", "1"]
        assert listed[1][:3] == ["backup", "closed", "every alert"]
        assert listed[1][5] == f"{DAY}, 02:30 to 03:30 Europe/Berlin"
        both = json.loads(server.bers("silence", "list", "--json").stdout)
        assert len(both["maintenance"][0]["next"]) == 3

        assert server.bers("silence", "end", found[1]).stdout == f"{found[1]}: expired\n"
        assert [one["status"] for one in server.until("alerts", len)] == ["active"]
        seen = list[str]()
        for name, _ in frames:
            if name.startswith(("alert_", "silence")):
                seen.append(name)
            if name == "alert_repeated":
                break
        assert [name for name in seen if name != "active_alerts"] == [
            "alert_firing", "silence_created", "alert_suppressed", "silence_expired", "alert_repeated",
        ]  # fmt: skip
    actions = [row["action"] for row in server.data(f"audit?target={found[1]}")]
    assert actions == ["silences/end", "silences/create"]


def test_what_is_wrong_is_said_in_a_line(server: Operator) -> None:
    for arguments, code, said in (
        (("add", "ruel=a", "--for", "1h", "--comment", "x"), 2, "a matcher is not understood"),
        (("add", "rule=a", "--for", "99d", "--comment", "x"), 2, "it lasts too long"),
        (("add", "rule=a", "--until", "soon", "--comment", "x"), 2, "--until: 'soon' is no time"),
        (("add", "--alert", "nope", "--for", "1h", "--comment", "x"), 2, "there is no living alert 'nope'"),
        (("end", "nope"), 1, "there is no silence 'nope'"),
        (("list", "--state", "loud"), 2, "'loud'"),
    ):
        done = server.bers("silence", *arguments, check=False)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    reply = server.get("silences/nope")
    assert (reply.status_code, reply.headers["allow"]) == (405, "DELETE")
