"""Event details: what happened, in full, for as long as its type deserves."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from math import inf
from struct import Struct
from struct import error as struct_error
from typing import Any, TypeAlias
from zlib import crc32

import msgspec

from bers import Event, Refused, redact, rfc3339
from bers_builtin.sinks._types import matches

from . import marks
from .config import RestStoreConfig
from .file import ROW_BYTES, Held
from .losses import Losses

EventRow: TypeAlias = tuple[str, str, str, float, float, str, bytes, int]

Place: TypeAlias = tuple[float, str, str]
"""Time, source and id of an event: no two have the same."""
Found: TypeAlias = tuple[Place, bytes | None]
Read: TypeAlias = tuple[Sequence[Found], Place | None]
"""What was found, and the place of the last that was looked at, where there may be more behind it."""
_Row: TypeAlias = tuple[Any, ...]

_HALVINGS = 12
"""Of the whole retention: 90 days are cut to within half an hour."""

_PLACED = "rowid, source, id, type, time, expires, subject, body, checksum"
_decoder = msgspec.msgpack.Decoder(Event)
_place = Struct("<dH")

# Loose index scan: one look-up per type, however many events there are.
_TYPES = """
WITH RECURSIVE types (type) AS (
    SELECT min(type) FROM events UNION ALL SELECT (SELECT min(type) FROM events WHERE type > types.type) FROM types
    WHERE type IS NOT NULL
) SELECT type FROM types WHERE type IS NOT NULL
"""

_SOURCES = """
WITH RECURSIVE sources (source) AS (
    SELECT min(source) FROM events
    UNION ALL SELECT (SELECT min(source) FROM events WHERE source > sources.source) FROM sources
    WHERE source IS NOT NULL
) SELECT source FROM sources WHERE source IS NOT NULL
"""


def row(event: Event, config: RestStoreConfig, now: float) -> EventRow:
    """What is kept of an event. One from the future is not kept the longer for it."""
    body = msgspec.msgpack.encode(event)
    expires = min(event.time, now) + keep(event.type, config)
    place = event.source, event.id, event.type, float(event.time), float(expires), event.subject
    return *place, body, checksum((*place, body))


def keep(type: str, config: RestStoreConfig) -> float:
    """For how many seconds the details of such events are kept."""
    return config.lasting_keep if any(matches(type, one) for one in config.lasting) else config.events_keep


def checksum(row: Sequence[Any]) -> int:
    """Of the details of an event as they stand in their place."""
    return crc32(msgspec.msgpack.encode(row))


def is_sound(row: Sequence[Any]) -> bool:
    """Whether a row of the table is what was written."""
    try:
        return isinstance(row[6], bytes) and checksum(row[:7]) == row[7]
    except (TypeError, ValueError, OverflowError):
        return False


def add(connection: sqlite3.Connection, rows: Iterable[EventRow]) -> None:
    """Keep events; one that two pipelines bring is kept once."""
    connection.executemany("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def types(connection: sqlite3.Connection) -> list[str]:
    return [type for (type,) in connection.execute(_TYPES)]


def sources(connection: sqlite3.Connection) -> list[str]:
    return [source for (source,) in connection.execute(_SOURCES)]


def held(connection: sqlite3.Connection, types: Collection[str]) -> Held:
    """What there is of the details of some types; their bytes by what some of them take."""
    rows, oldest = connection.execute(
        f"SELECT count(*), min(time) FROM events WHERE type IN ({holes(types)})", list(types)
    ).fetchone()
    (size,) = connection.execute(
        f"SELECT avg(length(body)) FROM (SELECT body FROM events WHERE type IN ({holes(types)}) LIMIT 100)", list(types)
    ).fetchone()
    return Held(rows, round(rows * (ROW_BYTES + (size or 0))), oldest)


def delete_expired(connection: sqlite3.Connection, now: float, limit: int) -> int:
    """Delete some of the details that are past their time, and return how many."""
    return connection.execute(
        "DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE expires <= ? LIMIT ?)", (now, limit)
    ).rowcount


def delete_oldest(connection: sqlite3.Connection, types: Collection[str], limit: int) -> tuple[int, float]:
    """Delete the oldest details of some types; return their bytes, and until when they would stay."""
    rows = connection.execute(
        f"DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE type IN ({holes(types)}) "
        "ORDER BY time LIMIT ?) RETURNING length(body), expires",
        [*types, limit],
    ).fetchall()
    return sum(size for size, _ in rows), max((expires for _, expires in rows), default=0.0)


def newest(
    connection: sqlite3.Connection,
    losses: Losses,
    pattern: str,
    *,
    subject: str,
    since: float,
    until: float,
    texts: Sequence[bytes],
    now: float,
    limit: int,
    after: Place,
) -> Read:
    """The newest events of the types that a pattern means, newest first: those behind a place."""
    chosen = [type for type in types(connection) if matches(type, pattern)]
    return newest_of(
        connection, losses, chosen, subject=subject, since=since, until=until, texts=texts, now=now, limit=limit,
        after=after,
    )  # fmt: skip


def newest_of(
    connection: sqlite3.Connection,
    losses: Losses,
    types: Sequence[str],
    *,
    subject: str = "",
    since: float = -inf,
    until: float = inf,
    texts: Sequence[bytes] = (),
    now: float,
    limit: int,
    after: Place,
) -> Read:
    """The same of these types. So many are looked at; those that have not all of the texts in them are left out.

    SQLite searches for them, in whose time others have the interpreter, and only what is found costs any of ours.
    """
    where = (
        "type = ? AND time >= ? AND expires > ? AND (subject = ? OR ?) AND time <= ? AND (time, source, id) < (?, ?, ?)"
    )
    last = after
    values: tuple[Any, ...] = (now, subject, not subject, min(until, after[0]), *after)

    def ordered(columns: str, where: str, values: Sequence[Any], most: int, left_out: int = 0) -> list[_Row]:
        one = f"SELECT {columns} FROM events WHERE {where}"
        return connection.execute(
            f"{' UNION ALL '.join([one] * len(types))} ORDER BY time DESC, source DESC, id DESC LIMIT ? OFFSET ?",
            (*(value for type in types for value in (type, *values)), most, left_out),
        ).fetchall()

    if not types:
        return (), None
    if not texts:
        found = sound(connection, losses, ordered(_PLACED, where, (since, *values), limit), limit)
        return found, found[-1][0] if len(found) == limit else None
    ends = ordered("time, source, id", where, (since, *values), 1, limit - 1)
    for time, source, id in ends:
        last = _number(time), str(source), str(id)
        since = last[0]  # In place of the other one: SQLite looks into its index with one of two bounds alone.
        where, values = f"{where} AND (time, source, id) >= (?, ?, ?)", (*values, *last)
    where, values = f"{where}{' AND instr(body, ?)' * len(texts)}", (*values, *texts)
    return sound(connection, losses, ordered(_PLACED, where, (since, *values), limit), limit), last if ends else None


def begin(connection: sqlite3.Connection, losses: Losses, now: float) -> None:
    """Write down when this file began to be kept, if that is not known yet, or not any more."""
    if marks.since(connection) is None:
        if connection.execute("SELECT 1 FROM kept").fetchone():
            losses.lost_beginning(connection)
        marks.keep_since(connection, now)


def began(connection: sqlite3.Connection, types: Sequence[str], since: float, now: float) -> float:
    """Since when there are records: as long as this file is kept, and longer where older ones were handed in."""
    oldest = [
        time
        for type in types
        for (time,) in connection.execute(
            "SELECT min(time) FROM events WHERE type = ? AND time BETWEEN ? AND ?", (type, since, now)
        )
        if time is not None
    ]
    kept = marks.since(connection)
    return float(max(since, min([*oldest, now if kept is None else kept])))


def newest_since(connection: sqlite3.Connection, types: Sequence[str], since: float, now: float, most: int) -> float:
    """From when on there are at most so many events of these types: ``since``, if it can be."""

    def number(start: float) -> int:
        return sum(
            connection.execute(
                "SELECT count(*) FROM events WHERE type = ? AND time BETWEEN ? AND ?", (type, start, now)
            ).fetchone()[0]
            for type in types
        )

    low, high = since, now
    if number(low) <= most:
        return low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if number(middle) <= most else (middle, high)
    return high


def slice_of(
    connection: sqlite3.Connection, type: str, after: tuple[float, int], limit: int
) -> list[tuple[float, int, float, bytes]]:
    """The next events of one type behind a time and a row, oldest first: time, row, until when it is kept, and body.

    A row that is not what was written has a body of nothing.
    """
    rows = connection.execute(
        "SELECT time, rowid, * FROM events WHERE type = ? AND (time, rowid) > (?, ?) AND time < ? "
        "ORDER BY time, rowid LIMIT ?",
        (type, *after, inf, limit),
    ).fetchall()
    return [(time, rowid, _number(row[4]), row[6] if is_sound(row) else b"") for time, rowid, *row in rows]


def by_name(connection: sqlite3.Connection, names: Iterable[tuple[str, str]]) -> list[tuple[float, bytes]]:
    """The events of these sources and ids that there are, in the same way: until when each is kept, and its body."""
    found: list[tuple[float, bytes]] = []
    for name in names:
        row = connection.execute("SELECT * FROM events WHERE source = ? AND id = ?", name).fetchone()
        if row:
            found.append((_number(row[4]), row[6] if is_sound(row) else b""))
    return found


def of_id(connection: sqlite3.Connection, losses: Losses, id: str, source: str, now: float, limit: int) -> list[Found]:
    """The events of an id, of one source or of any, newest first."""
    rows: list[_Row] = []
    for one in [source] if source else sources(connection):
        rows += connection.execute(
            "SELECT rowid, * FROM events WHERE source = ? AND id = ? AND expires > ?", (one, id, now)
        ).fetchall()
    return sound(connection, losses, rows, limit)


def as_text(place: Place) -> str:
    """A place as whoever reads on hands it back."""
    time, source, id = place
    name = source.encode()
    return (_place.pack(time, len(name)) + name + id.encode()).hex()


def place(text: str) -> Place:
    """The place that was handed back; without one the very beginning. Raise Refused where it is none."""
    if not text:
        return inf, "", ""
    try:
        told = bytes.fromhex(text)
        time, length = _place.unpack_from(told)
    except (ValueError, struct_error):
        raise Refused(
            "invalid", f"after: {text[:40]!r} is no place in the records; hand back `next` as it was told"
        ) from None
    name = told[_place.size :]
    return time, name[:length].decode(errors="replace"), name[length:].decode(errors="replace")


def sound(connection: sqlite3.Connection, losses: Losses, rows: Iterable[_Row], limit: int) -> list[Found]:
    """The newest of rows, each behind its number; one that is not what was written is set aside, and has no body."""
    found: list[Found] = []
    for (time, source, id), rowid, row in sorted(map(_placed, rows), reverse=True)[:limit]:
        whole = is_sound(row)
        if not whole:
            losses.lost_event(connection, rowid, str(row[2]), id, _number(row[4]))
        found.append(((time, source, id), row[6] if whole else None))
    return found


def _placed(row: _Row) -> tuple[Place, int, _Row]:
    """A row by its place; one that is damaged may have anything anywhere."""
    rowid, *columns = row
    return (_number(columns[3]), str(columns[0]), str(columns[1])), rowid, tuple(columns)


def _number(value: Any) -> float:
    """What stands where a number was written; damaged, it may be a text."""
    return float(value) if isinstance(value, (int, float)) else 0.0


def expiry(connection: sqlite3.Connection, event: Event) -> float | None:
    """Until when the details of an event are kept; None where they are not."""
    row = connection.execute(
        "SELECT expires FROM events WHERE source = ? AND id = ?", (event.source, event.id)
    ).fetchone()
    return float(row[0]) if row else None


def holes(values: Collection[str]) -> str:
    """As many places for values as there are, as SQL."""
    return ", ".join("?" * len(values))


def decoded(body: bytes) -> Event:
    return _decoder.decode(body)


def told(event: Event) -> dict[str, Any]:
    """An event as CloudEvents would have it, without secrets."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return {"specversion": "1.0", **redact(fields), "time": rfc3339(event.time), "timestamp": round(event.time * 1000)}
