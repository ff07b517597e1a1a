"""What one commit adds: the windows since the last, a row of numbers each, and few numbers where few say it all.

They are not compressed: within the minute they are in pages, and compressing cost half as much again as all the rest.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import islice
from typing import Any, TypeAlias
from zlib import crc32

import msgspec

from bers import Window

from . import marks
from .columns import is_plain
from .pace import Pace
from .partials import Partials, Series

Row: TypeAlias = Sequence[Any]
"""Series, start, width, count, last value, time, position; and sum, min, max, sketch where they do not follow."""

LIMIT = 1000
"""How many windows one segment holds at most."""
SLICE = 500
"""How many windows become rows before it is looked whether others want the loop; :data:`LIMIT` is a multiple."""

_decoder = msgspec.msgpack.Decoder(list[list[Any]])


def row(series: Series, window: Window) -> Row:
    time, position = window.seen
    if is_plain(window):
        return series.id, window.start, window.width, window.count, window.last, time, position
    return (
        series.id, window.start, window.width, window.count, window.last, time, position,
        window.sum, window.min, window.max, window.sketch,
    )  # fmt: skip


async def pack(windows: Partials, pace: Pace) -> list[bytes]:
    """All windows as segments."""
    packed: list[bytes] = []
    todo = ((series, window) for series, spans in windows for window in spans.values())
    rows: list[Row] = []
    while some := [row(series, window) for series, window in islice(todo, SLICE)]:
        rows += some
        if len(rows) >= LIMIT:
            packed.append(encode(rows))
            rows = []
        await pace()
    if rows:
        packed.append(encode(rows))
    return packed


def encode(rows: Sequence[Row]) -> bytes:
    return msgspec.msgpack.encode(rows)


def decode(blob: bytes) -> Sequence[Row]:
    return _decoder.decode(blob)


def window(series: Series, row: Row) -> Window:
    _, start, width, count, last, time, position, *more = row
    if not more:
        return Window.of((series.metric, series.labels, start, width), last, time, position, count)
    total, least, most, sketch = more
    return Window(series.metric, series.labels, start, width, count, total, least, most, last, (time, position), sketch)


def unfolded(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
    """Every segment that is not folded yet and is what was written, oldest first."""
    rows = connection.execute("SELECT id, checksum, windows FROM segments ORDER BY id").fetchall()
    return [(id, windows) for id, checksum, windows in rows if is_sound(id, checksum, windows)]


def is_sound(id: int, checksum: object, windows: object) -> bool:
    return isinstance(windows, bytes) and checksum == _checksum(id, windows)


def add(connection: sqlite3.Connection, blobs: Sequence[bytes]) -> int:
    """Add segments, and return the number of the newest there ever was."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'segments'").fetchone()
    newest = int(row[0]) if row else 0
    connection.executemany(
        "INSERT INTO segments VALUES (?, ?, ?)",
        [(id, _checksum(id, blob), blob) for id, blob in enumerate(blobs, newest + 1)],
    )
    return newest + len(blobs)


def finish(connection: sqlite3.Connection, segment: int) -> None:
    """Forget the segments whose every window is in pages."""
    connection.execute("DELETE FROM segments WHERE id <= ?", (segment,))
    marks.folded(connection, marks.Progress())


def _checksum(id: int, windows: bytes) -> int:
    return crc32(windows, id & 0xFFFFFFFF)
