"""What the page shows, out of what REST answers: rows of text, ready to be set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from bers import Catalog, Event, format_value

INDICATORS = {
    "configuration_resolution_time": "Configuration resolution",
    "provider_initialization_time": "Provider initialisation",
    "build_performance": "Build",
    "deployment_performance": "Deployment",
    "test_coverage": "Test coverage",
    "error_rate": "Error rate",
    "system_memory_usage": "Memory",
    "system_cpu_usage": "CPU",
}
"""The runbook's table of indicators, in its order, and what the machine itself has to bear."""

KINDS = {"build": "Builds", "validation": "Test suites", "deployment": "Deployments"}
TYPES = {
    "build": "build",
    "testsuiterun": "validation",
    "validation": "validation",
    "deployment": "deployment",
}
"""The kind of run that an event is about, by the first part of its type."""

TOLD = frozenset(
    ("deployment.rolledback", *(f"{subject}.{step}" for subject in TYPES for step in ("started", "finished", "lost")))
)
"""The types that begin or end a run."""

MOST_RUNS = 8

_UNSEEN = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160), *range(8234, 8239), *range(8294, 8298)), "�")
"""Control characters, and those that turn round the direction of everything behind them."""

_WORST_FIRST = ("unhealthy", "degraded", "unknown", "healthy")
_TRENDS = {"improving": "improving", "stable": "steady", "degrading": "getting worse"}
_VERDICTS = {"healthy": "on target", "degraded": "at risk", "unhealthy": "off target"}


class Health(msgspec.Struct, rename="camel", frozen=True):
    """What the page takes from the health report."""

    overall_status: str = "unknown"
    version: str = ""
    uptime: float = 0.0
    environment: str = ""
    checks: Sequence[CheckRow] = ()

    @property
    def worst_first(self) -> Sequence[CheckRow]:
        last = len(_WORST_FIRST)
        places = {status: place for place, status in enumerate(_WORST_FIRST)}
        return sorted(self.checks, key=lambda check: places.get(check.status, last))


class CheckRow(msgspec.Struct, rename="camel", frozen=True):
    name: str
    status: str = "unknown"
    message: str = ""
    remediation: str | None = None

    @property
    def said(self) -> str:
        """What is, and what to do about it, each a sentence."""
        dot = "" if self.message.endswith((".", "!", "?")) or not self.message else "."
        return f"{self.message}{dot} {self.remediation or ''}".strip()


class Summary(msgspec.Struct, rename="camel", frozen=True):
    """What the page takes from the summary of a metric."""

    title: str = ""
    unit: str = ""
    current: float | None = None
    p95: float | None = None
    target: float | None = None
    trend: str = "unknown"
    health_status: str = "unknown"


class Availability(msgspec.Struct, rename="camel", frozen=True):
    """What the page takes from the report of availability."""

    percent: float | None = None
    target: float | None = None
    budget_minutes: float | None = None
    left_minutes: float | None = None

    @property
    def said(self) -> str:
        return format_value(self.percent, "%")

    @property
    def status(self) -> str:
        if self.percent is None or self.target is None:
            return "unknown"
        return "healthy" if self.percent >= self.target else "unhealthy"

    @property
    def verdict(self) -> str:
        return _VERDICTS.get(self.status, "no data")

    @property
    def budget(self) -> str:
        if self.left_minutes is None or self.budget_minutes is None:
            return ""
        left, whole = format_value(self.left_minutes, ""), format_value(self.budget_minutes, "")
        return f"{left} of {whole} min left at {self.target:g} %"


class AlertRow(msgspec.Struct, rename="camel", frozen=True):
    id: str
    title: str = ""
    message: str = ""
    severity: str = "warning"
    status: str = "active"
    timestamp: int = 0
    annotations: Mapping[str, str] = {}

    @property
    def since(self) -> str:
        return clock_text(self.timestamp / 1000)

    @property
    def iso(self) -> str:
        return _moment(self.timestamp / 1000).isoformat(timespec="seconds")


