"""Whether a value is beyond its threshold: the one comparison there is."""

from __future__ import annotations

from bers import format_value
from bers_builtin.sinks.alert_engine.watches.series import Series
from bers_builtin.sinks.alert_engine.watches.watch import Watch


class ThresholdWatch(Watch):
    """A rule that compares a number with ``above`` or ``below``, and ends an alert at ``clear``."""

    def breaches(self, value: float, series: Series | None) -> bool | None:
        """Whether a value is beyond; nothing where it is good, and an alert that fires does not end by it yet."""
        threshold, clear = (series.terms if series is not None else self.terms)[:2]
        assert threshold is not None
        rises = self.rule.above is not None
        if value > threshold if rises else value < threshold:
            return True
        if clear is None or series is None or not series.firing or (value <= clear if rises else value >= clear):
            return False
        series.good = None  # Not bad any more, and not good for long either.
        return None

    def compared(self, series: Series, name: str) -> str:
        """What is beyond what, for people."""
        value = format_value(series.value, self.unit)
        threshold = format_value(self.threshold_of(series), self.unit)
        if value == threshold and series.value is not None:  # Rounded to what it is not.
            value = f"{series.value:g} {self.unit}"
        return f"{name} is {value}, {self.rule.side} {threshold}{self.lasting}"

    @property
    def sign(self) -> str:
        return ">" if self.rule.above is not None else "<"

    @property
    def limit(self) -> str:
        clear = f", until {format_value(self.terms.clear, self.unit)}" if self.terms.clear is not None else ""
        return f"{self.sign} {format_value(self.threshold, self.unit)}{clear}"

    @property
    def title(self) -> str:
        """What the metric is called."""
        assert self.metric is not None
        return self.metric.title or self.metric.name.replace("_", " ")
