"""Which events have been handed in before: exact for ids that count, bounded for all others."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from bers.records import Event

Ranges: TypeAlias = list[list[int]]


MAX_RANGES = 10_000
"""How many ranges are kept of one prefix: an emitter that counts needs one, and one that does not is bounded."""


class Memory(msgspec.Struct, array_like=True):
    """What :class:`Repeats` remembers, to be written down."""

    counted: list[tuple[str, str, Ranges]]
    others: list[tuple[str, str]]


class Repeats:
    """Remembers who was here.

    Ids that end in a number that counts (``SPOOL-42``) are kept as ranges and known for ever, in any order, for the
    ``prefixes`` used last. Of other ids the last ``limit`` are known, and of numbers with gaps the highest 10 000.
    """

    def __init__(self, *, limit: int = 200_000, prefixes: int = 10_000) -> None:
        self._limit = limit
        self._prefixes = prefixes
        self._counted: dict[tuple[str, str], Ranges] = {}
        self._others: dict[tuple[str, str], None] = {}

    def add(self, event: Event) -> bool:
        """Remember an event; False says that it was known."""
        prefix, number = _split(event.id)
        if number is None:
            return self._add_other((event.source, event.id))
        key = (event.source, prefix)
        ranges = self._counted.pop(key, [])
        self._counted[key] = ranges  # Put back at the end: the prefix used longest ago is the first to go.
        if len(self._counted) > self._prefixes:
            del self._counted[next(iter(self._counted))]
        new = _insert(ranges, number)
        if len(ranges) > MAX_RANGES:  # Numbers that do not count: of those, the lowest are forgotten.
            del ranges[0]
        return new

    def forget(self, events: Iterable[Event]) -> None:
        """Undo :meth:`add` for events that were new and could not be kept."""
        for event in events:
            prefix, number = _split(event.id)
            if number is None:
                self._others.pop((event.source, event.id), None)
            else:
                _remove(self._counted.get((event.source, prefix), []), number)

    def dump(self) -> Memory:
        """Everything that is remembered, oldest first."""
        counted = [(source, prefix, ranges) for (source, prefix), ranges in self._counted.items()]
        return Memory(counted, list(self._others))

    def load(self, memory: Memory) -> None:
        """Remember what :meth:`dump` returned, and nothing else."""
        self._counted = {(source, prefix): ranges for source, prefix, ranges in memory.counted}
        self._others = dict.fromkeys(memory.others)

    def _add_other(self, key: tuple[str, str]) -> bool:
        if key in self._others:
            return False
        self._others[key] = None
        if len(self._others) > self._limit:
            del self._others[next(iter(self._others))]
        return True


def _split(id: str) -> tuple[str, int | None]:
    prefix, _, digits = id.rpartition("-")
    if not prefix or not digits.isdecimal() or not digits.isascii() or len(digits) > 16:
        return id, None
    if digits[0] == "0" and digits != "0":  # "7" and "07" are one number and two ids: 07 is not one.
        return id, None
    return prefix, int(digits)


def _insert(ranges: Ranges, number: int) -> bool:
    at = bisect_right(ranges, number, key=lambda span: span[0])
    before = ranges[at - 1] if at else None
    after = ranges[at] if at < len(ranges) else None
    if before and number < before[1]:
        return False
    if before and before[1] == number:
        before[1] += 1
        if after and after[0] == before[1]:
            before[1] = after[1]
            del ranges[at]
    elif after and after[0] == number + 1:
        after[0] = number
    else:
        ranges.insert(at, [number, number + 1])
    return True


def _remove(ranges: Ranges, number: int) -> None:
    at = bisect_right(ranges, number, key=lambda span: span[0]) - 1
    if at >= 0 and number < ranges[at][1]:
        start, stop = ranges[at]
        ranges[at : at + 1] = [span for span in ([start, number], [number + 1, stop]) if span[0] < span[1]]
