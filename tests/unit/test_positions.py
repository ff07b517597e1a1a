"""Positions are moved with the data, or not at all."""

import sqlite3
from collections.abc import Generator
from pathlib import Path

import pytest

from bers import Conflict, Database, Positions


@pytest.fixture
def database(tmp_path: Path) -> Generator[Database]:
    one = Database(tmp_path / "state.db")
    one.run_now(lambda db: db.execute("CREATE TABLE facts (fact TEXT)"))
    yield one
    one.close()


def facts(database: Database) -> list[str]:
    return [row[0] for row in database.run_now(lambda db: db.execute("SELECT fact FROM facts").fetchall())]


def tell(db: sqlite3.Connection, fact: str) -> None:
    db.execute("INSERT INTO facts VALUES (?)", (fact,))


async def test_a_position_begins_once_and_survives(database: Database) -> None:
    assert await Positions(database, "store").begin("metrics", 0, 7) == 7
    assert await Positions(database, "store").begin("metrics", 0, 99) == 7
    assert await Positions(database, "other").begin("metrics", 0, 1) == 1


async def test_a_position_moves_with_the_data_or_not_at_all(database: Database) -> None:
    positions = Positions(database, "store")
    await positions.begin("metrics", 0, 0)

    def work(db: sqlite3.Connection) -> None:
        tell(db, "fact")
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
        tell(db, "twice")
        mine.move(db, "metrics", 0, 3)

    with pytest.raises(Conflict, match=r"the position of pipeline 'metrics' in 'store' was moved by somebody else"):
        await database.run(work)
    assert facts(database) == []
