"""Pages: the windows of one series, one tier and one span of time, in parts that are merged when they are read.

A folding adds a part to each page it has something for, and reads none. The parts of a page are its windows partially
added up, as everything here; :mod:`compaction` merges them, so that they stay few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from math import floor
from struct import Struct
from typing import NamedTuple, TypeAlias
from zlib import crc32

import msgspec

from bers import Tier, Window

from . import columns
from .columns import Packed
from .pace import Pace
from .partials import Series
from .strips import Strip

LONGEST = 3600
"""Of how many windows a page is made at most."""
DAY = 86_400.0
LONGEST_SPAN = DAY
"""No part is longer than that, unless one window of it is."""
SUMMED = 8
"""From so many windows on a part says what they come to."""

DISTINCT = 2048
"""Sketches with more buckets together are merged one by one, because they may have to be made smaller."""

_key = Struct("<qddddqqq")
_endless_key = Struct("<qdddqqq")

Numbered: TypeAlias = Mapping[int, Window]
"""Windows of one width, by how many of them there are between 1970 and each."""


class Key(NamedTuple):
    """What a part is of."""

    series: int
    tier: float
    """The width that the tier asks for."""
    width: float
    """The width that windows have: wider than the tier's where nothing finer came in."""
    start: float
    end: float
    """Where its first window begins and its last one ends."""
    seq: int
    """In which order parts were written: that in which they are read."""
    folds: int
    """How many foldings are in it."""
    windows: int

    def checksum(self, content: bytes) -> int:
        """Of the part as it stands in its place: one of another place is as wrong as one that was changed."""
        return crc32(content, crc32(_key.pack(*self)))

    def former_checksum(self, content: bytes) -> int:
        """As it was before it covered the end: so stand parts of a file that is older."""
        place = _endless_key.pack(self.series, self.tier, self.width, self.start, self.seq, self.folds, self.windows)
        return crc32(content, crc32(place))


def is_over(key: Key, before: float) -> bool:
    """Whether a part ends before a time; one whose end cannot be true may be damaged, and only reading it tells."""
    return key.end <= before and key.end >= key.start + (key.windows - 0.5) * key.width


class Part(NamedTuple):
    """Windows of one page that are to be written."""

    series: Series
    tier: float
    width: float
    windows: Numbered
    keep: float

    @property
    def page(self) -> int:
        return next(iter(self.windows)) // per_page(self.width, self.keep)


class Packing(NamedTuple):
    """A part on its way to the database; what is not sealed yet is sealed there."""

    key: Key
    expires: float
    summary: Packed
    data: Packed


