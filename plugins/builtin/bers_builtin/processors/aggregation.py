"""Fold what a batch measures into windows: one per metric, series and span of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Annotated, Any, TypeAlias

from anyio.lowlevel import checkpoint
from msgspec import Meta

from bers import Batch, Config, Context, Event, Interval, ProcessorSpec, Stage, Window, hookimpl

Readers: TypeAlias = tuple[tuple[str, Callable[[Event], str | None]], ...]


class AggregationConfig(Config, frozen=True):
    """Fold measures into windows of time, so that figures can be kept longer than events."""

    window: Annotated[Interval, Meta(description="The time that one window covers.")] = Interval("1s")


class Aggregation(Stage[AggregationConfig]):
    ignored: Counter[str]
    """Measures that no metric is declared for, and how often they came."""

    def __init__(self, config: AggregationConfig, context: Context) -> None:
        super().__init__(config, context)
        self.ignored = Counter()
        self._series = {name: _readers(metric.labels) for name, metric in context.metrics.items()}

    async def process(self, batch: Batch) -> Batch:
        width, end, series = float(self.config.window), batch.end, self._series
        folds: dict[str, dict[object, Window]] = {}
        for first in range(0, len(batch.events), SLICE):
            if first:
                await checkpoint()
            for event in batch.events[first : first + SLICE]:
                time, weight, labels = event.time, event.weight, event.labels
                start = time // width * width
                for metric, value in event.measures.items():
                    try:
                        readers, windows = series[metric], folds[metric]
                    except KeyError:
                        if metric not in series:
                            self._ignore(metric)
                            continue
                        readers, windows = series[metric], folds.setdefault(metric, {})
                    if not readers:
                        key: object = start
                    elif len(readers) == 1:
                        ((name, read),) = readers
                        key = start, labels.get(name) or read(event)
                    else:
                        key = start, *[labels.get(name) or read(event) for name, read in readers]
                    if key in windows:
                        windows[key].add(value, time, end, weight)
                    else:
                        said = [(name, labels.get(name) or read(event)) for name, read in readers]
                        its = tuple([(name, label) for name, label in said if label])
                        windows[key] = Window.of((metric, its, start, width), value, time, end, weight)
        made = [window for windows in folds.values() for window in windows.values()]
        return replace(batch, windows=[*batch.windows, *made]) if made else batch

    def tell(self) -> Mapping[str, Any]:
        return {"ignored": dict(self.ignored)}

    def _ignore(self, metric: str) -> None:
        known = metric in self.ignored or len(self.ignored) < MAX_IGNORED
        self.ignored[metric if known else "other"] += 1


def _readers(labels: Iterable[str]) -> Readers:
    """How to read each label where an event does not have it: what has a field of its own need not be repeated."""
    return tuple([(name, attrgetter(name) if name in FIELDS else _nothing) for name in sorted(labels)])


def _nothing(_: Event) -> None:
    return None


SLICE = 500
"""How many events are folded before others have their turn."""

MAX_IGNORED = 1000
"""How many measures without a metric are counted by name: their names come from outside."""

FIELDS = frozenset({"environment", "outcome", "service"})

AGGREGATION = ProcessorSpec("aggregation", AggregationConfig, Aggregation)


@hookimpl
def bers_processors() -> Iterable[ProcessorSpec[Any]]:
    return [AGGREGATION]
