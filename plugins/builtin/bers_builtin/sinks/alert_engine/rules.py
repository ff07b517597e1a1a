"""What a rule says: when something is worth an alert, and how bad it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bers import Duration, Interval, Outcome, Percent, Quantity

Severity: TypeAlias = Literal["info", "warning", "error", "critical"]
Aggregate: TypeAlias = Literal["last", "mean", "min", "max", "sum", "count", "p50", "p90", "p95", "p99"]

FAILED: Sequence[Outcome] = ("failure", "error", "timeout")
"""The outcomes that count as failures where a rule does not name any. Cancelled and skipped say nothing."""


class Clears(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The event that ends what another one began."""

    event: Annotated[str | list[str], Meta(description="The type, or types, of the event that resolves the alert.")]
    outcome: Annotated[
        Outcome | list[Outcome] | None, Meta(description="The outcomes it must have; any, if not told.")
    ] = None

    def matches(self, type: str, outcome: Outcome | None) -> bool:
        return type in several(self.event) and (self.outcome is None or outcome in several(self.outcome))


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When to alert: a metric beyond a threshold, an event, or events that keep failing."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=200,
            description="What the alert is called. A rule named like a default one replaces it.",
        ),
    ]
    severity: Annotated[Severity, Meta(description="How bad it is. Only `critical` is never rate limited.")] = "warning"
    severity_in: Annotated[
        dict[str, Severity], Meta(description="Severities for single environments, in place of `severity`.")
    ] = {}
    metric: Annotated[str, Meta(description="The metric to watch. A rule has either this or `event`.")] = ""
    labels: Annotated[
        dict[str, str], Meta(description="Labels that an event must have to be looked at; others do not matter.")
    ] = {}
    environment: Annotated[str, Meta(description="The environment an event must be from; any, if not told.")] = ""
    above: Annotated[
        Quantity | None,
        Meta(
            description="Alert beyond this value, such as `100ms` or `80%`; `target` is the metric's own. "
            "The value itself is still good."
        ),
    ] = None
    below: Annotated[Quantity | None, Meta(description="Alert short of this value; `target` is the metric's own.")] = (
        None
    )
    aggregate: Annotated[
        Aggregate, Meta(description="What of the values in `window` is compared; `last` looks at each value alone.")
    ] = "last"
    window: Annotated[
        Interval | None, Meta(description="How far back an aggregate or a ratio looks; to the second.")
    ] = None
    min_samples: Annotated[
        int, Meta(ge=1, description="How many values the window must hold before anything follows from it.")
    ] = 1
    for_: Annotated[
        Duration,
        Meta(
            description="How long values must be beyond the threshold, none of them good, before the alert fires. "
            "It fires with the first value at or after that time: silence proves nothing."
        ),
    ] = msgspec.field(default=Duration("0s"), name="for")
    event: Annotated[
        str | list[str],
        Meta(description="The type, or types, of the events to watch, such as `deployment.rolledback`."),
    ] = ""
    outcome: Annotated[
        Outcome | list[Outcome] | None,
        Meta(
            description="The outcomes that matter. Not told, any event fires the alert, and with `consecutive` or "
            "`ratio` failure, error and timeout count as failures."
        ),
    ] = None
    clears: Annotated[
        Clears | None, Meta(description="The event that resolves the alert; not told, an operator does.")
    ] = None
    consecutive: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Alert after so many failures in a row.")
    ] = None
    ratio: Annotated[
        Percent | None, Meta(description="Alert when at least this share of the events in `window` failed.")
    ] = None
    group: Annotated[
        list[str] | None,
        Meta(
            description="What tells alerts of this rule apart: labels, or `environment`, `service`, `source`, "
            "`subject`. Not told: the labels of the metric; `environment` and `service` of an event; `source` where "
            "failures are counted."
        ),
    ] = None
    incidents: Annotated[
        bool,
        Meta(
            description="Whether its alerts are incidents: `incident.detected` when one is told that fires, "
            "`incident.resolved` when it is told that it is resolved. DORA's figures count them."
        ),
    ] = False
    annotations: Annotated[
        dict[str, str], Meta(description="What to tell with the alert: `summary`, and `step`, what to do about it.")
    ] = {}

    def __post_init__(self) -> None:
        for fault in self._faults():
            raise ValueError(f"rule {self.name!r}: {fault}")

    @property
    def id(self) -> str:
        """The name as addresses show it: ``configuration-resolution-slow``."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.name.lower()).split())

    @property
    def events(self) -> Sequence[str]:
        return several(self.event) if self.event else ()

    @property
    def counts_failures(self) -> bool:
        return self.consecutive is not None or self.ratio is not None

    @property
    def threshold(self) -> str:
        """The threshold as it was written."""
        return self.above or self.below or ""

    def matches_outcome(self, outcome: Outcome | None) -> bool:
        return self.outcome is None or outcome in several(self.outcome)

    def severity_for(self, environment: str | None) -> Severity:
        return self.severity_in.get(environment or "", self.severity)

    def _faults(self) -> Sequence[str]:
        if not self.id:
            return ["its name has neither a letter nor a digit; call it something"]
        if bool(self.metric) == bool(self.event):
            return ["it needs either `metric` or `event`; give one of them"]
        return self._metric_faults() if self.metric else self._event_faults()

    def _metric_faults(self) -> Sequence[str]:
        faults = _misplaced(
            "a rule on a metric",
            {"outcome": self.outcome, "clears": self.clears, "consecutive": self.consecutive, "ratio": self.ratio},
        )
        if (self.above is None) == (self.below is None):
            faults.append("it needs either `above` or `below`; give one of them")
        if self.aggregate == "last" and self.window is not None:
            faults.append("`window` has no meaning for `last`; remove it, or choose an `aggregate` such as mean")
        if self.aggregate != "last" and self.window is None:
            faults.append(f"`{self.aggregate}` needs a `window`, such as 5m")
        if self.min_samples > 1 and self.window is None:
            faults.append("`min_samples` needs a `window`, such as 5m, and an `aggregate`")
        return faults

    def _event_faults(self) -> Sequence[str]:
        faults = _misplaced("a rule on an event", {"above": self.above, "below": self.below, "for": self.for_ or None})
        if self.aggregate != "last":
            faults.append("`aggregate` belongs to a rule on a metric; remove it")
        if any(
            type.startswith("alert.") for type in (*self.events, *(several(self.clears.event) if self.clears else ()))
        ):
            faults.append("no rule watches alerts; name another event")
        if self.counts_failures and self.clears:
            faults.append("`clears` has no meaning where failures are counted; remove it: a success resolves the alert")
        if (self.ratio is None) != (self.window is None):
            faults.append("`ratio` and `window` need each other; give both or neither")
        if self.min_samples > 1 and self.ratio is None:
            faults.append("`min_samples` needs a `ratio` and a `window`")
        return faults


def several(value: str | Sequence[str]) -> Sequence[str]:
    """One or many, as many."""
    return (value,) if isinstance(value, str) else value


def _misplaced(place: str, fields: Mapping[str, object]) -> list[str]:
    return [f"`{name}` has no meaning in {place}; remove it" for name, value in fields.items() if value is not None]
