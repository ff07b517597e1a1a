"""What the alert engine can be told in pipelines.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from bers import Config, Duration, Interval
from bers_builtin.sinks.alert_engine.rules import Rule, Severity, Slo
from bers_builtin.sinks.alert_engine.suppression.maintenance import MaintenanceWindow
from bers_builtin.sinks.alert_engine.suppression.suppressions import RateLimiting


class Deduplication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether an alert that comes back is the same alert."""

    enabled: Annotated[
        bool, Meta(description="Whether what comes back within the window reopens its alert, rather than a new one.")
    ] = True
    window: Annotated[Interval, Meta(description="How long after it was resolved an alert can be reopened.")] = (
        Interval("300s")
    )


class Acknowledgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long somebody's word counts that they look after an alert."""

    expires_after: Annotated[
        Interval | None,
        Meta(
            description="After this time an acknowledged alert that still fires is active again, unless who "
            "acknowledged said a time. Not told, it stays acknowledged."
        ),
    ] = None


class Flapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an alert that comes and goes is held as firing, rather than told again and again."""

    enabled: Annotated[bool, Meta(description="Whether alerts that come and go are held.")] = True
    transitions: Annotated[
        int,
        Meta(
            ge=2,
            description="An alert that fired and was resolved this often in the window, together, is not resolved the "
            "next time that it is good: it flaps, goes on firing, and says so once.",
        ),
    ] = 5
    window: Annotated[Interval, Meta(description="The time in which they are counted.")] = Interval("10m")
    steady: Annotated[
        Interval,
        Meta(
            description="How long it must be good, or bad, without a break until it no longer flaps: then it is "
            "resolved, or told once as firing for good."
        ),
    ] = Interval("5m")


class EscalationStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told as well if nobody takes an alert on."""

    after: Annotated[Interval, Meta(description="How long an alert must have fired, and nobody have acknowledged it.")]
    contact: Annotated[
        str, Meta(min_length=1, max_length=100, description="Who is told then: the channels with this `contact`.")
    ]
    severities: Annotated[tuple[Severity, ...], Meta(description="The severities for which this step is taken.")] = (
        "error",
        "critical",
    )


# Whoever is reminded of everything reads nothing: only what nobody may forget is told again.
_REPEAT: Mapping[Severity, Interval] = {"critical": Interval("4h")}


class AlertConfig(Config, frozen=True):
    """Watch every event by rules; keep alerts, acknowledgements and timers through restarts and crashes."""

    rules: Annotated[
        tuple[Rule, ...], Meta(description="Your own rules. One named like a default rule replaces it.")
    ] = ()
    slos: Annotated[
        tuple[Slo, ...],
        Meta(description="Service level objectives: rules on how fast their error budgets burn follow from each."),
    ] = ()
    defaults: Annotated[bool, Meta(description="Whether the runbook's rules apply.")] = True
    deduplication: Annotated[Deduplication, Meta(description="When an alert that comes back is the same one.")] = (
        Deduplication()
    )
    rate_limiting: Annotated[RateLimiting, Meta(description="How many alerts may fire in a while.")] = RateLimiting()
    acknowledgement: Annotated[Acknowledgement, Meta(description="How long acknowledgements count.")] = (
        Acknowledgement()
    )
    flapping: Annotated[Flapping, Meta(description="When an alert that comes and goes is held as firing.")] = Flapping()
    escalation: Annotated[
        tuple[EscalationStep, ...],
        Meta(
            description="Who is told, and when, of alerts that nobody has acknowledged; an empty list switches it off."
        ),
    ] = (EscalationStep(Interval("5m"), "secondary"), EscalationStep(Interval("15m"), "escalation"))
    repeat: Annotated[
        Mapping[Severity, Interval],
        Meta(
            description="After which time it is told again, by severity, that an alert still fires and nobody has "
            "acknowledged it. Severities that are not named are told once."
        ),
    ] = msgspec.field(default_factory=lambda: _REPEAT)
    maintenance: Annotated[
        tuple[MaintenanceWindow, ...], Meta(description="Times in which alerts are expected, and told to nobody.")
    ] = ()
    longest_silence: Annotated[
        Interval, Meta(description="How long a silence may last at most, and how far ahead it may begin.")
    ] = Interval("30d")
    max_age: Annotated[
        Interval, Meta(description="Events older than this neither fire nor resolve an alert; they are history.")
    ] = Interval("5m")
    commit_every: Annotated[
        Duration, Meta(description="How long progress may wait to be written. Alerts are written at once.")
    ] = Duration("250ms")
    history: Annotated[Interval, Meta(description="How long resolved alerts are kept.")] = Interval("90d")
    heartbeat: Annotated[
        Duration,
        Meta(
            description="How often `watchdog.beat` is told while rules are evaluated and alerts written down in time; "
            "the sink `heartbeat` calls a URL for each. 0s: never."
        ),
    ] = Duration("1m")

    def __post_init__(self) -> None:
        seen = set[str]()
        for window in self.maintenance:
            if window.name in seen:
                raise ValueError(f"maintenance window {window.name!r} is there already; call one of them differently")
            seen.add(window.name)
