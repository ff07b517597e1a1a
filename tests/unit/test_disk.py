"""What a disk does to us is told from what is anybody's fault, waited for, and said."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from bers import BersError, Conflict, Database, Event, Full, Unwritable, disk_fault
from bers.audit import Audit
from bers.config.settings import LogSettings
from bers.counters import Counters
from bers.disk import RESERVE, Reserve, Room, left_free, room
from bers.log import Log
from bers.logs import Logs
from bers.operations import Caller
from bers.storage import Storage
from bers.testing import VirtualClock
from tests.unit.full_disk import no_file_beyond

MIB = 1 << 20


def caused(error: BersError, cause: Exception) -> BersError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EROFS, "Read-only file system", "/x/a"), "/x/a: Read-only file system"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (Unwritable("the store cannot be written"), "the store cannot be written"),
        (caused(BersError("x.db cannot be read"), OSError(errno.EIO, "broken")), "x.db cannot be read"),
        (ExceptionGroup("both", [OSError(errno.EIO, "a"), ExceptionGroup("in", [OSError(errno.EIO, "b")])]), "a; b"),
        (ExceptionGroup("mixed", [OSError(errno.EIO, "a"), ValueError("b")]), ""),
        (Conflict("moved by somebody else"), ""),
        (Full("the journal has reached its quota"), ""),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), ""),
        (FileNotFoundError(errno.ENOENT, "No such file"), ""),
        (OSError("the journal is closed"), ""),
        (sqlite3.OperationalError("no such table: x"), ""),
    ],
    ids=repr,
)
def test_only_what_may_be_over_by_and_by_is_a_disks_fault(error: Exception, words: str) -> None:
    assert disk_fault(error) == words


def test_little_is_left_free_of_a_small_disk() -> None:
    assert left_free(64 * MIB, 100 << 30) == 64 * MIB
    assert left_free(64 * MIB, MIB) == 52_428
    assert left_free(64 * MIB, 0) == 0


def test_a_reserve_is_given_up_when_nothing_else_is_left_and_made_again(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path)
    reserve.tend(Room(80 * MIB, 1 << 40), 64 * MIB)
    assert reserve.size == 0
    reserve.tend(Room(1 << 30, 1 << 40), 64 * MIB)
    assert reserve.size == RESERVE and (tmp_path / "reserve").stat().st_blocks * 512 >= RESERVE
    reserve.tend(Room(RESERVE, 1 << 40), 64 * MIB)
    assert reserve.size == RESERVE
    reserve.tend(Room(RESERVE // 4, 1 << 40), 64 * MIB)
    assert reserve.size == 0
    reserve.tend(Room(MIB, MIB), 0)
    assert reserve.size == 0, "of a disk that is so small nothing is kept aside"


def test_a_folder_that_is_not_there_has_no_known_room(tmp_path: Path) -> None:
    assert not room(tmp_path / "gone").known
    assert room(tmp_path).known


# Databases


def insert(count: int) -> Callable[[sqlite3.Connection], None]:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [(bytes(1000),)] * count)

    return work


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM t").fetchone()[0])


@pytest.fixture
async def database(tmp_path: Path) -> AsyncGenerator[Database]:
    """A database with one row of a kilobyte."""
    one = Database(tmp_path / "a.db")
    await one.run(insert(1))
    yield one
    await one.shut()


async def test_a_database_says_why_it_cannot_be_written_until_it_can(database: Database, tmp_path: Path) -> None:
    with no_file_beyond((tmp_path / "a.db-wal").stat().st_size):
        with pytest.raises(sqlite3.OperationalError) as info:
            await database.run(insert(100))
        assert disk_fault(info.value) == database.fault == "disk I/O error"
        assert await database.run(count) == 1
        assert database.fault, "what only reads does not know better"
    await database.run(insert(100))
    assert database.fault == "" and await database.run(count) == 101


async def test_a_log_is_emptied_where_nobody_reads_it(database: Database, tmp_path: Path) -> None:
    log = tmp_path / "a.db-wal"
    with closing(sqlite3.connect(tmp_path / "a.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM sqlite_master").fetchall()
        await database.empty_log()
        assert log.stat().st_size > 0
    await database.run(insert(1))
    await database.empty_log()
    assert log.stat().st_size == 0 and await database.run(count) == 2
    (patience,) = await database.run(lambda connection: connection.execute("PRAGMA busy_timeout").fetchone())
    assert patience > 0, "who writes waits for others as before"


async def test_a_full_database_makes_room_of_its_log(database: Database, tmp_path: Path) -> None:
    """On a small disk most of what a database takes is its log, which holds every page once for each commit."""
    await database.run(lambda connection: connection.execute("PRAGMA max_page_count = 20"))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        await database.run(insert(200))
    assert "full" in database.fault
    assert (tmp_path / "a.db-wal").stat().st_size == 0
    await database.run(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
    await database.run(insert(200))
    assert database.fault == ""


async def test_a_database_that_was_read_only_is_opened_anew(database: Database) -> None:
    await database.run(lambda connection: connection.execute("PRAGMA query_only = ON"))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.run(insert(1))
    await database.run(insert(1))
    assert database.fault == "" and await database.run(count) == 2


async def test_a_file_that_takes_the_place_of_a_database_is_not_taken_for_it(
    database: Database, tmp_path: Path
) -> None:
    await database.run(insert(2))
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / f"gone-{path.name}")
    await database.run(lambda connection: connection.execute("PRAGMA query_only = ON"))
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.run(insert(1))
    assert await database.run(count) == 3
    assert not (tmp_path / "a.db").exists(), "as where a disk was unmounted"


async def test_what_the_audit_trail_cannot_take_is_in_the_log(
    tmp_path: Path, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    state = Database(tmp_path / "state.db")
    audit = Audit(state, clock)
    await audit.record(Caller("ada"), "POST a", "done")
    await state.run(lambda connection: connection.execute("PRAGMA query_only = ON"))
    await audit.record(Caller("ada", "10.0.0.7"), "POST b", "done")
    assert "ada from 10.0.0.7: POST b: done" in caplog.text
    await audit.record(Caller("ada"), "POST c", "done")
    assert [entry.action for entry in await audit.entries()] == ["POST c", "POST a"]
    await state.shut()


# The journal


def events(*numbers: int) -> list[Event]:
    return [Event(f"e-{n}", "/ci", "reading", float(n)) for n in numbers]


class Disk:
    """What the system says of a disk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int, total: int = 100_000) -> None:
        self.free, self.total, self.folder = free, total, Path()
        monkeypatch.setattr("bers.disk.os.statvfs", self._statvfs)

    def _statvfs(self, _: object) -> SimpleNamespace:
        used = sum(path.stat().st_size for path in self.folder.glob("*.log")) if self.folder != Path() else 0
        return SimpleNamespace(f_bavail=max(0, self.free - used), f_frsize=1, f_blocks=self.total)


