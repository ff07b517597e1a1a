"""Checksums of rows: SQLite computes them as rows are written, so that a flipped bit is told from what was written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

COLUMN = "checksum"
"""What the column is called that :func:`summed` makes."""

_FUNCTION = "bers_checksum"


def checksum(*values: object) -> int:
    """The checksum of a row's values, in order."""
    crc = 0
    for value in values:
        if isinstance(value, str):
            data = value.encode(errors="surrogatepass")
            crc = crc32(data, crc32(b"text %d " % len(data), crc))
        elif isinstance(value, bytes):
            crc = crc32(value, crc32(b"blob %d " % len(value), crc))
        else:
            crc = crc32(repr(value).encode(), crc)
    return crc


def summed(columns: str) -> str:
    """The column of a table that holds the checksum of all the others, for its definition."""
    return f"{COLUMN} INTEGER GENERATED ALWAYS AS ({_FUNCTION}({columns})) STORED"


def connect(path: Path | str, *, read_only: bool = False, alone: bool = False, **settings: Any) -> sqlite3.Connection:
    """Connect to a database whose tables may have checksums. Whoever writes to one without this is refused.

    ``alone`` reads the file without its log, and makes none beside it: nobody may write to it meanwhile.
    """
    read_only = read_only or alone
    where = f"{Path(path).absolute().as_uri()}?mode=ro{'&immutable=1' * alone}" if read_only else path
    connection: sqlite3.Connection = sqlite3.connect(where, uri=read_only, **settings)
    connection.create_function(_FUNCTION, -1, checksum, deterministic=True)
    connection.text_factory = _readable
    return connection


def _readable(data: bytes) -> str:
    """A text that is damaged, and no UTF-8 any more, is not what was written: for whoever checks that, not an error."""
    return data.decode(errors="replace")


def columns_of(connection: sqlite3.Connection, table: str) -> tuple[list[str], bool]:
    """The columns of a table that are written, in order; and whether it has a checksum of them."""
    rows = connection.execute(f"PRAGMA table_xinfo({quoted(table)})").fetchall()
    names = [str(row[1]) for row in rows if not row[6]]
    return names, any(row[1] == COLUMN and row[6] for row in rows)


def is_name(value: object) -> bool:
    """Whether what stands where a name should be is one that SQL can say."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def quoted(name: str) -> str:
    """A name, as SQL takes it whatever it is."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    return ", ".join(map(quoted, names))


def as_text(data: bytes) -> str:
    """What is read as text though it may be damaged; what is no UTF-8 fails its checksum rather than the statement."""
    return data.decode(errors="surrogateescape")


UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What may be raised by reading a damaged file; the second, where Python cannot read what SQLite says of it."""


def is_damage(error: BaseException) -> bool:
    """Whether SQLite says that the file is not what it wrote."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def assert_damage(error: BaseException) -> None:
    """Raise what is no sign of damage: a disk that cannot be read at present, a file that somebody has locked."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and not is_damage(error) and code & 0xFF != sqlite3.SQLITE_ERROR:
        raise error
