"""A file of tests for rules: what happens and when, and which alerts and notifications must follow."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bers import Duration, Interval, Outcome
from bers_builtin.sinks.alert_engine.alerts import Kind
from bers_builtin.sinks.alert_engine.rehearsal.notation import expand, select
from bers_builtin.sinks.alert_engine.suppression.matching import Matchers

State: TypeAlias = Literal["none", "pending", "active", "acknowledged", "suppressed", "resolved"]

_At = Annotated[Duration, Meta(description="When, counted from the start of the test.")]
_Rule = Annotated[str, Meta(min_length=1, description="The name of the rule.")]
_Labels = Annotated[
    dict[str, str] | None, Meta(description="The labels that tell it apart, all of them; any, if not told.")
]


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A metric that is measured again and again, each time by an event of its own."""

    series: Annotated[
        str,
        Meta(
            description='The metric and its labels, as in `queue{name="mail"}`; `environment` and `service` are those '
            "of the event."
        ),
    ]
    values: Annotated[
        str | float,
        Meta(
            description="One value for each interval, the first at 0s, in the metric's unit: `1 2 3`; `a+bxn` is a and "
            "n more that grow by b; `axn` is a and the same n more; `_` and `stale` are values that do not come, "
            "`_xn` are n of them."
        ),
    ]  # fmt: skip

    def __post_init__(self) -> None:
        for name, read in (("series", select), ("values", expand)):
            try:
                read(str(getattr(self, name)))
            except ValueError as exc:
                raise ValueError(f"{name}: {exc}") from exc


class Occurred(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event, as an emitter would hand it in."""

    at: _At
    type: Annotated[str, Meta(min_length=1, description="What happened, such as `build.finished`.")]
    outcome: Annotated[Outcome | None, Meta(description="How it ended.")] = None
    environment: Annotated[str | None, Meta(description="Where; that of the file, if not told.")] = None
    service: Annotated[str | None, Meta(description="Of which service.")] = None
    source: Annotated[str, Meta(description="Who says so.")] = "/test"
    subject: Annotated[str, Meta(description="What it happened to.")] = ""
    reason: Annotated[str | None, Meta(description="Why.")] = None
    labels: Annotated[dict[str, str], Meta(description="What else it is told apart by.")] = {}
    measures: Annotated[dict[str, float], Meta(description="What it measures, in the metrics' units.")] = {}
    weight: Annotated[int, Meta(ge=1, description="How many such events it stands for.")] = 1
    late: Annotated[Duration, Meta(description="How long before it came it had happened.")] = Duration("0s")


class Acted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that an operator does about alerts that are alive."""

    at: _At
    acknowledge: Annotated[str, Meta(description="Take on the alerts of the rule of this name.")] = ""
    resolve: Annotated[str, Meta(description="End the alerts of the rule of this name.")] = ""
    silence: Annotated[
        list[str], Meta(description="Silence the alerts that all of these mean, such as `severity=warning`.")
    ] = []
    for_: Annotated[Duration | None, Meta(description="For how long to silence them.")] = msgspec.field(
        default=None, name="for"
    )
    labels: _Labels = None
    operator: Annotated[str, Meta(description="Who does it.")] = "operator"
    notes: Annotated[str, Meta(description="What is told about it.")] = ""

    def __post_init__(self) -> None:
        if bool(self.acknowledge) + bool(self.resolve) + bool(self.silence) != 1:
            raise ValueError("an action is one of `acknowledge`, `resolve` and `silence`; give one of them")
        if bool(self.silence) != (self.for_ is not None):
            raise ValueError("`silence` and `for` need each other; give both or neither")
        try:
            Matchers(self.silence)
        except ValueError as exc:
            raise ValueError(f"silence: {exc}") from exc

    @property
    def rule(self) -> str:
        return self.acknowledge or self.resolve


class ExpectedAlert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alert that there must be at a time. All those of a rule that is named for a time have to be named."""

    at: _At
    rule: _Rule
    status: Annotated[
        State,
        Meta(description="How it is; `none` says that the rule has no alert then, `resolved` that its last one is."),
    ]
    labels: _Labels = None
    value: Annotated[float | None, Meta(description="The value that it names; any, if not told.")] = None
    severity: Annotated[str, Meta(description="How bad it is; any, if not told.")] = ""
    reason: Annotated[
        str, Meta(description="The word why it is so, such as `breach` or `silence`; any, if not told.")
    ] = ""


class ExpectedNotification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event about an alert that channels are told."""

    at: _At
    rule: _Rule
    type: Annotated[Kind, Meta(description="What is told, such as `firing` or `resolved`.")]
    labels: _Labels = None
    reason: Annotated[str, Meta(description="The word why, such as `breach` or `recovered`; any, if not told.")] = ""


class RuleTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One test: an engine that begins with nothing, what it is told, and what must follow."""

    name: Annotated[str, Meta(min_length=1, description="What it shows.")]
    interval: Annotated[Interval | None, Meta(description="The time between two values of a series.")] = None
    start: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(description="What the wall clock says at 0s; 2026-01-05T00:00:00Z, a Monday, if not told.")
    ] = None  # fmt: skip
    series: Annotated[list[Measured], Meta(description="What is measured.")] = []
    events: Annotated[list[Occurred], Meta(description="What happens beside.")] = []
    actions: Annotated[list[Acted], Meta(description="What operators do.")] = []
    alerts: Annotated[list[ExpectedAlert], Meta(description="Which alerts there are, and when.")] = []
    notifications: Annotated[
        list[ExpectedNotification] | None,
        Meta(description="Everything that channels are told, in order, and nothing else; not looked at, if not told."),
    ] = None
    until: Annotated[
        Duration | None, Meta(description="When the test ends; with the last thing in it, if not told.")
    ] = None

    def __post_init__(self) -> None:
        if not self.alerts and self.notifications is None:
            raise ValueError("it expects nothing; give `alerts`, or `notifications`, which may be empty")


class RuleTests(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of tests, beside the rules that it has or names."""

    tests: Annotated[list[RuleTest], Meta(min_length=1, description="The tests.")]
    config: Annotated[
        str, Meta(description="The pipelines.yaml that has the rules, as seen from this file; or write `rules:` here.")
    ] = ""  # fmt: skip
    environment: Annotated[str, Meta(description="The environment of events that name none.")] = "production"
    interval: Annotated[Interval, Meta(description="The time between two values, where a test names none.")] = Interval(
        "1s"
    )
