"""Hours in a page within minutes: a real server and its page, in a world in which time goes so many times as fast.

The server is handed a clock that is fast, and the page's own clock and timers are made as fast before any of its script
runs. Nothing else is changed: events come in over HTTP, pass the shipped pipelines, are stored and judged, and the page
hears the stream and asks REST as ever; what it does once a second it does once in each second of that world. Frames
that are recorded and played again would be easier to have in any number, and would leave out what grows by what REST
answers; a clock that is moved step by step would let no request be under way while time passes.

What is drawn and collected takes its real time, so a world may be only so fast that both keep up: who is late here is
late in that world by as many times as much.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import anyio

from bers.clock import SystemClock
from bers.testing.server import Server

PER_SECOND = 50
"""How many events are handed in each second."""

STANDS_STILL = 120
"""Seconds, as everybody has them, after which nothing more is going to happen."""

_FAST = """
(() => {
  const [times, began] = [%(times)r, %(began)r];
  const Time = Date, later = setTimeout, regularly = setInterval, listen = EventSource.prototype.addEventListener;
  const now = () => Math.floor(began + (Time.now() - began) * times);
  globalThis.Date = class extends Time {
    constructor(...given) { super(...(given.length ? given : [now()])); }
    static now() { return now(); }
  };
  globalThis.setTimeout = (react, pause = 0, ...rest) => later(react, pause / times, ...rest);
  globalThis.setInterval = (react, pause = 0, ...rest) => regularly(react, pause / times, ...rest);
  globalThis.framesHeard = 0;
  EventSource.prototype.addEventListener = function (name, react, ...rest) {
    return listen.call(this, name, (message) => { framesHeard += 1; react(message); }, ...rest);
  };
})();
"""


class FastClock(SystemClock):
    """A clock that goes so many times as fast as that of the machine, from when it was made."""

    def __init__(self, times: float) -> None:
        self.times = times
        self._wall, self._began = time.time(), time.monotonic()

    def time(self) -> float:
        return self._wall + self._passed()

    def monotonic(self) -> float:
        return self._began + self._passed()

    def elapsed(self) -> float:
        return self.monotonic()

    @property
    def boot(self) -> str:
        return ""

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, seconds) / self.times)

    def script(self) -> str:
        """What makes a page as fast; it has to run before the page's own script does."""
        return _FAST % {"times": self.times, "began": self._wall * 1000}

    def _passed(self) -> float:
        return (time.monotonic() - self._began) * self.times


def traffic(seed: int = 7) -> Iterator[Mapping[str, Any]]:
    """What the CI of a busy team tells, one event after another, without end: every run has a name of its own.

    All of them are told to a page one by one. One run in fifty fails.
    """
    rng = random.Random(seed)
    kinds = (("build", "site"), ("testsuiterun", "units"), ("deployment", "shop"))
    for number in count(1):
        (kind, name), where = rng.choice(kinds), rng.choice(("production", "staging"))
        run = {"source": "/ci", "subject": f"{name}/{number}", "environment": where, "service": name}
        yield {"type": f"{kind}.started", **run}
        outcome = "failure" if rng.random() < 0.02 else "success"
        took = round(rng.lognormvariate(7.0, 0.4), 1)
        measures = {"configuration_resolution_time": took / 50, "error_rate": float(outcome == "failure")}
        if kind == "build":
            measures |= {"build.phase.bundle": took * 0.7, "bundle.size": rng.randrange(400_000, 500_000)}
        yield {"type": f"{kind}.finished", "outcome": outcome, "duration_ms": took, "measures": measures, **run}


class Told:
    """Hands in so many events a second, in the server's own time; where the machine is late, it takes longer."""

    def __init__(self, server: Server, clock: FastClock, per_second: int = PER_SECOND) -> None:
        self.count = 0
        self.per_second = per_second
        self._server, self._clock = server, clock
        self._events = traffic()

    async def run(self) -> None:
        while True:
            due = self._clock.monotonic() + 1.0
            await self._server.emit(*[next(self._events) for _ in range(self.per_second)])
            self.count += self.per_second
            await self._clock.sleep(due - self._clock.monotonic())

    async def until(self, count: int) -> None:
        """Return once so many events are handed in; an intake that takes none for minutes is an error."""
        while (before := self.count) < count:
            with anyio.fail_after(STANDS_STILL):
                while self.count == before:
                    await self._clock.sleep(1.0)
