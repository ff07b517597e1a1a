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
    after: Annotated[
        str,
        Meta(
            description="What `next` said of the answer before: go on behind it.",
            extra_json_schema={"pattern": "^(?:[0-9]{1,18}-.+)?$"},
        ),
    ] = ""


class AskAlert(msgspec.Struct, frozen=True):
    """Which alert."""

    id: str


class AskStats(msgspec.Struct, frozen=True):
    """Which time to count alerts in."""

    period: _Period = "24h"
    until: Annotated[
        int, Meta(ge=0, le=2**53, description="When the period ends, in ms since 1970; now, if not told.")
    ] = 0


class Answer(msgspec.Struct, frozen=True):
    """What an operator says about an alert."""

    id: str
    operator: Annotated[
        str, Meta(max_length=200, description="Who says so; with a key, its principal if not told.")
    ] = ""
    notes: Annotated[str, Meta(max_length=10_000, description="What is being done about it, or was.")] = ""


class Acknowledge(Answer, frozen=True):
    """Who takes an alert on, and for how long."""

    expires: Annotated[
        Period | None,
        Meta(
            description="After which time the alert is active again if it still fires: 30m, 4h, or milliseconds as a "
            "whole number. Not told, `acknowledgement.expires_after` of the configuration."
        ),
    ] = None


class NextAlerts(msgspec.Struct, frozen=True):
    """Where the answer ends: what to ask for as `after` to be told what comes then; null where nothing does."""

    next: str | None


class Found(msgspec.Struct, rename="camel", frozen=True):
    """How many alerts there are, however many were returned."""

    total: int
    limit: int


class BesideAlerts(msgspec.Struct, rename="camel", frozen=True):
    """What stands beside a list of alerts."""

    meta: Found


class Times(msgspec.Struct, rename="camel", frozen=True):
    """How long something took, in milliseconds, from the moment that an alert fired last."""

    count: int
    mean_ms: float
    p50_ms: int
    p95_ms: int


class Noise(msgspec.Struct, rename="camel", frozen=True):
    """A rule whose alerts end before anybody cares."""

    rule: str
    fired: int
    """How often it was told that one fires."""
    resolved_unattended: int
    """How often one was good again by itself, and nobody had acknowledged it."""
    flapped: int
    """How often one began to flap."""


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
    flapping: int
    """How many flap now."""
    suppressed_by: Mapping[str, int]
    """How many were suppressed in the period, by what suppressed them; one that two things did counts for both."""
    mean_time_to_acknowledge_ms: float | None
    mean_time_to_resolve_ms: float | None
    time_to_acknowledge: Times | None
    """From firing to acknowledgement, of the acknowledgements in the period."""
    time_to_resolve: Times | None
    """From firing to resolution, of the resolutions in the period."""
    noise: list[Noise]
    """The rules that fire and resolve by themselves, or flap; those first that nobody cares for most often."""


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
    keep_firing_for_ms: int
    window_ms: int | None
    min_samples: int
    where: Mapping[str, str | list[str]]
    """What it looks at."""
    labels: Mapping[str, str]
    """What it puts on its alerts."""
    group: list[str]
    depends_on: list[str]
    annotations: Mapping[str, str]
    hint: str = ""
    """Why it can never fire as things are, where that is so; empty for every rule that was ever evaluated."""
