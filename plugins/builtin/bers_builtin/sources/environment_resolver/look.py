"""What one look at a project found, and the events that tell it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from bers import Event, Outcome
from bers_builtin.sources._drift import AGREEMENT, DRIFT, Pair
from bers_builtin.sources.environment_resolver.detection import Detection
from bers_builtin.sources.environment_resolver.resolution import Resolution

MAX_LISTED = 20
"""How many faults an event or a health check lists."""

MakeEvent = Callable[..., Event]
"""`Context.event`, of the stage that tells."""


class Timed(NamedTuple):
    """How a piece of work went."""

    ms: float
    outcome: Outcome
    reason: str = ""


class Detected(NamedTuple):
    at: float
    detection: Detection
    timed: Timed


class Resolved(NamedTuple):
    resolution: Resolution | None
    """None where the files could not be read; the reason is in `timed`."""
    cached: bool
    timed: Timed


class Compared(NamedTuple):
    pairs: Sequence[Pair]
    timed: Timed


class Look(NamedTuple):
    """All that one look found: it is told whole, or a check would call well what is not compared yet."""

    detected: Detected
    resolved: Resolved
    compared: Compared


def tell(look: Look, event: MakeEvent) -> list[Event]:
    return [
        _tell_detected(look.detected, event),
        _tell_resolved(look.resolved, event),
        *_tell_compared(look.compared, event),
    ]


def listed(resolution: Resolution) -> list[dict[str, str]]:
    """The first faults, the worst first, as an event or a health check lists them."""
    faults = sorted(resolution.faults, key=lambda fault: fault.severity)
    return [{"severity": one.severity, "path": one.path, "message": one.message} for one in faults[:MAX_LISTED]]


def _tell_detected(detected: Detected, event: MakeEvent) -> Event:
    _, detection, timed = detected
    measures = {"environment_detection_total": 1.0, "error_rate": 0.0 if timed.outcome == "success" else 100.0}
    if timed.outcome == "success":
        measures["environment_detection_time"] = timed.ms
    return event(
        "environment.detected",
        measures=measures,
        labels={"source": detection.source or "none", "confidence": detection.confidence or "none"},
        outcome=timed.outcome,
        reason=timed.reason or detection.reason or None,
        duration_ms=timed.ms,
        data={
            "environment": detection.environment,
            "candidates": msgspec.to_builtins(detection.candidates),
            "conflicts": list(detection.conflicts),
        },
    )


def _tell_resolved(resolved: Resolved, event: MakeEvent) -> Event:
    resolution, cached, timed = resolved
    if resolution is None:
        return event(
            "configuration.resolved",
            measures={"error_rate": 100.0},
            outcome=timed.outcome,
            reason=timed.reason,
            duration_ms=timed.ms,
        )
    return event(
        "configuration.resolved",
        measures={
            "configuration_resolution_time": timed.ms,
            "cache_hit_rate": 100.0 if cached else 0.0,
            "configuration_valid": 100.0 if resolution.valid else 0.0,
            "error_rate": 0.0 if resolution.valid else 100.0,
        },
        labels={"cached": str(cached).lower()},
        outcome=timed.outcome,
        reason=timed.reason or None,
        duration_ms=timed.ms,
        data={
            "environment": resolution.environment,
            "files": list(resolution.files),
            "keys": len(resolution.values),
            "faults": listed(resolution),
        },
    )


def _tell_compared(compared: Compared, event: MakeEvent) -> Sequence[Event]:
    pairs, timed = compared
    if timed.outcome != "success":
        return [event("configuration.compared", outcome=timed.outcome, reason=timed.reason)]
    return [
        event(
            "configuration.compared",
            measures={
                DRIFT.name: float(pair.count),
                AGREEMENT.name: 0.0 if pair.count else 100.0,
            },
            labels={"pair": pair.name},
            outcome="failure" if pair.count else "success",
            reason=f"{pair.count} variables are set in one alone" if pair.count else None,
            data={"missing": {name: list(lacks[:MAX_LISTED]) for name, lacks in pair.missing.items()}},
        )
        for pair in pairs
    ]
