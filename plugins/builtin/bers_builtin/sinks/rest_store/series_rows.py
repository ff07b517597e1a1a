"""Rows of series: what is known of each, and whether that is what was written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from bers import Labels, Tier

from .partials import Series

SERIES = "id, metric, labels, stamp, kept, time, position, last, checksum"
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


def load_series(connection: sqlite3.Connection) -> list[SeriesRow]:
    """Every series whose row is what was written."""
    return [row for row in map(series_row, connection.execute(f"SELECT {SERIES} FROM series")) if row]


def save_series(connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> None:
    """Write down series, as :func:`row_of` says."""
    connection.executemany("INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


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
