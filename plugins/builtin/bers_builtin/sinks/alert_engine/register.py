"""What becomes of alerts: pending, active, acknowledged, suppressed, resolved; each step is decided here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple
from uuid import uuid4

import msgspec

from bers_builtin.sinks.alert_engine.alerts import Acknowledgment, Alert, Audit, Kind, Resolution, Transition
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.rules import Severity
from bers_builtin.sinks.alert_engine.watches import Series, Verdict, Watch


class Moment(NamedTuple):
    """A time, twice."""

    at: float
    """Seconds on the engine's own clock, that never steps; what is waited for is measured by it."""
    wall: float
    """Seconds since 1970; what is recorded says it."""

    @property
    def ms(self) -> int:
        return int(self.wall * 1000)


class Deed(NamedTuple):
    """Who did something to an alert by hand, and why."""

    operator: str
    principal: str
    notes: str
    address: str


class Register:
    """Every alert that is alive, and what has to be written down about it.

    * One fingerprint has one living alert at most. What comes back within the deduplication window reopens it: the
      same id, active again, acknowledged no more. Later it is a new alert, that names the one before.
    * Beyond the rate limit an alert that is not critical is suppressed: seen over REST, told to nobody. It becomes
      active with the next evidence that finds room, and resolves in silence, because nobody was told that it fired.
    """

    def __init__(self, config: AlertConfig) -> None:
        self._config = config
        self.live: dict[str, Alert] = {}
        """Active, acknowledged and suppressed alerts, by fingerprint."""
        self.pending: dict[str, tuple[Watch, Series]] = {}
        self._resolved: dict[str, tuple[Alert, float]] = {}
        """What can be reopened, by fingerprint, with the time of its end; oldest first."""
        self._last: dict[str, str] = {}
        """The id of the last alert of each fingerprint."""
        self.firings: deque[float] = deque(maxlen=config.rate_limiting.max_alerts)
        """When the last few alerts fired, as many as the rate limit counts."""
        self.changed: dict[str, Alert] = {}
        self.transitions: list[Transition] = []
        self.audit: list[Audit] = []
        self.due: float | None = None
        """When time alone changes an alert next, on the engine's clock; nothing where it never does."""

    def restore(
        self,
        live: Iterable[Alert],
        resolved: Iterable[tuple[Alert, float]],
        last: dict[str, str],
        firings: Iterable[float],
    ) -> None:
        """Take up what was written down."""
        self.live = {alert.fingerprint: alert for alert in live}
        self._resolved = {alert.fingerprint: (alert, at) for alert, at in resolved}
        self._last = last
        self.firings.extend(firings)

    def written(self) -> None:
        """Say that what was to be written down is."""
        self.changed, self.transitions, self.audit = {}, [], []

    def judge(self, watch: Watch, verdict: Verdict, moment: Moment) -> None:
        """Let an alert begin, go on or end, as the rule concluded."""
        series, breaching = verdict
        if breaching is None:
            return
        alert = self.live.get(series.fingerprint)
        if not breaching:
            series.since = None
            self.pending.pop(series.fingerprint, None)
            if alert:
                self._end(alert, Resolution(None, "", moment.ms, "recovered"), moment)
        elif alert:
            self._go_on(alert, watch, series, moment)
        else:
            if series.since is None:
                series.since, series.id = moment.at, uuid4().hex
            if watch.holds(series.since, moment.at):
                self.pending.pop(series.fingerprint, None)
                self._begin(watch, series, moment)
            else:
                self.pending[series.fingerprint] = (watch, series)

    def pass_time(self, moment: Moment) -> None:
        """Let happen what only waited for its time."""

    def acknowledge(self, alert: Alert, deed: Deed, moment: Moment) -> Alert:
        """Note that somebody takes a living alert on."""
        taken = Acknowledgment(deed.operator, deed.notes, moment.ms, deed.address)
        alert = msgspec.structs.replace(alert, status="acknowledged", acknowledgment=taken, updated_at=moment.ms)
        self.live[alert.fingerprint] = alert
        self._tell("acknowledged", alert, moment)
        self.audit.append(Audit(moment.ms, alert.id, "acknowledge", *deed))
        return alert

    def resolve(self, alert: Alert, deed: Deed, moment: Moment) -> Alert:
        """End a living alert by hand; evidence that comes later may reopen it."""
        self.audit.append(Audit(moment.ms, alert.id, "resolve", *deed))
        return self._end(alert, Resolution(deed.operator, deed.notes, moment.ms, "manual"), moment)

    def abandon(self, alert: Alert, notes: str, moment: Moment) -> None:
        """End an alert whose rule is no more."""
        self._end(alert, Resolution(None, notes, moment.ms, "recovered"), moment)

    def pending_alerts(self, moment: Moment) -> list[Alert]:
        """What has begun and may yet come to nothing, as alerts."""
        return [self._pending(watch, series, moment) for watch, series in self.pending.values()]

    def latest(self, fingerprint: str) -> Alert | None:
        """The alert that is alive, or that could be reopened."""
        return self.live.get(fingerprint) or self._resolved.get(fingerprint, (None, 0.0))[0]

    def _begin(self, watch: Watch, series: Series, moment: Moment) -> None:
        fingerprint = series.fingerprint
        severity = watch.rule.severity_for(series.evidence.environment)
        limited = self._is_limited(severity, moment.at)
        alert = self._alert(watch, series, moment)
        before = self._reopenable(fingerprint, moment.at)
        if before:
            alert = msgspec.structs.replace(
                alert,
                id=before.id,
                timestamp=before.timestamp,
                count=before.count + 1,
                previous_id=before.previous_id,
            )
            self._resolved.pop(fingerprint)
        alert = msgspec.structs.replace(alert, status="suppressed" if limited else "active")
        self.live[fingerprint], self._last[fingerprint] = alert, alert.id
        if not limited:
            self.firings.append(moment.at)
        self._tell("suppressed" if limited else "firing", alert, moment)

    def _go_on(self, alert: Alert, watch: Watch, series: Series, moment: Moment) -> None:
        seen = self._alert(watch, series, moment)
        alert = msgspec.structs.replace(
            alert,
            message=seen.message,
            updated_at=moment.ms,
            value=seen.value,
            threshold=seen.threshold,
            count=alert.count + 1 if watch.counts_events else alert.count,
            metadata=seen.metadata,
        )
        if alert.status == "suppressed" and not self._is_limited(alert.severity, moment.at):
            alert = msgspec.structs.replace(alert, status="active", fired_at=moment.ms)
            self.firings.append(moment.at)
            self.live[alert.fingerprint] = alert
            self._tell("firing", alert, moment)
        else:
            self.live[alert.fingerprint] = self.changed[alert.id] = alert

    def _end(self, alert: Alert, resolution: Resolution, moment: Moment) -> Alert:
        ended = msgspec.structs.replace(alert, status="resolved", resolution=resolution, updated_at=moment.ms)
        del self.live[alert.fingerprint]
        self._resolved[alert.fingerprint] = (ended, moment.at)
        if alert.status == "suppressed":
            self.changed[ended.id] = ended
        else:
            self._tell("resolved", ended, moment)
        return ended

    def _tell(self, kind: Kind, alert: Alert, moment: Moment) -> None:
        self.changed[alert.id] = alert
        self.transitions.append(Transition(kind, moment.wall, alert))

    def _is_limited(self, severity: Severity, at: float) -> bool:
        limit = self._config.rate_limiting
        return severity != "critical" and len(self.firings) == limit.max_alerts and self.firings[0] > at - limit.window

    def _reopenable(self, fingerprint: str, at: float) -> Alert | None:
        dedup = self._config.deduplication
        while self._resolved:  # What is too old to be reopened goes, oldest first.
            oldest = next(iter(self._resolved))
            if dedup.enabled and self._resolved[oldest][1] >= at - dedup.window:
                break
            del self._resolved[oldest]
        alert, _ = self._resolved.get(fingerprint, (None, 0.0))
        return alert

    def _pending(self, watch: Watch, series: Series, moment: Moment) -> Alert:
        waited = moment.at - series.since if series.since is not None else 0.0
        began = int((moment.wall - waited) * 1000)
        return msgspec.structs.replace(self._alert(watch, series, moment), timestamp=began, fired_at=began)

    def _alert(self, watch: Watch, series: Series, moment: Moment) -> Alert:
        evidence, rule = series.evidence, watch.rule
        labels = dict(series.labels)
        where = ", ".join(labels.values())
        return Alert(
            id=series.id,
            rule_id=watch.id,
            rule=rule.name,
            type=watch.type,
            severity=rule.severity_for(evidence.environment),
            status="pending",
            title=f"{rule.name}: {where}" if where else rule.name,
            message=watch.message(series),
            timestamp=moment.ms,
            fired_at=moment.ms,
            updated_at=moment.ms,
            environment=evidence.environment,
            value=series.value,
            threshold=watch.threshold,
            unit=watch.unit,
            count=1,
            fingerprint=series.fingerprint,
            labels=labels,
            previous_id=self._last.get(series.fingerprint),
            annotations=rule.annotations,
            metadata={"source": evidence.source, "event": evidence.id, "subject": evidence.subject},
        )
