"""What becomes of alerts: pending, active, acknowledged, suppressed, resolved; each step is decided here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from bers_builtin.sinks.alert_engine.alerts import (
    Acknowledgment,
    Alert,
    Audit,
    Kind,
    Moment,
    Reason,
    Resolution,
    Status,
    Suppressed,
    Transition,
)
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.suppression import Suppressions
from bers_builtin.sinks.alert_engine.watches import Series, Verdict, Watch


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
    * What is suppressed is seen over REST and told to nobody. It fires once nothing suppresses it any more, if it is
      still bad; and where nobody was told that it fired, nobody is told that it is resolved.
    """

    def __init__(self, config: AlertConfig) -> None:
        self._config = config
        self.suppressions = Suppressions(config)
        self.live: dict[str, Alert] = {}
        """Active, acknowledged and suppressed alerts, by fingerprint."""
        self.pending: dict[str, tuple[Watch, Series]] = {}
        self._resolved: dict[str, tuple[Alert, float]] = {}
        """What can be reopened, by fingerprint, with the time of its end; oldest first."""
        self._last: dict[str, str] = {}
        """The id of the last alert of each fingerprint."""
        self.changed: dict[str, Alert] = {}
        self.transitions: list[Transition] = []
        self.audit: list[Audit] = []

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
        self.suppressions.firings.extend(firings)

    def written(self) -> None:
        """Say that what was to be written down is."""
        self.changed, self.transitions, self.audit = {}, [], []
        self.suppressions.written()

    @property
    def due(self) -> float | None:
        """When time alone changes an alert next, on the engine's clock; nothing where it never does."""
        return self.suppressions.due

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
                self._end(
                    alert,
                    Resolution(None, "", moment.ms, "recovered"),
                    Reason("recovered", "what it watches is good again"),
                    moment,
                )
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
        if self.suppressions.pass_time(moment):
            self.reconsider(moment)

    def reconsider(self, moment: Moment) -> None:
        """Ask of every alert again whether it is suppressed, because what suppresses has changed."""
        for alert in list(self.live.values()):
            self._weigh(alert, moment)

    def acknowledge(self, alert: Alert, deed: Deed, moment: Moment) -> Alert:
        """Note that somebody takes a living alert on."""
        taken = Acknowledgment(deed.operator, deed.notes, moment.ms, deed.address)
        self.audit.append(Audit(moment.ms, alert.id, "acknowledge", *deed))
        return self._step(
            "acknowledged",
            alert,
            moment,
            _by_hand(deed),
            status="acknowledged",
            acknowledgment=taken,
            suppressed_by=None,
        )

    def resolve(self, alert: Alert, deed: Deed, moment: Moment) -> Alert:
        """End a living alert by hand; evidence that comes later may reopen it."""
        self.audit.append(Audit(moment.ms, alert.id, "resolve", *deed))
        return self._end(alert, Resolution(deed.operator, deed.notes, moment.ms, "manual"), _by_hand(deed), moment)

    def abandon(self, alert: Alert, notes: str, moment: Moment) -> None:
        """End an alert whose rule is no more."""
        self._end(alert, Resolution(None, notes, moment.ms, "recovered"), Reason("rule_changed", notes), moment)

    def pending_alerts(self, moment: Moment) -> list[Alert]:
        """What has begun and may yet come to nothing, as alerts."""
        return [self._pending(watch, series, moment) for watch, series in self.pending.values()]

    def latest(self, fingerprint: str) -> Alert | None:
        """The alert that is alive, or that could be reopened."""
        return self.live.get(fingerprint) or self._resolved.get(fingerprint, (None, 0.0))[0]

    def _begin(self, watch: Watch, series: Series, moment: Moment) -> None:
        fingerprint = series.fingerprint
        alert = self._alert(watch, series, moment)
        reason = Reason("breach", alert.message)
        if before := self._reopenable(fingerprint, moment.at):
            alert = msgspec.structs.replace(
                alert,
                id=before.id,
                timestamp=before.timestamp,
                count=before.count + 1,
                previous_id=before.previous_id,
            )
            self._resolved.pop(fingerprint)
            reason = Reason("reopened", f"it came back: {alert.message}")
        self.live[fingerprint], self._last[fingerprint] = alert, alert.id
        self.suppressions.began(alert)
        if cause := self.suppressions.reason(alert, moment):
            self._suppress(alert, cause, moment)
        else:
            self._fire(alert, reason, moment)

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
        self.live[alert.fingerprint] = self.changed[alert.id] = alert
        self._weigh(alert, moment)

    def _weigh(self, alert: Alert, moment: Moment) -> None:
        """Suppress an alert that nobody has taken on, or let it fire."""
        if alert.status == "acknowledged":
            return
        cause = self.suppressions.reason(alert, moment)
        if cause != alert.suppressed_by:
            if cause:
                self._suppress(alert, cause, moment)
            elif alert.told:
                over = Reason("unsuppressed", "nothing suppresses it any more, and it still fires")
                alert = self._step(
                    "unsuppressed", alert, moment, over, is_told=False, status="active", suppressed_by=None
                )
                self._step("repeated", alert, moment, over)
            else:
                self._fire(alert, Reason("unsuppressed", f"nothing suppresses it any more: {alert.message}"), moment)

    def _suppress(self, alert: Alert, cause: Suppressed, moment: Moment) -> None:
        self._step(
            "suppressed",
            alert,
            moment,
            self.suppressions.why(cause),
            is_told=alert.suppressed_by is None,  # Another cause is for the log.
            status="suppressed",
            suppressed_by=cause,
        )

    def _fire(self, alert: Alert, reason: Reason, moment: Moment) -> None:
        self.suppressions.fired(moment)
        self._step("firing", alert, moment, reason, status="active", told=True, suppressed_by=None, fired_at=moment.ms)

    def _end(self, alert: Alert, resolution: Resolution, reason: Reason, moment: Moment) -> Alert:
        ended = self._step(
            "resolved", alert, moment, reason, is_told=alert.told, status="resolved", resolution=resolution
        )
        del self.live[alert.fingerprint]
        self.suppressions.ended(alert)
        self._resolved[alert.fingerprint] = (ended, moment.at)
        return ended

    def _step(
        self, kind: Kind, alert: Alert, moment: Moment, reason: Reason, *, is_told: bool = True, **fields: Any
    ) -> Alert:
        """Change an alert, and write down that it was changed, and why."""
        was: Status | None = None if alert.status == "pending" else alert.status
        alert = msgspec.structs.replace(alert, reason=reason, updated_at=moment.ms, **fields)
        self.live[alert.fingerprint] = self.changed[alert.id] = alert
        self.transitions.append(Transition(kind, moment.wall, alert, reason, was, is_told))
        return alert

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


def _by_hand(deed: Deed) -> Reason:
    return Reason("by_hand", f"{deed.operator}: {deed.notes}" if deed.notes else f"{deed.operator} said so")
