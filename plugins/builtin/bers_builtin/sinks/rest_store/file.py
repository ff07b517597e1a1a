"""The database file: its tables, and how what they hold is read, written and checked."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from struct import error as struct_error
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from bers import BersError, Labels, Tier

from . import columns, marks
from .marks import Progress
from .pages import Key, Packing
from .partials import Series

VERSION = 2
PAGE_BYTES = 1024
"""Of SQLite's own pages: the last one of every row is half empty, and rows are a few kilobytes long."""
ROW_BYTES = 120
"""About what a row takes beside its content, in the table and in indexes."""
AIR = 0.3
"""So much of the file may be free (and overwritten with zeros) before it is shortened."""
LOG_BYTES = 8 << 20
"""How long the log may stay after a checkpoint."""

_TABLES = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, metric TEXT NOT NULL, labels BLOB NOT NULL, stamp BLOB NOT NULL, kept BLOB NOT NULL,
    time REAL, position INTEGER, last REAL, checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, checksum INTEGER NOT NULL, windows BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS pages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, series INTEGER, tier REAL, width REAL, start REAL, end REAL, seq INTEGER,
    folds INTEGER, windows INTEGER, expires REAL NOT NULL, bytes INTEGER, checksums BLOB NOT NULL,
    summary BLOB NOT NULL, data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS pages_by_place ON pages (series, tier, start);
CREATE INDEX IF NOT EXISTS pages_expire ON pages (tier, expires, bytes);
CREATE TABLE IF NOT EXISTS damaged (
    id INTEGER PRIMARY KEY, expires REAL NOT NULL, loss BLOB NOT NULL, row BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    source TEXT, id TEXT, type TEXT, time REAL, expires REAL NOT NULL, subject TEXT, body BLOB NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (source, id)
);
CREATE INDEX IF NOT EXISTS events_by_type ON events (type, time);
CREATE INDEX IF NOT EXISTS events_expire ON events (expires);
"""

SERIES = "id, metric, labels, stamp, kept, time, position, last, checksum"
_KEY = "series, tier, width, start, end, seq, folds, windows"

_labels = msgspec.msgpack.Decoder(Labels)
_tiers = msgspec.msgpack.Decoder(tuple[Tier, ...])


class SeriesRow(NamedTuple):
    """What is known of a series."""

    id: int
    metric: str
    labels: Labels
    stamp: tuple[Tier, ...]
    kept: tuple[Tier, ...]
    """The tiers by which the expiry of its pages was told."""
    seen: tuple[float, int] | None
    last: float


class Held(NamedTuple):
    """What there is of one kind of rows."""

    rows: int = 0
    bytes: int = 0
    oldest: float | None = None
    """When what is oldest began, in seconds since 1970."""


class Found(NamedTuple):
    """A part of a page as the database has it."""

    id: int
    key: Key
    summary: bytes
    data: bytes | None
    """None where it is not needed."""


def open_new(path: Path) -> Path | None:
    """Make a database if there is none; move one of an older layout aside first, and return where it is now.

    One of a newer layout stays: an older program must not take away what the newer one needs.
    """
    aside = None
    if path.exists() and 0 < (version := _layout(path)) < VERSION:
        aside = path.with_name(f"{path.name}.layout-{version}")
        for suffix in ("-wal", "-shm", ""):
            if (one := path.with_name(path.name + suffix)).exists():
                one.rename(aside.with_name(aside.name + suffix))
    _create(path)
    return aside


def set_aside_before(path: Path) -> list[str]:
    """The names of databases of older layouts that lie beside this one."""
    return sorted(one.name for one in path.parent.glob(f"{path.name}.layout-*") if one.suffix[-1:].isdigit())


def _layout(path: Path) -> int:
    try:
        with closing(sqlite3.connect(path)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            return int(version)
    except sqlite3.DatabaseError:
        return 0  # It is damaged, and mended when it is opened.


def _create(path: Path) -> None:
    """Make an empty database whose pages are small, and which gives back to the disk what it has deleted."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")


