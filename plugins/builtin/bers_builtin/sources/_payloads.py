"""What webhooks of code hosts share: bodies that may hold anything, times in several notations, names to translate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import parse_qs

import msgspec

from bers import ConfigError, Delivery, Secret

Kind: TypeAlias = Literal["build", "validation", "deployment", "pipelinerun"]
"""What a run of a CI system is here. Nothing is measured of a `pipelinerun`."""

SHORTEST = 16
"""Characters; a shorter secret is guessed."""


LARGEST = 1e18
"""Beyond that a number is no figure."""


class Part:
    """An object of a payload: a field that is not there, or is something else, is empty."""

    def __init__(self, value: object) -> None:
        self._fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}  # JSON has no other keys.

    def __bool__(self) -> bool:
        return bool(self._fields)

    def __getitem__(self, name: str) -> Part:
        return Part(self._fields.get(name))

    def text(self, name: str, most: int = 1024) -> str:
        """The text of a field, or its number as text, as far as it may be."""
        value = self._fields.get(name)
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            return ""
        return str(value)[:most]

    def number(self, name: str) -> float | None:
        value = self._fields.get(name)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < LARGEST:
            return None
        return float(value)

    def is_true(self, name: str) -> bool:
        return self._fields.get(name) is True

    def each(self, name: str) -> Iterator[Part]:
        """The objects of a list."""
        value = self._fields.get(name)
        for one in cast("list[Any]", value) if isinstance(value, list) else []:  # Of anything is what was asked.
            yield Part(one)

    def when(self, name: str) -> float | None:
        """The time of a field, in seconds since 1970; None where there is none.

        GitLab writes `2026-11-23T08:00:00Z`, `2026-11-23 08:00:00 UTC` and `2026-11-23 09:00:00 +0100`; a push of
        GitHub's has seconds since 1970.
        """
        value = self._fields.get(name)
        if not isinstance(value, str):
            return self.number(name)
        try:
            moment = datetime.fromisoformat(
                value.strip().replace(" UTC", "+00:00").replace(" +", "+").replace(" -", "-")
            )
        except ValueError:
            return None
        return moment.timestamp() if moment.tzinfo else None


def payload(delivery: Delivery) -> Part:
    """The body of a webhook: JSON, or a form that has it as its field `payload`. Raise ValueError where it is none."""
    body = delivery.body
    if delivery.media == "application/x-www-form-urlencoded":
        body = parse_qs(delivery.body, max_num_fields=10).get(b"payload", [b""])[0]
    try:
        return Part(msgspec.json.decode(body, type=dict[str, Any]))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def taken(begin: float | None, end: float | None) -> float | None:
    """Milliseconds from one moment to another; None where one is not known, or they are the wrong way round."""
    return (end - begin) * 1000 if begin is not None and end is not None and begin <= end else None


def first_commit(push: Part) -> float | None:
    """When the oldest commit of a push was made."""
    return min((when for one in push.each("commits") if (when := one.when("timestamp")) is not None), default=None)


def translated(name: str, names: Mapping[str, str]) -> str:
    """What a name is called here: the first pattern that fits says it, else it is called that here too."""
    return next((mine for pattern, mine in names.items() if fnmatchcase(name.lower(), pattern.lower())), name)


def kind_of(names: Iterable[str], kinds: Mapping[str, Kind]) -> Kind:
    """What a run is, by the first pattern that fits one of its names; a build, if none does."""
    known = [name.lower() for name in names if name]
    for pattern, kind in kinds.items():
        if any(fnmatchcase(name, pattern.lower()) for name in known):
            return kind
    return "build"


def said(**fields: Any) -> dict[str, Any]:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if value not in (None, "", {})}


def check_secrets(secrets: Iterable[Secret]) -> None:
    """Raise ConfigError where a secret is empty, and everybody would know it."""
    for number, secret in enumerate(secrets):
        if not secret.reveal():
            raise ConfigError("it is empty, so that everybody could sign; make one with `openssl rand -hex 32`",
                              path=f"secrets[{number}]")  # fmt: skip


def short_secrets(secrets: Iterable[Secret]) -> Iterator[tuple[str, str]]:
    """Which secrets could be guessed."""
    for number, secret in enumerate(secrets):
        if 0 < len(secret.reveal()) < SHORTEST:
            yield f"secrets[{number}]", f"it has fewer than {SHORTEST} characters; make one with `openssl rand -hex 32`"
