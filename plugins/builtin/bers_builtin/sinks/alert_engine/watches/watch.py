"""A rule at work: what every kind of rule has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b
from typing import Any

import msgspec

from bers import Event, Labels, Metric, format_duration, format_value
from bers_builtin.sinks.alert_engine.rules import Rule, Severity, several
from bers_builtin.sinks.alert_engine.rules.words import FIELDS
from bers_builtin.sinks.alert_engine.watches.evaluations import Evaluations
from bers_builtin.sinks.alert_engine.watches.lasting import Lasting
from bers_builtin.sinks.alert_engine.watches.saving import Parts, emptied
from bers_builtin.sinks.alert_engine.watches.series import Memory, SavedSeries, Series, Verdict
from bers_builtin.sinks.alert_engine.watches.templates import Annotations, Told
from bers_builtin.sinks.alert_engine.watches.terms import Terms

MOST_SERIES = 5_000
"""How many sources, subjects or other labels one rule tells apart at a time: they come from outside."""

OTHER = "other"

_TELLING = frozenset({"name", "severity", "severity_in", "incidents", "depends_on", "labels", "annotations"})
"""What of a rule says how it is told, and not when."""


class Watch(Lasting):
    """A rule, ready to read events. A kind of rule says what it makes of them, and what it remembers."""

    most_series = MOST_SERIES

    def __init__(
        self,
        rule: Rule,
        metric: Metric | None,
        unit: str,
        terms: Terms,
        others: Mapping[str, Terms],
        *,
        default: bool,
        besides: object = None,
    ) -> None:
        """``besides`` is what else decides on its verdicts."""
        super().__init__(rule)
        self.id = rule.id
        self.metric = metric
        self.unit = unit
        self.terms = terms
        self.threshold = terms.threshold
        self.default = default
        """Whether it came with us."""
        self.digest = blake2b(_canonical(rule, terms, others, besides), digest_size=8).hexdigest()
        """What it looks at, and when it fires: that its alert fires means something else once this is another one."""
        self.key = f"{self.id}/{self.digest}"
        """What its series are kept under: a rule that was changed begins anew, and two may look at the same."""
        self.type = rule.metric or rule.events[0]
        self.group = self._group()
        self._annotations = Annotations(rule.annotations)
        self._others = others
        # What a metric is split by, the intake has bounded already.
        self._bounded = metric is None or not set(self.group) <= set(metric.labels)
        self._where = [(name, frozenset(several(values))) for name, values in rule.where.items()]
        self._names = None if FIELDS & {*self.group} else self.group
        self.series: dict[Labels, Series] = {}
        self.companion: Companion | None = None
        """What watches this one for silence."""
        spans = [span for span in (rule.absent, rule.no_data_after) if span]
        self.tolerance = max(1.0, min(spans, default=0.0) / 60)
        """By how many seconds what is written down of when something came may be behind."""
        self.crowded = 0
        """How often something was counted as `other`, because there was no room for a series of its own."""
        self.matched = 0
        """How many events it has looked at since the start: with none, its labels may be such as never come."""
        self.value: float | None = None
        """What was compared last."""
        self.evaluated: float | None = None
        """When that was, in seconds since 1970."""
        self.evaluations = Evaluations()
        """What it made of things lately, and why."""

    # What a kind of rule says

    @property
    def counts_events(self) -> bool:
        """Whether each event is an occurrence of its own."""
        return False

    @property
    @abstractmethod
    def condition(self) -> str:
        """What has to hold, for people: ``mean > 1 % over 5m``."""

    @abstractmethod
    def explained(self, event: Event, metric: str, series: Series | None) -> str:
        """What it makes of an event, because of its type, or of a metric that it measures: the end of a sentence."""

    @abstractmethod
    def describe(self, series: Series) -> str:
        """What to tell people about what is wrong."""

    def measured(self, event: Event, value: float, at: float) -> Verdict | None:
        """Read one measure; nothing where it changes nothing."""
        return None

    def happened(self, event: Event, at: float) -> Verdict | None:
        """Read one event of a type that the rule names; nothing where it changes nothing."""
        return None

    def remember(self, saved: Any = None, parts: Parts = ()) -> Memory | None:
        """What a series remembers besides: new, or as it was written down."""
        return None

    @property
    def reach(self) -> float | None:
        """Up to what age events matter that are too old to matter to others; nothing where they do not."""
        return None

    def began(self, at: float) -> Series | None:
        """What there is to wait for before anything came."""
        return None

    # What is the same for all

    def open(self, labels: Labels) -> Series:
        """The series of these labels, made where there is none; beyond the most there may be, one for all others."""
        series = self.series.get(labels)
        if series is None and self._bounded and len(self.series) >= self.most_series:
            self.crowded += 1
            labels = tuple((name, OTHER) for name, _ in labels)
            series = self.series.get(labels)
        if series is None:
            series = Series(labels, self.fingerprint_of(labels), self._terms(labels), self.remember())
            self.series[labels] = series
        return series

    def find(self, labels: Mapping[str, str]) -> Labels:
        """Which of the labels of an alert its series is told apart by."""
        return tuple((name, labels[name]) for name in self.group if name in labels)

    def restore(self, saved: SavedSeries, parts: Parts = ()) -> Series:
        labels = saved.labels
        series = Series(labels, self.fingerprint_of(labels), self._terms(labels), self.remember(saved.memory, parts))
        series.since, series.id, series.value = saved.since, saved.id, saved.value
        series.failures, series.evidence, series.good = saved.failures, saved.evidence, saved.good
        series.heard, series.saved, series.silent = saved.heard, saved.heard, saved.silent
        self.series[labels] = series
        return series

    def forget(self, series: Series, at: float) -> None:
        """Start anew, as if nothing had been seen."""
        series.since = series.good = None
        series.firing, series.failures = False, 0
        series.memory = emptied(series.memory, self.remember())
        if series.heard is not None:
            self.silence_changed = self.silence_changed or series.silent
            series.heard, series.silent = at, False

    def wants(self, event: Event) -> bool:
        """Whether the rule looks at events with such labels and such an environment."""
        rule = self.rule
        if rule.environment and event.environment != rule.environment:
            return False
        for name, values in self._where:
            if field(event, name) not in values:
                return False
        terms = self._others.get(field(event, "environment") or "") if self._others else None
        return terms is None or terms.enabled

    def severity(self, series: Series) -> Severity:
        return series.terms.severity or self.rule.severity_for(series.evidence.environment)

    def threshold_of(self, series: Series) -> float | None:
        return series.terms.threshold

    def message(self, series: Series) -> str:
        """What to tell people about it."""
        if series.silent and self.rule.on_no_data == "alert":
            return f"{self.type}: no data for {format_duration(self.rule.no_data_after or 0.0)}"
        return self.describe(series)

    def labels(self, series: Series) -> Mapping[str, str]:
        """The labels of an alert: those it is told apart by, and those that the rule puts on it."""
        return {**dict(series.labels), **self.rule.labels}

    def annotate(self, series: Series) -> Mapping[str, str]:
        """The annotations of an alert, with what it is about put in."""
        if not self._annotations.has_templates:
            return self.rule.annotations
        threshold = self.threshold_of(series)
        return self._annotations.render(
            Told(
                rule=self.rule.name,
                severity=self.severity(series),
                environment=series.evidence.environment or "",
                message=self.message(series),
                value=format_value(series.value, self.unit),
                threshold=format_value(threshold, self.unit),
                unit=self.unit,
                labels=self.labels(series),
                raw_value=series.value,
                raw_threshold=threshold,
            )
        )

    def fingerprint(self, event: Event) -> str:
        """What the alert that follows from an event is known by, whichever of its occurrences it is."""
        return self.fingerprint_of(self.labels_of(event))

    def explain(self, event: Event, metric: str) -> str:
        """What the rule makes of an event, because of its type, or of a metric that it measures."""
        name = f"Rule {self.rule.name!r} ({self.condition})"
        if not self.wants(event):
            return f"{name} is about other labels, or another environment."
        return f"{name}: {self.explained(event, metric, self.series.get(self.labels_of(event)))}"

    def labels_of(self, event: Event) -> Labels:
        """What an event has of the labels that tell alerts of this rule apart."""
        if not self.group:
            return ()
        if self._names is not None:
            labels = event.labels
            return tuple([(name, value) for name in self._names if (value := labels.get(name))])
        return tuple([(name, value) for name in self.group if (value := field(event, name))])

    @property
    def lasting(self) -> str:
        return f" for {format_duration(self.rule.for_)}" if self.rule.for_ else ""

    def _terms(self, labels: Labels) -> Terms:
        if not self._others:
            return self.terms
        return self._others.get(dict(labels).get("environment", ""), self.terms)

    def _group(self) -> Sequence[str]:
        rule = self.rule
        group = list(rule.group if rule.group is not None else self.usual_group())
        if rule.in_ and "environment" not in group:
            group.append("environment")
        return group

    def usual_group(self) -> Sequence[str]:
        """What tells its alerts apart where the rule does not say."""
        return self.metric.labels if self.metric else ("environment", "service")

    def fingerprint_of(self, labels: Labels) -> str:
        text = "\0".join([self.id, *(part for label in labels for part in label)])
        return blake2b(text.encode(), digest_size=8).hexdigest()


class Companion(Watch):
    """A rule at work that looks at another one, rather than at events."""

    @abstractmethod
    def judge(self, now: float) -> Verdict:
        """What follows from what the other one knows."""


def field(event: Event, name: str) -> str | None:
    """A label of an event, or what it says of itself by that name."""
    if (value := event.labels.get(name)) is not None:
        return value
    return getattr(event, name) if name in FIELDS else None


def _canonical(rule: Rule, terms: Terms, others: Mapping[str, Terms], besides: object) -> bytes:
    """What a rule looks at, and when it fires; options that are not given do not count, so that new ones can come."""
    given = [
        (one.name, getattr(rule, one.name)) for one in _deciding(type(rule)) if getattr(rule, one.name) != _default(one)
    ]
    said: list[object] = [given, terms.threshold]
    if others:
        said.append({environment: one.threshold for environment, one in others.items()})
    if besides is not None:
        said.append(besides)
    return msgspec.json.encode(said, enc_hook=str)


@cache  # What its annotations mean takes a millisecond to find out, and there are many rules of one type.
def _deciding(kind: type[Rule]) -> Sequence[msgspec.structs.FieldInfo]:
    """The options that say when a rule fires."""
    return [one for one in msgspec.structs.fields(kind) if one.name not in _TELLING]


def _default(one: msgspec.structs.FieldInfo) -> object:
    return one.default if one.default_factory is msgspec.NODEFAULT else one.default_factory()
