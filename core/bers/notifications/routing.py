"""Who is told what: by type, severity, labels and contact; and whoever was told of an alert is told of its end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from functools import lru_cache

from bers.notifications.channels import PRIMARY, Channel
from bers.notifications.notices import ESCALATED, FIRING, RESOLVED, label_of, severity_of
from bers.records import Event

_NO_NEWS = frozenset({RESOLVED, "alert.suppressed"})
"""Who knows of an alert by these alone need not be told of its end."""


def is_meant(type: str, patterns: Iterable[str]) -> bool:
    """Whether a type is meant by ``build.finished``, ``build.*`` or ``*``."""
    return any(
        pattern in ("*", type) or (pattern.endswith(".*") and type.startswith(pattern[:-1])) for pattern in patterns
    )


def begins(event: Event) -> bool:
    """Whether who is told this knows of an alert from then on."""
    return event.type.startswith("alert.") and event.type not in _NO_NEWS and bool(event.subject)


def is_told(channel: Channel, event: Event, *, knows: bool) -> bool:
    """Whether a channel is told; ``knows`` says that it was told of the alert that this is about, and not of its end.

    Filters choose of which alerts a channel is told. They never keep from it how one of these ended.
    """
    if not is_meant(event.type, channel.events):
        return False
    if event.type == RESOLVED:
        return knows or (not is_meant(FIRING, channel.events) and _passes(channel, event))
    if channel.contact != PRIMARY and event.type.startswith("alert."):
        return knows or (
            event.type == ESCALATED and event.labels.get("contact") == channel.contact and _passes(channel, event)
        )
    return _passes(channel, event)


def group_of(channel: Channel, event: Event) -> Mapping[str, str] | None:
    """What the event has in common with others that are told together with it."""
    return {name: label_of(event, name) for name in channel.group.by} if channel.group else None


def _passes(channel: Channel, event: Event) -> bool:
    if channel.severities and severity_of(event) not in channel.severities:
        return False
    return all(_matches(label_of(event, name), wanted) for name, wanted in channel.labels.items())


def _matches(value: str, wanted: str | tuple[str, ...]) -> bool:
    """Whether a value is one of those that are wanted, and none of those that are not."""
    patterns = (wanted,) if isinstance(wanted, str) else wanted
    refused = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    asked = [pattern for pattern in patterns if not pattern.startswith("!")]
    if any(_pattern(pattern).fullmatch(value) for pattern in refused):
        return False
    return not asked or any(_pattern(pattern).fullmatch(value) for pattern in asked)


@lru_cache(maxsize=1000)
def _pattern(text: str) -> re.Pattern[str]:
    """``*`` stands for anything; all else stands for itself."""
    return re.compile(translate(text.replace("[", "[[]").replace("?", "[?]")))
