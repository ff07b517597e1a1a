"""What a back-test is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.rules import Severity

Change: TypeAlias = Literal["same", "new", "gone", "longer", "shorter"]

Millis = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]


class AskBacktest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Over which time, and with which rules."""

    since: Annotated[
        Millis | None, Meta(description="Its start, in ms since 1970; 7 days before its end if not told.")
    ] = None
    until: Annotated[Millis | None, Meta(description="Its end, in ms since 1970; now if not told.")] = None
    config: Annotated[
        AlertConfig | None,
        Meta(description="The options of an alert engine, as pipelines.yaml has them; those it runs with if not told."),
    ] = None


class Stretch(msgspec.Struct, rename="camel", kw_only=True):
    """A part of the time, and what the rules were told of it. Times in milliseconds since 1970."""

    from_: int = msgspec.field(name="from")
    to: int
    fed_with: Literal["events", "windows"]
    """The events of the journal; or windows of the store, with the records of events that it keeps."""
    width_ms: list[int] = []
    """How wide the windows were."""
    events: int = 0
    windows: int = 0
    cannot_show: list[str] = []
    """What cannot be seen in it, in whole sentences."""


class Occurrence(msgspec.Struct, rename="camel", kw_only=True):
    """An alert that would have fired, or one that did. Times in milliseconds since 1970."""

    labels: Mapping[str, str]
    severity: Severity
    from_: int = msgspec.field(name="from")
    to: int | None = None
    """When it was resolved; nothing while it still fires at the end."""
    duration_ms: int
    """Until the end, where it still fires then."""
    told: int
    """How many events were emitted about it."""
    value: float | None = None
    message: str = ""
    change: Change = "same"
    by_ms: int = 0
    """How much longer, or shorter, it would have been."""


class RuleOutcome(msgspec.Struct, rename="camel", kw_only=True):
    """What a rule would have done, beside what one of its id did."""

    id: str
    name: str
    would: list[Occurrence] = []
    did: list[Occurrence] = []
    changes: dict[Change, int] = {}


class Backtest(msgspec.Struct, rename="camel", kw_only=True):
    """What would have fired, when, for how long and how often told, beside what did. Times in ms since 1970."""

    since: int
    until: int
    reached: int
    """How far it came: less than its end where it was stopped."""
    stopped: str = ""
    """Why it was stopped, if it was."""
    stretches: list[Stretch]
    rules: list[RuleOutcome]
    """Those of which there is something to tell."""
    silent: list[str]
    """The names of all others."""
    changes: dict[Change, int]
    """Of all rules together."""
