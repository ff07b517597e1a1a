"""What happens to events when processes die, fork, or find the disk full."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bers_emit import Emitter, folder
from bers_emit.ring import MAX_EVENTS
from bers_emit.spool import MAX_BYTES, Full, Spool, new_name
from bers_emit.testing import Receiver

EMIT_AND_DIE = """
import os, signal, sys
from bers_emit import emit
for n in range(int(sys.argv[1])):
    assert emit("build.finished", subject=f"b-{n}")
os.kill(os.getpid(), signal.SIGKILL)
"""


def _emit_and_die(count: int) -> None:
    done = subprocess.run([sys.executable, "-c", EMIT_AND_DIE, str(count)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_a_killed_process_emitted_is_delivered_once_by_the_next(
    nobody: str, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        _emit_and_die(700)
    with Receiver() as receiver:
        with Emitter(receiver.url) as emitter:
            emitter.emit("a.b")
            assert emitter.flush(60)
        assert len(receiver.of("build.finished")) == 2100
        assert receiver.duplicates == 0
    assert list(spool.glob("*")) == []


def test_a_sender_killed_at_work_loses_nothing_and_counts_nothing_twice(receiver: Receiver, spool: Path) -> None:
    for _ in range(3):
        _emit_and_die(2000)  # Its thread sends all the while.
    with Emitter(receiver.url) as emitter:
        emitter.flush(60)
    subjects = [event["subject"] for event in receiver.events]
    assert sorted(subjects) == sorted(f"b-{n}" for n in range(2000) for _ in range(3))
    assert list(spool.glob("*")) == []


def test_files_of_processes_that_live_are_left_alone(nobody: str, spool: Path) -> None:
    with Emitter(nobody, budget=0) as alive:
        alive.emit("a.b")
        with Receiver() as receiver, Emitter(receiver.url) as other:
            other.flush(60)
            assert receiver.requests == []
        assert folder.status(str(spool))["in_use"] == 1


def test_delivery_goes_on_where_it_stopped(nobody: str) -> None:
    _emit_and_die(1200)
    with Receiver() as receiver:
        receiver.hang_after = 1
        with Emitter(receiver.url) as emitter:
            emitter.flush(0)
            receiver.wait(lambda: len(receiver.requests) == 2)  # The first is answered, and the second never is.
    with Receiver() as receiver:
        with Emitter(receiver.url) as emitter:
            end = time.monotonic() + 60
            while (
                len(receiver.events) < 700 and time.monotonic() < end
            ):  # Whoever hung may hold the file a while longer.
                emitter.flush(1)
        assert len(receiver.events) == 700


def test_spools_are_private(nobody: str, spool: Path) -> None:
    with Emitter(nobody, budget=0) as emitter:
        emitter.emit("a.b")
        [file] = spool.glob("*.ndjson")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(spool.stat().st_mode) == 0o700


def test_half_a_line_is_not_an_event_and_rubbish_spoils_no_batch(spool: Path) -> None:
    orphan = Spool.create(str(spool), new_name())
    for line in (b'{"type":"a.b","id":"1","source":"/x"}\n', b"\0\0\0\n", b'{"type":"a.b","id":"2","source":"/x"}\n'):
        orphan.append(line)
    orphan.append(b'{"type":"a.b","id":"3","sou')
    orphan.close()
    with Receiver() as receiver:
        with Emitter(receiver.url) as emitter:
            emitter.flush(60)
        assert [event["id"] for event in receiver.events] == ["1", "2"]
    assert folder.status(str(spool))["dead"] == 1


def test_files_that_are_no_spools_are_left_alone(spool: Path) -> None:
    spool.mkdir()
    (spool / "notes.ndjson").write_text("mine\n")
    os.utime(spool / "notes.ndjson", (0, 0))
    with Receiver() as receiver, Emitter(receiver.url) as emitter:
        emitter.flush(60)
        assert receiver.requests == []
    assert (spool / "notes.ndjson").read_text() == "mine\n"


def test_a_full_spool_takes_no_more_and_tells_how_many_were_lost(nobody: str, spool: Path) -> None:
    with Emitter(nobody, budget=0) as emitter:
        kept = 0
        while emitter.emit("a.b", data="x" * 200_000):
            kept += 1
        assert kept * 200_000 < MAX_BYTES < (kept + 2) * 200_200
        assert emitter.emit("a.b")  # A small one still finds room.
        [file] = spool.glob("*.ndjson")
        assert file.stat().st_size <= MAX_BYTES
        report = json.loads(file.read_bytes().splitlines()[-1])
        assert (report["type"], report["measures"]) == ("emitter.report", {"dropped": 1.0})


def test_what_is_sent_takes_no_room_of_what_is_not(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who emits faster than can be sent never comes to the end of the file, where it would be emptied."""
    monkeypatch.setattr("bers_emit.spool.MAX_BYTES", 10_000)
    own = Spool.create(str(spool), new_name())
    for _ in range(8):
        own.append(b"x" * 999 + b"\n")
    assert own.crowded
    assert len(own.batch()) == 8
    own.append(b"y" * 999 + b"\n")
    own.done()
    for _ in range(8):
        own.append(b"z" * 999 + b"\n")
    with pytest.raises(Full):
        own.append(b"z" * 999 + b"\n")
    assert [line[:1] for line in own.batch()] == [b"y"] + [b"z"] * 8
    own.done()
    assert os.stat(own.path).st_size < 100
    own.append(b"x\n")
    own.close()


