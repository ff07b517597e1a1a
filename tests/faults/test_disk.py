"""A full or read-only disk: the node lives, refuses and says so, loses nothing, and goes on by itself when it can."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bers_builtin.sinks.rest_store import read_windows
from tests.acceptance.conftest import Operator
from tests.integration.processes import at_leisure, free_ports, spawned, until

LONG = bool(os.environ.get("BERS_TEST_LONG"))
SOON = at_leisure(15.0)
ROUNDS = 5 if LONG else 1
MIB = 1 << 20
RECOVERS_WITHIN = 10.0
STARTS_WITHIN = 60.0

PIPELINES = """
version: 1
data_dir: {data_dir}
server: {{health: {health}, metrics: {metrics}, control: {control}}}
access: {{rate: {{per_second: 100000, burst: 100000}}}}
intake: {{snapshot_every: 2s, journal: {{when_full: {when_full}}}}}
log: {{events: false}}
sources:
  build: {{}}
  host: {{use: system-resources, interval: 1s}}
processors:
  windows: {{use: aggregation, window: 1s}}
sinks:
  store: {{use: rest-store, commit_every: 100ms, fold_every: 1s, delivery: {{required: true}}}}
  alert-engine:
    rules: [{{name: Disk nearly full, metric: system_disk_usage, above: 85%, severity: critical}}]
  sse: {{}}
pipelines:
  metrics: {{sources: [build, host], processors: [windows], sinks: [store]}}
  alerts: {{sources: [build, host], sinks: [alert-engine]}}
  live: {{sources: [build, host, alert-engine], sinks: [sse]}}
