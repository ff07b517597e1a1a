"""An event as one line of JSON, out of whatever the caller handed in."""

from __future__ import annotations

import itertools
import json
import math
import time as clock
from datetime import date, datetime, timezone
from enum import Enum

from bers_emit import redaction, shapes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Callable

    Redact = Callable[[str], str]


MAX_BYTES = 256 * 1024  # The intake takes no larger event.
_MAX_NODES = 20_000  # Bounds the time of a call, whatever somebody hands in.
_MAX_DEPTH = 16
_MAX_LABELS = 20
# Fields that are text, and the longest that the intake takes.
_TEXTS = {"id": 256, "subject": 1024, "source": 1024, "outcome": 200, "reason": 4096}
_TEXTS.update(dict.fromkeys(("environment", "service", "version", "artifact", "chain", "traceparent"), 1024))
_KNOWN = frozenset((*_TEXTS, "time", "duration_ms", "measures", "labels", "data"))
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


class TooLarge(ValueError):
    """The event is larger than the intake takes, even without its data."""


def encode(type: str, id: str, source: str, fields: Mapping[str, object], redact: Redact) -> bytes:
    """Return the event as one line. ``id`` and ``source`` are for an event whose fields name none."""
    cleaned = _Cleaning(redact)
    event: dict[str, object] = {"id": id, "source": source, "type": type}
    for name, value in fields.items():
        if value is not None and name != "type":
            known = redaction.MASK if redaction.is_secret(name) else _field(name, value, cleaned)
            if known is not None and known != "":
                event[name if name in _KNOWN else cleaned.text(name, 200)] = known
    if "time" not in event:
        event["time"] = timestamp(clock.time())
    line = _line(event)
    if len(line) > MAX_BYTES and "data" in event:
        event["data"] = {"dropped": f"the event had {len(line)} bytes, the intake takes {MAX_BYTES}"}
        line = _line(event)
    if len(line) > MAX_BYTES:
        raise TooLarge(f"the event has {len(line)} bytes; the intake takes {MAX_BYTES}")
    return line


def timestamp(value: object) -> str | None:
    """A time as RFC 3339, out of epoch seconds, a datetime (without a zone: local time) or text; else None."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        value = datetime.fromtimestamp(value, timezone.utc)
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return None


def number(value: object) -> float | None:
    """A finite float, or None for what is none."""
    try:
        found = float(value)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # To fail is the test.
    except Exception:  # An object's own __float__ may raise anything.
        return None
    return found if math.isfinite(found) else None


def _line(event: dict[str, object]) -> bytes:
    return _ENCODER.encode(event).encode("ascii") + b"\n"


def _field(name: str, value: object, cleaned: _Cleaning) -> object:
    if name in _TEXTS:
        return cleaned.text(value, _TEXTS[name])
    if name == "measures":
        measured = {cleaned.text(key, 200): number(of) for key, of in cleaned.items(value)}
        return {key: of for key, of in measured.items() if of is not None} or None
    if name == "labels":
        labels = cleaned.items(value)[:_MAX_LABELS]
        return {cleaned.text(key, 200): cleaned.text(of, 200) for key, of in labels} or None
    if name == "duration_ms":
        duration = number(value)
        return duration if duration is not None and duration >= 0 else None
    if name == "time":
        try:
            stamp = timestamp(value)
        except (ValueError, OverflowError, OSError):  # No such moment: now is the better guess.
            return None
        return stamp and cleaned.text(stamp, 64)
    return cleaned.value(value)


class _Cleaning:
    """Turns the values of one event into JSON's own, redacted and bounded."""

    def __init__(self, redact: Redact) -> None:
        self._redact = redact
        self._left = _MAX_NODES

    def text(self, value: object, limit: int) -> str:
        """Any object as text: never an error, never a lone surrogate."""
        if type(value) is str and len(value) <= limit and value.isascii():  # Nearly all are: 0.3 us each, not 0.7.
            return self._redact(value)[:limit]
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, (bytes, bytearray)):
            value = bytes(value[: limit + 4096]).decode("utf-8", "replace")
        elif not isinstance(value, str):
            try:
                value = str(value)
            except Exception:
                value = f"<{type(value).__name__}>"
        if not value.isascii():
            value = value.encode("utf-8", "replace").decode("utf-8")
        # Cut twice: a secret at the edge is found before it is halved.
        return self._redact(value[: limit + 4096])[:limit]

    def value(self, value: object, depth: int = 0) -> object:
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            return "..."
        if value is None or value is True or value is False:
            return value
        if isinstance(value, Enum):
            return self.value(value.value, depth + 1)
        if isinstance(value, int):
            return int(value) if -(2**63) <= value < 2**63 else number(value)
        if isinstance(value, float):
            return number(value)
        if shapes.pairs(value) is not None:
            named = [(self.text(key, 1024), of) for key, of in self.items(value)]
            return {name: self._under(name, of, depth) for name, of in named}
        many = shapes.items(value)
        if many is not None:
            return [self.value(item, depth + 1) for item in itertools.takewhile(lambda _: self._left > 0, many)]
        if isinstance(value, (datetime, date)):
            return value.isoformat()
        return self.text(value, MAX_BYTES)

    def _under(self, name: str, value: object, depth: int) -> object:
        """What stands under a name; that tells a secret, too."""
        if value is not None and redaction.is_secret(name):
            return redaction.MASK
        return self.value(value, depth + 1)

    def items(self, value: object) -> list[tuple[object, object]]:
        """The pairs of a mapping, as many as an event may have; of anything else none."""
        pairs = shapes.pairs(value)
        if pairs is None:
            return []
        self._left -= len(pairs)
        return list(itertools.islice(pairs.items(), _MAX_NODES))
