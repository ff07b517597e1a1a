"""What one commit adds: the windows since the last, a row of numbers each, and few numbers where few say it all.

They are not compressed: within the minute they are in pages, and compressing cost half as much again as all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from bers import Window

from .columns import is_plain
from .partials import Series

Row: TypeAlias = Sequence[Any]
"""Series, start, width, count, last value, time, position; and sum, min, max, sketch where they do not follow."""

LIMIT = 1000
"""How many windows one segment holds at most."""

_decoder = msgspec.msgpack.Decoder(list[list[Any]])


def row(series: Series, window: Window) -> Row:
    time, position = window.seen
    if is_plain(window):
        return series.id, window.start, window.width, window.count, window.last, time, position
    return (
        series.id, window.start, window.width, window.count, window.last, time, position,
        window.sum, window.min, window.max, window.sketch,
    )  # fmt: skip


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
