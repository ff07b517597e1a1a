"""What travels: events that happened, windows of what was measured, and batches of both."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from bers import sketch
from bers.plain import count_values
from bers.sketch import Sketch

Labels: TypeAlias = tuple[tuple[str, str], ...]
Key: TypeAlias = tuple[str, Labels, float, float]
Outcome: TypeAlias = Literal["success", "failure", "error", "cancel", "timeout", "skip"]
"""How a thing ended: CDEvents' four, and OpenTelemetry's timeout and skip."""


class Vcs(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of the source code that an event is about."""

    repository: str = ""
    revision: str = ""
    ref: str = ""
    base_revision: str = ""
    change: str = ""
    committed_at: float | None = None


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """The run of a CI system that an event comes from."""

    system: str = ""
    pipeline: str = ""
    id: str = ""
    job: str = ""
    attempt: int = 1
    url: str = ""


class Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One thing that happened. It is named once and for all by its source and its id.

    ``time``, ``received`` and the like are seconds since 1970; ``duration_ms`` is in milliseconds; a measure has the
    unit that the catalogue states for its name.
    """

    id: str
    source: str
    type: str
    """What happened, in CDEvents' vocabulary: ``build.finished``."""
    time: float
    subject: str = ""
    """What it happened to: the run or the service that all events of one thing share."""
    environment: str | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    duration_ms: float | None = None
    service: str | None = None
    version: str | None = None
    artifact: str | None = None
    vcs: Vcs | None = None
    run: Run | None = None
    measures: Mapping[str, float] = {}
    labels: Mapping[str, str] = {}
    weight: int = 1
    """How many such events this one stands for, where an emitter sampled."""
    chain: str | None = None
    traceparent: str | None = None
    origin: str = ""
    """What it was before it became this: ``seed/build-completed``, ``cdevents/0.5.1``."""
    data: Mapping[str, Any] = {}
    """What the emitter said that no field holds."""
    cause: str = ""
    """The id of the event that this one follows from; empty where it was handed in. Set by sources alone."""
    received: float = 0.0
    """When the intake took it. Set by the intake alone."""
    seq: int = 0
    """The position after it. Set by the bus alone."""


EVENT_BYTES = 1_000
"""About what an event takes in memory beside its texts; measured: 700 with nothing in it, 1 200 with a label."""

VALUE_BYTES = 80
"""About what a value in the data of an event takes beside its text; measured: 64 for an empty object."""


def weigh(events: Sequence[Event], size: int) -> int:
    """About how many bytes events take in memory that are ``size`` bytes long when they are written down."""
    values = sum([count_values(event.data) for event in events if event.data])
    return EVENT_BYTES * len(events) + size * 3 // 2 + VALUE_BYTES * values


class Tier(NamedTuple):
    """One resolution at which windows are kept, and for how long; both in seconds."""

    width: float
    keep: float


class Window(msgspec.Struct, array_like=True, gc=False):
    """What one batch says about one metric, one label set and one span of time.

    Partial by nature: windows of one key are merged, in any order, any number of ways.
    """

    metric: str
    labels: Labels
    start: float
    width: float
    count: int
    sum: float
    min: float
    max: float
    last: float
    """The newest value by event time; of several of one moment the greatest, whatever the order in which they came."""
    seen: tuple[float, int]
    """When the last value was measured, and the end of the batch that brought it."""
    sketch: Sketch
    tiers: tuple[Tier, ...] = ()
    """Where it is to be kept, as `retention` says; nowhere said means as the store sees fit."""

    @classmethod
    def of(cls, key: Key, value: float, time: float, position: int, weight: int = 1) -> Window:
        """The window of a single value, that counts ``weight`` times."""
        return cls(*key, weight, value * weight, value, value, value, (time, position), {sketch.bucket(value): weight})

    @property
    def key(self) -> Key:
        return self.metric, self.labels, self.start, self.width

    def add(self, value: float, time: float, position: int, weight: int = 1) -> None:
        """Fold one more value into the window; order does not matter."""
        self.count += weight
        self.sum += value * weight
        if value < self.min:
            self.min = value
        if value > self.max:
            self.max = value
        seen = self.seen[0]
        if time > seen or (time == seen and value >= self.last):
            self.last, self.seen = value, (time, position)
        sketch.add(self.sketch, value, weight)

    def merge(self, other: Window) -> None:
        """Fold another partial of the same key into this one; order and grouping do not matter."""
        self.count += other.count
        self.sum += other.sum
        # Compared by hand: questions about long spans merge tens of thousands, and a call takes longer than this.
        if other.min < self.min:
            self.min = other.min
        if other.max > self.max:
            self.max = other.max
        if (other.seen[0], other.last, other.seen) > (self.seen[0], self.last, self.seen):
            self.seen, self.last = other.seen, other.last
        sketch.merge(self.sketch, other.sketch)
        self.tiers = other.tiers or self.tiers

    def copy(self) -> Window:
        """One that may be merged into without changing this one."""
        return msgspec.structs.replace(self, sketch=dict(self.sketch))

    def quantile(self, share: float) -> float:
        """The nearest-rank quantile within 1 %, and never beyond what was measured."""
        return min(self.max, max(self.min, sketch.quantile(self.sketch, share)))

    @property
    def deviation(self) -> float:
        """How far values lie from their mean (the standard deviation), as exactly as the sketch has them."""
        return 0.0 if self.min == self.max else sketch.deviation(self.sketch)


@dataclass(frozen=True)
class Batch:
    """The unit that travels. One without events still travels: its end is news."""

    events: Sequence[Event]
    windows: Sequence[Window] = ()
    reader: str = ""
    """The pipeline that reads, as its durable sinks know it."""
    partition: int = 0
    end: int = 0
    """The position after this batch."""
    size: int = 0
    """About how many bytes its events took on the bus."""

    def __len__(self) -> int:
        """How many records there are, of both kinds."""
        return len(self.events) + len(self.windows)


def only(batch: Batch, records: Collection[int]) -> Batch:
    """The batch with some of its records alone: by index, events first, then windows."""
    events = [event for n, event in enumerate(batch.events) if n in records]
    windows = [window for n, window in enumerate(batch.windows, len(batch.events)) if n in records]
    return replace(batch, events=events, windows=windows)


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """The batch in two parts; both name its end."""
    middle = len(batch) // 2
    return only(batch, range(middle)), only(batch, range(middle, len(batch)))


def single(batch: Batch, n: int) -> Batch:
    """The batch with one of its records alone."""
    number = len(batch.events)
    windows = batch.windows[n - number : n - number + 1] if n >= number else ()
    return replace(batch, events=batch.events[n : n + 1], windows=windows)


def without(batch: Batch, records: Collection[int]) -> Batch:
    """The batch without some of its records."""
    return only(batch, set(range(len(batch))) - set(records))
