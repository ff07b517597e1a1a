"""What a node tells of itself as events, for pipelines to read like any others."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from bers.cells import Cell
from bers.clock import Jump
from bers.health.reports import CheckReport
from bers.intake import Intake
from bers.records import Outcome
from bers.redaction import Redactor
from bers.reloading import Configuration, Reload
from bers.stages import Context
from bers.states import Change

_log = logging.getLogger(__name__)


class News:
    """Publishes on the node's own bus; what it tells is in the answers of REST too, so it may be lost."""

    def __init__(self, intake: Intake, own: Context, redactor: Redactor) -> None:
        """``own`` is what the node's own events are made with."""
        self._intake = intake
        self._own = own
        self._redactor = redactor

    async def stage_changed(self, cell: Cell, change: Change) -> None:
        """A stage came to another state."""
        await self._publish(
            "stage.changed",
            subject=cell.name,
            outcome="success" if change.after == "ok" else "failure",
            reason=self._redactor.text(change.reason) or None,
            data={
                "stage": cell.name,
                "use": cell.spec.name,
                "kind": cell.kind,
                "state": change.after,
                "before": change.before,
                "error": self._redactor.text(change.error),
            },
        )

    async def health_checked(self, report: CheckReport, before: CheckReport | None) -> None:
        """A check came to another status, its breaker to another state, or it began or ceased to flap."""
        outcome: Outcome = "success" if report.status == "healthy" else "failure"
        if report.because:
            outcome = "skip"  # It is not to blame, and whoever counts failures counts the one that is.
        await self._publish(
            "health.checked",
            subject=report.name,
            outcome=outcome,
            reason=report.message,
            duration_ms=report.duration,
            labels={
                "check": report.name,
                "status": report.status,
                "breaker": report.breaker.state,
                "critical": "true" if report.critical else "false",
                "flapping": "true" if report.flapping else "false",
            },
            data={
                "status": report.status,
                "before": before.status if before else None,
                "breaker": report.breaker.state,
                "breakerBefore": before.breaker.state if before else None,
                "critical": report.critical,
                "flapping": report.flapping,
                "flappingBefore": before.flapping if before else False,
                "becauseOf": report.because or None,
                "error": report.error,
                "remediation": report.remediation,
            },
        )

    async def config_reloaded(self, configuration: Configuration, attempt: Reload) -> None:
        """Somebody tried to put another configuration in place; ``configuration`` is what is there now."""
        faults = "; ".join(map(str, attempt.faults))
        await self._publish(
            "config.reloaded",
            subject=configuration.file,
            outcome="failure" if faults else "success",
            reason=faults or None,
            duration_ms=attempt.duration,
            data={
                "generation": configuration.generation,
                "hash": configuration.hash,
                **msgspec.to_builtins(attempt),
            },
        )

    async def clock_jumped(self, jump: Jump) -> None:
        """The wall clock was set, or nothing happened here for a while."""
        await self._publish(
            "clock.jumped",
            subject="clock",
            reason=str(jump),
            data={
                "cause": jump.cause,
                "seconds": round(jump.seconds, 3),
                "from": round(jump.before * 1000),
                "to": round(jump.after * 1000),
            },
        )

    async def _publish(self, type: str, *, subject: str, **fields: Any) -> None:
        try:
            await self._intake.submit([self._own.event(type, subject=subject, **fields)], durable=False, own=True)
        except Exception as exc:
            _log.warning("%s of %r could not be published: %s", type, subject, exc)
