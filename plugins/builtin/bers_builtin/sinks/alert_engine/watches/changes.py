"""A rule on how far a value is from what was usual: that of the last runs."""

from __future__ import annotations

from collections import deque
from statistics import fmean, median
from typing import Any

import msgspec

from bers import Event, format_value
from bers_builtin.sinks.alert_engine.rules import Change
from bers_builtin.sinks.alert_engine.watches.saving import Parts
from bers_builtin.sinks.alert_engine.watches.series import Evidence, Memory, Series, Verdict
from bers_builtin.sinks.alert_engine.watches.watch import Watch


class Runs:
    """The last values of a series, in order. Memory: as many floats as the rule says, 1 000 at most."""

    def __init__(self, change: Change, saved: Any = None) -> None:
        values, baseline = saved or ((), None)
        self.baseline: float | None = baseline
        self._change = change
        self._values = deque(msgspec.convert(values, list[float], strict=False), maxlen=change.runs)

    def __len__(self) -> int:
        return len(self._values)

    def compare(self, value: float) -> bool | None:
        """Whether a value is too far from those before it; then it is one of them."""
        change, verdict = self._change, None
        if len(self._values) >= change.min_runs:
            self.baseline = median(self._values) if change.of == "median" else fmean(self._values)
            # Of nothing there are no shares, and below nothing they would be upside down.
            if self.baseline > 0:
                limit = self.baseline * change.factor
                verdict = value > limit if change.over is not None else value < limit
        self._values.append(value)
        return verdict

    def dump(self) -> Any:
        return [list(self._values), self.baseline]


class ChangeWatch(Watch):
    """Compares each value with the mean or the median of those before it."""

    def measured(self, event: Event, value: float, at: float) -> Verdict | None:
        series = self.open(self.labels_of(event))
        self.value = series.value = value
        breaching = self._runs(series).compare(value)
        if self.rule.no_data_after:
            self.hear(series, at)
        if breaching:
            series.evidence = Evidence.of(event)
        return Verdict(series, breaching)

    @property
    def counts_events(self) -> bool:
        return not self.rule.for_

    def remember(self, saved: Any = None, parts: Parts = ()) -> Memory | None:
        return Runs(self._change, saved)

    def forget(self, series: Series, at: float) -> None:
        runs = series.memory
        super().forget(series, at)
        series.memory = runs  # What was usual is so still.

    def threshold_of(self, series: Series) -> float | None:
        baseline = self._runs(series).baseline
        return None if baseline is None else baseline * self._change.factor

    @property
    def condition(self) -> str:
        change = self._change
        way = "above" if change.over is not None else "below"
        return f"more than {change.percent:g} % {way} the {change.of} of the last {change.runs}{self.lasting}"

    def describe(self, series: Series) -> str:
        assert self.metric is not None
        runs, change = self._runs(series), self._change
        name = self.metric.title or self.metric.name.replace("_", " ")
        value, usual = format_value(series.value, self.unit), format_value(runs.baseline, self.unit)
        far = abs((series.value or 0.0) / runs.baseline - 1) * 100 if runs.baseline else 0.0
        way = "above" if change.over is not None else "below"
        return f"{name} is {value}, {far:.3g} % {way} the {change.of} of the last {change.runs}, {usual}{self.lasting}"

    def explained(self, event: Event, metric: str, series: Series | None) -> str:
        value = format_value(event.measures[metric], self.unit)
        if series is None or (baseline := self._runs(series).baseline) is None:
            return f"{value} is too early to be compared; it takes {self._change.min_runs} values before."
        return f"{value}, where {format_value(baseline, self.unit)} was usual."

    @property
    def _change(self) -> Change:
        assert self.rule.change is not None
        return self.rule.change

    def _runs(self, series: Series) -> Runs:
        assert isinstance(series.memory, Runs)
        return series.memory
