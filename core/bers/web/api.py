"""What the node itself answers: its health, its status, and the runbook's commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

import bers
from bers.audit import Entry
from bers.availability import Availability
from bers.cells import Cell, StageState
from bers.checks import Status
from bers.counters import Counts
from bers.directory import Directory, Route
from bers.errors import Refused, unknown
from bers.health import CheckReport, Severity, Summary, overall, severity, summarize
from bers.operations import Caller, Nothing, Operation, Reply
from bers.stages import Telling
from bers.supervisor import Supervisor


class HealthReport(msgspec.Struct, rename="camel", frozen=True):
    """The health of this node; times in milliseconds."""

    timestamp: int
    overall_status: Status
    severity: Severity
    version: str
    uptime: int
    environment: str
    checks: list[CheckReport]
    summary: Summary
    availability: Availability
    recommendations: list[str]


class AskCheck(msgspec.Struct, forbid_unknown_fields=True):
    """Which check."""

    check: str


class Components(msgspec.Struct, rename="camel", frozen=True):
    """What of this node is at work."""

    dashboard: bool
    api_server: bool
    sse: bool
    alert_system: bool
    metrics_collector: bool
    health_checks: bool
    environment_resolver: bool


class ServerReport(msgspec.Struct, rename="camel", frozen=True):
    """The server; times in milliseconds."""

    uptime: int
    sse_clients: int
    ready: bool
    ports: Mapping[str, int]


class StageReport(msgspec.Struct, rename="camel", frozen=True):
    """How a stage is doing; ``since`` in milliseconds ago."""

    key: str
    use: str
    state: StageState
    restarts: int
    since: int
    error: str | None = None


class StatusReport(msgspec.Struct, rename="camel", frozen=True):
    """What runs, and how."""

    environment: str
    version: str
    components: Components
    server: ServerReport
    stages: list[StageReport]
    pipelines: Mapping[str, int]
    """How many events each pipeline has yet to read."""
    counters: Mapping[str, Counts]
    details: Mapping[str, Mapping[str, Any]]
    """What stages say of themselves, by their name in the counters."""
    unmapped: Mapping[str, int]
    availability: Availability
    configuration: str
    """Tells two configurations apart."""
    warnings: list[str]


class Restarted(msgspec.Struct, frozen=True):
    """The sources that were started anew."""

    restarted: list[str]


class WasReset(msgspec.Struct, frozen=True):
    """The breakers that were not closed, and are now."""

    reset: list[str]


class AskAudit(msgspec.Struct, forbid_unknown_fields=True):
    """How many of the newest entries."""

    limit: int = 100


class Api:
    """Answers for the node as a whole."""

    def __init__(self, supervisor: Supervisor, ports: Mapping[str, int]) -> None:
        self._node = supervisor
        self._ports = ports

    async def health(self, ask: Nothing, caller: Caller) -> Reply[HealthReport]:
        reports = self._node.health.reports()
        status = overall(reports) if self._node.ready else "unknown"
        report = HealthReport(
            int(self._node.clock.time() * 1000),
            status,
            severity(reports),
            bers.__version__,
            int(self._node.uptime * 1000),
            self._node.plan.settings.environment,
            reports,
            summarize(reports),
            await self._node.heartbeats.availability(),
            [f"{one.name}: {one.remediation}" for one in reports if one.remediation and one.status != "healthy"],
        )
        return Reply(report, healthy=status in ("healthy", "degraded"))

    async def check(self, ask: AskCheck, caller: Caller) -> Reply[CheckReport]:
        try:
            report = self._node.health.report(ask.check)
        except KeyError:
            names = self._node.health.names
            raise Refused("not_found", unknown("check", ask.check, names), known=names) from None
        return Reply(report, healthy=report.status in ("healthy", "degraded"))

    async def status(self, ask: Nothing, caller: Caller) -> StatusReport:
        node = self._node
        _, end = await node.bus.span(0)
        clients = getattr(node.running("sse"), "clients", 0)
        return StatusReport(
            node.plan.settings.environment,
            bers.__version__,
            Components(
                dashboard=node.running("dashboard") is not None,
                api_server=True,
                sse=node.running("sse") is not None,
                alert_system=node.running("alert-engine") is not None,
                metrics_collector=node.running("rest-store") is not None,
                health_checks=node.ready,
                environment_resolver=node.running("environment-resolver") is not None,
            ),
            ServerReport(int(node.uptime * 1000), clients, node.ready, self._ports),
            [_stage(cell, node.clock.monotonic()) for cell in node.cells],
            {name: max(0, end - pipeline.position) for name, pipeline in node.pipelines.items()},
            node.counters.snapshot(),
            dict(_details(node)),
            dict(node.intake.unmapped),
            await node.heartbeats.availability(),
            node.plan.digest,
            list(node.plan.warnings),
        )

    async def restart_sources(self, ask: Nothing, caller: Caller) -> Restarted:
        return Restarted(self._node.restart_sources())

    async def reset_breakers(self, ask: Nothing, caller: Caller) -> WasReset:
        return WasReset(self._node.reset_breakers())

    async def audit(self, ask: AskAudit, caller: Caller) -> list[Entry]:
        return list(await self._node.audit.entries(max(1, min(ask.limit, 1000))))


OPERATIONS: tuple[Operation[Any, Any, Any], ...] = (
    Operation("GET", "health", Api.health, Nothing, HealthReport, "The health of this node.", surface="health"),
    Operation("GET", "health/{check}", Api.check, AskCheck, CheckReport, "What a check found last.", surface="health"),
    Operation("GET", "dashboard/status", Api.status, Nothing, StatusReport, "What runs, and how."),
    Operation(
        "POST", "metrics/restart", Api.restart_sources, Nothing, Restarted,
        "Start every source anew that measures by itself; what is stored stays.", scope="admin",
    ),
    Operation(
        "POST", "health/circuit-breakers/reset", Api.reset_breakers, Nothing, WasReset,
        "Close every circuit breaker.", scope="admin",
    ),
    Operation("GET", "audit", Api.audit, AskAudit, list[Entry], "Who changed what, newest first.", scope="admin"),
)  # fmt: skip


def offer(directory: Directory, api: Api) -> None:
    """Add what the node itself answers to the directory."""
    for operation in OPERATIONS:
        directory.add(Route(operation, "node", lambda: api))


def _details(node: Supervisor) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for cell in node.cells:
        if isinstance(cell.stage, Telling):
            yield cell.key, cell.stage.tell()
    for name, pipeline in node.pipelines.items():
        for step, processor in pipeline.opened.items():
            if isinstance(processor, Telling):
                yield f"{name}/{step}", processor.tell()


def _stage(cell: Cell, now: float) -> StageReport:
    return StageReport(
        cell.key, cell.spec.name, cell.state, cell.restarts, int((now - cell.since) * 1000), cell.error or None
    )
