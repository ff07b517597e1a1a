"""This server watches itself: it tells what is wrong with it, and of a server that is well it tells nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Operator, configuration, operating
from tests.faults.test_disk import fill, mounted
from tests.integration.processes import started

LONG = bool(os.environ.get("BERS_TEST_LONG"))
IDLE = 120 if LONG else 20
STOPPED = 20 if LONG else 8

OURS = {
    "Pipeline Behind", "Queue Too Old", "Alert Evaluations Missed", "Server Stood Still", "Source Silent",
    "Stage Quarantined", "Stage Failing", "Health Check Unhealthy", "Notifications Not Delivered", "Disk Nearly Full",
    "Journal Nearly Full", "Events Refused", "Clock Was Set", "Reload Failed", "Heartbeat Missed", "Heartbeat Failed",
}  # fmt: skip

SELF = "self: {use: self-monitoring}"
OFTEN = {SELF: "self: {use: self-monitoring, interval: 500ms}"}


def ours(server: Operator) -> Sequence[str]:
    """Which rules about ourselves have fired since the start, those that are about to included."""
    found: Sequence[Any] = [*server.data("alerts/history?period=1h"), *server.data("alerts?status=pending")]
    return sorted(one["rule"] for one in found if one["rule"] in OURS)


def test_a_fresh_server_that_idles_is_reloaded_and_restarted_tells_nothing_of_itself(tmp_path: Path) -> None:
    path = configuration(tmp_path, **OFTEN)
    with operating(tmp_path) as server:
        ends = time.monotonic() + IDLE
        while time.monotonic() < ends:
            assert ours(server) == []
            time.sleep(0.5)
        path.write_text(path.read_text().replace("rate: 1.0", "rate: 0.9"))
        assert server.post("config/reload").status_code == 200
        time.sleep(3)
        assert ours(server) == []
    with started(tmp_path, "start") as server:  # It was stopped.
        time.sleep(3)
        assert ours(server) == []
        server.process.kill()
        server.process.wait()
    with operating(tmp_path) as server:  # It was killed.
        time.sleep(3)
        assert ours(server) == []


def test_a_server_that_was_stopped_says_so_and_blames_nobody_else(tmp_path: Path) -> None:
    jobs = "heartbeats: {jobs: {backup: {every: 2s, grace: 3s}}}"
    configuration(tmp_path, **OFTEN, **{"heartbeats: {}": jobs})
    with operating(tmp_path) as server:
        assert server.post("heartbeats/backup").status_code == 200
        time.sleep(2)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(STOPPED)
        server.process.send_signal(signal.SIGCONT)
        stood = server.until("alerts", lambda data: [one for one in data if one["rule"] == "Server Stood Still"])
        assert next(one for one in stood if one["rule"] == "Server Stood Still")["value"] > 1000 * (STOPPED - 2)
        assert server.post("heartbeats/backup").status_code == 200  # It could not reach us before.
        time.sleep(2)
        assert ours(server) == ["Server Stood Still"]
        # That it is silent from now on is its own doing.
        server.until("alerts", lambda data: [one for one in data if one["rule"] == "Heartbeat Missed"])
        assert server.bers("emit", "heartbeat.received", "--subject", "backup", "--outcome", "success").returncode == 0
        server.until("alerts", lambda data: all(one["rule"] != "Heartbeat Missed" for one in data))


def test_a_configuration_that_cannot_be_loaded_is_told_until_it_can(tmp_path: Path) -> None:
    path = configuration(tmp_path, **OFTEN)
    with operating(tmp_path) as server:
        good = path.read_text()
        path.write_text(good.replace("sampling: {rate", "sampling: {rat"))
        server.post("config/reload")
        found = server.until("alerts", lambda data: [one for one in data if one["rule"] == "Reload Failed"])
        assert next(one for one in found if one["rule"] == "Reload Failed")["severity"] == "warning"
        path.write_text(good)
        assert server.post("config/reload").status_code == 200
        server.until("alerts", lambda data: all(one["rule"] != "Reload Failed" for one in data))


def test_a_disk_that_fills_is_told_before_and_when_events_are_refused(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 96 << 20) as disk:
        (disk / "data").mkdir()
        (tmp_path / ".bers").symlink_to(disk / "data")
        configuration(tmp_path, **OFTEN)
        with started(tmp_path, "start") as server:
            time.sleep(2)
            assert ours(server) == []
            fill(disk / "others", leave=12 << 20)  # Of 96 MiB, a twentieth is to stay free.
            found = server.until("alerts", lambda data: [one for one in data if one["rule"] == "Disk Nearly Full"])
            assert next(one for one in found if one["rule"] == "Disk Nearly Full")["severity"] == "error"
            event = {"type": "build.queued", "source": "/ci", "subject": "b-1"}
            ends = time.monotonic() + 30
            while server.post("ingest", [event]).status_code != 503:
                assert time.monotonic() < ends
                fill(disk / "others", leave=3 << 20)
            server.until("alerts", lambda data: [one for one in data if one["rule"] == "Events Refused"])
            (disk / "others").unlink()
            server.until("alerts", lambda data: all(one["rule"] != "Disk Nearly Full" for one in data))
            assert server.post("ingest", [event]).status_code == 202
