"""Every rule at work: made out of what the configuration says, and found by what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bers import ConfigError, Metric, unknown
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.rules import Rule, Slo, several
from bers_builtin.sinks.alert_engine.rules.defaults import DEFAULTS
from bers_builtin.sinks.alert_engine.rules.dependencies import assert_dependencies
from bers_builtin.sinks.alert_engine.rules.gathering import gathered
from bers_builtin.sinks.alert_engine.rules.ourselves import OURSELVES
from bers_builtin.sinks.alert_engine.watches import templates
from bers_builtin.sinks.alert_engine.watches.absences import AbsenceWatch
from bers_builtin.sinks.alert_engine.watches.changes import ChangeWatch
from bers_builtin.sinks.alert_engine.watches.failures import FailureWatch
from bers_builtin.sinks.alert_engine.watches.no_data import NoDataWatch
from bers_builtin.sinks.alert_engine.watches.objectives import Objective
from bers_builtin.sinks.alert_engine.watches.occurrences import OccurrenceWatch
from bers_builtin.sinks.alert_engine.watches.readers import Readers
from bers_builtin.sinks.alert_engine.watches.terms import compile_terms, number, unit_of
from bers_builtin.sinks.alert_engine.watches.values import ValueWatch
from bers_builtin.sinks.alert_engine.watches.watch import Watch
from bers_builtin.sinks.alert_engine.watches.windows import WindowWatch


class Watches:
    """Every rule at work, by what it reads: an event touches its own rules and no others."""

    def __init__(self, config: AlertConfig, metrics: Mapping[str, Metric]) -> None:
        """Raise ConfigError where a rule asks for a metric, a threshold or a name that there cannot be."""
        own: list[Watch] = []
        self.objectives: list[Objective] = []
        with gathered() as faults:
            for index, rule in enumerate(config.rules):
                with faults.trying():
                    own.append(compile_rule(rule, metrics, f"rules[{index}]"))
            for index, slo in enumerate(config.slos):
                with faults.trying():
                    self.objectives.append(_objective(slo, metrics, f"slos[{index}]"))
        replaced = {watch.id for watch in own}
        shipped = [rule for rule in (*DEFAULTS, *OURSELVES) if config.defaults and rule.id not in replaced]
        self.missing = [rule.name for rule in shipped if rule.metric and rule.metric not in metrics]
        """The default rules that nothing is measured for, because no loaded plugin does."""
        given = [
            compile_rule(rule, metrics, "defaults", default=True) for rule in shipped if rule.name not in self.missing
        ]
        silences = [
            NoDataWatch(watch)
            for watch in (*given, *own)
            if watch.rule.no_data_after and watch.rule.on_no_data == "keep"
        ]
        for silence in silences:
            silence.owner.companion = silence
        self.written: Mapping[str, Watch] = {watch.id: watch for watch in (*given, *own)}
        """Those that somebody wrote as a rule; the others follow from an SLO, or from another rule."""
        _assert_distinct(own, self.objectives, silences)
        followed = [watch for objective in self.objectives for watch in (*objective.burns, objective.budget)]
        self.by_id: dict[str, Watch] = {watch.id: watch for watch in (*given, *own, *followed, *silences)}
        assert_dependencies(config.rules, config.slos, [watch.rule for watch in self.by_id.values()])
        self.by_metric: dict[str, Readers] = {}
        self.by_type: dict[str, Readers] = {}
        for watch in (*given, *own, *followed):
            if watch.metric:
                self.by_metric.setdefault(watch.metric.name, Readers()).add(watch)
            clears = several(watch.rule.clears.event) if watch.rule.clears else ()
            for type in {*watch.rule.events, *clears}:
                self.by_type.setdefault(type, Readers()).add(watch)


def compile_rule(rule: Rule, metrics: Mapping[str, Metric], path: str, *, default: bool = False) -> Watch:
    """A rule, ready to read events; raise ConfigError, with the path of the key, where it cannot be."""
    metric = _metric(rule.metric, metrics, path)
    _assert_labels(rule, metric, path)
    templates.check(rule.annotations, f"{path}.annotations")
    terms, others = compile_terms(rule, metric, path)
    return _kind(rule)(rule, metric, unit_of(rule, metric), terms, others, default=default)


def _kind(rule: Rule) -> type[Watch]:
    if rule.absent is not None:
        return AbsenceWatch
    if rule.change is not None:
        return ChangeWatch
    if rule.threshold:
        return ValueWatch if rule.window is None else WindowWatch
    return FailureWatch if rule.counts_failures else OccurrenceWatch


def _objective(slo: Slo, metrics: Mapping[str, Metric], path: str) -> Objective:
    metric = _metric(slo.metric, metrics, path)
    templates.check(slo.annotations, f"{path}.annotations")
    limit = None
    if metric is not None:
        one = Rule(name=slo.name, metric=slo.metric, above=slo.above, below=slo.below)
        limit = number(one.threshold, one, metric, f"{path}.{slo.side}")
    return Objective.of(slo, metric, limit)


def _metric(name: str, metrics: Mapping[str, Metric], path: str) -> Metric | None:
    if name and name not in metrics:
        raise ConfigError(unknown("metric", name, metrics), path=f"{path}.metric")
    return metrics[name] if name else None


def _assert_labels(rule: Rule, metric: Metric | None, path: str) -> None:
    for name in rule.labels:
        if metric is not None and name in metric.labels:
            fault = f"{metric.name!r} is told apart by {name!r}; to look at some of its series, write it below `where`"
            raise ConfigError(f"rule {rule.name!r}: {fault}", path=f"{path}.labels.{name}")


def _assert_distinct(own: Sequence[Watch], objectives: Sequence[Objective], silences: Sequence[NoDataWatch]) -> None:
    def places() -> Iterator[tuple[str, str, Watch]]:
        for index, watch in enumerate(own):
            yield f"rules[{index}]", "rule", watch
        for index, objective in enumerate(objectives):
            for watch in (objective.budget, *objective.burns):
                yield f"slos[{index}]", "SLO", watch
        for silence in silences:
            yield "rules", "rule", silence

    seen: dict[str, str] = {}
    for path, kind, watch in places():
        if watch.id in seen:
            fault = f"{kind} {watch.rule.name!r} is there already, as {seen[watch.id]}; call one of them differently"
            raise ConfigError(fault, path=f"{path}.name")
        seen[watch.id] = path
