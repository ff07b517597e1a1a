"""Rows of pages: how parts are written, found, checked and deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from struct import error as struct_error
from typing import Any, NamedTuple

from bers import Tier

from . import columns
from .file import ROW_BYTES, Held
from .pages import Key, Packing

_KEY = "series, tier, width, start, end, seq, folds, windows"


class Found(NamedTuple):
    """A part of a page as the database has it."""

    id: int
    key: Key
    summary: bytes
    data: bytes | None
    """None where it is not needed."""


def add_parts(connection: sqlite3.Connection, parts: Iterable[Packing]) -> None:
    connection.executemany(
        f"INSERT INTO pages ({_KEY}, expires, bytes, checksums, summary, data) VALUES ({', '.join('?' * 13)})",
        map(_of_part, parts),
    )


def parts_between(
    connection: sqlite3.Connection, series: int, tier: float, start: float, end: float, longest: float
) -> list[tuple[int, Key]]:
    """The parts of one tier that touch a span of time; none is longer than ``longest``.

    So does one whose end cannot be true: only whoever reads it finds out that it is damaged.
    """
    return _parts(
        connection,
        "series = ? AND tier = ? AND start > ? AND start < ? "
        "AND NOT coalesce(end <= ? AND end >= start + (windows - 0.5) * width, 0) ORDER BY start",
        (series, tier, start - longest, end, start),
    )


def parts_within(
    connection: sqlite3.Connection, series: int, tier: float, width: float, start: float, end: float
) -> list[tuple[int, Key]]:
    """The parts of one page, in the order in which they came."""
    half = width / 2
    return _parts(
        connection,
        "series = ? AND tier = ? AND start > ? AND start < ? AND end < ? AND width = ? ORDER BY seq, id",
        (series, tier, start - half, end, end + half, width),
    )


def parts_of(connection: sqlite3.Connection, series: int, tier: float) -> list[tuple[int, Key]]:
    """All parts of a tier, in the order in which they came."""
    return _parts(connection, "series = ? AND tier = ? ORDER BY seq, id", (series, tier))


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


def read_part(connection: sqlite3.Connection, id: int, key: Key) -> Found | None:
    """A part; None where it is not what was written."""
    return next(iter(read_parts(connection, {id: key})), None)


def read_parts(connection: sqlite3.Connection, keys: Mapping[int, Key], *, whole: bool = True) -> list[Found]:
    """Those of some parts that are what was written, with their windows or with what these come to alone."""
    data = "data" if whole else "NULL"
    return [
        Found(id, keys[id], summary, data)
        for id, checksums, summary, data in connection.execute(
            f"SELECT id, checksums, summary, {data} FROM pages WHERE id IN ({','.join(map(str, keys))})"
        )
        if part_is_sound(keys[id], checksums, summary, data)
    ]


def part_is_sound(key: Key, checksums: bytes, summary: bytes, data: bytes | None) -> bool:
    try:
        return _is_sound(key, checksums[:4], summary) and (data is None or _is_sound(key, checksums[4:], data))
    except (TypeError, ValueError, OverflowError, struct_error):
        return False


def delete_parts(connection: sqlite3.Connection, ids: Sequence[int]) -> None:
    connection.execute(f"DELETE FROM pages WHERE id IN ({','.join(map(str, ids))})")


def delete_expired(connection: sqlite3.Connection, now: float, limit: int) -> list[int]:
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


def held_by_tier(connection: sqlite3.Connection) -> dict[float, Held]:
    """What there is of each tier: read from an index alone."""
    held: dict[float, Held] = {}
    for tier in _tiers_held(connection):
        rows, size = connection.execute("SELECT count(*), sum(bytes) FROM pages WHERE tier = ?", (tier,)).fetchone()
        (oldest,) = connection.execute(
            "SELECT min(start) FROM (SELECT start FROM pages WHERE tier = ? ORDER BY expires LIMIT 20)", (tier,)
        ).fetchone()
        held[tier] = Held(rows, size + rows * ROW_BYTES, oldest)
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


def _parts(connection: sqlite3.Connection, which: str, values: Sequence[float]) -> list[tuple[int, Key]]:
    rows = connection.execute(f"SELECT id, {_KEY} FROM pages WHERE {which}", values)
    return [(id, Key(*key)) for id, *key in rows]


def _of_part(part: Packing) -> tuple[Any, ...]:
    summary, data = columns.seal(part.summary), columns.seal(part.data)
    size, checksums = len(summary) + len(data), _checksum(part.key, summary) + _checksum(part.key, data)
    return *part.key, part.expires, size, checksums, summary, data


def _is_sound(key: Key, checksum: bytes, content: bytes) -> bool:
    # A part that is written today has never the former checksum, so its end stays covered.
    return checksum == _checksum(key, content) or checksum == key.former_checksum(content).to_bytes(4, "little")


def _checksum(key: Key, content: bytes) -> bytes:
    return key.checksum(content).to_bytes(4, "little")
