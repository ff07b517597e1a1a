"""Positions as rows of a database: two copies of each, which are brought to say the same when it is opened."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from typing import TypeAlias

from bers.checksums import checksum, columns_of, summed
from bers.salvage import Salvage

_COPIES = ("positions", "positions_again")
"""One flipped bit in a position would lose events or count them twice: there are two of each, on different pages."""

_DEFINITIONS = (
    *(
        f"""
        CREATE TABLE IF NOT EXISTS {table} (
            sink TEXT, reader TEXT, partition INTEGER, position INTEGER NOT NULL,
            {summed("sink, reader, partition, position")}, PRIMARY KEY (sink, reader, partition)
        ) WITHOUT ROWID
        """
        for table in _COPIES
    ),
    *(
        f"""
        CREATE TRIGGER IF NOT EXISTS position_{verb.split()[0].lower()} AFTER {verb} ON positions BEGIN
            INSERT OR REPLACE INTO positions_again (sink, reader, partition, position)
            VALUES (new.sink, new.reader, new.partition, new.position);
        END
        """
        for verb in ("INSERT", "UPDATE OF position")
    ),
    """
    CREATE TRIGGER IF NOT EXISTS position_delete AFTER DELETE ON positions BEGIN
        DELETE FROM positions_again WHERE sink = old.sink AND reader = old.reader AND partition = old.partition;
    END
    """,
)
_LOST = "CREATE TABLE IF NOT EXISTS positions_lost (one INTEGER PRIMARY KEY CHECK (one = 1))"
"""Its row says that the file was damaged and that neither copy came over whole."""

_Key: TypeAlias = tuple[str, str, int]

_log = logging.getLogger(__name__)


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables, and see to it that both copies say the same."""
    names, has_sum = columns_of(connection, _COPIES[0])
    if names and not has_sum:  # Of a file that is older than checksums.
        before = connection.execute("SELECT sink, reader, partition, position FROM positions").fetchall()
        connection.execute("DROP TABLE positions")
        _make(connection)
        put(connection, before)
        return
    _make(connection)
    _reconcile(connection)


def complete(connection: sqlite3.Connection, found: Salvage) -> None:
    """Bring the positions in order in a new file that was made of a damaged one."""
    _make(connection)
    whole = any(one.table in _COPIES and not one.lost for one in found.tables)
    if not whole and any(one.kept for one in found.tables if one.table not in _COPIES):
        connection.execute(_LOST)
        connection.execute("INSERT OR IGNORE INTO positions_lost VALUES (1)")
    _reconcile(connection)


def were_lost(connection: sqlite3.Connection) -> bool:
    """Whether the file was damaged once, and its positions were lost with that."""
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'positions_lost'").fetchone())


def read(connection: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """Each sink, reader and position that one of the copies tells as it was written."""
    names, has_sum = columns_of(connection, _COPIES[0])
    if not names:
        return []
    if not has_sum:
        return connection.execute("SELECT sink, reader, position FROM positions").fetchall()
    found: dict[_Key, int] = {}
    for table in _COPIES:
        for key, position in _sound(connection, table).items():
            found[key] = max(position, found.get(key, 0))
    return [(sink, reader, position) for (sink, reader, _), position in found.items()]


def put(connection: sqlite3.Connection, rows: Iterable[tuple[object, ...]]) -> None:
    connection.executemany("INSERT INTO positions (sink, reader, partition, position) VALUES (?, ?, ?, ?)", rows)


def _make(connection: sqlite3.Connection) -> None:
    for statement in _DEFINITIONS:
        connection.execute(statement)


def _sound(connection: sqlite3.Connection, table: str) -> dict[_Key, int]:
    """The positions that one copy tells as they were written."""
    rows = connection.execute(f"SELECT sink, reader, partition, position, checksum FROM {table}").fetchall()
    return {row[:3]: row[3] for row in rows if checksum(*row[:4]) == row[4]}


def _reconcile(connection: sqlite3.Connection) -> None:
    """Let both copies tell what either knows; where they differ, the higher: a gap that is named, not figures twice."""
    one, two = (_sound(connection, table) for table in _COPIES)
    if one == two:
        return
    for key in one.keys() & two.keys():
        if one[key] != two[key]:
            _log.error(
                "the position of pipeline %r in %r is %d or %d: going on at the higher", *key[1::-1], one[key], two[key]
            )
    for key in one.keys() ^ two.keys():
        _log.warning("the position of pipeline %r in %r was damaged, and is known from its copy", *key[1::-1])
    for table in _COPIES:
        connection.execute(f"DELETE FROM {table}")
    put(connection, [(*key, max(one.get(key, 0), two.get(key, 0))) for key in one.keys() | two.keys()])
