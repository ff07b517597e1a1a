"""A service level objective at work: rules on how fast its error budget burns, and on whether it is spent."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

from bers import Event, Metric, Percent, format_duration, format_value
from bers_builtin.sinks.alert_engine.rules import Pair, Rule, Slo
from bers_builtin.sinks.alert_engine.sliding.tallies import Tally
from bers_builtin.sinks.alert_engine.watches.saving import Parts
from bers_builtin.sinks.alert_engine.watches.series import Evidence, Memory, Series, Verdict
from bers_builtin.sinks.alert_engine.watches.terms import Terms
from bers_builtin.sinks.alert_engine.watches.watch import Watch

_ALL = 1e-9  # Of a hundred: what a share of bad ones may be beyond the budget by rounding alone.


class Tallies:
    """One or two windows over the same events, the longest first."""

    def __init__(self, *spans: float, saved: Any = None) -> None:
        dumped = saved or [None] * len(spans)
        self.windows = [Tally.load(span, one) for span, one in zip(spans, dumped, strict=False)]
        self.answered = len(dumped) > len(spans)
        """Whether somebody ended its alert by hand, and nothing bad came since."""

    def __len__(self) -> int:
        return self.windows[0].total

    def add(self, is_bad: bool, weight: int, at: float) -> None:
        self.leave(at)
        self.answered = self.answered and not is_bad
        for window in self.windows:
            window.add(weight if is_bad else 0, weight, at)

    def leave(self, now: float) -> None:
        for window in self.windows:
            window.leave(now)

    @property
    def due(self) -> float | None:
        return min((due for window in self.windows if (due := window.due) is not None), default=None)

    def dump(self) -> Any:
        return [*(window.dump() for window in self.windows), *([True] if self.answered else [])]


class SloWatch(Watch):
    """Says of each event whether it is good, and counts."""

    most_series = 500  # Each takes 10 kB for a window.

    def __init__(
        self, slo: Slo, rule: Rule, metric: Metric | None, limit: float | None, threshold: float, *spans: float
    ) -> None:
        self.slo = slo
        self.allowed = slo.allowed
        """The share that may be bad, in percent."""
        self._limit = limit
        judged_by = (float(slo.objective), slo.period, slo.good, slo.min_samples, limit, spans)
        super().__init__(rule, metric, "1", Terms(threshold), {}, default=False, besides=judged_by)

    def measured(self, event: Event, value: float, at: float) -> Verdict | None:
        assert self._limit is not None
        return self._count(event, value > self._limit if self.slo.above is not None else value < self._limit, at)

    def happened(self, event: Event, at: float) -> Verdict | None:
        is_good = self.slo.is_good(event.outcome) if event.type in self.slo.events else None
        return None if is_good is None else self._count(event, not is_good, at)

    def passing(self, series: Series, now: float) -> bool | None:
        self.tallies(series).leave(now)
        return self._conclude(series)

    def waits(self, series: Series) -> float | None:
        return self.tallies(series).due

    def tallies(self, series: Series) -> Tallies:
        assert isinstance(series.memory, Tallies)
        return series.memory

    def burn(self, tally: Tally) -> float | None:
        """How fast the budget burns: at 1, what was bad is just what may be."""
        return None if tally.share is None else tally.bad * 100 / tally.total / self.allowed

    def explained(self, event: Event, metric: str, series: Series | None) -> str:
        if metric:
            value = event.measures[metric]
            bad = value > (self._limit or 0.0) if self.slo.above is not None else value < (self._limit or 0.0)
        elif (good := self.slo.is_good(event.outcome)) is None:
            return f"its outcome, {event.outcome}, says nothing."
        else:
            bad = not good
        return f"it counts as {'bad' if bad else 'good'}."

    def _count(self, event: Event, is_bad: bool, at: float) -> Verdict:
        series = self.open(self.labels_of(event))
        self.tallies(series).add(is_bad, event.weight, at)
        if is_bad:
            series.evidence = Evidence.of(event)
        return Verdict(series, self._conclude(series))

    @abstractmethod
    def _conclude(self, series: Series) -> bool | None:
        """Whether that is too many, by what was counted; nothing where that cannot be told."""


class BurnWatch(SloWatch):
    """Fires while the budget burns too fast in a long window and in a short one."""

    def __init__(self, slo: Slo, pair: Pair, metric: Metric | None, limit: float | None) -> None:
        self.pair = pair
        what = f"The error budget of {slo.name} burns more than {pair.burn:g} times as fast as it may."
        rule = _rule(slo, f"{slo.name}: Burn Rate {pair.long}", pair.severity, pair.long, what)
        super().__init__(slo, rule, metric, limit, pair.burn, pair.long, pair.short)

    def remember(self, saved: Any = None, parts: Parts = ()) -> Memory | None:
        return Tallies(self.pair.long, self.pair.short, saved=saved)

    @property
    def condition(self) -> str:
        pair = self.pair
        return f"burn rate > {pair.burn:g} over {pair.long} and {pair.short} of {self.slo.objective}"

    def describe(self, series: Series) -> str:
        long, short = map(self.burn, self.tallies(series).windows)
        window = self.tallies(series).windows[0]
        return (
            f"{self.slo.name}: the error budget burns at {long or 0:.3g} over {self.pair.long} and {short or 0:.3g} "
            f"over {self.pair.short}, above {self.pair.burn:g}; {window.bad} of {window.total} were bad"
        )

    def _conclude(self, series: Series) -> bool | None:
        windows = self.tallies(series).windows
        long, short = map(self.burn, windows)
        if long is None or short is None or windows[0].total < self.slo.min_samples:
            return None  # Silence keeps the state.
        self.value = series.value = long
        return long > self.pair.burn and short > self.pair.burn


class BudgetWatch(SloWatch):
    """Counts over the whole period; fires when more was bad than may be, where that is at least one event."""

    def __init__(self, slo: Slo, metric: Metric | None, limit: float | None) -> None:
        what = f"More was bad in {format_duration(slo.period)} than the objective of {slo.name} allows."
        rule = _rule(slo, f"{slo.name}: Error Budget Spent", "info", slo.period, what)
        super().__init__(slo, rule, metric, limit, 1.0, slo.period)

    def remember(self, saved: Any = None, parts: Parts = ()) -> Memory | None:
        return Tallies(self.slo.period, saved=saved)

    @property
    def condition(self) -> str:
        return f"more than {self.allowed:g} % bad over {self.slo.period}"

    def describe(self, series: Series) -> str:
        (period,) = self.tallies(series).windows
        share = format_value((period.share or 0.0) * 100, "%")
        return f"{self.slo.name}: {period.bad} of {period.total} were bad in {self.slo.period}, {share}"

    def left(self, tally: Tally) -> float | None:
        """Which share of the budget is left, in percent; below nothing where more was bad than may be."""
        burn = self.burn(tally)
        return None if burn is None else (1 - burn) * 100

    def _conclude(self, series: Series) -> bool | None:
        (period,) = self.tallies(series).windows
        burn = self.burn(period)
        if burn is None:
            return None
        self.value = series.value = burn
        # Where the budget is less than one event, a single one spends it, and that is no news.
        if period.total < self.slo.min_samples or self.allowed * period.total < 100 - _ALL:
            return None if series.firing else False
        return burn > 1 and not self.tallies(series).answered

    def forget(self, series: Series, at: float) -> None:
        tallies = self.tallies(series)
        super().forget(series, at)
        series.memory = tallies  # What was bad was so, whatever is said of the alert.
        tallies.answered = True


class Objective(NamedTuple):
    """What follows from one SLO."""

    slo: Slo
    budget: BudgetWatch
    burns: list[BurnWatch]

    @classmethod
    def of(cls, slo: Slo, metric: Metric | None, limit: float | None) -> Objective:
        return cls(slo, BudgetWatch(slo, metric, limit), [BurnWatch(slo, pair, metric, limit) for pair in slo.pairs])


def _rule(slo: Slo, name: str, severity: Any, window: Any, summary: str) -> Rule:
    step = "See GET alerts/slos for what is left of the budget, and the events that were bad."
    kind: dict[str, Any] = (
        {"metric": slo.metric, "above": slo.above, "below": slo.below}
        if slo.metric
        else {"event": slo.event, "ratio": Percent(slo.allowed), "window": window}
    )
    return Rule(
        name=name,
        severity=severity,
        where=slo.where,
        environment=slo.environment,
        group=slo.group,
        depends_on=slo.depends_on,
        labels={"slo": slo.id, **slo.labels},
        annotations={"summary": summary, "step": step, **slo.annotations},
        **kind,
    )
