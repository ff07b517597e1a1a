"""What keeps an alert that fires from being told: for now, that too many have fired in a while."""

from __future__ import annotations

from collections import deque

from bers import format_duration
from bers_builtin.sinks.alert_engine.alerts import Alert, Moment, Reason, Suppressed
from bers_builtin.sinks.alert_engine.config import AlertConfig


class Suppressions:
    """Asked whenever an alert that nobody has taken on begins, goes on, or may have become free."""

    def __init__(self, config: AlertConfig) -> None:
        self._limit = config.rate_limiting
        self.firings: deque[float] = deque(maxlen=config.rate_limiting.max_alerts)
        """When the last few alerts fired, as many as the rate limit counts."""

    @property
    def due(self) -> float | None:
        """When time alone changes an answer next, on the engine's clock; every alert is then looked at."""
        return None  # Beyond the rate limit an alert waits for evidence.

    def reason(self, alert: Alert, moment: Moment) -> Suppressed | None:
        """What suppresses an alert at a moment; nothing where it is free to fire, or goes on firing."""
        if alert.told or alert.severity == "critical":
            return None
        full = len(self.firings) == self._limit.max_alerts and self.firings[0] > moment.at - self._limit.window
        return Suppressed("rate_limit") if full else None

    def why(self, cause: Suppressed) -> Reason:
        """What to tell people about it."""
        limit = self._limit
        return Reason(
            cause.reason, f"{limit.max_alerts} alerts fired within {format_duration(limit.window)}, as many as may"
        )

    def fired(self, moment: Moment) -> None:
        """Note that an alert fired, and was told."""
        self.firings.append(moment.at)