def prepare(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, VERSION):
        raise BersError(f"its layout is {version}, and this bers reads layout {VERSION}; use the bers that wrote it")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_BYTES // 2 // PAGE_BYTES}")
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    marks.prepare(connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def load_series(connection: sqlite3.Connection) -> list[SeriesRow]:
    """Every series whose row is what was written."""
    return [row for row in map(series_row, connection.execute(f"SELECT {SERIES} FROM series")) if row]


def save_series(connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> None:
    """Write down series, as :func:`row_of` says."""
    connection.executemany("INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def segments(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
    """Every segment that is not folded yet and is what was written, oldest first."""
    rows = connection.execute("SELECT id, checksum, windows FROM segments ORDER BY id").fetchall()
    return [(id, windows) for id, checksum, windows in rows if segment_is_sound(id, checksum, windows)]


def segment_is_sound(id: int, checksum: object, windows: object) -> bool:
    return isinstance(windows, bytes) and checksum == _segment_checksum(id, windows)


def finish_folding(connection: sqlite3.Connection, segment: int) -> None:
    """Forget the segments whose every window is in pages."""
    connection.execute("DELETE FROM segments WHERE id <= ?", (segment,))
    marks.folded(connection, Progress())


def add_parts(connection: sqlite3.Connection, parts: Iterable[Packing]) -> None:
    connection.executemany(
        f"INSERT INTO pages ({_KEY}, expires, bytes, checksums, summary, data) VALUES ({', '.join('?' * 13)})",
        map(_of_part, parts),
    )


def parts_between(
    connection: sqlite3.Connection, series: int, tier: float, start: float, end: float, longest: float
) -> list[tuple[int, Key]]:
    """The parts of one tier that touch a span of time; none is longer than ``longest``."""
    return [
        (id, Key(*key))
        for id, *key in connection.execute(
            f"SELECT id, {_KEY} FROM pages WHERE series = ? AND tier = ? AND start > ? AND start < ? AND end > ? "
            "ORDER BY start",
            (series, tier, start - longest, end, start),
        )
    ]


def parts_within(
    connection: sqlite3.Connection, series: int, tier: float, width: float, start: float, end: float
) -> list[tuple[int, Key]]:
    """The parts of one page, in the order in which they came."""
    half = width / 2
    return [
        (id, Key(*key))
        for id, *key in connection.execute(
            f"SELECT id, {_KEY} FROM pages WHERE series = ? AND tier = ? AND start > ? AND start < ? AND end < ? "
            "AND width = ? ORDER BY seq, id",
            (series, tier, start - half, end, end + half, width),
        )
    ]


def parts_of(connection: sqlite3.Connection, series: int, tier: float) -> list[tuple[int, Key]]:
    """All parts of a tier, in the order in which they came."""
    return [
        (id, Key(*key))
        for id, *key in connection.execute(
            f"SELECT id, {_KEY} FROM pages WHERE series = ? AND tier = ? ORDER BY seq, id", (series, tier)
        )
    ]


def parts_before(connection: sqlite3.Connection, series: int, before: float) -> list[tuple[int, Key, float]]:
    """All parts of a series that begin before a time, with when they expire."""
    return [
        (id, Key(*key), expires)
        for id, expires, *key in connection.execute(
            f"SELECT id, expires, {_KEY} FROM pages WHERE series = ? AND start < ?", (series, before)
        )
    ]


def keys_of(connection: sqlite3.Connection, first: int, last: int) -> list[Key]:
    """All parts of some series."""
    return [
        Key(*row) for row in connection.execute(f"SELECT {_KEY} FROM pages WHERE series BETWEEN ? AND ?", (first, last))
    ]


def read_part(connection: sqlite3.Connection, id: int, key: Key, *, whole: bool = True) -> Found | None:
    """A part with its windows, or with what they come to; None where it is not what was written."""
    if whole:
        return next(iter(read_parts(connection, {id: key})), None)
    checksums, summary = connection.execute("SELECT checksums, summary FROM pages WHERE id = ?", (id,)).fetchone()
    return Found(id, key, summary, None) if part_is_sound(key, checksums, summary, None) else None


def read_parts(connection: sqlite3.Connection, keys: Mapping[int, Key]) -> list[Found]:
    """Those of some parts that are what was written."""
    return [
        Found(id, keys[id], summary, data)
        for id, checksums, summary, data in connection.execute(
            f"SELECT id, checksums, summary, data FROM pages WHERE id IN ({','.join(map(str, keys))})"
        )
        if part_is_sound(keys[id], checksums, summary, data)
    ]


def part_is_sound(key: Key, checksums: bytes, summary: bytes, data: bytes | None) -> bool:
    try:
        return checksums[:4] == _checksum(key, summary) and (data is None or checksums[4:] == _checksum(key, data))
    except (TypeError, ValueError, OverflowError, struct_error):
        return False


def set_aside(connection: sqlite3.Connection, table: str, id: int, loss: bytes, expires: float) -> None:
    """Move a damaged row where nobody reads it."""
    row = connection.execute(f"SELECT * FROM {table} WHERE rowid = ?", (id,)).fetchone()
    content = msgspec.msgpack.encode(row)
    connection.execute("INSERT INTO damaged (expires, loss, row) VALUES (?, ?, ?)", (expires, loss, content))
    connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (id,))


def delete_parts(connection: sqlite3.Connection, ids: Sequence[int]) -> int:
    """Return how many there were."""
    return connection.execute(f"DELETE FROM pages WHERE id IN ({','.join(map(str, ids))})").rowcount


def delete_expired_pages(connection: sqlite3.Connection, now: float, limit: int) -> list[int]:
    """Delete some of the parts that are past their time, and return which."""
    for tier in _tiers_held(connection):
        some = "SELECT id FROM pages WHERE tier = ? AND expires <= ? LIMIT ?"
        rows = connection.execute(f"DELETE FROM pages WHERE id IN ({some}) RETURNING id", (tier, now, limit)).fetchall()
        if rows:
            return [id for (id,) in rows]
    return []


def delete_oldest(connection: sqlite3.Connection, tier: float, limit: int, enough: int) -> tuple[list[int], int, float]:
    """Delete the parts of a tier that would go first, until that is enough bytes.

    Return which, their bytes, and until when they would stay.
    """
    ids, size, until = list[int](), 0, 0.0
    some = "SELECT id, bytes, expires FROM pages WHERE tier = ? ORDER BY expires LIMIT ?"
    for id, bytes, expires in connection.execute(some, (tier, limit)).fetchall():
        ids.append(id)
        size, until = size + bytes, max(until, expires)
        if size >= enough:
            break
    delete_parts(connection, ids)
    return ids, size, until


def used_bytes(connection: sqlite3.Connection) -> int:
    """What the database takes without what is free in it."""
    pages_, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages_ - free) * size)


