"""What can be read of a damaged database, carried over into a new file, table by table."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bers import schema_copy
from bers.checksums import UNREADABLE, checksum, columns_of, is_name, listed, quoted
from bers.rescue import Rescue
from bers.schema_copy import Entry

_AT_ONCE = 200

_DEFINING = frozenset(
    {
        sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_CREATE_TRIGGER,
        sqlite3.SQLITE_CREATE_VIEW, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE,
        sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_REINDEX,
        sqlite3.SQLITE_RECURSIVE,
    }
)  # fmt: skip
"""What a statement of a schema does: it makes something, in SQLite's own tables too."""

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
        return f"{self.table}: {rows_of(self.kept)} kept" + (f", lost: {'; '.join(self.lost)}" if self.lost else "")


def carry_over(source: sqlite3.Connection, target: sqlite3.Connection, entries: Sequence[Entry]) -> list[TableLoss]:
    """Make the tables that a schema says, and what belongs to them; return what became of each."""
    schema_copy.make(target)
    losses: list[TableLoss] = []
    tables = [one for one in entries if one.kind == "table" and is_name(one.name) and not _is_ours(one.name)]
    for entry in tables:
        try:
            _define(target, entry)
        except (sqlite3.Error, UnicodeError) as exc:
            losses.append(TableLoss(entry.name, 0, [f"all of it: its definition is damaged ({exc})"]))
        else:
            losses.append(_copy_table(source, target, entry.name))
    for entry in entries:
        if entry.kind != "table" and entry.sql:
            try:
                _define(target, entry)
            except (sqlite3.Error, UnicodeError) as exc:
                _log.warning("%s %s is left to its owner to make anew: %s", entry.kind, entry.name, exc)
    made = {name for (name,) in target.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    _go_on_counting(target, made & {one.name for one in tables if "AUTOINCREMENT" in str(one.sql).upper()})
    return losses


def _define(target: sqlite3.Connection, entry: Entry) -> None:
    """Make a table, or what belongs to one, and do nothing else: others may have written what a file says there.

    To attach a database, for one, would make a file wherever they chose.
    """
    if not isinstance(entry.sql, str):
        raise sqlite3.DatabaseError("it is no text")
    target.set_authorizer(_allows)
    try:
        target.execute(entry.sql)
    finally:
        target.set_authorizer(None)


def _allows(action: int, *_: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _DEFINING else sqlite3.SQLITE_DENY


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
    lost = [*rows.lost, *([f"{rows_of(wrong)} that changed since being written"] if wrong else [])]
    if not lost and (unseen := _unseen(source, table, kept + wrong)):
        lost = [unseen]
    return TableLoss(table, kept, lost)


def _unseen(source: sqlite3.Connection, table: str, seen: int) -> str:
    """What is missing of a table though all of it seemed to be read, in words; empty where nothing is.

    A page that claims to hold fewer rows than it does is read without an error. Indexes know of the others; without
    one, all that is known is that SQLite finds fault with the pages.
    """
    counts = [count for index in _indexes(source, table) if (count := _count(source, table, index)) is not None]
    if counts:
        return f"{rows_of(missing)} of which only an index knows" if (missing := max(counts) - seen) > 0 else ""
    try:
        (found,) = source.execute(f"PRAGMA integrity_check({quoted(table)})").fetchone()
    except UNREADABLE as exc:
        found = str(exc)
    return "" if found == "ok" else f"perhaps some rows: {found.splitlines()[-1]}"


def _indexes(source: sqlite3.Connection, table: str) -> list[str]:
    """The indexes that have an entry for every row, and are not the table itself."""
    try:
        is_its_own = bool(_key(source, table))
        rows = source.execute(f"PRAGMA index_list({quoted(table)})").fetchall()
    except UNREADABLE:
        return []
    return [name for _, name, _, origin, partial in rows if not partial and not (is_its_own and origin == "pk")]


def _count(source: sqlite3.Connection, table: str, index: str) -> int | None:
    """How many entries an index has; None where it cannot be read."""
    try:  # Not `count(*)`: SQLite would choose the index by itself.
        query = f"SELECT coalesce(sum(1), 0) FROM {quoted(table)} INDEXED BY {quoted(index)}"
        return int(source.execute(query).fetchone()[0])
    except UNREADABLE:
        return None


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


def rows_of(number: int) -> str:
    """So many rows, in words."""
    return "1 row" if number == 1 else f"{number} rows"
