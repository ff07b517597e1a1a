"""Real input, no fixtures: builds and tests that run, an environment that is there, a provider that is stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.acceptance.conftest import BERS, ROOT, Operator, needs
from tests.integration.processes import at_leisure, configure, environ, free_ports, started, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("real")
    configure(folder)
    with started(folder) as operator:
        yield operator


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project that is somebody's: the emitter, as it lies in this repository."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "plugins/contrib/bers-emit", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def command(server: Operator, *arguments: str) -> list[str]:
    return [*BERS, "run", *arguments[: arguments.index("--")], "--url", f"http://127.0.0.1:{server.ports['control']}",
            *arguments[arguments.index("--") :]]  # fmt: skip


def run(server: Operator, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`bers run` with these arguments, pointed at the server; nothing of our own test run is inherited."""
    inherited = environ(server.folder)
    clean = {key: value for key, value in inherited.items() if not key.startswith(("PYTEST_", "MAKE", "MFLAGS"))}
    return subprocess.run(
        command(server, *arguments), cwd=cwd, capture_output=True, text=True, check=False, timeout=300, env=clean
    )


def shows(server: Operator, frames: Iterator[tuple[str, Any]], frame: str, metric: str, log: str) -> dict[str, Any]:
    """The line of a run that has just ended: within a second it is on the stream, in the metric and in the log."""
    ended, within = time.monotonic(), at_leisure(1.0)
    told = next(data for name, data in frames if name == frame)
    line: dict[str, Any] = until(
        lambda: next((line for line in server.log(log) if line.get("id") == told["id"]), None), within
    )
    wanted = line["measures"][metric]
    server.until(f"metrics/{metric}", lambda data: data["current"] == wanted, seconds=within)
    assert time.monotonic() - ended < within, "it took too long"
    return line


def test_a_real_build_of_a_small_project_shows_up_within_a_second(server: Operator, project: Path) -> None:
    zipapp = (sys.executable, "-m", "zipapp", "src", "-m", "bers_emit.cli:main", "-o", "emit.pyz")
    with server.stream() as frames:
        done = run(server, project, "--kind", "build", "--name", "emit", "--environment", "test", "--", *zipapp)
        assert done.returncode == 0, done.stderr
        line = shows(server, frames, "build-completed", "build_performance", "build")
    assert (line["outcome"], line["environment"], line["labels"]["build"]) == ("success", "test", "emit")
    assert line["measures"]["exit_code"] == 0 and line["measures"]["cpu_user_ms"] > 0
    made = subprocess.run([sys.executable, "emit.pyz", "--version"], cwd=project, capture_output=True, check=True)
    assert made.stdout.startswith(b"bers-emit 1.")


@needs("make")
def test_make_dist_builds_this_project_and_shows_up_within_a_second(server: Operator) -> None:
    """The true thing. uv builds apart from our environment: hatchling comes from its cache, or else from the index."""
    dist = ROOT / "dist"
    before = {path: path.stat().st_mtime_ns for path in dist.glob("*")}
    try:
        with server.stream() as frames:
            done = run(server, ROOT, "--kind", "build", "--", "make", "dist")
            assert done.returncode == 0, done.stderr
            line = shows(server, frames, "build-completed", "build_performance", "build")
        wheels = {path.name for path in dist.glob("*.whl") if path.stat().st_mtime_ns != before.get(path)}
        assert any(name.startswith("bers_monitoring-") for name in wheels)
        assert line["labels"]["build"] == "make" and line["duration_ms"] > 100
    finally:
        for path in set(dist.glob("*")) - set(before):
            path.unlink()
        if not before and dist.exists():
            shutil.rmtree(dist)