def held_by_tier(connection: sqlite3.Connection) -> dict[float, Held]:
    """What there is of each tier: read from an index alone."""
    held: dict[float, Held] = {}
    for tier in _tiers_held(connection):
        rows, size, first = connection.execute(
            "SELECT count(*), sum(bytes), min(expires) FROM pages WHERE tier = ?", (tier,)
        ).fetchone()
        (oldest,) = connection.execute(
            "SELECT min(start) FROM (SELECT start FROM pages WHERE tier = ? ORDER BY expires LIMIT 20)", (tier,)
        ).fetchone()
        held[tier] = Held(rows, size + rows * ROW_BYTES, oldest if first is not None else None)
    return held


def _tiers_held(connection: sqlite3.Connection) -> list[float]:
    """One look into the index for each tier, however many rows there are."""
    tiers: list[float] = []
    while True:
        (tier,) = connection.execute(
            "SELECT min(tier) FROM pages WHERE tier > ?", (tiers[-1] if tiers else -1.0,)
        ).fetchone()
        if tier is None:
            return tiers
        tiers.append(tier)


def delete_expired_events(connection: sqlite3.Connection, now: float, limit: int) -> int:
    """Delete some of the event details that are past their time, and return how many."""
    return connection.execute(
        "DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE expires <= ? LIMIT ?)", (now, limit)
    ).rowcount


