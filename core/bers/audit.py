"""Who changed what, and when: one row for every write that somebody asked for."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from bers import disk
from bers.checksums import summed
from bers.clock import Clock
from bers.database import Database
from bers.operations import Caller
from bers.redaction import Redactor

_log = logging.getLogger(__name__)

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, principal TEXT NOT NULL, address TEXT NOT NULL, action TEXT NOT NULL,
    outcome TEXT NOT NULL, {summed("id, time, principal, address, action, outcome")}
)
"""


class Entry(msgspec.Struct, rename="camel", frozen=True):
    """One write: its time in milliseconds since 1970, who asked, from where, for what, and how it ended."""

    id: int
    time: int
    principal: str
    address: str
    action: str
    outcome: str


class Audit:
    """The rows, in the node's own database; only ever added to."""

    def __init__(self, state: Database, clock: Clock, redactor: Redactor | None = None) -> None:
        self._redactor = redactor or Redactor()
        self._state = state
        self._clock = clock

    async def record(self, caller: Caller, action: str, outcome: str) -> None:
        """Write one row; on a disk that does not let us, a line in the log says the same."""
        try:
            await self._state.run(self.row(caller, action, outcome))
        except Exception as exc:
            if not (why := disk.disk_fault(exc)):
                raise
            said = self._redactor.text(f"{caller.principal} from {caller.address or 'here'}: {action}: {outcome}")
            _log.warning("the audit trail cannot be written (%s): %s", why, said)

    def row(self, caller: Caller, action: str, outcome: str) -> Callable[[sqlite3.Connection], None]:
        """What writes one row, for a transaction."""
        # Several keys may have one name, while one takes over from another.
        principal = (
            f"{caller.principal} ({caller.key})" if caller.key not in ("", caller.principal) else caller.principal
        )
        values = (self._clock.time(), principal, caller.address, self._redactor.text(action), outcome)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_SCHEMA)
            connection.execute(
                "INSERT INTO audit (time, principal, address, action, outcome) VALUES (?, ?, ?, ?, ?)", values
            )

        return work

    async def entries(self, limit: int = 100) -> Sequence[Entry]:
        """The newest rows, newest first."""

        def work(connection: sqlite3.Connection) -> list[Entry]:
            connection.execute(_SCHEMA)
            rows = connection.execute(
                "SELECT id, CAST(time * 1000 AS INTEGER), principal, address, action, outcome "
                "FROM audit ORDER BY id DESC LIMIT ?",
                (limit,),
            )
            return [Entry(*row) for row in rows]

        return await self._state.run(work)
