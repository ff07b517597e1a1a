"""What keeps the journal small: snapshots of what the intake remembers, and forgetting what nobody needs any more."""

from __future__ import annotations

import logging
import sqlite3
from functools import partial
from pathlib import Path

from anyio import to_thread

from bers.clock import Clock
from bers.config.settings import IntakeSettings
from bers.intake import Intake
from bers.log import Log
from bers.state import Database, lowest_position

_SCHEMA = "CREATE TABLE IF NOT EXISTS snapshots (partition INTEGER PRIMARY KEY, body BLOB NOT NULL)"

_log = logging.getLogger(__name__)


class Housekeeping:
    """Keeps a snapshot of the intake beside the positions of the sinks, and trims the journal below them all."""

    def __init__(
        self, bus: Log, intake: Intake, state: Database, data_dir: Path, settings: IntakeSettings, clock: Clock
    ) -> None:
        self._bus = bus
        self._intake = intake
        self._state = state
        self._data_dir = data_dir
        self._settings = settings
        self._clock = clock

    async def recover(self) -> None:
        """Let the intake learn again what it knew."""
        await self._intake.recover(await self._state.run(_load))

    async def run(self) -> None:
        """Keep house for ever."""
        while True:
            await self._clock.sleep(self._settings.snapshot_every)
            self._intake.expire(self._settings.forget_after)
            await self.save()

    async def save(self) -> None:
        """Write down what the intake remembers, then forget what nobody needs; if it fails, more is kept and read."""
        try:
            position, body = await self._intake.snapshot()
            await self._state.run(partial(_store, body=body))
            lowest = await to_thread.run_sync(lowest_position, self._data_dir)
            # What came after the snapshot is needed to rebuild the intake, however far the sinks have got meanwhile.
            await self._bus.trim(0, position if lowest is None else min(position, lowest))
        except Exception:
            _log.exception("the journal could not be trimmed; it is tried again")


def _load(connection: sqlite3.Connection) -> bytes | None:
    connection.execute(_SCHEMA)
    row = connection.execute("SELECT body FROM snapshots WHERE partition = 0").fetchone()
    return row[0] if row else None


def _store(connection: sqlite3.Connection, *, body: bytes) -> None:
    connection.execute(_SCHEMA)
    connection.execute("INSERT OR REPLACE INTO snapshots VALUES (0, ?)", (body,))
