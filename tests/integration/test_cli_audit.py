"""`bers audit`: what operators did, and that nobody wrote it anew, seen beside a server and without one."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest

from bers.checksums import connect
from tests.acceptance.conftest import Operator
from tests.integration.processes import configure, started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("audit")
    configure(folder)
    with started(folder) as operator:
        yield operator


def test_deeds_are_listed_proved_and_seen_to_be_changed(server: Operator) -> None:
    server.emit({"type": "deployment.rolledback", "data": {}})
    (alert,) = server.until("alerts", len)
    server.bers("alerts", "ack", alert["id"], "--operator", "ada", "--notes", "looking")
    server.post("metrics/restart")

    rows = [line.split("\t") for line in server.bers("audit", "list").stdout.splitlines()]
    assert [(row[2], row[4], row[5], row[6], row[7], row[8]) for row in rows] == [
        ("anonymous", "", "POST /api/monitoring/metrics/restart", "", "done", ""),
        ("anonymous", "ada", "alerts/acknowledge", alert["id"], "done", "looking"),
    ]
    (row,) = json.loads(server.bers("audit", "list", "--target", alert["id"], "--json").stdout)
    assert row["id"] == 1 and row["signer"] and row["seal"]
    paged = server.bers("audit", "list", "--limit", "1")
    assert paged.stdout.count("\n") == 1 and "older rows: --before 2" in paged.stderr

    offline = server.bers("audit", "verify").stdout
    assert offline.startswith("rows 1 to 2: as they were written\nthe last is 2:")
    assert server.bers("audit", "verify", "--url", server.url("/")[:-1]).stdout == offline
    noted = offline.split()[-1]
    assert json.loads(server.bers("audit", "verify", "--head", noted, "--json").stdout)["sound"] is True
    assert server.data(f"audit/verify?head={noted}")["sealed"] == 2
    assert server.get("audit/verify?head=nonsense").status_code == 400
    missed = server.bers("audit", "verify", "--head", f"3:{noted[2:]}", check=False)
    assert missed.returncode == 1 and "row 3: it was noted elsewhere, and is not there." in missed.stdout
    assert server.bers("audit", "verify", "--head", "x", check=False).returncode == 2

    with closing(connect(server.folder / ".bers" / "state.db", isolation_level=None)) as connection:
        connection.execute("UPDATE audit_chain SET operator = 'eve' WHERE seq = 1")
    for arguments in ((), ("--url", server.url("/")[:-1])):
        done = server.bers("audit", "verify", *arguments, check=False)
        assert done.returncode == 1
        assert done.stdout.startswith("row 1: it says something else than when it was written")
        assert "rows 1 to 2: NOT as they were written" in done.stdout


def test_where_nothing_is_there_that_is_said(tmp_path: Path) -> None:
    operator = Operator(tmp_path, None, {})  # type: ignore[arg-type]
    done = operator.bers("audit", "verify", check=False)
    assert done.returncode == 2 and "there is no such file" in done.stderr
