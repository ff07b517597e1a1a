"""Opens the file of a database: what a killed process left is synced, and what is damaged is found and mended."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias

from bers import disk, mendings, position_rows, salvage, soundness
from bers.checksums import UNREADABLE, assert_damage, connect, is_damage
from bers.salvage import Salvage
from bers.transplant import remove
from bers.write_ahead import sync

LOG_PAGES = 1000
"""Pages of a database's log that are brought into its file together; SQLite's own number."""

LOG_SHARE = 64
"""At most this part of a disk is the log of one database, or about so: on a small one, it is brought in earlier."""

PAGE = 4096

Synchronous: TypeAlias = Literal["FULL", "NORMAL"]

_log = logging.getLogger(__name__)


def opened(
    path: Path, synchronous: Synchronous, suspicion: str, layout: Mapping[str, int | str]
) -> tuple[sqlite3.Connection | None, Sequence[str]]:
    """The open file of a database that is ours; or, where it is to be mended first, what is wrong with it.

    ``suspicion`` is what was seen to be wrong with it while it was in use, ``layout`` as in :func:`make`.
    """
    salvage.put_in_place(path)
    if not path.exists():
        make(path, layout)
        return connected(path, synchronous), []
    if fault := soundness.of_head(path):
        return None, [fault]
    if suspicion:
        return None, [suspicion]
    with suppress(OSError):
        return None, [_suspicion_of(path).read_text(encoding="utf-8", errors="replace")]
    logged = soundness.logged(path)
    if logged.is_torn:
        _log.warning("%s: its last commit was not written to its end, as where a process is killed: it is none", path)
    try:
        connection = connected(path, synchronous)
    except UNREADABLE as exc:
        if not (is_damage(exc) or isinstance(exc, UnicodeDecodeError)):
            raise
        return None, [str(exc)]
    with closed_on_error(connection):
        faults = _faults(path, connection, logged.frames, synchronous)
    if not faults:
        return connection, []
    connection.close()
    return None, faults


def make(path: Path, layout: Mapping[str, int | str]) -> None:
    """Make a file that is not there; ``layout`` are pragmas that can only be set then.

    It bears its name once it is a database: of an empty file nobody can say what was in it, and whoever is killed while
    SQLite makes one leaves that.
    """
    making = path.with_name(f"{path.name}.making")
    remove(making)
    with closing(connect(making, isolation_level=None)) as connection:
        for name, value in layout.items():
            connection.execute(f"PRAGMA {name} = {value}")
        connection.execute("PRAGMA journal_mode = WAL")
    disk.sync(making)
    remove(path)  # A log whose file is gone would be taken for that of the new one.
    making.replace(path)
    disk.sync(path.parent)


def _faults(path: Path, connection: sqlite3.Connection, frames: int, synchronous: Synchronous) -> list[str]:
    try:
        faults = [fault] if (fault := soundness.of_log(connection, frames)) else []
    except UNREADABLE as exc:
        assert_damage(exc)
        return [f"its log does not belong to it: {exc}"]  # As in a copy that was made of the one and then of the other.
    if faults and synchronous == "NORMAL":
        # What a loss of power may do to it as well. The positions in it have gone back with the data.
        _log.warning("%s: %s; what the journal holds of that is read again", path, faults[0])
        faults = []
    is_small = path.stat().st_size <= soundness.AT_ONCE
    return faults + (soundness.of_everything(connection) if is_small else soundness.of_the_schema(connection))


def mend(path: Path, faults: Sequence[str]) -> Salvage:
    """Put a new file in the place of one that is damaged; nobody has it open."""

    def finish(connection: sqlite3.Connection, found: Salvage) -> None:
        position_rows.complete(connection, found)
        mendings.note(connection, found)

    found = salvage.salvage(path, faults, finish)
    _suspicion_of(path).unlink(missing_ok=True)
    return found


def inspected(path: Path) -> Sequence[str]:
    """What is wrong with a file that was too large to look at all of it when it was opened; others may work on it."""
    if path.stat().st_size <= soundness.AT_ONCE:
        return []
    with closing(connect(path, read_only=True, isolation_level=None)) as connection:
        return soundness.of_everything(connection)


def suspect(path: Path, why: str) -> None:
    """Let whoever opens the file next know that it is damaged, be it another process."""
    with suppress(OSError):
        _suspicion_of(path).write_text(why, encoding="utf-8")


def _suspicion_of(path: Path) -> Path:
    """The file whose presence says that a database was found damaged while it was in use."""
    return path.with_name(f"{path.name}.suspect")


def connected(path: Path | str, synchronous: Synchronous) -> sqlite3.Connection:
    """Connect to a file whatever its state, or to memory."""
    if isinstance(path, Path):
        # What a killed process wrote and did not sync is read from here on, and things follow from it. A disk that
        # fails says so again with the first commit.
        sync(path)
    connection = connect(path, isolation_level=None, check_same_thread=False)
    with closed_on_error(connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        if isinstance(path, Path) and (found := disk.room(path.parent)).known:
            pages = max(16, min(LOG_PAGES, found.total // LOG_SHARE // PAGE))
            connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        connection.execute("PRAGMA secure_delete = ON")
    return connection


@contextmanager
def closed_on_error(connection: sqlite3.Connection) -> Generator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise
