"""What a channel is to send: one event or several, under an id that stays the same in every attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bers.cloudevents import rfc3339
from bers.records import Event
from bers.units import format_value

RESOLVED = "alert.resolved"
FIRING = "alert.firing"
ESCALATED = "alert.escalated"
TEST = "alert.test"
"""What `bers notify test` sends; no stage emits it."""

_VERBS = {
    FIRING: "FIRING",
    RESOLVED: "RESOLVED",
    ESCALATED: "ESCALATED",
    TEST: "TEST",
    "alert.acknowledged": "ACKNOWLEDGED",
    "alert.unacknowledged": "NO LONGER ACKNOWLEDGED",
    "alert.repeated": "STILL FIRING",
    "alert.flapping": "FLAPPING",
    "alert.suppressed": "SUPPRESSED",
}


class Account(NamedTuple):
    """One event, in the words of a message. Nothing in it is marked up: whoever writes markup escapes it."""

    event: Event

    @property
    def is_alert(self) -> bool:
        return self.event.type.startswith("alert.")

    @property
    def is_over(self) -> bool:
        """Whether it tells of the end of an alert."""
        return self.event.type == RESOLVED

    @property
    def verb(self) -> str:
        """What happened, in a word or two."""
        return _VERBS.get(self.event.type, self.event.type)

    @property
    def severity(self) -> str:
        return severity_of(self.event)

    @property
    def title(self) -> str:
        return self._text("title") or self.event.labels.get("rule", "") or self.event.subject or self.event.type

    @property
    def message(self) -> str:
        return self._text("message") or self.event.reason or ""

    @property
    def headline(self) -> str:
        """All of it in one line."""
        severity = f" {self.severity}" if self.severity and not self.is_over else ""
        return one_line(f"{self.verb}{severity}: {self.title}")

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the alert and of the event, the second where both have one."""
        own = self.event.data.get("labels")
        found = {str(name): str(value) for name, value in own.items()} if isinstance(own, Mapping) else {}
        return found | dict(self.event.labels)

    @property
    def annotations(self) -> dict[str, str]:
        """What the rule says beside: the summary, the runbook."""
        own = self.event.data.get("annotations")
        return {str(name): str(value) for name, value in own.items()} if isinstance(own, Mapping) else {}

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Everything else that somebody wants to know who is woken by it, in order: a name and a value each."""
        data, event = self.event.data, self.event
        found = [
            ("Severity", self.severity),
            ("Environment", event.environment or self._text("environment")),
            ("Service", event.service or ""),
            ("Value", _measured(data.get("value"), self._text("unit"))),
            ("Threshold", _measured(data.get("threshold"), self._text("unit"))),
            ("Since", _time(data.get("firedAt"))),
            ("Acknowledged by", _said_by(data.get("acknowledgment"))),
            ("Resolved by", _said_by(data.get("resolution"))),
            ("Escalated to", _escalation(data.get("escalation"))),
            ("Why", _reason(data.get("reason"))),
            *((name.replace("_", " ").capitalize(), text) for name, text in self.annotations.items()),
            ("Alert", event.subject),
        ]
        return [(name, text) for name, text in found if text]

    @property
    def text(self) -> str:
        """All of it, in lines."""
        lines = [self.headline, *([self.message] if self.message else [])]
        return "\n".join([*lines, *(f"{name}: {text}" for name, text in self.facts)])

    def _text(self, name: str) -> str:
        value = self.event.data.get(name)
        return value if isinstance(value, str) else ""


class Notice(NamedTuple):
    """What a channel is to send in one attempt."""

    id: str
    """The same in every attempt, and after a restart: who gets it twice can tell."""
    channel: str
    events: Sequence[Event]
    """Oldest first; of one alert one at most. One that belongs to no group has exactly one."""
    group: Mapping[str, str] | None = None
    """What its events have in common, by what the channel groups by; nothing where it does not."""
    threads: Mapping[str, str] = {}
    """By the subject of each event: the id of the notice with which this channel was first told of it."""
    attempts: int = 0
    """How many there have been."""

    @property
    def accounts(self) -> list[Account]:
        return [Account(event) for event in self.events]

    @property
    def is_over(self) -> bool:
        """Whether it tells of nothing but ends."""
        return all(account.is_over for account in self.accounts)

    @property
    def headline(self) -> str:
        """All of it in one line."""
        first = self.accounts[0]
        if len(self.events) == 1:
            return first.headline
        counts: dict[str, int] = {}
        for account in self.accounts:
            counts[account.verb] = counts.get(account.verb, 0) + 1
        common = ", ".join(value for value in (self.group or {}).values() if value)
        told = ", ".join(f"{count} {verb}" for verb, count in counts.items())
        return one_line(f"{told}: {common or first.title}")

    @property
    def text(self) -> str:
        """All of it, in lines."""
        if len(self.events) == 1:
            return self.accounts[0].text
        return "\n\n".join([self.headline, *(account.text for account in self.accounts)])


def severity_of(event: Event) -> str:
    return str(event.labels.get("severity") or event.data.get("severity") or "")


def label_of(event: Event, name: str) -> str:
    """What an event says under a name, as an operator means it who routes or groups by it; empty where nothing."""
    if name == "severity":
        return severity_of(event)
    if name in ("environment", "service", "type", "subject", "version") and (own := getattr(event, name)):
        return str(own)
    if name in event.labels:
        return event.labels[name]
    for place in (event.data.get("labels"), event.data):
        if isinstance(place, Mapping) and isinstance(found := place.get(name), str | int | float):
            return str(found)
    return ""


def one_line(text: str) -> str:
    """A text without anything that ends a line or moves a cursor."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _measured(value: Any, unit: str) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    return format_value(value, unit)


def _time(ms: Any) -> str:
    return rfc3339(ms / 1000) if isinstance(ms, int | float) else ""


def _said_by(deed: Any) -> str:
    if not isinstance(deed, Mapping) or not deed.get("operator"):
        return ""
    return f"{deed['operator']}: {deed['notes']}" if deed.get("notes") else str(deed["operator"])


def _escalation(step: Any) -> str:
    return str(step.get("contact", "")) if isinstance(step, Mapping) else ""


def _reason(reason: Any) -> str:
    """A reason is a word, or a word and a sentence."""
    if isinstance(reason, Mapping):
        return str(reason.get("message") or reason.get("sentence") or reason.get("text") or reason.get("word") or "")
    return reason if isinstance(reason, str) else ""
