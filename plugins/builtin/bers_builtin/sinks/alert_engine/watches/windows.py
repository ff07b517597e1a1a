"""A rule on what a window holds: an aggregate of the values of a metric, or how many events there were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bers import Event, format_duration, format_value
from bers_builtin.sinks.alert_engine.sliding.panes import Panes
from bers_builtin.sinks.alert_engine.watches.saving import Parts
from bers_builtin.sinks.alert_engine.watches.series import Evidence, Memory, Series, Verdict
from bers_builtin.sinks.alert_engine.watches.thresholds import ThresholdWatch

_COUNTING = frozenset({"count", "rate"})


class WindowWatch(ThresholdWatch):
    """Keeps a window of values, and looks at what they make together."""

    def measured(self, event: Event, value: float, at: float) -> Verdict | None:
        return self._add(event, value, at)

    def happened(self, event: Event, at: float) -> Verdict | None:
        if event.type in self.rule.events and self.rule.matches_outcome(event.outcome):
            return self._add(event, 1.0, at)
        return None

    def passing(self, series: Series, now: float) -> bool | None:
        panes = self._panes(series)
        is_whole = panes.whole_at is not None and now >= panes.whole_at
        return self._conclude(series, now) if panes.leave(now) or is_whole else None

    def waits(self, series: Series) -> float | None:
        panes = self._panes(series)
        if panes.whole_at is None or panes.due is None:
            return panes.due if panes.whole_at is None else panes.whole_at
        return min(panes.due, panes.whole_at)

    def remember(self, saved: Any = None, parts: Parts = ()) -> Memory | None:
        return Panes.load(self._span, self.rule.aggregate, saved, parts)

    @property
    def condition(self) -> str:
        what = self.rule.aggregate if self.metric else f"{self.rule.aggregate} of {' or '.join(self.rule.events)}"
        return f"{what} {self.limit} over {format_duration(self._span)}{self.lasting}"

    def describe(self, series: Series) -> str:
        name = self.title if self.metric else self.type
        return self.compared(series, f"{self.rule.aggregate} of {name} over {format_duration(self._span)}")

    def explained(self, event: Event, metric: str, series: Series | None) -> str:
        now = f", which is at {format_value(series.value, self.unit)} now" if series and series.value else ""
        if not metric and not self.rule.matches_outcome(event.outcome):
            return f"its outcome, {event.outcome or 'none'}, is not one that matters."
        counted = (
            "1" if self.rule.aggregate == "count" or not metric else format_value(event.measures[metric], self.unit)
        )
        return f"{counted} went into its window{now}."

    @property
    def _span(self) -> float:
        return self.rule.window or 0.0

    def _panes(self, series: Series) -> Panes:
        assert isinstance(series.memory, Panes)
        return series.memory

    def _add(self, event: Event, value: float, at: float) -> Verdict:
        series = self.open(self.labels_of(event))
        panes = self._panes(series)
        panes.leave(at)
        panes.add(value, at, event.weight)
        if self.rule.no_data_after:
            self.hear(series, at)
        breaching = self._conclude(series, at)
        if breaching:
            series.evidence = Evidence.of(event)
        return Verdict(series, breaching)

    def _conclude(self, series: Series, now: float) -> bool | None:
        panes = self._panes(series)
        panes.whole_at = None
        value = panes.value()
        if value is None:
            return None  # Silence keeps the state.
        self.value = series.value = value
        if len(panes) < self.rule.min_samples and not (self.rule.aggregate in _COUNTING and not panes):
            return None
        breaching = self.breaches(value, series)
        whole_at, may_be_more = self.heard_since + self._span, breaching == (self.rule.below is not None)
        if self.rule.aggregate in _COUNTING and now < whole_at and may_be_more:
            panes.whole_at = whole_at  # Nobody could be heard for a part of the window.
            return None
        return breaching

    def usual_group(self) -> Sequence[str]:
        return self.metric.labels if self.metric else ("environment", "service")
