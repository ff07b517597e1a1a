"""How much passes every edge in a second: counters read once a second, compared over the last ten."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from bers.clock import Clock
from bers.counters import Counters, Edge

SPAN = 10
"""Seconds that a rate is taken over, once so many have passed."""


class Rates(msgspec.Struct, rename="camel", frozen=True):
    """Records per second at one edge; ``cpu`` in per cent of one core."""

    taken: float = 0.0
    made: float = 0.0
    out: float = 0.0
    filtered: float = 0.0
    dropped: float = 0.0
    errors: float = 0.0
    cpu: float = 0.0


class _Reading(NamedTuple):
    at: float
    edges: Mapping[str, tuple[float, ...]]
    cpu: float


class Speedometer:
    """Looks at counters once a second, and keeps as many readings as a rate needs."""

    def __init__(self, counters: Counters, clock: Clock) -> None:
        self._counters = counters
        self._clock = clock
        self._readings: deque[_Reading] = deque(maxlen=SPAN + 1)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._readings.append(self._read())
            await self._clock.sleep(1.0)

    def rates(self) -> tuple[Mapping[str, Rates], float]:
        """The rates of every edge over the last seconds, and the CPU of the whole process in per cent of one core."""
        now = self._read()
        then = self._readings[0] if self._readings else now
        seconds = now.at - then.at
        if seconds <= 0:
            return {name: Rates() for name in now.edges}, 0.0
        found: dict[str, Rates] = {}
        for name, values in now.edges.items():
            before = then.edges.get(name) or (0.0,) * len(values)
            each = [(new - old) / seconds for new, old in zip(values, before, strict=True)]
            taken, made, out, filtered, dropped, errors = (round(one, 3) for one in each[:-1])
            found[name] = Rates(taken, made, out, filtered, dropped, errors, round(max(0.0, each[-1] * 100), 2))
        return found, round((now.cpu - then.cpu) / seconds * 100, 2)

    def _read(self) -> _Reading:
        edges = {name: _values(edge) for name, edge in self._counters.edges()}
        return _Reading(self._clock.monotonic(), edges, time.process_time())


def _values(edge: Edge) -> tuple[float, ...]:
    return edge.taken, edge.made, edge.out, edge.filtered, edge.dropped.total(), edge.errors, edge.cpu
