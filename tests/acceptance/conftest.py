"""A server as an operator starts it: `bers start` in a directory of its own, with the shipped pipelines.yaml."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from bers import lock

ROOT = Path(__file__).parents[2]
BERS = [sys.executable, "-m", "bers"]


@dataclass
class Operator:
    """A server in a process of its own, and what its operator does with it."""

    folder: Path
    process: subprocess.Popen[bytes]
    ports: Mapping[str, int]

    def get(self, path: str, surface: str = "control") -> httpx2.Response:
        return httpx2.get(self.url(path, surface), timeout=30)

    def post(self, path: str, body: Any = None, surface: str = "control", **options: Any) -> httpx2.Response:
        if body is not None:
            options |= {"content": msgspec.json.encode(body), "headers": {"Content-Type": "application/json"}}
        return httpx2.post(self.url(path, surface), timeout=30, **options)

    def data(self, path: str, surface: str = "control") -> Any:
        reply = self.get(path, surface).json()
        assert reply["success"] is True, reply
        return reply["data"]

    def emit(self, *events: Mapping[str, Any]) -> None:
        reply = self.post("ingest", events)
        assert reply.status_code == 202 and reply.json()["data"]["accepted"] == len(events), reply.text

    def url(self, path: str, surface: str = "control") -> str:
        whole = path if path.startswith("/") else f"/api/monitoring/{path}"
        return f"http://127.0.0.1:{self.ports[surface]}{whole}"

    def until(self, path: str, good: Callable[[Any], object], *, seconds: float = 30.0) -> Any:
        deadline = time.monotonic() + seconds
        while not good(data := self.data(path)):
            assert time.monotonic() < deadline, f"after {seconds} s {path} still answers {data}"
            time.sleep(0.02)
        return data

    def log(self, name: str) -> list[dict[str, Any]]:
        """The lines of a log; one that is just being written may be seen in part, and is left out."""
        whole, _, _ = (self.folder / "logs" / f"{name}.log").read_bytes().rpartition(b"\n")
        return [msgspec.json.decode(line) for line in whole.splitlines()]

    def bers(self, *arguments: str, check: bool = True, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside the server."""
        return subprocess.run(
            [*BERS, *arguments], cwd=self.folder, capture_output=True, text=True, check=check, timeout=60,
            env={**os.environ, **environ},
        )  # fmt: skip

    @contextmanager
    def stream(self) -> Generator[Iterator[tuple[str, Any]]]:
        """The live stream, as pairs of a name and its data."""
        with httpx2.stream("GET", self.url("events"), timeout=30) as reply:
            yield _frames(reply)


def _frames(reply: httpx2.Response) -> Iterator[tuple[str, Any]]:
    name = "message"
    for line in reply.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, msgspec.json.decode(line.removeprefix("data: "))


def configuration(folder: Path, **replaced: str) -> Path:
    """The shipped configuration on free ports, with some lines replaced by others."""
    text = (ROOT / "pipelines.yaml").read_text()
    text += "\nserver: {health: 0, metrics: 0, control: 0}\n"
    text += "access: {rate: {per_second: 100000, burst: 100000}}\n"  # A test asks as often as it likes.
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "pipelines.yaml"
    path.write_text(text)
    return path


@contextmanager
def operating(folder: Path) -> Generator[Operator]:
    """Start a server in a folder that has a configuration; stop it as an operator would, with SIGTERM."""
    environ = {key: value for key, value in os.environ.items() if key not in ("NODE_ENV", "PICASSO_ENV", "BUILD_ENV")}
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen([*BERS, "start"], cwd=folder, stdout=said, stderr=said, env=environ)
    try:
        ports = _ports(folder, process)
        yield Operator(folder, process, ports)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (folder / "said").read_text()
    finally:
        process.kill()
        process.wait()


def _ports(folder: Path, process: subprocess.Popen[bytes]) -> Mapping[str, int]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, (folder / "said").read_text()
        found = lock.announced(folder / ".bers") if lock.holder(folder / ".bers") == process.pid else None
        with suppress(httpx2.TransportError):  # It may take long to answer while it starts.
            if found and httpx2.get(f"{found[0]}/readyz").status_code == 200:
                reply = httpx2.get(f"{found[0]}/api/monitoring/dashboard/status")
                ports: Mapping[str, int] = reply.json()["data"]["server"]["ports"]
                return ports
        time.sleep(0.01)
    raise AssertionError((folder / "said").read_text())


@pytest.fixture(scope="module", autouse=True)
def patient() -> Generator[None]:
    """Emitters wait for longer than they keep a job waiting: what comes too late on a busy machine is not told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERS_EMIT_BUDGET", "30")
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    """One server for all tests of a module."""
    folder = tmp_path_factory.mktemp("operator")
    configuration(folder)
    with operating(folder) as operator:
        yield operator


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where a program of the runbook's scripts is not installed, and say which."""
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed here: {', '.join(missing)}")
