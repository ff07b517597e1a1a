"""Rules at work: which events each of them reads, and what it concludes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from bers import (
    ConfigError,
    Event,
    Labels,
    Metric,
    Window,
    format_duration,
    format_value,
    quantity,
    redact_text,
    unknown,
)
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.defaults import DEFAULTS
from bers_builtin.sinks.alert_engine.evaluations import Evaluations
from bers_builtin.sinks.alert_engine.panes import Panes
from bers_builtin.sinks.alert_engine.rules import FAILED, Rule, several

_FIELDS = frozenset({"environment", "service", "source", "subject", "outcome"})
"""What can tell alerts apart besides labels."""

_TELLING = frozenset({"name", "severity", "severity_in", "annotations", "incidents"})
"""What of a rule says how it is told, and not when."""

MOST_SERIES = 5_000
"""How many sources, subjects or other labels one rule tells apart at a time: they come from outside."""

OTHER = "other"

_EPSILON = 1e-6  # Seconds; sums of floats may fall that much short of what they stand for.


class Evidence(msgspec.Struct, array_like=True, frozen=True):
    """The event that a rule took for a breach last."""

    environment: str | None = None
    source: str = ""
    id: str = ""
    subject: str = ""
    note: str = ""


class SavedSeries(msgspec.Struct, array_like=True):
    """What a series remembers, to be written down."""

    labels: Labels
    since: float | None
    id: str
    value: float | None
    failures: int
    evidence: Evidence
    panes: Sequence[Window]


class Series:
    """What one rule knows about one set of labels."""

    __slots__ = ("evidence", "failures", "fingerprint", "id", "labels", "panes", "since", "value")

    def __init__(self, labels: Labels, fingerprint: str, panes: Panes | None) -> None:
        self.labels = labels
        self.fingerprint = fingerprint
        self.panes = panes
        self.since: float | None = None
        """Since when all that was seen was beyond the threshold, by arrival."""
        self.id = ""
        """What its alert will be called."""
        self.value: float | None = None
        self.failures = 0
        """Failures in a row."""
        self.evidence = Evidence()

    @property
    def is_idle(self) -> bool:
        """Whether forgetting it changes nothing."""
        return self.since is None and not self.failures and not self.panes

    def save(self) -> SavedSeries:
        panes = self.panes.dump() if self.panes else ()
        return SavedSeries(self.labels, self.since, self.id, self.value, self.failures, self.evidence, panes)


class Verdict(NamedTuple):
    """What a rule makes of what it knows: beyond the threshold, or not, or nothing can be said."""

    series: Series
    breaching: bool | None


class Watch:
    """A rule, ready to read events."""

    def __init__(self, rule: Rule, metric: Metric | None, threshold: float | None, *, default: bool) -> None:
        self.rule = rule
        self.id = rule.id
        self.metric = metric
        self.threshold = threshold
        self.default = default
        """Whether it came with us."""
        self.digest = _digest(rule, threshold)
        """What its series are kept under: a rule that was changed, in more than what it tells, begins anew."""
        self.unit = metric.unit if metric and rule.aggregate != "count" else "%" if rule.ratio is not None else ""
        self.type = rule.metric or rule.events[0]
        self.counts_events = not rule.window and not rule.for_ and not rule.counts_failures
        """Whether each event is an occurrence of its own."""
        self.group: Sequence[str] = rule.group if rule.group is not None else _group(rule, metric)
        # What a metric is split by, the intake has bounded already.
        self._bounded = metric is None or not set(self.group) <= set(metric.labels)
        self.series: dict[Labels, Series] = {}
        self.crowded = 0
        """How often something was counted as `other`, because there was no room for a series of its own."""
        self.value: float | None = None
        """What was compared last."""
        self.evaluated: float | None = None
        """When that was, in seconds since 1970."""
        self.evaluations = Evaluations()

    def open(self, labels: Labels) -> Series:
        """The series of these labels, made where there is none; beyond the most there may be, one for all others."""
        series = self.series.get(labels)
        if series is None and self._bounded and len(self.series) >= MOST_SERIES:
            self.crowded += 1
            labels = tuple((name, OTHER) for name, _ in labels)
            series = self.series.get(labels)
        if series is None:
            series = Series(labels, self._fingerprint(labels), self._panes())
            self.series[labels] = series
        return series

    def restore(self, saved: SavedSeries) -> None:
        series = self.series.setdefault(saved.labels, Series(saved.labels, self._fingerprint(saved.labels), None))
        series.since, series.id, series.value = saved.since, saved.id, saved.value
        series.failures, series.evidence, series.panes = saved.failures, saved.evidence, self._panes(saved.panes)

    def forget(self, series: Series) -> None:
        """Start anew, as if nothing had been seen."""
        series.since, series.failures, series.panes = None, 0, self._panes()

    def wants(self, event: Event) -> bool:
        """Whether the rule looks at events with such labels and such an environment."""
        rule = self.rule
        if rule.environment and event.environment != rule.environment:
            return False
        return not rule.labels or all(_field(event, name) == value for name, value in rule.labels.items())

    def measured(self, event: Event, value: float, at: float) -> Verdict | None:
        """Read one measure; nothing where it changes nothing."""
        labels = self._labels(event)
        series = self.series.get(labels)
        if self.rule.window is None:
            self.value = value
            breaching: bool | None = self._breaches(value)
            if series is None:
                if not breaching:
                    return None
                series = self.open(labels)
            series.value = value
        else:
            if series is None:
                series = self.open(labels)
            assert series.panes is not None
            series.panes.leave(at)
            series.panes.add(value, at, event.weight)
            breaching = self._conclude(series)
        if breaching:
            series.evidence = _evidence(event)
        return Verdict(series, breaching)

    def happened(self, event: Event, at: float) -> Verdict | None:
        """Read one event of a type that the rule names; nothing where it changes nothing."""
        if self.rule.counts_failures:
            return self._counted(event, at)
        if event.type in self.rule.events and self.rule.matches_outcome(event.outcome):
            series = self.open(self._labels(event))
            series.evidence = _evidence(event)
            return Verdict(series, True)
        if self.rule.clears and self.rule.clears.matches(event.type, event.outcome):
            known = self.series.get(self._labels(event))
            return Verdict(known, False) if known else None
        return None

    def passing(self, series: Series, now: float) -> Verdict:
        """Look again at a window, because time went on."""
        assert series.panes is not None
        series.panes.leave(now)
        return Verdict(series, self._conclude(series))

    def labels_of(self, event: Event) -> Labels:
        """What tells the series apart that an event belongs to."""
        return self._labels(event)

    def fingerprint(self, event: Event) -> str:
        """What the alert that follows from an event is known by, whichever of its occurrences it is."""
        return self._fingerprint(self._labels(event))

    def explain(self, event: Event, metric: str) -> str:
        """What the rule makes of an event, because of its type, or of a metric that it measures."""
        name = f"Rule {self.rule.name!r} ({self.condition})"
        if not self.wants(event):
            return f"{name} is about other labels, or another environment."
        series = self.series.get(self._labels(event))
        if metric:
            value = event.measures[metric]
            if self.rule.window is None:
                verdict = "is beyond the threshold" if self._breaches(value) else "is good"
                return f"{name}: {metric} of {format_value(value, self.unit)} {verdict}."
            now = f", which is at {format_value(series.value, self.unit)} now" if series and series.value else ""
            counted = "1" if self.rule.aggregate == "count" else format_value(value, self.unit)
            return f"{name}: {counted} went into its window{now}."
        if self.rule.counts_failures:
            failing = event.outcome in (several(self.rule.outcome) if self.rule.outcome else FAILED)
            counted = "a failure" if failing else "a success" if event.outcome in ("success", None) else "neither"
            now = f" {series.failures} failures in a row now." if series else ""
            return f"{name}: it counts as {counted}.{now}"
        if event.type in self.rule.events and self.rule.matches_outcome(event.outcome):
            return f"{name}: it is what the rule watches for."
        if self.rule.clears and self.rule.clears.matches(event.type, event.outcome):
            return f"{name}: it ends what the rule watches for."
        return f"{name}: its outcome, {event.outcome or 'none'}, is not one that matters."

    def holds(self, since: float, at: float) -> bool:
        """Whether what began then has lasted for long enough."""
        return at - since >= self.rule.for_ - _EPSILON

    def message(self, series: Series) -> str:
        """What to tell people about it."""
        rule, metric = self.rule, self.metric
        if metric is None:
            evidence = series.evidence
            if not rule.counts_failures:
                return evidence.note
            share = (
                f"; {series.value:.3g} % failed in {format_duration(rule.window)}"
                if rule.window and series.value
                else ""
            )
            return f"{self.type}: {series.failures} failures in a row{share}"
        name = metric.title or metric.name.replace("_", " ")
        if rule.window is not None:
            name = f"{rule.aggregate} of {name} over {format_duration(rule.window)}"
        value, threshold = format_value(series.value, self.unit), format_value(self.threshold, self.unit)
        if value == threshold and series.value is not None:  # Rounded to what it is not.
            value = f"{series.value:g} {self.unit}"
        side = "above" if rule.above is not None else "below"
        lasting = f" for {format_duration(rule.for_)}" if rule.for_ else ""
        return f"{name} is {value}, {side} {threshold}{lasting}"

    @property
    def condition(self) -> str:
        """What has to hold, for people: ``mean > 1 % over 5m``."""
        rule = self.rule
        window = f" over {format_duration(rule.window)}" if rule.window else ""
        if self.metric:
            side = ">" if rule.above is not None else "<"
            lasting = f" for {format_duration(rule.for_)}" if rule.for_ else ""
            return f"{rule.aggregate} {side} {format_value(self.threshold, self.unit)}{window}{lasting}"
        outcome = f" ({', '.join(several(rule.outcome))})" if rule.outcome else ""
        row = f"{rule.consecutive} failures in a row" if rule.consecutive is not None else ""
        share = f"at least {rule.ratio:g} % failed{window}" if rule.ratio is not None else ""
        return " or ".join(filter(None, (row, share))) or " or ".join(rule.events) + outcome

    def _counted(self, event: Event, at: float) -> Verdict | None:
        failing = event.outcome in (several(self.rule.outcome) if self.rule.outcome else FAILED)
        if not failing and event.outcome not in ("success", None):
            return None  # Cancelled or skipped: neither one nor the other.
        series = self.open(self._labels(event))
        series.failures = series.failures + event.weight if failing else 0
        if series.panes is not None:
            series.panes.leave(at)
            series.panes.add(100.0 if failing else 0.0, at, event.weight)
        if failing:
            series.evidence = _evidence(event)
        return Verdict(series, self._conclude(series))

    def _conclude(self, series: Series) -> bool | None:
        rule, panes = self.rule, series.panes
        value = panes.value() if panes is not None else None
        enough = panes is not None and len(panes) >= rule.min_samples
        if value is not None:
            self.value = series.value = value
        if rule.counts_failures:
            if rule.consecutive is not None and series.failures >= rule.consecutive:
                return True
            if panes is not None and value is None:
                return None  # Silence keeps the state.
            return rule.ratio is not None and enough and value is not None and value >= rule.ratio
        return self._breaches(value) if enough and value is not None else None

    def _breaches(self, value: float) -> bool:
        threshold = self.threshold
        assert threshold is not None
        return value > threshold if self.rule.above is not None else value < threshold

    def _labels(self, event: Event) -> Labels:
        if not self.group:
            return ()
        return tuple((name, value) for name in self.group if (value := _field(event, name)))

    def _fingerprint(self, labels: Labels) -> str:
        text = "\0".join([self.id, *(part for label in labels for part in label)])
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def _panes(self, saved: Sequence[Window] = ()) -> Panes | None:
        window = self.rule.window
        return None if window is None else Panes(window, "mean" if self.metric is None else self.rule.aggregate, saved)


class Watches:
    """Every rule at work, by what it reads: an event touches its own rules and no others."""

    def __init__(self, config: AlertConfig, metrics: Mapping[str, Metric]) -> None:
        """Raise ConfigError where a rule asks for a metric, a threshold or a name that there cannot be."""
        own = [_compile(rule, metrics, f"rules[{index}]") for index, rule in enumerate(config.rules)]
        _assert_distinct(own)
        replaced = {watch.id for watch in own}
        shipped = [rule for rule in DEFAULTS if config.defaults and rule.id not in replaced]
        self.missing = [rule.name for rule in shipped if rule.metric and rule.metric not in metrics]
        """The default rules that nothing is measured for, because no loaded plugin does."""
        given = [_compile(rule, metrics, "defaults", default=True) for rule in shipped if rule.name not in self.missing]
        self.by_id = {watch.id: watch for watch in (*given, *own)}
        self.by_metric: dict[str, list[Watch]] = {}
        self.by_type: dict[str, list[Watch]] = {}
        for watch in self.by_id.values():
            if watch.metric:
                self.by_metric.setdefault(watch.metric.name, []).append(watch)
            clears = several(watch.rule.clears.event) if watch.rule.clears else ()
            for type in {*watch.rule.events, *clears}:
                self.by_type.setdefault(type, []).append(watch)
        self.windowed = [watch for watch in self.by_id.values() if watch.rule.window is not None]


def _compile(rule: Rule, metrics: Mapping[str, Metric], path: str, *, default: bool = False) -> Watch:
    if not rule.metric:
        return Watch(rule, None, None if rule.ratio is None else float(rule.ratio), default=default)
    metric = metrics.get(rule.metric)
    if metric is None:
        raise ConfigError(unknown("metric", rule.metric, metrics), path=f"{path}.metric")
    side = "above" if rule.above is not None else "below"
    if rule.threshold == "target":
        if metric.target is None:
            fault = f"metric {metric.name!r} has no target; give it one under `metrics`, or write a value here"
            raise ConfigError(f"rule {rule.name!r}: {fault}", path=f"{path}.{side}")
        return Watch(rule, metric, metric.target, default=default)
    try:
        threshold = quantity(rule.threshold, "{value}" if rule.aggregate == "count" else metric.unit)
    except ValueError as exc:
        raise ConfigError(f"rule {rule.name!r}: {exc}", path=f"{path}.{side}") from exc
    return Watch(rule, metric, threshold, default=default)


def _assert_distinct(watches: Sequence[Watch]) -> None:
    seen: dict[str, int] = {}
    for index, watch in enumerate(watches):
        if watch.id in seen:
            fault = (
                f"rule {watch.rule.name!r} is there already, as rules[{seen[watch.id]}]; call one of them differently"
            )
            raise ConfigError(fault, path=f"rules[{index}].name")
        seen[watch.id] = index


def _digest(rule: Rule, threshold: float | None) -> str:
    """What a rule looks at, and when it fires; options that are not given do not count, so that new ones can come."""
    given = [
        (field.name, getattr(rule, field.name))
        for field in msgspec.structs.fields(rule)
        if field.name not in _TELLING and getattr(rule, field.name) != _default(field)
    ]
    return blake2b(msgspec.json.encode([given, threshold], enc_hook=str), digest_size=8).hexdigest()


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _group(rule: Rule, metric: Metric | None) -> Sequence[str]:
    if metric:
        return metric.labels
    return ("source",) if rule.counts_failures else ("environment", "service")


def _field(event: Event, name: str) -> str | None:
    if (value := event.labels.get(name)) is not None:
        return value
    return getattr(event, name) if name in _FIELDS else None


def _evidence(event: Event) -> Evidence:
    what = event.service or event.subject or event.source
    where = f" in {event.environment}" if event.environment else ""
    outcome = f" ({event.outcome})" if event.outcome else ""
    reason = f": {redact_text(event.reason[:500])}" if event.reason else ""
    return Evidence(
        event.environment, event.source, event.id, event.subject, f"{event.type}{outcome}: {what}{where}{reason}"
    )
