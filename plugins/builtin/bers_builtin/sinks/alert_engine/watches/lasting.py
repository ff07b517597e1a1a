"""What time does to a rule: how long things have to last, to fire on, and what silence means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf

import msgspec

from bers import format_duration
from bers_builtin.sinks.alert_engine.alerts import EPSILON
from bers_builtin.sinks.alert_engine.rules import Rule
from bers_builtin.sinks.alert_engine.watches.series import Series, Verdict

GONE = 86_400.0
"""Seconds after which a series that is silent, and has no alert of its own, is waited for no more."""


class Lasting(ABC):
    """The half of a watch that waits."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.silence_changed = False
        """Whether a series fell silent, or is heard again, since that was judged."""
        self.heard_since = 0.0
        """Since when, without a break, events could be heard, on the engine's clock."""
        self.resumed = 0.0
        """From when on silence means something: not while we were away."""
        spans = [span for span in (rule.absent, rule.no_data_after, rule.window) if span]
        self.patience = min(spans, default=inf) / 4
        """Seconds by which a look may be late before what was not heard until then may only not have been read."""

    def passing(self, series: Series, now: float) -> bool | None:
        """What is to be said of a series because time went on."""
        return None

    def waits(self, series: Series) -> float | None:
        """When time alone changes what is to be said of a series."""
        return None

    @abstractmethod
    def forget(self, series: Series, at: float) -> None:
        """Start anew, as if nothing had been seen."""

    def hold(self, verdict: Verdict, at: float) -> bool | None:
        """What follows from a verdict, now that an alert which fires may have to fire on for a while."""
        series, breaching = verdict
        if breaching:
            series.good = None
        elif breaching is not None and series.firing and (keep := series.terms.keep):
            if series.good is None:
                series.good = at
            return None if at - series.good < keep - EPSILON else False
        return breaching

    def due(self, series: Series) -> float | None:
        """When a series has to be looked at next, though nothing came."""
        due = self.waits(series)
        if series.good is not None:
            over = series.good + series.terms.keep
            due = over if due is None or over < due else due
        if (after := self.rule.no_data_after) and (until := self._quiet(series, after)) is not None:
            due = until if due is None or until < due else due
        return due

    def look(self, series: Series, now: float) -> Verdict:
        """Look at a series again, because time went on."""
        breaching = self.passing(series, now)
        after = self.rule.no_data_after
        if after and (until := self._quiet(series, after)) is not None and now >= until:
            if series.silent and series.since is None:
                return self._give_up(series, now)
            self.silence_changed = self.silence_changed or not series.silent
            series.silent = True
            breaching = self._silence(series, breaching)
        if breaching is None and series.good is not None:
            breaching = False  # It was the last that could be said of it.
        return Verdict(series, breaching)

    def hear(self, series: Series, at: float) -> None:
        """Note that something came."""
        if series.silent:
            series.silent, self.silence_changed = False, True
        series.heard = at

    def why_good(self, series: Series) -> str:
        """Why an alert that fired is over, for people."""
        rule = self.rule
        if series.silent and rule.on_no_data == "ok":
            after = format_duration(rule.no_data_after or 0.0)
            return f"nothing was heard of it for {after}, and its rule calls that good"
        if series.good is not None:
            return f"what it watches was not bad again for {format_duration(series.terms.keep)}"
        return "what it watches is good again"

    def holds(self, series: Series, at: float) -> bool:
        """Whether what is bad has been bad for long enough."""
        return series.since is not None and at - series.since >= series.terms.for_ - EPSILON

    def _quiet(self, series: Series, after: float) -> float | None:
        """When silence changes something: when it begins, when it was bad for long enough, when a series is gone."""
        if series.heard is None or (series.silent and series.firing):
            return None
        if not series.silent:
            return max(series.heard + after, self.resumed)
        if series.since is None:
            return series.heard + max(GONE, 10 * after)
        return series.since + series.terms.for_ if self.rule.on_no_data == "alert" else None

    def _give_up(self, series: Series, now: float) -> Verdict:
        """Wait no more for what was silent for so long that it is gone, as hosts and services come to be."""
        self.forget(series, now)
        series.heard = None
        return Verdict(series, None)

    def _silence(self, series: Series, breaching: bool | None) -> bool | None:
        match self.rule.on_no_data:
            case "keep":
                return breaching
            case "ok":
                return False
            case "alert":
                assert series.heard is not None
                series.begin(series.heard)
                series.evidence = msgspec.structs.replace(series.evidence, note="no data")
                return True
