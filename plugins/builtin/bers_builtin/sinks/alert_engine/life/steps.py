"""Single steps in the life of alerts: what each of them changes, and what has to be written down and told then."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator
from typing import Any, Literal

import msgspec

from bers_builtin.sinks.alert_engine.alerts import (
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
from bers_builtin.sinks.alert_engine.life.timers import Timers
from bers_builtin.sinks.alert_engine.slices import letting_go
from bers_builtin.sinks.alert_engine.suppression.suppressions import Suppressions


class Steps:
    """The alerts that are alive, and what has happened to them since it was written down last."""

    def __init__(self, config: AlertConfig) -> None:
        self._config = config
        self.suppressions = Suppressions(config.rate_limiting, config.maintenance)
        self.timers = Timers(config)
        self.live: dict[str, Alert] = {}
        """Active, acknowledged and suppressed alerts, by fingerprint."""
        self._resolved: OrderedDict[str, tuple[Alert, float]] = OrderedDict()
        """What can be reopened, by fingerprint, with the time of its end; oldest first."""
        self.changed: dict[str, Alert] = {}
        self.transitions: list[Transition] = []
        self.audit: list[Audit] = []

    @property
    def has_news(self) -> bool:
        """Whether there is anything to be written down."""
        return bool(self.changed or self.audit or self.timers.changed or self.suppressions.has_news)

    def writing_off(self) -> Generator[None, None, None]:
        """Say that what was to be written down is, step by step: after a storm it takes a while to let go of all."""
        steps = self.transitions
        self.changed, self.transitions, self.audit = {}, [], []
        self.timers.changed = set()
        self.suppressions.written()
        yield from letting_go(steps)

    def _weigh(self, alert: Alert, moment: Moment, *, evident: bool = True) -> None:
        """Suppress an alert that nobody has taken on, or let it fire; ``evident`` says that it was seen to be bad."""
        if alert.status == "acknowledged":
            return
        if cause := self.suppressions.reason(alert, moment, evident=evident):
            if cause != alert.suppressed_by:
                self._suppress(alert, cause, moment)
        elif not alert.told:
            word = "unsuppressed" if alert.suppressed_by else "unanswered"
            self._fire(alert, Reason(word, f"nothing suppresses it any more: {alert.message}"), moment)
        elif alert.suppressed_by:
            over = Reason("unsuppressed", "nothing suppresses it any more, and it still fires")
            self.timers.courses[alert.fingerprint].fired = moment.now
            alert = self._step("unsuppressed", alert, moment, over, is_told=False, status="active", suppressed_by=None)
            self._step("repeated", alert, moment, over)

    def _release(self, alert: Alert, reason: Reason, moment: Moment) -> Alert:
        """Take an acknowledgement back: the alert is active again, or whatever suppresses it applies."""
        course = self.timers.courses[alert.fingerprint]
        course.expires, course.fired = None, moment.now
        is_told = alert.told and self.suppressions.reason(alert, moment) is None
        alert = self._step(
            "unacknowledged", alert, moment, reason, is_told=is_told, status="active", acknowledgment=None
        )
        self._weigh(alert, moment)
        return self.live[alert.fingerprint]

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
        course = self.timers.courses[alert.fingerprint]
        course.fired = moment.now
        begins, course.incident = course.incidents and not course.incident, course.incident or course.incidents
        self._step(
            "firing",
            alert,
            moment,
            reason,
            incident="detected" if begins else None,
            status="active",
            told=True,
            suppressed_by=None,
            escalation=None,
            fired_at=moment.ms,
        )

    def _end(self, alert: Alert, resolution: Resolution, reason: Reason, moment: Moment) -> Alert:
        course = self.timers.courses[alert.fingerprint]
        ended = self._step(
            "resolved",
            alert,
            moment,
            reason,
            is_told=alert.told,
            incident="resolved" if course.incident else None,
            status="resolved",
            resolution=resolution,
            flapping=False,
        )
        if resolution.reason != "recovered":  # Who ended it did not see it go.
            course.turns = []
        course.expires, course.incident, course.good_since, course.bad_since = None, False, None, None
        del self.live[alert.fingerprint]
        self.suppressions.ended(alert)
        self.timers.end(alert.fingerprint, moment.at)
        self._resolved[alert.fingerprint] = (ended, moment.at)
        return ended

    def _step(
        self,
        kind: Kind,
        alert: Alert,
        moment: Moment,
        reason: Reason,
        *,
        is_told: bool = True,
        incident: Literal["detected", "resolved"] | None = None,
        **fields: Any,
    ) -> Alert:
        """Change an alert, and write down that it was changed, and why."""
        was = self._status_before(alert)
        alert = msgspec.structs.replace(alert, reason=reason, updated_at=moment.ms, **fields)
        self.live[alert.fingerprint] = self.changed[alert.id] = alert
        self.transitions.append(Transition(kind, moment.wall, alert, reason, was, is_told, incident))
        self.timers.follow(alert, moment.now)
        return alert

    def _status_before(self, alert: Alert) -> Status | None:
        if known := self.live.get(alert.fingerprint):
            return known.status
        if self.transitions and self.transitions[-1].alert.id == alert.id:
            return self.transitions[-1].alert.status
        return "resolved" if alert.count > 1 else None
