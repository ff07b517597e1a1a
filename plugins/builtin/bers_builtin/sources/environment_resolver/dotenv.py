"""Read ``.env`` files as Node's ``util.parseEnv`` does, because the programs that use them are Node's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Parsed(NamedTuple):
    """What a file says, and the lines that say nothing."""

    values: Mapping[str, str]
    faults: Sequence[tuple[int, str]]
    """Line numbers, from 1, and what is wrong there. The text of a line is never repeated: it may be a secret."""


def parse_env(text: str) -> Parsed:
    """Parse a whole file; the last of several equal keys counts.

    Values are taken literally (no ``${NAME}``); only double quotes know ``\\n``; a comment begins at any ``#`` outside
    quotes. Where Node 20 takes two lines for one key, or a comment for one, this follows the later ones.
    """
    text = text.removeprefix("\ufeff").replace("\r", "")
    values: dict[str, str] = {}
    faults: list[tuple[int, str]] = []
    at, line, length = 0, 1, len(text)
    while at < length:
        end = text.find("\n", at)
        end = length if end < 0 else end
        stripped = text[at:end].strip(" \t")
        if stripped and not stripped.startswith("#"):
            raw_key, equals, _ = text[at:end].partition("=")
            key = raw_key.strip(" \t")
            if key.startswith("export "):
                key = key[7:].strip(" \t")
            if not equals:
                faults.append((line, "a line without '=' says nothing"))
            elif not key:
                faults.append((line, "a line without a name in front of '=' says nothing"))
            else:
                if key in values:
                    faults.append((line, f"{key} is set a second time; this one counts"))
                value, after, closed = _value(text, at + len(raw_key) + 1, end)
                values[key] = value
                if not closed:
                    faults.append((line, f"the quote that {key} begins with is never closed; it is part of the value"))
                line += text.count("\n", at, after)
                end = text.find("\n", after)
                end = length if end < 0 else end
        at = end + 1
        line += 1
    return Parsed(values, faults)


def _value(text: str, start: int, end: int) -> tuple[str, int, bool]:
    """The value that begins at ``start``, where it ends, and whether its quotes do."""
    while start < end and text[start] in " \t":
        start += 1
    quote = text[start : start + 1] if start < end else ""
    if quote and quote in "\"'`":
        close = text.find(quote, start + 1)
        if close < 0:
            return text[start:end], end, False
        value = text[start + 1 : close]
        return value.replace("\\n", "\n") if quote == '"' else value, close + 1, True
    return text[start:end].partition("#")[0].strip(" \t"), end, True
