"""Databases of stages: one SQLite file, one thread, and the positions of the sinks that live in it."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread

from bers import disk, salvage, schema_copy, soundness
from bers.checksums import UNREADABLE, checksum, columns_of, connect, is_damage, summed
from bers.copies import BEGIN, COMMITS, COUNT
from bers.errors import Conflict, Refused
from bers.journal import last_position
from bers.records import Batch
from bers.salvage import Salvage

T = TypeVar("T")

LOG_PAGES = 1000
"""Pages of a database's log that are brought into its file together; SQLite's own number."""

LOG_SHARE = 64
"""At most this part of a disk is the log of one database, or about so: on a small one, it is brought in earlier."""

PAGE = 4096

DEAD_READER = "dead-letters/"
"""Before the name of a pipeline: the reader whose position counts what a sink was handed of its dead letters."""

_COPIES = ("positions", "positions_again")
"""One flipped bit in a position would lose events or count them twice: there are two of each, on different pages."""

_POSITIONS = (
    *(
        f"""
        CREATE TABLE IF NOT EXISTS {table} (
            sink TEXT, reader TEXT, partition INTEGER, position INTEGER NOT NULL,
            {summed("sink, reader, partition, position")}, PRIMARY KEY (sink, reader, partition)
        ) WITHOUT ROWID
        """
        for table in _COPIES
    ),
    *(
        f"""
        CREATE TRIGGER IF NOT EXISTS position_{verb.split()[0].lower()} AFTER {verb} ON positions BEGIN
            INSERT OR REPLACE INTO positions_again (sink, reader, partition, position)
            VALUES (new.sink, new.reader, new.partition, new.position);
        END
        """
        for verb in ("INSERT", "UPDATE OF position")
    ),
    """
    CREATE TRIGGER IF NOT EXISTS position_delete AFTER DELETE ON positions BEGIN
        DELETE FROM positions_again WHERE sink = old.sink AND reader = old.reader AND partition = old.partition;
    END
    """,
)
_LOST = "CREATE TABLE IF NOT EXISTS positions_lost (one INTEGER PRIMARY KEY CHECK (one = 1))"
"""Its row says that the file was damaged and that neither copy came over whole."""

Key: TypeAlias = tuple[str, str, int]

_log = logging.getLogger(__name__)


class Database:
    """A SQLite file in WAL mode. Each call is one transaction, and they happen one after another in one thread.

    ``synchronous`` FULL survives power loss with every commit; NORMAL may lose the last commits then, all together.
    """

    def __init__(
        self, path: Path | None = None, *, synchronous: Literal["FULL", "NORMAL"] = "FULL", mends: bool = True
    ) -> None:
        """Without a path the database lives in memory, for tests.

        A file that turns out to be damaged is set aside, and what can be read of it is copied into a new one: at once
        where that shows when it is opened, else when it is opened next. ``mends`` says not to, to whoever does not own
        the file.
        """
        self.path = path
        self.salvaged: Salvage | None = None
        """What was found out and done about the file, if it was damaged when it was opened last."""
        self._mends = mends
        self._suspected = ""
        """Why the file has to be mended when it is opened next."""
        self._known: tuple[int, int] = (-1, -1)
        """The schema that was written down."""
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

    def mend(self) -> None:
        """Open a file that is there, for it to be mended where it is damaged; what else is wrong is for later."""
        if self.path and self.path.exists():
            with suppress(sqlite3.Error, OSError):
                self.run_now(lambda _: None)

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
                    self._connection = _connected(self.path, self._synchronous)
                    self._known = _known(self._connection)
                    old.close()

    def _within(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            _begin(connection)
            before = connection.total_changes
            result = work(connection)
            if schema_copy.cookie(connection) != self._known:
                schema_copy.keep(connection)
            if connection.total_changes != before:
                connection.execute(COUNT)
            connection.execute("COMMIT")
        except BaseException as exc:
            self._undo(connection, exc)
            raise
        self._known = schema_copy.cookie(connection)
        return result

    def _undo(self, connection: sqlite3.Connection, exc: BaseException) -> None:
        """Roll back; a file that is damaged is let go of, so that it is mended when it is opened next."""
        damaged = is_damage(exc)
        try:
            connection.rollback()
        except sqlite3.DatabaseError as another:
            damaged = damaged or is_damage(another)
            if not damaged:
                raise
        if damaged and self.path and self._mends:
            _log.error("%s is damaged: %s; it is mended when it is opened next", self.path, exc)
            self._connection = None
            with suppress(sqlite3.Error):
                connection.close()
            self._suspect(self.path, str(exc))

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = self._opened(self.path) if self.path else _connected(":memory:", self._synchronous)
            with _closed_on_error(connection):
                self._known = _known(connection)
                self._within(connection, _prepare)
            self._connection = connection
            self._inode = self.path.stat().st_ino if self.path else 0
        return self._connection

    def _opened(self, path: Path) -> sqlite3.Connection:
        """Open the file, and mend it first where it is damaged."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._mends:
            return _connected(path, self._synchronous)
        salvage.put_in_place(path)
        connection, faults = self._look(path)
        if connection is None:
            self.salvaged = salvage.salvage(path, faults, _complete)
            _suspect_of(path).unlink(missing_ok=True)
            self._suspected = ""
            connection = _connected(path, self._synchronous)
        return connection

    def _look(self, path: Path) -> tuple[sqlite3.Connection | None, list[str]]:
        """The open file, or what is wrong with it."""
        if not path.exists():
            return _connected(path, self._synchronous), []
        if fault := soundness.of_head(path):
            return None, [fault]
        if self._suspected:
            return None, [self._suspected]
        with suppress(OSError):
            return None, [_suspect_of(path).read_text(encoding="utf-8", errors="replace")]
        frames = soundness.logged(path)
        try:
            connection = _connected(path, self._synchronous)
        except UNREADABLE as exc:
            if not (is_damage(exc) or isinstance(exc, UnicodeDecodeError)):
                raise
            return None, [str(exc)]
        with _closed_on_error(connection):
            faults = [fault] if (fault := soundness.of_log(connection, frames)) else []
            if faults and self._synchronous == "NORMAL":
                # What a loss of power may do to it as well. The positions in it have gone back with the data.
                _log.warning("%s: %s; what the journal holds of that is read again", path, faults[0])
                faults = []
            is_small = path.stat().st_size <= soundness.AT_ONCE
            faults += soundness.of_everything(connection) if is_small else soundness.of_the_schema(connection)
        if not faults:
            return connection, []
        connection.close()
        return None, faults

    async def inspect(self) -> Sequence[str]:
        """Look at all of a file that was too large to be looked at when it was opened; return what is wrong with it.

        It is looked at through a connection of its own, while others work; if it is damaged, it is mended when it is
        opened next.
        """
        if not self.path or self.path.stat().st_size <= soundness.AT_ONCE:
            return []
        faults = await to_thread.run_sync(_inspected, self.path)
        if faults:
            _log.error("%s is damaged: %s; it is mended when it is opened next", self.path, faults[0])
            self._suspect(self.path, faults[0])
        return faults

    def _suspect(self, path: Path, why: str) -> None:
        """Let whoever opens the file next know that it is damaged, be it another process."""
        self._suspected = why
        with suppress(OSError):
            _suspect_of(path).write_text(why, encoding="utf-8")


