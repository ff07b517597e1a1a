"""A rule on an event that is enough by itself: a rollback, a failed deployment, a lost build."""

from __future__ import annotations

from bers import Event, format_duration
from bers_builtin.sinks.alert_engine.rules import several
from bers_builtin.sinks.alert_engine.watches.series import Evidence, Series, Verdict
from bers_builtin.sinks.alert_engine.watches.watch import Watch


class OccurrenceWatch(Watch):
    """Fires at once; ends with another event, some time after the last, or by hand."""

    def happened(self, event: Event, at: float) -> Verdict | None:
        rule = self.rule
        if event.type in rule.events and rule.matches_outcome(event.outcome):
            series = self.open(self.labels_of(event))
            series.evidence = Evidence.of(event)
            return Verdict(series, True)
        if rule.clears and rule.clears.matches(event.type, event.outcome):
            known = self.series.get(self.labels_of(event))
            if known:
                known.good = None
            return Verdict(known, False) if known else None
        return None

    def hold(self, verdict: Verdict, at: float) -> bool | None:
        series, breaching = verdict
        if breaching:  # It is over as soon as it has happened, and fires on.
            series.good = at if series.terms.keep else None
        return breaching

    @property
    def counts_events(self) -> bool:
        return True

    @property
    def condition(self) -> str:
        rule = self.rule
        outcome = f" ({', '.join(several(rule.outcome))})" if rule.outcome else ""
        keep = f", for {format_duration(rule.keep_firing_for)}" if rule.keep_firing_for else ""
        return " or ".join(rule.events) + outcome + keep

    def describe(self, series: Series) -> str:
        return series.evidence.note

    def explained(self, event: Event, metric: str, series: Series | None) -> str:
        if event.type in self.rule.events and self.rule.matches_outcome(event.outcome):
            return "it is what the rule watches for."
        if self.rule.clears and self.rule.clears.matches(event.type, event.outcome):
            return "it ends what the rule watches for."
        return f"its outcome, {event.outcome or 'none'}, is not one that matters."
