"""A service level objective: what share of events has to be good, and how fast its budget of bad ones may burn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from bers import Interval, Outcome, Percent, Quantity
from bers_builtin.sinks.alert_engine.rules.words import FIELDS, Severity, named, several


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two windows in which the budget must burn too fast at once: one that is sure, and one that is quick to end."""

    long: Annotated[Interval, Meta(description="The window that says that it matters.")]
    short: Annotated[Interval, Meta(description="The window that says that it still goes on.")]
    burn: Annotated[
        float,
        Meta(gt=0, description="Alert when the budget burns faster than this; at 1 it lasts exactly for `period`."),
    ]
    severity: Annotated[Severity, Meta(description="How bad that is.")] = "warning"

    def __post_init__(self) -> None:
        if self.short >= self.long:
            raise ValueError(f"short: {self.short} is not shorter than `long`, {self.long}; a 12th of it is usual")


WINDOWS = (
    Pair(Interval("1h"), Interval("5m"), 14.4, "critical"),
    Pair(Interval("6h"), Interval("30m"), 6.0, "error"),
    Pair(Interval("3d"), Interval("6h"), 1.0, "warning"),
)
"""Those of the SRE workbook, chapter 5: 2 % of the budget of 30 days in 1 h, 5 % in 6 h, 10 % in 3 d."""


class Slo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A share of events that has to be good, over a period; rules follow from it, one for each pair of windows."""

    name: Annotated[str, Meta(min_length=1, max_length=150, description="What it is called.")]
    objective: Annotated[Percent, Meta(description="The share that has to be good, such as `99.5%`.")]
    period: Annotated[Interval, Meta(description="The time that the error budget is for.")] = Interval("30d")
    event: Annotated[
        str | list[str],
        Meta(description="The type, or types, of the events that are good or bad. An SLO has this or `metric`."),
    ] = ""
    good: Annotated[
        Outcome | list[Outcome],
        Meta(description="The outcomes that are good. All others are bad, but for cancel and skip, that say nothing."),
    ] = "success"
    metric: Annotated[str, Meta(description="The metric whose values are good or bad.")] = ""
    above: Annotated[
        Quantity | None,
        Meta(
            description="A value beyond this one is bad, as in a rule; the value itself is good. `target` is the "
            "metric's own."
        ),
    ] = None
    below: Annotated[Quantity | None, Meta(description="A value short of this one is bad.")] = None
    where: Annotated[
        dict[str, str | list[str]], Meta(description="What an event must have to be looked at, as in a rule.")
    ] = {}
    environment: Annotated[str, Meta(description="The environment an event must be from; any, if not told.")] = ""
    group: Annotated[
        list[str], Meta(description="What has an objective, a budget and alerts of its own: `service`, or a label.")
    ] = []
    windows: Annotated[
        tuple[Pair, ...],
        Meta(
            description="When to alert. Not told: 1h and 5m at 14.4 (critical), 6h and 30m at 6 (error), 3d and 6h at "
            "1 (warning), as far as the budget can burn as fast."
        ),
    ] = WINDOWS
    min_samples: Annotated[
        int,
        Meta(ge=1, description="How many events the long window must hold: one bad event of two is no 50 % to act on."),
    ] = 10
    depends_on: Annotated[list[str], Meta(description="Rules that explain its alerts, as in a rule.")] = []
    labels: Annotated[dict[str, str], Meta(description="Labels to put on its alerts.")] = {}
    annotations: Annotated[dict[str, str], Meta(description="What to tell with its alerts, as in a rule.")] = {}

    def __post_init__(self) -> None:
        for path, fault in self._faults():
            raise ValueError(f"{path + ': ' if path else ''}SLO {self.name!r}: {fault}")

    @property
    def id(self) -> str:
        return named(self.name)

    @property
    def allowed(self) -> float:
        """The share that may be bad, in percent."""
        return round(100 - float(self.objective), 9)

    @property
    def pairs(self) -> Sequence[Pair]:
        """The pairs of windows that can alert: where all is bad, the budget burns as fast as it can."""
        return [pair for pair in self.windows if pair.burn * self.allowed < 100]

    @property
    def events(self) -> Sequence[str]:
        return several(self.event) if self.event else ()

    @property
    def side(self) -> str:
        """The key of its threshold."""
        return "above" if self.above is not None else "below"

    def is_good(self, outcome: Outcome | None) -> bool | None:
        """Whether an outcome is good; nothing where it says nothing. An event without one just happened."""
        if (outcome or "success") in several(self.good):
            return True
        return None if outcome in ("cancel", "skip") else False

    def _faults(self) -> Iterator[tuple[str, str]]:
        if not self.id:
            yield "name", "its name has neither a letter nor a digit; call it something"
        if not 0 < self.objective < 100:
            yield "objective", f"{self.objective} leaves no budget to speak of; write more than 0% and less than 100%"
        if bool(self.metric) == bool(self.event):
            yield "", "it needs either `event` or `metric`; give one of them"
        elif self.metric and (self.above is None) == (self.below is None):
            yield "", "a metric needs either `above` or `below`, to say what is bad; give one of them"
        elif self.event and (self.above is not None or self.below is not None):
            yield self.side, f"`{self.side}` belongs to a metric; remove it"
        if any(type.startswith("alert.") for type in self.events):
            yield "event", "no SLO is about alerts; name another event"
        if not self.windows:
            yield "windows", "without any it has no alerts; leave `windows` out, or name a pair"
        if len({pair.long for pair in self.windows}) < len(self.windows):
            yield "windows", "two pairs have the same `long`; change one of them"
        elif self.windows != WINDOWS:
            for number, pair in enumerate(self.windows):
                if pair not in self.pairs:
                    most = f"{100 / self.allowed:.3g}"
                    fault = f"nothing burns the budget of {self.objective} faster than {most}; choose less"
                    yield f"windows[{number}].burn", fault
        if any(pair.long > self.period for pair in self.windows):
            yield "windows", f"a window is longer than the period, {self.period}; make it shorter"
        for name in self.labels:
            if name in FIELDS or name in self.group:
                yield "labels", f"{name!r} is what tells its alerts apart; to look at some of them, write `where`"
