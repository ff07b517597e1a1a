"""A server from its start to its end, and what the next one finds: stopped, restarted, killed, refused."""

import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from itertools import pairwise
from pathlib import Path

import httpx2
import msgspec
import pytest

from bers import lock
from tests.acceptance.conftest import BERS, Operator
from tests.integration.processes import (
    USUAL,
    at_leisure,
    configure,
    detached,
    environ,
    free_ports,
    ready,
    spawned,
    started,
    until,
    usual_ports,
)

SLOW = {"type": "build-completed", "detail": {"duration": 5200, "environment": "production"}}
SLOW_ALERTS = "alerts?rule=Build%20Performance%20Degraded"
"""Those that it brings; a busy machine may bring others, about itself."""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BERS, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60, env=environ(folder)
    )


@pytest.mark.xdist_group("ports")
def test_c001_c002_in_an_empty_folder_three_ports_answer_within_two_seconds_and_none_refuses_once_bound(
    tmp_path: Path,
) -> None:
    took: list[float] = []
    while not took or took[-1] > at_leisure(2.0):  # What else the machine does may make one late, and hardly three.
        assert len(took) < 3, f"the first 200 came after {took} s, without what it waited for a processor"
        folder = tmp_path / str(len(took))
        folder.mkdir()
        took.append(_start_and_stop(folder))


def _start_and_stop(folder: Path) -> float:
    """How many seconds a start took on the usual ports, without those in which it waited for a processor."""
    with usual_ports():
        began = time.monotonic()
        with spawned(folder, "start") as process:
            times, answers = _watch_health(process, began)
            waited = _waited(process.pid)
            assert answers[-1] == 200 and set(answers[:-1]) <= {503}, answers
            for surface, path in (("health", "health"), ("metrics", "metrics"), ("control", "dashboard/status")):
                reply = httpx2.get(f"http://127.0.0.1:{USUAL[surface]}/api/monitoring/{path}")
                assert reply.status_code == 200, reply.text
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    assert {path.name for path in folder.iterdir()} == {".bers", "logs", "backups", "said"}
    return times[-1] - waited


