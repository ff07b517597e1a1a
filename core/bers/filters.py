"""What of many records is wanted, as people write it: ``outcome=failure and labels.branch~^main``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, NamedTuple, TypeAlias, cast

import msgspec

from bers.errors import BersError, unknown
from bers.patterns import Pattern, PatternError
from bers.records import Event, Run, Vcs, Window
from bers.redaction import MASK, redact

MAX_FILTER = 1000
"""How many characters a filter may have."""
MAX_TEXT = 1000
"""How many characters of a value a pattern is looked for in."""

Record: TypeAlias = Event | Window

_TERM = re.compile(
    r"""\s*(?P<field>[A-Za-z_][A-Za-z0-9_]*(?:\.[^\s=!<>~'"]+)?)\s*(?P<sign>!=|>=|<=|!~|==?|>|<|~)\s*"""
    r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>[^\s'"]\S*|))(?=\s|$)"""
)
_AND = re.compile(r"\s+(?i:and)(?=\s)")
_WORD = re.compile(r"\s*(\S*)")

_OPEN = ("labels", "measures", "data")
"""Fields that hold what emitters call as they like."""
_STRUCTS: Mapping[str, tuple[str, ...]] = {"vcs": Vcs.__struct_fields__, "run": Run.__struct_fields__}
_TEXTS = frozenset(
    {
        "id", "source", "type", "subject", "environment", "outcome", "reason", "service", "version", "artifact", "vcs",
        "run", "labels", "chain", "traceparent", "origin", "cause",
    }
)  # fmt: skip
"""Fields that hold nothing but texts, or numbers."""
_PLAIN = tuple(
    dict.fromkeys(
        name
        for name in (*Event.__struct_fields__, *Window.__struct_fields__)
        if name not in (*_OPEN, *_STRUCTS, "sketch", "tiers", "seen")
    )
)


class FilterError(BersError):
    """A filter that cannot be understood: where, why, and what would be right."""


class _Term(NamedTuple):
    path: tuple[str, ...]
    wanted: Callable[[Any], bool]


class Filter:
    """Terms that must all hold. Secrets are masked before they are compared: what cannot be read cannot be guessed."""

    def __init__(self, text: str = "") -> None:
        """Raise FilterError where the text is no filter."""
        if len(text) > MAX_FILTER:
            raise FilterError(f"a filter may have {MAX_FILTER} characters, and this one has {len(text)}")
        self.text = text
        self.texts: list[str] = []
        """Texts that every record that is wanted has in it, as they are: a search for them need not understand it."""
        self._terms: list[_Term] = []
        at = 0
        while text.strip():
            match = _TERM.match(text, at)
            if match is None:
                raise FilterError(_broken(text, at))
            self._terms.append(_term(match))
            self.texts += _texts(match)
            at = match.end()
            if not text[at:].strip():
                break
            joint = _AND.match(text, at)
            if joint is None:
                raise FilterError(_unjoined(text, at))
            at = joint.end()

    def holds(self, record: Record) -> bool:
        """Whether this record is wanted; raise TooMuchWork where that cannot be found out in little time."""
        return all(wanted(_value(record, path)) for path, wanted in self._terms)


def _term(match: re.Match[str]) -> _Term:
    field, sign, text = match["field"], match["sign"], _said(match)
    name, _, rest = field.partition(".")
    _check(name, rest, field)
    return _Term((name, rest) if rest else (name,), _test(field, sign, text))


def _said(match: re.Match[str]) -> str:
    """The value that a record is compared with."""
    if match["bare"] is not None:
        return match["bare"]
    return re.sub(r"\\(.)", r"\1", match["single"] if match["double"] is None else match["double"], flags=re.DOTALL)


def _texts(match: re.Match[str]) -> list[str]:
    """What a record has in it as it is where the term holds; nothing where it may be written otherwise."""
    text = _said(match)
    is_same = match["sign"] in ("=", "==") and match["field"].partition(".")[0] in _TEXTS
    return [text] if is_same and text and MASK not in text and _number(text) is None else []


def _check(name: str, rest: str, field: str) -> None:
    if name in _OPEN:
        if not rest:
            raise FilterError(f"{field}: say which, as in {name}.NAME")
    elif name in _STRUCTS:
        if rest not in _STRUCTS[name]:
            raise FilterError(f"{field}: {unknown(f'field of {name}', rest, _STRUCTS[name])}")
    elif name not in _PLAIN:
        raise FilterError(f"{field}: {unknown('field', name, [*_PLAIN, *_OPEN, *_STRUCTS])}")
    elif rest:
        raise FilterError(f"{field}: {name} has nothing inside it; write {name} alone")


def _test(field: str, sign: str, text: str) -> Callable[[Any], bool]:
    if sign in ("~", "!~"):
        try:
            pattern = Pattern(text)
        except PatternError as exc:
            raise FilterError(f"{field}{sign}: {exc}") from exc
        return lambda value: (value is not None and pattern.search(_text(value)[:MAX_TEXT])) == (sign == "~")
    number = _number(text)
    if sign in (">", ">=", "<", "<="):
        if number is None:
            raise FilterError(
                f"{field}{sign}{text}: {text!r} is no number; order is for numbers, as in {field}{sign}10"
            )
        return _ordered(sign, number)

    def same(value: Any) -> bool:
        if number is not None and isinstance(value, (int, float)) and not isinstance(value, bool):
            return value == number
        return _text(value) == text

    return same if sign in ("=", "==") else lambda value: not same(value)


def _ordered(sign: str, limit: float) -> Callable[[Any], bool]:
    def compare(value: Any) -> bool:
        number = _number(value) if isinstance(value, str) else value
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            return False
        if sign[0] == ">":
            return number > limit or (sign == ">=" and number == limit)
        return number < limit or (sign == "<=" and number == limit)

    return compare


def _value(record: Record, path: tuple[str, ...]) -> Any:
    """What a record says there, as anybody may read it; None where it says nothing."""
    value: Any = getattr(record, path[0], None)
    if isinstance(value, tuple):  # A window's labels.
        value = dict(cast("tuple[tuple[str, str], ...]", value))
    if len(path) == 1:
        return redact(value, path[0])
    if isinstance(value, msgspec.Struct):
        return redact(getattr(value, path[1]), path[1])
    return _inside(value, path[1]) if isinstance(value, Mapping) else None  # pyright: ignore[reportUnknownArgumentType]


def _inside(value: Mapping[str, Any], path: str) -> Any:
    """Follow a path that names may have dots in: what is called so as a whole comes first."""
    if path in value:
        return redact({path: value[path]})[path]
    name, _, rest = path.partition(".")
    inner = redact({name: value.get(name)})[name] if rest else None
    return _inside(inner, rest) if isinstance(inner, Mapping) else None  # pyright: ignore[reportUnknownArgumentType]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _broken(text: str, at: int) -> str:
    word = cast("re.Match[str]", _WORD.match(text, at))[1]
    if not word:
        return f"{text!r} ends where a condition is missing; write one as in outcome=failure"
    if word.lower() in ("or", "not") or word[0] in "()!":
        return f"{word!r} is not known: conditions are joined by `and`; a second tap shows what a second filter does"
    return f"{word!r} is no condition; write FIELD=VALUE, or with != > >= < <= ~ (matches) or !~, and values in quotes"


def _unjoined(text: str, at: int) -> str:
    word = cast("re.Match[str]", _WORD.match(text, at))[1]
    if word.lower() == "and":
        return f"{text!r} ends where a condition is missing; write one as in outcome=failure"
    return f"{word!r} follows a condition; join conditions with `and`, and put a value with spaces into quotes"
