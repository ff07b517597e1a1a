"""What is asked about a rule that somebody writes, and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from bers_builtin.sinks.alert_engine.rehearsal.backtest_answers import Change, Millis, Occurrence, Stretch


class AskTrial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which rule, over which time, and beside which other."""

    rule: Annotated[
        str,
        Meta(max_length=10_000, description="The rule as YAML, as it would stand below `rules:` of pipelines.yaml."),
    ]
    beside: Annotated[
        str, Meta(max_length=200, description="The id or the name of the rule in force that it is compared with.")
    ] = ""
    since: Annotated[
        Millis | None, Meta(description="Its start, in ms since 1970; 7 days before its end if not told.")
    ] = None
    until: Annotated[Millis | None, Meta(description="Its end, in ms since 1970; now if not told.")] = None


class TextFault(msgspec.Struct, frozen=True):
    """Something that is wrong with the text. The first line and the first column are 1."""

    line: int
    column: int
    path: str
    """The key that it is about."""
    message: str


class Account(msgspec.Struct, rename="camel", kw_only=True):
    """What one rule did, or would have done. Times in milliseconds, moments in milliseconds since 1970."""

    fired: int
    """How many alerts there were."""
    firing_ms: int
    """For how long at least one of them fired."""
    told: int
    """How many events told of them, or would have."""
    reached: int
    """How far it is known: less than the end where there was no time for all."""
    stopped: str = ""
    """Why it is not known any further."""
    spans: list[tuple[int, int]]
    """From when until when at least one of them fired, the oldest first; pauses too short to be seen are left out."""
    alerts: list[Occurrence]
    """The newest of them, the newest first."""


class Trial(msgspec.Struct, rename="camel", kw_only=True):
    """What a rule would have done, beside the rule in force; or what is wrong with it. Moments in ms since 1970."""

    since: int
    until: int
    faults: list[TextFault] = []
    """What is wrong with the text; all that follows is empty then."""
    name: str = ""
    condition: str = ""
    """What has to hold, as it was understood."""
    metric: str = ""
    unit: str = ""
    threshold: float | None = None
    would: Account | None = None
    """What the rule of the text would have done."""
    in_force: Account | None = None
    """What the rule in force would have done, told the same in the same way."""
    did: Account | None = None
    """What the rule in force did do: it may have been another one then, and others may have answered its alerts."""
    changes: Mapping[Change, int] = {}
    """How the alerts of the text compare with those that did fire."""
    stretches: list[Stretch] = []
    """What the rules were told of each part of the time, and what cannot be seen in it."""