class Record(msgspec.Struct, frozen=True):
    """What the page takes from an event."""

    type: str
    timestamp: float
    """In milliseconds since 1970."""
    id: str = ""
    subject: str = ""
    outcome: str | None = None
    duration_ms: float | None = None
    environment: str | None = None
    service: str | None = None

    @classmethod
    def of(cls, event: Event) -> Record:
        return cls(
            event.type,
            event.time * 1000,
            event.id,
            event.subject,
            event.outcome,
            event.duration_ms,
            event.environment,
            event.service,
        )

    @property
    def kind(self) -> str | None:
        """The kind of run that this begins or ends; None where it does neither."""
        return TYPES[self.type.partition(".")[0]] if self.type in TOLD else None


@dataclass(frozen=True)
class Indicator:
    name: str
    title: str
    unit: str
    current: str
    p95: str
    target: str
    status: str
    verdict: str
    trend: str


@dataclass(frozen=True)
class RunRow:
    name: str
    outcome: str
    status: str
    duration: str
    environment: str
    time: str
    iso: str


def indicators(metrics: Mapping[str, Any], catalog: Catalog) -> list[Indicator]:
    """A row for each indicator, whether or not it has been measured."""
    rows: list[Indicator] = []
    for name, title in INDICATORS.items():
        declared = catalog.get(name)
        summary = msgspec.convert(metrics.get(name, {}), Summary)
        unit = summary.unit or (declared.unit if declared else "")
        target = declared.target if declared and summary.target is None else summary.target
        verdict = _VERDICTS.get(summary.health_status, "no data")
        if summary.current is not None and target is None:
            verdict = "no target"
        sign = "≥" if declared and declared.better == "higher" else "≤"
        rows.append(
            Indicator(
                name,
                title,
                unit,
                format_value(summary.current, unit),
                format_value(summary.p95, unit),
                "–" if target is None else f"{sign} {format_value(target, unit)}",
                "unknown" if verdict in ("no data", "no target") else summary.health_status,
                verdict,
                _TRENDS.get(summary.trend, "–"),
            )
        )
    return rows


def advice(health: Health, alerts: Sequence[AlertRow] | None = ()) -> str:
    """What is to be done about what is worst: a check that is not well, or an alert that nobody looks after.

    ``alerts`` are None where nobody could be asked for them.
    """
    for status in ("unhealthy", "degraded"):
        for check in health.checks:
            if check.status == status:
                return f"{check.name}: {check.said}"
    for alert in alerts or ():
        if alert.status == "active":
            return f"{alert.title}: {alert.annotations.get('step') or alert.message}"
    if alerts is None:
        return "Whether anything is firing is not known."
    return "Nothing has to be done." if health.checks else "How things are is not known yet."


def runs(records: Iterable[Record], most: int = MOST_RUNS) -> list[RunRow]:
    """The newest runs, newest first: what began and what ended joined by subject."""
    joined: dict[str, Record] = {}
    for record in sorted(records, key=lambda one: (one.timestamp, not one.type.endswith("started"))):
        known = joined.get(record.subject or record.id)
        if known and record.type.endswith("started") and not known.type.endswith("started"):
            continue  # It is told late that it began: how it ended stands.
        joined.pop(record.subject or record.id, None)
        joined[record.subject or record.id] = record
    return [_run(record) for record in list(joined.values())[::-1][:most]]


def _run(record: Record) -> RunRow:
    moment = record.timestamp / 1000
    if record.type.endswith(".started"):
        outcome, status = "running", "unknown"
    elif record.type.endswith(".lost"):
        outcome, status = "lost", "unhealthy"
    else:
        outcome = record.outcome or "finished"
        status = {"success": "healthy", "finished": "healthy", "skip": "unknown", "cancel": "degraded"}.get(
            outcome, "unhealthy"
        )
    return RunRow(
        record.subject or record.service or record.id,
        outcome,
        status,
        format_value(record.duration_ms, "ms"),
        record.environment or "–",
        clock_text(moment),
        _moment(moment).isoformat(timespec="seconds"),
    )


def plain(value: object) -> object:
    """A text of which everything can be seen: what would hide or turn it round is a mark instead."""
    return value.translate(_UNSEEN) if isinstance(value, str) else value


def clock_text(seconds: float) -> str:
    """A moment, in UTC, as the page shows it."""
    return _moment(seconds).strftime("%Y-%m-%d %H:%M:%S")


def uptime_text(milliseconds: float) -> str:
    """How long something has been running: ``3 d 4 h``, ``12 min``."""
    minutes = int(milliseconds // 60_000)
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(milliseconds // 1000)} s"


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, 0.0), 253402300799.0), UTC)
