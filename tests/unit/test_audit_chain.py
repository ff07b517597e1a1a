"""The chain of the audit: whatever is done to its rows behind the node's back shows, and where."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from bers import Caller, Database
from bers import audit_chain as chain
from bers.audit import Audit, anchor_of, prove_offline
from bers.audit_chain import Row, Signer
from bers.checksums import connect
from bers.testing import VirtualClock

KEY = b"k" * 32
DAY = 86_400_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


async def fill(path: Path, clock: VirtualClock, rows: int = 9, key: bytes | None = KEY) -> None:
    """So many rows, a second apart."""
    state = Database(path)
    audit = Audit(state, clock, key=(lambda: key) if key else None)
    for n in range(rows):
        await audit.record(Caller("ada", "10.0.0.1"), f"POST /{n}", "done", notes='é \u2028 "quoted"')
        await clock.advance(1)
    state.close()


def tamper(path: Path, *statements: str) -> None:
    """Change the file as somebody does who knows how it is made."""
    with closing(connect(path, isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount, statement


def first_fault(path: Path, key: bytes | None = KEY) -> tuple[int, str]:
    report = prove_offline(path, key)
    assert not report.sound
    assert all(one.fault and one.remedy for one in report.faults)
    return report.faults[0].row, report.faults[0].kind


async def test_what_nobody_touched_is_sound(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    report = prove_offline(path, KEY)
    assert report.sound
    assert (report.rows, report.first, report.last, report.sealed) == (9, 1, 9, 9)
    assert prove_offline(path, None).sound, "the chain alone can be looked at by whoever has no key"


async def test_anybody_can_verify_it_with_a_few_lines(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    page = (Path(__file__).parents[2] / "docs/how-to/secure.md").read_text(encoding="utf-8")
    (program,) = [text.partition("```")[0] for text in page.split("```python\n")[1:] if "audit_chain" in text]
    look = compile(program.replace(".bers/state.db", str(path)), "secure.md", "exec")
    exec(look)
    tamper(path, "UPDATE audit_chain SET notes = 'x' WHERE seq = 5")
    with pytest.raises(AssertionError, match="row 5 was changed"):
        exec(look)


@pytest.mark.parametrize("column", ["time", "principal", "address", "operator", "action", "target", "notes", "outcome"])
async def test_a_row_that_was_changed_is_named(path: Path, clock: VirtualClock, column: str) -> None:
    await fill(path, clock)
    tamper(path, f"UPDATE audit_chain SET {column} = 1 WHERE seq = 5")
    assert first_fault(path) == (5, "changed")


async def test_a_row_that_was_deleted_is_named(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    tamper(path, "DELETE FROM audit_chain WHERE seq IN (4, 5)")
    assert first_fault(path) == (4, "missing")
    assert "rows 4 to 5 are missing" in prove_offline(path, KEY).faults[0].fault


async def test_rows_that_changed_places_are_named(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    tamper(path, *(f"UPDATE audit_chain SET seq = {new} WHERE seq = {old}" for old, new in ((4, 99), (5, 4), (99, 5))))
    assert first_fault(path) == (4, "changed")


async def test_a_row_that_was_put_in_between_is_named(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    columns = "time, principal, address, operator, action, target, notes, outcome, previous, hash, signer, seal"
    moves = [f"UPDATE audit_chain SET seq = {n + 1} WHERE seq = {n}" for n in range(9, 5, -1)]
    tamper(path, *moves, f"INSERT INTO audit_chain (seq, {columns}) SELECT 6, {columns} FROM audit_chain WHERE seq = 5")
    assert first_fault(path) == (6, "changed")


async def test_a_tail_that_was_cut_off_is_noticed(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    tamper(path, "DELETE FROM audit_chain WHERE seq > 7")
    assert first_fault(path) == (8, "missing")
    await fill(path, clock, rows=2)
    assert first_fault(path) == (8, "missing"), "it does not heal when the node goes on"


async def test_all_rows_that_were_deleted_are_noticed(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    tamper(path, "DELETE FROM audit_chain")
    assert first_fault(path) == (1, "missing")


async def test_a_tail_cut_off_with_the_mark_of_its_end_is_noticed_with_the_key(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    tamper(
        path, "DELETE FROM audit_chain WHERE seq > 7",
        "UPDATE audit_head SET seq = 7, hash = (SELECT hash FROM audit_chain WHERE seq = 7)",
    )  # fmt: skip
    assert first_fault(path) == (7, "end")
    assert prove_offline(path, None).sound, "who has no key cannot tell"
    await fill(path, clock, rows=1)
    assert first_fault(path) == (8, "end"), "the node says so when it goes on"
    assert [row.action for row in _rows(path)][-2:] == ["audit/broken", "POST /0"]


async def test_where_the_mark_of_the_end_is_gone_the_node_says_so(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    tamper(path, "DELETE FROM audit_chain WHERE seq > 7", "DELETE FROM audit_head")
    assert first_fault(path) == (7, "end")
    await fill(path, clock, rows=1)
    assert first_fault(path) == (8, "end")


async def test_whoever_writes_all_hashes_anew_needs_the_key(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    _rewrite(path, 3, Signer(b"x" * 32))
    assert prove_offline(path, None).sound, "the chain alone shows nothing"
    assert first_fault(path) == (3, "unsealed")
    _rewrite(path, 3, Signer(b""))
    assert first_fault(path) == (3, "unsealed")


async def test_with_the_key_only_what_was_noted_elsewhere_shows_it(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    before = prove_offline(path, KEY)
    _rewrite(path, 3, Signer(KEY))
    assert prove_offline(path, KEY).sound, "a key that lies beside the rows keeps nobody who has both"
    report = prove_offline(path, KEY, (9, before.hash))
    assert [(one.row, one.kind) for one in report.faults] == [(9, "changed")]


async def test_an_end_that_was_noted_is_missed_when_it_is_gone(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    noted = prove_offline(path, KEY)
    assert noted.last == 9
    assert prove_offline(path, KEY, anchor_of(f"9:{noted.hash.upper()}")).sound
    path.unlink()
    await fill(path, clock, rows=3)
    report = prove_offline(path, KEY, (9, noted.hash))
    assert [(one.row, one.kind) for one in report.faults] == [(9, "missing")]


@pytest.mark.parametrize("text", ["", "9", "x:y", "9:abc", f"-1:{'0' * 64}"])
def test_what_is_no_end_of_a_chain_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no end of the chain"):
        anchor_of(text)


async def test_a_flipped_bit_is_damage_and_no_accusation(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock, rows=40)
    whole, seen = path.read_bytes(), set[str]()
    places = [at for at in range(len(whole)) if whole[at : at + 5] == b"POST "]
    for at in places:
        for offset, bit in ((5, 1), (6, 64), (-40, 4)):
            path.write_bytes(whole[: at + offset] + bytes([whole[at + offset] ^ bit]) + whole[at + offset + 1 :])
            report = prove_offline(path, KEY)
            seen |= {one.kind for one in report.faults}
    assert len(places) >= 40
    assert seen == {"damaged"}


async def test_what_a_mended_file_lost_is_a_gap_that_is_marked(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock, rows=30)
    whole = path.read_bytes()
    at = whole.index(b"POST /12")
    path.write_bytes(whole[:at] + b"PAST" + whole[at + 4 :])
    assert first_fault(path) == (13, "damaged")
    state = Database(path)
    audit = Audit(state, clock, key=lambda: KEY)
    await audit.begin()
    report = await audit.prove()
    assert report.sound, report.faults
    (note,) = report.notes
    assert "missing: row 13: a damaged file was mended, and is kept as state.db.damaged-" in note
    state.close()
    tamper(path, "DELETE FROM audit_chain WHERE seq = 20")
    assert first_fault(path) == (20, "missing"), "what is deleted later is no part of that"


async def test_rows_that_vanished_with_a_mended_file_are_a_gap_though_nobody_saw_them_go(
    path: Path, clock: VirtualClock
) -> None:
    await fill(path, clock)
    tamper(path, "DELETE FROM audit_chain WHERE seq = 5")
    path.write_bytes(b"?" + path.read_bytes()[1:])
    await fill(path, clock, rows=1)
    report = prove_offline(path, KEY)
    assert report.sound, report.faults
    assert "missing: row 5: a damaged file was mended" in report.notes[0]
    assert report.notes[0].endswith("lost: nothing that is known")


async def test_a_mended_file_that_lost_its_end_says_so(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock, rows=30)
    whole = path.read_bytes()
    for text in (b"POST /28", b"POST /29"):
        at = whole.index(text)
        whole = whole[:at] + b"PAST" + whole[at + 4 :]
    path.write_bytes(whole)
    await fill(path, clock, rows=1)
    report = prove_offline(path, KEY)
    assert report.sound, report.faults
    assert "missing: rows 29 to 30: a damaged" in report.notes[0]


async def test_a_file_of_which_nothing_was_left_begins_with_a_gap(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock, rows=30)
    path.write_bytes(b"\0" * 8192)
    await fill(path, clock, rows=1)
    report = prove_offline(path, KEY)
    assert report.sound, report.faults
    assert "row 1: rows may be missing: a damaged file was mended" in report.notes[0]


async def test_old_rows_are_pruned_and_the_chain_is_whole(path: Path, clock: VirtualClock) -> None:
    state = Database(path)
    audit = Audit(state, clock, key=lambda: KEY)
    before = int(clock.time() * 1000)
    for n in range(12):
        await audit.record(Caller("ada"), f"POST /{n}", "done")
        await clock.advance(86_400)
    prune: Callable[[int, int], object] = lambda upto, most: state.run_now(  # noqa: E731
        partial(chain.prune, before=upto, now=int(clock.time() * 1000), most=most, signer=Signer(KEY))
    )
    assert prune(before, 100) == 0
    assert prune(before + 3 * DAY, 100) == 3
    assert (await audit.prove()).first == 4
    assert prune(before + 8 * DAY, 2) == 2, "in slices, so that nobody waits for long"
    assert prune(before + 8 * DAY, 100) == 3
    report = await audit.prove()
    assert report.sound and report.first == 9, report.faults
    assert (await audit.prove((8, (await audit.entries(100))[-1].previous))).sound, "what was noted of a pruned row"
    assert "is older than the audit is kept" in (await audit.prove((2, "0" * 64))).notes[-1]
    state.close()
    tamper(path, "DELETE FROM audit_chain WHERE seq = 9")
    assert first_fault(path) == (9, "missing")


async def test_an_audit_of_which_everything_is_old_keeps_the_word_of_it(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock)
    await clock.advance(1000 * 86_400)
    state = Database(path)
    assert state.run_now(
        partial(chain.prune, before=int(clock.time() * 1000), now=1, most=5000, signer=Signer(KEY))
    ) == 9  # fmt: skip
    state.close()
    report = prove_offline(path, KEY)
    assert report.sound and (report.rows, report.first) == (1, 10), report.faults


async def test_rows_of_an_older_version_are_chained_at_the_first_opening(path: Path, clock: VirtualClock) -> None:
    state = Database(path)

    def old(connection: sqlite3.Connection) -> None:
        connection.execute(
            "CREATE TABLE audit (id INTEGER PRIMARY KEY, time REAL NOT NULL, principal TEXT NOT NULL, "
            "address TEXT NOT NULL, action TEXT NOT NULL, outcome TEXT NOT NULL)"
        )
        connection.execute(
            "CREATE TABLE alert_audit (seq INTEGER PRIMARY KEY AUTOINCREMENT, stage TEXT NOT NULL, "
            "time INTEGER NOT NULL, alert TEXT NOT NULL, action TEXT NOT NULL, operator TEXT NOT NULL, "
            "principal TEXT NOT NULL, notes TEXT NOT NULL, address TEXT NOT NULL)"
        )
        connection.execute("INSERT INTO audit VALUES (1, 10.5, 'ada', '::1', 'POST /a', 'done')")
        connection.execute("INSERT INTO audit VALUES (2, 30.0, 'ada', '::1', 'POST /b', 'invalid')")
        connection.execute(
            "INSERT INTO alert_audit VALUES (1, 'alert-engine', 20000, 'a1', 'resolve', 'ops', 'key', 'done it', '::1')"
        )

    await state.run(old)
    audit = Audit(state, clock, key=lambda: KEY)
    await audit.begin()
    found = [(row.id, row.time, row.operator, row.action, row.target, row.outcome) for row in await audit.entries()]
    assert found[::-1] == [
        (1, 10_500, "", "POST /a", "", "done"),
        (2, 20_000, "ops", "alerts/resolve", "a1", "done"),
        (3, 30_000, "", "POST /b", "", "invalid"),
        (4, 1_700_000_000_000, "", "audit/moved", "1-3", found[0][-1]),
    ]
    report = await audit.prove()
    assert report.sound and "nothing vouches for it" in report.notes[0]
    tables = await state.run(lambda one: {name for (name,) in one.execute("SELECT name FROM sqlite_master")})
    assert not tables & {"audit", "alert_audit"}
    state.close()


async def test_another_key_is_told_and_what_it_sealed_stays_bound(path: Path, clock: VirtualClock) -> None:
    await fill(path, clock, rows=3)
    await fill(path, clock, rows=3, key=b"n" * 32)
    report = prove_offline(path, b"n" * 32)
    assert report.sound and report.sealed == 4, report.faults
    assert any("rows 1 to 3 are sealed with a key that is not here" in note for note in report.notes)
    tamper(path, "DELETE FROM audit_chain WHERE seq = 2")
    assert first_fault(path, b"n" * 32) == (2, "missing")


async def test_two_processes_write_one_chain(path: Path, clock: VirtualClock) -> None:
    one, other = Database(path), Database(path)
    audits = [Audit(state, clock, key=lambda: KEY) for state in (one, other)]
    for n in range(20):
        await audits[n % 2].record(Caller(), f"POST /{n}", "done")
    assert (await audits[0].prove()).sound
    one.close()
    other.close()


async def test_text_that_no_database_takes_is_written_all_the_same(path: Path, clock: VirtualClock) -> None:
    state = Database(path)
    audit = Audit(state, clock, key=lambda: KEY)
    await audit.record(Caller("\ud800"), "POST /\udfff\0x", "done")
    assert (await audit.prove()).sound
    state.close()


async def test_whatever_is_done_to_the_rows_shows_at_the_first_of_them(path: Path, clock: VirtualClock) -> None:
    """Random changes by somebody without the key, who renews every checksum and what hashes they like."""
    await fill(path, clock, rows=12)
    whole, draw = path.read_bytes(), random.Random(5)
    for _ in range(150):
        path.write_bytes(whole)
        rows = _rows(path)
        changed, lowest = _mischief(rows, draw)
        if changed == rows:
            continue
        with closing(connect(path, isolation_level=None)) as connection:
            connection.execute("DELETE FROM audit_chain")
            places = ", ".join("?" * 13)
            columns = ", ".join(Row._fields[:-1])
            connection.executemany(
                f"INSERT INTO audit_chain ({columns}) VALUES ({places})", [row[:-1] for row in changed]
            )
        report = prove_offline(path, KEY)
        assert not report.sound
        assert report.faults[0].row == lowest


def _mischief(rows: list[Row], draw: random.Random) -> tuple[list[Row], int]:
    """Rows as somebody left them, and the number of the first that cannot be right."""
    rows, at = list(rows), draw.randrange(len(rows))
    seq = rows[at].seq
    match draw.choice(["delete", "edit", "rehash", "cut"]):
        case "delete":
            del rows[at]
        case "edit":
            rows[at] = rows[at]._replace(notes="nothing to see")
        case "rehash":
            edited = rows[at]._replace(outcome="refused")
            rows[at] = edited._replace(hash=edited.digest)
        case _:
            del rows[at:]
    return rows, seq


def _rows(path: Path) -> list[Row]:
    with closing(connect(path, read_only=True)) as connection:
        return chain.rows(connection, 0, 1000)


def _rewrite(path: Path, at: int, signer: Signer) -> None:
    """Change a row, and write every hash and seal from there on as the signer would."""
    previous = ""
    with closing(connect(path, isolation_level=None)) as connection:
        for row in chain.rows(connection, 0, 1000):
            if row.seq >= at:
                row = row._replace(previous=previous, principal="mallory" if row.seq == at else row.principal)
                hash = row.digest
                connection.execute(
                    "UPDATE audit_chain SET principal = ?, previous = ?, hash = ?, signer = ?, seal = ? WHERE seq = ?",
                    (row.principal, previous, hash, signer.name, signer.seal(hash), row.seq),
                )
                previous = hash
                connection.execute(
                    "UPDATE audit_head SET hash = ?, signer = ?, seal = ?",
                    (hash, signer.name, signer.seal_end(row.seq, hash)),
                )
            else:
                previous = row.hash
