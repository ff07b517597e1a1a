"""Frames of the journal: what one append wrote, with a checksum, and how it is found in a file that is damaged."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

_HEAD = Struct("<IIQQ")  # Length and checksum of the rest; then where the frame starts and ends, in records.
_MAYBE_HEAD = re.compile(rb"(?=[\s\S]{14}\0\0(?!\0{6})[\s\S]{6}\0\0)")  # Positions of 48 bits, and some records.


class Frame(NamedTuple):
    """What one append wrote: the records from one position to another."""

    start: int
    end: int
    body: bytes


class Found(NamedTuple):
    """A whole frame in a file: its first byte, and the one after it."""

    at: int
    after: int
    frame: Frame


def encode(frame: Frame) -> bytes:
    """A frame as it stands in a file."""
    span = _HEAD.pack(0, 0, frame.start, frame.end)[8:]
    return _HEAD.pack(len(frame.body), crc32(frame.body, crc32(span)), frame.start, frame.end) + frame.body


def unfinished(position: int, size: int) -> bytes:
    """So many bytes, and a head, that are taken for an append that was not finished."""
    return _HEAD.pack(size + 1, 0, position, position) + bytes(size)


def frames_of(path: Path) -> Iterator[Found]:
    """The whole frames of a file; what is damaged is passed over."""
    at = position = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while at < size:
            file.seek(at)
            frame = _whole(file.read(_HEAD.size), file.read, size - at)
            if frame is None:
                file.seek(at)
                at, frame = _next_whole(file.read(size - at), at, position)
                if frame is None:
                    return
            after = at + _HEAD.size + len(frame.body)
            yield Found(at, after, frame)
            at, position = after, frame.end


def first_of(path: Path) -> Frame | None:
    """The frame with which a file begins, if that is whole."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return _whole(file.read(_HEAD.size), file.read, size)


def is_torn(path: Path, at: int) -> bool:
    """Whether what stands behind the last whole frame is the beginning of another: what ``kill -9`` leaves behind."""
    with path.open("rb") as file:
        file.seek(at)
        rest = file.read(_HEAD.size)
        left = os.fstat(file.fileno()).st_size - at
    return len(rest) < _HEAD.size or _HEAD.unpack(rest)[0] > left - _HEAD.size


def with_length_mended(path: Path, at: int, end: int) -> Frame | None:
    """The last frame, if all that is wrong with it is its length: then it looks as if it had not been finished."""
    with path.open("rb") as file:
        file.seek(at)
        head, body = file.read(_HEAD.size), file.read()
    if len(head) < _HEAD.size:
        return None
    _, checksum, start, stop = _HEAD.unpack(head)
    whole = start >= end and crc32(body, crc32(head[8:])) == checksum
    return Frame(start, stop, body) if whole else None


def _whole(head: bytes, read: Callable[[int], bytes], left: int) -> Frame | None:
    """The frame that begins with a head, if all of it is there and as it was written."""
    if len(head) < _HEAD.size:
        return None
    length, checksum, start, end = _HEAD.unpack(head)
    if length > left - _HEAD.size:  # Asked for four gigabytes, a file makes room for them first.
        return None
    body = read(length)
    whole = len(body) == length and crc32(body, crc32(head[8:])) == checksum
    return Frame(start, end, body) if whole else None


def _next_whole(data: bytes, base: int, position: int) -> tuple[int, Frame | None]:
    """The next whole frame in data that begins with a damaged one, at or after a position."""
    file = BytesIO(data)
    for match in _MAYBE_HEAD.finditer(data, 1):
        at = match.start()
        length, _, start, end = _HEAD.unpack_from(data, at)
        if position <= start <= end and at + _HEAD.size + length <= len(data):
            file.seek(at)
            if frame := _whole(file.read(_HEAD.size), file.read, len(data) - at):
                return base + at, frame
    return base + len(data), None
