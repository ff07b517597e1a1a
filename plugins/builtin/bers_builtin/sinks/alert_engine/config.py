"""What the alert engine can be told in pipelines.yaml."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from bers import Config, Duration, Interval, unknown
from bers_builtin.sinks.alert_engine.defaults import DEFAULTS
from bers_builtin.sinks.alert_engine.maintenance import MaintenanceWindow
from bers_builtin.sinks.alert_engine.rules import Rule


class Deduplication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether an alert that comes back is the same alert."""

    enabled: Annotated[
        bool, Meta(description="Whether what comes back within the window reopens its alert, rather than a new one.")
    ] = True
    window: Annotated[Interval, Meta(description="How long after it was resolved an alert can be reopened.")] = (
        Interval("300s")
    )


class RateLimiting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many alerts may fire before further ones are only shown, as suppressed."""

    max_alerts: Annotated[
        int, Meta(ge=1, description="How many alerts may fire in the window. Critical ones count, and always fire.")
    ] = 10
    window: Annotated[Interval, Meta(description="The time in which they are counted.")] = Interval("300s")


class AlertConfig(Config, frozen=True):
    """Watch every event by rules; keep alerts, acknowledgements and timers through restarts and crashes."""

    rules: Annotated[
        tuple[Rule, ...], Meta(description="Your own rules. One named like a default rule replaces it.")
    ] = ()
    defaults: Annotated[bool, Meta(description="Whether the runbook's rules apply.")] = True
    deduplication: Annotated[Deduplication, Meta(description="When an alert that comes back is the same one.")] = (
        Deduplication()
    )
    rate_limiting: Annotated[RateLimiting, Meta(description="How many alerts may fire in a while.")] = RateLimiting()
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

    def __post_init__(self) -> None:
        rules = [*(DEFAULTS if self.defaults else ()), *self.rules]
        known = {rule.name for rule in rules} | {rule.id for rule in rules}
        for rule in self.rules:
            for name in rule.depends_on:
                if name not in known:
                    raise ValueError(f"rule {rule.name!r}: depends_on: {unknown('rule', name, sorted(known))}")
        seen = set[str]()
        for window in self.maintenance:
            if window.name in seen:
                raise ValueError(f"maintenance window {window.name!r} is there already; call one of them differently")
            seen.add(window.name)
