"""Backups made at random moments of a node under load: each is what was there at one instant, and goes on from it."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import tarfile
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from bers.all_positions import held_positions
from bers.backup.archive import unpack
from bers.backup.manifest import Manifest
from bers.inspection import events_of
from bers.segments import segment_files
from bers_builtin.sinks.rest_store import read_windows
from tests.acceptance.conftest import Operator
from tests.integration.processes import at_leisure, started, until

LONG = bool(os.environ.get("BERS_TEST_LONG"))
BACKUPS = 20 if LONG else 3
TARS = 60 if LONG else 4
EPOCH = 1_790_000_000.0
"""Before which nothing happened; each event has a window of ten seconds for itself, so that windows name events."""
BATCH = 20
PORTION = 5_000
"""How many events are sent again at once: a request may have twice as many."""

# Two stores that commit at different times, and an alert engine: what each has seen differs at any moment. Files of the
# journal are closed and given up all the time.
CONFIG = """
version: 1
environment: test
server: {health: 0, metrics: 0, control: 0}
access: {rate: {per_second: 100000, burst: 100000}}
log: {events: false}
intake: {snapshot_every: 150ms, journal: {max_age: %s}}
sources: {build: {lost_after: 365000d}}
processors: {windows: {use: aggregation, window: 10s}}
sinks:
  quick:
    {use: rest-store, primary: true, path: quick.db, commit_every: 10ms, fold_every: 50ms, events_keep: 365000d,
     tiers: [{width: 10s, keep: 365000d}]}
  slow:
    {use: rest-store, path: slow.db, commit_every: 70ms, fold_every: 300ms, events_keep: 365000d,
     tiers: [{width: 10s, keep: 365000d}]}
  alert-engine:
    defaults: false
    rate_limiting: {max_alerts: 1000000}
    flapping: {enabled: false}
    rules:
      - name: Down
        event: custom.probe
        outcome: failure
        group: [service]
        clears: {event: custom.probe, outcome: success}
pipelines:
  metrics: {sources: [build, unmapped], processors: [windows], sinks: [quick, slow]}
  alerts: {sources: [unmapped], sinks: [alert-engine]}
  told: {sources: [alert-engine], sinks: [quick]}
"""


class Load:
    """Hands in builds until told to stop, and knows which were acknowledged."""

    def __init__(self, node: Operator, first: int = 0) -> None:
        self._url = node.url("ingest")
        self.sent = first
        self._next = threading.Lock()
        self.acknowledged: set[int] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(3)]

    @contextmanager
    def running(self) -> Generator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        with httpx2.Client(timeout=30) as client:
            while not self._stop.is_set():
                with self._next:
                    first, self.sent = self.sent, self.sent + BATCH
                numbers = range(first, first + BATCH)
                body = msgspec.json.encode([*(build(n) for n in numbers), probe(first)])
                try:
                    reply = client.post(self._url, content=body, headers={"Content-Type": "application/json"})
                except httpx2.TransportError:
                    return  # It was killed.
                if reply.status_code == 202:
                    self.acknowledged.update(numbers)


def build(n: int) -> dict[str, Any]:
    return {
        "id": f"b-{n}", "source": "/ci", "type": "build.finished", "time": EPOCH + 10 * n, "subject": f"run {n}",
        "outcome": "success", "duration_ms": 1000 + n % 7,
    }  # fmt: skip


def probe(n: int) -> dict[str, Any]:
    """A service that goes down and comes back all the time."""
    number = n // BATCH
    outcome = "failure" if number // 3 % 2 else "success"
    return {
        "id": f"p-{number}", "source": "/ci", "type": "custom.probe", "time": time.time(), "subject": "probe",
        "service": f"s{number % 3}", "outcome": outcome,
    }  # fmt: skip


def configure(folder: Path, *, max_age: str) -> Path:
    folder.mkdir()
    (folder / "pipelines.yaml").write_text(CONFIG % max_age)
    return folder


def drained(folder: Path) -> Operator:
    """Start a node on a folder and bring every sink to the end; return how it was when that was so."""
    with started(folder) as node:
        until(lambda: _is_idle(node), 60)
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(30) == 0
        return node


def _is_idle(node: Operator) -> bool:
    status = node.data("dashboard/status")
    return not status["held"] and not any(status["pipelines"].values())  # One that is held has yet to begin.


def seen(database: Path) -> set[int]:
    """The builds that a store has counted, each of which it has counted once."""
    windows = [one for one in read_windows(database) if one.metric == "build_performance"]
    assert {window.count for window in windows} <= {1}
    numbers = {round((window.start - EPOCH) / 10) for window in windows}
    assert len(numbers) == len(windows)
    assert all(window.sum == 1000 + (window.start - EPOCH) / 10 % 7 for window in windows)
    return numbers


def records(database: Path) -> set[int]:
    """The builds of which a store has the details."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT id FROM events WHERE type = 'build.finished'").fetchall()
    return {int(id.removeprefix("b-")) for (id,) in rows}


