"""`bers notify`, against a server that runs and receivers that are real."""

import json
import subprocess
import sys
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.acceptance.conftest import BERS, Operator
from tests.integration.processes import at_leisure, configure, installed, started, until

RULE = "{name: Back, event: deployment.rolledback}"


class Chat(BaseHTTPRequestHandler):
    """Takes what is sent to /hook, and refuses the rest with words that it read in the address."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        taken = self.path.startswith("/hook")
        self.send_response(200 if taken else 404)
        self.end_headers()
        self.wfile.write(b"ok" if taken else f"no such hook: {self.path}".encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def chat() -> Generator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Chat) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chat: str) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("notify")
    channels = f"""\
  webhooks:
    channels:
      - {{name: chat, url: "{chat}/hook", format: slack, allow_internal: true}}
      - {{name: wrong, url: "{chat}/services/T00SECRET42", allow_internal: true, severities: [critical]}}
  command:
    channels:
      - name: script
        command: ["{sys.executable}", "-c", "print('paged')"]
"""
    configure(
        folder,
        {
            "  webhooks: {}                                # `channels:` say where alerts are told\n": channels,
            "sinks: [webhooks, ": "sinks: [webhooks, command, ",
            # A busy machine brings alerts of its own.
            "alert-engine: {} ": f"alert-engine: {{defaults: false, rules: [{RULE}]}} ",
        },
    )
    with started(folder) as operator:
        yield operator


def bers(server: Operator, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [*BERS, "notify", *arguments]
    return subprocess.run(
        command, check=False, cwd=server.folder, capture_output=True, text=True, timeout=at_leisure(30)
    )


def test_channels_of_all_kinds_are_listed(server: Operator) -> None:
    until(lambda: {one["state"] for one in server.data("stages")} == {"ok"})
    told = bers(server, "list")
    rows = [line.split("\t")[:4] for line in told.stdout.splitlines()]
    assert rows == [
        ["command", "script", "primary", "ready"],
        ["webhooks", "chat", "primary", "ready"],
        ["webhooks", "wrong", "primary", "ready"],
    ]
    assert (told.returncode, told.stderr) == (0, "")


def test_a_test_says_what_was_sent_and_what_came_back(server: Operator) -> None:
    told = bers(server, "test", "chat")
    assert told.returncode == 0
    first, answer, *sent = told.stdout.splitlines()
    assert first.startswith("channel chat of webhooks was told, after ")
    assert answer == "answer: 200 ok"
    assert '"text":"TEST info: This is a test of channel chat"' in "".join(sent)
    report: dict[str, Any] = json.loads(bers(server, "test", "script", "--json").stdout)
    assert (report["taken"], report["status"], report["answer"]) == (True, 0, "paged")


def test_a_test_that_fails_is_exit_code_1_and_hides_the_address(server: Operator) -> None:
    told = bers(server, "test", "wrong")
    assert told.returncode == 1
    assert "channel wrong of webhooks was NOT told" in told.stdout
    assert "answer: 404 answered 404: no such hook: /***/***" in told.stdout
    assert "T00SECRET42" not in told.stdout + told.stderr
    logs = "".join(path.read_text() for path in Path(server.folder, "logs").rglob("*.log"))
    assert "T00SECRET42" not in logs


def test_a_channel_that_is_not_there_is_exit_code_1_and_a_guess(server: Operator) -> None:
    told = bers(server, "test", "chatt")
    assert (told.returncode, told.stdout) == (1, "")
    assert "unknown channel 'chatt'; did you mean 'chat'" in told.stderr


def test_what_could_not_be_told_is_listed_and_sent_again(server: Operator) -> None:
    server.emit({"type": "deployment.rolledback", "environment": "production", "service": "chat"})
    until(lambda: [one["status"] for one in server.data("webhooks/deliveries")] == ["delivered"])
    rows = [line.split("\t") for line in bers(server, "deliveries", "--channel", "chat").stdout.splitlines()]
    assert rows[0][1:4] == ["chat", "delivered", "alert.firing"]
    again = bers(server, "retry", "chat")
    assert (again.returncode, again.stdout) == (0, "0 sent again\n")
    assert bers(server, "reset", "chat").stdout == "channel chat is enabled; 0 waiting\n"
    refused = bers(server, "give-up", "chat")
    assert refused.returncode == 1 and "channel 'chat' is at work" in refused.stderr


PAGER = '''
"""A sink of somebody else, whose server does not let it in."""
from contextlib import asynccontextmanager
from bers import Batch, Config, Nothing, Operation, SinkSpec, Stage, hookimpl

class PagerConfig(Config, frozen=True):
    """Page somebody."""

class Pager(Stage[PagerConfig]):
    @asynccontextmanager
    async def __asynccontextmanager__(self):
        raise OSError("connection refused")
        yield self

    async def write(self, batch: Batch) -> None: ...

async def channels(stage: Pager, ask: Nothing, caller: object) -> list[str]:
    return []

@hookimpl
def bers_sinks():
    listed = Operation("GET", "pager/channels", channels, Nothing, list[str], "Who is paged.")
    return [SinkSpec("pager", PagerConfig, Pager, operations=[listed])]
'''


def test_a_sink_that_does_not_run_is_not_taken_for_one_without_channels(tmp_path: Path) -> None:
    site = installed(tmp_path, "pager", PAGER)
    file = "sources: {build: {}}\nsinks: {pager: {}}\npipelines: {notify: {sources: [build], sinks: [pager]}}\n"
    (tmp_path / "pipelines.yaml").write_text(f"{file}server: {{health: 0, metrics: 0, control: 0}}\n")
    said = "sink 'pager' does not run, and so its channels are not known; see `bers status` for why\n"
    with started(tmp_path, PYTHONPATH=str(site)) as server:
        listed = bers(server, "list")
        assert (listed.returncode, listed.stdout, listed.stderr) == (1, "", said)
        tested = bers(server, "test", "chat")
        assert (tested.returncode, tested.stdout, tested.stderr) == (1, "", said)
