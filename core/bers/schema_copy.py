"""A second copy of a database's own schema, at a place that is known without it: its first table."""

from __future__ import annotations

import sqlite3
import zlib
from typing import NamedTuple

import msgspec

from bers.checksums import checksum, summed

TABLE = "schema_copy"
DEFINITION = (
    f"CREATE TABLE {TABLE} (one INTEGER PRIMARY KEY CHECK (one = 1), body BLOB NOT NULL, {summed('one, body')})"
)


class Entry(NamedTuple):
    """One row of ``sqlite_master``."""

    kind: str
    name: str
    table: str
    root: int
    sql: str | None


class Copy(NamedTuple):
    """What is written down."""

    version: int
    """SQLite's own count of changes to the schema."""
    layout: int
    """The owner's number of the layout."""
    entries: list[Entry]


_decode = msgspec.msgpack.Decoder(Copy).decode

_MOST = 16 << 20
"""Bytes of a copy that are read at most: whoever wrote more wants our memory."""


def make(connection: sqlite3.Connection) -> None:
    """Make the table, before any other is there."""
    if not is_there(connection):
        connection.execute(DEFINITION)


def is_there(connection: sqlite3.Connection) -> bool:
    """Whether a database has a copy of its schema, be the case of its name damaged, which SQLite does not mind."""
    return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = ? COLLATE NOCASE", (TABLE,)).fetchone())


def cookie(connection: sqlite3.Connection) -> tuple[int, int]:
    """What changes with the schema: its version, and the number of the layout."""
    (version,) = connection.execute("PRAGMA schema_version").fetchone()
    (layout,) = connection.execute("PRAGMA user_version").fetchone()
    return version, layout


def known(connection: sqlite3.Connection) -> tuple[int, int]:
    """The same of the schema that was written down; of none, what no schema has."""
    copy = read(connection) if is_there(connection) else None
    return (copy.version, copy.layout) if copy else (-1, -1)


def keep(connection: sqlite3.Connection) -> None:
    """Write down the schema as it is now. Compressed, it is a page: less that can be damaged."""
    body = zlib.compress(msgspec.msgpack.encode(Copy(*cookie(connection), master(connection))))
    connection.execute(f"INSERT OR REPLACE INTO {TABLE} (one, body) VALUES (1, ?)", (body,))


def master(connection: sqlite3.Connection) -> list[Entry]:
    """The schema that SQLite goes by."""
    rows = connection.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master ORDER BY type, name")
    return [Entry(*row) for row in rows]


def read(connection: sqlite3.Connection) -> Copy | None:
    """The copy, if it is as it was written."""
    rows = connection.execute(f"SELECT one, body, checksum FROM {TABLE}").fetchall()
    for one, body, written in rows:
        if isinstance(body, bytes) and checksum(one, body) == written:
            return _decoded(body)
    return None


def _decoded(body: bytes) -> Copy | None:
    """What a copy says; None where we never wrote that, whatever its checksum."""
    try:
        return _decode(zlib.decompressobj().decompress(body, _MOST))
    except (zlib.error, msgspec.MsgspecError):
        return None