def journaled(journal: Path, end: int | None = None) -> set[int]:
    """The builds that the files of a journal have, up to a position."""
    found: set[int] = set()
    for path in segment_files(journal):
        for position, event in events_of(path):
            if event.type == "build.finished" and (end is None or position <= end):
                found.add(int(event.id.removeprefix("b-")))
    return found


def alerts_of(state: Path) -> set[str]:
    with closing(sqlite3.connect(state)) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM alert_alerts")}


def look_into(backup: Path, folder: Path) -> tuple[Manifest, Path]:
    folder.mkdir()
    said, _ = unpack(backup, folder)
    return said, folder / "data"


@pytest.mark.parametrize("max_age", ["1h", "300ms"])
def test_a_backup_under_load_is_everything_of_one_instant(max_age: str, tmp_path: Path) -> None:
    rng = random.Random(7)
    live = configure(tmp_path / "live", max_age=max_age)
    made: list[tuple[Path, set[int], int]] = []
    with started(live) as node:
        load = Load(node)
        with load.running():
            until(lambda: node.data("alerts/history?period=1h"))
            for n in range(BACKUPS):
                time.sleep(rng.uniform(0.1, 1.5))
                before, backup = set(load.acknowledged), tmp_path / f"{n}.tar.zst"
                done = node.bers("backup", "create", str(backup), "-q")
                assert (done.returncode, done.stderr.count("damaged")) == (0, 0), done.stderr
                made.append((backup, before, load.sent))
            node.process.kill()
            node.process.wait()
    whole = journaled(live / ".bers/journal") if max_age == "1h" else set[int]()
    assert len(load.acknowledged) > 300 and load.acknowledged <= (whole or load.acknowledged)
    for n, (backup, before, sent) in enumerate(made):
        said, data = look_into(backup, tmp_path / f"inside-{n}")
        assert said.journal and said.running and not said.notes
        # The instant: no database is ahead of the journal, and the journal knows no alert that the state does not.
        assert all(held.position <= said.journal.end for held in said.positions) and len(said.positions) == 4
        told = {
            str(event.data.get("alert", event.subject))
            for path in segment_files(data / "journal")
            for _, event in events_of(path)
            if event.type.startswith("alert.")
        }
        assert told and told <= alerts_of(data / "state.db")

        again = configure(tmp_path / f"again-{n}", max_age="1h")
        began = _worked()
        done = node.bers("backup", "restore", str(backup), "--data-dir", str(again / ".bers"), "-q")
        assert done.returncode == 0 and _worked() - began < 15, done.stderr
        drained(again)
        quick, slow = seen(again / ".bers/quick.db"), seen(again / ".bers/slow.db")
        assert quick == slow == records(again / ".bers/quick.db") == records(again / ".bers/slow.db")
        assert before <= quick <= set(range(sent)), "what was acknowledged before is in it"
        if max_age == "1h":
            assert quick == journaled(live / ".bers/journal", said.journal.end), "it is that instant, and no other"
        assert all(held.position >= said.journal.end for held in held_positions(again / ".bers"))


def test_after_a_restore_a_repeat_is_one_still(tmp_path: Path) -> None:
    live = configure(tmp_path / "live", max_age="300ms")
    with started(live) as node:
        load = Load(node)
        with load.running():
            time.sleep(1.5)
            node.bers("backup", "create", "one.tar", "-q")
        assert node.bers("stop").returncode == 0
        node.bers("backup", "restore", "one.tar", "--force", "-q")
    with started(live) as node:
        accepted = duplicates = 0
        for start in range(0, load.sent, PORTION):
            reply = node.post("ingest", [build(n) for n in range(start, min(load.sent, start + PORTION))]).json()[
                "data"
            ]
            accepted, duplicates = accepted + reply["accepted"], duplicates + reply["duplicates"]
        assert accepted + duplicates == load.sent and duplicates >= BATCH
        until(lambda: _is_idle(node), 60)
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(30) == 0
    assert seen(live / ".bers/quick.db") == seen(live / ".bers/slow.db") == set(range(load.sent))


