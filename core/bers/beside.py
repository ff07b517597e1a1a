"""Reading a database beside whoever writes it: a connection of its own, and a thread of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from bers.checksums import connect
from bers.errors import Refused

T = TypeVar("T")

_WRITING = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
"""What a statement does that changes rows, or the schema, which are rows too."""


class Beside:
    """A second connection, opened when somebody reads. In WAL mode neither of the two waits for the other."""

    def __init__(self) -> None:
        self._thread = CapacityLimiter(1)
        self._lock = Lock()
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self._of: sqlite3.Connection | None = None
        """Beside which connection it was opened: when that one is another, the file may be another too."""

    async def run(self, path: Path, main: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work on what was committed when it begins; ``main`` is the connection that has the file open."""
        return await to_thread.run_sync(self._within, path, main, work, limiter=self._thread)

    def close(self) -> None:
        """Close it, when what is under way is done; whoever reads afterwards is refused."""
        with self._lock:
            self._closed = True
            self._let_go()

    def _within(self, path: Path, main: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            if self._closed:
                raise Refused("unavailable", f"{path} is closed: its stage has stopped")
            try:
                connection = self._open(path, main)
                connection.execute("BEGIN")
                try:
                    return work(connection)
                finally:
                    connection.execute("ROLLBACK")
            except sqlite3.DatabaseError:
                self._let_go()
                raise

    def _open(self, path: Path, main: sqlite3.Connection) -> sqlite3.Connection:
        if self._of is not main:
            self._let_go()
        if self._connection is None:
            self._connection = connect(path, isolation_level=None, check_same_thread=False)
            self._of = main
            # Not `query_only`: that is as if the disk let nobody write, which some put up with.
            self._connection.set_authorizer(_reads)
        return self._connection

    def _let_go(self) -> None:
        connection, self._connection, self._of = self._connection, None, None
        if connection:
            connection.close()


def _reads(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_DENY if action in _WRITING else sqlite3.SQLITE_OK
