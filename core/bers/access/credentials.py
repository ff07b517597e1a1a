"""Whose a key or a cookie is: the tables of keys and sessions, as they were a second ago at most."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import anyio

from bers.access import keys, sessions
from bers.access.keys import Key, digest, id_of
from bers.access.sessions import Session
from bers.access.settings import AccessSettings
from bers.clock import Clock
from bers.database import Database
from bers.errors import Refused

FRESH = 1.0
"""Seconds after which the tables are read again. `bers keys` writes to them from another process."""

NOTED = 60.0
"""Seconds between two notes of when a key was used."""


@dataclass(frozen=True)
class _Tables:
    keys: Mapping[str, Key] = field(default_factory=dict[str, Key])
    sessions: Mapping[bytes, Session] = field(default_factory=dict[bytes, Session])
    read: float = 0.0


class Credentials:
    """The keys and the sessions of one node."""

    def __init__(self, settings: AccessSettings, state: Database, clock: Clock) -> None:
        self._configured = keys.configured(settings.key) if settings.key else None
        self._lasts = float(settings.session.lasts)
        self._state = state
        self._clock = clock
        self._tables: _Tables | None = None
        self._reading = anyio.Lock()
        self._used: dict[str, float] = {}

    async def holder(self, text: str) -> Key | None:
        """The key that this is, if it is one that may be used; looked up by its id, and compared by its hash."""
        tables = await self._known()
        id = id_of(text)
        key = tables.keys.get(id) if id else self._configured
        if key is None and self._configured:
            key = self._configured  # Configuration may bring a key of our own make.
        if key is None or not key.fits(text) or not key.live(self._clock.time()):
            return None
        self._used[key.id] = self._clock.time()
        return key

    async def visitor(self, token: str) -> Key | None:
        """The key with which a session was opened, while both may be used."""
        tables = await self._known()
        session = tables.sessions.get(digest(token))
        if session is None or self._clock.time() >= session.expires:
            return None
        key = self._configured if session.key == keys.ENVIRONMENT else tables.keys.get(session.key)
        return key if key and key.live(self._clock.time()) and session.belongs(token, key) else None

    async def open(self, key: Key) -> tuple[str, float]:
        """Begin a session; return its token, and how many seconds it lasts."""
        now = self._clock.time()
        session, token = sessions.make(key, now=now, lasts=self._lasts)
        await self._change(partial(sessions.store, session=session))
        return token, session.expires - now

    async def close(self, token: str) -> None:
        """End a session."""
        await self._change(partial(sessions.end, hash=digest(token)))

    async def save(self) -> None:
        """Write down which keys were used since the last time."""
        used = [(id, at // NOTED * NOTED) for id, at in self._used.items() if id != keys.ENVIRONMENT]
        self._used.clear()
        if used:
            await self._change(partial(keys.note_use, used=used))

    async def _change(self, work: partial[None]) -> None:
        await self._state.run(work)
        self._tables = None

    async def _known(self) -> _Tables:
        if (tables := self._fresh()) is not None:
            return tables
        async with self._reading:  # One reads, and whoever came meanwhile has what it found.
            if (tables := self._fresh()) is None:
                now = self._clock.monotonic()
                try:
                    tables = self._tables = await self._state.run(partial(_read, now=now))
                except sqlite3.Error as exc:
                    message = f"keys cannot be looked up: {exc}"
                    raise Refused("unavailable", message, hint="see the disk of the server") from exc
            return tables

    def _fresh(self) -> _Tables | None:
        tables = self._tables
        return tables if tables and self._clock.monotonic() - tables.read < FRESH else None


def _read(connection: sqlite3.Connection, *, now: float) -> _Tables:
    return _Tables(
        {key.id: key for key in keys.stored(connection)},
        {session.hash: session for session in sessions.stored(connection)},
        now,
    )
