"""What the node itself answers: its status, its availability, and the runbook's commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

import bers
from bers.audit import Entry, anchor_of
from bers.audit_proof import Report
from bers.availability import Availability
from bers.cells import Cell
from bers.collection import culprits
from bers.counters import Counts
from bers.directory import Directory, Route
from bers.errors import Refused, unknown
from bers.operations import Caller, Nothing, Operation, Reply
from bers.redaction import redact_text
from bers.reloading import Configuration
from bers.stages import Telling
from bers.states import StageState
from bers.supervisor import Supervisor
from bers.units import period
from bers.web import dead_letters, eyes, health, panels
from bers.web.periods import WINDOW


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
    """What it failed of last, which may be long ago."""
    error_at: int | None = None
    """When that was, in milliseconds since 1970."""
    reason: str | None = None
    """Why it is in this state."""
    kind: Literal["source", "processor", "sink"] = "source"
    pipeline: str | None = None
    """Of a processor, the pipeline that it is in."""
    restarts_left: int = 0
    """How often it may fail until it is quarantined."""


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
    configuration: Configuration
    warnings: list[str]
    held: Mapping[str, str]
    """The pipelines through which nothing goes at present, and why."""
    plugins_failed: Mapping[str, str]
    """Plugins that are installed and cannot be used, and why."""
    given_up: list[str]
    """Stages some of whose work did not end when it was told to; it goes on until the process ends."""


class Restarted(msgspec.Struct, frozen=True):
    """The stages that are started anew."""

    restarted: list[str]


class AskStage(msgspec.Struct, forbid_unknown_fields=True):
    """Which stage, by its key in pipelines.yaml."""

    stage: str


class AskAvailability(msgspec.Struct, forbid_unknown_fields=True):
    """How far back."""

    window: Annotated[
        str,
        Meta(
            description="How far back, as in 24h, 30d or 604800000 (milliseconds): from 10s to 90d.",
            extra_json_schema=WINDOW,
        ),
    ] = "30d"


class AskAudit(msgspec.Struct, forbid_unknown_fields=True):
    """Which rows, the newest first."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="How many at most.")] = 100
    before: Annotated[
        Annotated[int, Meta(ge=1, le=1 << 53)] | None,
        Meta(description="What `next` said of the answer before: go on with older rows than this."),
    ] = None
    principal: Annotated[str, Meta(description="Only what this principal did.")] = ""
    target: Annotated[str, Meta(description="Only what was done to this, such as the id of an alert.")] = ""


class AskProof(msgspec.Struct, forbid_unknown_fields=True):
    """What the audit is to be compared with."""

    head: Annotated[
        str, Meta(description="The number and the hash of a row as they were noted before, with a colon between.")
    ] = ""


class OlderRows(msgspec.Struct, frozen=True):
    """Where the answer ends: what to ask for as `before` to be told older rows; null where there are none."""

    next: int | None


class BesideAudit(msgspec.Struct, frozen=True):
    """What stands beside rows of the audit."""

    meta: OlderRows


class Api:
    """Answers for the node as a whole."""

    def __init__(self, supervisor: Supervisor, ports: Mapping[str, int]) -> None:
        self._node = supervisor
        self._ports = ports

    @property
    def node(self) -> Supervisor:
        return self._node

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
            dict(node.intake.receivers.unmapped),
            node.heartbeats.availability(),
            node.configuration,
            [*node.plan.warnings, *_warnings(node.configuration)],
            node.held,
            {
                name: redact_text(f"{type(error).__name__}: {error}")
                for name, error in node.plan.catalogue.failed.items()
            },
            list(node.given_up),
        )

    async def restart_sources(self, ask: Nothing, caller: Caller) -> Restarted:
        return Restarted(self._node.restart_sources())

    async def stages(self, ask: Nothing, caller: Caller) -> list[StageReport]:
        return [_stage(cell, self._node.clock.monotonic()) for cell in self._node.cells]

    async def restart_stage(self, ask: AskStage, caller: Caller) -> Restarted:
        found = self._node.restart(ask.stage)
        if not found:
            known = {cell.key for cell in self._node.cells}
            raise Refused("not_found", unknown("stage", ask.stage, known), known=known)
        return Restarted(found)

    async def configuration(self, ask: Nothing, caller: Caller) -> Configuration:
        return self._node.configuration

    async def reload(self, ask: Nothing, caller: Caller) -> Configuration:
        attempt = await self._node.reload(by=caller.principal)
        if attempt.result == "failed":
            raise Refused(
                "invalid",
                "\n".join(
                    ["the configuration was not taken, and the former stays in place:", *map(str, attempt.faults)]
                ),
                details=[
                    (one.path, f"{one.place}: {one.message}" if one.place else one.message) for one in attempt.faults
                ],
            )
        return self._node.configuration

    async def availability(self, ask: AskAvailability, caller: Caller) -> Availability:
        try:
            window = period(ask.window)
        except ValueError as exc:
            raise Refused("bad_request", f"window: {exc}") from exc
        return self._node.heartbeats.availability(window)

    async def audit(self, ask: AskAudit, caller: Caller) -> Reply[list[Entry]]:
        found = list(
            await self._node.audit.entries(ask.limit, before=ask.before, principal=ask.principal, target=ask.target)
        )
        return Reply(found, {"meta": OlderRows(found[-1].id if len(found) == ask.limit else None)})

    async def prove_audit(self, ask: AskProof, caller: Caller) -> Report:
        try:
            anchor = anchor_of(ask.head) if ask.head else None
        except ValueError as exc:
            raise Refused("bad_request", f"head: {exc}") from exc
        return await self._node.audit.prove(anchor)


