"""Open breakers outlive the process: a restart is no reason to ask at once what is given a rest."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bers import disk
from bers.checksums import summed
from bers.database import Database
from bers.errors import Refused
from bers.health.breaker import Rest

_SCHEMA = f"CREATE TABLE IF NOT EXISTS health_rests (name TEXT PRIMARY KEY, body BLOB NOT NULL, {summed('name, body')})"

_log = logging.getLogger(__name__)


class Resting(msgspec.Struct, frozen=True):
    """A check whose breaker is not closed, and what it found last."""

    digest: str
    """Of what it looks at: one that looks at something else is another check."""
    rest: Rest
    timestamp: int
    message: str
    error: str | None
    remediation: str | None
    details: Mapping[str, Any]


class Rests:
    """The rows, in the node's own database."""

    def __init__(self, state: Database) -> None:
        self._state = state
        self._unwritten: dict[str, Resting | None] = {}

    async def load(self) -> Mapping[str, Resting]:
        """Read all of them."""

        def work(connection: sqlite3.Connection) -> list[tuple[str, bytes]]:
            connection.execute(_SCHEMA)
            return connection.execute("SELECT name, body FROM health_rests").fetchall()

        found: dict[str, Resting] = {}
        try:
            for name, body in await self._state.run(work):
                found[name] = msgspec.msgpack.decode(body, type=Resting)
        except (sqlite3.Error, OSError, Refused, msgspec.DecodeError) as exc:
            _log.warning("which checks were given a rest cannot be read: %s", exc)
        return found

    def put(self, name: str, resting: Resting) -> None:
        """Hear that a check is given a rest."""
        self._unwritten[name] = resting

    def drop(self, names: Iterable[str]) -> None:
        """Hear that these are not given one any more."""
        self._unwritten.update(dict.fromkeys(names))

    async def save(self) -> bool:
        """Write down what is not yet; False where that cannot be at present."""
        if not self._unwritten:
            return True
        changes, self._unwritten = self._unwritten, {}
        gone = [(name,) for name, resting in changes.items() if resting is None]
        kept = [(name, msgspec.msgpack.encode(one, enc_hook=str)) for name, one in changes.items() if one is not None]

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_SCHEMA)
            connection.executemany("DELETE FROM health_rests WHERE name = ?", gone)
            connection.executemany("INSERT OR REPLACE INTO health_rests (name, body) VALUES (?, ?)", kept)

        try:
            await self._state.run(work)
        except (sqlite3.Error, OSError, Refused) as exc:
            self._unwritten = {**changes, **self._unwritten}
            if not disk.disk_fault(exc):
                _log.warning("which checks are given a rest could not be written down: %s", exc)
            return False
        except BaseException:
            self._unwritten = {**changes, **self._unwritten}
            raise
        return True
