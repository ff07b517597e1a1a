"""A damaged database file: set aside as it is, with what can be read of it in a new one, and the loss named."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bers import schema_copy, soundness
from bers.checksums import UNREADABLE, as_text, checksum, columns_of, connect, listed, quoted
from bers.rescue import Rescue
from bers.schema_copy import Entry

KEPT = 3
"""How many damaged files are kept of one database; then the oldest goes."""

_AT_ONCE = 200
_PAGES = (4096, 1024, 8192, 16384, 2048, 32768, 512, 65536)
"""The sizes of pages, the likely ones first."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableLoss:
    """What became of one table."""

    table: str
    kept: int
    """Rows that came over."""
    lost: Sequence[str]
    """What did not, in words; empty where nothing is known to be missing."""

    def __str__(self) -> str:
        return f"{self.table}: {_rows(self.kept)} kept" + (f", lost: {'; '.join(self.lost)}" if self.lost else "")


@dataclass(frozen=True)
class Salvage:
    """What was found out and done about one damaged file."""

    path: Path
    aside: Path
    """Where the damaged file is kept as it was."""
    faults: Sequence[str]
    tables: Sequence[TableLoss]
    whole: bool
    """Whether these are all tables that there were; what is missing is made anew by its owner, empty."""

    @property
    def losses(self) -> Sequence[TableLoss]:
        """The tables of which something is missing."""
        return [one for one in self.tables if one.lost]

    @property
    def kept(self) -> int:
        return sum(one.kept for one in self.tables)

    def __str__(self) -> str:
        unknown = [] if self.whole else ["other tables, whose names are lost, if there were any"]
        what = "; ".join([*map(str, self.losses), *unknown]) or "nothing"
        if not self.tables:
            what = "everything in it"
        return (
            f"{self.path.name} was damaged ({self.faults[0]}), and is kept as {self.aside.name}; "
            f"{_rows(self.kept)} came over into a new file; lost: {what}"
        )


Finish = Callable[[sqlite3.Connection, Salvage], None]