def _waited(pid: int) -> float:
    """Seconds in which the main thread of a process could run, and others did; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def test_c002_health_is_503_before_it_is_200_and_never_refused_after_the_port_was_bound(tmp_path: Path) -> None:
    """A check that waits for us holds the start up, so that there is something to see."""
    ports = free_ports()
    seen = _held_up(tmp_path, ports)
    with spawned(tmp_path, "start") as process:
        times, answers = _watch_health(process, time.monotonic(), ports["health"], on_first=seen.touch)
    assert answers[0] == 503 and answers[-1] == 200 and set(answers) == {200, 503}, (times, answers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_b1_a_signal_stops_the_server_with_exit_code_0(number: signal.Signals, tmp_path: Path) -> None:
    configure(tmp_path)
    with started(tmp_path) as server:
        with server.stream() as frames:
            assert next(frames)[0] == "connected"  # An open stream holds nothing up.
            began = time.monotonic()
            server.process.send_signal(number)
            assert server.process.wait(30) == 0 and time.monotonic() - began < at_leisure(5)
    assert lock.holder(tmp_path / ".bers") is None
    assert "Traceback" not in (tmp_path / "said").read_text()


def test_b1_a_signal_during_the_start_is_exit_code_0_too(tmp_path: Path) -> None:
    ports = free_ports()
    _held_up(tmp_path, ports)
    with spawned(tmp_path, "start") as process:
        until(lambda: _health(ports["health"]) == 503)
        until(lambda: lock.announced(tmp_path / ".bers"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (tmp_path / "said").read_text()


def test_b1_detached_returns_when_ready_and_stop_ends_it(tmp_path: Path) -> None:
    configure(tmp_path)
    with detached(tmp_path):
        done = run(tmp_path, "start", "--detach")
        pid = lock.holder(tmp_path / ".bers")
        assert done.returncode == 0 and pid
        url = done.stdout.strip().rpartition(" ")[2]
        assert done.stdout == f"running as process {pid}, at {url}\n"
        assert httpx2.get(f"{url}/api/monitoring/health").status_code == 200
        assert os.getsid(pid) == pid  # It outlives the terminal.
        stopped = run(tmp_path, "stop")
        assert (stopped.returncode, stopped.stdout) == (0, f"stopped process {pid}\n")
        assert lock.holder(tmp_path / ".bers") is None
        again = run(tmp_path, "stop")
        assert (again.returncode, again.stdout) == (0, "no server runs on .bers\n")


def test_a_server_whose_file_was_broken_since_can_be_stopped_and_its_keys_revoked(tmp_path: Path) -> None:
    file = configure(tmp_path)
    with started(tmp_path) as server:
        key = run(tmp_path, "keys", "create", "ada", "--scope", "read").stdout.strip()
        file.write_text("sources: [\n")
        done = run(tmp_path, "keys", "revoke", key)
        assert (done.returncode, done.stdout) == (0, f"revoked {key[5:13]} (ada)\n"), done.stderr
        assert run(tmp_path, "stop").returncode == 0
        assert server.process.wait(30) == 0


def test_a_server_is_found_where_the_file_keeps_its_data_whatever_else_is_wrong_there(tmp_path: Path) -> None:
    file = configure(tmp_path, more="data_dir: elsewhere\n")
    with spawned(tmp_path, "start") as process:
        until(lambda: lock.announced(tmp_path / "elsewhere"))
        until(lambda: run(tmp_path, "status").returncode == 0)
        file.write_text(file.read_text().replace("interval: 1s", "interval: soon"))
        stopped = run(tmp_path, "stop")
        assert (stopped.returncode, stopped.stdout) == (0, f"stopped process {process.pid}\n"), stopped.stderr
        assert process.wait(30) == 0


def test_b1_a_detached_start_that_fails_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        configure(tmp_path, ports={"health": 0, "metrics": 0, "control": port})
        done = run(tmp_path, "start", "--detach")
    assert done.returncode == 2 and f"server.control: port {port} is in use by process {os.getpid()}" in done.stderr
    assert "Traceback" not in done.stderr
    assert lock.holder(tmp_path / ".bers") is None


def test_c004_restart_changes_the_process_and_nothing_else(tmp_path: Path) -> None:
    configure(tmp_path, ports=free_ports())
    with detached(tmp_path), started(tmp_path) as server:
        server.emit(SLOW)
        (alert,) = server.until(SLOW_ALERTS, len)
        body = {"operator": "ada", "notes": "looking"}
        assert server.post(f"alerts/{alert['id']}/acknowledge", body).status_code == 200
        before = until(lambda: found if len(found := _seconds(server)) >= 3 else None)
        alerts, build = server.data(SLOW_ALERTS), server.data("metrics/build_performance")["current"]
        pid = server.process.pid
        done = run(tmp_path, "restart")
        assert done.returncode == 0, done.stderr
        assert server.process.wait(30) == 0
        assert lock.holder(tmp_path / ".bers") not in (None, pid)
        assert server.data(SLOW_ALERTS) == alerts and alerts[0]["acknowledgment"]["operator"] == "ada"
        assert server.data("metrics/build_performance")["current"] == build == 5200
        last = max(_seconds(server))
        until(lambda: max(_seconds(server)) >= last + 2)
        seconds = _seconds(server)
        assert set(before) <= set(seconds)
        # On a busy machine a reading may be late and its second without one, at any time.
        gap = max(later - earlier - 1 for earlier, later in pairwise(seconds))
        assert gap <= at_leisure(3), f"{gap} s are missing in {seconds}"
        assert run(tmp_path, "stop").returncode == 0


def test_c004_restart_without_a_server_starts_one(tmp_path: Path) -> None:
    configure(tmp_path)
    with detached(tmp_path):
        assert run(tmp_path, "restart").returncode == 0
        assert lock.holder(tmp_path / ".bers")
        assert run(tmp_path, "stop").returncode == 0


def test_c004_a_restart_with_a_wrong_configuration_leaves_the_old_server_running(tmp_path: Path) -> None:
    file = configure(tmp_path)
    with started(tmp_path) as server:
        file.write_text(file.read_text().replace("interval: 1s", "interval: soon"))
        done = run(tmp_path, "restart")
        assert done.returncode == 2 and "sources.host.interval" in done.stderr
        assert server.data("health")["overallStatus"] == "healthy" and server.process.poll() is None


def test_a_second_server_on_the_same_data_is_refused_with_the_holder_s_pid(tmp_path: Path) -> None:
    configure(tmp_path)
    with started(tmp_path) as server:
        done = run(tmp_path, "start")
        assert done.returncode == 2 and f"'.bers' is in use by process {server.process.pid}" in done.stderr
        assert "`bers stop`" in done.stderr and done.stderr.count("\n") == 1
        assert server.data("health")["overallStatus"] == "healthy"


@pytest.mark.skipif(not shutil.which("lsof"), reason="not installed here: lsof")
def test_c006_lsof_shows_our_process_on_the_port(tmp_path: Path) -> None:
    configure(tmp_path)
    with started(tmp_path) as server:
        done = subprocess.run(["lsof", "-t", "-i", f":{server.ports['control']}", "-sTCP:LISTEN"], capture_output=True,
                              text=True, check=True)  # fmt: skip
        assert done.stdout.split() == [str(server.process.pid)]


def test_c006_every_port_in_use_is_named_with_its_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = {"health": one.getsockname()[1], "metrics": two.getsockname()[1], "control": 0}
        configure(tmp_path, ports=ports)
        done = run(tmp_path, "start")
    assert done.returncode == 2
    for surface in ("health", "metrics"):
        line = (
            rf"^server\.{surface}: port {ports[surface]} is in use by process {os.getpid()} \(.+\); stop that, or set"
        )
        assert re.search(line, done.stderr, re.MULTILINE), done.stderr
    assert not (tmp_path / ".bers").exists() or lock.holder(tmp_path / ".bers") is None


def test_c181_after_kill_9_history_alerts_and_acknowledgements_are_there(tmp_path: Path) -> None:
    configure(tmp_path)
    with started(tmp_path) as server:
        server.emit(SLOW)
        (alert,) = server.until(SLOW_ALERTS, len)
        server.post(f"alerts/{alert['id']}/acknowledge", {"operator": "ada", "notes": "looking"})
        until(lambda: len(_seconds(server)) >= 2)
        seconds, alerts = _seconds(server), server.data(SLOW_ALERTS)
        # Killed in the same moment in which the last one is answered with 202.
        server.emit({"type": "deployment.finished", "id": "d-1", "source": "ci", "duration_ms": 94_000})
        server.process.kill()
        server.process.wait()
    with started(tmp_path) as server:
        assert server.data(SLOW_ALERTS) == alerts
        assert server.data("metrics/build_performance")["current"] == 5200
        server.until("metrics/deployment_performance", lambda data: data["current"] == 94_000)
        assert set(seconds) <= set(_seconds(server))
        repeated = server.post("ingest", {"type": "deployment.finished", "id": "d-1", "source": "ci"}).json()["data"]
        assert repeated["duplicates"] == 1


def test_c180_without_its_data_a_server_is_rebuilt_from_the_configuration_alone(tmp_path: Path) -> None:
    configure(tmp_path, {"host: {use: system-resources, interval: 1s}": "host: {use: system-resources, interval: 2s}"})
    with started(tmp_path) as server:
        digest = server.data("dashboard/status")["configuration"]["hash"]
        rules = [rule["name"] for rule in server.data("alerts/rules")]
        server.process.kill()
        server.process.wait()
    shutil.rmtree(tmp_path / ".bers")
    with started(tmp_path) as server:
        assert server.data("dashboard/status")["configuration"]["hash"] == digest
        assert [rule["name"] for rule in server.data("alerts/rules")] == rules


@pytest.mark.parametrize("key", ["data_dir", "log: {folder"])
def test_a_folder_that_cannot_be_written_is_one_clear_line(key: str, tmp_path: Path) -> None:
    """A file stands where the folder should be: that stops even root."""
    (tmp_path / "taken").write_text("not a folder")
    end = "}" if "{" in key else ""
    configure(tmp_path, more=f"{key}: taken/inner{end}\n")
    for how in ("start", "--detach"):
        done = run(tmp_path, *dict.fromkeys(("start", how)))
        assert done.returncode == 2, done.stderr
        assert f"'taken/inner' cannot be written to: {os.strerror(errno.ENOTDIR)}; " in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_data_folder_without_permission_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    configure(tmp_path, more="data_dir: closed/data\n")
    done = run(tmp_path, "start")
    assert done.returncode == 2 and "closed" in done.stderr and done.stderr.count("\n") == 1


def test_b12_after_logs_were_moved_a_hangup_makes_them_anew(tmp_path: Path) -> None:
    configure(tmp_path)
    with started(tmp_path) as server:
        server.emit({"type": "build.finished", "id": "before", "outcome": "success", "duration_ms": 10})
        until(lambda: any(line.get("id") == "before" for line in server.log("build")))
        (tmp_path / "logs" / "build.log").rename(tmp_path / "logs" / "build.log.old")
        server.process.send_signal(signal.SIGHUP)
        until((tmp_path / "logs" / "build.log").exists)
        server.emit({"type": "build.finished", "id": "after", "outcome": "success", "duration_ms": 10})
        until(lambda: any(line.get("id") == "after" for line in server.log("build")))
        old = (tmp_path / "logs" / "build.log.old").read_text()
        assert '"before"' in old and '"after"' not in old
        assert all(line.get("id") != "before" for line in server.log("build"))
        assert server.data("health")["overallStatus"] == "healthy"


def test_c190_a_stage_that_is_taken_out_is_false_in_the_status_and_the_rest_runs(tmp_path: Path) -> None:
    configure(tmp_path, {
        "  sse: {}\n": "", "sinks: [sse, dashboard]": "sinks: [dashboard]",
        "  environment-resolver: {fallback: production}\n": "", "environment-resolver, ": "",
    })  # fmt: skip
    with started(tmp_path) as server:
        components = server.data("dashboard/status")["components"]
        off = {name for name, on in components.items() if not on}
        assert off == {"sse", "environmentResolver"}
        for path, name in (("events", "sse"), ("environment-resolver", "environment-resolver")):
            refused = server.get(path)
            assert refused.status_code == 503 and f"'{name}' is not running" in refused.json()["error"]["message"]
            assert "pipelines.yaml" in refused.json()["error"]["hint"]
        server.emit(SLOW)
        assert server.until(SLOW_ALERTS, len)[0]["rule"] == "Build Performance Degraded"
        assert server.get("/").status_code == 200 and server.data("health")["overallStatus"] == "healthy"


PROGRAM = """
import asyncio, json, sys
from bers import start_production_monitoring

