"""The newest value of every series, as the metrics frame shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bers import Catalog, Event, Labels

MOST_SERIES = 500
"""How many series one frame tells of; the stream is for looking on, REST for reading everything."""


class Readings:
    """The latest value of each metric and label set since it was last asked."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._labels = {name: metric.labels for name, metric in catalog.items()}
        self._latest: dict[tuple[str, Labels], tuple[float, float]] = {}
        self._left_out = 0

    def add(self, event: Event) -> bool:
        """Take in what an event measured; tell whether that was anything that the catalogue knows."""
        found, latest = False, self._latest
        for name, value in event.measures.items():
            split = self._labels.get(name)
            if split is None:
                continue
            given = event.labels
            labels = tuple([(label, given[label]) for label in split if label in given]) if split and given else ()
            key = name, labels
            known = latest.get(key)
            if known is None and len(latest) >= MOST_SERIES:
                self._left_out += 1
            elif known is None or event.time >= known[1]:
                latest[key] = value, event.time
            found = True
        return found

    def take(self) -> Mapping[str, Any]:
        """The values by metric, and forget them: ``current`` is the newest of all series of a metric."""
        latest, self._latest = self._latest, {}
        left_out, self._left_out = self._left_out, 0
        metrics: dict[str, dict[str, Any]] = {}
        for (name, labels), (value, time) in latest.items():
            shown = metrics.setdefault(name, {"unit": self._catalog[name].unit, "lastUpdated": -1})
            at = int(time * 1000)
            if at >= shown["lastUpdated"]:
                shown |= {"current": value, "lastUpdated": at}
            if labels:
                shown.setdefault("series", []).append({"labels": dict(labels), "current": value, "lastUpdated": at})
        return {"metrics": metrics} | ({"leftOut": left_out} if left_out else {})
