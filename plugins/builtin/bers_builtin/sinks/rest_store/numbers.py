"""Columns of numbers as bytes: without loss to the last bit, small, and at the speed of C."""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from math import isfinite, ulp
from operator import add, sub
from typing import Any

import msgspec

SMALL = 512
"""Bytes that are compressed in one go; of more, each plane is compressed as it suits that plane."""
LEVEL = 6
MANY = 200
"""Of how many values it is looked closely whether their differences are smaller."""
TRIED = 6
"""On about how many values of a column it is tried out how many decimals they have."""
DECIMALS = 12
EXACT = 2.0**53
"""Up to here every integer is a float."""

_RAW, _SAME, _BINARY, _APART, _NEAR = -1, -2, -3, -4, 32
"""How floats are written: as they are; all the same; in units of 2**-22; equally far from what each is near to; from
here on, with decimals and what lacks."""
_UNIT = 2.0**22
"""The resolution of a time of our days as a float."""

_CODES = {1: "B", 2: "H", 3: "I", 4: "I", 5: "Q", 6: "Q", 7: "Q", 8: "Q"}
_SIZES = {size: array(code).itemsize for size, code in _CODES.items()}
_head = msgspec.msgpack.Decoder(list[Any])


class Packer:
    """Takes columns one after another; :class:`Unpacker` gives them back in the same order."""

    def __init__(self, *, quick: bool = False) -> None:
        """``quick`` looks for nothing that would make floats smaller, and compresses nothing: for what is soon gone."""
        self._quick = quick
        self._head: list[int | float] = []
        self._planes: list[bytes] = []

    def ints(self, values: Sequence[int]) -> None:
        """Integers, as differences where these are smaller, and of them only as many bytes as the largest has."""
        head, order = self._head, 0
        head.append(len(values))
        if not values:
            return
        first: list[int] = []
        least, most = min(values), max(values)
        while order < 2 and least != most and (not self._quick or most - least == len(values) - 1):
            rest = list(map(sub, values[1:], values))
            low, high = min(rest), max(rest)
            if (len(rest) < MANY and high - low >= most - least) or (len(rest) >= MANY and not _gains(values, rest)):
                break
            first.append(values[0])
            values, order, least, most = rest, order + 1, low, high
        size = ((most - least).bit_length() + 7) // 8
        head += (order, *first, least, size)
        if size:
            data = little(array(_CODES[size], [value - least for value in values] if least else values))
            step = len(data) // len(values)
            self._planes += [data[n::step] for n in range(size)]

    def floats(self, values: Sequence[float], near: Sequence[float] | None = None) -> None:
        """Floats: as integers where they have few decimals, or byte by byte; ``near`` is what each is close to."""
        column = array("d", values)
        raw = little(column)
        if near is None and raw == raw[:8] * len(values):
            self._head.append(_SAME)
            self._head += column[:1].tolist()
        elif near is not None and _is_apart(values, near, apart := values[0] - near[0]):
            self._head += (_APART, apart)
        elif self._quick or not (self._decimal(column, near) or (near is not None and self._binary(column, near))):
            self._head += (_RAW, len(values))
            self._planes += [raw[n::8] for n in range(8)]

    def _decimal(self, column: array[float], near: Sequence[float] | None) -> bool:
        """As integers, if all have few decimals, or nearly: what a sum gets wrong is written besides."""
        most, least = max(column), min(column)
        if not isfinite(sum(column)):
            return False
        some = column if len(column) <= TRIED else column[:: len(column) // TRIED]
        for decimals in range(DECIMALS + 1):
            factor = 10.0**decimals
            if max(most, -least) * factor >= EXACT:
                return False
            if not _has_decimals(some, factor):
                continue
            scaled = [round(value * factor) for value in column] if decimals else list(map(int, column))
            back = array("d", [value / factor for value in scaled]) if decimals else array("d", scaled)
            if back.tobytes() == column.tobytes():
                self._head.append(decimals)
                self.ints(_relative(scaled, near, factor))
                return True
            lacking = list(map(sub, array("q", column.tobytes()), array("q", back.tobytes())))
            if max(map(abs, lacking)) < 128:
                self._head.append(decimals + _NEAR)
                self.ints(_relative(scaled, near, factor))
                self.ints(lacking)
                return True
        return False

    def _binary(self, column: array[float], near: Sequence[float]) -> bool:
        """As integers in the units that a time of our days has as a float."""
        if not isfinite(sum(column)) or max(map(abs, column)) * _UNIT >= EXACT:
            return False
        scaled = [int(value * _UNIT) for value in column]
        if array("d", [value / _UNIT for value in scaled]).tobytes() != column.tobytes():
            return False
        self._head.append(_BINARY)
        self.ints(_relative(scaled, near, _UNIT))
        return True

    def seal(self) -> bytes:
        """Everything as one piece. Nearly all of it is compression, so it may be done in a thread."""
        sizes, packed = [len(plane) for plane in self._planes], b"".join(self._planes)
        if self._quick:
            return self._framed(0, sizes, packed)
        if len(packed) > SMALL:
            pieces = [_smallest(plane) for plane in self._planes]
            sizes = list(chain.from_iterable((len(p), len(z)) for p, z in zip(self._planes, pieces, strict=True)))
            return self._framed(2, sizes, b"".join(pieces))
        if len(squeezed := zlib.compress(packed, 1)) < len(packed):
            return self._framed(1, sizes, squeezed)
        return self._framed(0, sizes, packed)

    def _framed(self, kind: int, sizes: list[int], body: bytes) -> bytes:
        head = msgspec.msgpack.encode((kind, sizes, self._head))
        return len(head).to_bytes(2, "little") + head + body


class Unpacker:
    """Gives back the columns of a :class:`Packer`."""

    def __init__(self, data: bytes) -> None:
        (kind, sizes, head), used = _first(data)
        self._head = iter(head)
        self._planes = iter(_split(kind, sizes, data[used:]))

    def ints(self, less: int = 0) -> list[int]:
        """The next column of integers, each so much less."""
        head = self._head
        count = next(head)
        if not count:
            return []
        order = next(head)
        first = [next(head) for _ in range(order)] if order else ()
        least, size = next(head), next(head)
        if not order:
            least -= less
        if size == 1:  # As most are: bytes are integers already.
            plane = next(self._planes)
            values = [value + least for value in plane] if least else list(plane)
        elif size:
            step = _SIZES[size]
            data = bytearray((count - order) * step)
            for n in range(size):
                data[n::step] = next(self._planes)
            values = of_little(_CODES[size], data).tolist()
            if least:
                values = [value + least for value in values]
        else:
            values = [least] * (count - order)
        for n, one in enumerate(reversed(first), 1):
            values = list(accumulate(values, initial=one - less if n == order else one))
        return values

    def floats(self, count: int, near: Sequence[float] | None = None) -> list[float]:
        how = next(self._head)
        if how == _SAME:
            return [next(self._head)] * count if count else []
        if how == _APART:
            apart = next(self._head)
            return [one + apart for one in near or ()]
        if how == _RAW:
            data = bytearray(8 * next(self._head))
            for n in range(8):
                data[n::8] = next(self._planes)
            return of_little("d", data).tolist()
        factor = _UNIT if how == _BINARY else 10.0 ** (how % _NEAR)
        scaled = _absolute(self.ints(), near, factor)
        values = [value / factor for value in scaled]
        if how >= _NEAR:
            bits = array("q", array("d", values).tobytes())
            near_bits = array("q", [bit + more for bit, more in zip(bits, self.ints(), strict=True)])
            values = array("d", near_bits.tobytes()).tolist()
        return values


def _gains(values: Sequence[int], rest: Sequence[int]) -> bool:
    """Whether differences are so much smaller than the values around their mean that it pays to write them."""
    middle, tend = sum(values) // len(values), sum(rest) // len(rest)
    return sum([abs(value - tend) for value in rest]) < sum([abs(value - middle) for value in values])


def _has_decimals(values: Iterable[float], factor: float) -> bool:
    """Whether values are what they are with so many decimals, up to what a sum gets wrong."""
    for value in values:
        lacks = round(value * factor) / factor - value
        if lacks and (abs(lacks) > 64 * ulp(value) or abs(lacks) > 0.01 / factor):
            return False
    return True


def _is_apart(values: Sequence[float], near: Sequence[float], apart: float) -> bool:
    """Whether each is as far from what it is close to as all others, to the last bit."""
    return array("d", [one + apart for one in near]).tobytes() == array("d", values).tobytes()


def _relative(values: list[int], near: Sequence[float] | None, factor: float) -> list[int]:
    return values if near is None else list(map(sub, values, [round(n * factor) for n in near]))


def _absolute(values: list[int], near: Sequence[float] | None, factor: float) -> list[int]:
    return values if near is None else list(map(add, values, [round(n * factor) for n in near]))


def little(column: array[Any]) -> bytes:
    """Little-endian, whatever the machine."""
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()


def of_little(code: str, data: bytes | bytearray | memoryview) -> array[Any]:
    """The other way round."""
    column: array[Any] = array(code)
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _smallest(plane: bytes) -> bytes:
    """Noise has no repetitions, and finding false ones costs bytes; other columns are nothing but repetitions."""
    squeezed = min((_squeeze(plane, how) for how in (zlib.Z_RLE, zlib.Z_DEFAULT_STRATEGY)), key=len)
    return squeezed if len(squeezed) < len(plane) else plane


def _squeeze(plane: bytes, strategy: int) -> bytes:
    squeezer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
    return squeezer.compress(plane) + squeezer.flush()


def _split(kind: int, sizes: Sequence[int], data: bytes) -> Iterable[bytes]:
    if kind == 1:
        data = zlib.decompress(data)
    at = 0
    if kind == 2:
        for plain, packed in zip(sizes[::2], sizes[1::2], strict=True):
            piece = data[at : at + packed]
            yield piece if plain == packed else zlib.decompress(piece, -zlib.MAX_WBITS)
            at += packed
        return
    for size in sizes:
        yield data[at : at + size]
        at += size


def _first(data: bytes) -> tuple[list[Any], int]:
    """What stands before the planes, and how many bytes it takes."""
    used = 2 + int.from_bytes(data[:2], "little")
    return _head.decode(data[2:used]), used
