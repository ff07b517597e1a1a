"""What REST is asked about DORA's figures, and what it answers."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bers import Period

from .bands import Band

Flag: TypeAlias = Literal[
    "no_deployments",
    "no_deployment_source",
    "no_commit_times",
    "no_incident_source",
    "no_rework_source",
    "partial_coverage",
    "too_many_records",
    "unattributed_incidents",
    "unknown_commits",
    "unknown_environments",
    "unknown_outcomes",
    "unreadable_records",
    "unrecovered",
]

SERVICES = 50
"""How many services one answer tells apart."""


class AskDora(msgspec.Struct):
    """Of which period, and of what."""

    period: Annotated[Period, Meta(description="How far to look back: 7d, 30d, or milliseconds.")] = "30d"
    service: Annotated[str, Meta(description="Only the deployments of this service.")] = ""
    environment: Annotated[
        str, Meta(description="Only those to this environment, instead of all that count as production.")
    ] = ""
    step: Annotated[
        Literal["1d", "1w"] | None,
        Meta(description="How much time one point of the series covers; a day up to 31 days, else a week."),
    ] = None


class Before(msgspec.Struct, rename="camel"):
    """The period before, of the same length; without a value where records do not reach back that far."""

    value: float | None = None
    n: int = 0
    change: float | None = None
    """By how many per cent the value changed since; null without a value, or from zero."""


class Figure(msgspec.Struct, rename="camel", kw_only=True):
    """One of the five. ``value`` is null, never 0, where nobody tells what it is made of."""

    value: float | None
    unit: str
    n: int
    """What it was computed from: of a median its samples, of a rate all deployments, of a frequency those counted."""
    method: str
    completeness: list[Flag]
    """What is missing, so that the value is null, or not of everything."""
    excluded: dict[str, int]
    """What was left out, by reason."""
    band: Band | None
    band_year: int | None
    previous: Before = msgspec.field(default_factory=Before)


class Figures(msgspec.Struct, rename="camel", kw_only=True):
    """The five metrics of software delivery."""

    change_lead_time: Figure
    deployment_frequency: Figure
    change_fail_rate: Figure
    failed_deployment_recovery_time: Figure
    deployment_rework_rate: Figure


class Point(msgspec.Struct, rename="camel", kw_only=True):
    """One day, or one week from Monday, in UTC; ``start`` in ms, the lead time in ms."""

    start: int
    deployments: int
    """Those that succeeded."""
    failed: int
    """Those of the deployments in these days that turned out to be failures."""
    rework: int
    lead_time: float | None
    changes: int
    """Of how many changes the lead time is the median."""


class ServiceFigures(msgspec.Struct, rename="camel", kw_only=True):
    """The five values of one service; null as those of all together are."""

    service: str | None
    """Null for deployments that name none."""
    deployments: int
    failed: int
    change_lead_time: float | None
    deployment_frequency: float | None
    change_fail_rate: float | None
    failed_deployment_recovery_time: float | None
    deployment_rework_rate: float | None


class Covered(msgspec.Struct, rename="camel", kw_only=True):
    """For how much of the period there are records; times in ms."""

    since: int
    """From when on this node has kept records, or has been handed in older ones."""
    percent: float
    retention_ms: int
    """How long records of deployments and incidents are kept."""


class Counts(msgspec.Struct, rename="camel", kw_only=True):
    """The deployments of the period."""

    deployments: int
    """Those that came to an end in production, well or not."""
    succeeded: int
    failed: int
    """Those that did not succeed, were rolled back, or had an incident come of them."""
    incidents: int
    """Those detected in the period."""


class DoraAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """DORA's figures of a period. ``from`` and ``to`` are its ends, in ms."""

    timestamp: int
    period: str
    period_ms: int
    from_: int = msgspec.field(name="from")
    to: int
    service: str | None
    environments: list[str]
    """Those asked about that deployments went to."""
    coverage: Covered
    counts: Counts
    metrics: Figures
    step: Literal["1d", "1w"]
    series: list[Point]
    service_count: int
    services: list[ServiceFigures]
    """Those with the most deployments."""
