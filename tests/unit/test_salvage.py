"""A damaged database is set aside, what can be read goes on, and what cannot is named."""

import shutil
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from bers import Database, schema_copy
from bers.checksums import checksum, connect, summed
from bers.opening import Synchronous
from bers.rescue import Rescue
from bers.salvage import KEPT, asides, put_in_place, report_of
from bers.schema_copy import Entry

FACTS = f"CREATE TABLE facts (n INTEGER PRIMARY KEY, fact TEXT, {summed('n, fact')})"


def fill(path: Path, rows: int = 1000) -> None:
    database = Database(path)
    database.run_now(lambda db: db.execute(FACTS))
    database.run_now(lambda db: db.execute("CREATE INDEX by_fact ON facts (fact)"))
    facts = [(n, f"fact {n} " + "x" * 50) for n in range(rows)]
    database.run_now(lambda db: db.executemany("INSERT INTO facts (n, fact) VALUES (?, ?)", facts))
    database.close()


def numbers(database: Database) -> list[int]:
    return [n for (n,) in database.run_now(lambda db: db.execute("SELECT n FROM facts ORDER BY n").fetchall())]


def page_of(path: Path, text: bytes) -> int:
    """Where the page of a table's rows begins that has a text; an index may have it as well."""
    content, spot = path.read_bytes(), 0
    while True:
        spot = content.index(text, spot + 1)
        if content[spot // 4096 * 4096] == 0x0D:
            return spot // 4096 * 4096


def overwrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def test_a_checksum_is_of_the_values_and_their_order_and_types() -> None:
    assert len({checksum(*row) for row in ((1, 2), (2, 1), (1.0, 2), ("1", 2), (b"1", 2), (None, 2), ("12",))}) == 7
    db = connect(":memory:")
    db.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, x REAL, y TEXT, z BLOB, {summed('id, x, y, z')})")
    db.execute("INSERT INTO t (x, y, z) VALUES (1, 'ä', x'00ff'), (2.5, NULL, NULL)")
    assert [checksum(*row) == found for *row, found in db.execute("SELECT * FROM t")] == [True, True]
    db.close()


def test_rows_around_a_hole_are_kept_and_the_hole_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    fill(path)
    spot = page_of(path, b"fact 500 ")
    overwrite(path, lambda content: content[:spot] + b"\xff" * 4096 + content[spot + 4096 :])
    damaged = path.read_bytes()
    database = Database(path)
    kept = numbers(database)
    assert kept[0] == 0 and kept[-1] == 999 and 900 < len(kept) < 1000 and 500 not in kept
    gap = [n for n in range(1000) if n not in kept]
    assert gap == list(range(gap[0], gap[-1] + 1))
    found = database.salvaged
    assert found and [str(one) for one in found.losses] == [
        f"facts: {len(kept)} rows kept, lost: rows between {gap[0] - 1} and {gap[-1] + 1}"
    ]
    assert "facts: " in report_of(found.aside).read_text() and found.aside.read_bytes() == damaged
    database.close()
    again = Database(path)
    assert numbers(again) == kept and again.salvaged is None
    again.close()


def test_a_row_whose_number_changed_costs_no_other_row_and_is_not_kept_under_the_wrong_one(tmp_path: Path) -> None:
    path, size, header = tmp_path / "state.db", b"\x02", b"\x02\x00"
    database = Database(path)
    database.run_now(lambda db: db.execute("CREATE TABLE facts (n INTEGER PRIMARY KEY)"))  # No checksum speaks for it.
    database.run_now(lambda db: db.executemany("INSERT INTO facts VALUES (?)", [(n,) for n in range(300)]))
    database.close()
    for wrong in (b"\x8f\x48", b"\x80\x48"):  # 1992 and 72, which were 200.
        row = size + b"\x81\x48" + header
        overwrite(path, lambda content, row=row, wrong=wrong: content.replace(row, size + wrong + header, 1))  # type: ignore[misc]
        database = Database(path)
        assert numbers(database) == [n for n in range(300) if n != 200]
        assert database.salvaged and str(database.salvaged.losses[0]).endswith("lost: rows between 199 and 201")
        database.run_now(lambda db: db.execute("INSERT INTO facts VALUES (200)"))
        database.close()


