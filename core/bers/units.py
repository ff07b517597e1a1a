"""Values with units, as people write them: ``100ms``, ``5m``, ``16MiB``, ``5%``; converted once, when they are read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isfinite, nan
from typing import Annotated, Any, Self, TypeAlias

from msgspec import Meta

_NUMBER = re.compile(r"\s*([-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµ%/{}_]*)\s*")

_SECONDS = {
    "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0,
}  # fmt: skip
_MILLISECONDS = {name: seconds * 1000 for name, seconds in _SECONDS.items()}
_BYTES = {
    "B": 1, "By": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


_ROUNDED = 0.9995
"""What is at least so much of a unit is written as one of it, and not as a thousand of the one below."""


class Duration(float):
    """Seconds, written with a unit: us, ms, s, m, h, d or w."""

    def __new__(cls, value: str | float) -> Self:
        seconds = _parse(value, _SECONDS, "a duration such as 100ms, 5s, 5m or 7d") if isinstance(value, str) else value
        if not isfinite(seconds) or seconds < 0:
            raise ValueError(f"{value!r} is not a duration; it must not be negative")
        return super().__new__(cls, seconds)

    def __str__(self) -> str:
        return format_duration(self)


class Interval(Duration):
    """Seconds between two times, written with a unit; more than none."""

    def __new__(cls, value: str | float) -> Self:
        seconds = super().__new__(cls, value)
        if not seconds:
            raise ValueError(f"{value!r} is too short; it must be more than 0s")
        return seconds


class Size(int):
    """Bytes, written with a unit: B, kB, MB, GB, KiB, MiB or GiB."""

    def __new__(cls, value: str | float) -> Self:
        size = _parse(value, _BYTES, "a size such as 64KiB or 512MiB") if isinstance(value, str) else value
        if not isfinite(size) or size < 0:
            raise ValueError(f"{value!r} is not a size; it must not be negative")
        return super().__new__(cls, round(size))

    def __str__(self) -> str:
        for unit in ("GiB", "MiB", "KiB"):
            if self and self % _BYTES[unit] == 0:
                return f"{int(self) // _BYTES[unit]}{unit}"
        return f"{int(self)}B"


class Percent(float):
    """A share of a hundred, written with a percent sign."""

    def __new__(cls, value: str | float) -> Self:
        share = _parse(value, {"%": 1.0}, "a share such as 80%") if isinstance(value, str) else value
        return super().__new__(cls, share)

    def __str__(self) -> str:
        return f"{float(self):g}%"


class Quantity(str):
    """A threshold as it was written; :func:`quantity` converts it once the metric, and so its unit, is known."""

    __slots__ = ()


TYPES: tuple[type, ...] = (Interval, Duration, Size, Percent, Quantity)
"""Every type that :func:`decode` makes out of text."""

_PERIOD: dict[str, Any] = {
    "pattern": "^(?:[1-9][0-9]{0,9}(?:ms)?|[1-9][0-9]{0,6}s|[1-9][0-9]{0,4}m|[1-9][0-9]{0,2}h"
    "|(?:[1-9][0-9]?|[1-3][0-9]{2})d|[1-4]?[1-9]w)$",
    "examples": ["5m", "24h", "7d", "300000"],
}

Period: TypeAlias = Annotated[str, Meta(extra_json_schema=_PERIOD)]
"""Text in a request that :func:`period` reads; a description of the request says how it is best written."""

EXAMPLES = {Interval: "1s", Duration: "5m", Size: "64MiB", Percent: "80%", Quantity: "100ms"}


def _pattern(units: Iterable[str], *, positive: bool = False) -> str:
    """What text with one of these units looks like, for JSON Schema."""
    something = r"(?=[0-9.]*[1-9])" if positive else ""
    return rf"^\s*{something}\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?\s*({'|'.join(units)})\s*$"


_PATTERNS: dict[type, str] = {
    Interval: _pattern(_SECONDS, positive=True),
    Duration: _pattern(_SECONDS),
    Size: _pattern(_BYTES),
    Percent: r"^\s*[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?\s*%\s*$",
}


def decode(type: type, value: Any) -> Any:
    """Make a value of one of our types; a ``dec_hook`` for msgspec. Raise ValueError with the remedy."""
    if type is Quantity and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return Quantity(value)
    if type in TYPES:
        if isinstance(value, type):
            return value
        if isinstance(value, str):
            return type(value)
        example = EXAMPLES[type]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise ValueError(f"{value!r} has no unit; write it as in {example!r}")
        raise ValueError(f"expected text with a unit, as in {example!r}")
    raise NotImplementedError(type)


def encode(value: Any) -> Any:
    """Write one of our values as a person would; an ``enc_hook`` for msgspec."""
    if isinstance(value, TYPES):
        return str(value)
    raise NotImplementedError(value.__class__)


def schema(type: type) -> dict[str, Any]:
    """The JSON Schema of one of our types; a ``schema_hook`` for msgspec."""
    if type in TYPES:
        described = {"description": (type.__doc__ or "").partition("\n")[0], "examples": [EXAMPLES[type]]}
        if type is Quantity:
            return {"type": ["string", "number"], **described}
        return {"type": "string", "pattern": _PATTERNS[type], **described}
    raise NotImplementedError(type)


def quantity(text: str, unit: str) -> float:
    """Convert a threshold to the unit of its metric (``ms``, ``s``, ``By``, ``By/s``, ``%`` or a bare count).

    Raise ValueError where the units do not fit, or a unit is missing.
    """
    if unit in ("ms", "s"):
        return _parse(text, _MILLISECONDS if unit == "ms" else _SECONDS, "a duration such as 100ms")
    if unit in ("By", "By/s"):
        per_second = text.removesuffix("/s") if unit == "By/s" else text
        return _parse(per_second, _BYTES, "a size such as 1MB")
    if unit == "%":
        return _parse(text, {"%": 1.0}, "a share such as 80%")
    try:
        number = float(text)
    except ValueError:
        number = nan
    if not isfinite(number):
        raise ValueError(f"{text!r} is not a number; this metric counts {unit!r}")
    return number


def period(text: str, *, longest: float = 400 * 86400.0) -> float:
    """Seconds of a ``?period=``: ``5m``, ``7d``, or an integer in milliseconds."""
    try:
        seconds = int(text) / 1000 if text.isascii() and text.isdigit() else float(Duration(text))
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text[:40]!r} is not a period; write 5m, 24h, 7d, or milliseconds as a whole number"
        ) from None
    if not 0 < seconds <= longest:
        raise ValueError(
            f"{text!r} is out of range; a period is longer than nothing and at most {longest / 86400:g} days"
        )
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds with the largest unit that divides them: ``90s`` is ``90s``, ``300`` is ``5m``."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _SECONDS[unit] and not seconds % _SECONDS[unit]:
            return f"{int(seconds / _SECONDS[unit])}{unit}"
    return f"{seconds * 1000:.12g}ms" if seconds < 1 else f"{seconds:.15g}s"


def format_value(value: float | None, unit: str) -> str:
    """Write a measured value for people: ``930 ms``, ``2.4 s``, ``412 kB``, ``95.2 %``."""
    if value is None or not isfinite(value):
        return "–"
    size = abs(value) / _ROUNDED
    if unit == "ms":
        for name in ("d", "h", "min", "s"):
            if size >= _MILLISECONDS[name]:
                return f"{_short(value / _MILLISECONDS[name])} {name}"
        if 0 < size < 1:
            return f"{_short(value * 1000)} µs"
    if unit.startswith("By"):
        for name in ("TB", "GB", "MB", "kB"):
            if size >= _BYTES[name]:
                return f"{_short(value / _BYTES[name])} {name}{unit[2:]}"
        return f"{value:.0f} B{unit[2:]}"
    text = f"{value:.0f}" if value == int(value) else _short(value)
    return text if unit in ("", "1") or unit.startswith("{") else f"{text} {unit}"


def _short(value: float) -> str:
    """Three digits that mean something, and never an exponent where the number is large."""
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def _parse(text: str, units: dict[str, Any], wanted: str) -> float:
    match = _NUMBER.fullmatch(text)
    if not match or match[2] not in units:
        why = "has no unit" if match and not match[2] else "is not understood"
        raise ValueError(f"{text!r} {why}; expected {wanted}")
    number, scale = float(match[1]), float(units[match[2]])
    value = number * scale if scale >= 1 else number / round(1 / scale)  # 350ms is 0.35s, and not a little more.
    if not isfinite(value):
        raise ValueError(f"{text!r} is too large; expected {wanted}")
    return value
