"""Which events have been handed in before: exact for ids that count, bounded for all others."""

from __future__ import annotations

import mmap
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from hashlib import blake2b
from typing import TypeAlias

import msgspec

from bers.records import Event

Ranges: TypeAlias = list[list[int]]


MAX_RANGES = 10_000
"""How many ranges are kept of one prefix: an emitter that counts needs one, and one that does not is bounded."""


class Memory(msgspec.Struct, array_like=True):
    """What :class:`Repeats` remembers, to be written down."""

    counted: list[tuple[str, str, Ranges]]
    others: bytes | list[tuple[str, str]]
    """Digests of eight bytes each, oldest first; or the source and the id, as they were written down once."""


class _Digests:
    """A set of numbers of 64 bits other than 0, in a third of the memory that a set of Python's would take.

    Each stands in the first free slot from its own on. The slots are pages of the system, there when they are used.
    """

    def __init__(self, limit: int) -> None:
        """``limit`` is how many there are at most, and one more."""
        slots = 1 << (2 * limit + 2).bit_length()
        self._last = slots - 1
        self._slots = memoryview(mmap.mmap(-1, 8 * slots)).cast("Q")

    def add(self, key: int) -> bool:
        """Whether it is new."""
        at = self._find(key)
        if self._slots[at]:
            return False
        self._slots[at] = key
        return True

    def has(self, key: int) -> bool:
        return self._slots[self._find(key)] != 0

    def discard(self, key: int) -> None:
        slots, last = self._slots, self._last
        free = at = self._find(key)
        while there := slots[at := (at + 1) & last]:  # What stands behind it may have had its slot in mind.
            if (at - there) & last >= (at - free) & last:
                slots[free], free = there, at
        slots[free] = 0

    def _find(self, key: int) -> int:
        """Where it is, or is to be."""
        slots, last = self._slots, self._last
        at = key & last
        while (there := slots[at]) and there != key:
            at = (at + 1) & last
        return at


class Repeats:
    """Remembers who was here.

    Ids that end in a number that counts (``SPOOL-42``) are kept as ranges and known for ever, in any order, for the
    ``prefixes`` used last. Of other ids the last ``limit`` are known, and of numbers with gaps the highest 10 000.

    Of those others a digest of 64 bits is kept, because their texts would take 60 MB: that a new one has the digest of
    one of 200 000, and is taken for a repeat, happens to one event in 90 million millions.
    """

    def __init__(self, *, limit: int = 200_000, prefixes: int = 10_000) -> None:
        self._limit = limit
        self._prefixes = prefixes
        self._counted: dict[tuple[str, str], Ranges] = {}
        self._others = _Digests(limit)
        self._order = array("Q")
        """The same in the order in which they came, as a ring: the oldest is at ``_next``, once it is full."""
        self._next = 0

    def add(self, event: Event) -> bool:
        """Remember an event; False says that it was known."""
        prefix, number = _split(event.id)
        if number is None:
            return self._add_other(_digest(event.source, event.id))
        key = (event.source, prefix)
        ranges = self._counted.pop(key, [])
        self._counted[key] = ranges  # Put back at the end: the prefix used longest ago is the first to go.
        if len(self._counted) > self._prefixes:
            del self._counted[next(iter(self._counted))]
        new = _insert(ranges, number)
        if len(ranges) > MAX_RANGES:  # Numbers that do not count: of those, the lowest are forgotten.
            del ranges[0]
        return new

    def knows(self, event: Event) -> bool:
        """Whether :meth:`add` would say that it was known; nothing is remembered."""
        prefix, number = _split(event.id)
        if number is None:
            return self._others.has(_digest(event.source, event.id))
        ranges = self._counted.get((event.source, prefix), [])
        at = bisect_right(ranges, number, key=lambda span: span[0])
        return at > 0 and number < ranges[at - 1][1]

    def forget(self, events: Iterable[Event]) -> None:
        """Undo :meth:`add` for events that were new and could not be kept: all that came last, together."""
        others: set[int] = set()
        for event in events:
            prefix, number = _split(event.id)
            if number is None:
                others.add(_digest(event.source, event.id))
            else:
                _remove(self._counted.get((event.source, prefix), []), number)
        for key in others:
            self._others.discard(key)
        for _ in range(len(others)):  # They would take the places of others, again with each attempt that fails.
            if self._order[self._next - 1] not in others:
                break
            if len(self._order) < self._limit:
                self._order.pop()
            else:
                self._next = (self._next - 1) % self._limit

    def dump(self) -> Memory:
        """Everything that is remembered, oldest first; the ranges are ours, and change with the next event."""
        counted = [(source, prefix, ranges) for (source, prefix), ranges in self._counted.items()]
        return Memory(counted, (self._order[self._next :] + self._order[: self._next]).tobytes())

    def load(self, memory: Memory) -> None:
        """Remember what :meth:`dump` returned, and nothing else."""
        self._counted = {(source, prefix): ranges for source, prefix, ranges in memory.counted}
        if isinstance(memory.others, bytes):
            others = array("Q", memory.others)
        else:
            others = array("Q", [_digest(source, id) for source, id in memory.others])
        self._order, self._next = others[-self._limit :], 0
        self._others = _Digests(self._limit)
        for key in self._order:
            self._others.add(key)

    def _add_other(self, key: int) -> bool:
        if not self._others.add(key):
            return False
        if len(self._order) < self._limit:
            self._order.append(key)
        else:
            if (oldest := self._order[self._next]) != key:  # It is, where it was forgotten and comes again.
                self._others.discard(oldest)
            self._order[self._next] = key
            self._next = (self._next + 1) % self._limit
        return True


def _digest(source: str, id: str) -> int:
    """The same in every process: it is written down. An id may hold anything, so the length says where it begins."""
    text = f"{len(source)}:{source}{id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), sys.byteorder) or 1


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
