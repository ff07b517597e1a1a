"""The alert engine's heartbeat: told only while events are read, rules evaluated and alerts written down in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import msgspec

from bers import Batch, Caller, Context, Emit, Full, Nothing
from bers_builtin.sinks.alert_engine.books import Books

if TYPE_CHECKING:
    from bers_builtin.sinks.alert_engine.engine import AlertEngine

LATE = 30.0
"""Seconds after which an event was read too late, or an alert told too late, for all to be well."""

PATIENCE = 2.0
"""Seconds that a heartbeat may be late before it is missed: a position alone waits for a second to be written."""

LOOK_AGAIN = 1.0


class Pulse(msgspec.Struct, rename="camel", frozen=True):
    """The engine's heartbeat; times in milliseconds, ``at`` since 1970."""

    every: int
    """0: there is none."""
    at: int | None
    """When it was told last."""
    missed: int
    """How many could not be told in time since the start."""
    fault: str
    """Why it is not told at present; empty while it is."""


class Heart:
    """Beats at an interval, unless something of the way from an event to a written alert stands still."""

    def __init__(self, every: float, context: Context, books: Books) -> None:
        self._every = every
        self._context = context
        self._books = books
        self._emit: Emit | None = None
        """The way out, once there is one."""
        self._connected = anyio.Event()
        self._read: dict[tuple[str, int], float] = {}
        """When each reader has handed in something last."""
        self._delay = 0.0
        """How late the newest event was read, in seconds."""
        self._told: float | None = None
        self._told_at: int | None = None
        self._missed = 0
        self._fault = ""

    def read(self, batch: Batch) -> None:
        """Note that a batch was read, and what follows from it concluded."""
        clock = self._context.clock
        self._read[batch.reader, batch.partition] = clock.monotonic()
        if batch.events:
            self._delay = clock.time() - batch.events[-1].received if batch.events[-1].received else 0.0

    @property
    def pulse(self) -> Pulse:
        return Pulse(round(self._every * 1000), self._told_at, self._missed, self._fault)

    def connect(self, emit: Emit) -> None:
        """Say which way to beat: before there is one, nobody waits for a beat."""
        self._emit = emit
        self._connected.set()

    async def run(self) -> None:
        """Beat until cancelled."""
        await self._connected.wait()
        if not self._every:
            return
        clock, log = self._context.clock, self._context.logger
        while True:
            await clock.sleep(self._every)
            due = clock.monotonic()
            while fault := await self._try():
                if clock.monotonic() - due >= PATIENCE and not self._fault:
                    self._missed, self._fault = self._missed + 1, fault
                    log.warning("there is no heartbeat of the alert engine: %s", fault)
                await clock.sleep(min(LOOK_AGAIN, self._every))
            self._fault = ""

    async def _try(self) -> str:
        """Beat, or say why not."""
        clock, emit = self._context.clock, self._emit
        if fault := await self._fault_now():
            return fault
        assert emit
        beat = self._context.event("watchdog.beat", subject=self._context.stage_id, outcome="success")
        began = clock.monotonic()
        try:
            await emit([beat], durable=True)
        except Full as full:
            return str(full)
        self._told, self._told_at = began, int(beat.time * 1000)
        return ""

    async def _fault_now(self) -> str:
        """What of the way from an event to a written alert stands still; empty where nothing does."""
        books = self._books
        async with books.turn:  # Whoever judges or writes for ever keeps us from beating, without another word.
            if books.unwritten:
                return f"alerts cannot be written down: {books.unwritten[1]}"
            if books.ahead:
                return "alerts are read back after a failed commit"
            if self._delay > LATE:
                return f"events are read {self._delay:.0f} s late"
            if self._told is not None:
                # The last beat went over the bus: whoever reads has got at least as far since, and wrote that down.
                if silent := sorted(name for name, part in books.readers if self._read_at(name, part) < self._told):
                    return f"pipeline {silent[0]!r} has read nothing since the last heartbeat"
                if books.committed < self._told:
                    return "nothing was written down since the last heartbeat"
        _, oldest = await books.ledger.backlog(books.told)
        waits = oldest is not None and self._context.clock.time() - oldest > LATE
        return "alerts wait to be told" if waits else ""

    def _read_at(self, reader: str, partition: int) -> float:
        return self._read.get((reader, partition), 0.0)


async def show_pulse(stage: AlertEngine, ask: Nothing, caller: Caller) -> Pulse:
    """Whether rules are evaluated and alerts written down in time."""
    return stage.heart.pulse
