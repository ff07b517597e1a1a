"""How much of the time this node was there, from heartbeats that outlive it."""

from __future__ import annotations

import sqlite3

import msgspec

from bers.clock import Clock
from bers.state import Database

BEAT = 10.0
"""Seconds between two heartbeats, and so the resolution of the figure."""

TARGET = 99.9
"""Per cent; what the runbook promises."""

_SCHEMA = "CREATE TABLE IF NOT EXISTS heartbeats (slot INTEGER PRIMARY KEY) WITHOUT ROWID"


class Availability(msgspec.Struct, rename="camel", frozen=True):
    """The share of time with a heartbeat, restarts and gaps included."""

    window: int
    """How far back it looks, in milliseconds: to the first heartbeat at most."""
    percent: float
    target: float
    budget_remaining: float
    """What is left of the error budget, in per cent of it; negative when it is overdrawn."""


class Heartbeats:
    """One row for each span of :data:`BEAT` seconds in which this node was alive."""

    def __init__(self, state: Database, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            slot = await self.beat()
            # From the slot that was written, not from now: a timer that is early must not make us miss the next one.
            await self._clock.sleep(min(BEAT, max(0.001, (slot + 1) * BEAT - self._clock.time())))

    async def beat(self, *, keep: float = 90 * 86400.0) -> int:
        """Write down that this node is alive now; return the number of the span that this is in."""
        slot = int(self._clock.time() // BEAT)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_SCHEMA)
            connection.execute("INSERT OR IGNORE INTO heartbeats VALUES (?)", (slot,))
            connection.execute("DELETE FROM heartbeats WHERE slot < ?", (slot - int(keep / BEAT),))

        await self._state.run(work)
        return slot

    async def availability(self, window: float = 30 * 86400.0) -> Availability:
        """The availability over so many seconds, or since the first heartbeat where that is less."""
        last = int(self._clock.time() // BEAT)
        first = last - int(window / BEAT) + 1

        def work(connection: sqlite3.Connection) -> tuple[int, int | None]:
            connection.execute(_SCHEMA)
            row = connection.execute(
                "SELECT count(*), min(slot) FROM heartbeats WHERE slot BETWEEN ? AND ?", (first, last)
            ).fetchone()
            return int(row[0]), row[1]

        seen, oldest = await self._state.run(work)
        expected = last - (last if oldest is None else oldest) + 1
        percent = 100.0 * min(seen, expected) / expected if seen else 100.0
        spent = (100.0 - percent) / (100.0 - TARGET)
        return Availability(int(expected * BEAT * 1000), round(percent, 4), TARGET, round(100.0 * (1.0 - spent), 2))