async def main():
    system = await start_production_monitoring(json.loads(sys.argv[1]))
    print(json.dumps(dict(system.ports)), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await system.stop()
    await system.stop()
    print("stopped", flush=True)

asyncio.run(main())
"""


@pytest.fixture
def program(tmp_path: Path) -> Generator[subprocess.Popen[str]]:
    """A program that starts monitoring with the runbook's dictionary, and stops it when it is told to."""
    ports = free_ports()
    configure(tmp_path, ports={**ports, "control": 0})
    wanted = {
        "environment": "staging",
        "deployment": {"dashboardPort": ports["control"], "logLevel": "info"},
        "performance": {
            "targets": {"configurationResolution": 75},
            "optimization": {"sampling": {"adaptive": True, "rate": 0.5, "thresholdTrigger": 200}},
        },
        "monitoring": {
            "metricsGranularity": 2000,
            "retentionPolicies": {"realtime": 150, "shortTerm": 30},
            "dashboardRefreshInterval": 10_000,
        },
        "deduplication": {"enabled": True, "window": 600_000},
        "rateLimiting": {"maxAlerts": 5, "window": 600_000},
    }
    with subprocess.Popen([BERS[0], "-c", PROGRAM, msgspec.json.encode(wanted).decode()], cwd=tmp_path, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ(tmp_path)) as process:  # fmt: skip
        yield process
        process.kill()


def test_c005_c085_c099_a_program_starts_and_stops_monitoring_with_the_runbook_s_dictionary(
    program: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert program.stdout and program.stdin
    ports = msgspec.json.decode(program.stdout.readline())
    text = (tmp_path / "pipelines.yaml").read_text()
    assert f"health: {ports['health']}," in text and f"metrics: {ports['metrics']}," in text  # Siblings stay.
    server = ready(tmp_path, program)  # type: ignore[arg-type]
    assert server.ports == ports
    for surface in ports:
        assert server.get("/readyz", surface).status_code == 200
    assert server.data("health")["environment"] == "staging"
    rules = {rule["name"]: rule for rule in server.data("alerts/rules")}
    assert rules["Configuration Resolution Slow"]["threshold"] == 75
    assert server.data("metrics/configuration_resolution_time")["target"] == 75
    assert 'data-refresh="10000"' in server.get("/").text
    readings = "metrics/system_memory_usage?period=1m"
    data = server.until(readings, lambda data: data["seriesCount"] and len(data["series"][0]["points"]) >= 2)
    assert data["widthMs"] == 2000 and all(point[0] % 2000 == 0 for point in data["series"][0]["points"])
    assert server.data("metrics/system_memory_usage?period=2m")["widthMs"] == 2000
    assert server.data("metrics/system_memory_usage?period=5m")["widthMs"] == 60_000  # Beyond `realtime`.
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.stdout.readline() == "stopped\n" and program.wait(30) == 0
    assert lock.holder(tmp_path / ".bers") is None


def test_c005_a_key_that_is_not_known_is_refused_with_the_one_that_was_meant(tmp_path: Path) -> None:
    wanted = '{"deployment": {"dashbordPort": 8080}, "performance": {"targets": {"buildTimes": 1}}}'
    done = subprocess.run([BERS[0], "-c", PROGRAM, wanted], cwd=tmp_path, capture_output=True, text=True, check=False,
                          timeout=30, env=environ(tmp_path))  # fmt: skip
    assert done.returncode == 1
    assert "deployment.dashbordPort: unknown key 'dashbordPort'; did you mean 'dashboardPort'?" in done.stderr
    assert "did you mean 'buildTime'?" in done.stderr


def _held_up(folder: Path, ports: Mapping[str, int]) -> Path:
    """Configure a server whose start is held up by a check, until there is a file: which one."""
    file = folder / "go-on"
    argv = ["sh", "-c", f"until [ -e '{file}' ]; do sleep 0.05; done"]
    probe = {"provider": "slow", "kind": "command", "argv": argv, "timeout": "60s"}
    configure(folder, {"providers: {}": f"providers: {msgspec.json.encode({'probes': [probe]}).decode()}"}, ports=ports)
    return file


def _watch_health(
    process: subprocess.Popen[bytes],
    began: float,
    port: int = USUAL["health"],
    on_first: Callable[[], object] = lambda: None,
) -> tuple[list[float], list[int]]:
    """Ask for health until it is 200: when each answer came, and which it was."""
    times: list[float] = []
    answers: list[int] = []
    while not answers or answers[-1] != 200:
        assert process.poll() is None and time.monotonic() - began < 60
        code = _health(port)
        assert code or not answers, f"refused after {answers}"
        if code:
            answers.append(code)
            times.append(time.monotonic() - began)
            if len(answers) == 1:
                on_first()
        time.sleep(0.005)
    return times, answers


def _health(port: int) -> int:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/api/monitoring/health", timeout=5).status_code
    except httpx2.ConnectError:
        return 0


def _seconds(server: Operator) -> list[int]:
    """Which seconds the stored 1-s series of our own memory readings has, of the last five minutes."""
    series = server.data("metrics/system_memory_usage?period=5m")["series"]
    return sorted({point[0] // 1000 for one in series for point in one["points"]})
