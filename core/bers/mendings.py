"""What was lost with a damaged database, told in the file that took its place to the owners of the rows."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from bers.checksums import summed
from bers.salvage import Salvage

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS mendings (
    id INTEGER PRIMARY KEY, aside TEXT NOT NULL, what TEXT NOT NULL, lost TEXT NOT NULL,
    {summed("id, aside, what, lost")}
)
"""


class Mending(NamedTuple):
    """A loss of one table, or of all where it is not known which there were."""

    id: int
    aside: str
    """The name of the damaged file that is kept."""
    lost: str


def note(connection: sqlite3.Connection, found: Salvage) -> None:
    """Write down, in a new file, what did not come over into it."""
    losses = [(one.table, "; ".join(one.lost)) for one in found.losses]
    if not found.whole or not found.tables:
        losses.append(("", "everything in it" if not found.tables else "tables whose names are lost"))
    if losses:
        connection.execute(_SCHEMA)
        rows = [(found.aside.name, table, lost) for table, lost in losses]
        connection.executemany("INSERT INTO mendings (aside, what, lost) VALUES (?, ?, ?)", rows)


def of(connection: sqlite3.Connection, *tables: str) -> list[Mending]:
    """The losses that nobody settled yet and that some of the tables had part in, or may have had."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'mendings'").fetchone():
        return []
    names = ", ".join("?" * (len(tables) + 1))
    rows = connection.execute(
        f"SELECT id, aside, lost FROM mendings WHERE what IN ({names}) ORDER BY id", (*tables, "")
    )
    return [Mending(*row) for row in rows]


def settle(connection: sqlite3.Connection, found: list[Mending]) -> None:
    """Say that the owner of the rows has told of losses."""
    connection.executemany("DELETE FROM mendings WHERE id = ?", [(one.id,) for one in found])
