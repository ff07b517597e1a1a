"""A server ends when it is told to, and runs when it is not, whatever is installed beside it."""

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

from tests.acceptance.conftest import BERS
from tests.integration.processes import at_leisure, configure, environ, installed, started, until

LEAKY = '''
"""A sink that does not heed that it should end."""

import anyio

from bers import Batch, Config, SinkSpec, Stage, hookimpl


class LeakyConfig(Config, frozen=True):
    """Never end."""


class Leaky(Stage[LeakyConfig]):
    async def write(self, batch: Batch) -> None:
        while True:
            try:
                await anyio.sleep(1)
            except BaseException:
                pass


@hookimpl
def bers_sinks():
    return [SinkSpec("leaky", LeakyConfig, Leaky)]
'''

BLOCKING = '''
"""A source that blocks the event loop: it sleeps once, and then computes without letting anybody else have the lock."""

import time

import anyio

from bers import Config, SourceSpec, Stage, hookimpl


class BlockingConfig(Config, frozen=True):
    """Block again and again."""


class Blocking(Stage[BlockingConfig]):
    async def run(self, emit):
        await anyio.sleep(0.5)
        time.sleep(1.5)
        while True:  # Who looks may be kept from it until somebody else is at work: then nobody is blamed.
            await anyio.sleep(0.5)
            sum(range(100_000_000))


@hookimpl
def bers_sources():
    return [SourceSpec("blocking", BlockingConfig, Blocking)]
'''


def states(stages: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Which stages are in each state that there is."""
    found = dict[str, list[str]]()
    for one in stages:
        found.setdefault(one["state"], []).append(one["key"])
    return found


def test_a_plugin_that_does_not_end_keeps_no_process_alive(tmp_path: Path) -> None:
    path = str(installed(tmp_path, "leaky", LEAKY))
    leaky = {
        "  dashboard: {": "  leaky: {}\n  dashboard: {",
        "sinks: [sse, dashboard]": "sinks: [sse, dashboard, leaky]",
    }
    more = "stop_within: 2s\nsupervision: {write_within: 500ms, close_within: 500ms}\n"
    configure(tmp_path, leaky, more=more)
    with started(tmp_path, "start", PYTHONPATH=path) as server:
        server.until("stages", lambda stages: states(stages).get("quarantined") == ["leaky"], seconds=at_leisure(15))
        # Where the disk is busy, somebody else may have needed longer once: that is over, and the quarantine is not.
        stages = server.until("stages", lambda stages: set(states(stages)) == {"ok", "quarantined"})
        assert states(stages)["quarantined"] == ["leaky"]
        assert server.data("dashboard/status")["givenUp"] == ["leaky"]
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert server.process.wait(at_leisure(10)) == 1
        assert time.monotonic() - began > 4, "first it had the time that `stop_within` gives"
    assert "is ended by force; still at work: leaky" in (tmp_path / "said").read_text()
    # What was accepted is there, and the next server takes it up.
    configure(tmp_path)
    with started(tmp_path, "start", PYTHONPATH=path) as server:
        assert server.data("health")["overallStatus"] in ("healthy", "degraded", "unhealthy")


def test_a_plugin_that_cannot_be_imported_is_named_and_everything_else_runs(tmp_path: Path) -> None:
    path = str(installed(tmp_path, "broken", "raise RuntimeError('it is not made for this version')\n"))
    configure(tmp_path)
    with started(tmp_path, "start", PYTHONPATH=path) as server:
        status = server.data("dashboard/status")
        assert status["pluginsFailed"] == {"broken": "RuntimeError: it is not made for this version"}
        why = "plugins could not be loaded: broken"
        check = server.until("health/metrics-collector", lambda check: check["message"] == why, seconds=at_leisure(15))
        assert check["status"] == "degraded"
        assert httpx2.get(f"http://127.0.0.1:{server.ports['control']}/readyz").status_code == 200
        server.until("stages", lambda stages: set(states(stages)) == {"ok"})
        shown = subprocess.run(
            [*BERS, "status"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
            env=environ(tmp_path, PYTHONPATH=path),
        )  # fmt: skip
        assert "plugin 'broken' could not be loaded: RuntimeError: it is not made for this version" in shown.stderr


def test_a_plugin_that_blocks_a_real_server_is_named_with_its_line(tmp_path: Path) -> None:
    path = str(installed(tmp_path, "blocking", BLOCKING))
    configure(tmp_path, {"sources:\n  build": "sources:\n  blocking: {}\n  build"})
    with started(tmp_path, "start", PYTHONPATH=path) as server:

        def is_named(line: str) -> bool:
            lines = [line["message"] for line in server.log("monitoring")]
            return any(
                "the event loop was blocked for" in one and "by stage 'blocking'" in one and line in one
                for one in lines
            )

        until(lambda: is_named("time.sleep(1.5)"), at_leisure(20))
        until(lambda: is_named("sum(range(100_000_000))"), at_leisure(60))
        blamed = {line["message"] for line in server.log("monitoring") if "was blocked for" in line["message"]}
    assert not [line for line in blamed if "by stage '" in line and "by stage 'blocking'" not in line], blamed
