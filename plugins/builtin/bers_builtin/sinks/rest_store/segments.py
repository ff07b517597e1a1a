"""What one commit adds: the windows since the last, as one compressed row of numbers each."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from bers import Window

from .partials import Series

Row: TypeAlias = tuple[int, float, float, int, float, float, float, float, float, int, dict[int, int] | None]

LIMIT = 1000
"""How many windows one segment holds at most."""

_decoder = msgspec.msgpack.Decoder(list[Row])


def row(series: Series, window: Window) -> Row:
    return (
        series.id, window.start, window.width, window.count, window.sum, window.min, window.max, window.last,
        *window.seen, spare(window),
    )  # fmt: skip


def encode(rows: Sequence[Row]) -> bytes:
    return msgspec.msgpack.encode(rows)


def compress(data: bytes) -> bytes:
    """zlib's own checksum guards the segment."""
    return zlib.compress(data, 1)


def decode(blob: bytes) -> Iterable[Row]:
    return _decoder.decode(zlib.decompress(blob))


def window(series: Series, row: Row) -> Window:
    _, start, width, count, total, least, most, last, time, position, sketch = row
    return restore(series, start, width, count, total, least, most, last, (time, position), sketch)


def spare(window: Window) -> dict[int, int] | None:
    """The sketch, where it says more than count and value do."""
    return None if window.min == window.max else window.sketch


def restore(
    series: Series,
    start: float,
    width: float,
    count: int,
    total: float,
    least: float,
    most: float,
    last: float,
    seen: tuple[float, int],
    sketch: dict[int, int] | None,
) -> Window:
    """The window that was written so, with the sketch that was spared."""
    if sketch is None:
        sketch = Window.of((series.metric, series.labels, start, width), most, *seen, count).sketch
    return Window(series.metric, series.labels, start, width, count, total, least, most, last, seen, sketch)