OPERATIONS: tuple[Operation[Any, Any, Any], ...] = (
    Operation(
        "GET", "availability", Api.availability, AskAvailability, Availability,
        "How much of the time this node was there, with the error budget and the gaps.", surface="health",
        refuses=("bad_request", "invalid"),
    ),
    Operation("GET", "dashboard/status", Api.status, Nothing, StatusReport, "What runs, and how."),
    Operation("GET", "stages", Api.stages, Nothing, list[StageReport], "How every stage is doing."),
    Operation(
        "POST", "stages/{stage}/restart", Api.restart_stage, AskStage, Restarted,
        "Start a stage anew, at once and out of quarantine, with a budget of restarts that is whole.", scope="admin",
    ),
    Operation(
        "POST", "metrics/restart", Api.restart_sources, Nothing, Restarted,
        "Start every source anew that measures by itself; what is stored stays.", scope="admin",
    ),
    Operation(
        "GET", "config", Api.configuration, Nothing, Configuration,
        "Which configuration is in place, and what came of the last reload.",
    ),
    Operation(
        "POST", "config/reload", Api.reload, Nothing, Configuration,
        "Read the file again, and change what differs; 422 says what is wrong with it, and nothing has changed then.",
        scope="admin",
    ),
    Operation(
        "GET", "audit", Api.audit, AskAudit, list[Entry], "Who changed what, newest first.", scope="admin",
        beside=BesideAudit,
    ),
    Operation(
        "GET", "audit/verify", Api.prove_audit, AskProof, Report,
        "Whether every row of the audit is as it was written, and none is missing.", scope="admin",
        refuses=("bad_request",),
    ),
)  # fmt: skip


def offer(directory: Directory, api: Api) -> None:
    """Add what the node itself answers to the directory."""
    for operation in OPERATIONS:
        directory.add(Route(operation, "node", lambda: api))
    looking = eyes.Eyes(api.node)
    for seen in eyes.OPERATIONS:
        directory.add(Route(seen, "node", lambda: looking))
    dead_letters.offer(directory, api.node)
    health.offer(directory, api.node)
    panels.offer(directory, api.node)


def _details(node: Supervisor) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield (
        "intake",
        {
            "refused": dict(node.intake.refused),
            "folded": dict(node.intake.series.folded),
            "culprits": culprits(node.intake.series),
        },
    )
    for cell in node.cells:
        if isinstance(cell.stage, Telling):
            try:
                yield cell.name, cell.stage.tell()
            except Exception as exc:  # What a stage says of itself is never worth the whole answer.
                yield cell.name, {"error": redact_text(f"{type(exc).__name__}: {exc}")}


def _warnings(configuration: Configuration) -> Iterator[str]:
    if configuration.result == "failed":
        yield f"the last reload failed, and the former configuration stays: {'; '.join(map(str, configuration.faults))}"


def _stage(cell: Cell, now: float) -> StageReport:
    standing = cell.standing
    return StageReport(
        cell.key,
        cell.spec.name,
        standing.state,
        cell.restarts,
        int((now - standing.since) * 1000),
        redact_text(standing.error) or None,
        int(standing.error_at * 1000) if standing.error_at is not None else None,
        redact_text(standing.reason) or None,
        cell.kind,
        cell.pipeline or None,
        cell.budget.left,
    )
