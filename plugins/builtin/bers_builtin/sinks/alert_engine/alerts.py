"""An alert, as REST shows it and as its events carry it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from bers_builtin.sinks.alert_engine.rules import Severity

Status: TypeAlias = Literal["pending", "active", "acknowledged", "suppressed", "resolved"]


class Acknowledgment(msgspec.Struct, rename="camel", frozen=True):
    """Who took an alert on, and when, in milliseconds since 1970."""

    operator: str
    notes: str
    timestamp: int
    address: str


class Resolution(msgspec.Struct, rename="camel", frozen=True):
    """How an alert ended: by itself, or by an operator."""

    operator: str | None
    notes: str
    timestamp: int
    reason: Literal["recovered", "manual"]


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
    previous_id: str | None = None
    """The alert with this fingerprint before this one."""
    acknowledgment: Acknowledgment | None = None
    resolution: Resolution | None = None
    annotations: Mapping[str, str] = {}
    metadata: Mapping[str, str] = {}
    """The event that brought it last: its source, id and subject."""


Kind: TypeAlias = Literal["firing", "acknowledged", "resolved", "suppressed"]


class Transition(msgspec.Struct, frozen=True):
    """A step in the life of an alert that others are told about."""

    kind: Kind
    time: float
    """Seconds since 1970."""
    alert: Alert


class Audit(msgspec.Struct, rename="camel", frozen=True):
    """What a person did to an alert; ``time`` in milliseconds since 1970."""

    time: int
    alert: str
    action: Literal["acknowledge", "resolve"]
    operator: str
    principal: str
    notes: str
    address: str
