"""Deployments: how long they take, how they end, what is rolled back, and how incidents pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from msgspec import Meta
from msgspec.structs import replace

from bers import Caller, Config, Emit, Event, Interval, Metric, Operation, SourceSpec, Stage, Table, hookimpl
from bers_builtin.sources import _gate
from bers_builtin.sources._changes import lead_time
from bers_builtin.sources._drift import DRIFT, drift
from bers_builtin.sources._runs import SUCCEEDED, Runs, Span, names, score


class DeploymentConfig(Config, frozen=True):
    """Measure deployments, rollbacks, staging validations, environment changes and incidents from their events."""

    lost_after: Annotated[
        Interval,
        Meta(
            description="How long to wait for the finish of a deployment that has started. Then `deployment.lost` is "
            "told; a finish that comes later still counts."
        ),
    ] = Interval("30m")


class DeploymentSource(Stage[DeploymentConfig]):
    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        measures = NAMES.read(event)[0]
        match event.type:
            case "deployment.finished":
                _finished(event, measures)
            case "service.deployed" | "service.upgraded":
                if event.outcome is None:  # CDEvents tells of them when they have succeeded.
                    event = replace(event, outcome="success")
                _finished(event, measures)
                if event.outcome == "success" and event.duration_ms is not None:
                    measures.setdefault("deployment_performance", event.duration_ms)
            case "deployment.rolledback" | "service.rolledback":
                measures.setdefault("deployment_rollback_total", 1.0)
                if event.duration_ms is not None:
                    measures.setdefault("deployment_recovery_time", event.duration_ms)
            case "deployment.validated":
                _gate.remember(event, table)
                score(measures, "staging_validation_success", event.outcome)
                if event.duration_ms is not None:
                    measures.setdefault("staging_validation_duration", event.duration_ms)
            case "environment.created" | "environment.modified" | "environment.deleted":
                measures.setdefault("environment_change_total", 1.0)
                return [*RUNS.join(event, measures, table), *drift(event, table)]
            case "change.merged":
                measures.setdefault("change_total", 1.0)
            case _:
                pass
        return RUNS.join(event, measures, table)

    async def run(self, emit: Emit) -> None:
        await RUNS.watch(self.context, emit, self.config.lost_after, "deployment.measured")

    async def gate(self, ask: _gate.AskGate, caller: Caller) -> _gate.GateState:
        """Tell whether a deployment may go."""
        return _gate.answer(ask, self.context.table, self.context.clock.time())


def _finished(event: Event, measures: dict[str, float]) -> None:
    measures.setdefault("deployment_total", 1.0)
    score(measures, "deployment_success_rate", event.outcome)
    if taken := lead_time(event.outcome, event.vcs.committed_at if event.vcs else None, event.time):
        measures.setdefault("deployment_lead_time", taken)


RUNS = Runs(
    Span(
        "deployment_performance",
        "deployment.started",
        "deployment.finished",
        outcomes=SUCCEEDED,
        lost="deployment.lost",
        active="deployment_active",
    ),
    Span("deployment_recovery_time", "deployment.finished", "deployment.rolledback", own=False),
    Span("incident_recovery_time", "incident.detected", "incident.resolved", active="incident_active"),
    same={"service.rolledback": "deployment.rolledback", "incident.reported": "incident.detected"},
)

NAMES = names(
    {
        "lead_time": "deployment_lead_time",
        "recovery_time": "deployment_recovery_time",
    }
)

METRICS = (
    Metric(
        "deployment_performance",
        "ms",
        "Time from the start of a deployment to its finish; those that fail do not count.",
        target=300_000,
        labels=("environment",),
        title="Deployment Time",
    ),
    Metric(
        "deployment_total",
        "{deployment}",
        "Deployments that have finished.",
        better="neither",
        labels=("environment", "outcome"),
    ),
    Metric(
        "deployment_success_rate",
        "%",
        "Share of deployments that succeed; cancelled ones do not count.",
        better="higher",
        labels=("environment",),
    ),
    Metric("deployment_active", "{deployment}", "Deployments that have started and not finished.", better="neither"),
    Metric("deployment_lead_time", "ms", "Time from a commit to its deployment."),
    Metric("deployment_rollback_total", "{rollback}", "Deployments that were rolled back.", labels=("environment",)),
    Metric(
        "deployment_recovery_time",
        "ms",
        "Time from the finish of a deployment to its rollback.",
        labels=("environment",),
    ),
    Metric("staging_validation_success", "%", "Share of the validations on staging that succeed.", better="higher"),
    Metric("staging_validation_duration", "ms", "Time that a validation on staging takes."),
    Metric(
        "environment_change_total",
        "{change}",
        "Environments that were created, modified or deleted.",
        better="neither",
    ),
    DRIFT,
    Metric("incident_active", "{incident}", "Incidents that were detected and not resolved."),
    Metric("incident_recovery_time", "ms", "Time from the detection of an incident to its resolution."),
    Metric("change_total", "{change}", "Changes that were merged.", better="neither"),
)

DEPLOYMENT = SourceSpec(
    "deployment",
    DeploymentConfig,
    DeploymentSource,
    claims=(
        "deployment.*",
        "service.*",
        "environment.created",
        "environment.modified",
        "environment.deleted",
        "change.*",
        "incident.*",
    ),
    metrics=METRICS,
    operations=(
        Operation(
            "GET",
            "gate/{environment}",
            DeploymentSource.gate,
            _gate.AskGate,
            _gate.GateState,
            "Whether a deployment may go, by what was validated before it.",
            refuses=("invalid",),
        ),
    ),
)


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [DEPLOYMENT]