def _inspected(path: Path) -> list[str]:
    with closing(connect(path, read_only=True, isolation_level=None)) as connection:
        return soundness.of_everything(connection)


def _suspect_of(path: Path) -> Path:
    """The file whose presence says that a database was found damaged while it was in use."""
    return path.with_name(f"{path.name}.suspect")


@contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Generator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _connected(path: Path | str, synchronous: str) -> sqlite3.Connection:
    if isinstance(path, Path):
        _sync_left_behind(path)
    connection = connect(path, isolation_level=None, check_same_thread=False)
    with _closed_on_error(connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        if isinstance(path, Path) and (found := disk.room(path.parent)).known:
            pages = max(16, min(LOG_PAGES, found.total // LOG_SHARE // PAGE))
            connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        connection.execute("PRAGMA secure_delete = ON")
    return connection


def _begin(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as exc:
        if not disk.disk_fault(exc):
            raise
        connection.execute("BEGIN")  # What only reads can be done all the same.


def _known(connection: sqlite3.Connection) -> tuple[int, int]:
    """Of which schema a database has the copy."""
    copy = schema_copy.read(connection) if schema_copy.is_there(connection) else None
    return (copy.version, copy.layout) if copy else (-1, -1)


def _prepare(connection: sqlite3.Connection) -> None:
    """Make what every database has, and see to it that both copies of the positions say the same."""
    schema_copy.make(connection)
    connection.execute(COMMITS)
    connection.execute(BEGIN)
    names, has_sum = columns_of(connection, _COPIES[0])
    if names and not has_sum:  # Of a file that is older than checksums.
        before = connection.execute("SELECT sink, reader, partition, position FROM positions").fetchall()
        connection.execute("DROP TABLE positions")
        _make_positions(connection)
        _put(connection, before)
        return
    _make_positions(connection)
    copies = [_sound(connection, table) for table in _COPIES]
    if copies[0] != copies[1]:
        _reconcile(connection, copies)


def _make_positions(connection: sqlite3.Connection) -> None:
    for statement in _POSITIONS:
        connection.execute(statement)


def _sound(connection: sqlite3.Connection, table: str) -> dict[Key, int]:
    """The positions that one copy tells as they were written."""
    rows = connection.execute(f"SELECT sink, reader, partition, position, checksum FROM {table}").fetchall()
    return {row[:3]: row[3] for row in rows if checksum(*row[:4]) == row[4]}


def _reconcile(connection: sqlite3.Connection, copies: Sequence[dict[Key, int]]) -> None:
    """Let both copies tell what either knows; where they differ, the higher: a gap that is named, not figures twice."""
    one, two = copies
    for key in one.keys() & two.keys():
        if one[key] != two[key]:
            _log.error(
                "the position of pipeline %r in %r is %d or %d: going on at the higher", *key[1::-1], one[key], two[key]
            )
    for key in one.keys() ^ two.keys():
        _log.warning("the position of pipeline %r in %r was damaged, and is known from its copy", *key[1::-1])
    for table in _COPIES:
        connection.execute(f"DELETE FROM {table}")
    _put(connection, [(*key, max(one.get(key, 0), two.get(key, 0))) for key in one.keys() | two.keys()])


def _put(connection: sqlite3.Connection, rows: Iterable[tuple[object, ...]]) -> None:
    connection.executemany("INSERT INTO positions (sink, reader, partition, position) VALUES (?, ?, ?, ?)", rows)


def _complete(connection: sqlite3.Connection, found: Salvage) -> None:
    """Bring the positions in order in a new file that was made of a damaged one."""
    _make_positions(connection)
    whole = any(one.table in _COPIES and not one.lost for one in found.tables)
    if not whole and any(one.kept for one in found.tables if one.table not in _COPIES):
        connection.execute(_LOST)
        connection.execute("INSERT OR IGNORE INTO positions_lost VALUES (1)")
    copies = [_sound(connection, table) for table in _COPIES]
    if copies[0] != copies[1]:
        _reconcile(connection, copies)


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
        """The position of a reader; one not known yet is written down at ``begin``, and survives from then on.

        Where it was known and lost with a damaged file, while data was kept, the reader goes on at the end of the
        journal: better a gap that is named than figures that count twice.
        """
        key = (self._sink, reader, partition)

        def work(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                "SELECT position FROM positions WHERE sink = ? AND reader = ? AND partition = ?", key
            ).fetchone()
            if row:
                return int(row[0])
            at = begin if reader.startswith(DEAD_READER) else self._after_loss(connection, reader, begin)
            _put(connection, [(*key, at)])
            return at

        self._held[reader, partition] = await self._database.run(work)
        return self._held[reader, partition]

    def _after_loss(self, connection: sqlite3.Connection, reader: str, begin: int) -> int:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'positions_lost'").fetchone()
        path = self._database.path
        if not known or not path:
            return begin
        at = max(begin, last_position(path.parent / "journal"))
        if at > begin:
            what = (
                f"the position of pipeline {reader!r} in {self._sink!r} was lost: it goes on at {at}, and events "
                f"between positions {begin} and {at} may be missing from it"
            )
            _log.error("%s: %s", path.name, what)
            salvage.add_to_report(path, what)
        return at

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
        except UNREADABLE:
            return None
    if not held.keys() >= set(readers):
        return None
    lowest = min(held[reader] for reader in readers)
    return lowest if all(_synced(path) for path in _databases(folder)) else None


def synced_position(folder: Path, sink: str, reader: str) -> int | None:
    """The position of a reader that not even a loss of power can take back; None where there is none, or not now."""
    for path in _databases(folder):
        with _spared(path):
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
    with closing(connect(path)) as connection:
        busy, written, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return not busy and written == moved


def keep_positions(folder: Path, readers: Collection[tuple[str, str]]) -> None:
    """Forget the position of every (sink, reader) that is not among these: a pipeline that is gone gives it up."""
    for path in _databases(folder):
        with _spared(path), closing(connect(path)) as connection, connection:
            for sink, reader in connection.execute("SELECT DISTINCT sink, reader FROM positions").fetchall():
                if (sink, reader.removeprefix(DEAD_READER)) not in readers:
                    connection.execute("DELETE FROM positions WHERE sink = ? AND reader = ?", (sink, reader))


def forget_positions(folder: Path, readers: Collection[tuple[str, str]]) -> None:
    """Forget the position of each of these (sink, reader), while their sinks are closed."""
    for path in _databases(folder):
        with _spared(path), closing(connect(path)) as connection, connection:
            everyone = [(sink, name) for sink, reader in readers for name in (reader, DEAD_READER + reader)]
            connection.executemany("DELETE FROM positions WHERE sink = ? AND reader = ?", everyone)


@contextmanager
def _spared(path: Path) -> Generator[None]:
    """Leave a database that is damaged to its owner, who mends it when it opens it."""
    try:
        yield
    except UNREADABLE as exc:
        if not (is_damage(exc) or isinstance(exc, UnicodeDecodeError)):
            raise
        _log.warning("%s is damaged (%s): its positions are left as they are until it is mended", path, exc)


def _databases(folder: Path) -> Iterator[Path]:
    """The files that hold positions; one that is damaged is left to its owner to report."""
    for path in sorted(folder.glob("*.db")):
        try:
            with closing(connect(path, read_only=True)) as connection:
                known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'positions'").fetchone()
        except UNREADABLE as exc:
            if isinstance(exc, sqlite3.Error) and disk.disk_fault(exc) and not disk.is_unreadable(exc):
                raise  # It can be read when there is room again, and nobody may go by what the others hold alone.
            continue
        if known:
            yield path


def _rows(folder: Path) -> Iterator[tuple[str, str, int]]:
    for path in _databases(folder):
        with _spared(path):
            yield from _read(path)


def _read(path: Path) -> list[tuple[str, str, int]]:
    """The positions in a database that one of their copies tells as they were written."""
    with closing(connect(path, read_only=True)) as connection:
        names, has_sum = columns_of(connection, _COPIES[0])
        if not names:
            return []
        if not has_sum:
            return connection.execute("SELECT sink, reader, position FROM positions").fetchall()
        found: dict[Key, int] = {}
        for table in _COPIES:
            for key, position in _sound(connection, table).items():
                found[key] = max(position, found.get(key, 0))
        return [(sink, reader, position) for (sink, reader, _), position in found.items()]
