"""API keys: what they look like, and the table in which only their hashes are kept."""

from __future__ import annotations

import hmac
import re
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import get_args

from bers.checksums import summed
from bers.operations import Scope
from bers.redaction import Secret

SCOPES: tuple[Scope, ...] = get_args(Scope)
ENVIRONMENT = "environment"
"""The name of the key that configuration brings, which has every scope."""

_OURS = re.compile(r"bers_([0-9a-f]{8})_[0-9a-f]{64}")
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, hash BLOB NOT NULL, scopes TEXT NOT NULL, created REAL NOT NULL,
    expires REAL, used REAL, revoked REAL, {summed("id, name, hash, scopes, created, expires, used, revoked")}
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Key:
    """A key, as far as it is kept: the key itself is shown once, when it is made."""

    id: str
    name: str
    hash: bytes
    scopes: frozenset[Scope]
    created: float
    expires: float | None = None
    used: float | None = None
    """When it was used last, to the minute."""
    revoked: float | None = None

    def live(self, now: float) -> bool:
        return self.revoked is None and (self.expires is None or now < self.expires)

    def fits(self, text: str) -> bool:
        """Whether this is the key; how long that takes tells nothing of how much of it was right."""
        return hmac.compare_digest(self.hash, digest(text))


def digest(text: str) -> bytes:
    """What is kept of a secret.

    A plain hash, and not one that is slow on purpose: those make it dear to guess passwords that people choose. Our
    keys are 256 random bits, which nobody guesses; and a slow hash would let anybody keep this machine busy.
    """
    return sha256(text.encode()).digest()


def id_of(text: str) -> str | None:
    """The id within a key of ours; None where it does not look like one."""
    match = _OURS.fullmatch(text)
    return match[1] if match else None


def make(name: str, scopes: Iterable[Scope], *, now: float, expires: float | None = None) -> tuple[Key, str]:
    """A new key, and its text, which is nowhere else."""
    id = secrets.token_hex(4)
    text = f"bers_{id}_{secrets.token_hex(32)}"
    return Key(id, name, digest(text), frozenset(scopes), now, expires), text


def configured(secret: Secret) -> Key:
    """The key that configuration brings. It is kept nowhere, and so somebody may have chosen it."""
    return Key(ENVIRONMENT, ENVIRONMENT, digest(secret.reveal()), frozenset(SCOPES), 0.0)


def store(connection: sqlite3.Connection, key: Key) -> None:
    connection.execute(_SCHEMA)
    row = (key.id, key.name, key.hash, " ".join(_ordered(key.scopes)), key.created, key.expires)
    connection.execute("INSERT INTO keys (id, name, hash, scopes, created, expires) VALUES (?, ?, ?, ?, ?, ?)", row)


def stored(connection: sqlite3.Connection) -> list[Key]:
    """Every key that was ever made, oldest first."""
    connection.execute(_SCHEMA)
    rows = connection.execute(
        "SELECT id, name, hash, scopes, created, expires, used, revoked FROM keys ORDER BY created, id"
    )
    return [Key(id, name, hash, _scopes(scopes), *rest) for id, name, hash, scopes, *rest in rows]


def revoke(connection: sqlite3.Connection, id: str, *, now: float) -> Key | None:
    """End a key for good; return it as it was, or None where there is no such key."""
    found = next((key for key in stored(connection) if key.id == id), None)
    if found and found.revoked is None:
        connection.execute("UPDATE keys SET revoked = ? WHERE id = ?", (now, id))
    return found


def note_use(connection: sqlite3.Connection, used: Sequence[tuple[str, float]]) -> None:
    """Write down when keys, by their ids, were used last."""
    connection.execute(_SCHEMA)
    connection.executemany("UPDATE keys SET used = ? WHERE id = ?", [(at, id) for id, at in used])


def _ordered(scopes: frozenset[Scope]) -> list[Scope]:
    return [one for one in SCOPES if one in scopes]


def _scopes(text: str) -> frozenset[Scope]:
    named = text.split()
    return frozenset(one for one in SCOPES if one in named)
