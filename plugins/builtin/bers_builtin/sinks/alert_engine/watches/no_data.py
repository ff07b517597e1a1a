"""The rule beside a rule, ``No Data: NAME``: whether anything is silent that the other one wants to hear from."""

from __future__ import annotations

from bers import Event, format_duration
from bers_builtin.sinks.alert_engine.rules import Rule
from bers_builtin.sinks.alert_engine.watches.series import Evidence, Series, Verdict
from bers_builtin.sinks.alert_engine.watches.terms import Terms
from bers_builtin.sinks.alert_engine.watches.watch import Companion, Watch

_NAMED = 5  # Series that a message names.


class NoDataWatch(Companion):
    """One alert for all series of a rule: a source that stops is one thing that is wrong, however much it measured."""

    def __init__(self, owner: Watch) -> None:
        rule = owner.rule
        companion = Rule(
            name=f"No Data: {rule.name}"[:200],
            severity="info",
            metric=rule.metric,
            event=rule.event,
            absent=rule.no_data_after,
            depends_on=rule.depends_on,
            labels=rule.labels,
            annotations={
                "summary": f"Nothing is measured any more that the rule {rule.name} could judge by.",
                "step": "Check health/metrics-collector and the source; the state of the rule's own alerts is kept.",
            },
        )
        super().__init__(companion, owner.metric, "", Terms(), {}, default=owner.default)
        self.owner = owner

    def judge(self, now: float) -> Verdict:
        """Whether any series is silent."""
        series = self.open(())
        silent = [one for one in self.owner.series.values() if one.silent]
        self.value = series.value = float(len(silent))
        if not silent:
            return Verdict(series, False)
        series.begin(now)
        names = ["/".join(value for _, value in one.labels) for one in silent[:_NAMED] if one.labels]
        more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
        who = f" from {len(silent)} of {len(self.owner.series)}: {', '.join(names)}{more}" if names else ""
        after = format_duration(self.owner.rule.no_data_after or 0.0)
        series.evidence = Evidence(silent[0].evidence.environment, note=f"{self.type}: no data for {after}{who}")
        return Verdict(series, True)

    @property
    def condition(self) -> str:
        return f"no data for {format_duration(self.owner.rule.no_data_after or 0.0)}"

    def describe(self, series: Series) -> str:
        return series.evidence.note

    def explained(self, event: Event, metric: str, series: Series | None) -> str:
        return "it is what the rule waits for."
