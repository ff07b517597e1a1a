"""`bers dev`: what changes in a file is taken, in place or by a new start, and nothing is where it is wrong (C003)."""

import os
import signal
import time
from collections.abc import Generator
from pathlib import Path

import httpx2
import pytest

from bers import lock
from tests.acceptance.conftest import Operator
from tests.integration.processes import configure, free_ports, installed, ready, started, until

ANEW = 120.0
"""Seconds for a check in a process of its own, an end and a start, on a machine that has other things to do."""

PLUGIN = '''
"""A sink of somebody else."""
from typing import Annotated
import msgspec
from bers import Batch, Config, SinkSpec, Stage, hookimpl

class AtticConfig(Config, frozen=True):
    """Put things into the attic."""
    shelf: Annotated[int, msgspec.Meta(description="Which shelf.")] = 1

class Attic(Stage[AtticConfig]):
    async def write(self, batch: Batch) -> None:
        self.context.logger.debug("%d events for the attic", len(batch.events))

@hookimpl
def bers_sinks():
    return [SinkSpec("attic", AtticConfig, Attic)]
'''


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return installed(tmp_path, "attic", PLUGIN)


@pytest.fixture
def server(tmp_path: Path, site: Path) -> Generator[Operator]:
    attic = {"  dashboard: {": "  attic: {}\n  dashboard: {", "[store]": "[store, attic]"}
    configure(tmp_path, attic, ports=free_ports())
    with started(tmp_path, "dev", PYTHONPATH=str(site), PYTHONDONTWRITEBYTECODE="1") as operator:
        yield operator
        os.kill(operator.process.pid, signal.SIGINT)
        assert operator.process.wait(30) == 0


def test_c003_dev_is_development_with_debug_logs_on_the_same_ports(server: Operator) -> None:
    assert server.data("health")["environment"] == "development"
    assert lock.holder(server.folder / ".bers") == server.process.pid
    until(lambda: any(line["level"] == "DEBUG" and "attic" in line["message"] for line in server.log("monitoring")))


def test_c003_a_change_of_the_configuration_is_taken_in_place(server: Operator) -> None:
    before, uptime = server.data("config"), server.data("health")["uptime"]
    _replace(server.folder / "pipelines.yaml", "interval: 1s", "interval: 2s")
    after = server.until("config", lambda config: config["hash"] != before["hash"], seconds=60)
    assert (after["generation"], after["reload"]["by"], after["reload"]["result"]) == (2, "dev", "ok")
    assert after["reload"]["changed"]["sources"]["changed"] == ["host"]
    assert server.data("health")["uptime"] > uptime and server.data("health")["environment"] == "development"


def test_c003_what_a_running_server_cannot_change_is_taken_by_a_new_start(server: Operator) -> None:
    before = server.data("config")["hash"]
    _replace(server.folder / "pipelines.yaml", "server: {", "intake: {journal: {durable: false}}\nserver: {")
    _anew(server, before)
    assert server.data("config")["generation"] == 1


def test_c003_a_change_of_a_plugin_is_taken(server: Operator, site: Path) -> None:
    before, now = server.data("dashboard/status")["configuration"]["hash"], time.monotonic()
    _replace(site / "acme_attic.py", "def bers_sinks():", "def bers_sinks():\n    print('dusted')")
    until(lambda: _is_anew(server, now), ANEW)
    again = ready(server.folder, server.process)
    assert "dusted" in _said(server) and again.data("dashboard/status")["configuration"]["hash"] == before


def test_c003_a_change_that_is_wrong_is_named_and_the_server_goes_on(server: Operator) -> None:
    before = server.data("dashboard/status")["configuration"]["hash"]
    _replace(server.folder / "pipelines.yaml", "interval: 1s", "interval: soon")
    until(lambda: "the change is not taken" in _said(server), 60)
    assert "sources.host.interval" in _said(server) and "'soon'" in _said(server)
    uptime = server.data("health")["uptime"]
    assert server.data("dashboard/status")["configuration"]["hash"] == before
    failed = server.data("config")
    assert failed["result"] == "failed" and failed["faults"][0]["path"] == "sources.host.interval"
    _replace(server.folder / "pipelines.yaml", "interval: soon", "interval: 3s")
    server.until("config", lambda config: config["result"] == "ok" and config["hash"] != before, seconds=60)
    assert server.data("health")["uptime"] > uptime


def test_c003_a_plugin_that_no_longer_loads_is_named_and_the_server_goes_on(server: Operator, site: Path) -> None:
    uptime = server.data("health")["uptime"]
    _replace(site / "acme_attic.py", "def bers_sinks():", "def bers_sinks(:")
    until(lambda: "the change is not taken" in _said(server), 60)
    assert "acme_attic.py" in _said(server) and server.data("health")["uptime"] > uptime
    assert server.process.poll() is None


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    other = file.with_suffix(".new")
    other.write_text(text.replace(old, new))
    other.replace(file)  # In one step: half a file is a change, too.


def _said(server: Operator) -> str:
    return (server.folder / "said").read_text()


def _is_anew(server: Operator, began_before: float) -> bool:
    """Whether a server answers that began later than that, by the clock of this process."""
    asked = time.monotonic()
    try:
        reply = server.get("health").json()
    except httpx2.TransportError:
        return False
    return "data" in reply and asked - reply["data"]["uptime"] / 1000 > began_before


def _anew(server: Operator, before: str) -> None:
    """Wait until the server runs with another configuration, in the process and on the ports that it had."""

    def other() -> bool:
        try:
            reply = server.get("dashboard/status")
        except httpx2.TransportError:
            return False
        return reply.status_code == 200 and reply.json()["data"]["configuration"]["hash"] != before

    until(other, ANEW)
    ready(server.folder, server.process)
    assert lock.holder(server.folder / ".bers") == server.process.pid