@lru_cache(1024)
def per_page(width: float, keep: float) -> int:
    """How many windows make a page: about a fifth of what is kept, and never more than a day.

    A page leaves the disk as a whole, and a question about weeks reads the summaries of days.
    """
    most = max(1, floor(min(LONGEST, DAY / width, keep / 5 / width)))
    return next((n for n in range(most, most // 2, -1) if DAY % (n * width) == 0), most)


def number(start: float, of: float, width: float) -> int:
    """The number of the window of some width that holds the middle of a narrower one."""
    return floor((start + of / 2) / width)


def cascade(windows: Sequence[Window], tiers: Sequence[Tier]) -> list[tuple[Tier, Numbered]]:
    """The windows of each tier that windows of one width add up to: each tier from the one before, where it fits.

    A tier that is narrower than the windows keeps them as they are, and they are theirs.
    """
    folded: list[tuple[Tier, Numbered]] = []
    finest = windows[0].width
    before, base = finest, windows
    for tier in tiers:
        width = max(tier.width, finest)
        if width % before:
            before, base = finest, windows
        if width == before and folded and base is not windows:
            into = dict(folded[-1][1])
        elif width == finest and (same := _numbered(windows, width)):
            into = same
        else:
            into = _gathered(base, before, width)
        folded.append((Tier(width, tier.keep), into))
        before, base = width, list(into.values())
    return folded


def by_page(windows: Numbered, width: float, keep: float) -> Iterable[Numbered]:
    """Windows of one tier, those of each page together."""
    size = per_page(width, keep)
    if min(windows) // size == max(windows) // size:
        return (windows,)
    pages: dict[int, dict[int, Window]] = {}
    for index, window in windows.items():
        pages.setdefault(index // size, {})[index] = window
    return pages.values()


def absorb(into: Window | None, window: Window) -> Window:
    """Merge a window into another that is ours, or begin with a copy."""
    if into is None:
        return window.copy()
    into.merge(window)
    return into


async def together(windows: Iterable[Window], pace: Pace) -> Window | None:
    """All of them in one."""
    total = None
    for window in windows:
        total = absorb(total, window)
        await pace()
    return total


def pack(
    part: Part, seq: int, now: float, folds: int = 1, total: Window | None = None, *, quick: bool = False
) -> Packing:
    """A part for the database, with what it comes to. What is from the future is not kept the longer for it.

    ``quick`` where it is merged with others before long, or past its time.
    """
    windows, width = sorted(part.windows.items()), part.width
    start, end = windows[0][0] * width, (windows[-1][0] + 1) * width
    key = Key(part.series.id, part.tier, width, start, end, seq, folds, len(windows))
    summary: Packed = columns.pack([(0, total)], end - start) if total else b""
    return Packing(key, min(end, now) + part.keep, summary, columns.pack(windows, width, quick=quick))


def unpack(series: Series, key: Key, data: bytes) -> list[Window]:
    return columns.unpack(series, key.width, key.start, data)


def unpack_strip(series: Series, key: Key, data: bytes) -> Strip:
    """The same, as columns."""
    return columns.unpack_strip(series, key.width, key.start, data)


def unpack_summary(series: Series, key: Key, summary: bytes) -> Window:
    """A whole part in one window."""
    (window,) = columns.unpack(series, key.end - key.start, 0.0, summary)
    window.start = key.start
    return window


def _numbered(windows: Sequence[Window], width: float) -> dict[int, Window] | None:
    """Windows as they are, if each is where its number says."""
    half, starts = width / 2, [window.start for window in windows]
    numbers = [floor((start + half) / width) for start in starts]
    if [n * width for n in numbers] != starts:
        return None
    into = dict(zip(numbers, windows, strict=True))
    return into if len(into) == len(windows) else None


def _gathered(windows: Sequence[Window], before: float, width: float) -> dict[int, Window]:
    """Wider windows of narrower ones."""
    half = before / 2
    numbers = [floor((window.start + half) / width) for window in windows]
    if min(numbers) == max(numbers):
        return {numbers[0]: _sum(windows, numbers[0] * width, width)}
    groups: dict[int, list[Window]] = {}
    for index, window in zip(numbers, windows, strict=True):
        if index in groups:
            groups[index].append(window)
        else:
            groups[index] = [window]
    return {index: _sum(group, index * width, width) for index, group in groups.items()}


def _sum(windows: Sequence[Window], start: float, width: float) -> Window:
    """One window of several: what merging one after the other comes to, in a third of the time."""
    first = windows[0]
    if len(windows) == 1:
        return msgspec.structs.replace(first, start=start, width=width)  # It shares a sketch that nobody changes.
    sketches, counts = [window.sketch for window in windows], [window.count for window in windows]
    if sum(map(len, sketches)) > DISTINCT:
        total = msgspec.structs.replace(first, start=start, width=width, sketch=dict(first.sketch))
        for window in windows[1:]:
            total.merge(window)
        return total
    count = sum(counts)
    if count == len(windows):  # One value each.
        sketch: dict[int, int] = dict(Counter(chain.from_iterable(sketches)))
    else:
        sketch = dict(sketches[0])
        for one in sketches[1:]:
            for bucket, number in one.items():
                sketch[bucket] = sketch.get(bucket, 0) + number
    _, last, seen = max([(window.seen[0], window.last, window.seen) for window in windows])
    return Window(
        first.metric, first.labels, start, width,
        count, sum([window.sum for window in windows]),
        min([window.min for window in windows]), max([window.max for window in windows]),
        last, seen, sketch, windows[-1].tiers,
    )  # fmt: skip


def numbered(windows: Iterable[Window], width: float) -> Iterator[tuple[int, Window]]:
    for window in windows:
        yield floor((window.start + width / 2) / width), window
