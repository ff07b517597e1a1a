"""Where a durable sink stands: a position for each pipeline that feeds it, moved with the data or not at all."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from bers import position_rows, salvage
from bers.database import Database
from bers.errors import Conflict
from bers.records import Batch
from bers.segments import last_position

T = TypeVar("T")

DEAD_READER = "dead-letters/"
"""Before the name of a pipeline: the reader whose position counts what a sink was handed of its dead letters."""

_log = logging.getLogger(__name__)


def on_the_bus(reader: str) -> bool:
    """Whether the position of a reader counts events of the bus, and not dead letters."""
    return not reader.startswith(DEAD_READER)


class Positions:
    """Where one durable sink stands, for each pipeline that feeds it; moved in the transaction that keeps the data."""

    def __init__(self, database: Database, sink: str) -> None:
        self._database = database
        self._sink = sink
        self._held: dict[tuple[str, int], int] = {}

    async def begin(self, reader: str, partition: int, begin: int) -> int:
        """The position of a reader; one not known yet is written down at ``begin``, and survives from then on.

        Where it was known and lost with a damaged file, while data was kept, the reader goes on at the end of the
        journal: better a gap that is named than figures that count twice.
        """
        key = (self._sink, reader, partition)

        def work(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                "SELECT position FROM positions WHERE sink = ? AND reader = ? AND partition = ?", key
            ).fetchone()
            if row:
                return int(row[0])
            at = self._after_loss(connection, reader, begin) if on_the_bus(reader) else begin
            position_rows.put(connection, [(*key, at)])
            return at

        self._held[reader, partition] = await self._database.run(work)
        return self._held[reader, partition]

    def _after_loss(self, connection: sqlite3.Connection, reader: str, begin: int) -> int:
        path = self._database.path
        if not path or not position_rows.were_lost(connection):
            return begin
        at = max(begin, last_position(path.parent / "journal"))
        if at > begin:
            what = (
                f"the position of pipeline {reader!r} in {self._sink!r} was lost: it goes on at {at}, and events "
                f"between positions {begin} and {at} may be missing from it"
            )
            _log.error("%s: %s", path.name, what)
            salvage.add_to_report(path, what)
        return at

    async def commit(self, batch: Batch, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work and go to the end of the batch, in one transaction; if this raises, neither has happened."""

        def both(connection: sqlite3.Connection) -> T:
            result = work(connection)
            self.move(connection, batch.reader, batch.partition, batch.end)
            return result

        result = await self._database.run(both)
        self.moved(batch.reader, batch.partition, batch.end)
        return result

    def move(self, connection: sqlite3.Connection, reader: str, partition: int, end: int) -> None:
        """Go to ``end``, inside a transaction; raise Conflict if somebody else moved this position."""
        held = self._held[reader, partition]
        moved = connection.execute(
            "UPDATE positions SET position = ? WHERE sink = ? AND reader = ? AND partition = ? AND position = ?",
            (end, self._sink, reader, partition, held),
        ).rowcount
        if not moved:
            raise Conflict(f"the position of pipeline {reader!r} in {self._sink!r} was moved by somebody else")

    def moved(self, reader: str, partition: int, end: int) -> None:
        """Say that the transaction of :meth:`move` was committed."""
        self._held[reader, partition] = end

    def held(self, reader: str, partition: int) -> int:
        """The position that was committed last."""
        return self._held[reader, partition]
