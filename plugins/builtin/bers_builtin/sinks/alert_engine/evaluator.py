"""What follows from events and from time going on, by the rules: all in memory, to be written down by the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite

from anyio.lowlevel import cancel_shielded_checkpoint

from bers import Clock, Event, Labels, Metric, Stamp, format_duration
from bers_builtin.sinks.alert_engine.alerts import Alert, Moment, Transition
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.evaluations import CROWD
from bers_builtin.sinks.alert_engine.ledger import Changes, Clockwork, Memory
from bers_builtin.sinks.alert_engine.register import Register
from bers_builtin.sinks.alert_engine.watches import SavedSeries, Series, Verdict, Watch, Watches

SLICE = 100
"""How many events are judged, or windows looked at, before others have their turn; about a millisecond."""


class Evaluator:
    """Rules, what they remember, and the alerts that follow.

    Time that is waited for is measured by a clock of its own: it goes on through restarts, and never steps.
    """

    def __init__(self, config: AlertConfig, metrics: Mapping[str, Metric], clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self.watches = Watches(config, metrics)
        self.register = Register(config)
        self.stale = 0
        """How many events were too old to matter, since the start."""
        self._base = self._zero = self._latest = 0.0
        self._due: float | None = None
        """When the next value leaves a window, on the evaluator's clock."""
        self._touched: dict[tuple[str, Labels], tuple[Watch, Series]] = {}
        self._forgotten: set[tuple[str, Labels]] = set()
        self._step: Transition | None = None
        """The last step that an evaluation was kept for."""
        self._crowded = False
        """Whether so many events come together that not every evaluation can be kept."""

    @property
    def moment(self) -> Moment:
        return Moment(self._base + self._clock.monotonic() - self._zero, self._clock.time())

    @property
    def has_news(self) -> bool:
        """Whether there is anything to be written down besides a position."""
        return bool(self._touched or self._forgotten or self.register.has_news)

    def restore(self, memory: Memory) -> None:
        """Go on from what was written down, and from nothing else."""
        wall = self._clock.settled()
        # Killed before anything was written down: what is read again has arrived before our own clock began.
        saved = memory.clock or Clockwork(wall=wall, latest=-self._config.max_age)
        self._zero = self._clock.monotonic()
        # Time went on while we were away.
        self._base = saved.now + (saved.moment.age(self._clock) if saved.moment else max(0.0, wall - saved.wall))
        self._latest = saved.latest
        self.register = Register(self._config)
        self._touched, self._forgotten, self._due = {}, set(), None
        moment = self.moment
        resolved = [
            (alert, moment.at - max(0.0, wall - alert.resolution.timestamp / 1000))
            for alert in memory.resolved
            if alert.resolution
        ]
        self.register.restore(memory.live, resolved, memory.last, saved.firings, memory.courses, moment)
        self._restore_series(memory.series, moment)

    async def read(self, events: Sequence[Event]) -> None:
        """Read events in their order; nobody may cancel it, because half of them have no position."""
        first = self._read(events)
        while first < len(events):
            await cancel_shielded_checkpoint()
            first += self._read(events[first:])

    def measure(self, watch: Watch, event: Event, value: float) -> None:
        """Let one rule alone read a value, where what is recorded says something else to each of them."""
        moment = self.moment
        at = self._arrival(event, moment, self._clock.settled())
        if at is not None and isfinite(value) and watch.wants(event):
            self._follow(watch, event, value, watch.measured(event, value, at), at, moment)

    @property
    def due(self) -> float | None:
        """When time alone changes something next, on our own clock; nothing where it never does."""
        return min((due for due in (self._due, self.register.due) if due is not None), default=None)

    @property
    def idle(self) -> float | None:
        """For how many seconds nothing can change by time alone; nothing where it never can."""
        if (due := self.due) is None:
            return None
        wait = max(0.001, due - self.moment.at)
        # What arrives while we wait leaves its window later than the shortest of them takes.
        return min([wait, *(watch.rule.window or 0.0 for watch in self.watches.windowed)])

    async def look_again(self) -> None:
        """Look at every window that something has left, and at every alert that waits, because time went on."""
        moment, self._due = self.moment, None
        self.register.pass_time(moment)
        for watch in self.watches.windowed:
            for number, series in enumerate(list(watch.series.values()), 1):
                if number % SLICE == 0:
                    await cancel_shielded_checkpoint()
                due = series.panes.due if series.panes else None
                if due is not None and due <= moment.at:
                    since = series.since
                    verdict = watch.passing(series, moment.at)
                    self.register.judge(watch, verdict, moment)
                    watch.evaluations.note(watch, None, None, verdict, moment, self.register)
                    if series.is_idle or series.since != since:
                        self._touch(watch, series)
                self._wait_for(series)

    def forget(self, alert: Alert) -> None:
        """Forget what led to an alert: it takes new evidence to begin again."""
        watch = self.watches.by_id[alert.rule_id]
        if series := watch.series.get(_labels(alert)):
            watch.forget(series)
            self._touch(watch, series)

    def changes(self) -> Changes:
        """What is to be written down."""
        moment, register = self.moment, self.register
        return Changes(
            Clockwork(moment.at, moment.wall, self._latest, list(register.suppressions.firings), Stamp.of(self._clock)),
            [(digest, series.save()) for (digest, _), (_, series) in self._touched.items() if not series.is_idle],
            [*self._forgotten, *(key for key, (_, series) in self._touched.items() if series.is_idle)],
            list(register.changed.values()),
            register.transitions,
            register.audit,
            [(name, register.timers.courses.get(name)) for name in register.timers.changed],
        )

    def written(self) -> None:
        """Say that what was to be written down is."""
        for watch, series in self._touched.values():
            if series.is_idle:
                watch.series.pop(series.labels, None)
        self._touched, self._forgotten = {}, set()
        self.register.written()

    def explain(self, event: Event) -> Iterator[str]:
        """What every rule that reads the event makes of it, and the alerts that followed; nothing is changed."""
        measured = [(watch, name) for name in event.measures for watch in self.watches.by_metric.get(name, ())]
        reading = [*((watch, "") for watch in self.watches.by_type.get(event.type, ())), *measured]
        if not reading:
            yield "No rule reads events of its type, or anything that it measures."
        elif event.received - event.time > self._config.max_age:
            late = format_duration(self._config.max_age)
            yield f"It came more than {late} late, and neither fires nor ends an alert."
        else:
            for watch, metric in reading:
                yield " ".join([watch.explain(event, metric), *self._alert_of(watch, event)])

    def _alert_of(self, watch: Watch, event: Event) -> Iterator[str]:
        alert = self.register.latest(watch.fingerprint(event)) if watch.wants(event) else None
        if alert:
            brought = alert.metadata["event"] == event.id and alert.metadata["source"] == event.source
            yield f"Alert {alert.id} is {alert.status}{'; this event brought it last' if brought else ''}."

    def _read(self, events: Sequence[Event]) -> int:
        """Read until enough were judged; return how many were read."""
        by_type, by_metric = self.watches.by_type, self.watches.by_metric
        moment, judged, settled = self.moment, 0, self._clock.settled()
        self._crowded = len(events) > CROWD
        for number, event in enumerate(events, 1):
            if watches := by_type.get(event.type):
                judged += 1
                at = self._arrival(event, moment, settled)
                for watch in watches:
                    if watch.wants(event):
                        if at is None:
                            watch.evaluations.note_late(watch, event, moment, crowded=self._crowded)
                        else:
                            self._follow(watch, event, None, watch.happened(event, at), at, moment)
            for name in event.measures:
                if watches := by_metric.get(name):
                    judged += 1
                    value, at = event.measures[name], self._arrival(event, moment, settled)
                    for watch in watches:
                        if isfinite(value) and watch.wants(event):
                            if at is None:
                                watch.evaluations.note_late(watch, event, moment, crowded=self._crowded)
                            else:
                                self._follow(watch, event, value, watch.measured(event, value, at), at, moment)
            if judged >= SLICE:
                return number
        return len(events)

    def _follow(
        self, watch: Watch, event: Event, value: float | None, verdict: Verdict | None, at: float, moment: Moment
    ) -> None:
        watch.evaluated = wall = moment.wall
        recent = watch.evaluations
        if verdict is not None:
            register, moment = self.register, Moment(at, wall)
            register.judge(watch, verdict, moment)
            self._touch(watch, verdict.series)
            steps = register.transitions
            is_step = bool(steps) and steps[-1] is not self._step
            if is_step or wall >= (recent.again_breaching if verdict.breaching else recent.again):
                self._step = steps[-1] if steps else None
                recent.note(watch, event, value, verdict, moment, register, crowded=self._crowded)
        elif wall >= recent.again:
            recent.note(watch, event, value, None, moment, self.register, crowded=self._crowded)

    def _touch(self, watch: Watch, series: Series) -> None:
        self._touched[watch.digest, series.labels] = (watch, series)
        self._wait_for(series)

    def _wait_for(self, series: Series) -> None:
        due = series.panes.due if series.panes else None
        if due is not None and (self._due is None or due < self._due):
            self._due = due

    def _arrival(self, event: Event, moment: Moment, settled: float) -> float | None:
        """When the intake took an event, on our own clock; nothing if what it tells is too old to matter.

        A clock that was just set forward makes nothing old.
        """
        if settled - event.time > self._config.max_age:
            self.stale += 1
            return None
        late = moment.wall - event.received if event.received else 0.0
        # The wall clock may have been set meanwhile: no event arrives before one that was read already.
        self._latest = min(moment.at, max(self._latest, moment.at - max(0.0, late)))
        return self._latest

    def _restore_series(self, saved: Iterable[tuple[str, SavedSeries]], moment: Moment) -> None:
        watches = {watch.digest: watch for watch in self.watches.by_id.values()}
        for watch in watches.values():
            watch.series.clear()
        for digest, series in saved:
            if digest in watches:
                watches[digest].restore(series)
            else:
                self._forgotten.add((digest, series.labels))
        for alert in list(self.register.live.values()):
            owner = self.watches.by_id.get(alert.rule_id)
            course = self.register.timers.courses[alert.fingerprint]
            if owner is None:
                self.register.abandon(alert, "its rule was removed", moment)
                continue
            labels = [name for name in owner.group if name in alert.labels]
            if course.digest not in ("", owner.digest) or [*alert.labels] != labels:
                # That it fires would mean something else now.
                self.register.abandon(alert, "its rule was changed", moment)
                continue
            course.digest = owner.digest
            known = owner.open(_labels(alert))
            if known.since is None and course.good_since is None:  # Nothing is known of it but that it fires.
                known.since, known.id, known.value = moment.at, alert.id, alert.value
        for watch in watches.values():
            for known in watch.series.values():
                self._wait_for(known)
                if known.since is not None and known.fingerprint not in self.register.live:
                    self.register.pending[known.fingerprint] = (watch, known)


def _labels(alert: Alert) -> Labels:
    return tuple(alert.labels.items())
