"""What is told of checks: of each, of all of them together, and the one word for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from bers.checks import Status
from bers.health.breaker import BreakerReport
from bers.health.spans import Share

Severity: TypeAlias = Literal["none", "info", "warning", "error", "critical"]

BECAUSE = "becauseOf"
"""In the details of a check that is unknown because of another: which one is to blame."""


class Confirming(msgspec.Struct, rename="camel", frozen=True):
    """A change that is not believed yet: what the last look found, and how many more have to find it."""

    status: Status
    message: str
    looks: int
    needed: int


class CheckReport(msgspec.Struct, rename="camel", frozen=True):
    """What one check found last; times in milliseconds."""

    name: str
    status: Status
    timestamp: int
    duration: float
    message: str
    critical: bool
    breaker: BreakerReport
    details: Mapping[str, Any] = {}
    error: str | None = None
    remediation: str | None = None
    description: str = ""
    depends_on: Sequence[str] = ()
    since: int | None = None
    """When it came to this status, in milliseconds since 1970."""
    flapping: bool = False
    counts_as: Status | None = None
    """What it counts as in the one word for all, where that is another: the worst it was lately, while it flaps."""
    confirming: Confirming | None = None
    availability: Mapping[str, Share] = {}
    """Over 24 hours, 7 days and 30 days."""

    @property
    def because(self) -> str:
        """Which check is to blame for its being unknown; empty where none is."""
        return str(self.details.get(BECAUSE, ""))

    @property
    def word(self) -> Status:
        """What it counts as."""
        return self.counts_as or self.status


class Summary(msgspec.Struct, rename="camel", frozen=True):
    """How many checks say what; durations in milliseconds."""

    healthy: int
    degraded: int
    unhealthy: int
    unknown: int
    critical: int
    total_checks: int
    avg_response_time: float
    held: int = 0
    """How many of the unknown are so because of another check, which alone is to blame."""
    flapping: int = 0


def overall(reports: Sequence[CheckReport]) -> Status:
    """One word for all checks."""
    critical = {report.word for report in reports if report.critical}
    if "unhealthy" in critical:
        return "unhealthy"
    if "unknown" in critical:
        return "unknown"
    return "healthy" if all(report.word == "healthy" for report in reports) else "degraded"


def severity(reports: Sequence[CheckReport]) -> Severity:
    """How bad it is: ``critical`` where a critical check is unhealthy."""
    statuses = {report.word for report in reports}
    if any(report.critical and report.word == "unhealthy" for report in reports):
        return "critical"
    if "unhealthy" in statuses:
        return "error"
    return "warning" if "degraded" in statuses else "info" if "unknown" in statuses else "none"


def recommendations(reports: Sequence[CheckReport]) -> list[str]:
    """What to do, for each check that is to blame for something."""
    return [
        f"{one.name}: {one.remediation}"
        for one in reports
        if one.remediation and one.status != "healthy" and not one.because
    ]


def summarize(reports: Sequence[CheckReport]) -> Summary:
    counts = Counter(report.status for report in reports)
    critical = sum(report.critical and report.status == "unhealthy" for report in reports)
    average = sum(report.duration for report in reports) / len(reports) if reports else 0.0
    return Summary(
        counts["healthy"],
        counts["degraded"],
        counts["unhealthy"],
        counts["unknown"],
        critical,
        len(reports),
        round(average, 3),
        sum(bool(report.because) for report in reports),
        sum(report.flapping for report in reports),
    )
