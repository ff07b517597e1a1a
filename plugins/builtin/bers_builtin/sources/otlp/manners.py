"""What senders of OTLP are answered with: how much was rejected and why, in the form in which they sent it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from bers import Answer, Manners, Refused, Rejection

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

MAX_REASONS = 5


def manners(rejected: str) -> Manners:
    """How requests of one signal are answered; ``rejected`` is what the number of rejected items is called in JSON."""
    return Manners(_taken(rejected), _refused)


def _taken(name: str) -> Callable[[str, Sequence[Rejection]], Answer]:
    def taken(media: str, rejected: Sequence[Rejection]) -> Answer:
        message = _reasons(rejected)
        if media == PROTOBUF:
            # ExportXPartialSuccess: 1 is the number, 2 the message; in the response it is field 1.
            partial = _number(1, len(rejected)) + _text(2, message) if rejected else b""
            return Answer(_bytes(1, partial) if rejected else b"", PROTOBUF)
        # A 64-bit number is text in protobuf's JSON, and a number is understood as well.
        partial_success = {"partialSuccess": {name: len(rejected), "errorMessage": message}} if rejected else {}
        return Answer(msgspec.json.encode(partial_success), JSON)

    return taken


def _refused(media: str, refused: Refused) -> Answer:
    """A `google.rpc.Status`: 2 is the message; the code is the status of HTTP, as OTLP has it."""
    message = f"{refused}; {refused.hint}" if refused.hint and refused.hint not in str(refused) else str(refused)
    if media == PROTOBUF:
        return Answer(_text(2, message), PROTOBUF)
    return Answer(msgspec.json.encode({"message": message}), JSON)


def _reasons(rejected: Sequence[Rejection]) -> str:
    """Why, each once, the most frequent first."""
    counted = Counter(one.error for one in rejected).most_common()
    told = [f"{reason} ({count})" if count > 1 else reason for reason, count in counted[:MAX_REASONS]]
    if len(counted) > MAX_REASONS:
        told.append(f"and {len(counted) - MAX_REASONS} other reasons")
    return "; ".join(told)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """A number as protobuf writes it, seven bits in a byte, the last ones first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