def test_a15_a_copy_of_what_a_killed_process_left_is_as_good_as_the_original(tmp_path: Path) -> None:
    live = configure(tmp_path / "live", max_age="300ms")
    with started(live) as node:
        load = Load(node)
        with load.running():
            time.sleep(1.5)
            node.process.kill()
            node.process.wait()
    copy = configure(tmp_path / "copy", max_age="1h")
    shutil.copytree(live / ".bers", copy / ".bers")
    drained(copy)
    quick, slow = seen(copy / ".bers/quick.db"), seen(copy / ".bers/slow.db")
    assert load.acknowledged <= quick == slow <= set(range(load.sent))
    assert "damaged" not in (copy / "said").read_text() + (copy / "logs/monitoring.log").read_text()


def test_a15_tar_of_a_live_directory_starts_again_and_counts_nothing_twice(tmp_path: Path) -> None:
    """tar reads one file after another, in an order of its own: the node goes on meanwhile."""
    rng = random.Random(11)
    live = configure(tmp_path / "live", max_age="300ms")
    made: list[tuple[Path, set[int], int]] = []
    with started(live) as node:
        load = Load(node)
        with load.running():
            time.sleep(0.5)
            for n in range(TARS):
                time.sleep(rng.uniform(0.0, 0.7))
                before, names = set(load.acknowledged), [path.name for path in (live / ".bers").iterdir()]
                rng.shuffle(names)  # No file system promises an order.
                copy = tmp_path / f"{n}.tar"
                steps = [[name] for name in names] if n % 2 else [names]  # A slow one, and one that is quick.
                for step in steps:
                    done = subprocess.run(
                        ["tar", "-rf", str(copy), *(f".bers/{name}" for name in step)],
                        cwd=live, capture_output=True, text=True, check=False,
                    )  # fmt: skip
                    assert done.returncode in (0, 1, 2), done.stderr  # Files grow, and go, while it reads.
                    time.sleep(rng.uniform(0.0, 0.3) if n % 2 else 0.0)
                made.append((copy, before, load.sent))
            node.process.kill()
            node.process.wait()
    for n, (archive, before, sent) in enumerate(made):
        copy = configure(tmp_path / f"copy-{n}", max_age="1h")
        with tarfile.open(archive) as members:
            members.extractall(copy, filter="data")
        (copy / ".bers/bers.pid").unlink(missing_ok=True)
        drained(copy)
        told = (copy / "said").read_text() + (copy / "logs/monitoring.log").read_text()
        for name in ("quick.db", "slow.db"):
            counted = seen(copy / ".bers" / name)
            assert counted <= set(range(sent))
            if missing := before - counted:
                assert "misses what lay between" in told or "readers that were behind miss" in told, len(missing)


@pytest.mark.parametrize("first", ["databases", "logs"])
def test_a15_databases_and_their_logs_of_two_moments_start_and_count_nothing_twice(first: str, tmp_path: Path) -> None:
    """What tar makes of them at worst: between the one and the other every log has begun anew.

    It has twice: a log that begins anew once everything was brought into the file goes on where that ends.
    """
    live = configure(tmp_path / "live", max_age="300ms")
    copy = configure(tmp_path / "copy", max_age="1h")
    data, target = live / ".bers", copy / ".bers"
    target.mkdir()
    with started(live) as node:
        load = Load(node)
        with load.running():
            time.sleep(0.5)
            before = set(load.acknowledged)
            for step in ("*.db", "*.db-wal") if first == "databases" else ("*.db-wal", "*.db"):
                for path in data.glob(step):
                    shutil.copy(path, target)
                for _ in range(2):
                    begun = {path: _salt(path) for path in data.glob("*.db-wal")}
                    until(partial(_have_begun_anew, begun), at_leisure(30))
            shutil.copytree(data / "journal", target / "journal", copy_function=_copied)
            node.process.kill()
            node.process.wait()
    drained(copy)
    told = (copy / "said").read_text() + (copy / "logs/monitoring.log").read_text()
    assert "are of two moments" in told and len(list(target.glob("*.db-wal.damaged"))) >= 1
    for name in ("quick.db", "slow.db"):
        counted = seen(target / name)
        assert counted <= set(range(load.sent))
        if before - counted:
            assert "misses what lay between" in told


def _worked() -> float:
    """How many seconds processes that we started, and that have ended, had a processor: no matter who else has one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _copied(file: str, to: str) -> str:
    """A copy of a file of the journal, as tar makes it: one that was read to its end by now is gone."""
    with suppress(FileNotFoundError):
        shutil.copy2(file, to)
    return to


def _have_begun_anew(logs: Mapping[Path, bytes]) -> bool:
    return all(_salt(path) != salt for path, salt in logs.items())


def _salt(log: Path) -> bytes:
    """What changes when a write-ahead log begins anew."""
    with log.open("rb") as file:
        return file.read(24)[16:]
