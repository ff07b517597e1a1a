"""A rule on what does not come: no event of a type, or no value of a metric, for too long."""

from __future__ import annotations

from collections.abc import Sequence

from bers import Event, format_duration
from bers_builtin.sinks.alert_engine.watches.series import Evidence, Series, Verdict
from bers_builtin.sinks.alert_engine.watches.watch import Watch


class AbsenceWatch(Watch):
    """Knows when something came last. Time goes on while the server is down, but its own absence proves nothing."""

    @property
    def reach(self) -> float | None:
        return self._span

    def measured(self, event: Event, value: float, at: float) -> Verdict | None:
        return self._heard(event, at)

    def happened(self, event: Event, at: float) -> Verdict | None:
        matters = event.type in self.rule.events and self.rule.matches_outcome(event.outcome)
        return self._heard(event, at) if matters else None

    def began(self, at: float) -> Series | None:
        if self.group:
            return None
        series = self.open(())
        if series.heard is not None:
            return None
        series.heard = at
        return series

    def passing(self, series: Series, now: float) -> bool | None:
        due = self.waits(series)
        if due is None or now < due:
            return None
        assert series.heard is not None
        series.silent = True
        series.begin(now)
        return True

    def waits(self, series: Series) -> float | None:
        if series.heard is None or series.silent:
            return None
        return max(series.heard + self._span, self.resumed)

    def forget(self, series: Series, at: float) -> None:
        super().forget(series, at)
        series.silent = False
        # One of many is waited for no more, until it comes again.
        series.heard = None if series.labels else at

    def usual_group(self) -> Sequence[str]:
        return ()

    @property
    def condition(self) -> str:
        return f"no {self._what} for {format_duration(self._span)}"

    def describe(self, series: Series) -> str:
        where = f"; the last was {series.evidence.note}" if series.evidence.note else ""
        return f"no {self._what} for {format_duration(self._span)}{where}"

    def explained(self, event: Event, metric: str, series: Series | None) -> str:
        return "it is what the rule waits for." if metric or self.rule.matches_outcome(event.outcome) else (
            f"its outcome, {event.outcome or 'none'}, is not what the rule waits for."
        )  # fmt: skip

    @property
    def _span(self) -> float:
        return self.rule.absent or 0.0

    @property
    def _what(self) -> str:
        outcome = self.rule.outcome
        with_outcome = f" ({outcome if isinstance(outcome, str) else ', '.join(outcome)})" if outcome else ""
        return " or ".join(self.rule.events or (self.rule.metric,)) + with_outcome

    def _heard(self, event: Event, at: float) -> Verdict | None:
        series = self.open(self.labels_of(event))
        if series.heard is not None and at < series.heard:
            return None
        series.heard, series.evidence = at, Evidence.of(event)
        if series.since is None:
            return Verdict(series, None)
        series.silent = False
        return Verdict(series, False)
