"""How many series labels make: beyond a number of values, of a label or of all labels of a metric, they are `other`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from bers.catalog import Metric
from bers.records import Event

OTHER = "other"
FIELDS = ("environment", "service")
"""Fields of an event that metrics are split by as if they were labels; what else they are split by has few values."""

_log = logging.getLogger(__name__)


class _Seen:
    """Which values were there: those of this time, and those of the time before, which have not come since."""

    __slots__ = ("before", "now")

    def __init__(self) -> None:
        self.now: set[str] = set()
        self.before: set[str] = set()

    def admits(self, value: str, most: int) -> bool:
        """Whether a value may be; one that is new needs room."""
        if value in self.now:
            return True
        if value in self.before:
            self.before.discard(value)
        elif len(self.now) + len(self.before) >= most or value == OTHER:
            return value == OTHER
        self.now.add(value)
        return True

    def age(self) -> None:
        self.before, self.now = self.now, set()


class Series:
    """Guards against labels with endless values: a run's number, a user, a path.

    Each label that a metric is split by has at most ``max_values``, and each metric at most ``max_series`` combinations
    of them. A value beyond is replaced by `other`, in one place, before anybody has seen it; the event keeps its own
    under `folded` in its data. A value that has not come for a while makes room.
    """

    def __init__(self, metrics: Mapping[str, Metric], *, max_values: int = 1000, max_series: int = 2000) -> None:
        self._max_values = max_values
        self._max_series = max_series
        names = sorted({name for metric in metrics.values() for name in metric.labels if name != "outcome"})
        self._values = {name: _Seen() for name in names}
        self._several = {metric.name: (metric.labels, _Seen()) for metric in metrics.values() if len(metric.labels) > 1}
        self.folded = Counter[str]()
        """How many values were replaced, by label."""

    def guard(self, event: Event) -> Event:
        """The event, with `other` for every value that there is no room for."""
        for name, value in event.labels.items():
            if (seen := self._values.get(name)) and value not in seen.now and not seen.admits(value, self._max_values):
                return self._fold(event)
        if event.environment is not None and not self._admits("environment", event.environment):
            return self._fold(event)
        if event.service is not None and not self._admits("service", event.service):
            return self._fold(event)
        for metric in event.measures:
            if metric in self._several and not self._admits_set(metric, event):
                return self._fold(event)
        return event

    def age(self) -> None:
        """Begin a new time: what has not come since the one before is forgotten."""
        for seen in (*self._values.values(), *(seen for _, seen in self._several.values())):
            seen.age()

    def dump(self) -> dict[str, list[str]]:
        """The values that are known, for :meth:`load`."""
        return {name: [*seen.before, *seen.now] for name, seen in self._every() if seen.now or seen.before}

    def load(self, known: Mapping[str, list[str]]) -> None:
        for name, seen in self._every():
            seen.before, seen.now = set(known.get(name, ())), set()

    def _every(self) -> list[tuple[str, _Seen]]:
        several = [(f"{name} {','.join(labels)}", seen) for name, (labels, seen) in self._several.items()]
        return [*self._values.items(), *several]

    def _admits(self, name: str, value: str) -> bool:
        seen = self._values.get(name)
        return seen is None or seen.admits(value, self._max_values)

    def _admits_set(self, metric: str, event: Event) -> bool:
        labels, seen = self._several[metric]
        key = "\0".join([event.labels.get(name) or _field(event, name) for name in labels])
        return seen.admits(key, self._max_series)

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
            if value and not self._admits(name, value):
                fold(name)
        event = self._changed(event, labels, changes, {})
        for metric in event.measures:
            if metric in self._several and not self._admits_set(metric, event):
                for name in self._several[metric][0]:
                    if (labels.get(name) or changes.get(name) or _field(event, name)) != OTHER:
                        fold(name)
                event = self._changed(event, labels, changes, {})
        for name in folded:
            if name not in self.folded:
                _log.warning(
                    "label %r has more values than series are kept for (intake.labels): more are counted as 'other'",
                    name,
                )
            self.folded[name] += 1
        return self._changed(event, labels, changes, folded)

    @staticmethod
    def _changed(event: Event, labels: dict[str, str], changes: dict[str, Any], folded: dict[str, str]) -> Event:
        data = {**event.data, "folded": folded} if folded else event.data
        return msgspec.structs.replace(event, labels=dict(labels), data=data, **changes)


def _field(event: Event, name: str) -> str:
    value = getattr(event, name, None) if name in FIELDS or name == "outcome" else None
    return value or ""
