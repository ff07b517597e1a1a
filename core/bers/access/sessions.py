"""Logins of people: a random token in a cookie, and its hash in the node's database."""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass

from bers.access.keys import Key, digest
from bers.checksums import summed

MOST = 1000
"""Sessions that are kept; beyond, the oldest ends."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS sessions (
    hash BLOB PRIMARY KEY, key TEXT NOT NULL, bound BLOB NOT NULL, created REAL NOT NULL, expires REAL NOT NULL,
    {summed("hash, key, bound, created, expires")}
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Session:
    """A login: it ends at its time, and with the key that it was opened with."""

    hash: bytes
    key: str
    """The id of the key."""
    bound: bytes
    """Joins the session to the text of the key, for the one that configuration brings: the next may be another."""
    created: float
    expires: float

    def belongs(self, token: str, key: Key) -> bool:
        return secrets.compare_digest(self.bound, _bound(token, key))


def make(key: Key, *, now: float, lasts: float) -> tuple[Session, str]:
    """A new session of a key's holder, and its token."""
    token = secrets.token_hex(32)
    expires = now + lasts if key.expires is None else min(now + lasts, key.expires)
    return Session(digest(token), key.id, _bound(token, key), now, expires), token


def store(connection: sqlite3.Connection, session: Session) -> None:
    """Keep a session; forget those that are over, and the oldest of too many."""
    connection.execute(_SCHEMA)
    row = (session.hash, session.key, session.bound, session.created, session.expires)
    connection.execute("INSERT INTO sessions (hash, key, bound, created, expires) VALUES (?, ?, ?, ?, ?)", row)
    connection.execute("DELETE FROM sessions WHERE expires <= ?", (session.created,))
    newest = "SELECT hash FROM sessions ORDER BY created DESC LIMIT ?"
    connection.execute(f"DELETE FROM sessions WHERE hash NOT IN ({newest})", (MOST,))


def stored(connection: sqlite3.Connection) -> list[Session]:
    connection.execute(_SCHEMA)
    return [Session(*row) for row in connection.execute("SELECT hash, key, bound, created, expires FROM sessions")]


def forget(connection: sqlite3.Connection) -> None:
    """End every session: in a copy of the database, where nobody has logged in."""
    connection.execute(_SCHEMA)
    connection.execute("DELETE FROM sessions")


def end(connection: sqlite3.Connection, hash: bytes) -> None:
    connection.execute(_SCHEMA)
    connection.execute("DELETE FROM sessions WHERE hash = ?", (hash,))


def _bound(token: str, key: Key) -> bytes:
    # Hashed together with the token: from this alone nobody can try out keys that a person may have chosen.
    return digest(f"{token} {key.hash.hex()}")
