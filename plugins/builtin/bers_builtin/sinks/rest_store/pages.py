"""Pages: one series, one tier, one span of time, in columns; and the cascade that fills them."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import NamedTuple, TypeAlias

import msgspec

from bers import BersError, Tier, Window

from .partials import Series
from .segments import restore, spare

Columns: TypeAlias = tuple[
    list[int], list[int], list[float], list[float], list[float], list[float], list[float], list[int],
    list[dict[int, int] | None],
]  # fmt: skip
Head: TypeAlias = tuple[int, int, float, float, float, float, float, int, dict[int, int] | None]

_columns = msgspec.msgpack.Decoder(Columns)
_head = msgspec.msgpack.Decoder(Head)


class PageKey(NamedTuple):
    series: int
    tier: int
    """0 is the finest."""
    width: float
    number: int
    """How many such spans lie between 1970 and this one."""

    @property
    def start(self) -> float:
        return self.number * windows_per_page(self.width) * self.width

    @property
    def end(self) -> float:
        return (self.number + 1) * windows_per_page(self.width) * self.width


class Summary(NamedTuple):
    """A whole page in one window."""

    window: Window
    filled: int
    """How many windows of the page hold something."""


@dataclass(frozen=True)
class Page:
    """Never changed: what is merged in makes another one, so that readers see the old or the new."""

    windows: Mapping[int, Window]
    """By the number of windows between 1970 and it."""
    summary: Summary
    expires: float = 0.0

    @property
    def size(self) -> int:
        """How much memory it takes, approximately."""
        return sum(400 + 100 * len(window.sketch) for window in self.windows.values())


class Raw(NamedTuple):
    """A page as the database has it, decompressed."""

    summary: bytes
    columns: bytes
    expires: float


def windows_per_page(width: float) -> int:
    """Fine windows come ten to a folding; a coarse one is rewritten at each, and its page with it."""
    return 60 if width < 60 else 12


def number(start: float, of: float, width: float) -> int:
    """The number of the window of some width that holds the middle of a narrower one."""
    return floor((start + of / 2) / width)


def cascade(windows: Sequence[Window], tiers: Sequence[Tier]) -> list[tuple[Tier, Mapping[int, Window]]]:
    """The windows of each tier that windows of one width add up to: each tier from the one before, where it fits.

    A tier that is narrower than the windows keeps them as they are.
    """
    folded: list[tuple[Tier, Mapping[int, Window]]] = []
    finest = windows[0].width
    before, base = finest, windows
    for tier in tiers:
        width = max(tier.width, finest)
        if width % before:
            before, base = finest, windows
        into: dict[int, Window] = {}
        for window in base:
            index = number(window.start, before, width)
            if known := into.get(index):
                known.merge(window)
            else:
                into[index] = msgspec.structs.replace(
                    window, start=index * width, width=width, sketch=dict(window.sketch)
                )
        folded.append((Tier(width, tier.keep), into))
        before, base = width, list(into.values())
    return folded


def merged(page: Page | None, added: Mapping[int, Window], key: PageKey, expires: float) -> Page:
    """The page with more windows merged into it."""
    windows = dict(page.windows) if page else {}
    summary = page.summary.window.copy() if page else None
    for index, window in added.items():
        known = windows.get(index)
        if known:
            known = known.copy()
            known.merge(window)
        windows[index] = known or window
        summary = absorb(summary, window)
    if summary is None:
        raise ValueError("a page of nothing")
    summary.start, summary.width = key.start, key.end - key.start
    return Page(windows, Summary(summary, len(windows)), max(expires, page.expires if page else 0.0))


def absorb(into: Window | None, window: Window) -> Window:
    """Merge a window into another that is ours, or begin with a copy."""
    if into is None:
        return window.copy()
    into.merge(window)
    return into


def pack(page: Page, key: PageKey) -> tuple[bytes, bytes]:
    """The summary and the columns of a page, not compressed yet."""
    first = key.number * windows_per_page(key.width)
    rows = [
        (index - first, w.count, w.sum, w.min, w.max, w.last, *w.seen, spare(w))
        for index, w in sorted(page.windows.items())
    ]
    total = page.summary.window
    head = (
        page.summary.filled, total.count, total.sum, total.min, total.max, total.last, *total.seen, spare(total)
    )  # fmt: skip
    return msgspec.msgpack.encode(head), msgspec.msgpack.encode(list(zip(*rows, strict=True)))


def compress(columns: bytes) -> bytes:
    return zlib.compress(columns, 3)


def checksum(data: bytes) -> int:
    return zlib.crc32(data)


def decompress(key: PageKey, data: bytes, crc: int) -> bytes:
    """The columns of a page, whose checksum must be right."""
    if checksum(data) != crc:
        raise BersError(
            f"the page of series {key.series} at {key.start:.0f} is damaged: its checksum is wrong; "
            f"restore the metrics database from a backup"
        )
    return zlib.decompress(data)


def unpack_summary(series: Series, key: PageKey, summary: bytes) -> Summary:
    filled, count, total, least, most, last, time, position, sketch = _head.decode(summary)
    width = key.end - key.start
    window = restore(series, key.start, width, count, total, least, most, last, (time, position), sketch)
    return Summary(window, filled)


def unpack(series: Series, key: PageKey, raw: Raw) -> Page:
    first, width = key.number * windows_per_page(key.width), key.width
    windows = {
        first + offset: restore(
            series, (first + offset) * width, width, count, total, least, most, last, (time, position), sketch
        )
        for offset, count, total, least, most, last, time, position, sketch in zip(
            *_columns.decode(raw.columns), strict=True
        )
    }
    return Page(windows, unpack_summary(series, key, raw.summary), raw.expires)


class PageCache:
    """Decoded pages, those used last, in bounded memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pages: OrderedDict[PageKey, tuple[int, int, Page]] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._pages)

    def get(self, key: PageKey, crc: int) -> Page | None:
        """The page, if it is still the one with that checksum."""
        known = self._pages.get(key)
        return known[2] if known and known[0] == crc else None

    def put(self, key: PageKey, crc: int, page: Page) -> None:
        self.drop([key])
        size = page.size
        self._pages[key] = (crc, size, page)
        self.size += size
        while self.size > self._limit:
            self.drop([next(iter(self._pages))])

    def touch(self, key: PageKey) -> None:
        """Say that a page was of use."""
        if key in self._pages:
            self._pages.move_to_end(key)

    def drop(self, keys: Iterable[PageKey]) -> None:
        for key in keys:
            if known := self._pages.pop(key, None):
                self.size -= known[1]

    def clear(self) -> tuple[int, int]:
        """Forget everything; return how many pages and bytes that was."""
        cleared = len(self._pages), self.size
        self._pages.clear()
        self.size = 0
        return cleared


def page_numbers(windows: Mapping[int, Window], width: float) -> Mapping[int, Mapping[int, Window]]:
    """Windows of one tier by the page they belong to."""
    pages: dict[int, dict[int, Window]] = {}
    for index, window in windows.items():
        pages.setdefault(index // windows_per_page(width), {})[index] = window
    return pages
