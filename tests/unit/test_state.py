"""A call is one transaction; positions are moved with the data, or not at all."""

import sqlite3
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import anyio
import pytest

from bers import Conflict, Database, Positions, Refused
from bers.checksums import connect
from bers.state import highest_position, keep_positions, lowest_position, synced_position


@pytest.fixture
def database(tmp_path: Path) -> Generator[Database]:
    one = Database(tmp_path / "deep" / "state.db")
    one.run_now(lambda db: db.execute("CREATE TABLE facts (fact TEXT)"))
    yield one
    one.close()


def facts(database: Database) -> list[str]:
    return [row[0] for row in database.run_now(lambda db: db.execute("SELECT fact FROM facts").fetchall())]


def tell(*what: str) -> Callable[[sqlite3.Connection], Any]:
    return lambda db: db.executemany("INSERT INTO facts VALUES (?)", [(one,) for one in what])


async def test_a_transaction_is_all_or_nothing(database: Database) -> None:
    def half(db: sqlite3.Connection) -> None:
        tell("half")(db)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await database.run(half)
    await database.run(tell("whole"))
    assert facts(database) == ["whole"]


async def test_a_commit_that_fails_leaves_nothing_behind_and_the_next_succeeds(database: Database) -> None:
    def strict(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        db.execute("CREATE TABLE children (id INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
        db.execute("COMMIT")  # The pragma is heard only outside a transaction.
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("BEGIN")

    await database.run(strict)
    with pytest.raises(sqlite3.IntegrityError):
        await database.run(lambda db: db.execute("INSERT INTO children VALUES (1)"))
    await database.run(tell("next"))
    assert facts(database) == ["next"]


async def test_transactions_happen_one_after_another(database: Database) -> None:
    async with anyio.create_task_group() as group:
        for n in range(20):
            group.start_soon(database.run, tell(f"a{n}", f"b{n}"))
    found = facts(database)
    assert [one[1:] for one in found[::2]] == [one[1:] for one in found[1::2]]
    assert len(found) == 40


def test_a_closed_database_kept_its_data_and_answers_nobody(database: Database) -> None:
    database.run_now(tell("kept"))
    database.close()
    with pytest.raises(Refused, match=r"state\.db is closed: its stage has stopped$"):
        facts(database)
    assert database.path
    again = Database(database.path)
    assert facts(again) == ["kept"]
    again.close()


async def test_a_position_begins_once_and_survives(database: Database) -> None:
    assert await Positions(database, "store").begin("metrics", 0, 7) == 7
    assert await Positions(database, "store").begin("metrics", 0, 99) == 7
    assert await Positions(database, "other").begin("metrics", 0, 1) == 1


async def test_a_position_moves_with_the_data_or_not_at_all(database: Database) -> None:
    positions = Positions(database, "store")
    await positions.begin("metrics", 0, 0)

    def work(db: sqlite3.Connection) -> None:
        tell("fact")(db)
        positions.move(db, "metrics", 0, 5)

    await database.run(work)
    positions.moved("metrics", 0, 5)
    assert positions.held("metrics", 0) == 5
    assert await Positions(database, "store").begin("metrics", 0, 0) == 5


async def test_a_position_that_somebody_else_moved_is_a_conflict_and_keeps_nothing(database: Database) -> None:
    mine, theirs = Positions(database, "store"), Positions(database, "store")
    for one in (mine, theirs):
        await one.begin("metrics", 0, 0)
    await database.run(lambda db: theirs.move(db, "metrics", 0, 3))

    def work(db: sqlite3.Connection) -> None:
        tell("twice")(db)
        mine.move(db, "metrics", 0, 3)

    with pytest.raises(Conflict, match=r"the position of pipeline 'metrics' in 'store' was moved by somebody else"):
        await database.run(work)
    assert facts(database) == []


async def hold(path: Path, sink: str, reader: str, at: int) -> None:
    database = Database(path)
    await Positions(database, sink).begin(reader, 0, at)
    database.close()


READERS = {("store", "metrics"), ("alerts", "alerts")}


async def test_the_extremes_are_found_over_all_databases(tmp_path: Path) -> None:
    assert (highest_position(tmp_path), lowest_position(tmp_path, READERS)) == (0, None)
    await hold(tmp_path / "metrics.db", "store", "metrics", 12)
    await hold(tmp_path / "state.db", "alerts", "alerts", 30)
    sqlite3.connect(tmp_path / "foreign.db").close()
    assert (highest_position(tmp_path), lowest_position(tmp_path, READERS)) == (30, 12)


async def test_nothing_is_given_up_while_a_sink_cannot_say_where_it_stands(tmp_path: Path) -> None:
    await hold(tmp_path / "state.db", "alerts", "alerts", 30)
    assert lowest_position(tmp_path, READERS) is None
    (tmp_path / "metrics.db").write_bytes(b"this is no database at all, however long it is" * 100)
    assert (highest_position(tmp_path), lowest_position(tmp_path, READERS)) == (30, None)
    assert lowest_position(tmp_path, {("alerts", "alerts")}) is None


async def test_a_pipeline_that_is_gone_gives_its_position_up(tmp_path: Path) -> None:
    for reader, at in (("old", 3), ("metrics", 12)):
        await hold(tmp_path / "metrics.db", "store", reader, at)
    keep_positions(tmp_path, [("store", "metrics"), ("store", "new")])
    assert lowest_position(tmp_path, {("store", "metrics")}) == 12
    assert lowest_position(tmp_path, {("store", "old")}) is None


async def test_a_position_that_is_not_synced_yet_holds_the_journal(tmp_path: Path) -> None:
    await hold(tmp_path / "metrics.db", "store", "metrics", 12)
    writer = connect(tmp_path / "metrics.db")
    reader = sqlite3.connect(tmp_path / "metrics.db")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM positions").fetchall()  # An open reader keeps the log from being moved past it.
    writer.execute("UPDATE positions SET position = 20")
    writer.commit()
    assert lowest_position(tmp_path, {("store", "metrics")}) is None
    reader.close()
    assert lowest_position(tmp_path, {("store", "metrics")}) == 20
    writer.close()


async def test_positions_of_dead_letters_live_with_their_pipeline_and_are_none_of_the_journal(tmp_path: Path) -> None:
    for reader, at in (("metrics", 12), ("dead-letters/metrics", 500), ("dead-letters/old", 3)):
        await hold(tmp_path / "metrics.db", "store", reader, at)
    assert highest_position(tmp_path) == 12
    keep_positions(tmp_path, [("store", "metrics")])
    assert synced_position(tmp_path, "store", "dead-letters/metrics") == 500
    assert synced_position(tmp_path, "store", "dead-letters/old") is None
    assert synced_position(tmp_path, "other", "dead-letters/metrics") is None