def salvage(path: Path, faults: Sequence[str], finish: Finish) -> Salvage:
    """Put a new file in the place of a damaged one, while nobody has it open; ``finish`` completes the new one.

    Killed at any moment, the old file is still there, or the new one is complete and :func:`put_in_place` goes on.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    if (known := asides(path)) and aside_of(path, stamp) <= known[-1]:  # Of one second, or the clock was set back.
        stamp = known[-1].name.rpartition("-")[2] + "+"
    reading, making = path.with_name(f"{path.name}.reading"), path.with_name(f"{path.name}.salvaging")
    try:
        for file in (reading, making):
            _remove(file)
        shutil.copyfile(path, reading)
        with suppress(FileNotFoundError):
            shutil.copyfile(soundness.log_of(path), soundness.log_of(reading))
        connection, schema = _readable(reading)
        with closing(connection) as source, closing(connect(making, isolation_level=None)) as target:
            target.execute("PRAGMA synchronous = OFF")  # It is synced once, when it is complete.
            for pragma in ("page_size", "auto_vacuum"):
                target.execute(f"PRAGMA {pragma} = {source.execute(f'PRAGMA {pragma}').fetchone()[0]}")
            target.execute("BEGIN")
            found = Salvage(
                path, aside_of(path, stamp), list(faults), _copy(source, target, schema.entries), schema.copied
            )
            target.execute(f"PRAGMA user_version = {schema.layout}")
            finish(target, found)
            schema_copy.keep(target)
            target.execute("COMMIT")
        _sync(making)
        _report(found)
        making.replace(path.with_name(f"{path.name}.salvaged-{stamp}"))
    finally:
        for file in (reading, making):
            _remove(file)
    put_in_place(path)
    _log.error("%s", found)
    return found


def put_in_place(path: Path) -> None:
    """Let a new file that is complete take the place of the damaged one."""
    for new in sorted(path.parent.glob(f"{path.name}.salvaged-*")):
        aside = aside_of(path, new.name.rpartition(".salvaged-")[2])
        for old, kept in ((path, aside), (soundness.log_of(path), soundness.log_of(aside))):
            if old.exists():
                old.replace(kept if not kept.exists() else kept.with_name(f"{kept.name}+"))
        path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
        new.replace(path)
        _sync(path.parent)
    for oldest in asides(path)[:-KEPT]:
        _log.warning("%s is deleted: of damaged files only the newest %d are kept", oldest.name, KEPT)
        _remove(oldest)
        report_of(oldest).unlink(missing_ok=True)


def asides(path: Path) -> list[Path]:
    """The damaged files of a database that are kept, oldest first."""
    pattern = re.compile(re.escape(path.name) + r"\.damaged-\d{8}T\d{6}Z\+*")
    return sorted(one for one in path.parent.glob(f"{path.name}.damaged-*") if pattern.fullmatch(one.name))


def aside_of(path: Path, stamp: str) -> Path:
    return path.with_name(f"{path.name}.damaged-{stamp}")


def report_of(aside: Path) -> Path:
    """Where it is written what was lost with a file."""
    return aside.with_name(f"{aside.name}.txt")


def add_to_report(path: Path, text: str) -> None:
    """Say more of what was lost with the file of a database that was damaged last."""
    for aside in asides(path)[-1:]:
        with report_of(aside).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")


def _report(found: Salvage) -> None:
    lines = [str(found), "", "faults:", *(f"  {fault}" for fault in found.faults), "", "tables:"]
    text = "\n".join([*lines, *(f"  {table}" for table in found.tables)]) + "\n"
    report_of(found.aside).write_text(text, encoding="utf-8", errors="backslashreplace")


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


# Reading what is damaged.


def _readable(reading: Path) -> tuple[sqlite3.Connection, _Schema]:
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
        _remove(original)
    if not schema.fits:
        with closing(_tolerant(reading)) as connection, suppress(*UNREADABLE):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        highest = max(one.root for one in schema.entries) * size if schema.entries else 0
        os.truncate(reading, max(reading.stat().st_size, highest))  # As above.
        _transplant(reading, next((one.root for one in schema.entries if one.name == schema_copy.TABLE), 2), size)
        rest = [one for one in schema.entries if one.name != schema_copy.TABLE]
        with closing(_tolerant(reading)) as connection, suppress(*UNREADABLE):
            connection.executemany("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", rest)
    return _tolerant(reading), schema


def _prepare(reading: Path, size: int) -> _Schema:
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


class _Schema(NamedTuple):
    """What is known of a damaged file."""

    entries: Sequence[Entry]
    copied: bool
    """Whether its copy was found, and so all there was is known."""
    fits: bool
    """Whether SQLite goes by it."""
    layout: int


def _schema(connection: sqlite3.Connection) -> _Schema:
    """The schema as it was, as far as that can be read."""
    try:
        copy = schema_copy.read(connection)
    except UNREADABLE:
        copy = None
    names = ("type", "name", "tbl_name", "rootpage", "sql")
    rows = Rescue(connection, "sqlite_master", names, (), has_sum=False)
    master = sorted((Entry(*row) for row in rows), key=lambda one: (str(one.kind), str(one.name)))
    if copy:
        return _Schema(copy.entries, copied=True, fits=copy.entries == master, layout=copy.layout)
    try:
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
    except UNREADABLE:
        layout = 0
    return _Schema(master, copied=False, fits=True, layout=layout)


def _transplanted(reading: Path, size: int) -> _Schema:
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
            _remove(again)
    return _Schema([], copied=False, fits=True, layout=0)


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
    with suppress(FileNotFoundError), soundness.log_of(path).open("rb") as file:
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
    _remove(donor)
    try:
        with closing(connect(donor, isolation_level=None)) as fresh:
            fresh.execute(f"PRAGMA page_size = {size}")
            if root != 2:
                fresh.execute("PRAGMA auto_vacuum = INCREMENTAL")
            schema_copy.make(fresh)
        page = donor.read_bytes()[:size]
    finally:
        _remove(donor)
    with path.open("r+b") as file:
        file.write(page)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    _mend_head(path, size)


# Writing what could be read.


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, entries: Sequence[Entry]) -> list[TableLoss]:
    schema_copy.make(target)
    losses: list[TableLoss] = []
    tables = [one for one in entries if one.kind == "table" and not _is_ours(one.name)]
    for entry in tables:
        try:
            target.execute(entry.sql or "")
        except (sqlite3.Error, UnicodeError) as exc:
            losses.append(TableLoss(entry.name, 0, [f"all of it: its definition is damaged ({exc})"]))
        else:
            losses.append(_copy_table(source, target, entry.name))
    for entry in entries:
        if entry.kind != "table" and entry.sql:
            try:
                target.execute(entry.sql)
            except (sqlite3.Error, UnicodeError) as exc:
                _log.warning("%s %s is left to its owner to make anew: %s", entry.kind, entry.name, exc)
    _go_on_counting(target, [one.name for one in tables if "AUTOINCREMENT" in (one.sql or "").upper()])
    return losses


def _is_ours(name: str) -> bool:
    return name == schema_copy.TABLE or name.startswith("sqlite_")


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> TableLoss:
    columns, has_sum = columns_of(target, table)
    rows = Rescue(source, table, columns, _key(target, table), has_sum=has_sum)
    holes = ", ".join("?" * len(columns))
    insert = f"INSERT INTO {quoted(table)} ({listed(columns)}) VALUES ({holes})"
    kept = wrong = 0
    for chunk in _chunks(rows):
        good = [row for row in chunk if not has_sum or checksum(*row[:-1]) == row[-1]]
        written = _insert(target, insert, [row[: len(columns)] for row in good])
        kept, wrong = kept + written, wrong + len(chunk) - written
    lost = [*rows.lost, *([f"{_rows(wrong)} that changed since being written"] if wrong else [])]
    return TableLoss(table, kept, lost)


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"


def _key(connection: sqlite3.Connection, table: str) -> Sequence[str]:
    """The columns by which rows are found that have no number of their own."""
    try:
        connection.execute(f"SELECT rowid FROM {quoted(table)} LIMIT 0")
    except sqlite3.OperationalError:
        rows = connection.execute(f"PRAGMA table_xinfo({quoted(table)})").fetchall()
        return [row[1] for row in sorted(rows, key=lambda row: row[5]) if row[5]]
    return ()


def _chunks(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    chunk: list[Sequence[Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _insert(target: sqlite3.Connection, insert: str, rows: Sequence[Sequence[Any]]) -> int:
    """Write rows; return how many could be."""
    target.execute("SAVEPOINT chunk")
    try:
        target.executemany(insert, rows)
        written = len(rows)
    except (sqlite3.IntegrityError, sqlite3.DataError, UnicodeEncodeError):
        target.execute("ROLLBACK TO chunk")
        written = 0
        for row in rows:
            with suppress(sqlite3.IntegrityError, sqlite3.DataError, UnicodeEncodeError):
                target.execute(insert, row)
                written += 1
    target.execute("RELEASE chunk")
    return written


def _go_on_counting(target: sqlite3.Connection, tables: Iterable[str]) -> None:
    """See to it that a number that was given to a row is not given to another: somebody may know the row by it.

    What was given cannot be told for sure any more, but it is less than the milliseconds since 1970.
    """
    now = int(time.time() * 1000)
    for table in tables:
        (highest,) = target.execute(f"SELECT coalesce(max(rowid), 0) FROM {quoted(table)}").fetchone()
        target.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        target.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, max(highest, now)))
