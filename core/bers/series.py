"""How many series labels make: beyond a number of values, of a label or of all labels of a metric, they are `other`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from bers.catalog import Metric
from bers.clock import Clock, SystemClock
from bers.records import Event

OTHER = "other"
FIELDS = ("environment", "service")
"""Fields of an event that metrics are split by as if they were labels; what else they are split by has few values."""

MOST_CULPRITS = 32
"""How many of those are counted by name who send too many values: whoever sends most is among them."""

FRESH = 300.0
"""For how many seconds health tells of them."""

_log = logging.getLogger(__name__)


class Culprit(NamedTuple):
    """Who sends a value that there is no room for."""

    source: str
    metric: str
    """The metric that is split by it; empty where the event measures none of those."""
    label: str


class _Seen:
    """Which values were there, each with who sent it first: those of this time, and those of the time before.

    The last tenth of the room is for those who send few: whoever has sent more than that gets none of it.
    """

    __slots__ = ("_held", "before", "now")

    def __init__(self) -> None:
        self.now: dict[str, str] = {}
        self.before: dict[str, str] = {}
        self._held = Counter[str]()
        """How many values each source has sent first."""

    def admits(self, value: str, most: int, source: str) -> bool:
        """Whether a value may be; one that is new needs room."""
        if value in self.now:
            return True
        if value in self.before:
            self.now[value] = self.before.pop(value)
            return True
        left, kept = most - len(self.now) - len(self.before), most // 10
        if left <= 0 or value == OTHER or (left <= kept <= self._held[source]):
            return value == OTHER
        self.now[value] = source
        self._held[source] += 1
        return True

    def age(self) -> None:
        for source in self.before.values():
            self._held[source] -= 1
        self._held = +self._held
        self.before, self.now = self.now, {}

    def load(self, values: Iterable[str]) -> None:
        """Know these; who sent them is not known any more."""
        self.before, self.now = dict.fromkeys(values, ""), {}
        self._held = Counter({"": len(self.before)})


class Series:
    """Guards against labels with endless values: a run's number, a user, a path.

    Each label that a metric is split by has at most ``max_values``, and each metric at most ``max_series`` combinations
    of them. A value beyond is replaced by `other`, in one place, before anybody has seen it; the event keeps its own
    under `folded` in its data. A value that has not come for a while makes room, and one emitter cannot take all of it.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        *,
        max_values: int = 1000,
        max_series: int = 2000,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._max_values = max_values
        self._metrics = {metric.name: metric.labels for metric in metrics.values()}
        self._max_series = max_series
        names = sorted({name for metric in metrics.values() for name in metric.labels if name != "outcome"})
        self._values = {name: _Seen() for name in names}
        self._several = {metric.name: (metric.labels, _Seen()) for metric in metrics.values() if len(metric.labels) > 1}
        self.folded = Counter[str]()
        """How many values were replaced, by label."""
        self.culprits: dict[Culprit, int] = {}
        """Who sent them, and how many: too many rather than too few where there are many who do."""
        self._told = set[Culprit]()
        """Of whom the log tells."""
        self._folded_at: float | None = None

    def guard(self, event: Event) -> Event:
        """The event, with `other` for every value that there is no room for."""
        for name, value in event.labels.items():
            if (
                (seen := self._values.get(name))
                and value not in seen.now
                and not seen.admits(value, self._max_values, event.source)
            ):
                return self._fold(event)
        if event.environment is not None and not self._admits("environment", event.environment, event.source):
            return self._fold(event)
        if event.service is not None and not self._admits("service", event.service, event.source):
            return self._fold(event)
        for metric in event.measures:
            if metric in self._several and not self._admits_set(metric, event):
                return self._fold(event)
        return event

    @property
    def worst(self) -> Culprit | None:
        """Who sent most of those that were replaced, if that still goes on."""
        if self._folded_at is None or self._clock.monotonic() - self._folded_at > FRESH:
            return None
        return max(self.culprits, key=self.culprits.__getitem__, default=None)

    def age(self) -> None:
        """Begin a new time: what has not come since the one before is forgotten."""
        self._told = set[Culprit]()
        for seen in (*self._values.values(), *(seen for _, seen in self._several.values())):
            seen.age()

    def dump(self) -> dict[str, list[str]]:
        """The values that are known, for :meth:`load`."""
        return {name: [*seen.before, *seen.now] for name, seen in self._every() if seen.now or seen.before}

    def load(self, known: Mapping[str, list[str]]) -> None:
        for name, seen in self._every():
            seen.load(known.get(name, ()))

    def _every(self) -> list[tuple[str, _Seen]]:
        several = [(f"{name} {','.join(labels)}", seen) for name, (labels, seen) in self._several.items()]
        return [*self._values.items(), *several]

    def _admits(self, name: str, value: str, source: str) -> bool:
        seen = self._values.get(name)
        return seen is None or seen.admits(value, self._max_values, source)

    def _admits_set(self, metric: str, event: Event) -> bool:
        labels, seen = self._several[metric]
        key = "\0".join([event.labels.get(name) or _field(event, name) for name in labels])
        return seen.admits(key, self._max_series, event.source)

    def _fold(self, event: Event) -> Event:
        changes: dict[str, Any] = {}
        labels = dict(event.labels)
        folded: dict[str, str] = {}

        def fold(name: str) -> None:
            if name in labels:
                folded[name], labels[name] = labels[name], OTHER
            elif name in FIELDS and (value := _field(event, name)):
                folded[name] = value
                changes[name] = OTHER

        for name in self._values:
            value = labels.get(name) or _field(event, name)
            if value and not self._admits(name, value, event.source):
                fold(name)
        event = self._changed(event, labels, changes, {})
        for metric in event.measures:
            if metric in self._several and not self._admits_set(metric, event):
                for name in self._several[metric][0]:
                    if (labels.get(name) or changes.get(name) or _field(event, name)) != OTHER:
                        fold(name)
                event = self._changed(event, labels, changes, {})
        for name in folded:
            self.folded[name] += 1
            self._blame(event, name)
        return self._changed(event, labels, changes, folded)

    def _blame(self, event: Event, label: str) -> None:
        """Count who sent it. Of many, those stay who send most (Metwally et al. 2005, *Space-Saving*)."""
        metric = next((name for name in event.measures if label in self._metrics.get(name, ())), "")
        culprit = Culprit(event.source, metric, label)
        count = self.culprits.get(culprit, 0)
        if not count and len(self.culprits) >= MOST_CULPRITS:
            count = self.culprits.pop(min(self.culprits, key=self.culprits.__getitem__))
        self.culprits[culprit] = count + 1
        self._folded_at = self._clock.monotonic()
        if culprit not in self._told and len(self._told) < MOST_CULPRITS:
            self._told.add(culprit)
            _log.warning(
                "%r sends more values of label %r%s than series are kept for (intake.labels): more are counted as "
                "'other'",
                *(event.source, label, f" of {metric!r}" if metric else ""),
            )

    @staticmethod
    def _changed(event: Event, labels: dict[str, str], changes: dict[str, Any], folded: dict[str, str]) -> Event:
        data = {**event.data, "folded": folded} if folded else event.data
        return msgspec.structs.replace(event, labels=dict(labels), data=data, **changes)


def _field(event: Event, name: str) -> str:
    value = getattr(event, name, None) if name in FIELDS or name == "outcome" else None
    return value or ""
