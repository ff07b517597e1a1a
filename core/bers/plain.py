"""Plain values, as JSON and YAML give them: asked for their shape once, and typed from then on."""

from __future__ import annotations

from typing import Any, cast


def as_object(value: object) -> dict[str, Any] | None:
    """The value if it is an object with texts as keys; else None."""
    if not isinstance(value, dict):
        return None
    return cast("dict[str, Any]", value)  # The decoders of JSON and YAML that we use give text keys only.


def as_list(value: object) -> list[Any] | None:
    """The value if it is an array; else None."""
    return cast("list[Any]", value) if isinstance(value, list) else None  # Of anything is what was asked.


def as_number(value: object) -> int | float | None:
    """The value if it is a number; else None. A truth value is none."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def printable(text: str, *, keep: str = "") -> str:
    """The text without what would move a cursor, ring a bell or hide something: it came from outside.

    It is on one line, unless line feeds are among what is to be kept.
    """
    return text if text.isprintable() else "".join(one if one.isprintable() or one in keep else " " for one in text)


def count_values(value: object) -> int:
    """How many values there are on all levels of a value, itself not counted."""
    count = 0
    level: list[Any] = [value]
    while level:
        inner: list[Any] = []
        for one in level:
            if isinstance(one, (dict, list)):
                count += len(one)  # pyright: ignore[reportUnknownArgumentType]
                inner += one.values() if isinstance(one, dict) else one
        level = inner
    return count
