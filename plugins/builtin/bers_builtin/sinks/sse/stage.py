"""The live stream: it takes batches, and tells every client what it asked for at the pace it can bear."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from operator import itemgetter
from time import perf_counter
from typing import Any, Self

import anyio
from anyio.lowlevel import checkpoint

from bers import (
    Batch,
    Context,
    Event,
    Outlet,
    Refused,
    SinkSpec,
    Stage,
    Stream,
    __version__,
    hookimpl,
)
from bers_builtin.sinks.sse.allowance import Allowance
from bers_builtin.sinks.sse.ask import Ask
from bers_builtin.sinks.sse.audience import Audience, Sorted, filters
from bers_builtin.sinks.sse.client import Client, Tally
from bers_builtin.sinks.sse.config import SseConfig
from bers_builtin.sinks.sse.frames import OTHER, Frame, Portion, event_frame, rank
from bers_builtin.sinks.sse.readings import Readings
from bers_builtin.sinks.sse.ring import Ring

EVENTS_EVERY = 0.1
"""Seconds between two times that events are told, unless something urgent is among them."""
LOOK_EVERY = 0.01
"""Seconds in which something urgent may be told that comes between."""
HURRIES = 20
"""How often in a second events are told sooner than they would be, because something urgent is among them."""
METRICS_EVERY = 1.0
"""Seconds between two times that metrics are told, or alerts."""
MOST_WAITING = 2000
"""How many events may wait to be told, of those that are urgent and of the others; the rest are counted."""
SLOW = 1.0
"""A client is slow that has taken nothing for so many seconds, though something waits for it."""
MOST_ALERTS = 100
"""How many alerts one frame lists; how many there are, it says besides."""

_SLICE = 200
"""To so many something is written before others have their turn: two milliseconds."""
_TURN = 0.001
"""Seconds that it is worked out who is told what before others have their turn."""


class Sse(Stage[SseConfig]):
    """Clients by what they listen to.

    Events are told ten times a second, what is urgent within 10 ms; metrics once a second.
    """

    def __init__(self, config: SseConfig, context: Context) -> None:
        super().__init__(config, context)
        self.clients = 0
        """How many streams are open."""
        now = context.clock.monotonic()
        self._everybody = Audience((), now)
        """Who wants to hear everything; what they are told is kept for those that come back, whatever they want."""
        self._audiences: dict[tuple[str, ...], Audience] = {(): self._everybody}
        self._hurries = Allowance(HURRIES, now)
        self._tally = Tally()
        self._ring = Ring(config.replay)
        self._readings = Readings(context.metrics)
        self._urgent: deque[tuple[int, Event]] = deque()
        self._other: deque[tuple[int, Event]] = deque()
        self._uncounted: Counter[str] = Counter()
        self._position = 0
        self._alerts: Frame | None = None
        self._telling = anyio.Lock()
        """One thing is told after the other, so that no client has an id before all that it stands for."""
        self._events_due = _Pulse()
        self._metrics_due = _Pulse()
        self._alerts_due = _Pulse()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with anyio.create_task_group() as group:
            second = partial(self.context.clock.sleep, METRICS_EVERY)
            group.start_soon(self._whenever, self._events_due, self._tell_events, self._rest)
            group.start_soon(self._whenever, self._metrics_due, self._tell_metrics, second)
            group.start_soon(self._whenever, self._alerts_due, self._tell_alerts, second)
            group.start_soon(self._look_after_clients)
            yield self
            for audience in self._audiences.values():
                for client in audience.clients:
                    client.scope.cancel()
            group.cancel_scope.cancel()

    def tell(self) -> Mapping[str, Any]:
        slow = sum(client.stuck() >= SLOW for client in self._all())
        return {"clients": self.clients, "slow": slow, "skipped": self._tally.skipped, "ended": self._tally.ended}

    async def write(self, batch: Batch) -> None:
        urgent: list[tuple[int, Event]] = []
        other: list[tuple[int, Event]] = []
        measured = alarming = False
        for number, event in enumerate(batch.events):
            if number % 250 == 249:
                await checkpoint()
            if event.measures and self._readings.add(event):
                measured = True
            (other if rank(event.type) == OTHER else urgent).append((event.seq or batch.end, event))
            alarming = alarming or event.type.startswith("alert.")
        self._wait(self._urgent, urgent)
        self._wait(self._other, other)
        if measured:
            self._metrics_due.set()
        if alarming:
            self._alerts_due.set()
        self._position = max(self._position, batch.end)
        if batch.events:  # Not before: what is urgent may stand last.
            self._events_due.set()

    async def stream(self, ask: Ask, outlet: Outlet) -> None:
        """Tell one client, for as long as it stays and keeps up."""
        if self.clients >= self.config.max_clients:
            raise Refused(
                "unavailable",
                f"{self.clients} streams are open, which is all that sinks.{self.context.stage_id}.max_clients allows",
                hint="poll GET /api/monitoring/metrics instead, or raise max_clients",
            )
        patterns, clock = filters(ask.types), self.context.clock
        audience = self._audiences.setdefault(patterns, Audience(patterns, clock.monotonic()))
        client = Client(
            outlet, clock, self._tally, format=ask.format, capacity=self.config.buffer, since=self._ring.end
        )
        opening = self._opening(ask, audience)
        audience.clients.add(client)
        self.clients += 1
        try:
            with client.scope:
                await client.send(opening)
                await client.run()
        finally:
            self.clients -= 1
            audience.clients.discard(client)
            if patterns and not audience.clients and self._audiences.get(patterns) is audience:
                del self._audiences[patterns]

    def _opening(self, ask: Ask, audience: Audience) -> Sequence[Frame]:
        end = self._ring.end
        server = {"version": __version__, "environment": self.context.environment, "boot": self.context.boot}
        hello: dict[str, Any] = {"timestamp": self._now(), "server": server, "clients": self.clients + 1}
        missed: Sequence[Frame] | None = ()
        if ask.last_event_id:
            missed = self._ring.after(ask.last_event_id)
        # Nothing before the replay may carry the end as its id: a client that leaves between would skip what it missed.
        at = int(ask.last_event_id) if missed else end
        frames = [Frame(at, "connected", hello)]
        if missed is None:
            reason = "what happened since is not kept any more, or the id is not known"
            frames.append(Frame(end, "gap", {"since": ask.last_event_id, "reason": reason}))
        frames += audience.again(missed or ())
        if self._alerts is None:
            self._alerts_due.set()
        elif audience.wants(self._alerts):
            if self._alerts.position != end:  # Once for all that come now.
                self._alerts = self._alerts.at(end)
            frames.append(self._alerts)
        return frames

    def _wait(self, queue: deque[tuple[int, Event]], events: Sequence[tuple[int, Event]]) -> None:
        """Let events wait to be told; of what is too much, only the number is."""
        queue.extend(events)
        for _ in range(len(queue) - MOST_WAITING):
            _, oldest = queue.popleft()
            self._uncounted[oldest.type] += 1

    async def _tell_events(self) -> None:
        waiting = sorted([*self._urgent, *self._other], key=itemgetter(0))
        frames = Sorted([event_frame(event, position) for position, event in waiting])
        uncounted, end = self._uncounted, self._position
        self._urgent, self._other, self._uncounted = deque(), deque(), Counter()
        end = max(end, frames.frames[-1].position) if frames.frames else end
        now = self.context.clock.monotonic()
        async with self._telling:
            kept = self._everybody.choose(frames, uncounted, end, now)
            self._ring.extend(kept, end)
            began = perf_counter()
            for audience in list(self._audiences.values()):
                chosen = kept if audience is self._everybody else audience.choose(frames, uncounted, end, now)
                if chosen:
                    await self._offer(audience, Portion(chosen), before=end)
                if perf_counter() - began > _TURN:  # Filters are what clients make of them, each another one.
                    await checkpoint()
                    began = perf_counter()

    async def _rest(self) -> None:
        """Let events gather, but nothing wait that is urgent."""
        clock = self.context.clock
        for _ in range(round(EVENTS_EVERY / LOOK_EVERY)):
            await clock.sleep(LOOK_EVERY)
            if self._urgent and self._hurries.left(clock.monotonic()) >= 1:
                self._hurries.spend(1)
                return

    async def _tell_metrics(self) -> None:
        async with self._telling:
            frame = Frame(
                self._ring.end,
                "performance_metrics",
                {"timestamp": self._now(), **self._readings.take()},
                slot="performance_metrics",
            )
            await self._tell_all(frame)

    async def _tell_alerts(self) -> None:
        try:
            alerts: list[Any] = list(await self.context.call("GET", "alerts", {}))
        except Refused:
            # Nobody watches alerts here, or not at present. Who comes is not told how they were, and no change may come
            # that would let us ask again: who listens is told as soon as somebody answers.
            self._alerts = None
            if self.clients:
                self._alerts_due.set()
            return
        except Exception:  # The alert engine's fault, and no reason to stop telling the rest.
            self.context.logger.exception("the active alerts could not be read for the stream")
            return
        content = {
            "timestamp": self._now(),
            "total": len(alerts),
            "alerts": self.context.redactor.everywhere(alerts[:MOST_ALERTS]),
        }
        async with self._telling:
            self._alerts = Frame(self._ring.end, "active_alerts", content, type="alert.active", slot="active_alerts")
            await self._tell_all(self._alerts)

    async def _look_after_clients(self) -> None:
        clock, heartbeat = self.context.clock, self.config.heartbeat
        beat = min(1.0, heartbeat / 2)
        while True:
            await clock.sleep(beat)
            async with self._telling:
                await self._look_at_clients(clock.monotonic() + beat - heartbeat)

    async def _look_at_clients(self, late: float) -> None:
        """End those that take nothing, and let those hear something that were not told anything since."""
        ping = Portion([Frame(self._ring.end, "ping", {"timestamp": self._now()}, slot="ping")])
        for number, client in enumerate(self._all()):
            if number % _SLICE == _SLICE - 1:
                await checkpoint()
            if client.stuck() >= self.config.stall:
                self._tally.ended += 1
                client.scope.cancel()
            elif client.told_at <= late:
                client.offer(ping)

    async def _tell_all(self, frame: Frame) -> None:
        portion = Portion([frame])
        for audience in list(self._audiences.values()):
            if audience.wants(frame):
                await self._offer(audience, portion)

    async def _offer(self, audience: Audience, portion: Portion, *, before: int | None = None) -> None:
        for number, client in enumerate(list(audience.clients)):
            if number % _SLICE == _SLICE - 1:
                await checkpoint()
            if before is None or client.since < before:  # Who came while we tell has had these in its opening.
                client.offer(portion)

    async def _whenever(
        self, pulse: _Pulse, tell: Callable[[], Awaitable[None]], rest: Callable[[], Awaitable[None]]
    ) -> None:
        while True:
            await pulse.wait()
            await tell()
            await rest()

    def _all(self) -> list[Client]:
        return [client for audience in self._audiences.values() for client in audience.clients]

    def _now(self) -> int:
        return int(self.context.clock.time() * 1000)


class _Pulse:
    """Says that there is something to do, however often it is set."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = anyio.Event()


SSE = SinkSpec(
    "sse",
    SseConfig,
    Sse,
    operations=[
        Stream(
            "events",
            Sse.stream,
            Ask,
            "Hear what happens, while it happens, as server-sent events",
            refuses=("bad_request",),
        )
    ],
    log="",
)


@hookimpl
def bers_sinks() -> Iterable[SinkSpec[SseConfig]]:
    return [SSE]
