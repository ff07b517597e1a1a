"""What the runbook says is there again after the worst: the service, its rules and channels, its page."""

import re
import shutil
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from tests.integration.processes import configure, started, until

RULE = """  alert-engine:
    rules: [{name: Release Slow, severity: error, metric: deployment_performance, above: 7s}]
"""


@contextmanager
def receiver(told: list[str]) -> Generator[int]:
    """Somebody who is told of alerts, and notes which rules they are of."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append(msgspec.json.decode(body)["type"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_c180_c182_rules_and_channels_are_those_of_the_configuration_though_all_data_is_lost(tmp_path: Path) -> None:
    told: list[str] = []
    with receiver(told) as port:
        channel = f"  webhooks: {{channels: [{{name: team, url: 'http://127.0.0.1:{port}/', allow_internal: true}}]}}"
        configure(tmp_path, {"  alert-engine: {}": RULE.rstrip("\n"), "  webhooks: {}": channel})
        slow = {"type": "deployment.finished", "outcome": "success", "duration_ms": 8000}
        for attempt in (1, 2):
            with started(tmp_path) as server:
                rules = [rule["name"] for rule in server.data("alerts/rules")]
                assert "Release Slow" in rules and "Build Performance Degraded" in rules
                assert server.data("alerts") == []
                server.emit(slow)
                (alert,) = server.until("alerts", len)
                assert alert["rule"] == "Release Slow"
                until(partial(_has, told, attempt))
                server.process.kill()
                server.process.wait()
            shutil.rmtree(tmp_path / ".bers")
    assert all("alert.firing" in kind for kind in told)


def test_c183_a_page_without_any_memory_of_its_own_shows_everything_again(tmp_path: Path) -> None:
    configure(tmp_path)
    with started(tmp_path) as server:
        server.emit({"type": "build-completed", "detail": {"duration": 5432, "environment": "production"}})
        server.until("alerts", len)
        server.until("metrics/build_performance", lambda data: data["current"] == 5432)
        before = _shown(server.get("/").text)
        assert len(before) > 1, "the alert and the value"
        server.process.kill()
        server.process.wait()
    with started(tmp_path) as server:
        page = server.get("/").text
        assert _shown(page) == before and "Build Performance Degraded" in page
        scripts = re.findall(r'src="(/assets/[^"]+)"', page)
        assert scripts
        for path in scripts:  # What a browser keeps may be gone: the page asks the API for all of it.
            script = server.get(path).text
            assert not re.search("localStorage|sessionStorage|indexedDB|caches\\.", script)


def _has(told: list[str], count: int) -> bool:
    return len(told) == count


def _shown(page: str) -> set[str]:
    """The alert and the value of the build, wherever they stand on the page."""
    return set(re.findall(r"Build Performance Degraded|5[.,]?43\d?", page))
