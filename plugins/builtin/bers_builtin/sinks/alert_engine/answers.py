"""What the alert engine is asked over REST, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bers import Period
from bers_builtin.sinks.alert_engine.alerts import Status
from bers_builtin.sinks.alert_engine.rules import Severity

_Limit = Annotated[int, Meta(ge=1, le=10_000, description="How many alerts to return at most; the newest come first.")]
_Period = Annotated[Period, Meta(description="How far back: 5m, 24h, 7d, or milliseconds as a whole number.")]
_Severities = Annotated[
    str,
    Meta(
        description="Severities, with commas between; all, if not told.",
        extra_json_schema={
            "pattern": "^(?: *(?:info|warning|error|critical) *(?:, *(?:info|warning|error|critical) *)*)?$"
        },
    ),
]
_Rule = Annotated[str, Meta(description="The name of a rule; all, if not told.")]


class ListAlerts(msgspec.Struct, frozen=True):
    """Which living alerts to list."""

    status: Annotated[
        str,
        Meta(
            description="Statuses, with commas between: pending, active, acknowledged, suppressed.",
            extra_json_schema={
                "pattern": "^(?: *(?:pending|active|acknowledged|suppressed) *"
                "(?:, *(?:pending|active|acknowledged|suppressed) *)*)?$"
            },
        ),
    ] = "active,acknowledged"
    severity: _Severities = ""
    rule: _Rule = ""
    limit: _Limit = 1000


class ListHistory(msgspec.Struct, frozen=True):
    """Which alerts to list, living or not."""

    period: _Period = "24h"
    severity: _Severities = ""
    rule: _Rule = ""
    limit: _Limit = 1000


class AskStats(msgspec.Struct, frozen=True):
    """Which time to count alerts in."""

    period: _Period = "24h"


class Answer(msgspec.Struct, frozen=True):
    """What an operator says about an alert."""

    id: str
    operator: Annotated[
        str, Meta(max_length=200, description="Who says so; with a key, its principal if not told.")
    ] = ""
    notes: Annotated[str, Meta(max_length=10_000, description="What is being done about it, or was.")] = ""


class Found(msgspec.Struct, rename="camel", frozen=True):
    """How many alerts there are, however many were returned."""

    total: int
    limit: int


class BesideAlerts(msgspec.Struct, rename="camel", frozen=True):
    """What stands beside a list of alerts."""

    meta: Found


class AlertStats(msgspec.Struct, rename="camel", frozen=True):
    """The alerts that were alive at any time in a period, each counted once. Times in milliseconds."""

    period_ms: int
    total: int
    by_severity: Mapping[str, int]
    by_rule: Mapping[str, int]
    by_status: Mapping[str, int]
    active: int
    acknowledged: int
    resolved: int
    suppressed: int
    pending: int
    """How many are pending now; they are not part of the total."""
    mean_time_to_acknowledge_ms: float | None
    """From firing to acknowledgement, of those acknowledged in the period."""
    mean_time_to_resolve_ms: float | None
    """From firing to resolution, of those resolved in the period."""


class RuleReport(msgspec.Struct, rename="camel", frozen=True):
    """A rule, and what it makes of things now. Times in milliseconds."""

    id: str
    name: str
    type: str
    severity: Severity
    origin: Literal["default", "configured"]
    state: Literal["ok"] | Status
    """The most pressing of its alerts, or ok."""
    alerts: int
    """How many of its alerts are alive, suppressed ones included."""
    pending: int
    last_value: float | None
    last_evaluation: int | None
    threshold: float | None
    unit: str
    condition: str
    for_ms: int
    window_ms: int | None
    min_samples: int
    labels: Mapping[str, str]
    group: list[str]
    annotations: Mapping[str, str]
    hint: str = ""
    """Why it can never fire as things are, where that is so; empty for every rule that was ever evaluated."""
