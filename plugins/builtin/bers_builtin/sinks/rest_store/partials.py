"""Windows that no page holds yet: per series, and merged per key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from bers import Labels, Tier, Window

Span: TypeAlias = tuple[float, float]
"""The start and the width of a window."""
Seen: TypeAlias = tuple[float, int]

AHEAD = 5.0
"""Seconds that the clock of an emitter may be ahead of ours before its values count as from the future."""


@dataclass(slots=True, eq=False)
class Series:
    """One metric with one set of labels."""

    id: int
    metric: str
    labels: Labels
    stamp: tuple[Tier, ...]
    """Where its windows are to be kept, as the newest of them says; nowhere said means as the store is configured."""
    tiers: tuple[Tier, ...]
    """Where they are kept, finest first."""
    seen: Seen = (float("-inf"), 0)
    last: float = 0.0
    """The newest value by event time, the greatest of one moment, and when it was seen."""
    kept: tuple[Tier, ...] = ()
    """By which tiers its pages expire, as the database has them."""
    count: int = 0
    """How many values came since the store was opened; what a counter of Prometheus tells."""
    sum: float = 0.0

    def note(self, seen: Seen, last: float, now: float = inf) -> None:
        """Know of a value. One from the future gives way to any that is not: a clock was wrong, and is set right."""
        if (seen[0], last) > (self.seen[0], self.last) or self.seen[0] > now + AHEAD >= seen[0]:
            self.seen, self.last = seen, last

    def forget(self) -> None:
        """Know of no newest value any more."""
        self.seen, self.last = (float("-inf"), 0), 0.0


class Registry:
    """Every series there is."""

    def __init__(self, tiers: tuple[Tier, ...]) -> None:
        self.tiers = tiers
        self.now = inf
        """What time it is, for telling the newest values; to be kept up to date by the owner."""
        self._series: dict[tuple[str, Labels], Series] = {}
        self._metrics: dict[str, list[Series]] = {}
        self._unsaved: dict[Series, None] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._series)

    def load(self, id: int, metric: str, labels: Labels, stamp: tuple[Tier, ...], kept: tuple[Tier, ...]) -> Series:
        """Add what the database knows."""
        return self._add(Series(id, metric, labels, stamp, self._tiers_of(stamp), kept=kept))

    def reserve(self, id: int) -> None:
        """Give no new series an id that low: there may be pages of one whose own row is lost."""
        self._next = max(self._next, id + 1)

    def of(self, window: Window) -> Series:
        """The series of a window; a new one where there is none."""
        series = self._series.get((window.metric, window.labels))
        if series is None:
            stamp, tiers = window.tiers, self._tiers_of(window.tiers)
            series = self._add(Series(self._next, window.metric, window.labels, stamp, tiers, kept=tiers))
            self._unsaved[series] = None
        elif window.tiers is not series.stamp and window.tiers != series.stamp:
            series.stamp, series.tiers = window.tiers, self._tiers_of(window.tiers)
            self._unsaved[series] = None
        series.note(window.seen, window.last, self.now)
        series.count += window.count
        series.sum += window.sum
        return series

    def by_metric(self, metric: str) -> list[Series]:
        return self._metrics.get(metric, [])

    def unsaved(self) -> list[Series]:
        """Those that the database does not know as they are."""
        return list(self._unsaved)

    def saved(self, series: Series, stamp: tuple[Tier, ...]) -> None:
        """The database knows a series with a stamp."""
        if series.stamp == stamp:
            self._unsaved.pop(series, None)

    def everyone(self) -> list[Series]:
        return list(self._series.values())

    def _tiers_of(self, stamp: tuple[Tier, ...]) -> tuple[Tier, ...]:
        return tuple(sorted(stamp)) or self.tiers

    def _add(self, series: Series) -> Series:
        self._series[series.metric, series.labels] = series
        self._metrics.setdefault(series.metric, []).append(series)
        self._next = max(self._next, series.id + 1)
        return series


class Partials:
    """A set of windows of which no two have one key.

    What is brought is kept as it is, and copied when something is merged into it: most windows never meet another.
    """

    def __init__(self) -> None:
        self._series: dict[Series, dict[Span, Window]] = {}
        self._ours: dict[int, Window] = {}
        """Of the windows that were here, those that nobody else had, by where they are in memory."""
        self.size = 0

    def __iter__(self) -> Iterator[tuple[Series, Mapping[Span, Window]]]:
        return iter(self._series.items())

    def __bool__(self) -> bool:
        return bool(self._series)

    def fold(self, series: Series, window: Window) -> bool:
        """Add somebody else's window; return whether it was merged into one that was here."""
        spans = self._series.get(series)
        if spans is None:
            spans = self._series[series] = {}
        span = (window.start, window.width)
        if span in spans:
            self._merge(spans, span, window)
            return True
        spans[span] = window
        self.size += 1
        return False

    def move(self, series: Series, into: Partials) -> None:
        """Hand over what there is of a series."""
        spans = self._series.pop(series, None)
        if spans is None:
            return
        self.size -= len(spans)
        known = into._series.get(series)
        if known is None:
            into._series[series] = spans
            into.size += len(spans)
            return
        before = len(known)
        for span, window in spans.items():
            if span in known:
                into._merge(known, span, window)
            else:
                known[span] = window
        into.size += len(known) - before

    def drop(self, series: Series) -> None:
        """Forget what there is of a series."""
        self.size -= len(self._series.pop(series, ()))

    def _merge(self, spans: dict[Span, Window], span: Span, window: Window) -> None:
        known = spans[span]
        if id(known) not in self._ours:
            spans[span] = known = known.copy()
            self._ours[id(known)] = known
        known.merge(window)

    def of(self, series: Series) -> Iterable[Window]:
        return self._series.get(series, {}).values()

    def series(self) -> list[Series]:
        return list(self._series)
