"""There are two copies of each position, so that neither a flipped bit nor an old file makes figures wrong."""

import sqlite3
from pathlib import Path

import pytest

from bers import Database, Event, Positions
from bers.all_positions import highest_position, lowest_position
from bers.checksums import connect
from bers.log import Log
from bers.salvage import asides, report_of


async def hold(path: Path, at: int) -> None:
    database = Database(path)
    await Positions(database, "store").begin("metrics", 0, at)
    await database.run(lambda db: db.execute("CREATE TABLE facts (fact TEXT)"))
    await database.run(lambda db: db.execute("INSERT INTO facts VALUES ('kept')"))
    database.close()


def change_copy(path: Path, table: str, position: int) -> None:
    """Write a wrong position without its checksum being told, as a flipped bit does."""
    db = connect(path, isolation_level=None)
    (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    db.close()
    content = bytearray(path.read_bytes())
    start = (root - 1) * 4096
    spot = content.index(b"storemetrics", start, start + 4096) + len(b"storemetrics")
    assert content[spot] == 77
    content[spot] = position
    path.write_bytes(content)


@pytest.mark.parametrize("table", ["positions", "positions_again"])
async def test_a_position_of_which_one_copy_is_damaged_is_known_from_the_other(table: str, tmp_path: Path) -> None:
    await hold(tmp_path / "metrics.db", 77)
    change_copy(tmp_path / "metrics.db", table, 99)
    assert highest_position(tmp_path) == 77
    assert lowest_position(tmp_path, {("store", "metrics")}) == 77
    database = Database(tmp_path / "metrics.db")
    assert await Positions(database, "store").begin("metrics", 0, 5) == 77
    both = "SELECT position FROM positions UNION ALL SELECT position FROM positions_again"
    assert await database.run(lambda db: db.execute(both).fetchall()) == [(77,), (77,)]
    database.close()


async def test_a_position_that_is_lost_goes_on_at_the_end_of_the_journal_and_the_gap_is_named(tmp_path: Path) -> None:
    async with Log(tmp_path / "journal", begin=70) as bus:
        for n in range(10):
            await bus.append(0, [Event(id=f"e-{n}", source="ci", type="t", time=1.0)])
    await hold(tmp_path / "metrics.db", 77)
    for table in ("positions", "positions_again"):
        change_copy(tmp_path / "metrics.db", table, 99)
    assert (highest_position(tmp_path), lowest_position(tmp_path, {("store", "metrics")})) == (0, None)
    database = Database(tmp_path / "metrics.db")
    assert await Positions(database, "store").begin("metrics", 0, 70) == 80
    assert await database.run(lambda db: db.execute("SELECT fact FROM facts").fetchall()) == [("kept",)]
    report = report_of(asides(tmp_path / "metrics.db")[0]).read_text()
    assert "'metrics' in 'store' was lost: it goes on at 80, and events between positions 70 and 80 may be" in report
    database.close()


async def test_positions_of_a_file_from_before_checksums_are_taken_over(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "metrics.db")
    old.execute(
        "CREATE TABLE positions (sink TEXT, reader TEXT, partition INTEGER, position INTEGER NOT NULL, "
        "PRIMARY KEY (sink, reader, partition)) WITHOUT ROWID"
    )
    old.execute("INSERT INTO positions VALUES ('store', 'metrics', 0, 12)")
    old.commit()
    old.close()
    assert highest_position(tmp_path) == 12
    database = Database(tmp_path / "metrics.db")
    assert await Positions(database, "store").begin("metrics", 0, 0) == 12
    assert database.salvaged is None
    database.close()
