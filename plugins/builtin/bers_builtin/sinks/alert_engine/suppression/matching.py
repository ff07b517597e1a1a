"""Which alerts are meant, as people write it: ``rule~^Build``, ``environment=staging``, ``labels.service!=pay``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Generic, TypeAlias, TypeVar

from msgspec import Meta

from bers import Pattern, PatternError, TooMuchWork, unknown
from bers_builtin.sinks.alert_engine.alerts import Alert

_FIELDS: dict[str, Callable[[Alert], str]] = {
    "rule": lambda alert: alert.rule,
    "severity": lambda alert: alert.severity,
    "environment": lambda alert: alert.environment or "",
    "type": lambda alert: alert.type,
    "fingerprint": lambda alert: alert.fingerprint,
}
_LABEL = "labels."
_TERM = re.compile(r"\s*([A-Za-z_][^\s=!~]*)\s*(!=|!~|=|~)\s*(.*?)\s*", re.DOTALL)

Matcher: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=300,
        description="A field, a sign and a text: `rule`, `severity`, `environment`, `type`, `fingerprint` or "
        "`labels.NAME`; `=` and `!=` compare, `~` and `!~` look for a pattern. What an alert has not is empty.",
    ),
]

_Test: TypeAlias = Callable[[Alert], bool]
_Key = TypeVar("_Key")


class Matchers:
    """Terms that must all hold."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Raise ValueError where one of them is not understood; none at all means every alert."""
        self._tests = [_test(text) for text in texts]

    def match(self, alert: Alert) -> bool:
        """Whether an alert is meant. A pattern that would keep everybody waiting matches nothing."""
        try:
            return all(test(alert) for test in self._tests)
        except TooMuchWork:
            return False


@dataclass(slots=True)
class _Held(Generic[_Key]):
    """Which sets of matchers mean an alert."""

    seen: tuple[str, str | None]
    """What of it may change while it lives: its severity and its environment."""
    number: int = 0
    """Of the last set that it was held against."""
    by: list[_Key] = field(default_factory=list[_Key])


class Meant(Generic[_Key]):
    """Which of many sets of matchers mean an alert: each set is held against each living alert once."""

    def __init__(self) -> None:
        self._sets: dict[_Key, tuple[int, Matchers]] = {}
        """With their numbers, that rise."""
        self._number = 0
        self._held: dict[str, _Held[_Key]] = {}
        """By fingerprint."""

    def add(self, key: _Key, matchers: Matchers) -> None:
        self._number += 1
        self._sets[key] = self._number, matchers

    def remove(self, key: _Key) -> None:
        del self._sets[key]

    def of(self, alert: Alert) -> Sequence[_Key]:
        """The keys of those that mean an alert, in the order in which they came."""
        seen, held = (alert.severity, alert.environment), self._held.get(alert.fingerprint)
        if held is None or held.seen != seen:
            held = self._held[alert.fingerprint] = _Held(seen)
        if held.number < self._number:
            fresh: list[_Key] = []
            for key, (number, matchers) in reversed(self._sets.items()):
                if number <= held.number:
                    break
                if matchers.match(alert):
                    fresh.append(key)
            held.by += reversed(fresh)
            held.number = self._number
        if held.by:
            held.by = [key for key in held.by if key in self._sets]
        return held.by

    def forget(self, alert: Alert) -> None:
        """Forget an alert that is not alive any more."""
        self._held.pop(alert.fingerprint, None)


def _test(text: str) -> _Test:
    found = _TERM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not understood; write a field, a sign and a text, as in severity=warning")
    name, sign, wanted = found.groups()
    read = _field(name)
    if sign in ("=", "!="):
        return (lambda alert: read(alert) == wanted) if sign == "=" else (lambda alert: read(alert) != wanted)
    try:
        pattern = Pattern(wanted)
    except PatternError as exc:
        raise ValueError(f"{name}{sign}: {exc}") from exc
    return lambda alert: pattern.search(read(alert)) == (sign == "~")


def _field(name: str) -> Callable[[Alert], str]:
    if name in _FIELDS:
        return _FIELDS[name]
    if name.startswith(_LABEL) and (label := name.removeprefix(_LABEL)):
        return lambda alert: alert.labels.get(label, "")
    raise ValueError(unknown("field", name, [*_FIELDS, f"{_LABEL}NAME"]))