"""


@contextmanager
def mounted(folder: Path, size: int) -> Generator[Path]:
    """A file system in memory of so many bytes; skip where we may not make one."""
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False)
    if not done or done.returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(path: Path, *, leave: int = 0) -> None:
    """Take what room there is, but for so many bytes."""
    found = os.statvfs(path.parent)
    with path.open("ab", buffering=0) as file:
        try:
            os.posix_fallocate(file.fileno(), file.tell(), max(0, found.f_bavail * found.f_frsize - leave))
            while not leave:
                file.write(bytes(4096))
        except OSError:
            pass


class Site:
    """A folder with a configuration, whose data directory is on a disk of its own; and who emits to it."""

    def __init__(self, folder: Path, disk: Path, *, when_full: str = "refuse") -> None:
        self.folder, self.disk, self.data_dir = folder, disk, disk / "data"
        self.ports = free_ports()
        text = PIPELINES.format(data_dir=self.data_dir, when_full=when_full, **self.ports)
        (folder / "pipelines.yaml").write_text(text)
        self.acknowledged: set[str] = set()
        self.unacknowledged: list[list[dict[str, Any]]] = []
        self.sent = 0

    @contextmanager
    def started(self) -> Generator[Operator]:
        with spawned(self.folder, "start") as process:
            operator = Operator(self.folder, process, self.ports)
            until(lambda: answers(operator, "/livez"), STARTS_WITHIN)
            yield operator

    def emit(self, operator: Operator, count: int = 20) -> httpx2.Response:
        """Send a batch that is new."""
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        batch = [
            {"id": f"{'x' * 40}-{n}-e", "source": "/ci", "type": "build.finished", "subject": f"b-{n}",
             "time": time.time(), "outcome": "success", "duration_ms": 1.0}
            for n in numbers
        ]  # fmt: skip
        return self.send(operator, batch)

    def send(self, operator: Operator, batch: list[dict[str, Any]]) -> httpx2.Response:
        reply = operator.post("ingest", batch)
        if reply.status_code == 202:
            self.acknowledged |= {event["id"] for event in batch}
        else:
            self.unacknowledged.append(batch)
        return reply

    def send_again(self, operator: Operator) -> None:
        """Hand in again what was refused, as an emitter does."""
        deadline = time.monotonic() + at_leisure(RECOVERS_WITHIN)
        while self.unacknowledged:
            assert time.monotonic() < deadline, self.send(operator, self.unacknowledged[0]).text
            if self.send(operator, self.unacknowledged.pop(0)).status_code != 202:
                time.sleep(0.1)

    def settle(self, operator: Operator) -> None:
        """Wait until everything that was taken is in the store."""
        status = operator.until(
            "dashboard/status",
            lambda status: not status["held"] and not any(status["pipelines"].values()),
            seconds=at_leisure(20),
        )
        assert not any(counts["unaccounted"] for counts in status["counters"].values() if "unaccounted" in counts)
        until(lambda: self.stored() >= len(self.acknowledged), at_leisure(10))

    def stored(self) -> int:
        return len(self.ids())

    def ids(self) -> list[str]:
        with closing(sqlite3.connect(f"file:{self.data_dir / 'metrics.db'}?mode=ro", uri=True)) as connection:
            return [id for (id,) in connection.execute("SELECT id FROM events WHERE source = '/ci'")]

    def assert_exact(self) -> None:
        """What was acknowledged is stored, once, and nothing else is. Of a node that was stopped."""
        assert set(self.ids()) == self.acknowledged
        windows = [one for one in read_windows(self.data_dir / "metrics.db") if one.metric == "build_performance"]
        assert sum(window.count for window in windows) == len(self.acknowledged)


def answers(operator: Operator, path: str, status: int = 200, surface: str = "control") -> bool:
    try:
        return operator.get(path, surface).status_code == status
    except httpx2.TransportError:
        return False


def check(operator: Operator, name: str) -> Mapping[str, Any]:
    data: Mapping[str, Any] = operator.get(f"health/{name}", "health").json()["data"]
    return data


def stop(operator: Operator) -> None:
    operator.process.terminate()
    assert operator.process.wait(at_leisure(20)) == 0, (operator.folder / "said").read_text()


def restarts(operator: Operator) -> Mapping[str, int]:
    return {stage["key"]: stage["restarts"] for stage in operator.data("stages")}


def until_refused(site: Site, operator: Operator, seconds: float = 30.0) -> httpx2.Response:
    """Send until nothing is taken any more: what is swept away or checkpointed makes room for a while."""
    deadline = time.monotonic() + at_leisure(seconds)
    taken = time.monotonic()
    while True:
        assert time.monotonic() < deadline, "the disk is not full yet"
        # Nothing new while something was refused, as an emitter does: all of that has to fit when there is room again.
        again = site.unacknowledged.pop() if site.unacknowledged else None
        if (reply := site.send(operator, again) if again else site.emit(operator)).status_code == 202:
            taken = time.monotonic()
        elif time.monotonic() > taken + at_leisure(3.0):
            return reply
        else:
            time.sleep(0.3)


def test_a_full_disk_refuses_and_says_so_and_goes_on_by_itself_with_nothing_lost(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", MIB * ROUNDS) as disk:
        site = Site(tmp_path, disk)
        fill(disk / "ballast", leave=MIB * 5 // 8)
        with site.started() as operator:
            until(lambda: answers(operator, "/readyz"), STARTS_WITHIN)
            for _ in range(ROUNDS):
                reply = until_refused(site, operator)
                assert reply.status_code == 503 and int(reply.headers["Retry-After"]) >= 1, reply.text
                assert "min_free" in reply.json()["error"]["message"] or "space" in reply.json()["error"]["message"]
                assert_alive_and_honest(operator, disk / "data")
                (disk / "ballast").unlink()
                until(lambda: answers(operator, "/readyz"), at_leisure(RECOVERS_WITHIN))
                site.send_again(operator)
                while site.sent <= 100:  # A machine that is slow writes more about less: it was full sooner.
                    assert site.emit(operator).status_code == 202
                site.settle(operator)
                until(lambda: check(operator, "storage")["status"] == "healthy", SOON)
                assert set(restarts(operator).values()) == {0}
                fill(disk / "ballast", leave=MIB * 5 // 8)
            stop(operator)
        assert len(site.acknowledged) == site.sent > 100
        site.assert_exact()


def assert_alive_and_honest(operator: Operator, data_dir: Path) -> None:
    """What an operator has to be told of a full disk is told."""
    assert operator.get("/livez").status_code == 200
    assert operator.get("/readyz").status_code == 503
    # It looks now and then: first perhaps when a store could not write, and nothing was refused yet.
    until(lambda: refuses(check(operator, "storage")), SOON)
    found = check(operator, "storage")
    assert found["status"] == "unhealthy"
    assert found["details"]["path"] == str(data_dir) and str(data_dir) in found["remediation"]
    assert found["details"]["freeBytes"] < MIB
    health = operator.get("health", "health")
    assert (health.status_code, health.json()["data"]["overallStatus"]) == (503, "unhealthy")
    figures = operator.get("/metrics", "metrics")
    assert figures.status_code == 200 and "\nbers_disk_free_bytes " in figures.text
    lines = figures.text.splitlines()
    (lasted,) = (line for line in lines if line.startswith('bers_disk_unwritable_seconds{part="journal"}'))
    assert float(lasted.split()[1]) > 0
    assert operator.get("metrics", "metrics").status_code == 200
    with operator.stream() as frames:
        assert next(name for name, _ in frames if name != "message")


def refuses(storage: Mapping[str, Any]) -> bool:
    """Whether what was found of the storage says that the journal cannot be written, and who was refused so far."""
    details = storage["details"]
    return "journal" in details.get("failing", ()) and details["refusedEvents"] > 0


def alert_fires(operator: Operator) -> bool:
    reply = operator.get("alerts")
    return reply.status_code == 200 and any(one["rule"] == "Disk nearly full" for one in reply.json()["data"])


def test_a_disk_that_others_fill_to_the_last_byte_costs_no_alert_and_no_event_through_kill_and_start(
    tmp_path: Path,
) -> None:
    with mounted(tmp_path / "disk", 4 * MIB) as disk:
        site = Site(tmp_path, disk)
        with site.started() as operator:
            until(lambda: answers(operator, "/readyz"), STARTS_WITHIN)
            site.emit(operator)
            fill(disk / "filler")
            reply = until_refused(site, operator)
            assert reply.status_code == 503, reply.text
            assert_alive_and_honest(operator, disk / "data")
            (disk / "filler").unlink()
            until(lambda: answers(operator, "/readyz"), at_leisure(RECOVERS_WITHIN))
            # What was measured while nothing could be written is told as soon as it can be.
            until(lambda: "Disk nearly full" in operator.get("alerts/history").text, at_leisure(RECOVERS_WITHIN))
            assert set(restarts(operator).values()) == {0}
            site.send_again(operator)
            fill(disk / "filler")
            until_refused(site, operator)
            operator.process.kill()
            operator.process.wait()
            assert_starts_full(site, disk)
        site.assert_exact()


def assert_starts_full(site: Site, disk: Path) -> None:
    for _ in range(ROUNDS):
        fill(disk / "filler")
        with site.started() as operator:
            until(lambda: answers(operator, "/api/monitoring/health/storage", 503, "health"), at_leisure(10))
            assert until_refused(site, operator).status_code == 503  # What is kept aside lets it take some, perhaps.
            assert operator.get("/readyz").status_code == 503
            (disk / "filler").unlink()
            until(lambda: answers(operator, "/readyz"), at_leisure(RECOVERS_WITHIN))
            site.send_again(operator)
            site.settle(operator)
            stop(operator)


def test_a_disk_that_is_read_only_at_the_start_is_waited_for(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 4 * MIB) as disk:
        site = Site(tmp_path, disk)
        with site.started() as operator:
            until(lambda: answers(operator, "/readyz"), STARTS_WITHIN)
            site.emit(operator)
            stop(operator)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with site.started() as operator:
            until(lambda: operator.get("/readyz").text)  # It is alive before it has tried.
            ready = operator.get("/readyz")
            assert ready.status_code == 503 and "Read-only" in ready.text
            found = operator.get("health", "health")
            assert (found.status_code, found.json()["data"]["overallStatus"]) == (503, "unhealthy")
            assert check(operator, "storage")["details"]["path"] == str(disk / "data")
            assert operator.post("ingest", [{}]).status_code == 503
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
            until(lambda: answers(operator, "/readyz"), at_leisure(RECOVERS_WITHIN))
            site.emit(operator)
            site.settle(operator)
            stop(operator)
        site.assert_exact()
        assert len(site.acknowledged) == 40


class Ext4:
    """A real file system in a file, which the kernel can be told to find broken; skip where we may not make one."""

    def __init__(self, folder: Path) -> None:
        self.image, self.folder = folder / "image", folder / "disk"
        self.folder.mkdir()
        self.image.write_bytes(bytes(24 * MIB))
        if not shutil.which("mkfs.ext4") or self._run("mkfs.ext4", "-q", str(self.image)):
            pytest.skip("needs mkfs.ext4")
        if self.mount():
            pytest.skip("needs the right to mount a file system")

    def mount(self) -> int:
        return self._run("mount", "-o", "loop,errors=remount-ro", str(self.image), str(self.folder))

    def unmount(self) -> None:
        self._run("umount", str(self.folder))

    def mend(self) -> None:
        """What an operator does with a file system that has had errors."""
        self.unmount()
        assert self._run("e2fsck", "-fy", str(self.image)) in (0, 1)
        assert self.mount() == 0

    def fail(self) -> None:
        """Let the kernel find an error: it makes the file system read-only, whoever has files open there."""
        device = subprocess.run(["findmnt", "-no", "SOURCE", self.folder], capture_output=True, text=True, check=False)
        trigger = Path("/sys/fs/ext4", Path(device.stdout.strip()).name, "trigger_fs_error")
        if not device.stdout.strip().startswith("/dev/loop") or not os.access(trigger, os.W_OK):
            pytest.skip("the kernel cannot be told that a file system is broken")
        trigger.write_text("1")

    @staticmethod
    def _run(*command: str) -> int:
        return subprocess.run(command, capture_output=True, check=False).returncode


def test_a_disk_that_becomes_read_only_is_read_on_and_loses_nothing(tmp_path: Path) -> None:
    ext4 = Ext4(tmp_path)
    try:
        site = Site(tmp_path, ext4.folder)
        with site.started() as operator:
            until(lambda: answers(operator, "/readyz"), STARTS_WITHIN)
            site.emit(operator)
            until(lambda: site.stored() == 20, at_leisure(10))
            site.emit(operator)
            ext4.fail()
            assert "Read-only" in site.emit(operator).json()["error"]["message"]
            assert operator.get("/livez").status_code == 200
            found = until(lambda: (one := check(operator, "storage"))["status"] == "unhealthy" and one, SOON)
            assert "Read-only file system" in found["message"]
            assert operator.get("/metrics", "metrics").status_code == 200
            assert operator.get("metrics/build_performance", "metrics").status_code == 200
            assert operator.get("health", "health").status_code == 503
            until(lambda: check(operator, "alert-engine")["status"] == "unhealthy", at_leisure(40))
            assert set(restarts(operator).values()) == {0}
            stop(operator)
        ext4.mend()
        with site.started() as operator:
            until(lambda: answers(operator, "/readyz"), STARTS_WITHIN)
            site.send_again(operator)
            site.settle(operator)
            stop(operator)
        site.assert_exact()
        assert len(site.acknowledged) == 60
    finally:
        ext4.unmount()