async def test_some_of_the_disk_is_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Disk(monkeypatch, free=5001)
    async with Log(tmp_path, min_free=64 * MIB) as bus:
        await bus.append(0, events(1))
        found.free = 4999
        with pytest.raises(OSError, match="min_free") as info:
            await bus.append(0, events(2))
        assert disk_fault(info.value) and "min_free" in bus.fault
        assert await bus.append(0, events(3), durable=False) == 2
        found.free = 5001
        with pytest.raises(OSError, match="min_free"):  # A little more is wanted, or it would change with every frame.
            await bus.append(0, events(4))
        found.free = 6251
        assert await bus.append(0, events(5)) == 3
        assert bus.fault == ""


async def test_the_oldest_makes_room_where_that_is_the_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, dropped = Disk(monkeypatch, free=30_000), list[tuple[int, int]]()
    found.folder = tmp_path
    async with Log(
        tmp_path,
        min_free=MIB,
        segment_bytes=2000,
        when_full="drop_oldest",
        on_drop=lambda start, end: dropped.append((start, end)),
    ) as bus:
        for n in range(400):
            await bus.append(0, events(*range(10 * n, 10 * n + 10)))
        start, end = await bus.span(0)
        assert bus.fault == "" and end == 4000 and 0 < start == bus.dropped
        assert dropped[0][0] == 0 and dropped[-1][1] == start
        assert [first[1] for first in dropped[:-1]] == [second[0] for second in dropped[1:]]
        assert room(tmp_path).free >= 5000 - 1000
        seen = 0
        async for batch in bus.read(0, after=0):
            seen += len(batch.events)
            if batch.end == end:
                break
        assert seen == end - start


async def test_a_journal_whose_disk_is_full_opens_behind_what_databases_have_seen(tmp_path: Path) -> None:
    async with Log(tmp_path) as bus:
        await bus.append(0, events(1, 2))
    with no_file_beyond((tmp_path / f"{0:020}.log").stat().st_size):
        async with Log(tmp_path, begin=5) as bus:
            assert await bus.span(0) == (0, 5)
            assert bus.fault
            with pytest.raises(OSError, match="large"):
                await bus.append(0, events(6))
            assert await bus.append(0, events(7), durable=False) == 6
    async with Log(tmp_path, begin=6) as bus:
        assert await bus.append(0, events(8)) == 7
    async with Log(tmp_path) as bus:
        batches = [batch async for batch in _until(bus, 7)]
        assert [event.id for batch in batches for event in batch.events] == ["e-1", "e-2", "e-8"]


