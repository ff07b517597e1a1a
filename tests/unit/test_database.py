"""A call is one transaction."""

import sqlite3
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import anyio
import pytest

from bers import Database, Refused


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
