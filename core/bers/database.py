"""A database: one SQLite file, one thread, and one transaction for each call, or for some that wait together."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread

from bers import disk, opening, position_rows, schema_copy
from bers.beside import Beside
from bers.checksums import UNREADABLE, is_damage
from bers.copies import BEGIN, COMMITS, COUNT
from bers.errors import Refused
from bers.opening import Synchronous, closed_on_error, connected
from bers.salvage import Salvage
from bers.sharing import Sharing

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Database:
    """A SQLite file in WAL mode. Each call is one transaction, and they happen one after another in one thread.

    ``synchronous`` FULL survives power loss with every commit; NORMAL may lose the last commits then, all together.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        synchronous: Synchronous = "FULL",
        mends: bool = True,
        layout: Mapping[str, int | str] = MappingProxyType({}),
    ) -> None:
        """Without a path the database lives in memory, for tests.

        A file that turns out to be damaged is set aside, and what can be read of it is copied into a new one: at once
        where that shows when it is opened, else when it is opened next. ``mends`` says not to, to whoever does not own
        the file. ``layout`` are pragmas that can only be set when the file is made, as `page_size`.
        """
        self.path = path
        self.salvaged: Salvage | None = None
        """What was found out and done about the file, if it was damaged when it was opened last."""
        self._mends = mends
        self._layout = layout
        self._suspicion = ""
        """Why the file has to be mended when it is opened next."""
        self._known: tuple[int, int] = (-1, -1)
        """The schema that was written down."""
        self._synchronous: Synchronous = synchronous
        self._thread = CapacityLimiter(1)
        self._sharing = Sharing(self._thread, self._transact)
        self._lock = Lock()
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self.fault = ""
        """Why its disk does not let it write, until it does again."""
        self._inode = 0
        """Which file it is: one of that name that comes later, as where a disk was unmounted, is another."""
        self._beside = Beside()

    async def run(self, work: Callable[[sqlite3.Connection], T], *, shared: bool = False) -> T:
        """Do the work in one transaction; either all of it is committed when this returns, or nothing is.

        It is done again where the disk was full, and there is room when the log is brought into the file. ``shared``
        says that it is short, and may have its transaction, and so its sync, together with others that wait; it is done
        again by itself where one of those fails.
        """
        if shared:
            return await self._sharing.run(work)
        return await to_thread.run_sync(self._transact, work, limiter=self._thread)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work that only reads, beside whoever writes: it sees what was committed when it began.

        Nobody who writes waits for it, nor it for them. What cannot be read so is done as :meth:`run` does it.
        """
        if self._connection is None or self.path is None:
            return await self.run(work)
        try:
            return await self._beside.run(self.path, self._connection, work)
        except sqlite3.DatabaseError:  # Busy, damaged or gone: whoever writes knows what to do about that.
            return await self.run(work)

    async def empty_log(self, *, patience: float = 0.0) -> None:
        """Bring all of the log into the file and cut it, for it has what was deleted still; not where somebody reads it
        for more than so many seconds.

        Nobody else may: of two connections that bring a log in, or write, at the same moment, SQLite before 3.51.3 may
        take what was just written for what is in the file already. See https://sqlite.org/wal.html#walresetbug
        """
        await to_thread.run_sync(self._empty_log, patience, limiter=self._thread)

    def _empty_log(self, patience: float) -> None:
        with self._lock:
            if (connection := self._connection) is None:
                return
            (usual,) = connection.execute("PRAGMA busy_timeout").fetchone()
            connection.execute(f"PRAGMA busy_timeout = {round(patience * 1000)}")
            with suppress(*UNREADABLE):  # Whoever writes next is told.
                _shrunk(connection)
            connection.execute(f"PRAGMA busy_timeout = {usual}")

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
            self._beside.close()  # First: the last to close a file brings its log in.
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
                try:
                    return self._within(connection, work)
                except sqlite3.OperationalError as exc:
                    if not (disk.is_full(exc) and _shrunk(connection)):
                        raise
                    return self._within(connection, work)
            except (OSError, sqlite3.OperationalError) as exc:
                self._note(exc)
                raise

    def _note(self, exc: OSError | sqlite3.OperationalError) -> None:
        """Remember what the disk did. But for one that is full, the file is opened anew: it may be writable by then."""
        why, old = disk.disk_fault(exc), self._connection
        self.fault = why or self.fault
        if why and not disk.is_full(exc) and self.path and old:
            with suppress(OSError, sqlite3.Error):  # Where that cannot be, what is open can still be read.
                if self.path.stat().st_ino == self._inode:
                    self._connection = connected(self.path, self._synchronous)
                    self._known = schema_copy.known(self._connection)
                    old.close()

    def _within(self, connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            _begin(connection)
            before = connection.total_changes
            result = work(connection)
            if (schema := schema_copy.cookie(connection)) != self._known:
                schema_copy.keep(connection)
            writes = connection.total_changes != before
            if writes:
                connection.execute(COUNT)
            connection.execute("COMMIT")
        except BaseException as exc:
            self._undo(connection, exc)
            raise
        self._known = schema
        if writes:  # What only reads does not know better.
            self.fault = ""
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
            self._connection = None
            with suppress(sqlite3.Error):
                connection.close()
            self._suspect(self.path, str(exc))

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = self._opened(self.path) if self.path else connected(":memory:", self._synchronous)
            with closed_on_error(connection):
                self._known = schema_copy.known(connection)
                self._within(connection, _prepare)
            self._connection = connection
            self._inode = self.path.stat().st_ino if self.path else 0
        return self._connection

    def _opened(self, path: Path) -> sqlite3.Connection:
        """Open the file, and mend it first where it is damaged."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self._mends:
            if not path.exists():
                opening.make(path, self._layout)
            return connected(path, self._synchronous)
        connection, faults = opening.opened(path, self._synchronous, self._suspicion, self._layout)
        if connection is None:
            self.salvaged = opening.mend(path, faults)
            self._suspicion = ""
            connection = connected(path, self._synchronous)
        return connection

    async def inspect(self) -> Sequence[str]:
        """Look at all of a file that was too large to be looked at when it was opened; return what is wrong with it.

        It is looked at through a connection of its own, while others work; if it is damaged, it is mended when it is
        opened next.
        """
        if not self.path:
            return []
        faults = await to_thread.run_sync(opening.inspected, self.path)
        if faults:
            self._suspect(self.path, faults[0])
        return faults

    def _suspect(self, path: Path, why: str) -> None:
        _log.error("%s is damaged: %s; it is mended when it is opened next", path, why)
        self._suspicion = why
        opening.suspect(path, why)


def _begin(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as exc:
        if not disk.disk_fault(exc):
            raise
        connection.execute("BEGIN")  # What only reads can be done all the same.


def _shrunk(connection: sqlite3.Connection) -> bool:
    """Bring the log of a database into its file, and give its room back; False where that cannot be."""
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    return not busy


def _prepare(connection: sqlite3.Connection) -> None:
    """Make what every database has."""
    schema_copy.make(connection)
    connection.execute(COMMITS)
    connection.execute(BEGIN)
    position_rows.prepare(connection)