def test_a_real_test_run_shows_up_within_a_second(server: Operator) -> None:
    pytest_ = (sys.executable, "-m", "pytest", "-q", "tests/unit/test_sketch.py", "-p", "no:cacheprovider")
    with server.stream() as frames:
        done = run(server, ROOT, "--kind", "test", "--name", "sketch", "--", *pytest_)
        assert done.returncode == 0 and "passed" in done.stdout
        line = shows(server, frames, "validation-completed", "test_suite_duration", "monitoring")
    assert line["labels"]["suite"] == "sketch" and line["outcome"] == "success"


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [("exit 3", 3, "exit code 3"), ("kill -KILL $$", 137, "killed by SIGKILL"), ("no-such-tool", 127, "exit code 127")],
)
@pytest.mark.parametrize(
    ("kind", "frame", "log"), [("build", "build-failed", "build"), ("test", "validation-failed", "monitoring")]
)
def test_a_command_that_fails_or_is_killed_is_failed_with_its_exit_code(
    kind: str, frame: str, log: str, script: str, code: int, reason: str, server: Operator, tmp_path: Path
) -> None:
    metric = {"build": "build_success_rate", "test": "test_suite_duration"}[kind]
    with server.stream() as frames:
        assert run(server, tmp_path, "--kind", kind, "--", "sh", "-c", script).returncode == code
        line = shows(server, frames, frame, metric, log)
    assert (line["outcome"], line["reason"], line["measures"]["exit_code"]) == ("failure", reason, code)


@pytest.mark.parametrize(
    ("number", "code", "outcome"), [(signal.SIGTERM, 143, "cancel"), (signal.SIGKILL, 137, "failure")]
)
def test_a_command_that_somebody_stops_is_told_with_its_signal(
    number: signal.Signals, code: int, outcome: str, server: Operator, tmp_path: Path
) -> None:
    """SIGTERM goes to `bers run`, which hands it on; SIGKILL to the command itself."""
    with server.stream() as frames, running(server, tmp_path) as (process, child):
        os.kill(process.pid if number == signal.SIGTERM else child, number)
        assert process.wait(30) == code
        told = next(data for name, data in frames if name in ("build-failed", "build-completed"))
    assert told["data"]["outcome"] == outcome and number.name in told["data"]["reason"]


def test_a_build_whose_reporter_is_killed_is_lost_and_so_failed(tmp_path: Path) -> None:
    # A server of its own: a build that takes a second because the machine is busy is lost to no other.
    configure(tmp_path, {"  build: {}": "  build: {lost_after: 1s}"})
    with started(tmp_path) as server, server.stream() as frames, running(server, tmp_path) as (process, child):
        begun = next(data for name, data in frames if name == "build-started")
        process.kill()
        process.wait()
        os.kill(child, signal.SIGKILL)
        told = next(data for name, data in frames if name == "build-failed")
        until(lambda: any(line.get("type") == "build.lost" for line in server.log("build")))
    assert told["subject"] == begun["subject"] and told["data"]["reason"] == "lost: no finish within 1s"


def test_c113_c114_the_resolver_reports_the_environment_of_the_checkout(project: Path) -> None:
    (project / ".env").write_text("API_URL=https://api.example.test\nSESSION_SECRET=abcdefghij0123456789\n")
    (project / ".env.staging").write_text("API_URL=https://staging.example.test\n")
    often = {"environment-resolver: {fallback: production}": "environment-resolver: {interval: 200ms}"}
    configure(project, often, more="health: {checks: {environment-resolver: {interval: 200ms}}}\n")
    with started(project, PICASSO_ENV="staging") as server:
        # Nothing is told of what was not looked for yet, and a check is made at an interval of its own.
        server.until("health/configuration-validity", lambda data: data["status"] != "unknown")
        server.until("health/environment-resolver", lambda data: data["status"] != "unknown")
        report = server.data("environment-resolver")
        assert (report["environment"], report["source"], report["confidence"]) == ("staging", "env", "high")
        assert set(report["files"]) == {".env", ".env.staging"} and report["valid"] is True
        assert report["values"]["API_URL"]["origin"] == ".env.staging"
        assert report["values"]["SESSION_SECRET"]["origin"] == ".env"
        check = server.data("health/environment-resolver", "health")
        assert check["status"] == "healthy" and check["details"]["environment"] == "staging"
        server.until("metrics/cache_hit_rate", lambda data: data["current"] == 100)
        # Somebody adds a file that says otherwise: it wins, and the contradiction is told.
        (project / "picasso.config.json").write_text(json.dumps({"environment": "production"}))
        report = server.until("environment-resolver", lambda data: data["environment"] == "production")
        assert report["conflicts"] == ["picasso.config.json says production, but PICASSO_ENV says staging"]
        server.until("health/environment-resolver", lambda data: data["status"] == "degraded")
        until(lambda: any(line.get("type") == "environment.detected" for line in server.log("environment-resolver")))
        everything = "".join(file.read_text() for file in (project / "logs").iterdir())
        assert "abcdefghij0123456789" not in everything and "abcdefghij0123456789" not in json.dumps(report)


