"""How this node itself is doing, in figures: what lags, what waits, what fails, and what room is left."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from bers.cells import Cell
from bers.checks import Status, about
from bers.clock import Clock
from bers.counters import Counters
from bers.disk import left_free
from bers.health.board import Health
from bers.log import Log
from bers.pipeline import Pipeline
from bers.stages import Source, Vital
from bers.storage import Storage
from bers.timekeeping import Timekeeping
from bers.units import Interval

REMEMBERED = 720
"""How many readings a pipeline may be behind until no more is known of it than that it is further behind."""

STOPPED = 5.0
"""Seconds that a reading may come too late before nobody could do anything meanwhile, and so nobody is late."""

_GRAVITY: Mapping[Status, float | None] = {"healthy": 0.0, "degraded": 1.0, "unhealthy": 2.0, "unknown": None}


class Vitals:
    """Reads the figures of one node, whenever it is asked. Times are in milliseconds, as metrics have them."""

    def __init__(
        self,
        clock: Clock,
        bus: Log,
        counters: Counters,
        storage: Storage,
        timekeeping: Timekeeping,
        health: Health,
        cells: Callable[[], Sequence[Cell]],
        pipelines: Callable[[], Mapping[str, Pipeline]],
        min_free: Callable[[], int],
        reload_failed: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._bus = bus
        self._counters = counters
        self._storage = storage
        self._timekeeping = timekeeping
        self._health = health
        self._cells = cells
        self._pipelines = pipelines
        self._min_free = min_free
        self._reload_failed = reload_failed
        self._ends: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)
        """Where the bus ended at earlier readings."""
        self._refused = 0
        self._sent: dict[str, tuple[int, int, float]] = {}
        """Of each source that measures at an interval: its cell, how much it has sent, and when that was more last."""
        self._read_at: float | None = None

    async def read(self, every: float) -> Sequence[Vital]:
        """Everything there is to say now, by one who asks every so many seconds."""
        now = self._clock.monotonic()
        excused = self._read_at is not None and now - self._read_at > every + STOPPED
        self._read_at = now
        if excused:  # The process was stopped, or the loop blocked: what waited since could not be helped.
            self._ends.clear()
            self._sent = {key: (cell, sent, now) for key, (cell, sent, _) in self._sent.items()}
        _, end = await self._bus.span(0)
        self._ends.append((now, end))
        late = [*self._behind(now), *self._waiting(now), *self._silent(now)]
        if excused:  # That nobody is late would not be so either.
            late = [one._replace(value=None) for one in late]
        return [*self._levels(), *self._failing(), *self._checked(), *late]

    def _levels(self) -> Iterator[Vital]:
        yield Vital("journal_fill", 100 * self._bus.fill)
        room = self._storage.room
        if room.known and (needed := left_free(self._min_free(), room.total)):
            yield Vital("disk_headroom", room.free / needed)
        refused = self._counters.edge("intake").dropped["refused"]
        yield Vital("events_refused", float(max(0, refused - self._refused)))
        self._refused = refused
        yield Vital("clock_step", abs(self._timekeeping.stepped) * 1000)
        yield Vital("reload_failed", float(self._reload_failed()))

    def _behind(self, now: float) -> Iterator[Vital]:
        for name, pipeline in self._pipelines().items():
            # What the bus held at an earlier reading, and is not read yet, waits since then at least.
            since = next((at for at, end in self._ends if end > pipeline.position), now)
            yield Vital("pipeline_lag", (now - since) * 1000, {"pipeline": name})

    def _waiting(self, now: float) -> Iterator[Vital]:
        for name, pipeline in self._pipelines().items():
            for key, queue in pipeline.queues.items():
                yield Vital("queue_age", queue.age(now) * 1000, {"stage": f"{name}/{key}"})

    def _failing(self) -> Iterator[Vital]:
        for cell in self._cells():
            settled = cell.standing.settled
            yield Vital("stage_failing", float(settled == "failing"), {"stage": cell.name})
            yield Vital("stage_quarantined", float(settled == "quarantined"), {"stage": cell.name})

    def _checked(self) -> Iterator[Vital]:
        for report in self._health.reports():
            common = about(report.name)
            labels = {"check": report.name, **({"about": common} if common else {})}
            yield Vital("check_state", _GRAVITY[report.status], labels)

    def _silent(self, now: float) -> Iterator[Vital]:
        """By how much sources are late that measure at an interval, and have done so since they are in place."""
        before, self._sent = self._sent, {}
        for cell in self._cells():
            interval = getattr(cell.declared.config, "interval", None)
            if not isinstance(interval, Interval) or not isinstance(cell.stage, Source) or not cell.sent:
                continue
            known, sent, at = before.get(cell.key, (0, 0, now))
            if known != id(cell) or sent != cell.sent:
                at = now
            self._sent[cell.key] = (id(cell), cell.sent, at)
            yield Vital("source_overdue", max(0.0, now - at - interval) * 1000, {"source": cell.key})
