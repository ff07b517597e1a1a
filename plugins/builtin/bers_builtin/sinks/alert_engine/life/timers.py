"""What living alerts wait for: an acknowledgement that ends, the next step of escalation, calm after flapping."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush

import msgspec

from bers_builtin.sinks.alert_engine.alerts import EPSILON, Alert
from bers_builtin.sinks.alert_engine.config import AlertConfig, EscalationStep
from bers_builtin.sinks.alert_engine.rules import Severity

_LEFT_OVER = 1_000  # Entries of alerts that need them no longer.

MOST_FORGOTTEN = 100
"""How many fingerprints that were alive long ago are forgotten at a time: after a storm there are thousands."""


class Course(msgspec.Struct, array_like=True):
    """How one fingerprint fares, beside its alert. Times are seconds on the engine's clock, so a restart stops none."""

    digest: str = ""
    """Of the rule that it fired by."""
    fired: float = 0.0
    """When it was told last that it fires."""
    open_since: float | None = None
    """Since when it fires and nobody has taken it on; nothing while it waits for nobody."""
    waited: float = 0.0
    """For how long it had waited for somebody before that."""
    step: int = 0
    """How many steps of its escalation were taken."""
    expires: float | None = None
    """When its acknowledgement ends."""
    turns: list[float] = []
    """When it came and went lately."""
    good_since: float | None = None
    """While it flaps: since when it is good, or else bad."""
    bad_since: float | None = None
    incidents: bool = False
    """Whether its rule makes incidents of its alerts."""
    incident: bool = False
    """Whether an incident was told that is not over."""


class Timers:
    """The courses of all alerts that are alive, or were lately, and whose time comes next."""

    def __init__(self, config: AlertConfig) -> None:
        self._config = config
        self._steps: dict[Severity, Sequence[EscalationStep]] = {}
        self.courses: dict[str, Course] = {}
        self.changed: set[str] = set()
        """Fingerprints whose courses are to be written down, or to be forgotten where there is none any more."""
        self._heap: list[tuple[float, str]] = []
        self._set: dict[str, float] = {}
        """The earliest entry of each fingerprint; others are left over."""
        self._resting: OrderedDict[str, float] = OrderedDict()
        """When fingerprints without an alert had one last, the oldest first."""

    @property
    def due(self) -> float | None:
        """When the first of them may have something to do."""
        return self._heap[0][0] if self._heap else None

    def restoring(
        self, courses: Iterable[tuple[str, Course]], living: Mapping[str, Alert], at: float
    ) -> Generator[None, None, None]:
        """Take up what was written down, alert by alert; those that live come by their fingerprints."""
        self.courses = {}
        for name, course in courses:
            self.courses[name] = course
            yield
        for name, alert in living.items():
            if name in self.courses:
                self.plan(alert)
            else:  # It was written down before there were courses.
                self.courses[name] = Course(fired=at)
                self.follow(alert, at)
            yield
        resting: list[tuple[float, str]] = []
        for name, course in self.courses.items():
            if name not in living:
                heappush(resting, (course.turns[-1] if course.turns else at, name))
            yield
        self._resting = OrderedDict()
        while resting:  # Not sorted at once, which takes as long as there are many.
            last, name = heappop(resting)
            self._resting[name] = last
            yield

    def begin(self, fingerprint: str, digest: str, *, incidents: bool, at: float) -> Course:
        """Follow a new occurrence; what is known of those before stays."""
        self._forget(at)
        self._resting.pop(fingerprint, None)
        turns = self.courses[fingerprint].turns if fingerprint in self.courses else []
        course = Course(digest=digest, incidents=incidents, turns=turns)
        self.courses[fingerprint] = course
        return course

    def end(self, fingerprint: str, at: float) -> None:
        """Follow no longer; how it came and went is remembered for a while."""
        self._set.pop(fingerprint, None)
        self._resting[fingerprint] = at
        self.changed.add(fingerprint)
        self._forget(at)

    def follow(self, alert: Alert, at: float) -> None:
        """Note that an alert changed: it waits for somebody exactly while it is active and told."""
        course = self.courses[alert.fingerprint]
        waits = alert.status == "active" and alert.told
        if waits and course.open_since is None:
            course.open_since = at
        elif not waits and course.open_since is not None:
            course.waited += at - course.open_since
            course.open_since = None
        self.changed.add(alert.fingerprint)
        self.plan(alert)

    def plan(self, alert: Alert) -> None:
        """Wake when something is due for an alert."""
        name = alert.fingerprint
        due = min(self._dues(alert), default=None)
        if due is not None and due < self._set.get(name, due + 1):
            self._set[name] = due
            heappush(self._heap, (due, name))
            if len(self._heap) > _LEFT_OVER + 2 * len(self._set):  # Alerts that come and go leave more than they use.
                self._heap = sorted((due, name) for name, due in self._set.items())

    def ripe(self, at: float) -> Iterator[str]:
        """Fingerprints that may have something to do by now; they are to be planned anew."""
        while self._heap and self._heap[0][0] <= at:
            due, name = heappop(self._heap)
            if self._set.get(name) == due:
                del self._set[name]
                yield name

    def next_step(self, alert: Alert) -> tuple[EscalationStep, float] | None:
        """The step of escalation that comes next, and when."""
        course = self.courses[alert.fingerprint]
        steps = self._steps_for(alert.severity)
        if course.open_since is None or course.step >= len(steps):
            return None
        step = steps[course.step]
        return step, course.open_since + step.after - course.waited

    def repeats_at(self, alert: Alert) -> float | None:
        """When it is to be told again that an alert fires."""
        course, interval = self.courses[alert.fingerprint], self._config.repeat.get(alert.severity)
        return None if interval is None or course.open_since is None else course.fired + interval

    def steady_at(self, alert: Alert) -> float | None:
        """When an alert that flaps will have been good, or bad, for long enough."""
        course = self.courses[alert.fingerprint]
        if not alert.flapping:
            return None
        since = course.good_since if course.good_since is not None else course.bad_since
        return None if since is None else since + self._config.flapping.steady

    def turn(self, fingerprint: str, at: float) -> None:
        """Note that it came, or went."""
        course = self.courses[fingerprint]
        course.turns = [*self._lately(course, at), at][-self._config.flapping.transitions :]
        self.changed.add(fingerprint)

    def flaps(self, fingerprint: str, at: float) -> bool:
        """Whether it came and went too often to be believed that it goes."""
        config = self._config.flapping
        return config.enabled and len(self._lately(self.courses[fingerprint], at)) >= config.transitions

    def _lately(self, course: Course, at: float) -> Sequence[float]:
        return [turn for turn in course.turns if turn > at - self._config.flapping.window - EPSILON]

    def _dues(self, alert: Alert) -> Iterator[float]:
        course = self.courses[alert.fingerprint]
        if course.expires is not None:
            yield course.expires
        if step := self.next_step(alert):
            yield step[1]
        for due in (self.repeats_at(alert), self.steady_at(alert)):
            if due is not None:
                yield due

    def _forget(self, at: float) -> None:
        for _ in range(MOST_FORGOTTEN):
            oldest = next(iter(self._resting), None)
            if oldest is None or self._resting[oldest] > at - self._config.flapping.window:
                break
            del self._resting[oldest]
            self.courses.pop(oldest, None)
            self.changed.add(oldest)

    def _steps_for(self, severity: Severity) -> Sequence[EscalationStep]:
        if severity not in self._steps:
            steps = [step for step in self._config.escalation if severity in step.severities]
            self._steps[severity] = sorted(steps, key=lambda step: step.after)
        return self._steps[severity]
