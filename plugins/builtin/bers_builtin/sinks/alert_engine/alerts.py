"""An alert, as REST shows it and as its events carry it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from bers_builtin.sinks.alert_engine.rules import Severity

Status: TypeAlias = Literal["pending", "active", "acknowledged", "suppressed", "resolved"]

EPSILON = 1e-6
"""Seconds; sums of floats may fall that much short of what they stand for."""

MOST_REMEMBERED = 20_000
"""Fingerprints of which the last alert is remembered, so that the next one names it: they come from outside."""

Kind: TypeAlias = Literal[
    "pending",
    "firing",
    "acknowledged",
    "unacknowledged",
    "suppressed",
    "unsuppressed",
    "escalated",
    "repeated",
    "flapping",
    "resolved",
]
"""What can happen to an alert. All of it is in its log; ``pending`` and ``unsuppressed`` are told to nobody."""


class Moment(NamedTuple):
    """A time, twice."""

    at: float
    """Seconds on the engine's own clock, that never steps; what is waited for is measured by it."""
    wall: float
    """Seconds since 1970; what is recorded says it."""
    behind: float = 0.0
    """Seconds since ``at``: evidence counts from when it arrived, and may be read later."""

    @property
    def now(self) -> float:
        """The present on the engine's own clock: whoever is told now has heard nothing before."""
        return self.at + self.behind

    @property
    def ms(self) -> int:
        return int(self.wall * 1000)


class Reason(msgspec.Struct, frozen=True):
    """Why something happened to an alert: a word for machines, a sentence for people."""

    word: str
    sentence: str


class Suppressed(msgspec.Struct, rename="camel", frozen=True):
    """What keeps an alert that fires from being told."""

    reason: Literal["rate_limit", "silence", "maintenance", "dependency", "flapping"]
    id: str = ""
    """Of the silence, of the maintenance window, or of the alert that this one depends on."""
    until: int | None = None
    """When it ends, in milliseconds since 1970, where that is known."""


class Escalation(msgspec.Struct, frozen=True):
    """The last step that was taken because nobody took an alert on."""

    step: int
    """The first is 1."""
    contact: str


class Acknowledgment(msgspec.Struct, rename="camel", frozen=True):
    """Who took an alert on, and when, in milliseconds since 1970."""

    operator: str
    notes: str
    timestamp: int
    address: str
    expires: int | None = None
    """When the alert is active again, if it still fires then."""


class Resolution(msgspec.Struct, rename="camel", frozen=True):
    """How an alert ended: by itself, by an operator, or because its rule is another one now."""

    operator: str | None
    notes: str
    timestamp: int
    reason: Literal["recovered", "manual", "rule_changed"]


class Alert(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """One occurrence of what a rule watches for. Times are in milliseconds since 1970."""

    id: str
    rule_id: str
    rule: str
    type: str
    """The metric, or the type of the event, that the rule watches."""
    severity: Severity
    status: Status
    title: str
    message: str
    timestamp: int
    """When it fired first; while it is pending, when that began."""
    fired_at: int
    """When it fired last: later than ``timestamp`` where it was reopened."""
    updated_at: int
    environment: str | None
    value: float | None
    threshold: float | None
    unit: str
    count: int
    """How often it was seen: each event where one is enough, else each time that it began to fire."""
    fingerprint: str
    labels: Mapping[str, str]
    told: bool = False
    """Whether it was told that it fires: whoever was, is told that it is resolved."""
    suppressed_by: Suppressed | None = None
    flapping: bool = False
    """Whether it comes and goes so often that it is held as firing, until it is steady."""
    escalation: Escalation | None = None
    reason: Reason | None = None
    """Why it is as it is: that of the last step of its life."""
    previous_id: str | None = None
    """The alert with this fingerprint before this one."""
    acknowledgment: Acknowledgment | None = None
    resolution: Resolution | None = None
    annotations: Mapping[str, str] = {}
    metadata: Mapping[str, str] = {}
    """The event that brought it last: its source, id and subject."""


class Transition(msgspec.Struct, frozen=True):
    """A step in the life of an alert."""

    kind: Kind
    time: float
    """Seconds since 1970."""
    alert: Alert
    """As it is from then on."""
    reason: Reason
    was: Status | None = None
    """Its status before; nothing where it began."""
    is_told: bool = True
    """Whether an event says so; the log of the alert does in any case."""
    incident: Literal["detected", "resolved"] | None = None
    """Whether an incident begins or ends with it."""

    @property
    def told_as(self) -> Sequence[str]:
        """What the events that say so are called, `alert.` left out."""
        return [
            *([self.kind] if self.is_told else ()),
            *([f"incident.{self.incident}"] if self.incident else ()),
        ]


class Audit(msgspec.Struct, rename="camel", frozen=True):
    """What a person did to an alert; ``time`` in milliseconds since 1970."""

    time: int
    alert: str
    action: Literal["acknowledge", "unacknowledge", "resolve"]
    operator: str
    principal: str
    notes: str
    address: str
