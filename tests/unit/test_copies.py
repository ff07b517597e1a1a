"""A database and its write-ahead log that were copied at different moments are told apart from those of a kill."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bers import Database
from bers.copies import put_right


def add(count: int = 1) -> Callable[[sqlite3.Connection], object]:
    """A transaction that inserts so many rows of a kilobyte."""

    def work(connection: sqlite3.Connection) -> object:
        connection.execute("CREATE TABLE IF NOT EXISTS things (n INTEGER PRIMARY KEY, text)")
        return connection.executemany("INSERT INTO things (text) VALUES (?)", [("x" * 1000,)] * count)

    return work


def checkpoint(path: Path) -> None:
    """Move the log into the database; the next write begins the log anew."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()[0] == 0


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(connection.execute("SELECT count(*) FROM things").fetchone()[0])


@pytest.fixture
def live(tmp_path: Path) -> Path:
    folder = tmp_path / "live"
    folder.mkdir()
    return folder


def test_what_a_kill_leaves_belongs_together(live: Path, tmp_path: Path) -> None:
    database = Database(live / "state.db")
    for n in range(30):
        database.run_now(add(20))
        if n % 7 == 0:
            checkpoint(live / "state.db")
        killed = tmp_path / f"killed-{n}"
        shutil.copytree(live, killed)
        assert put_right(killed) == []
        assert rows(killed / "state.db") == 20 * (n + 1)
    database.close()


def test_reading_changes_nothing(live: Path) -> None:
    database = Database(live / "state.db")
    database.run_now(add())
    size = (live / "state.db-wal").stat().st_size
    for _ in range(3):
        database.run_now(lambda connection: connection.execute("SELECT count(*) FROM things").fetchone())
    assert (live / "state.db-wal").stat().st_size == size
    database.close()


def test_a_log_that_is_newer_than_its_database_is_put_aside(live: Path, tmp_path: Path) -> None:
    database = Database(live / "state.db")
    database.run_now(add(50))
    checkpoint(live / "state.db")
    copied = tmp_path / "copied"
    copied.mkdir()
    shutil.copy(live / "state.db", copied)  # The copy begins: here with the database.
    database.run_now(add(50))
    checkpoint(live / "state.db")
    database.run_now(add(50))
    shutil.copy(live / "state.db-wal", copied)
    (said,) = put_right(copied)
    assert "are of two moments" in said and str(copied / "state.db-wal.damaged") in said
    assert rows(copied / "state.db") == 50, "as it was when the copy began"
    assert (copied / "state.db-wal.damaged").read_bytes() == (live / "state.db-wal").read_bytes()
    database.close()


def test_a_log_that_is_older_than_its_database_is_put_aside(live: Path, tmp_path: Path) -> None:
    database = Database(live / "state.db")
    database.run_now(add(50))
    copied = tmp_path / "copied"
    copied.mkdir()
    shutil.copy(live / "state.db-wal", copied)  # The copy begins: here with the log.
    checkpoint(live / "state.db")
    database.run_now(add(50))
    checkpoint(live / "state.db")
    shutil.copy(live / "state.db", copied)
    (copied / "state.db-wal.damaged").write_bytes(b"of an earlier time")
    assert len(put_right(copied)) == 1
    assert rows(copied / "state.db") == 100
    assert (copied / "state.db-wal.damaged").read_bytes() == b"of an earlier time"
    assert (copied / "state.db-wal-1.damaged").stat().st_size
    database.close()


def test_frames_that_sqlite_does_not_count_are_no_other_moment(live: Path, tmp_path: Path) -> None:
    """A loss of power may leave a page in the log that is not what was written, and its checksum tells."""
    database = Database(live / "state.db")
    database.run_now(add(10))
    checkpoint(live / "state.db")
    for _ in range(5):
        database.run_now(add(10))
    lost = tmp_path / "lost"
    shutil.copytree(live, lost)
    database.close()
    log = bytearray((lost / "state.db-wal").read_bytes())
    (second,) = (
        at for at in range(32 + 24 + 4096 - 4, len(log), 24 + 4096) if bytes(log[at : at + 4]) == b"\x02\x03\x02\x00"
    )  # The row of the first commit since, after that of opening and one more: its length, its key, and nothing else.
    log[second + 1] = 9
    (lost / "state.db-wal").write_bytes(log)
    assert put_right(lost) == []
    assert rows(lost / "state.db") == 10


def test_a_database_without_a_log_or_of_somebody_else_is_left_alone(live: Path) -> None:
    with closing(sqlite3.connect(live / "theirs.db")) as connection, connection:
        connection.execute("CREATE TABLE things (n)")
    (live / "broken.db").write_bytes(b"no database")
    (live / "broken.db-wal").write_bytes(b"no log" * 100)
    assert put_right(live) == []
    assert sorted(path.name for path in live.iterdir()) == ["broken.db", "broken.db-wal", "theirs.db"]


def test_a_log_that_began_anew_is_not_taken_for_that_of_a_file_in_which_there_is_nothing_yet(
    live: Path, tmp_path: Path
) -> None:
    """The file was copied when all was in its first log, and the log when that had begun anew."""
    copy = tmp_path / "copy"
    copy.mkdir()
    empty = tmp_path / "empty.db"
    with closing(sqlite3.connect(empty)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA user_version = 1")
    database = Database(live / "state.db")
    database.run_now(add(20))
    shutil.copy(empty, copy / "state.db")
    shutil.copy(live / "state.db-wal", copy)
    assert put_right(copy) == [], "the first log has everything"
    checkpoint(live / "state.db")
    database.run_now(add(20))
    shutil.copy(live / "state.db-wal", copy)
    (said,) = put_right(copy)
    assert "are of two moments" in said and not (copy / "state.db-wal").exists()
    database.close()
