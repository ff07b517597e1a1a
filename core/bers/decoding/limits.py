"""What an event may hold at most: beyond that nobody could keep it, or could mean it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from bers.plain import as_list, as_object
from bers.records import Run, Vcs

MAX_REASON = 4096
MAX_LABELS = 20
MAX_MEASURES = 200
MAX_LABEL = 200
MAX_NAME = 120
MAX_PART = 1024
"""Characters of a text in `vcs` and in `run`."""

MAX_DEPTH = 32
"""How deep `data` may be nested: its own objects and arrays, one in the other."""

MAX_KEYS = 1_000
"""Keys of one object in `data`."""

MAX_KEY = 256
"""Characters of a key in `data`."""

MAX_STRING = 64 << 10
"""Characters of a text in `data`."""

MAX_VALUES = 10_000
"""Values in `data`, on all levels: each takes many times its bytes in memory."""

MAX_MARKS = 2 * MAX_VALUES + 1_000
"""Commas and brackets of one event, outside of texts: a value has two at most; a thousand are for all but `data`."""

MAX_ATTEMPT = 1_000_000
MAX_NUMBER = 1e18
"""Beyond that a number is a mark for something else, and sums of some of them are no numbers any more."""

FIRST_TIME, LAST_TIME = -62_135_769_600.0, 253_402_300_799.0
"""The years 1 to 9999, in seconds since 1970: no calendar, and no database of ours, goes further."""

# A text that does not end goes to the end: else each quote in it would be tried, and take as long as the first.
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


def seems_full(body: bytes | bytearray) -> bool:
    """Whether there are so many commas and brackets in it that to decode it may take long. Costs a fraction of that."""
    return len(body) > MAX_MARKS and _marks(body) > MAX_MARKS


def check_marks(document: bytes | bytearray | memoryview) -> None:
    """Raise ValueError where a document in JSON is so full that decoding alone would take a tenth of a second."""
    if len(document) > MAX_MARKS:
        body = bytes(document)
        if _marks(body) > MAX_MARKS and _marks(_TEXT.sub(b"", body)) > MAX_MARKS:  # Those in texts cost nothing.
            raise ValueError(f"holds more than {MAX_VALUES} values; `data` of an event has at most so many")


def _marks(body: bytes | bytearray) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def check_time(seconds: float) -> float:
    """The time, if a calendar has it. Raise ValueError where none has."""
    if not FIRST_TIME <= seconds <= LAST_TIME:
        raise ValueError(f"time: {seconds:g} s since 1970 is in no calendar; write it as in '2026-11-23T08:00:00Z'")
    return seconds


def check_data(data: dict[str, Any]) -> dict[str, Any]:
    """The data, if it is within the limits and the journal can hold it. Raise ValueError where it is not."""
    if data:
        _check_shape(data)
        try:
            msgspec.msgpack.encode(data)
        except OverflowError:
            raise ValueError("data: a whole number is too large; at most 64 bits, or write it as text") from None
    return data


def _check_shape(data: dict[str, Any]) -> None:
    """Go through the data level by level, so that depth costs no stack."""
    level: list[dict[str, Any] | list[Any]] = [data]
    count = 0
    for _ in range(MAX_DEPTH):
        inner: list[dict[str, Any] | list[Any]] = []
        for one in level:
            values: Iterable[Any] = one
            if isinstance(one, dict):
                _check_keys(one)
                values = one.values()
            count += len(one)
            for value in values:
                if isinstance(value, str):
                    if len(value) > MAX_STRING:
                        raise ValueError(f"data: a text of {len(value)} characters is too long; at most {MAX_STRING}")
                elif (nested := as_object(value) or as_list(value)) is not None:
                    inner.append(nested)
        if count > MAX_VALUES:
            raise ValueError(f"data: {count} values are too many; an event has at most {MAX_VALUES}")
        if not inner:
            return
        level = inner
    raise ValueError(f"data: is nested too deeply; at most {MAX_DEPTH} levels")


def _check_keys(object: dict[str, Any]) -> None:
    if len(object) > MAX_KEYS:
        raise ValueError(f"data: an object with {len(object)} keys is too large; at most {MAX_KEYS}")
    for key in object:
        if len(key) > MAX_KEY:
            raise ValueError(f"data: the key {key[:40]!r} is too long; at most {MAX_KEY} characters")


def check_parts(vcs: Vcs | None, run: Run | None) -> None:
    """Raise ValueError where a part of an event says more than anybody could mean."""
    for name, part in (("vcs", vcs), ("run", run)):
        for field in part.__struct_fields__ if part else ():
            value = getattr(part, field)
            if isinstance(value, str) and len(value) > MAX_PART:
                raise ValueError(f"{name}.{field}: {len(value)} characters are too many; at most {MAX_PART}")
    if run and abs(run.attempt) > MAX_ATTEMPT:
        raise ValueError(f"run.attempt: is out of range; at most {MAX_ATTEMPT}")
    if vcs and vcs.committed_at is not None:
        try:
            check_time(vcs.committed_at)
        except ValueError as exc:
            raise ValueError(f"vcs.committed_at: {str(exc).removeprefix('time: ')}") from None
