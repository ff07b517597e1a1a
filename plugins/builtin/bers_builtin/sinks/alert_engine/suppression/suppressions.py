"""What keeps an alert that fires from being told: silences, maintenance, what it follows from, and too many others."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from bers import Interval, format_duration, rfc3339
from bers_builtin.sinks.alert_engine.alerts import EPSILON, Alert, Moment, Reason, Suppressed
from bers_builtin.sinks.alert_engine.rules import Rule, named
from bers_builtin.sinks.alert_engine.suppression.causes import Causes
from bers_builtin.sinks.alert_engine.suppression.maintenance import Maintenance, MaintenanceWindow
from bers_builtin.sinks.alert_engine.suppression.silences import Kept, Silences


class RateLimiting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many alerts may fire before further ones are only shown, as suppressed."""

    max_alerts: Annotated[
        int, Meta(ge=1, description="How many alerts may fire in the window. Critical ones count, and always fire.")
    ] = 10
    window: Annotated[Interval, Meta(description="The time in which they are counted.")] = Interval("300s")


class Suppressions:
    """Asked whenever an alert that nobody has taken on begins, goes on, or may have become free.

    A person's word comes first: a silence, then a maintenance window; both hold for critical alerts too, and for what
    was told already. What follows from another alert and what is beyond the rate limit is a matter of alerts that are
    not critical, and were not told yet.
    """

    def __init__(self, limit: RateLimiting, windows: Sequence[MaintenanceWindow]) -> None:
        self._limit = limit
        self.firings: deque[float] = deque(maxlen=limit.max_alerts)
        """When the last few alerts were told, as many as the rate limit counts."""
        self.silences = Silences()
        self.maintenance = Maintenance(windows)
        self._causes = Causes({}, {})

        self._stale = False
        """Whether alerts have to be looked at, because what suppresses them has changed."""

    @property
    def has_news(self) -> bool:
        return self.silences.has_news

    @property
    def due(self) -> float | None:
        """When time alone changes an answer next, on the engine's clock; every alert is then looked at.

        Beyond the rate limit an alert waits for evidence: what a storm brought is not told for hours after it.
        """
        if self._stale:
            return 0.0
        times = [due for due in (self.silences.due, self.maintenance.due) if due is not None]
        return min(times, default=None)

    def resuming(
        self,
        silences: Iterable[Kept],
        alive: Iterable[Alert],
        rules: Mapping[str, Rule],
        moment: Moment,
    ) -> Generator[None, None, None]:
        """Take up what was written down, alert by alert, before any is looked at; ``rules`` are those at work, by their
        ids.
        """
        depends_on = {id: [named(name) for name in rule.depends_on] for id, rule in rules.items()}
        self._causes = Causes(depends_on, {id: rule.labels for id, rule in rules.items()})
        self.silences.restore(silences)
        for alert in alive:
            self._causes.began(alert)
            # What suppressed it may be over, or not be configured any more.
            self._stale = self._stale or (
                alert.suppressed_by is not None and alert.suppressed_by.reason != "rate_limit"
            )
            yield
        self._look(moment)

    def written(self) -> None:
        """Say that what was to be written down is."""
        self.silences.written()

    def began(self, alert: Alert) -> None:
        """Note that an alert is alive."""
        self._causes.began(alert)

    def ended(self, alert: Alert) -> None:
        """Note that an alert is not alive any more: what follows from it may fire."""
        self.silences.forget(alert)
        self.maintenance.forget(alert)
        self._stale = self._causes.ended(alert) or self._stale

    def pass_time(self, moment: Moment) -> bool:
        """Let happen what only waited for its time; True where alerts have to be looked at because of that."""
        self._look(moment)
        stale, self._stale = self._stale, False
        return stale

    def reason(self, alert: Alert, moment: Moment, *, evident: bool = True) -> Suppressed | None:
        """What suppresses an alert at a moment; nothing where it is free to fire, or goes on firing.

        Without evidence, one that was beyond the rate limit still is.
        """
        self._look(moment)
        return (
            self.silences.of(alert)
            or self.maintenance.of(alert)
            or self._causes.of(alert)
            or self._beyond_limit(alert, moment, evident=evident)
        )

    def _look(self, moment: Moment) -> None:
        """See what began and ended: nothing fires in a window that opened this instant."""
        now = moment.at + EPSILON
        for clockwork in (self.silences, self.maintenance):
            if clockwork.due is not None and clockwork.due <= now:
                self._stale = clockwork.look(moment._replace(at=now)) or self._stale

    def why(self, cause: Suppressed) -> Reason:
        """What to tell people about it."""
        match cause.reason:
            case "silence":
                kept = self.silences.living.get(cause.id)
                said = f": {kept.silence.comment}" if kept and kept.silence.comment else ""
                by = f" by {kept.silence.created_by}" if kept else ""
                sentence = f"silenced{by} until {_until(cause)}{said}"
            case "maintenance":
                sentence = f"the maintenance window {cause.id!r} is open until {_until(cause)}"
            case "dependency":
                sentence = f"it follows from another alert, {self._causes.title_of(cause.id)!r}"
            case _:
                limit = self._limit
                lasts = format_duration(limit.window)
                sentence = f"{limit.max_alerts} alerts fired within {lasts}, as many as may"
        return Reason(cause.reason, sentence)

    def fired(self, moment: Moment) -> None:
        """Note that an alert fired, and was told."""
        self.firings.append(moment.now)

    def _beyond_limit(self, alert: Alert, moment: Moment, *, evident: bool) -> Suppressed | None:
        if alert.told or alert.severity == "critical":
            return None
        if not evident and alert.suppressed_by and alert.suppressed_by.reason == "rate_limit":
            return alert.suppressed_by
        full = len(self.firings) == self._limit.max_alerts and self.firings[0] > moment.now - self._limit.window
        return Suppressed("rate_limit") if full else None


def _until(cause: Suppressed) -> str:
    return rfc3339(cause.until / 1000) if cause.until is not None else "it ends"
