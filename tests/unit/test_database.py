"""A call is one transaction."""

import sqlite3
import threading
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
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


# Together


def commits(database: Database) -> int:
    return int(database.run_now(lambda db: db.execute("SELECT number FROM commits").fetchone()[0]))


async def test_short_transactions_that_wait_together_share_one(database: Database) -> None:
    before = commits(database)
    async with anyio.create_task_group() as group:
        for n in range(20):
            group.start_soon(partial(database.run, tell(f"a{n}"), shared=True))
    assert sorted(facts(database)) == sorted(f"a{n}" for n in range(20))
    assert commits(database) - before == 2, "the first did not wait for the others"


async def test_each_gets_its_own_answer(database: Database) -> None:
    answers: dict[int, int] = {}

    async def ask(n: int) -> None:
        answers[n] = await database.run(lambda db: int(db.execute("SELECT ?", (n,)).fetchone()[0]), shared=True)

    async with anyio.create_task_group() as group:
        for n in range(100):
            group.start_soon(ask, n)
    assert answers == {n: n for n in range(100)}


async def test_one_that_fails_spoils_nothing_for_those_it_would_have_shared_with(database: Database) -> None:
    failed: list[str] = []

    def half(db: sqlite3.Connection) -> None:
        tell("half")(db)
        raise RuntimeError("stop")

    async def fail() -> None:
        try:
            await database.run(half, shared=True)
        except RuntimeError as exc:
            failed.append(str(exc))

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: database.run(tell("first"), shared=True))
        group.start_soon(lambda: database.run(tell("before"), shared=True))
        group.start_soon(fail)
        group.start_soon(lambda: database.run(tell("after"), shared=True))
    assert facts(database) == ["first", "before", "after"]
    assert failed == ["stop"]


async def test_one_that_is_cancelled_while_it_waits_was_never_done_and_the_next_is(database: Database) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hold(db: sqlite3.Connection) -> None:
        inside.set()
        assert go_on.wait(30)

    async with anyio.create_task_group() as group:
        group.start_soon(database.run, hold)
        assert await anyio.to_thread.run_sync(inside.wait, 30)
        with anyio.CancelScope() as leaving:  # It would lead, and waits for the thread.
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(lambda: database.run(tell("leader"), shared=True))
                waiting.start_soon(lambda: database.run(tell("led"), shared=True))
                await anyio.wait_all_tasks_blocked()
                leaving.cancel()
        group.start_soon(lambda: database.run(tell("next"), shared=True))
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    assert facts(database) == ["next"]


async def test_one_that_is_cancelled_while_it_is_done_is_done_and_says_so(database: Database) -> None:
    inside, go_on = threading.Event(), threading.Event()
    answered: list[str] = []

    def slow(db: sqlite3.Connection) -> str:
        tell("slow")(db)
        inside.set()
        assert go_on.wait(30)
        return "done"

    async def follow() -> None:
        answered.append(await database.run(slow, shared=True))

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: database.run(tell("first"), shared=True))
        with anyio.CancelScope() as leaving:
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(lambda: database.run(tell("leads"), shared=True))
                waiting.start_soon(follow)
                assert await anyio.to_thread.run_sync(inside.wait, 30)
                leaving.cancel()
                await anyio.lowlevel.cancel_shielded_checkpoint()
                go_on.set()
    assert facts(database) == ["first", "leads", "slow"]
    assert answered == ["done"]


async def test_who_reads_beside_writers_sees_what_was_committed_and_writes_nothing(database: Database) -> None:
    def look(db: sqlite3.Connection) -> list[str]:
        found = [row[0] for row in db.execute("SELECT fact FROM facts")]
        looked.set()
        assert told.wait(30)
        return found + [row[0] for row in db.execute("SELECT fact FROM facts")]

    async def read() -> None:
        seen.extend(await database.read(look))

    looked, told, seen = threading.Event(), threading.Event(), list[str]()
    await database.run(tell("one"))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.to_thread.run_sync(looked.wait)
            await database.run(tell("two"))  # It does not wait, or it would do so for ever.
            told.set()
    assert seen == ["one", "one"]
    assert await database.read(lambda db: db.execute("SELECT count(*) FROM facts").fetchone()) == (2,)


async def test_what_turns_out_to_write_while_it_reads_is_done_where_it_may(database: Database) -> None:
    await database.read(tell("read"))
    assert facts(database) == ["read"]


async def test_who_reads_is_refused_once_the_database_is_closed_and_the_log_is_brought_in(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db")
    await database.run(lambda db: db.execute("CREATE TABLE facts (fact TEXT)"))
    await database.read(lambda db: db.execute("SELECT * FROM facts").fetchall())
    await database.shut()
    assert [one.name for one in tmp_path.iterdir()] == ["state.db"]
    with pytest.raises(Refused, match="is closed"):
        await database.read(lambda db: db.execute("SELECT * FROM facts").fetchall())


async def test_memory_is_read_by_its_one_connection() -> None:
    database = Database()
    await database.run(lambda db: db.execute("CREATE TABLE facts (fact TEXT)"))
    assert await database.read(lambda db: db.execute("SELECT * FROM facts").fetchall()) == []
    await database.shut()
