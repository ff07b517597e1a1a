"""What is left of error budgets, and how fast they burn: the answer to ``GET alerts/slos``."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from bers import Caller, Labels
from bers_builtin.sinks.alert_engine.rules import Severity
from bers_builtin.sinks.alert_engine.slices import in_slices
from bers_builtin.sinks.alert_engine.watches import Objective

if TYPE_CHECKING:
    from bers_builtin.sinks.alert_engine.engine import AlertEngine


class BurnReport(msgspec.Struct, rename="camel", frozen=True):
    """A pair of windows. A burn rate of 1 spends just the budget; nothing was seen where there is none."""

    long_ms: int
    short_ms: int
    limit: float
    severity: Severity
    long_burn_rate: float | None
    short_burn_rate: float | None
    samples: int
    firing: bool


class BudgetReport(msgspec.Struct, rename="camel", frozen=True):
    """What one group has left of its error budget in the period."""

    labels: Mapping[str, str]
    total: int
    bad: int
    good_percent: float | None
    allowed: float
    """How many of the total may be bad."""
    budget_remaining_percent: float | None
    """Below nothing where more was bad than may be; nothing is known before anything was seen."""
    burns: list[BurnReport]


class SloReport(msgspec.Struct, rename="camel", frozen=True):
    """A service level objective, and how it is met now."""

    id: str
    name: str
    type: str
    """The metric, or the type of the event, that it is about."""
    objective: float
    period_ms: int
    budgets: list[BudgetReport]
    """One for each group that was seen."""


async def list_objectives(stage: AlertEngine, ask: object, caller: Caller) -> list[SloReport]:
    """Every SLO, with what is left of its budget."""
    async with stage.books.sound() as evaluator:
        return await in_slices(_reporting(evaluator.watches.objectives, evaluator.moment.at))


def _reporting(objectives: Sequence[Objective], now: float) -> Generator[None, None, list[SloReport]]:
    """What is said of each, budget by budget."""
    reports: list[SloReport] = []
    for objective in objectives:
        slo, budget = objective.slo, objective.budget
        budgets: list[BudgetReport] = []
        for labels in list(budget.series):
            budgets.append(_budget(objective, labels, now))
            yield
        reports.append(
            SloReport(
                id=slo.id,
                name=slo.name,
                type=budget.type,
                objective=float(slo.objective),
                period_ms=round(slo.period * 1000),
                budgets=budgets,
            )
        )
    return reports


def _budget(objective: Objective, labels: Labels, now: float) -> BudgetReport:
    watch = objective.budget
    tallies = watch.tallies(watch.series[labels])
    tallies.leave(now)
    (period,) = tallies.windows
    return BudgetReport(
        labels=dict(labels),
        total=period.total,
        bad=period.bad,
        good_percent=None if period.share is None else (1 - period.share) * 100,
        allowed=period.total * watch.allowed / 100,
        budget_remaining_percent=watch.left(period),
        burns=list(_burns(objective, labels, now)),
    )


def _burns(objective: Objective, labels: Labels, now: float) -> Sequence[BurnReport]:
    found: list[BurnReport] = []
    for watch in objective.burns:
        series = watch.series.get(labels)
        tallies = watch.tallies(series) if series else None
        if tallies:
            tallies.leave(now)
        long, short = map(watch.burn, tallies.windows) if tallies else (None, None)
        found.append(
            BurnReport(
                long_ms=round(watch.pair.long * 1000),
                short_ms=round(watch.pair.short * 1000),
                limit=watch.pair.burn,
                severity=watch.pair.severity,
                long_burn_rate=long,
                short_burn_rate=short,
                samples=tallies.windows[0].total if tallies else 0,
                firing=series is not None and series.firing,
            )
        )
    return found
