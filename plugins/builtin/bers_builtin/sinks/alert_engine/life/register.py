"""What becomes of alerts: here is decided which of them begins, goes on, ends, flaps, or goes to the next contact."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterable, Mapping
from typing import NamedTuple
from uuid import uuid4

import msgspec

from bers import format_duration
from bers_builtin.sinks.alert_engine.alerts import (
    EPSILON,
    MOST_REMEMBERED,
    Acknowledgment,
    Alert,
    Audit,
    Escalation,
    Moment,
    Reason,
    Resolution,
    Transition,
)
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.life.drafting import draft, pending
from bers_builtin.sinks.alert_engine.life.steps import Steps
from bers_builtin.sinks.alert_engine.life.timers import MOST_FORGOTTEN, Course
from bers_builtin.sinks.alert_engine.slices import at_once
from bers_builtin.sinks.alert_engine.watches import Series, Verdict, Watch


class Deed(NamedTuple):
    """Who did something to an alert by hand, and why."""

    operator: str
    principal: str
    notes: str
    address: str


class Register(Steps):
    """Which steps follow from what rules conclude, from time going on, and from what people say.

    * One fingerprint has one living alert at most. What comes back within the deduplication window reopens it: the
      same id, active again, acknowledged no more. Later it is a new alert, that names the one before.
    * What comes and goes too often flaps: it is held as firing, acknowledged or not, until it is steady.
    * What is suppressed is seen over REST and told to nobody. It fires once nothing suppresses it any more, if it is
      still bad; and where nobody was told that it fired, nobody is told that it is resolved.
    """

    def __init__(self, config: AlertConfig) -> None:
        super().__init__(config)
        self.pending: dict[str, tuple[Watch, Series]] = {}
        self._last: OrderedDict[str, str] = OrderedDict()
        """The id of the last alert of each fingerprint, those that fired last at the end."""

    def restoring(
        self,
        live: Iterable[Alert],
        resolved: Iterable[tuple[Alert, float]],
        last: Mapping[str, str],
        firings: Iterable[float],
        courses: Iterable[tuple[str, Course]],
        moment: Moment,
    ) -> Generator[None, None, None]:
        """Take up what was written down, alert by alert."""
        for alert in live:
            self.live[alert.fingerprint] = alert
            yield
        for alert, at in resolved:
            self._resolved.pop(alert.fingerprint, None)
            self._resolved[alert.fingerprint] = (alert, at)
            yield
        for fingerprint, id in last.items():
            self._last[fingerprint] = id
            yield
        self.suppressions.firings.extend(firings)
        yield from self.timers.restoring(courses, self.live, moment.at)

    @property
    def due(self) -> float | None:
        """When time alone changes an alert next, on the engine's clock; nothing where it never does."""
        dues = [due for due in (self.suppressions.due, self.timers.due) if due is not None]
        return min(dues, default=None)

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
                self._recover(alert, watch.why_good(series), moment)
        elif alert:
            if series.since is None:
                series.since, series.id = moment.at, alert.id
            self._go_on(alert, watch, series, moment)
        else:
            if series.since is None:
                series.since, series.id = moment.at, uuid4().hex
            if watch.holds(series, moment.at):
                self.pending.pop(series.fingerprint, None)
                self._begin(watch, series, moment)
            else:
                self.pending[series.fingerprint] = (watch, series)

    def passing(self, moment: Moment) -> Generator[None, None, None]:
        """Let happen what only waited for its time, alert by alert."""
        now = moment.at + EPSILON
        for fingerprint in self.timers.ripe(now):
            if alert := self.live.get(fingerprint):
                self._wake(alert, now, moment)
            yield
        if self.suppressions.pass_time(moment):
            yield from self.reconsidering(moment)

    def reconsidering(self, moment: Moment) -> Generator[None, None, None]:
        """Ask of one alert after the other again whether it is suppressed, because what suppresses has changed."""
        for alert in list(self.live.values()):
            self._weigh(alert, moment, evident=False)
            yield

    def reconsider(self, moment: Moment) -> None:
        """Ask it of all of them."""
        at_once(self.reconsidering(moment))

    def acknowledge(self, alert: Alert, deed: Deed, moment: Moment, lasting: float | None = None) -> Alert:
        """Note that somebody takes a living alert on, for so many seconds, or until it is resolved."""
        self.audit.append(Audit(moment.ms, alert.id, "acknowledge", *deed))
        lasting = self._config.acknowledgement.expires_after if lasting is None else lasting
        expires = None if lasting is None else moment.ms + int(lasting * 1000)
        taken = Acknowledgment(deed.operator, deed.notes, moment.ms, deed.address, expires)
        self.timers.courses[alert.fingerprint].expires = None if lasting is None else moment.at + lasting
        return self._step(
            "acknowledged",
            alert,
            moment,
            _by_hand(deed),
            is_told=alert.told,  # Whoever was not told that it fires is not told that somebody looks after it.
            status="acknowledged",
            acknowledgment=taken,
            suppressed_by=None,
        )

    def unacknowledge(self, alert: Alert, deed: Deed, moment: Moment) -> Alert:
        """Note that nobody looks after an alert any more."""
        self.audit.append(Audit(moment.ms, alert.id, "unacknowledge", *deed))
        return self._release(alert, _by_hand(deed), moment)

    def resolve(self, alert: Alert, deed: Deed, moment: Moment) -> Alert:
        """End a living alert by hand; evidence that comes later may reopen it."""
        self.audit.append(Audit(moment.ms, alert.id, "resolve", *deed))
        return self._end(alert, Resolution(deed.operator, deed.notes, moment.ms, "manual"), _by_hand(deed), moment)

    def abandon(self, alert: Alert, notes: str, moment: Moment) -> None:
        """End an alert whose rule is no more what it was."""
        self._end(alert, Resolution(None, notes, moment.ms, "rule_changed"), Reason("rule_changed", notes), moment)

    def pending_alerts(self, moment: Moment) -> list[Alert]:
        """What has begun and may yet come to nothing, as alerts."""
        return [self.pending_alert(watch, series, moment) for watch, series in self.pending.values()]

    def pending_alert(self, watch: Watch, series: Series, moment: Moment) -> Alert:
        """One of them."""
        return pending(watch, series, moment, self._last.get(series.fingerprint))

    def latest(self, fingerprint: str) -> Alert | None:
        """The alert that is alive, or that could be reopened."""
        return self.live.get(fingerprint) or self._resolved.get(fingerprint, (None, 0.0))[0]

    def _begin(self, watch: Watch, series: Series, moment: Moment) -> None:
        fingerprint = series.fingerprint
        before, last = self._reopenable(fingerprint, moment.at), self._last.get(fingerprint)
        alert = _again(draft(watch, series, moment, last), before)
        reason = Reason(
            "reopened" if before else "breach", f"it came back: {alert.message}" if before else alert.message
        )
        if watch.rule.for_:  # Only what came to something has a log.
            awaited = _again(pending(watch, series, moment, last), before)
            wall, was = awaited.fired_at / 1000, before.status if before else None
            self.transitions.append(Transition("pending", wall, awaited, reason, was, is_told=False))
        self._resolved.pop(fingerprint, None)
        self.timers.begin(fingerprint, watch.digest, incidents=watch.rule.incidents, at=moment.at)
        self.timers.turn(fingerprint, moment.at)
        self._last.pop(fingerprint, None)
        self._last[fingerprint] = alert.id
        if len(self._last) > MOST_REMEMBERED:
            self._last.popitem(last=False)
        self.suppressions.began(alert)
        if cause := self.suppressions.reason(alert, moment):
            self._suppress(alert, cause, moment)
        else:
            self._fire(alert, reason, moment)

    def _go_on(self, alert: Alert, watch: Watch, series: Series, moment: Moment) -> None:
        seen = draft(watch, series, moment, alert.previous_id, annotated=False)
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
        course = self.timers.courses[alert.fingerprint]
        if alert.flapping and course.bad_since is None:
            course.good_since, course.bad_since = None, moment.at
            self.timers.follow(alert, moment.now)
        self._weigh(alert, moment)

    def _recover(self, alert: Alert, why: str, moment: Moment) -> None:
        """End an alert because its rule takes it for good, or hold it if it comes and goes too often."""
        fingerprint, config = alert.fingerprint, self._config.flapping
        course = self.timers.courses[fingerprint]
        if alert.flapping:
            if course.good_since is None:
                course.good_since, course.bad_since = moment.at, None
                self.timers.follow(alert, moment.now)
        elif self.timers.flaps(fingerprint, moment.at):
            course.good_since, course.bad_since = moment.at, None
            often = f"it came and went {config.transitions} times within {format_duration(config.window)}"
            steady = f"until it is steady for {format_duration(config.steady)} it counts as firing"
            is_told = alert.told and alert.status != "suppressed"
            self._step(
                "flapping", alert, moment, Reason("flapping", f"{often}; {steady}"), is_told=is_told, flapping=True
            )
        else:
            self.timers.turn(fingerprint, moment.at)
            self._end(
                alert,
                Resolution(None, "", moment.ms, "recovered"),
                Reason("recovered", why),
                moment,
            )

    def _wake(self, alert: Alert, now: float, moment: Moment) -> None:
        """Let happen what is due for one alert."""
        timers, course = self.timers, self.timers.courses[alert.fingerprint]
        if course.expires is not None and course.expires <= now:
            by = alert.acknowledgment.operator if alert.acknowledgment else ""
            alert = self._release(alert, Reason("expired", f"the acknowledgement by {by} has expired"), moment)
        if (steady_at := timers.steady_at(alert)) is not None and steady_at <= now:
            alert = self._calm(alert, moment)
            if alert.resolution:
                return
        while (step := timers.next_step(alert)) and step[1] <= now:
            course.step += 1
            contact, after = step[0].contact, format_duration(step[0].after)
            why = Reason("unanswered", f"nobody has acknowledged it for {after}; {contact} is told")
            alert = self._step("escalated", alert, moment, why, escalation=Escalation(course.step, contact))
        if (repeats_at := timers.repeats_at(alert)) is not None and repeats_at <= now:
            course.fired = moment.now
            alert = self._step(
                "repeated",
                alert,
                moment,
                Reason("repeated", f"it still fires, and nobody has acknowledged it: {alert.message}"),
            )
        timers.plan(alert)

    def _calm(self, alert: Alert, moment: Moment) -> Alert:
        """End the flapping of an alert that is steady: it is resolved, or fires for good."""
        course, steady = self.timers.courses[alert.fingerprint], format_duration(self._config.flapping.steady)
        is_good, course.turns = course.good_since is not None, []
        course.good_since = course.bad_since = None
        alert = msgspec.structs.replace(alert, flapping=False)
        if is_good:
            over = Reason("steady", f"it came and went, and is good for {steady} now")
            return self._end(alert, Resolution(None, "", moment.ms, "recovered"), over, moment)
        course.fired = moment.now
        over = Reason("steady", f"it came and went, and fires without a break for {steady} now")
        return self._step("repeated", alert, moment, over, is_told=alert.told and alert.status == "active")

    def _reopenable(self, fingerprint: str, at: float) -> Alert | None:
        for _ in range(MOST_FORGOTTEN):  # What is too old to be reopened goes, oldest first.
            oldest = next(iter(self._resolved), None)
            if oldest is None or self._is_same(self._resolved[oldest][1], at):
                break
            del self._resolved[oldest]
        alert, ended = self._resolved.get(fingerprint, (None, 0.0))
        return alert if self._is_same(ended, at) else None

    def _is_same(self, ended: float, at: float) -> bool:
        """Whether what comes back is the alert that ended then."""
        dedup = self._config.deduplication
        return dedup.enabled and ended >= at - dedup.window


def _again(alert: Alert, before: Alert | None) -> Alert:
    """An alert that may be one before, which came back."""
    if before is None:
        return alert
    return msgspec.structs.replace(
        alert, id=before.id, timestamp=before.timestamp, count=before.count + 1, previous_id=before.previous_id
    )


def _by_hand(deed: Deed) -> Reason:
    return Reason("by_hand", f"{deed.operator}: {deed.notes}" if deed.notes else f"{deed.operator} said so")
