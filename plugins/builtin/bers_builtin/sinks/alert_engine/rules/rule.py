"""A rule: when something is worth an alert, and how bad it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from bers import Duration, Interval, Outcome, Percent, Quantity
from bers_builtin.sinks.alert_engine.rules.faults import faults
from bers_builtin.sinks.alert_engine.rules.parts import Change, Clears, Override
from bers_builtin.sinks.alert_engine.rules.words import Aggregate, OnNoData, Severity, named, several


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When to alert: a metric beyond a threshold or far from what is usual, an event, failures, or silence."""

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
    in_: Annotated[
        dict[str, Override],
        Meta(
            description="What is different in single environments, by their names. Each environment then has alerts of "
            "its own."
        ),
    ] = msgspec.field(default_factory=dict[str, Override], name="in")

    # What is looked at

    metric: Annotated[str, Meta(description="The metric to watch. A rule has either this or `event`.")] = ""
    event: Annotated[
        str | list[str],
        Meta(description="The type, or types, of the events to watch, such as `deployment.rolledback`."),
    ] = ""
    where: Annotated[
        dict[str, str | list[str]],
        Meta(
            description="Labels that an event must have to be looked at, or `environment`, `service`, `source`, "
            "`subject`, `outcome`: each with the value, or the values, that are meant. Others do not matter."
        ),
    ] = {}
    environment: Annotated[str, Meta(description="The environment an event must be from; any, if not told.")] = ""
    outcome: Annotated[
        Outcome | list[Outcome] | None,
        Meta(
            description="The outcomes that matter. Not told, any event fires the alert, and with `consecutive` or "
            "`ratio` failure, error and timeout count as failures."
        ),
    ] = None
    group: Annotated[
        list[str] | None,
        Meta(
            description="What tells alerts of this rule apart: labels, or `environment`, `service`, `source`, "
            "`subject`. Not told: the labels of the metric; `environment` and `service` of an event; `source` where "
            "failures are counted; nothing with `absent`."
        ),
    ] = None

    # What is bad

    above: Annotated[
        Quantity | None,
        Meta(
            description="Alert beyond this value, such as `100ms` or `80%`; `target` is the metric's own. "
            "The value itself is still good. A `rate` is written as in `3/min` or `1MB/s`."
        ),
    ] = None
    below: Annotated[Quantity | None, Meta(description="Alert short of this value; `target` is the metric's own.")] = (
        None
    )
    clear: Annotated[
        Quantity | None,
        Meta(
            description="An alert that fires ends only when the value is at this one or on its good side. Not told, "
            "it ends at the threshold."
        ),
    ] = None
    aggregate: Annotated[
        Aggregate,
        Meta(
            description="What of the values in `window` is compared; `last` looks at each value alone. `count` is how "
            "many there are, `rate` their sum per second, `increase` by how much a value that only climbs has climbed; "
            "of events, `count` and `rate`."
        ),
    ] = "last"
    window: Annotated[
        Interval | None,
        Meta(
            description="How far back an aggregate or a ratio looks; to the second up to 5m, and to a 300th of itself "
            "beyond."
        ),
    ] = None
    min_samples: Annotated[
        int, Meta(ge=1, description="How many values the window must hold before anything follows from it.")
    ] = 1
    change: Annotated[
        Change | None, Meta(description="Alert when a value is far from the usual one: that of the last runs.")
    ] = None
    consecutive: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Alert after so many failures in a row.")
    ] = None
    ratio: Annotated[
        Percent | None, Meta(description="Alert when at least this share of the events in `window` failed.")
    ] = None
    absent: Annotated[
        Interval | None,
        Meta(
            description="Alert when for so long no such event came, or no value of the metric. The first time is "
            "counted from when the rule was first at work; with `group`, a group is waited for once it was seen."
        ),
    ] = None
    clears: Annotated[
        Clears | None, Meta(description="The event that resolves the alert; not told, an operator does.")
    ] = None

    # For how long

    for_: Annotated[
        Duration,
        Meta(
            description="How long values must be beyond the threshold, none of them good, before the alert fires. "
            "It fires with the first value at or after that time: silence proves nothing."
        ),
    ] = msgspec.field(default=Duration("0s"), name="for")
    keep_firing_for: Annotated[
        Duration,
        Meta(
            description="How long all must have been good before an alert that fires ends. Where an event fires it, "
            "how long after the last such event it ends."
        ),
    ] = Duration("0s")
    no_data_after: Annotated[
        Interval | None,
        Meta(
            description="After how long without a value a series is silent. Not told, silence is normal: most events "
            "come when they come."
        ),
    ] = None
    on_no_data: Annotated[
        OnNoData,
        Meta(
            description="What silence does: `keep` leaves the alert as it is and raises another, `No Data: NAME`, of "
            "severity info; `alert` counts as beyond the threshold; `ok` counts as good."
        ),
    ] = "keep"

    # What is told

    incidents: Annotated[
        bool,
        Meta(
            description="Whether its alerts are incidents: `incident.detected` when one is told that fires, "
            "`incident.resolved` when it is told that it is resolved. DORA's figures count them."
        ),
    ] = False
    depends_on: Annotated[
        list[str],
        Meta(description="Rules that explain this one: while an alert of theirs is alive, this one fires suppressed."),
    ] = []
    labels: Annotated[
        dict[str, str],
        Meta(description="Labels to put on the alert, besides those it has from its events: `team: platform`."),
    ] = {}
    annotations: Annotated[
        dict[str, str],
        Meta(
            description="What to tell with the alert: `summary`, and `step`, what to do about it. A template may use "
            "`{{ value }}`, `{{ threshold }}`, `{{ labels.NAME }}`, `{{ rule }}`, `{{ severity }}`, "
            "`{{ environment }}`, `{{ message }}`, and `{{ raw_value }}`, a number in the metric's unit."
        ),
    ] = {}

    def __post_init__(self) -> None:
        for path, fault in faults(self):
            raise ValueError(f"{path + ': ' if path else ''}rule {self.name!r}: {fault}")

    @property
    def id(self) -> str:
        """The name as addresses show it: ``configuration-resolution-slow``."""
        return named(self.name)

    @property
    def events(self) -> Sequence[str]:
        return several(self.event) if self.event else ()

    @property
    def counts_failures(self) -> bool:
        return self.consecutive is not None or self.ratio is not None

    @property
    def side(self) -> str:
        """The key of its threshold."""
        return "above" if self.above is not None else "below"

    @property
    def threshold(self) -> str:
        """The threshold as it was written."""
        return self.above or self.below or ""

    def matches_outcome(self, outcome: Outcome | None) -> bool:
        return self.outcome is None or outcome in several(self.outcome)

    def severity_for(self, environment: str | None) -> Severity:
        name = environment or ""
        override = self.in_.get(name)
        return (override and override.severity) or self.severity_in.get(name, self.severity)
