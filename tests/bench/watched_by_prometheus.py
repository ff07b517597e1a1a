"""Debian's Prometheus and Alertmanager, told of the same flips, and given the same rules, where they are installed."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import msgspec

from tests.bench.flips import Ear, Flip
from tests.bench.peers import cpu, free_port, running, version

PROGRAMS = ("prometheus", "prometheus-alertmanager")
TEMPLATES = Path("/usr/share/prometheus/alertmanager/default.tmpl")


class Pace(NamedTuple):
    """How often everything is looked at, and how long it is held back."""

    name: str
    scrape: str
    evaluate: str
    wait: str
    interval: str


TUNED = Pace("tuned to 1 s", "1s", "1s", "0s", "1s")
DEFAULTS = Pace("at defaults", "1m", "1m", "30s", "5m")


def missing() -> str:
    """What is not installed here; empty where everything is."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    return ", ".join(absent) or ("" if TEMPLATES.exists() else str(TEMPLATES))


class Target:
    """What is scraped: a value for each service, and a load of others."""

    def __init__(self, count: int, load: int) -> None:
        self._bad = [False] * count
        self._load = "".join(f'bench_load{{number="{n}"}} 10\n' for n in range(load))

    def turn(self, number: int, bad: bool) -> None:
        self._bad[number] = bad

    def page(self) -> bytes:
        lines = "".join(f'bench_flip{{number="{n}"}} {int(bad)}\n' for n, bad in enumerate(self._bad))
        return (lines + self._load).encode()


@contextmanager
def watching(folder: Path, target: Target, ear: Ear, pace: Pace) -> Generator[str]:
    """Both at work on a target, with one rule for all services, each of which is told of by itself."""
    rules = [{"alert": "Flip", "expr": "bench_flip > 0"}]
    with ExitStack() as stack:
        port = free_port()
        route = {
            "receiver": "ear", "group_by": ["number"], "group_wait": pace.wait, "group_interval": pace.interval,
        }  # fmt: skip
        receiver = {"name": "ear", "webhook_configs": [{"url": ear.url, "send_resolved": True}]}
        config = _written(folder / "alertmanager.yml", {"route": route, "receivers": [receiver]})
        command = (
            "prometheus-alertmanager", f"--config.file={config}", f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--log.level=error",
        )  # fmt: skip
        stack.enter_context(running(command, f"http://127.0.0.1:{port}/-/ready"))
        url, _ = stack.enter_context(_prometheus(folder, target, rules, pace, alertmanager=port))
        while not _scraped(url):
            time.sleep(0.1)
        yield url


def read(body: Any) -> list[Flip]:
    return [(int(alert["labels"]["number"]), alert["status"] == "firing") for alert in body["alerts"]]


class Pass(NamedTuple):
    """What it takes to look at all rules once, in seconds."""

    cpu: float
    """Of all processors together, beyond what the same takes without rules."""
    reported: float
    """How long it says itself that it was busy with it."""


def passes(folder: Path, expressions: Sequence[str], *, load: int, lasting: str, seconds: float) -> Pass:
    """Look at so many rules each second for a while, and at none for as long."""
    used: list[float] = []
    reported = 0.0
    for some in (expressions, ()):
        rules = [{"alert": f"Rule{n}", "expr": text, "for": lasting} for n, text in enumerate(some)]
        where = folder / f"with-{len(some)}"
        where.mkdir()
        with _prometheus(where, Target(0, load), rules, TUNED) as (url, pid):
            while not _scraped(url):
                time.sleep(0.1)
            time.sleep(3.0)
            before = cpu(pid)
            time.sleep(seconds)
            used.append((cpu(pid) - before) / seconds)
            if some:
                (reported,) = _ask(url, "prometheus_rule_group_last_duration_seconds")
    return Pass(used[0] - used[1], reported)


@contextmanager
def _prometheus(
    folder: Path, target: Target, rules: Sequence[Mapping[str, str]], pace: Pace, *, alertmanager: int = 0
) -> Generator[tuple[str, int]]:
    with _scrapable(target) as page:
        _written(folder / "rules.yml", {"groups": [{"name": "bench", "rules": rules}] if rules else []})
        managers = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}] if alertmanager else []
        port = free_port()
        config = _written(
            folder / "prometheus.yml",
            {
                "global": {"scrape_interval": pace.scrape, "evaluation_interval": pace.evaluate},
                "rule_files": [str(folder / "rules.yml")],
                "alerting": {"alertmanagers": managers},
                "scrape_configs": [
                    {"job_name": "bench", "static_configs": [{"targets": [f"127.0.0.1:{page}"]}]},
                    {"job_name": "self", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]},
                ],
            },
        )
        command = (
            "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        with running(command, f"{url}/-/ready") as pid:
            yield url, pid


@contextmanager
def _scrapable(target: Target) -> Generator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            page = target.page()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _scraped(url: str) -> bool:
    return bool(_ask(url, 'up{job="bench"} == 1'))


def _ask(url: str, query: str) -> list[float]:
    reply = httpx2.get(f"{url}/api/v1/query", params={"query": query})
    return [float(one["value"][1]) for one in msgspec.json.decode(reply.content)["data"]["result"]]


def _written(path: Path, content: Mapping[str, Any]) -> Path:
    path.write_bytes(msgspec.json.encode(content))  # JSON is YAML.
    return path


def names() -> str:
    return " with ".join(f"{name} {version(name)}" for name in PROGRAMS)