async def test_a_journal_that_cannot_be_written_does_not_say_that_it_can(tmp_path: Path) -> None:
    async with Log(tmp_path) as bus:
        await bus.append(0, events(1))
        with no_file_beyond((tmp_path / f"{0:020}.log").stat().st_size):
            for n in range(3):
                with pytest.raises(OSError, match="large"):
                    await bus.append(0, events(n))
                assert bus.fault
        await bus.append(0, events(9))
        assert bus.fault == ""
    async with Log(tmp_path) as bus:
        assert await bus.span(0) == (0, 2)


async def test_a_disk_that_takes_a_part_of_a_frame_is_full(tmp_path: Path) -> None:
    async with Log(tmp_path) as bus:
        await bus.append(0, events(1))
        with no_file_beyond((tmp_path / f"{0:020}.log").stat().st_size + 10):
            with pytest.raises(OSError, match="No space left") as info:
                await bus.append(0, events(2))
            assert disk_fault(info.value) == bus.fault == "No space left on device"
        assert await bus.append(0, events(3)) == 2
        assert bus.fault == ""


async def _until(bus: Log, end: int):  # type: ignore[no-untyped-def]
    async for batch in bus.read(0, after=0):
        yield batch
        if batch.end == end:
            return


# Logs


def test_lines_that_the_disk_does_not_take_are_counted_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logs = Logs(LogSettings(folder=str(tmp_path)), {"build": "build"})
    log = logging.getLogger("bers.stage.build")
    handler = logs.handler("build")

    def say(text: str) -> None:
        logs.emit(log.makeRecord(log.name, logging.ERROR, "", 0, text, (), None))

    say("before")
    with no_file_beyond((tmp_path / "build.log").stat().st_size + 20):
        for _ in range(100):
            say("lost")
        assert "large" in logs.fault and handler.fault == logs.fault
    say("after")
    text = (tmp_path / "build.log").read_text()
    assert "before" in text and "after" in text and "lost" not in text
    assert all(line.startswith("{") and line.endswith("}") for line in text.splitlines())
    assert logs.fault == ""
    assert caplog.text.count("cannot be written") == 1 and caplog.text.count("100 lines were lost") == 1
    logs.close()


# The check


async def test_the_check_says_what_cannot_be_written_since_when_and_what_it_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock
) -> None:
    found, faults, counters = Disk(monkeypatch, free=90_000), {"journal": "", "logs": ""}, Counters()
    changes: list[str] = []
    writers = {name: partial(faults.__getitem__, name) for name in faults}
    storage = Storage(tmp_path, clock, counters, writers, lambda: MIB, lambda: changes.append("changed"))
    (tmp_path / "state.db").write_bytes(bytes(5000))
    finding = await storage.look()
    assert (finding.status, storage.refused) == ("healthy", 0)
    assert finding.details["usedBytes"]["state.db"] >= 5000
    found.free = 4000
    assert (await storage.look()).status == "degraded"
    counters.edge("intake").dropped["refused"] += 7
    faults["logs"] = "No space left on device"
    finding = await storage.look()
    assert (finding.status, finding.details["refusedEvents"]) == ("degraded", 7)
    faults["journal"] = "No space left on device"
    await clock.advance(75)
    finding = await storage.look()
    assert finding.status == "unhealthy"
    assert finding.message == (
        f"journal, logs of {tmp_path} cannot be written, for 75s already (journal: No space left on device; "
        f"logs: No space left on device); 4 KiB of 98 KiB are free; 7 events were refused since"
    )
    assert str(tmp_path) in finding.remediation and finding.details["freeBytes"] == 4000
    assert set(finding.details["failing"]) == {"journal", "logs"} and len(changes) == 2
    faults.update(journal="", logs="")
    found.free = 90_000
    assert (await storage.look()).status == "healthy" and storage.refused == 0 and len(changes) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["state.db"]


async def test_a_disk_that_cannot_be_looked_at_is_not_said_to_have_room(tmp_path: Path, clock: VirtualClock) -> None:
    storage = Storage(tmp_path / "gone", clock, Counters(), {}, lambda: MIB, lambda: None)
    finding = await storage.look()
    assert (finding.status, finding.message) == (
        "degraded",
        f"{tmp_path / 'gone'} cannot be looked at: No such file or directory; how much is free is not known",
    )
    (tmp_path / "gone").mkdir()
    assert (await storage.look()).status == "healthy"
