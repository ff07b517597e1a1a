"""Makes a copy of a damaged database readable: its head put right, and a first page and a schema given to it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from bers import schema_copy, soundness
from bers.checksums import UNREADABLE, as_text, connect
from bers.rescue import Rescue
from bers.schema_copy import Entry
from bers.write_ahead import log_of

_PAGES = (4096, 1024, 8192, 16384, 2048, 32768, 512, 65536)
"""The sizes of pages, the likely ones first."""


class Schema(NamedTuple):
    """What is known of a damaged file."""

    entries: Sequence[Entry]
    copied: bool
    """Whether its copy was found, and so all there was is known."""
    fits: bool
    """Whether SQLite goes by it."""
    layout: int


def readable(reading: Path) -> tuple[sqlite3.Connection, Schema]:
    """Open a copy of a damaged file, with its head, and if need be its schema, put right; return what is in it."""
    original = reading.with_name(f"{reading.name}.original")
    shutil.copyfile(reading, original)
    try:
        size, *others = _page_sizes(reading)
        schema = _prepare(reading, size)
        for another in others:
            if schema.copied:
                break
            shutil.copyfile(original, reading)
            schema, size = _prepare(reading, another), another
    finally:
        remove(original)
    if not schema.fits:
        with closing(_tolerant(reading)) as connection, suppress(*UNREADABLE):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        highest = max(one.root for one in schema.entries) * size if schema.entries else 0
        # What was cut off must not be taken for pages that we add.
        os.truncate(reading, max(reading.stat().st_size, highest))
        _transplant(reading, next((one.root for one in schema.entries if one.name == schema_copy.TABLE), 2), size)
        rest = [one for one in schema.entries if one.name != schema_copy.TABLE]
        with closing(_tolerant(reading)) as connection, suppress(*UNREADABLE):
            connection.executemany("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", rest)
    return _tolerant(reading), schema


def _prepare(reading: Path, size: int) -> Schema:
    """Put right what can be of a file whose pages are taken to be so large; return what is known of it then."""
    _mend_head(reading, size)
    with closing(_tolerant(reading)) as connection:
        schema = _schema(connection)
        if schema.copied:
            return schema
        with suppress(*UNREADABLE):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other = _transplanted(reading, size)
    return other if other.copied else schema


def _schema(connection: sqlite3.Connection) -> Schema:
    """The schema as it was, as far as that can be read."""
    try:
        copy = schema_copy.read(connection)
    except UNREADABLE:
        copy = None
    names = ("type", "name", "tbl_name", "rootpage", "sql")
    rows = Rescue(connection, "sqlite_master", names, (), has_sum=False)
    master = sorted((Entry(*row) for row in rows), key=lambda one: (str(one.kind), str(one.name)))
    if copy:
        return Schema(copy.entries, copied=True, fits=copy.entries == master, layout=copy.layout)
    try:
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
    except UNREADABLE:
        layout = 0
    return Schema(master, copied=False, fits=True, layout=layout)


def _transplanted(reading: Path, size: int) -> Schema:
    """Give a file a first page with which it can be read, for its own cannot; return what the copy of its schema says.

    The copy is the first table of its file: the second page, or the third where a database gives pages back.
    """
    again = reading.with_name(f"{reading.name}.again")
    for root in (2, 3):
        shutil.copyfile(reading, again)
        try:
            _transplant(again, root, size)
            with closing(_tolerant(again)) as connection:
                schema = _schema(connection)
            if schema.copied:
                again.replace(reading)
                return schema._replace(fits=False)
        finally:
            remove(again)
    return Schema([], copied=False, fits=True, layout=0)


def _tolerant(path: Path) -> sqlite3.Connection:
    connection = connect(path, isolation_level=None)
    connection.text_factory = as_text
    for pragma in ("writable_schema = ON", "cell_size_check = ON", "synchronous = OFF"):
        with suppress(*UNREADABLE):
            connection.execute(f"PRAGMA {pragma}")
    return connection


def _page_sizes(path: Path) -> list[int]:
    """How large the pages of a file are, or may be where its head does not say."""
    with path.open("rb") as file:
        head = file.read(100)
    if head[:16] == soundness.MAGIC and (size := soundness.page_size(head)):
        return [size]
    with suppress(FileNotFoundError), log_of(path).open("rb") as file:
        size = int.from_bytes(file.read(12)[8:], "big")
        if size in _PAGES:
            return [size]
    return list(_PAGES)


def _mend_head(path: Path, size: int) -> None:
    """Write a head into the file that SQLite takes, where its own may be damaged."""
    with path.open("r+b") as file:
        head = bytearray(file.read(100).ljust(100, b"\0"))
        file.seek(0, os.SEEK_END)
        pages = max(1, -(-file.tell() // size))  # A page of which a part is there counts.
        claimed = int.from_bytes(head[28:32], "big")
        if pages < claimed < (pages + 1000) * 100:
            pages = claimed  # What was cut off must not be taken for pages that we add.
        file.truncate(pages * size)
        head[:16] = soundness.MAGIC
        head[16:24] = (1 if size == 65536 else size).to_bytes(2, "big") + b"\2\2\0@  "
        head[28:40] = pages.to_bytes(4, "big") + bytes(8)  # Nothing is free: what is, need not be known to read.
        head[44:48], head[56:60] = (4).to_bytes(4, "big"), (1).to_bytes(4, "big")
        head[52:56] = head[52:56] if int.from_bytes(head[52:56], "big") <= pages else bytes(4)
        head[92:96] = head[24:28]
        file.seek(0)
        file.write(head)


def _transplant(path: Path, root: int, size: int) -> None:
    """Give a file the first page of a database that has nothing but the copy of a schema, at a page."""
    donor = path.with_name(f"{path.name}.donor")
    remove(donor)
    try:
        with closing(connect(donor, isolation_level=None)) as fresh:
            fresh.execute(f"PRAGMA page_size = {size}")
            if root != 2:
                fresh.execute("PRAGMA auto_vacuum = INCREMENTAL")
            schema_copy.make(fresh)
        page = donor.read_bytes()[:size]
    finally:
        remove(donor)
    with path.open("r+b") as file:
        file.write(page)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    _mend_head(path, size)


def remove(file: Path) -> None:
    """Delete a database with all that SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