def test_a_row_that_was_changed_without_us_is_left_out_and_nobody_gets_a_wrong_answer(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    fill(path, rows=10)
    overwrite(path, lambda content: content.replace(b"fact 7 ", b"fict 7 ", 1))
    database = Database(path)
    assert numbers(database) == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert database.salvaged
    assert "facts: 9 rows kept, lost: 1 row that changed since being written" in str(database.salvaged)
    database.close()


def test_an_index_that_answers_wrongly_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    fill(path, rows=10)
    last = path.read_bytes().rindex(b"fact 7 ")  # Of the two, the row and the index, the one that was written later.
    overwrite(path, lambda content: content[:last] + b"fzct 7 " + content[last + 7 :])
    database = Database(path)
    ask = "SELECT n FROM facts INDEXED BY by_fact WHERE fact >= 'fact 7' AND fact < 'fact 8'"
    assert database.run_now(lambda db: db.execute(ask).fetchall()) == [(7,)]
    assert database.salvaged and not database.salvaged.losses
    database.close()


@pytest.mark.parametrize("content", [b"", b"S", b"this is no database" * 1000])
def test_a_file_of_which_nothing_is_left_is_begun_anew(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    fresh = Database(path)
    fresh.run_now(lambda db: db.execute(FACTS))
    assert numbers(fresh) == [] and "lost: everything in it" in str(fresh.salvaged)
    assert [aside.read_bytes() for aside in asides(path)] == [content]
    fresh.close()


def test_damage_that_is_met_at_work_fails_once_and_is_mended_at_the_next_call(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    fill(path)
    database = Database(path)
    spot = page_of(path, b"fact 500 ")
    database.run_now(lambda db: db.execute("PRAGMA cache_size = 0"))
    with path.open("r+b") as file:
        file.seek(spot)
        file.write(b"\xff" * 4096)
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        database.run_now(lambda db: db.execute("SELECT sum(length(fact)) FROM facts NOT INDEXED").fetchone())
    assert len(numbers(database)) > 900 and database.salvaged and database.salvaged.losses
    database.close()
    assert not path.with_name("state.db.suspect").exists()


def test_a_new_file_that_was_complete_takes_its_place_though_the_process_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    fill(path, rows=3)
    path.rename(tmp_path / "state.db.salvaged-20260101T000000Z")
    path.write_bytes(b"damaged")
    put_in_place(path)
    database = Database(path)
    assert numbers(database) == [0, 1, 2]
    assert (tmp_path / "state.db.damaged-20260101T000000Z").read_bytes() == b"damaged"
    database.close()


_DIES = """
import os, sys
from pathlib import Path
from bers import Database

left, path = int(sys.argv[1]), Path(sys.argv[2])

def look(event, args):
    global left
    writes = event == "open" and isinstance(args[1], str) and "w" in args[1]
    if writes or event in ("os.rename", "os.remove", "os.truncate", "shutil.copyfile", "sqlite3.connect"):
        left -= 1
        if not left:
            os._exit(9)

database = Database(path)
sys.addaudithook(look)
database.run_now(lambda _: None)
database.close()
"""


def test_a_process_that_is_killed_at_any_step_of_mending_leaves_all_there_is_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    fill(path, rows=10)
    overwrite(path, lambda content: content.replace(b"fact 7 ", b"fict 7 ", 1))
    damaged = path.read_bytes()
    for step in (6, *range(18, 100)):
        for one in tmp_path.iterdir():
            one.unlink()
        path.write_bytes(damaged)
        done = subprocess.run([sys.executable, "-c", _DIES, str(step), str(path)], capture_output=True, check=False)
        database = Database(path)
        assert numbers(database) == [0, 1, 2, 3, 4, 5, 6, 8, 9], (step, done.stderr)
        database.close()
        (aside,) = asides(path)
        assert aside.read_bytes() == damaged and report_of(aside).exists()
        assert {one.name for one in tmp_path.iterdir()} == {path.name, aside.name, report_of(aside).name}, step
        if done.returncode == 0:
            break
    else:
        raise AssertionError("it was never done")


def test_of_damaged_files_only_the_newest_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    for n in range(KEPT + 2):
        path.write_bytes(b"damaged %d" % n)
        database = Database(path)
        database.run_now(lambda _: None)
        database.close()
    assert [aside.read_bytes() for aside in asides(path)] == [b"damaged %d" % n for n in range(2, KEPT + 2)]
    assert len(list(tmp_path.glob("*.txt"))) == KEPT


def test_who_does_not_own_a_file_leaves_it_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database" * 1000)
    beside = Database(path, mends=False)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        beside.run_now(lambda _: None)
    assert [one.name for one in tmp_path.iterdir()] == ["state.db"]


def test_a_number_that_was_given_out_is_not_given_out_again_after_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database(path)
    database.run_now(lambda db: db.execute("CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT)"))
    for _ in range(3):
        database.run_now(lambda db: db.execute("INSERT INTO outbox (body) VALUES ('told')"))
    database.run_now(lambda db: db.execute("DELETE FROM outbox"))
    database.close()
    path.with_name("state.db.suspect").write_text("somebody met damage")
    again = Database(path)
    (number,) = again.run_now(
        lambda db: db.execute("INSERT INTO outbox (body) VALUES ('new') RETURNING seq").fetchone()
    )
    assert number > 1_700_000_000_000
    again.close()


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_a_log_of_a_file_that_was_much_larger_is_damage_that_is_mended(
    synchronous: Synchronous, tmp_path: Path
) -> None:
    """As in a copy by tar: the file as it was when it was small, and its log as it was when it had grown."""
    path, copy = tmp_path / "state.db", tmp_path / "copy" / "state.db"
    copy.parent.mkdir()
    fill(path, 10)
    shutil.copy(path, copy)
    with closing(connect(path, isolation_level=None)) as db:
        db.execute("BEGIN")
        db.executemany("INSERT INTO facts (n, fact) VALUES (?, ?)", [(n, "x" * 500) for n in range(10, 2000)])
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("INSERT INTO facts (n, fact) VALUES (2000, 'the last')")
        shutil.copy(f"{path}-wal", f"{copy}-wal")
    database = Database(copy, synchronous=synchronous)
    database.run_now(lambda db: db.execute("CREATE TABLE IF NOT EXISTS facts (n INTEGER PRIMARY KEY, fact TEXT)"))
    database.run_now(lambda db: db.execute("INSERT INTO facts (n, fact) VALUES (5000, 'goes on')"))
    assert "its log does not belong to it: database disk image is malformed" in str(database.salvaged)
    assert 5000 in numbers(database) and asides(copy)
    database.close()


def test_a_log_that_is_damaged_in_its_middle_is_said_to_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.db"
    database = Database(path)
    database.run_now(lambda db: db.execute(FACTS))
    for n in range(20):
        database.run_now(lambda db, n=n: db.execute("INSERT INTO facts (n, fact) VALUES (?, 'so')", (n,)))  # type: ignore[misc]
    middle = path.with_name("state.db-wal").stat().st_size // 2
    copy = left_behind(path, tmp_path / "copy", lambda log: log[:middle] + bytes([log[middle] ^ 1]) + log[middle + 1 :])
    database.close()
    damaged = Database(copy)
    kept = numbers(damaged)
    assert kept == list(range(len(kept))) and 0 < len(kept) < 20
    assert "its log is damaged after" in str(damaged.salvaged)
    damaged.close()


MAKING = """
import sys
from pathlib import Path
from bers import Database
sys.stdout.write("x")
sys.stdout.flush()
Database(Path(sys.argv[1]), layout={"page_size": 1024}).run_now(lambda db: None)
"""


def test_a_file_has_its_name_only_once_it_is_a_database(tmp_path: Path) -> None:
    """However early its maker is killed; here it is, at one moment after another."""
    for n in range(40):
        path = tmp_path / f"{n}.db"
        path.with_name(f"{n}.db-wal").write_bytes(b"of a file that is gone")
        with subprocess.Popen([sys.executable, "-c", MAKING, path], stdout=subprocess.PIPE) as process:
            assert process.stdout and process.stdout.read(1)
            time.sleep(n / 4000)
            process.kill()
        assert not path.exists() or path.stat().st_size >= 1024
        database = Database(path, layout={"page_size": 1024})
        assert database.run_now(lambda db: db.execute("PRAGMA page_size").fetchone()) == (1024,)
        assert database.salvaged is None
        database.close()
    assert {one.suffix for one in tmp_path.iterdir()} == {".db"}


@pytest.mark.parametrize(
    ("whole", "over"),
    [
        pytest.param(-4096, b"", id="only the head of its last page was written"),
        pytest.param(-1, b"", id="all but a byte"),
        pytest.param(-4096, b"x" * 4096, id="only its head, over a page of an earlier log"),
    ],
)
def test_a_commit_that_a_process_was_killed_in_is_none_and_no_damage(
    whole: int, over: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.db"
    database = Database(path)
    database.run_now(lambda db: db.execute(FACTS))
    database.run_now(lambda db: db.execute("INSERT INTO facts (n, fact) VALUES (0, 'kept')"))
    many = [(n, "x" * 1000) for n in range(1, 40)]
    database.run_now(lambda db: db.executemany("INSERT INTO facts (n, fact) VALUES (?, ?)", many))
    first = left_behind(path, tmp_path / "first", lambda log: log[:whole] + over)
    database.close()
    database = Database(first)
    assert numbers(database) == [0] and database.salvaged is None
    assert "its last commit was not written to its end" in caplog.text
    # What goes on over it is shorter: the rest of what was torn is no damage either, when that process is killed too.
    database.run_now(lambda db: db.execute("INSERT INTO facts (n, fact) VALUES (100, 'goes on')"))
    second = left_behind(first, tmp_path / "second")
    database.close()
    database = Database(second)
    assert numbers(database) == [0, 100] and database.salvaged is None
    database.close()


def test_a_last_commit_of_which_more_than_the_end_is_not_whole_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database(path)
    database.run_now(lambda db: db.execute(FACTS))
    many = [(n, "x" * 1000) for n in range(40)]
    database.run_now(lambda db: db.executemany("INSERT INTO facts (n, fact) VALUES (?, ?)", many))
    before_last = -(4096 + 24) - 1
    copy = left_behind(path, tmp_path / "copy", lambda log: log[:before_last] + b"x" + log[before_last + 1 :])
    database.close()
    damaged = Database(copy)
    damaged.run_now(lambda db: None)
    assert "its log is damaged after" in str(damaged.salvaged)
    damaged.close()


def left_behind(path: Path, folder: Path, change: Callable[[bytes], bytes] = bytes) -> Path:
    """A copy of a database and its log, as a process that is killed leaves them; the log may be changed."""
    folder.mkdir()
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    copy.with_name(f"{path.name}-wal").write_bytes(change(path.with_name(f"{path.name}-wal").read_bytes()))
    return copy


def test_rows_without_numbers_are_read_from_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    db = connect(path, isolation_level=None)
    db.execute("CREATE TABLE t (key TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID")
    db.execute("BEGIN")
    db.executemany("INSERT INTO t VALUES (?, ?)", [(f"{n:05}", "x" * 40) for n in range(2000)])
    db.execute("COMMIT")
    db.close()
    spot = path.read_bytes().index(b"01000x") // 4096 * 4096
    overwrite(path, lambda content: content[:spot] + b"\xff" * 4096 + content[spot + 4096 :])
    source = connect(path, isolation_level=None)
    rescue = Rescue(source, "t", ["key"], ["key"], has_sum=False)
    found = [key for (key,) in rescue]
    assert found[0] == "00000" and "01999" in found and "01000" not in found and 1800 < len(set(found)) == len(found)
    assert len(rescue.lost) == 1
    source.close()


def say_of_the_schema(path: Path, body: bytes) -> None:
    """Let the copy of a schema say something else, with the right checksum: as nobody's bit does, but somebody may."""
    Database(path).mend()
    with closing(connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE schema_copy SET body = ?", (body,))


@pytest.mark.parametrize(
    "sql", ["ATTACH DATABASE '{}' AS other", "VACUUM INTO '{}'", "COMMIT", "PRAGMA user_version = 9", "DROP TABLE t"]
)
def test_a_file_that_others_made_has_nothing_done_but_what_makes_tables(tmp_path: Path, sql: str) -> None:
    path, other = tmp_path / "state.db", tmp_path / "other"
    fill(path, rows=3)
    with closing(connect(path)) as connection:
        version, entries = schema_copy.cookie(connection), schema_copy.master(connection)
    entries += [Entry("table", "a", "a", 0, sql.format(other)), Entry("table", "b", "b", 0, "CREATE TABLE other.b (x)")]
    say_of_the_schema(path, zlib.compress(msgspec.msgpack.encode(schema_copy.Copy(*version, entries))))
    database = Database(path)
    assert numbers(database) == [0, 1, 2]
    assert database.salvaged and not other.exists()
    assert {one.table: one.kept for one in database.salvaged.losses} == {"a": 0, "b": 0}
    database.close()


@pytest.mark.parametrize("body", [b"", b"no zlib", zlib.compress(b"no schema"), zlib.compress(bytes(1 << 25))])
def test_a_copy_of_a_schema_that_says_nothing_costs_no_more_than_itself(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "state.db"
    fill(path, rows=3)
    say_of_the_schema(path, body)
    database = Database(path)
    assert numbers(database) == [0, 1, 2] and database.salvaged
    database.close()


@pytest.mark.parametrize("bit", [0x01, 0x20, 0x80])
def test_no_bit_of_the_name_of_a_table_keeps_a_file_from_being_opened(tmp_path: Path, bit: int) -> None:
    """SQLite does not mind whether letters are small, takes a text for bytes, and reads what is no UTF-8."""
    path = tmp_path / "state.db"
    fill(path, rows=3)
    sound = path.read_bytes()
    start = sound.index(b"tableschema_copyschema_copy")
    for spot in range(start - 8, start + 27):
        path.write_bytes(sound[:spot] + bytes([sound[spot] ^ bit]) + sound[spot + 1 :])
        database = Database(path)
        assert numbers(database) == [0, 1, 2], spot
        database.close()


@pytest.mark.parametrize("index", [True, False])
def test_rows_that_a_page_no_longer_counts_are_told(index: bool, tmp_path: Path) -> None:
    """SQLite reads such a page without an error, and finds fault with it only when it looks at everything."""
    path = tmp_path / "whole.db"
    fill(path)
    if not index:
        with closing(connect(path)) as connection, connection:
            connection.execute("DROP INDEX by_fact")
    content, lost = path.read_bytes(), 0
    for page in range(4096, len(content), 4096):
        cells = int.from_bytes(content[page + 3 : page + 5], "big")
        if content[page] not in (0x02, 0x05, 0x0A, 0x0D) or cells < 2:
            continue
        for fewer in (cells - 1, cells // 2):
            damaged = tmp_path / f"{page}-{fewer}.db"
            damaged.write_bytes(content[: page + 3] + fewer.to_bytes(2, "big") + content[page + 5 :])
            database = Database(damaged)
            missing = 1000 - len(numbers(database))
            said = [str(one) for one in database.salvaged.losses] if database.salvaged else []
            lost += missing > 0
            if index:
                told = f"lost: {missing} rows of which only an index knows".replace("1 rows", "1 row")
                assert (missing > 0) == any(told in one for one in said if one.startswith("facts: ")), (page, said)
            elif missing:
                assert any(one.startswith("facts: ") and "lost: perhaps some rows" in one for one in said), (page, said)
            database.close()
    assert lost > 10
