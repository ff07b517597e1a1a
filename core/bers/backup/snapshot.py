"""Everything of a data directory at one instant, held on to while the node that owns it goes on."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import IO

from bers import position_rows
from bers.access import sessions
from bers.all_positions import Held
from bers.checksums import UNREADABLE, assert_damage, connect
from bers.disk import RESERVE_FILE
from bers.errors import BersError
from bers.lock import PID_FILE
from bers.segments import segment_files

PATIENCE = 20.0
"""Seconds that transactions of the node may hold us up."""
AT_ONCE = 0.2
"""Seconds that we wait for one database while we hold others: the node waits for five at most."""
PAGES = 2048
"""Of a database, that are copied before the progress is told."""

STATE = "state.db"
JOURNAL = "journal"
_NOT_OURS = (PID_FILE, "start.log", RESERVE_FILE)
_BESIDE = (".db-wal", ".db-shm", ".db-journal")


@dataclass(frozen=True)
class Opened:
    """A file that is held open: it can be read though its name is given to another, or to none."""

    name: str
    file: IO[bytes]
    size: int
    """What it had at the instant."""


@dataclass(frozen=True)
class Copied:
    """A database, as a transaction of ours sees it for as long as it is open."""

    name: str
    connection: sqlite3.Connection
    size: int
    held: Sequence[Held]

    def copy(self, target: Path, tell: Callable[[int, int], None]) -> None:
        """Write it to a file of its own, without anybody's sessions: a login is no part of a backup."""
        with closing(connect(target, isolation_level=None)) as copy:
            copy.execute("PRAGMA synchronous = OFF")  # It goes into the archive, and that is synced.
            self.connection.backup(copy, pages=PAGES, progress=lambda _, left, total: tell(total - left, total))
            copy.execute("PRAGMA secure_delete = ON")
            if self.name == STATE:
                sessions.forget(copy)
            copy.execute("PRAGMA journal_mode = DELETE")


@dataclass
class Instant:
    """What there was at one instant."""

    databases: list[Copied] = field(default_factory=list[Copied])
    journal: list[Opened] = field(default_factory=list[Opened])
    files: list[Opened] = field(default_factory=list[Opened])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    """Names, each with the reason."""

    @property
    def size(self) -> int:
        return sum(one.size for one in self.databases) + sum(one.size for one in (*self.journal, *self.files))


@contextmanager
def instant(data_dir: Path) -> Generator[Instant]:
    """Hold on to what a data directory has at one instant, whether a node runs there, was stopped or was killed.

    For some milliseconds nobody can write to any database. Meanwhile a reading transaction of each begins, and the end
    of the journal is noted: it is what a `kill -9` at that instant would leave, and so what a start can go on from.
    """
    found = Instant()
    with ExitStack() as stack:
        paths = _databases(data_dir, found)
        with _locked(paths):
            for path in paths:
                found.databases.append(stack.enter_context(_seen(path, data_dir)))
            found.journal = _journal(data_dir / JOURNAL, stack)
        for path in sorted(data_dir.rglob("*")):
            _look(path, data_dir, paths, found, stack)
        yield found


def _databases(data_dir: Path, found: Instant) -> list[Path]:
    """The databases of a directory; what is called so and is none, or cannot be read, is left out."""
    good: list[Path] = []
    for path in sorted(data_dir.rglob("*.db")):
        if path.is_symlink() or not path.is_file():
            continue
        try:
            with closing(_reading(path)) as connection:
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as exc:
            found.left_out[path.relative_to(data_dir).as_posix()] = f"it cannot be read as a database: {exc}"
            continue
        good.append(path)
    return good


def _reading(path: Path) -> sqlite3.Connection:
    return connect(path, read_only=True, timeout=PATIENCE, isolation_level=None)


def _locking(path: Path) -> sqlite3.Connection:
    """A connection that may write, to a file that is there: it makes none."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=AT_ONCE, isolation_level=None)


@contextmanager
def _locked(paths: Sequence[Path]) -> Generator[None]:
    """Keep everybody else from writing to any of the databases."""
    deadline = time.monotonic() + PATIENCE
    with ExitStack() as stack:
        connections = {path: stack.enter_context(closing(_locking(path))) for path in paths}
        while busy := _lock(connections):
            # Who waits for one with another in hand keeps the node waiting for longer than it does.
            _release(connections.values())
            if time.monotonic() > deadline:
                raise BersError(
                    f"{busy} is in use for more than {PATIENCE:g} s; `bers status` says who is at work; try again"
                )
            time.sleep(AT_ONCE / 2)
        yield
        _release(connections.values())


def _lock(connections: Mapping[Path, sqlite3.Connection]) -> Path | None:
    """Lock every database; the path of the one that is in use, where that cannot be done now."""
    for path, connection in connections.items():
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as exc:
            if "readonly" in str(exc):  # Then nobody else writes to it either.
                continue
            if "locked" not in str(exc):
                raise
            return path
    return None


def _release(connections: Iterable[sqlite3.Connection]) -> None:
    for connection in connections:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def _seen(path: Path, data_dir: Path) -> Generator[Copied]:
    with closing(_reading(path)) as connection:
        connection.execute("BEGIN")
        pages = int(connection.execute("PRAGMA page_count").fetchone()[0])
        size = int(connection.execute("PRAGMA page_size").fetchone()[0])
        name = path.relative_to(data_dir).as_posix()
        held: list[Held] = []
        try:
            held = [Held(name, *row) for row in sorted(position_rows.read(connection))]
        except UNREADABLE as exc:
            assert_damage(exc)  # That is said of the copy, when all of it is looked through.
        yield Copied(name, connection, pages * size, held)


def _journal(folder: Path, stack: ExitStack) -> list[Opened]:
    """The files of a journal, as long as they are now; what was trimmed while we opened them is not needed."""
    opened: list[Opened] = []
    for path in segment_files(folder):
        try:
            file = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            opened.clear()  # Files go from the oldest on: those before this one are gone, too.
            continue
        opened.append(Opened(f"{JOURNAL}/{path.name}", file, os.fstat(file.fileno()).st_size))
    return opened


def _look(path: Path, data_dir: Path, databases: Sequence[Path], found: Instant, stack: ExitStack) -> None:
    """Hold on to what lies beside databases and journal: our key, and what plugins keep there."""
    name = path.relative_to(data_dir).as_posix()
    if path in databases or name in _NOT_OURS or name.endswith(_BESIDE):
        return
    if name.startswith(f"{JOURNAL}/") and ".damaged" not in path.name:
        return
    if ".damaged" in path.name:
        found.left_out[name] = "it was put aside because it was damaged"
        return
    if path.is_symlink():
        found.left_out[name] = "it is a link"
        return
    try:
        if path.is_dir():
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as exc:
        found.left_out[name] = f"it cannot be read: {exc.strerror}"
        return
    file = stack.enter_context(os.fdopen(descriptor, "rb"))
    status = os.fstat(descriptor)
    if not S_ISREG(status.st_mode):
        found.left_out[name] = "it is no plain file"
        return
    if name in found.left_out:
        found.left_out[name] += "; its bytes are here as they were"
    found.files.append(Opened(name, file, status.st_size))
