"""A server takes a changed configuration on a hangup, over REST and by command, and says everywhere what came of it."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from bers import lock
from tests.acceptance.conftest import Operator
from tests.integration.processes import configure, started, until

SLOW = {"type": "build.finished", "id": "b-1", "outcome": "success", "duration_ms": 5200}


@pytest.fixture
def server(tmp_path: Path) -> Generator[Operator]:
    configure(tmp_path)
    with started(tmp_path) as operator:
        yield operator
        assert operator.process.poll() is None, (tmp_path / "said").read_text()


def change(server: Operator, old: str, new: str) -> None:
    file = server.folder / "pipelines.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_b12_a_hangup_reloads_and_opens_the_log_files_anew(server: Operator) -> None:
    pid = lock.holder(server.folder / ".bers")
    change(server, "interval: 1s", "interval: 2s")
    change(server, "rate: 1.0", "rate: 0.5")
    (server.folder / "logs" / "build.log").rename(server.folder / "logs" / "build.log.old")
    server.process.send_signal(signal.SIGHUP)
    config = server.until("config", lambda config: config["generation"] == 2)
    assert (config["result"], config["faults"], config["reload"]["by"]) == ("ok", [], "signal")
    assert config["reload"]["changed"] == {
        "sources": {"added": [], "changed": ["host"], "removed": []},
        "processors": {"added": [], "changed": ["sampling"], "removed": []},
        "sinks": {"added": [], "changed": [], "removed": []},
        "pipelines": {"added": [], "changed": ["metrics"], "removed": []},
        "settings": [],
    }
    assert (server.folder / "logs" / "build.log").exists()
    assert lock.holder(server.folder / ".bers") == pid
    audited = server.until("audit", len)[0]
    assert (audited["principal"], audited["action"], audited["outcome"]) == ("signal", "config/reload", "done")


def test_a_hangup_with_a_wrong_file_changes_nothing_and_is_told_everywhere(server: Operator) -> None:
    before = server.data("config")
    change(server, "interval: 1s", "interval: often")
    server.process.send_signal(signal.SIGHUP)
    config = server.until("config", lambda config: config["result"] == "failed")
    (fault,) = config["faults"]
    assert (fault["place"], fault["path"]) == ("pipelines.yaml:11:33", "sources.host.interval")
    assert (config["generation"], config["hash"]) == (1, before["hash"])
    status = server.data("dashboard/status")
    assert status["configuration"] == config
    assert any("the last reload failed" in warning and "11:33" in warning for warning in status["warnings"])
    shown = server.bers("status")
    assert "the last reload failed" in shown.stderr and "generation 1" in shown.stdout
    metrics = server.get("/metrics", "metrics").text
    assert "bers_config_generation 1\n" in metrics and "bers_config_last_reload_successful 0\n" in metrics
    assert any("11:33" in line["message"] and line["level"] == "ERROR" for line in server.log("monitoring"))
    until(lambda: [line for line in server.log("monitoring") if line.get("type") == "config.reloaded"])
    (told,) = [line for line in server.log("monitoring") if line.get("type") == "config.reloaded"]
    assert (told["outcome"], "interval" in told["reason"]) == ("failure", True)
    assert server.data("health")["overallStatus"] == "healthy"


def test_over_rest_a_change_is_in_force_at_once(server: Operator) -> None:
    change(
        server,
        "  alert-engine: {}",
        "  alert-engine: {rules: [{name: Any build, metric: build_performance, above: 1s}]}",
    )
    reply = server.post("config/reload")
    assert (reply.status_code, reply.json()["data"]["generation"]) == (200, 2)
    changed = reply.json()["data"]["reload"]["changed"]
    assert changed["sinks"]["changed"] == ["alert-engine"] and "alerts" in changed["pipelines"]["changed"]
    server.emit(SLOW | {"duration_ms": 1200})
    assert server.until("alerts", len)[0]["rule"] == "Any build"
    assert server.get("config/reload").status_code == 405
    change(server, "environment:", "intake: {max_events: 1}\nenvironment:")
    assert server.post("config/reload").json()["data"]["reload"]["changed"]["settings"] == ["intake.max_events"]
    assert server.post("ingest", [SLOW, SLOW | {"id": "b-2"}]).status_code == 413
    entry = server.until("audit", len)[0]
    assert (entry["action"], entry["outcome"]) == ("POST /api/monitoring/config/reload", "done")


def test_over_rest_every_fault_is_answered_with_its_place(server: Operator) -> None:
    change(server, "interval: 1s", "interval: often")
    change(server, "rate: 1.0", "rat: 1.0")
    reply = server.post("config/reload")
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (422, "invalid")
    assert [(one["path"], one["message"].partition(": ")[0]) for one in error["details"]] == [
        ("sources.host.interval", "pipelines.yaml:11:33"),
        ("processors.sampling.rat", "pipelines.yaml:18:14"),
    ]
    assert "did you mean 'rate'" in error["details"][1]["message"]
    assert server.data("config")["generation"] == 1


def test_what_cannot_be_opened_is_rolled_back_and_the_store_goes_on(server: Operator) -> None:
    server.emit(SLOW)
    server.until("metrics/build_performance", lambda data: data["current"] == 5200)
    (server.folder / ".bers" / "elsewhere.db").mkdir()
    change(server, "store: {use: rest-store,", "store: {use: rest-store, path: elsewhere.db,")
    reply = server.post("config/reload")
    assert reply.status_code == 422, reply.text
    (detail,) = reply.json()["error"]["details"]
    assert detail["path"] == "sinks.store" and "cannot be opened" in detail["message"]
    assert server.data("metrics/build_performance")["current"] == 5200
    server.emit(SLOW | {"id": "b-2", "duration_ms": 5300})
    server.until("metrics/build_performance", lambda data: data["current"] == 5300)
    assert {one["state"] for one in server.data("dashboard/status")["stages"]} == {"ok"}


def test_the_command_says_what_changed_or_what_is_wrong(server: Operator) -> None:
    assert server.bers("reload").stdout.splitlines()[1:] == ["nothing differs"]
    change(server, "interval: 1s", "interval: 2s")
    change(server, "refresh: 5s", "refresh: 7s")
    done = server.bers("reload")
    assert done.stdout.splitlines()[1:] == [
        "sources.host: changed",
        "sinks.dashboard: changed",
        "pipelines.live: changed",
    ]
    change(server, "interval: 2s", "interval: often")
    wrong = server.bers("reload", check=False)
    assert wrong.returncode == 1
    assert wrong.stderr.splitlines()[1].startswith("pipelines.yaml:11:33: sources.host.interval: ")
    change(server, "interval: often", "interval: 2s")
    change(server, "environment: production", "environment: elsewhere")
    refused = server.bers("reload", check=False)
    assert refused.returncode == 1 and "environment: cannot be changed while the server runs" in refused.stderr
    os.kill(server.process.pid, signal.SIGTERM)
    assert server.process.wait(30) == 0
    gone = server.bers("reload", "--url", server.url("/"), check=False)
    assert gone.returncode == 3
    started_again = server.bers("check")
    assert started_again.returncode == 0
    server.process.poll = lambda: None  # type: ignore[method-assign]
