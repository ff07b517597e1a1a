"""A rule on each value of a metric alone: ``aggregate: last``."""

from __future__ import annotations

from bers import Event, format_value
from bers_builtin.sinks.alert_engine.watches.series import Evidence, Series, Verdict
from bers_builtin.sinks.alert_engine.watches.thresholds import ThresholdWatch


class ValueWatch(ThresholdWatch):
    """Looks at every value, and remembers none."""

    def measured(self, event: Event, value: float, at: float) -> Verdict | None:
        self.value = value
        labels = self.labels_of(event)
        series = self.series.get(labels)
        if series is None:
            terms = self._terms(labels)
            assert terms.threshold is not None
            beyond = value > terms.threshold if self.rule.above is not None else value < terms.threshold
            if not beyond and not self.rule.no_data_after:
                return None
            series = self.open(labels)
        breaching = self.breaches(value, series)
        if self.rule.no_data_after:
            self.hear(series, at)
        elif breaching is False and series.since is None and not series.firing:
            return None
        series.value = value
        if breaching:
            series.evidence = Evidence.of(event)
        return Verdict(series, breaching)

    @property
    def counts_events(self) -> bool:
        return not self.rule.for_

    @property
    def condition(self) -> str:
        return f"last {self.limit}{self.lasting}"

    def describe(self, series: Series) -> str:
        return self.compared(series, self.title)

    def explained(self, event: Event, metric: str, series: Series | None) -> str:
        value = event.measures[metric]
        terms = self._terms(self.labels_of(event))
        assert terms.threshold is not None
        beyond = value > terms.threshold if self.rule.above is not None else value < terms.threshold
        verdict = "is beyond the threshold" if beyond else "is good"
        return f"{metric} of {format_value(value, self.unit)} {verdict}."
