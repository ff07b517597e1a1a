"""Reading rows of a damaged table: past what cannot be read, around holes, and from the other end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from bers.checksums import COLUMN, UNREADABLE, listed, quoted

_FIRST, _LAST = -1, (1 << 63) - 1
_MOST_HOLES = 10_000


class Rescue:
    """One table of a damaged database. Iterated, it gives what can be read; then :attr:`lost` says what could not."""

    def __init__(
        self, source: sqlite3.Connection, table: str, columns: Sequence[str], key: Sequence[str], *, has_sum: bool
    ) -> None:
        """``key`` is empty where rows have numbers of their own, which most tables' do."""
        self._source = source
        self._table = quoted(table)
        self._key = key
        self._what = listed(columns) + (f", {COLUMN}" if has_sum else "")
        self._holes: list[tuple[Any, Any]] = []

    @property
    def lost(self) -> list[str]:
        """The ranges that could not be read, in words: what lies between two rows, or an end."""
        ranges: list[tuple[Any, Any]] = []
        for after, before in self._holes:
            if not self._key and ranges and after < ranges[-1][1]:
                ranges[-1] = (ranges[-1][0], before)
            else:
                ranges.append((after, before))
        return [
            f"rows between {_named(after, 'the beginning')} and {_named(before, 'the end')}" for after, before in ranges
        ]

    def __iter__(self) -> Iterator[Sequence[Any]]:
        return self._by_key() if self._key else self._by_number()

    def _by_number(self) -> Iterator[Sequence[Any]]:
        after = _FIRST
        for _ in range(_MOST_HOLES):
            try:
                for number, row in self._in_order(after):
                    after = number
                    yield row
                return
            except UNREADABLE:
                upto = self._end_of_hole(after)
            if upto is None:
                break
            self._holes.append((after, upto + 1))
            after = upto
        yield from self._backwards(after)

    def _in_order(self, after: int) -> Iterator[tuple[int, Sequence[Any]]]:
        """What can be read behind a row, each row with its number; one among others whose number is wrong is a hole.

        What follows a row says whether its number is right, so each is held back until then.
        """
        held: tuple[int, Sequence[Any]] | None = None
        astray = False
        try:
            for number, *row in self._numbered("rowid > ? ORDER BY rowid", after):
                if held and number <= after:
                    if astray:
                        raise sqlite3.DatabaseError("rows are out of order")
                    astray = True
                    continue
                if held and number <= held[0]:
                    self._holes.append((after, number))
                elif held:
                    if astray:
                        self._holes.append((held[0], number))
                    after, astray = held[0], False
                    yield held
                held = number, row
        except UNREADABLE:
            if held:
                yield held
            raise
        if held:
            yield held
            if astray:
                self._holes.append((held[0], _LAST))

    def _backwards(self, after: int) -> Iterator[Sequence[Any]]:
        """What can be read from the other end, down to a row."""
        before = _LAST
        try:
            for number, *row in self._numbered("rowid > ? ORDER BY rowid DESC", after):
                if number >= before:
                    break
                before = number
                yield row
        except UNREADABLE:
            pass
        self._holes.append((after, before))

    def _end_of_hole(self, after: int) -> int | None:
        """The number of the last row that cannot be read, of those that follow a row; None: there is nothing behind."""
        next = self._probe(after + 1)
        if next is not None:
            return next  # It is there, and what is in it cannot be read.
        bad, step = after + 1, 1
        while True:
            at = bad + step
            if at > _LAST:
                return None
            if self._probe(at) is not None:
                break
            bad, step = at, step * 2
        good = at
        while good - bad > 1:
            middle = (good + bad) // 2
            if self._probe(middle) is not None:
                good = middle
            else:
                bad = middle
        return good - 1

    def _probe(self, number: int) -> int | None:
        """The number of the first row from one on; None where that cannot be read, or there is none."""
        try:
            row = self._source.execute(
                f"SELECT rowid FROM {self._table} WHERE rowid >= ? ORDER BY rowid LIMIT 1", (number,)
            ).fetchone()
        except UNREADABLE:
            return None
        return int(row[0]) if row and row[0] >= number else None

    def _numbered(self, where: str, after: int) -> Iterator[Sequence[Any]]:
        return self._source.execute(f"SELECT rowid, {self._what} FROM {self._table} WHERE {where}", (after,))

    def _by_key(self) -> Iterator[Sequence[Any]]:
        """The same of a table whose rows have no numbers: from both ends, to what cannot be read."""
        key, width, last = listed(self._key), len(self._key), None
        try:
            for row in self._source.execute(f"SELECT {key}, {self._what} FROM {self._table} ORDER BY {key}"):
                last = row[:width]
                yield row[width:]
            return
        except UNREADABLE:
            pass
        first = None
        backwards = ", ".join(f"{quoted(one)} DESC" for one in self._key)
        try:
            for row in self._source.execute(f"SELECT {key}, {self._what} FROM {self._table} ORDER BY {backwards}"):
                if row[:width] == last:
                    return
                first = row[:width]
                yield row[width:]
        except UNREADABLE:
            pass
        self._holes.append((last, first))


def _named(place: object, end: str) -> str:
    return end if place in (None, _FIRST, _LAST) else repr(place)