def test_c017_c123_a_provider_that_is_stopped_turns_its_check_and_back_when_it_is_started_again(tmp_path: Path) -> None:
    port = free_ports()["control"]
    with probing(tmp_path, port, reset_after="500ms") as server:
        with provider(tmp_path, port):
            server.until("health/provider-health", lambda data: data["status"] == "healthy")
            server.until("metrics/provider_initialization_time", lambda data: data["current"] is not None)
        ill = server.until("health/provider-health", lambda data: data["status"] == "unhealthy")
        assert "chat" in ill["message"] and server.get("health/provider-health", "health").status_code == 503
        assert server.data("health")["overallStatus"] == "degraded"  # Not critical: the rest is well.
        until(lambda: any(line.get("outcome") == "error" for line in server.log("provider-health")))
        with provider(tmp_path, port):
            server.until("health/provider-health", lambda data: data["status"] == "healthy")
            server.until("providers", lambda data: data[0]["lastError"] is None)


def test_c036_c064_the_breaker_of_a_provider_opens_and_is_reset_by_hand(tmp_path: Path) -> None:
    port = free_ports()["control"]
    with probing(tmp_path, port, reset_after="1h") as server:
        server.until("providers", lambda data: data[0]["breaker"] == "open")
        with provider(tmp_path, port):
            reset = server.post("health/circuit-breakers/reset").json()["data"]["reset"]
            assert "providers (1)" in reset
            server.until("providers", lambda data: data[0]["breaker"] == "closed" and data[0]["status"] == "healthy")
            server.until("health/provider-health", lambda data: data["status"] == "healthy")


@contextmanager
def probing(folder: Path, port: int, *, reset_after: str) -> Generator[Operator]:
    """A server that probes a provider on a port every 300 ms."""
    probe = f"{{provider: chat, kind: http, url: 'http://127.0.0.1:{port}/', timeout: 1s}}"
    options = f"interval: 300ms, reset_after: {reset_after}, probes: [{probe}]"
    breaker = f"breaker: {{reset_after: {reset_after}, successes: 1}}"
    looks = f"health: {{checks: {{provider-health: {{interval: 200ms}}}}, {breaker}}}\n"
    configure(folder, {"providers: {}": f"providers: {{{options}}}"}, more=looks)
    with started(folder) as server:
        yield server


@contextmanager
def provider(folder: Path, port: int) -> Generator[None]:
    """A provider that answers, in a process of its own."""
    serve = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    process = subprocess.Popen(serve, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def running(server: Operator, cwd: Path) -> Generator[tuple[subprocess.Popen[bytes], int]]:
    """`bers run` around a command that does not end by itself, and the id of that command."""
    process = subprocess.Popen(
        command(server, "--kind", "build", "--", "sleep", "600"), cwd=cwd, env=environ(server.folder)
    )
    try:
        (child,) = until(lambda: psutil.Process(process.pid).children())
        until(lambda: child.name() == "sleep")
        yield process, child.pid
    finally:
        process.kill()
        process.wait()
