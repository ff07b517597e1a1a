"""The positions in all databases of a data directory say what of the journal is still needed."""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bers import Database, Positions
from bers.all_positions import highest_position, keep_positions, lowest_position, synced_position
from bers.checksums import connect


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


async def test_a_position_that_cannot_be_synced_holds_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hold(tmp_path / "metrics.db", "store", "metrics", 12)
    with closing(connect(tmp_path / "metrics.db")) as writer, closing(connect(tmp_path / "metrics.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM positions").fetchall()
        writer.execute("UPDATE positions SET position = 20")
        writer.commit()

        def fail(file: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as failing:
            failing.setattr(os, "fdatasync", fail)
            assert lowest_position(tmp_path, {("store", "metrics")}) is None
        assert lowest_position(tmp_path, {("store", "metrics")}) == 20, "though somebody reads what was before"


async def test_positions_of_dead_letters_live_with_their_pipeline_and_are_none_of_the_journal(tmp_path: Path) -> None:
    for reader, at in (("metrics", 12), ("dead-letters/metrics", 500), ("dead-letters/old", 3)):
        await hold(tmp_path / "metrics.db", "store", reader, at)
    assert highest_position(tmp_path) == 12
    keep_positions(tmp_path, [("store", "metrics")])
    assert synced_position(tmp_path, "store", "dead-letters/metrics") == 500
    assert synced_position(tmp_path, "store", "dead-letters/old") is None
    assert synced_position(tmp_path, "other", "dead-letters/metrics") is None
