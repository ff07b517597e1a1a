"""What keeps the journal small: snapshots of what the intake remembers, and forgetting what nobody needs any more."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from anyio import to_thread

from bers import disk
from bers.all_positions import lowest_position
from bers.checksums import connect, summed
from bers.clock import Clock
from bers.config import Plan
from bers.config.settings import IntakeSettings
from bers.database import Database
from bers.intake import Intake
from bers.log import Log
from bers.memory import give_back
from bers.snapshots import position_of
from bers.stages import DurableSpec

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS snapshots (
    partition INTEGER PRIMARY KEY, body BLOB NOT NULL, {summed("partition, body")}
)
"""

_READERS = f"""
CREATE TABLE IF NOT EXISTS readers (
    sink TEXT, reader TEXT, begin INTEGER NOT NULL, {summed("sink, reader, begin")}, PRIMARY KEY (sink, reader)
) WITHOUT ROWID
"""

_log = logging.getLogger(__name__)


class Housekeeping:
    """Keeps a snapshot of the intake beside the positions of the sinks, and trims the journal below them all."""

    def __init__(
        self,
        bus: Log,
        intake: Intake,
        state: Database,
        data_dir: Path,
        settings: IntakeSettings,
        clock: Clock,
        readers: Collection[tuple[str, str]],
    ) -> None:
        """``readers`` are the durable sinks, each with the pipelines that lead to it."""
        self._bus = bus
        self._intake = intake
        self._state = state
        self._data_dir = data_dir
        self._settings = settings
        self._clock = clock
        self._readers = readers
        self.begins: Mapping[tuple[str, str], int] = {}
        """Where each reader begins that its sink does not know yet."""
        self._kept = 0
        """The position of the snapshot that is kept."""

    async def begin(self) -> None:
        """Write down, before anything is accepted, where readers begin that were not there before.

        A sink that cannot be opened now is owed what comes from here on, and one whose database was lost gets again
        what the journal still holds.
        """
        oldest, end = await self._bus.span(0)
        known = await self._state.run(partial(_begin, readers=self._readers, end=end))
        self.begins = {reader: max(oldest, position) for reader, position in known.items()}

    async def expect(self, readers: Collection[tuple[str, str]]) -> None:
        """Write down, before they are there, where further readers begin: here. :meth:`settle` decides about them."""
        self._readers = {*self._readers, *readers}
        await self.begin()

    async def settle(self, readers: Collection[tuple[str, str]], settings: IntakeSettings) -> None:
        """Say which readers there are after all, and how house is kept from now on; the others give up their place."""
        self._readers, self._settings = set(readers), settings
        await self.begin()

    async def recover(self) -> None:
        """Let the intake learn again what it knew."""
        await self._intake.recover(await self._state.run(_load))

    async def run(self) -> None:
        """Keep house for ever."""
        aged = self._clock.monotonic()
        while True:
            await self._clock.sleep(self._settings.snapshot_every)
            await self._intake.expire(self._settings.forget_after)
            if self._clock.monotonic() - aged >= self._settings.labels.forget_after:
                aged = self._clock.monotonic()
                self._intake.series.age()
            await self.save()

    async def save(self) -> None:
        """Write down what the intake remembers, then forget what nobody needs; if it fails, more is kept and read."""
        try:
            try:
                await self._snapshot()
            finally:  # On a full disk too, where room is most wanted.
                await self._trim()
                await self._state.empty_log()
        except Exception as exc:
            if why := disk.disk_fault(exc):
                _log.warning("what the intake remembers is not written down yet: %s", why)
            else:
                _log.exception("the journal could not be trimmed; it is tried again")

    async def _snapshot(self) -> None:
        position, body = await self._intake.snapshot()
        await self._state.run(partial(_store, body=body))
        self._kept = position
        del body
        await to_thread.run_sync(give_back)
        await self._bus.part(self._clock.time() - self._settings.journal.max_age)

    async def _trim(self) -> None:
        """Forget what nobody needs any more."""
        lowest = await to_thread.run_sync(lowest_position, self._data_dir, self._readers)
        if lowest is None and self._readers:
            _log.debug("nothing of the journal is given up: a sink has not said where it stands")
            return
        # What came after the snapshot is needed to rebuild the intake, however far the sinks have got meanwhile.
        await self._bus.trim(0, self._kept if lowest is None else min(self._kept, lowest))


def snapshot_position(folder: Path) -> int:
    """The position of the snapshot in a data directory, where a copied journal may not reach; 0 where there is none."""
    path = folder / "state.db"
    if not path.exists():
        return 0
    try:
        with closing(connect(path, read_only=True)) as connection:
            row = connection.execute("SELECT body FROM snapshots WHERE partition = 0").fetchone()
            return position_of(row[0]) if row else 0
    except (sqlite3.DatabaseError, ValueError):  # No such table, or damage, of which its owner tells.
        return 0


def readers(plan: Plan) -> set[tuple[str, str]]:
    """Every sink that holds a position, with each pipeline that leads to it."""
    return {
        (key, name)
        for name, pipeline in plan.pipelines.items()
        for key in pipeline.sinks
        if isinstance(plan.stages.sinks[key].spec, DurableSpec)
    }


def _begin(
    connection: sqlite3.Connection, *, readers: Collection[tuple[str, str]], end: int
) -> Mapping[tuple[str, str], int]:
    connection.execute(_READERS)
    rows = connection.execute("SELECT sink, reader, begin FROM readers").fetchall()
    known = {(sink, reader): int(begin) for sink, reader, begin in rows}
    for sink, reader in known.keys() - set(readers):
        connection.execute("DELETE FROM readers WHERE sink = ? AND reader = ?", (sink, reader))
    for sink, reader in set(readers) - known.keys():
        connection.execute("INSERT INTO readers (sink, reader, begin) VALUES (?, ?, ?)", (sink, reader, end))
    return {reader: known.get(reader, end) for reader in readers}


def _load(connection: sqlite3.Connection) -> bytes | None:
    connection.execute(_SCHEMA)
    row = connection.execute("SELECT body FROM snapshots WHERE partition = 0").fetchone()
    return row[0] if row else None


def _store(connection: sqlite3.Connection, *, body: bytes | bytearray) -> None:
    connection.execute(_SCHEMA)
    connection.execute("INSERT OR REPLACE INTO snapshots (partition, body) VALUES (0, ?)", (body,))
