"""How much there is in a request, counted before anything is made of it: of two bytes a library makes two hundred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from bers import Refused

MAX_OBJECTS = 250_000
"""Objects in a request in JSON: 10 000 points with ten attributes each."""

MAX_VALUES = 1_500_000
"""Values in a request in JSON: 10 000 points with 150 each."""

MAX_FIELDS = 400_000
"""The same for protobuf, where fields are counted."""

SMALL = 64 << 10
"""A request in protobuf that is no longer than this is not worth a count."""

SLICE = 5_000
"""Fields that are counted, or senders that are looked at, before others have their turn."""

MAX_NULLS = 512 << 10
"""Bytes of JSON at most, where a `null` has to be taken out of it: that goes through all of it value by value."""

MAX_IDLE = 20_000
"""Metrics and log records without anything in them, and those who send none: they make no events, and take time."""

_LENGTH, _FIXED = 2, {1: 8, 5: 4}
"""The types of the wire: a length and so many bytes; so many bytes."""

_NUMBERS: Final = {7: "pair", 5: "exemplar"}
_CHILDREN: Final[Mapping[str, Mapping[int, str]]] = {
    "metrics": {1: "metrics of one"},
    "metrics of one": {1: "resource", 2: "metrics of a scope"},
    "metrics of a scope": {1: "scope", 2: "metric"},
    "metric": {5: "numbers", 7: "numbers", 9: "histogram", 10: "exponential", 11: "summary", 12: "pair"},
    "numbers": {1: "number"},
    "number": _NUMBERS,
    "histogram": {1: "histogram point"},
    "histogram point": {9: "pair", 8: "exemplar"},
    "exponential": {1: "exponential point"},
    "exponential point": {1: "pair", 8: "buckets", 9: "buckets", 11: "exemplar"},
    "summary": {1: "summary point"},
    "summary point": {7: "pair", 6: "quantile"},
    "exemplar": {7: "pair"},
    "logs": {1: "logs of one"},
    "logs of one": {1: "resource", 2: "logs of a scope"},
    "logs of a scope": {1: "scope", 2: "record"},
    "record": {5: "any", 6: "pair"},
    "resource": {1: "pair"},
    "scope": {3: "pair"},
    "pair": {2: "any"},
    "any": {5: "array", 6: "pairs"},
    "array": {1: "any"},
    "pairs": {1: "pair"},
}
"""Which fields of which message are messages themselves, by OTLP's numbers."""


def check_json(body: bytes | bytearray) -> None:
    """Raise Refused where there are more objects than anybody sends at once."""
    if (found := body.count(b"{")) > MAX_OBJECTS:
        raise _too_much(f"{found} objects are too many; at most {MAX_OBJECTS}")
    if (found := body.count(b",")) > MAX_VALUES:
        raise _too_much(f"{found} values are too many; at most {MAX_VALUES}")


def check_protobuf(signal: Literal["metrics", "logs"], body: bytes) -> Iterator[None]:
    """Raise Refused where there are more fields than anybody sends at once, ValueError where the bytes are none. Now
    and then others may have their turn.
    """
    if len(body) <= SMALL:
        return
    left = MAX_FIELDS
    waiting: list[tuple[int, int, str]] = [(0, len(body), signal)]
    while waiting:
        at, end, message = waiting.pop()
        children = _CHILDREN.get(message, {})
        while at < end:
            left -= 1
            if left < 0:
                raise _too_much(f"more than {MAX_FIELDS} fields are too many")
            if not left % SLICE:
                yield
            tag, at = _varint(body, at)
            kind = tag & 7
            if kind == 0:
                _, at = _varint(body, at)
            elif kind == _LENGTH:
                length, at = _varint(body, at)
                if (inner := children.get(tag >> 3)) is not None:
                    waiting.append((at, at + length, inner))
                at += length
            elif kind in _FIXED:
                at += _FIXED[kind]
            else:
                raise ValueError(f"a field of the unknown type {kind}")
        if at != end:
            raise ValueError("a field is longer than the message that it is in")


def check_idle(count: int) -> None:
    """Raise Refused where too many tell nothing."""
    if count > MAX_IDLE:
        raise idle_too_long()


def idle_too_long() -> Refused:
    return _too_much(f"more than {MAX_IDLE} senders, metrics or log records with nothing in them are too many")


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while True:
            byte = body[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift > 63:
                raise ValueError("a number has more than 64 bits")
    except IndexError:
        raise ValueError("the bytes end in the middle of a field") from None


def _too_much(message: str) -> Refused:
    return Refused("too_large", message, hint="send less at once")