def keep_as(connection: sqlite3.Connection, series: Iterable[tuple[int, tuple[Tier, ...]]], now: float) -> None:
    """Let the pages of series expire as these tiers say; those of a tier that is no more, with the others at last."""
    for id, tiers in series:
        keep = {tier.width: tier.keep for tier in tiers}
        longest = max(keep.values())
        for (tier,) in connection.execute("SELECT DISTINCT tier FROM pages WHERE series = ?", (id,)).fetchall():
            if tier in keep:
                connection.execute(
                    "UPDATE pages SET expires = min(end, ?) + ? WHERE series = ? AND tier = ?",
                    (now, keep[tier], id, tier),
                )
            else:
                connection.execute(
                    "UPDATE pages SET expires = min(expires, min(end, ?) + ?) WHERE series = ? AND tier = ?",
                    (now, longest, id, tier),
                )


def is_airy(connection: sqlite3.Connection) -> bool:
    """Whether a good part of the file is free. A little is used again at once: to give it back would be for nothing."""
    (pages_,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return bool(free > pages_ * AIR)


def shorten(connection: sqlite3.Connection) -> list[int]:
    """Give some of the pages that are free back to the disk; return how many are left, if any."""
    connection.execute("PRAGMA incremental_vacuum(100)").fetchall()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return [free] if free else []


def empty_log(path: Path) -> None:
    """Bring everything into the database and cut its log; if that cannot be just now, the next sweep does."""
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def add_segments(connection: sqlite3.Connection, blobs: Sequence[bytes]) -> int:
    """Add segments, and return the number of the newest there ever was."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'segments'").fetchone()
    newest = int(row[0]) if row else 0
    connection.executemany(
        "INSERT INTO segments VALUES (?, ?, ?)",
        [(id, _segment_checksum(id, blob), blob) for id, blob in enumerate(blobs, newest + 1)],
    )
    return newest + len(blobs)


def figures(connection: sqlite3.Connection, sink: str) -> tuple[int, int, int, dict[str, int]]:
    """How many segments, parts of pages and event details there are, and the positions of one sink's readers."""
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _COUNTED]
    rows: Collection[tuple[str, int, int]] = connection.execute(
        "SELECT reader, partition, position FROM positions WHERE sink = ?", (sink,)
    ).fetchall()
    positions = {f"{reader}/{partition}": position for reader, partition, position in rows}
    return counts[0], counts[1], counts[2], positions


_COUNTED = ("segments", "pages", "events")


def _of_part(part: Packing) -> tuple[Any, ...]:
    summary, data = columns.seal(part.summary), columns.seal(part.data)
    size, checksums = len(summary) + len(data), _checksum(part.key, summary) + _checksum(part.key, data)
    return *part.key, part.expires, size, checksums, summary, data


def _checksum(key: Key, content: bytes) -> bytes:
    return key.checksum(content).to_bytes(4, "little")


def _segment_checksum(id: int, windows: bytes) -> int:
    return crc32(windows, id & 0xFFFFFFFF)


def row_of(series: Series, kept: tuple[Tier, ...] | None = None) -> tuple[Any, ...]:
    """The row of a series as it is now: made in the loop, where nobody changes it meanwhile."""
    encode = msgspec.msgpack.encode
    known = series.seen[0] > float("-inf")
    row = (
        series.id, series.metric, encode(series.labels), encode(series.stamp),
        encode(series.kept if kept is None else kept),
        float(series.seen[0]) if known else None, series.seen[1], float(series.last),
    )  # fmt: skip
    return *row, crc32(encode(row))


def series_row(row: tuple[Any, ...]) -> SeriesRow | None:
    try:
        if crc32(msgspec.msgpack.encode(row[:-1])) != row[-1]:
            return None
    except (TypeError, ValueError):
        return None
    id, metric, labels, stamp, kept, time, position, last, _ = row
    seen = None if time is None else (time, position)
    return SeriesRow(id, metric, _labels.decode(labels), _tiers.decode(stamp), _tiers.decode(kept), seen, last)
