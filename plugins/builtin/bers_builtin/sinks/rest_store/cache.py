"""Decoded parts of pages, those used last, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from .strips import Strip


class PageCache:
    """By the number of their row, which no other row ever has: what it holds stays true until the row is deleted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: OrderedDict[int, tuple[int, Strip]] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._parts)

    def get(self, id: int) -> Strip | None:
        """A part, which nobody may change."""
        known = self._parts.get(id)
        return known[1] if known else None

    def put(self, id: int, strip: Strip) -> None:
        self.drop([id])
        size = strip.size
        self._parts[id] = (size, strip)
        self.size += size
        while self.size > self._limit:
            self.drop([next(iter(self._parts))])

    def touch(self, id: int) -> None:
        """Say that a part was of use."""
        if id in self._parts:
            self._parts.move_to_end(id)

    def drop(self, ids: Iterable[int]) -> None:
        for id in ids:
            if known := self._parts.pop(id, None):
                self.size -= known[0]

    def clear(self) -> tuple[int, int]:
        """Forget everything; return how many parts and bytes that was."""
        cleared = len(self._parts), self.size
        self._parts.clear()
        self.size = 0
        return cleared