def test_the_folder_stays_within_its_bounds(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_BYTES", 25_000)
    for age in (8 * 86400, 300, 200, 100):
        orphan = Spool.create(str(spool), new_name())
        for _ in range(10):
            orphan.append(b"x" * 999 + b"\n")
        orphan.close()
        os.utime(orphan.path, (time.time() - age, time.time() - age))
    with Emitter("http://127.0.0.1:1") as alive:
        alive.emit("a.b")
        assert folder.prune(str(spool)) == 20  # The one that is too old, then the oldest.
        assert len(list(spool.glob("*.ndjson"))) == 3


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_has_a_spool_of_its_own(receiver: Receiver, spool: Path) -> None:
    with Emitter(receiver.url) as emitter:
        emitter.emit("a.parent")
        child = os.fork()
        if child == 0:
            emitter.emit("a.child")
            emitter.emit("a.child")
            os._exit(0 if emitter.flush(60) else 1)
        emitter.emit("a.parent")
        assert os.waitpid(child, 0)[1] == 0
    assert len(receiver.of("a.parent")) == len(receiver.of("a.child")) == 2
    assert receiver.duplicates == 0
    assert receiver.of("a.child")[0]["id"].startswith(f"{child}-")
    assert [event["id"].rsplit("-", 1)[1] for event in receiver.of("a.child")] == ["0", "1"]


def test_a_parents_spool_is_no_orphan_while_its_child_lives_and_one_when_both_are_gone(
    nobody: str, spool: Path
) -> None:
    script = "import os\nfrom bers_emit import emit\nemit('a.b')\nif os.fork() == 0:\n    emit('a.c')\nos._exit(0)"
    subprocess.run([sys.executable, "-c", script], check=True)
    with Receiver() as receiver, Emitter(receiver.url) as emitter:
        receiver_types: set[str] = set()
        end = time.monotonic() + 60
        while receiver_types != {"a.b", "a.c"} and time.monotonic() < end:  # The child may outlive its parent.
            emitter.flush(1)
            receiver_types = {event["type"] for event in receiver.events}
        assert receiver_types == {"a.b", "a.c"}


def test_where_the_disk_refuses_memory_keeps_the_last_thousand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with Receiver() as receiver:
        emitted, take = threading.Event(), receiver.take

        def take_late(headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes] | None:
            answer = take(headers, body)
            emitted.wait(60)
            return answer

        monkeypatch.setattr(receiver, "take", take_late)
        receiver.answer(503)
        with Emitter(receiver.url, spool=str(tmp_path / "file" / "spool")) as emitter:
            emitter.emit("a.b", subject="first")
            receiver.wait(lambda: len(receiver.requests) == 1)
            for n in range(MAX_EVENTS + 10):
                assert emitter.emit("a.b", subject=str(n))
            emitted.set()
            assert emitter.flush(60)
            assert not receiver.of("emitter.report"), "it would have pushed out another"
            emitter.emit("a.b", subject="then")
            assert emitter.flush(60)
        subjects = [event["subject"] for event in receiver.of("a.b")]
        assert subjects[-2:] == [str(MAX_EVENTS + 9), "then"]
        assert "first" not in subjects
        assert sum(event["measures"]["dropped"] for event in receiver.of("emitter.report")) == 11


def test_emitting_in_a_signal_handler_does_not_lock_up(receiver: Receiver) -> None:
    with Emitter(receiver.url) as emitter:
        before = signal.signal(signal.SIGALRM, lambda number, frame: emitter.emit("a.signal") and None)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
            for _ in range(5000):
                emitter.emit("a.b")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert emitter.flush(60)
    assert len(receiver.of("a.b")) == 5000
    assert receiver.of("a.signal")


def test_a_file_that_somebody_puts_in_the_place_of_a_spool_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder may belong to somebody else."""
    mine = tmp_path / "mine"
    mine.write_text("untouched\n")
    rename = os.rename

    def link(path: str) -> None:
        os.link(mine, path)

    def symlink(path: str) -> None:
        os.symlink(mine, path)

    for place in (symlink, link, os.mkfifo):

        def replaced(hidden: str, path: str, place: Callable[[str], None] = place) -> None:
            rename(hidden, path)
            os.unlink(path)
            place(path)

        monkeypatch.setattr(os, "rename", replaced)
        with pytest.raises(OSError):
            Spool.create(str(tmp_path / "spool"), "a")
    assert mine.read_text() == "untouched\n"


def test_what_is_behind_the_end_of_any_spool_is_not_looked_for(tmp_path: Path) -> None:
    spool = Spool.create(str(tmp_path), "a")
    spool.append(b"{}\n")
    os.truncate(spool.path, 1 << 40)
    spool.abandon()
    start = time.process_time()
    found = Spool.adopt(str(tmp_path / "a.ndjson"))
    assert found is not None
    assert found.batch() == [b"{}"]
    found.close()
    assert time.process_time() - start < 5
