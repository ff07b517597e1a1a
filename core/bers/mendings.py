"""That a damaged database was mended, told in the file that took its place to whoever has to say where rows went."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from bers.checksums import summed
from bers.salvage import Salvage

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS mendings (
    id INTEGER PRIMARY KEY, aside TEXT NOT NULL, lost TEXT NOT NULL, {summed("id, aside, lost")}
)
"""


class Mending(NamedTuple):
    """One that has not been told of yet."""

    id: int
    aside: str
    """The name of the damaged file that is kept."""
    lost: str
    """What is known to be lost with it, of all tables. Rows may be missing of which nothing is known."""


def note(connection: sqlite3.Connection, found: Salvage) -> None:
    """Write down, in a new file, what came of an old one."""
    losses = [*map(str, found.losses), *([] if found.whole else ["tables whose names are lost"])]
    lost = "; ".join(losses) or "nothing that is known" if found.tables else "everything in it"
    connection.execute(_SCHEMA)
    connection.execute("INSERT INTO mendings (aside, lost) VALUES (?, ?)", (found.aside.name, lost))


def untold(connection: sqlite3.Connection) -> list[Mending]:
    """Those that nobody has told of, in their order."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'mendings'").fetchone():
        return []
    return [Mending(*row) for row in connection.execute("SELECT id, aside, lost FROM mendings ORDER BY id")]


def told(connection: sqlite3.Connection, found: Sequence[Mending]) -> None:
    """Say that they were told of."""
    connection.executemany("DELETE FROM mendings WHERE id = ?", [(one.id,) for one in found])
