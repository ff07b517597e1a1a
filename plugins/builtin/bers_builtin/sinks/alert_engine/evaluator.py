"""What follows from events and from time going on, by the rules: all in memory, to be written down by the engine."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from math import inf, isfinite

from anyio.lowlevel import cancel_shielded_checkpoint

from bers import Clock, Event, Labels, Metric, Stamp, format_duration
from bers_builtin.sinks.alert_engine.alerts import Alert, Moment, Transition
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.life.register import Register
from bers_builtin.sinks.alert_engine.life.timers import Course
from bers_builtin.sinks.alert_engine.slices import at_once, in_slices, letting_go
from bers_builtin.sinks.alert_engine.watches import SavedSeries, Series, Verdict, Watch, Watches, saving
from bers_builtin.sinks.alert_engine.watches.evaluations import CROWD
from bers_builtin.sinks.alert_engine.watches.hearing import Hearing
from bers_builtin.sinks.alert_engine.written.ledger import Changes, Clockwork, Memory

SLICE = 100
"""How many events are judged, or series looked at, before others have their turn; about a millisecond."""


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
        self._queue: list[tuple[float, str, Labels, int, Watch, Series]] = []
        """What has to be looked at though nothing came, by when, on the evaluator's clock. A series may be in it more
        than once: what counts is what it was queued for last. What falls into one moment comes by name, so that a kill,
        after which it is queued in another order, changes nothing."""
        self._order = count()
        self._hearing = Hearing(self.watches.by_id.values())
        self._looking = -inf
        self._touched: dict[tuple[str, Labels], tuple[Watch, Series]] = {}
        self._forgotten: list[tuple[str, Labels]] = []
        """Rows of series of rules that are gone."""
        self._silences: dict[str, Watch] = {}
        """Rules of which some series fell silent, or are heard again, and that was not judged yet."""
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
        return bool(self._touched or self._forgotten or self._hearing.has_news or self.register.has_news)

    def restore(self, memory: Memory) -> None:
        """Go on from what was written down, and from nothing else."""
        at_once(self.restoring(memory))

    def restoring(self, memory: Memory) -> Generator[None, None, None]:
        """The same, piece by piece."""
        wall = self._clock.settled()
        # Killed before anything was written down: what is read again has arrived before our own clock began.
        saved = memory.clock or Clockwork(wall=wall, latest=-self._config.max_age)
        self._zero = self._clock.monotonic()
        # Time went on while we were away.
        away = saved.moment.age(self._clock) if saved.moment else max(0.0, wall - saved.wall)
        self._base = saved.now + away
        self._latest = saved.latest
        self.register = Register(self._config)
        self._touched, self._forgotten = {}, []
        self._queue, self._silences = [], {}
        moment = self.moment
        resolved = (
            (alert, moment.at - max(0.0, wall - alert.resolution.timestamp / 1000))
            for alert in memory.resolved
            if alert.resolution
        )
        yield from self.register.restoring(memory.live, resolved, memory.last, saved.firings, memory.courses, moment)
        yield
        rules = {watch.id: watch.rule for watch in self.watches.by_id.values()}
        yield from self.register.suppressions.resuming(memory.silences, self.register.live.values(), rules, moment)
        self._hearing.restore(saved.resumed, saved.interrupted, moment.at, away)
        yield
        yield from self._restore_series(memory.series, moment)

    async def read(self, events: Sequence[Event]) -> None:
        """Read events in their order; nobody may cancel it, because half of them have no position."""
        self._hearing.notice(self.moment.at)
        await self._pass_time()
        first = self._read(events)
        while first < len(events):
            await cancel_shielded_checkpoint()
            await self._pass_time()
            first += self._read(events[first:])
        self._judge_silences(self.moment)

    def measure(self, watch: Watch, event: Event, value: float) -> None:
        """Let one rule alone read a value, where what is recorded says something else to each of them."""
        moment = self.moment
        at = self._arrival(event, moment, self._clock.settled())
        if at is not None and isfinite(value) and watch.wants(event):
            self._follow(watch, watch.measured(event, value, at), at, moment, event, value)
            self._judge_silences(moment)

    @property
    def due(self) -> float | None:
        """When time alone changes something next, on our own clock; nothing where it never does."""
        dues = (self._queue[0][0] if self._queue else None, self.register.due)
        return min((due for due in dues if due is not None), default=None)

    @property
    def idle(self) -> float | None:
        """For how many seconds nothing can change by time alone; nothing where it never can."""
        moment = self.moment
        self._hearing.notice(moment.at)
        if (due := self.due) is None:
            self._hearing.expected = None
            return None
        wait = max(0.001, due - moment.at)
        self._hearing.expected = moment.at + wait
        return wait

    async def look_again(self) -> None:
        """Look at every series that waits, and at every alert that does, because time went on."""
        moment, queue = self.moment, self._queue
        self._hearing.notice(moment.at)
        await in_slices(self.register.passing(moment))
        self._looking, looked = moment.at, 0
        while queue and queue[0][0] <= moment.at:
            looked += 1
            if looked % SLICE == 0:
                await cancel_shielded_checkpoint()
            due, *_, watch, series = heappop(queue)
            if series.queued != due or watch.series.get(series.labels) is not series:
                continue
            series.queued = None
            due_now = watch.due(series)
            if due_now is not None and due_now <= moment.at:
                self._follow(watch, watch.look(series, moment.at), moment.at, moment)
            self._wait_for(watch, series)
        self._judge_silences(moment)
        self._looking = -inf

    def forget(self, alert: Alert) -> None:
        """Forget what led to an alert: it takes new evidence to begin again."""
        watch = self.watches.by_id[alert.rule_id]
        if series := watch.series.get(watch.find(alert.labels)):
            watch.forget(series, self.moment.at)
            self._touch(watch, series)

    def changes(self) -> Changes:
        """What is to be written down."""
        return at_once(self.gathering())

    def gathering(self) -> Generator[None, None, Changes]:
        """The same, piece by piece."""
        moment, register = self.moment, self.register
        rows: list[tuple[str, SavedSeries]] = []
        forgotten = [*self._forgotten]
        for (key, _), (_, series) in self._touched.items():
            if not series.is_idle:
                rows += [(key, row) for row in saving.rows(series)]
            forgotten += [
                (key, labels) for labels in (saving.everything if series.is_idle else saving.outdated)(series)
            ]
            yield
        courses: list[tuple[str, Course | None]] = []
        for name in register.timers.changed:
            courses.append((name, register.timers.courses.get(name)))
            yield
        return Changes(
            Clockwork(
                moment.at,
                moment.wall,
                self._latest,
                list(register.suppressions.firings),
                Stamp.of(self._clock),
                self._hearing.resumed,
                self._hearing.interrupted,
            ),
            rows,
            forgotten,
            list(register.changed.values()),
            register.transitions,
            register.audit,
            courses,
            register.suppressions.silences,
        )

    def written(self) -> None:
        """Say that what was to be written down is."""
        at_once(self.writing_off())

    def writing_off(self) -> Generator[None, None, None]:
        """The same, piece by piece."""
        touched, self._touched = self._touched, {}
        forgotten, self._forgotten = self._forgotten, []
        self._hearing.has_news = False
        while touched:
            _, (watch, series) = touched.popitem()
            saving.written(series)
            if series.is_idle:
                watch.series.pop(series.labels, None)
            yield
        yield from self.register.writing_off()
        yield from letting_go(forgotten)

    def explain(self, event: Event) -> Iterator[str]:
        """What every rule that reads the event makes of it, and the alerts that followed; nothing is changed."""
        by_metric = self.watches.by_metric
        measured = [(watch, name) for name in event.measures for watch in by_metric.get(name, ())]
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

    async def _pass_time(self) -> None:
        """Let happen what was due before events that are read now: it comes before what they say."""
        moment = self.moment
        if (due := self.register.due) is not None and due <= moment.at:
            await in_slices(self.register.passing(moment))

    def _read(self, events: Sequence[Event]) -> int:
        """Read until enough were judged; return how many were read."""
        by_type, by_metric = self.watches.by_type, self.watches.by_metric
        moment, judged, settled = self.moment, 0, self._clock.settled()
        self._crowded = len(events) > CROWD
        for number, event in enumerate(events, 1):
            if readers := by_type.get(event.type):
                at = self._arrival(event, moment, settled)
                for watch in readers.of(event):
                    judged += 1
                    if watch.wants(event) and (when := self._when(watch, event, at, settled, moment)) is not None:
                        self._follow(watch, watch.happened(event, when), at or moment.at, moment, event)
            for name, value in event.measures.items():
                if (readers := by_metric.get(name)) and isfinite(value):
                    at = self._arrival(event, moment, settled)
                    for watch in readers.of(event):
                        judged += 1
                        if watch.wants(event) and (when := self._when(watch, event, at, settled, moment)) is not None:
                            verdict = watch.measured(event, value, when)
                            self._follow(watch, verdict, at or moment.at, moment, event, value)
            if judged >= SLICE:
                return number
        return len(events)

    def _when(self, watch: Watch, event: Event, at: float | None, settled: float, moment: Moment) -> float | None:
        """When an event counts for a rule: as it arrives; to some as it happened, where it is too old for others."""
        if at is None and (reach := watch.reach) is not None and (age := settled - event.time) < reach:
            at = moment.at - age
        if at is None:
            watch.evaluations.note_late(watch, event, moment, crowded=self._crowded)
        else:
            watch.matched += 1
        return at

    def _follow(
        self,
        watch: Watch,
        verdict: Verdict | None,
        at: float,
        moment: Moment,
        event: Event | None = None,
        value: float | None = None,
    ) -> None:
        watch.evaluated = wall = moment.wall
        recent = watch.evaluations
        if verdict is None:
            if wall >= recent.again:
                recent.note_quiet(watch, event, value, moment, crowded=self._crowded)
            return
        series = verdict.series
        breaching = watch.hold(verdict, at)
        if breaching is not None:
            self.register.judge(watch, Verdict(series, breaching), Moment(at, moment.wall, moment.at - at))
            series.firing = series.fingerprint in self.register.live
            if not (breaching and series.firing):
                series.good = None
        if series.is_changed(watch.tolerance):
            self._touched[watch.key, series.labels] = (watch, series)
        self._wait_for(watch, series)
        steps = self.register.transitions
        is_step = bool(steps) and steps[-1] is not self._step
        if is_step or wall >= (recent.again_breaching if verdict.breaching else recent.again):
            self._step = steps[-1] if steps else None
            crowded = self._crowded and event is not None
            recent.note(watch, verdict, Moment(at, wall), self.register, timed=event is None, crowded=crowded)
        if watch.companion is not None and watch.silence_changed:
            self._silences[watch.id] = watch  # Many fall silent together, and are judged together.

    def _judge_silences(self, moment: Moment) -> None:
        silences, self._silences = self._silences, {}
        for watch in silences.values():
            self._judge_silence(watch, moment)

    def _judge_silence(self, watch: Watch, moment: Moment) -> None:
        watch.silence_changed = False
        assert watch.companion is not None
        self._follow(watch.companion, watch.companion.judge(moment.at), moment.at, moment)

    def _touch(self, watch: Watch, series: Series) -> None:
        self._touched[watch.key, series.labels] = (watch, series)
        self._wait_for(watch, series)

    def _wait_for(self, watch: Watch, series: Series) -> None:
        """Queue a series for when it has to be looked at next. Where that is later than it is queued for, nothing has
        to be done: it is looked up then.
        """
        due = watch.due(series)
        if due is not None and (series.queued is None or due < series.queued):
            series.queued = max(due, self._looking + 0.001)  # What a look did not change waits for the next.
            heappush(self._queue, (series.queued, watch.key, series.labels, next(self._order), watch, series))

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

    def _restore_series(self, saved: Sequence[tuple[str, SavedSeries]], moment: Moment) -> Generator[None, None, None]:
        watches = {watch.key: watch for watch in self.watches.by_id.values()}
        for watch in watches.values():
            watch.series.clear()
        # Of an older version, whose rows do not say which of the rules that look at the same they belong to.
        older = {watch.digest: watch for watch in reversed(watches.values())}

        def take(key: str, series: SavedSeries, parts: saving.Parts) -> None:
            if key in watches:
                watches[key].restore(series, parts)
            elif key in older:
                self._touch(older[key], saving.unwritten(older[key].restore(series, parts)))

        yield from saving.joining(saved, take)
        for key, row in saved:
            if key not in watches:
                self._forgotten.append((key, row.labels))
            yield
        for alert in list(self.register.live.values()):
            yield
            owner = self.watches.by_id.get(alert.rule_id)
            course = self.register.timers.courses[alert.fingerprint]
            if owner is None:
                self.register.abandon(alert, "its rule was removed", moment)
                continue
            labels = owner.find(alert.labels)
            if course.digest not in ("", owner.digest) or owner.fingerprint_of(labels) != alert.fingerprint:
                # That it fires would mean something else now.
                self.register.abandon(alert, "its rule was changed", moment)
                continue
            course.digest = owner.digest
            known = owner.open(labels)
            known.firing = True
            if known.since is None and course.good_since is None:  # Nothing is known of it but that it fires.
                known.since, known.id, known.value = moment.at, alert.id, alert.value
        for watch in watches.values():
            if began := watch.began(moment.at):
                self._touch(watch, began)
            for known in watch.series.values():
                yield
                self._wait_for(watch, known)
                if known.since is not None and not known.firing:
                    self.register.pending[known.fingerprint] = (watch, known)
            if watch.companion is not None and watch.companion.series:
                self._judge_silence(watch, moment)
