"""A rule on events that keep failing: so many in a row, or such a share of those in a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bers import Event, format_duration
from bers_builtin.sinks.alert_engine.rules import FAILED, several
from bers_builtin.sinks.alert_engine.sliding.panes import Panes
from bers_builtin.sinks.alert_engine.watches.saving import Parts
from bers_builtin.sinks.alert_engine.watches.series import Evidence, Memory, Series, Verdict
from bers_builtin.sinks.alert_engine.watches.watch import Watch


class FailureWatch(Watch):
    """Counts failures against successes; what was cancelled or skipped is neither."""

    def happened(self, event: Event, at: float) -> Verdict | None:
        failing = self._is_failure(event)
        if not failing and event.outcome not in ("success", None):
            return None
        series = self.open(self.labels_of(event))
        series.failures = series.failures + event.weight if failing else 0
        if (panes := self._panes(series)) is not None:
            panes.leave(at)
            panes.add(100.0 if failing else 0.0, at, event.weight)
        if failing:
            series.evidence = Evidence.of(event)
        return Verdict(series, self._conclude(series))

    def passing(self, series: Series, now: float) -> bool | None:
        panes = self._panes(series)
        return self._conclude(series) if panes is not None and panes.leave(now) else None

    def waits(self, series: Series) -> float | None:
        panes = self._panes(series)
        return None if panes is None else panes.due

    def remember(self, saved: Any = None, parts: Parts = ()) -> Memory | None:
        return None if self.rule.window is None else Panes.load(self.rule.window, "mean", saved, parts)

    def usual_group(self) -> Sequence[str]:
        return ("source",)

    @property
    def condition(self) -> str:
        rule = self.rule
        window = f" over {format_duration(rule.window)}" if rule.window else ""
        row = f"{rule.consecutive} failures in a row" if rule.consecutive is not None else ""
        share = f"at least {rule.ratio:g} % failed{window}" if rule.ratio is not None else ""
        return " or ".join(filter(None, (row, share)))

    def describe(self, series: Series) -> str:
        window = self.rule.window
        share = f"; {series.value:.3g} % failed in {format_duration(window)}" if window and series.value else ""
        return f"{self.type}: {series.failures} failures in a row{share}"

    def explained(self, event: Event, metric: str, series: Series | None) -> str:
        neither = "a success" if event.outcome in ("success", None) else "neither"
        counted = "a failure" if self._is_failure(event) else neither
        now = f" {series.failures} failures in a row now." if series else ""
        return f"it counts as {counted}.{now}"

    def _conclude(self, series: Series) -> bool | None:
        rule, panes = self.rule, self._panes(series)
        value = panes.value() if panes is not None else None
        if value is not None:
            self.value = series.value = value
        if rule.consecutive is not None and series.failures >= rule.consecutive:
            return True
        if panes is None:
            return False
        if value is None:
            return None  # Silence keeps the state.
        if len(panes) < rule.min_samples and rule.consecutive is None:
            return None  # Too few to say anything: a process that stood still has an empty window, and no good news.
        return rule.ratio is not None and len(panes) >= rule.min_samples and value >= rule.ratio

    def _is_failure(self, event: Event) -> bool:
        return event.outcome in (several(self.rule.outcome) if self.rule.outcome else FAILED)

    def _panes(self, series: Series) -> Panes | None:
        return series.memory if isinstance(series.memory, Panes) else None
