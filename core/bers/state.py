"""Databases of stages: one SQLite file, one thread, and the positions of the sinks that live in it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread

from bers import disk
from bers.copies import BEGIN, COMMITS, COUNT
from bers.errors import Conflict, Refused
from bers.records import Batch

T = TypeVar("T")

LOG_PAGES = 1000
"""Pages of a database's log that are brought into its file together; SQLite's own number."""

LOG_SHARE = 64
"""At most this part of a disk is the log of one database, or about so: on a small one, it is brought in earlier."""

PAGE = 4096

DEAD_READER = "dead-letters/"
"""Before the name of a pipeline: the reader whose position counts what a sink was handed of its dead letters."""

_POSITIONS = """
CREATE TABLE IF NOT EXISTS positions (
    sink TEXT, reader TEXT, partition INTEGER, position INTEGER NOT NULL, PRIMARY KEY (sink, reader, partition)
) WITHOUT ROWID
"""


class Database:
    """A SQLite file in WAL mode. Each call is one transaction, and they happen one after another in one thread.

    ``synchronous`` FULL survives power loss with every commit; NORMAL may lose the last commits then, all together.
    """

    def __init__(self, path: Path | None = None, *, synchronous: Literal["FULL", "NORMAL"] = "FULL") -> None:
        """Without a path the database lives in memory, for tests."""
        self.path = path
        self._synchronous = synchronous
        self._thread = CapacityLimiter(1)
        self._lock = Lock()
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self.fault = ""
        """Why its disk does not let it write, until it does again."""
        self._inode = 0
        """Which file it is: one of that name that comes later, as where a disk was unmounted, is another."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work in one transaction; either all of it is committed when this returns, or nothing is.

        It is done again where the disk was full, and there is room when the log is brought into the file.
        """
        return await to_thread.run_sync(self._transact, work, limiter=self._thread)

    def run_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The same, at once and in this thread: for opening and closing, when nobody else is there."""
        return self._transact(work)

    def close(self) -> None:
        """Close the file, when what is under way is done; whoever asks it afterwards is refused."""
        with self._lock:
            self._closed = True
            if self._connection:
                self._connection.close()
                self._connection = None

    async def shut(self) -> None:
        """The same in its own thread, whatever happens: what is written last is synced, and disks may take long."""
        with CancelScope(shield=True):
            await to_thread.run_sync(self.close, limiter=self._thread)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:  # A check or a request may still be under way when its stage closes.
            if self._closed:
                raise Refused("unavailable", f"{self.path or 'the database'} is closed: its stage has stopped")
            try:
                connection = self._open()
                before = connection.total_changes
                try:
                    result = self._within(connection, work)
                except sqlite3.OperationalError as exc:
                    if not (disk.is_full(exc) and _shrunk(connection)):
                        raise
                    result = self._within(connection, work)
            except (OSError, sqlite3.OperationalError) as exc:
                self._note(exc)
                raise
            if self.fault and connection.total_changes != before:  # What only reads does not know better.
                self.fault = ""
            return result

    def _note(self, exc: OSError | sqlite3.OperationalError) -> None:
        """Remember what the disk did. But for one that is full, the file is opened anew: it may be another now."""
        why, old = disk.disk_fault(exc), self._connection
        self.fault = why or self.fault
        if why and not disk.is_full(exc) and self.path and old:
            with suppress(OSError, sqlite3.Error):  # Where that cannot be, what is open can still be read.
                if self.path.stat().st_ino == self._inode:
                    self._connection = self._connect()
                    old.close()

    @staticmethod
    def _within(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as exc:
            if not disk.disk_fault(exc):
                raise
            connection.execute("BEGIN")  # What only reads can be done all the same.
        try:
            before = connection.total_changes
            result = work(connection)
            if connection.total_changes != before:
                connection.execute(COUNT)
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise
        return result

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if self.path:
                _sync_left_behind(self.path)
            self._connection = self._connect()
            self._inode = self.path.stat().st_ino if self.path else 0
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path or ":memory:", isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            if self.path and (found := disk.room(self.path.parent)).known:
                pages = max(16, min(LOG_PAGES, found.total // LOG_SHARE // PAGE))
                connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute(_POSITIONS)
            connection.execute(COMMITS)
            connection.execute(BEGIN)
        except BaseException:
            connection.close()
            raise
        return connection


def _sync_left_behind(path: Path) -> None:
    """Make durable what a killed process wrote and did not sync: from here on it is read, and things follow from it."""
    try:
        file = os.open(f"{path}-wal", os.O_RDONLY)
    except OSError:
        return
    try:
        with suppress(OSError):  # A disk that fails says so again with the first commit.
            os.fdatasync(file)
    finally:
        os.close(file)  # SQLite's locks are on other files, so closing this one lets go of none.


class Positions:
    """Where one durable sink stands, for each pipeline that feeds it; moved in the transaction that keeps the data."""

    def __init__(self, database: Database, sink: str) -> None:
        self._database = database
        self._sink = sink
        self._held: dict[tuple[str, int], int] = {}

    async def begin(self, reader: str, partition: int, begin: int) -> int:
        """The position of a reader; one not known yet is written down at ``begin``, and survives from then on."""
        key = (self._sink, reader, partition)

        def work(connection: sqlite3.Connection) -> int:
            connection.execute("INSERT OR IGNORE INTO positions VALUES (?, ?, ?, ?)", (*key, begin))
            row = connection.execute(
                "SELECT position FROM positions WHERE sink = ? AND reader = ? AND partition = ?", key
            ).fetchone()
            return int(row[0])

        self._held[reader, partition] = await self._database.run(work)
        return self._held[reader, partition]

    async def commit(self, batch: Batch, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work and go to the end of the batch, in one transaction; if this raises, neither has happened."""

        def both(connection: sqlite3.Connection) -> T:
            result = work(connection)
            self.move(connection, batch.reader, batch.partition, batch.end)
            return result

        result = await self._database.run(both)
        self.moved(batch.reader, batch.partition, batch.end)
        return result

    def move(self, connection: sqlite3.Connection, reader: str, partition: int, end: int) -> None:
        """Go to ``end``, inside a transaction; raise Conflict if somebody else moved this position."""
        held = self._held[reader, partition]
        moved = connection.execute(
            "UPDATE positions SET position = ? WHERE sink = ? AND reader = ? AND partition = ? AND position = ?",
            (end, self._sink, reader, partition, held),
        ).rowcount
        if not moved:
            raise Conflict(f"the position of pipeline {reader!r} in {self._sink!r} was moved by somebody else")

    def moved(self, reader: str, partition: int, end: int) -> None:
        """Say that the transaction of :meth:`move` was committed."""
        self._held[reader, partition] = end

    def held(self, reader: str, partition: int) -> int:
        """The position that was committed last."""
        return self._held[reader, partition]


class Held(NamedTuple):
    """A position, and who holds it."""

    database: str
    """The path of the file, within its folder."""
    sink: str
    reader: str
    position: int


def held_positions(folder: Path) -> list[Held]:
    """Every position that databases of a folder hold; one that cannot be read is left out."""
    found: list[Held] = []
    for path in _databases(folder):
        with suppress(sqlite3.DatabaseError):
            found += [Held(path.name, *row) for row in _read(path)]
    return found


def on_the_bus(reader: str) -> bool:
    """Whether the position of a reader counts events of the bus, and not dead letters."""
    return not reader.startswith(DEAD_READER)


def highest_position(folder: Path) -> int:
    """The highest position that any database in a folder holds: where a journal that was lost begins again."""
    on_the_bus = (position for _, reader, position in _rows(folder) if not reader.startswith(DEAD_READER))
    return max(on_the_bus, default=0)


def lowest_position(folder: Path, readers: Collection[tuple[str, str]]) -> int | None:
    """The position below which none of these (sink, reader) needs anything any more; None where that is not known.

    It is not known while a sink has not written down where it begins, or a database cannot be read: what it may need
    is kept. Positions are read before a checkpoint syncs them: a database that is not synced with every commit may
    fall back.
    """
    if not readers:
        return None
    held: dict[tuple[str, str], int] = {}
    for path in folder.glob("*.db"):
        try:
            for sink, reader, position in _read(path):
                held[sink, reader] = position
        except sqlite3.DatabaseError:
            return None
    if not held.keys() >= set(readers):
        return None
    lowest = min(held[reader] for reader in readers)
    return lowest if all(_synced(path) for path in _databases(folder)) else None


def synced_position(folder: Path, sink: str, reader: str) -> int | None:
    """The position of a reader that not even a loss of power can take back; None where there is none, or not now."""
    for path in _databases(folder):
        for held in _read(path):
            if held[:2] == (sink, reader):
                return held[2] if _synced(path) else None
    return None


def _shrunk(connection: sqlite3.Connection) -> bool:
    """Bring the log of a database into its file, and give its room back; False where that cannot be."""
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    return not busy


def _synced(path: Path) -> bool:
    """Make what is in a database durable now, however it syncs its commits; False where that cannot be at present."""
    with closing(sqlite3.connect(path)) as connection:
        busy, written, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return not busy and written == moved


def keep_positions(folder: Path, readers: Collection[tuple[str, str]]) -> None:
    """Forget the position of every (sink, reader) that is not among these: a pipeline that is gone gives it up."""
    for path in _databases(folder):
        with closing(sqlite3.connect(path)) as connection, connection:
            for sink, reader in connection.execute("SELECT DISTINCT sink, reader FROM positions").fetchall():
                if (sink, reader.removeprefix(DEAD_READER)) not in readers:
                    connection.execute("DELETE FROM positions WHERE sink = ? AND reader = ?", (sink, reader))


def forget_positions(folder: Path, readers: Collection[tuple[str, str]]) -> None:
    """Forget the position of each of these (sink, reader), while their sinks are closed."""
    for path in _databases(folder):
        with closing(sqlite3.connect(path)) as connection, connection:
            everyone = [(sink, name) for sink, reader in readers for name in (reader, DEAD_READER + reader)]
            connection.executemany("DELETE FROM positions WHERE sink = ? AND reader = ?", everyone)


def _databases(folder: Path) -> Iterator[Path]:
    """The files that hold positions; one that is damaged is left to its owner to report."""
    for path in sorted(folder.glob("*.db")):
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'positions'").fetchone()
        except sqlite3.DatabaseError as exc:
            if disk.disk_fault(exc) and not disk.is_unreadable(exc):
                raise  # It can be read when there is room again, and nobody may go by what the others hold alone.
            continue
        if known:
            yield path


def _rows(folder: Path) -> Iterator[tuple[str, str, int]]:
    for path in _databases(folder):
        yield from _read(path)


def _read(path: Path) -> list[tuple[str, str, int]]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'positions'").fetchone():
            return []
        return connection.execute("SELECT sink, reader, position FROM positions").fetchall()
