"""Windows of one series and width as bytes: a few as rows, many as columns; read back the same to the last bit.

Left out is what follows from the rest: a window of one value says it once. The position at which a window was seen
last is not kept, because nothing depends on it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, islice
from math import copysign, isfinite
from operator import mul, sub
from typing import TypeAlias

import msgspec

from bers import Window

from .numbers import Packer, Unpacker, little, of_little
from .partials import Series
from .strips import Strip

FEW = 3
"""Up to so many windows are written as rows: columns would cost more than they save."""

BUCKETS = 64
"""Unless their sketches have more buckets together than these, and it is worth the time to write them small."""

_UNKNOWN = -1
"""The position at which a window was seen that is read back."""
_ROWS, _COLUMNS, _PLAIN = b"\0", b"\1", b"\2"

Row: TypeAlias = tuple[int, int, float, float, float, float, float, dict[int, int] | None]
Packed: TypeAlias = bytes | Packer
"""Windows as bytes, or as columns that are still to be sealed."""

_rows = msgspec.msgpack.Decoder(list[Row])


def pack(windows: Sequence[tuple[int, Window]], width: float, *, quick: bool = False) -> Packed:
    """Windows by their numbers, in the order of time; ``quick`` where it is soon done again, or gone.

    What is not sealed yet is for a thread to do.
    """
    first, several = windows[0][0], [window for _, window in windows]
    if len(windows) <= FEW and (quick or sum([len(window.sketch) for window in several]) <= BUCKETS):
        return _ROWS + msgspec.msgpack.encode(
            [
                (n - first, w.count, w.sum, w.min, w.max, w.last, w.seen[0], None if is_plain(w) else w.sketch)
                for n, w in windows
            ]
        )
    offsets = [n - first for n, _ in windows]
    counts, lasts = [window.count for window in several], [window.last for window in several]
    times, plain = [window.seen[0] for window in several], _are_plain(several, counts, lasts)
    if quick and plain:
        columns = ("q", offsets), ("q", counts), ("d", lasts), ("d", times)
        return _PLAIN + b"".join([little(array(code, values)) for code, values in columns])
    packer = Packer(quick=quick)
    packer.ints(offsets)
    packer.ints(counts)
    packer.floats(lasts)
    packer.floats(times, [n * width for n, _ in windows])
    various = [] if plain else [n for n, one in enumerate(several) if not is_plain(one)]
    packer.ints(various)
    if various:
        _pack_various(packer, [several[n] for n in various])
    return packer


def seal(packed: Packed) -> bytes:
    return packed if isinstance(packed, bytes) else _COLUMNS + packed.seal()


def unpack(series: Series, width: float, start: float, data: bytes) -> list[Window]:
    """The windows of a part, in the order of time."""
    metric, labels, place, first = series.metric, series.labels, _UNKNOWN, round(start / width)
    if data[:1] == _ROWS:
        return [
            Window(metric, labels, (first + n) * width, width, count, total, least, most, last, (time, place), sketch)
            if sketch is not None
            else Window.of((metric, labels, (first + n) * width, width), last, time, place, count)
            for n, count, total, least, most, last, time, sketch in _rows.decode(memoryview(data)[1:])
        ]
    of = Window.of
    if data[:1] == _PLAIN:
        size = len(data) // 4
        parts = [memoryview(data)[1 + n * size : 1 + (n + 1) * size] for n in range(4)]
        values = [of_little(code, part).tolist() for code, part in zip("qqdd", parts, strict=True)]
        return [
            of((metric, labels, (first + n) * width, width), last, time, place, count)
            for n, count, last, time in zip(*values, strict=True)
        ]
    columns = Unpacker(data[1:])
    offsets, counts = columns.ints(), columns.ints()
    starts = [(first + n) * width for n in offsets]
    lasts = columns.floats(len(offsets))
    times = columns.floats(len(offsets), starts)
    various = columns.ints()
    plain: Iterator[tuple[float, int, float, float]] = zip(starts, counts, lasts, times, strict=True)
    if not various:
        return [of((metric, labels, at, width), last, time, place, count) for at, count, last, time in plain]
    others = _unpack_various(columns, len(various))
    if len(various) == len(offsets):
        return [
            Window(metric, labels, at, width, count, total, least, most, last, (time, place), sketch)
            for (at, count, last, time), (total, least, most, sketch) in zip(plain, others, strict=True)
        ]
    where = set(various)
    windows: list[Window] = []
    for n, (at, count, last, time) in enumerate(plain):
        if n in where:
            total, least, most, sketch = next(others)
            windows.append(Window(metric, labels, at, width, count, total, least, most, last, (time, place), sketch))
        else:
            windows.append(of((metric, labels, at, width), last, time, place, count))
    return windows


def unpack_strip(series: Series, width: float, start: float, data: bytes) -> Strip:
    """The same, as columns: they are not made into windows where all of them have several values."""
    if data[:1] == _COLUMNS:
        columns, first = Unpacker(data[1:]), round(start / width)
        offsets, counts = columns.ints(), columns.ints()
        starts = [(first + n) * width for n in offsets]
        lasts = columns.floats(len(offsets))
        times = columns.floats(len(offsets), starts)
        if len(columns.ints()) == len(offsets):
            totals, least, most = [columns.floats(len(offsets)) for _ in range(3)]
            sizes, firsts, gaps, more = columns.ints(), columns.ints(), columns.ints(), columns.ints(less=1)
            return Strip(
                series.metric, series.labels, width, starts, counts, totals, least, most, lasts, times,
                list(accumulate(sizes, initial=0)), array("i", _keys(sizes, firsts, gaps)), array("q", more),
            )  # fmt: skip
    return Strip.of(unpack(series, width, start, data))


def _are_plain(windows: Sequence[Window], counts: Sequence[int], lasts: Sequence[float]) -> bool:
    """Whether everything of every window follows from its last value and its count."""
    bits = array("d", lasts).tobytes()
    return (
        bits == array("d", [window.min for window in windows]).tobytes()
        and bits == array("d", [window.max for window in windows]).tobytes()
        and array("d", map(mul, lasts, counts)) == array("d", [window.sum for window in windows])
        and all(len(window.sketch) == 1 for window in windows)
        and isfinite(sum(lasts))
        and 0.0 not in lasts
    )


def is_plain(window: Window) -> bool:
    """The same of one window."""
    last = window.last
    if not (window.min == last == window.max and window.sum == last * window.count and len(window.sketch) == 1):
        return False
    if last:
        return isfinite(last)
    return len({copysign(1.0, zero) for zero in (window.min, window.max, window.sum, last)}) == 1


def _pack_various(packer: Packer, windows: Sequence[Window]) -> None:
    """What windows of several values have besides."""
    packer.floats([window.sum for window in windows])
    packer.floats([window.min for window in windows])
    packer.floats([window.max for window in windows])
    sketches = [sorted(window.sketch.items()) for window in windows]
    packer.ints([len(sketch) for sketch in sketches])
    keys = [[key for key, _ in sketch] for sketch in sketches]
    packer.ints([one[0] for one in keys if one])
    packer.ints(list(chain.from_iterable(map(sub, one[1:], one) for one in keys)))
    packer.ints([count for sketch in sketches for _, count in sketch])


def _unpack_various(columns: Unpacker, count: int) -> Iterator[tuple[float, float, float, dict[int, int]]]:
    totals, least, most = columns.floats(count), columns.floats(count), columns.floats(count)
    sizes, firsts, gaps, tallies = (iter(columns.ints()) for _ in range(4))
    for total, low, high, size in zip(totals, least, most, sizes, strict=True):
        sketch: dict[int, int] = {}
        if size:
            keys = accumulate(islice(gaps, size - 1), initial=next(firsts))
            sketch = dict(zip(keys, tallies, strict=False))
        yield total, low, high, sketch


def _keys(sizes: Sequence[int], firsts: Sequence[int], gaps: Sequence[int]) -> list[int]:
    """The buckets of sketches, one after another."""
    keys, first, gap = list[int](), iter(firsts), iter(gaps)
    for size in sizes:
        if size:
            key = next(first)
            keys.append(key)
            for more in islice(gap, size - 1):
                key += more
                keys.append(key)
    return keys
