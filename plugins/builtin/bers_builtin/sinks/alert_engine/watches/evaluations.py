"""Why a rule fires or not: the last evaluations of each rule, with what was compared, concluded and done about it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import msgspec

from bers import Event, Labels, format_duration, format_value
from bers_builtin.sinks.alert_engine.alerts import Alert, Moment, Status

if TYPE_CHECKING:
    from bers_builtin.sinks.alert_engine.life.register import Register
    from bers_builtin.sinks.alert_engine.watches import Verdict, Watch
    from bers_builtin.sinks.alert_engine.watches.terms import Terms

KEPT = 50
"""How many evaluations of each rule are kept. One takes about 200 bytes, so those of 1 000 rules take 10 MB."""

CROWD = 64
"""How many events come together when not every evaluation is kept any more."""

APART = 0.1
"""Seconds between two that are kept then, of those that breach and of the others: at 10 000 events a second the last 50
would be those of a hundredth of a second. A step in the life of an alert is always kept."""

Decision: TypeAlias = Literal["good", "breaching", "undecided", "ignored"]


class Evaluation(msgspec.Struct, rename="camel", frozen=True):
    """One look of a rule at what it watches. Times in milliseconds since 1970."""

    time: int
    labels: Mapping[str, str]
    value: float | None
    """What was compared; nothing where an event is enough."""
    samples: int | None
    """How many values the window held; nothing where there is none."""
    decision: Decision
    status: Status | Literal["ok"]
    """What became of the alert with these labels."""
    reason: str


class _Noted(NamedTuple):
    """The same as it is kept: words are made when somebody asks."""

    wall: float
    labels: Labels
    value: float | None
    samples: int | None
    decision: Decision
    waited: float | None
    alert: Alert | None
    late: float = 0.0
    kept: float | None = None
    """For how long it has been good while its alert fires on."""
    timed: bool = False


class Evaluations:
    """The last evaluations of one rule."""

    __slots__ = ("_noted", "again", "again_breaching")

    def __init__(self) -> None:
        self._noted: deque[_Noted] = deque(maxlen=KEPT)
        self.again = 0.0
        """Until when, by the wall clock, one that does not breach is one of a crowd."""
        self.again_breaching = 0.0

    def note_quiet(
        self, watch: Watch, event: Event | None, value: float | None, moment: Moment, *, crowded: bool
    ) -> None:
        """Keep that something changes nothing, or says nothing: there is no series for it."""
        self.again = moment.wall + APART if crowded else 0.0
        labels = watch.labels_of(event) if event else ()
        decision: Decision = "good" if value is not None else "undecided"
        self._noted.append(_Noted(moment.wall, labels, value, None, decision, None, None))

    def note(
        self, watch: Watch, verdict: Verdict, moment: Moment, register: Register, *, timed: bool, crowded: bool
    ) -> None:
        """Keep what the rule made of an event, or of time going on, and what the register made of that."""
        series, breaching = verdict
        again = moment.wall + APART if crowded else 0.0
        if breaching:
            self.again_breaching = again
        else:
            self.again = again
        alert = register.live.get(series.fingerprint)
        pending = breaching and alert is None and series.since is not None
        self._noted.append(
            _Noted(
                moment.wall,
                series.labels,
                series.value if watch.rule.metric or watch.rule.window else None,
                series.samples if series.memory is not None else None,
                "undecided" if breaching is None else "breaching" if breaching else "good",
                moment.at - (series.since or 0.0) if pending else None,
                alert or (register.latest(series.fingerprint) if breaching is False else None),
                kept=moment.at - series.good if alert and series.good is not None else None,
                timed=timed,
            )
        )

    def note_late(self, watch: Watch, event: Event, moment: Moment, *, crowded: bool = False) -> None:
        """Keep that an event was not looked at, because it tells of what is long past."""
        if moment.wall >= self.again:
            self.again = moment.wall + APART if crowded else 0.0
            late, labels = moment.wall - event.time, watch.labels_of(event)
            self._noted.append(_Noted(moment.wall, labels, None, None, "ignored", None, None, late))

    def told(self, watch: Watch, max_age: float) -> list[Evaluation]:
        """All of them, the newest first."""
        return [
            Evaluation(
                int(one.wall * 1000),
                dict(one.labels),
                one.value,
                one.samples,
                one.decision,
                _status(one),
                _reason(one, watch, max_age),
            )
            for one in reversed(self._noted)
        ]


def _status(one: _Noted) -> Status | Literal["ok"]:
    if one.waited is not None:
        return "pending"
    return one.alert.status if one.alert else "ok"


def _reason(one: _Noted, watch: Watch, max_age: float) -> str:
    """Why the rule concluded that, and what followed."""
    rule, unit, alert = watch.rule, watch.unit, one.alert
    if one.decision == "ignored":
        return f"too old: it came {_seconds(one.late)} late, and events are looked at for {format_duration(max_age)}"
    if one.decision == "undecided":
        if one.samples is not None and one.samples < rule.min_samples:
            return f"fewer than min_samples: {one.samples} of {rule.min_samples}"
        return "nothing follows from it; what was stays"
    compared = f"{format_value(one.value, unit)} " if one.value is not None else ""
    passed = "time went on: " if one.timed else ""
    if one.decision == "good":
        ended = (
            f"; the alert was resolved: {alert.reason.sentence}" if alert and alert.reason and alert.resolution else ""
        )
        return f"{passed}{compared}is good{ended}".strip()
    if one.waited is not None:
        return f"{passed}waits: {_seconds(one.waited)} of {_seconds(_terms(watch, one).for_)}"
    if alert and alert.suppressed_by:
        cause = alert.suppressed_by
        which = f" {cause.id}" if cause.id else ""
        return f"{passed}suppressed by {cause.reason.replace('_', ' ')}{which}"
    if alert and alert.reason:
        return f"{passed}{alert.status}: {alert.reason.sentence}"
    return f"{passed}{compared}breaches"


def _terms(watch: Watch, one: _Noted) -> Terms:
    """What holds for these labels."""
    series = watch.series.get(one.labels)
    return series.terms if series else watch.terms


def _seconds(seconds: float) -> str:
    return f"{round(seconds, 1):g} s"
