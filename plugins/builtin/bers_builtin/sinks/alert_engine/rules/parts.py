"""The parts of a rule that have keys of their own."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bers import Duration, Outcome, Percent, Quantity
from bers_builtin.sinks.alert_engine.rules.words import Severity, several

MOST_RUNS = 1_000
"""How many values a baseline is made of at most: each series keeps them."""


class Clears(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The event that ends what another one began."""

    event: Annotated[str | list[str], Meta(description="The type, or types, of the event that resolves the alert.")]
    outcome: Annotated[
        Outcome | list[Outcome] | None, Meta(description="The outcomes it must have; any, if not told.")
    ] = None

    def matches(self, type: str, outcome: Outcome | None) -> bool:
        return type in several(self.event) and self.matches_outcome(outcome)

    def matches_outcome(self, outcome: Outcome | None) -> bool:
        return self.outcome is None or outcome in several(self.outcome)


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a value may be from what was usual."""

    over: Annotated[
        Percent | None, Meta(description="Alert when a value is more than this share above the baseline, as in `20%`.")
    ] = None
    under: Annotated[
        Percent | None, Meta(description="Alert when a value is more than this share below the baseline.")
    ] = None
    of: Annotated[
        Literal["median", "mean"],
        Meta(description="What of the last values is the baseline; one bad run hardly moves a `median`."),
    ] = "median"
    runs: Annotated[
        int,
        Meta(ge=1, le=MOST_RUNS, description="How many of the values before it a value is compared with."),
    ] = 20
    min_runs: Annotated[
        int, Meta(ge=1, le=MOST_RUNS, description="How many there must be before anything follows from them.")
    ] = 5

    def __post_init__(self) -> None:
        if (self.over is None) == (self.under is None):
            raise ValueError("it needs either `over` or `under`; give one of them, as in `over: 20%`")
        if not self.percent > 0:
            side = "over" if self.over is not None else "under"
            raise ValueError(f"{side}: {self.percent:g}% is no change; write more than 0%")
        if self.min_runs > self.runs:
            raise ValueError(f"min_runs: {self.min_runs} runs are more than the {self.runs} of `runs`; lower it")

    @property
    def percent(self) -> float:
        return float(self.over if self.over is not None else self.under or 0.0)

    @property
    def factor(self) -> float:
        """What the baseline is multiplied with to be the threshold."""
        return 1 + self.percent / 100 if self.over is not None else 1 - self.percent / 100


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a rule is different in one environment. What is not told here is as the rule has it."""

    above: Annotated[Quantity | None, Meta(description="In place of the rule's `above`.")] = None
    below: Annotated[Quantity | None, Meta(description="In place of the rule's `below`.")] = None
    clear: Annotated[Quantity | None, Meta(description="In place of the rule's `clear`.")] = None
    severity: Annotated[Severity | None, Meta(description="In place of the rule's `severity`.")] = None
    for_: Annotated[Duration | None, Meta(description="In place of the rule's `for`.")] = msgspec.field(
        default=None, name="for"
    )
    keep_firing_for: Annotated[Duration | None, Meta(description="In place of the rule's `keep_firing_for`.")] = None
    enabled: Annotated[bool, Meta(description="Whether the rule looks at events of this environment at all.")] = True
