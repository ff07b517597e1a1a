"""The chain of the audit: each row holds the hash of the row before it, and a seal that takes the node's key to make.

What a row says is hashed as ``SHA-256`` of a JSON array in UTF-8 without blanks: the hash of the row before it (empty
for the first), then its number, time in milliseconds since 1970, principal, address, operator, action, target, notes
and outcome. The seal is ``HMAC-SHA-256`` of that hash with the node's key.
"""

from __future__ import annotations

import hmac
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from bers import mendings
from bers.checksums import checksum, summed

TABLE, HEAD_TABLE = "audit_chain", "audit_head"

SELF = "bers"
"""The principal of the rows that the chain says of itself; no key may be called so."""

MOVED = "audit/moved"
PRUNED = "audit/pruned"
GAP = "audit/gap"
NEW_KEY = "audit/new-key"
BROKEN = "audit/broken"
"""What the chain says of itself: rows from before it were taken in; old ones were deleted; a damaged file was mended;
the node has another key; its end was not as it was left."""

_COLUMNS = "seq, time, principal, address, operator, action, target, notes, outcome, previous, hash, signer, seal"
_SCHEMA = (
    f"""CREATE TABLE IF NOT EXISTS {TABLE} (
        seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, principal TEXT NOT NULL, address TEXT NOT NULL,
        operator TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL, notes TEXT NOT NULL, outcome TEXT NOT NULL,
        previous TEXT NOT NULL, hash TEXT NOT NULL, signer TEXT NOT NULL, seal TEXT NOT NULL, {summed(_COLUMNS)}
    )""",
    f"""CREATE TABLE IF NOT EXISTS {HEAD_TABLE} (
        one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL, signer TEXT NOT NULL,
        seal TEXT NOT NULL, {summed("one, seq, hash, signer, seal")}
    )""",
)


class Deed(NamedTuple):
    """What somebody did: all that a row says of its own."""

    time: int
    """Milliseconds since 1970."""
    principal: str
    address: str
    operator: str
    action: str
    target: str
    notes: str
    outcome: str


class Row(NamedTuple):
    """A row as it is kept."""

    seq: int
    time: int
    principal: str
    address: str
    operator: str
    action: str
    target: str
    notes: str
    outcome: str
    previous: str
    hash: str
    signer: str
    """Which key made the seal; empty where none was at hand."""
    seal: str
    checksum: int = 0

    @property
    def digest(self) -> str:
        """What its hash has to be."""
        return digest(self.previous, self.seq, self[1:9])

    @property
    def is_whole(self) -> bool:
        """Whether it is as SQLite wrote it."""
        return checksum(*self[:-1]) == self.checksum

    @property
    def is_of_the_chain(self) -> bool:
        """Whether the chain says it of itself."""
        return self.principal == SELF and not self.address and self.action.startswith("audit/")


class Head(NamedTuple):
    """The end of the chain, as whoever wrote last left it."""

    seq: int
    hash: str
    signer: str
    seal: str


class Signer:
    """What makes seals, and knows its own."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.name = sha256(b"bers audit " + key).hexdigest()[:8] if key else ""
        """Tells keys apart, and nothing about them."""

    def seal(self, hash: str) -> str:
        return hmac.new(self._key, f"row {hash}".encode(), sha256).hexdigest() if self._key else ""

    def seal_end(self, seq: int, hash: str) -> str:
        return hmac.new(self._key, f"end {seq} {hash}".encode(), sha256).hexdigest() if self._key else ""

    def knows(self, head: Head) -> bool:
        return hmac.compare_digest(head.seal, self.seal_end(head.seq, head.hash))


def digest(previous: str, seq: int, said: Sequence[object]) -> str:
    """The hash of a row, by what it says and the hash of the row before it."""
    text = json.dumps([previous, seq, *said], ensure_ascii=False, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def append(connection: sqlite3.Connection, deed: Deed, signer: Signer) -> None:
    """Write one row behind all others, after what the chain has to say of itself."""
    prepare(connection, deed.time, signer)
    _append(connection, deed, signer)


def prepare(connection: sqlite3.Connection, now: int, signer: Signer) -> None:
    """Make the tables, take in what is older than they are, and tell of what happened to them meanwhile."""
    for statement in _SCHEMA:
        connection.execute(statement)
    _take_in(connection, now, signer)
    head = head_of(connection)
    if found := mendings.untold(connection):
        _mark_gaps(connection, found, head, now, signer)
        mendings.told(connection, found)
    else:
        action, why = _doubt(_last(connection), head, signer)
        if action:
            _append(connection, _of_itself(now, action, outcome=why), signer)


def prune(connection: sqlite3.Connection, before: int, now: int, most: int, signer: Signer) -> int:
    """Delete the oldest rows from before a time, not more than so many; say so in the chain, which goes on whole."""
    prepare(connection, now, signer)
    first, newest = connection.execute(f"SELECT min(seq), max(seq) FROM {TABLE}").fetchone()
    if first is None:
        return 0
    (stays,) = connection.execute(f"SELECT min(seq) FROM {TABLE} WHERE time >= ?", (before,)).fetchone()
    upto = min(stays - 1 if stays is not None else newest, first + most - 1)
    found = connection.execute(f"SELECT seq, hash FROM {TABLE} WHERE seq <= ? ORDER BY seq DESC", (upto,)).fetchone()
    if found is None:
        return 0
    _append(connection, _of_itself(now, PRUNED, f"1-{found[0]}", found[1], "older than it is kept"), signer)
    return connection.execute(f"DELETE FROM {TABLE} WHERE seq <= ?", (upto,)).rowcount


def rows(connection: sqlite3.Connection, after: int, limit: int) -> list[Row]:
    """Rows in their order, from behind a number."""
    found = connection.execute(
        f"SELECT {_COLUMNS}, checksum FROM {TABLE} WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
    )
    return [Row(*row) for row in found]


def newest(connection: sqlite3.Connection, limit: int, before: int | None, principal: str, target: str) -> list[Row]:
    """Rows from the newest on, from before a number; of a principal and about a target, where they are told."""
    found = connection.execute(
        f"SELECT {_COLUMNS}, checksum FROM {TABLE} WHERE seq < ?1 AND (?2 = '' OR principal = ?2) "
        "AND (?3 = '' OR target = ?3) ORDER BY seq DESC LIMIT ?4",
        (before if before is not None else 1 << 62, principal, target, limit),
    )
    return [Row(*row) for row in found]


def head_of(connection: sqlite3.Connection) -> Head | None:
    row = connection.execute(f"SELECT seq, hash, signer, seal FROM {HEAD_TABLE}").fetchone()
    return Head(*row) if row else None


def spans(text: str) -> list[tuple[int, int]]:
    """The ranges of rows that the target of a row of the chain itself names: ``3-3 9-12``."""
    parts = [part.split("-") for part in text.split()]
    return [(int(one[0]), int(one[1])) for one in parts if len(one) == 2 and all(map(str.isdecimal, one))]


def _append(connection: sqlite3.Connection, deed: Deed, signer: Signer) -> None:
    before, previous = _end(_last(connection), head_of(connection), signer)
    seq, said = before + 1, [_clean(one) if isinstance(one, str) else one for one in deed]
    hash = digest(previous, seq, said)
    places = ", ".join("?" * len(Row._fields[:-1]))
    connection.execute(
        f"INSERT INTO {TABLE} ({_COLUMNS}) VALUES ({places})",
        (seq, *said, previous, hash, signer.name, signer.seal(hash)),
    )
    connection.execute(
        f"INSERT OR REPLACE INTO {HEAD_TABLE} (one, seq, hash, signer, seal) VALUES (1, ?, ?, ?, ?)",
        (seq, hash, signer.name, signer.seal_end(seq, hash)),
    )


def _clean(text: str) -> str:
    """The text as SQLite can keep it."""
    return text.encode(errors="replace").decode()


def _of_itself(now: int, action: str, target: str = "", notes: str = "", outcome: str = "done") -> Deed:
    return Deed(now, SELF, "", "", action, target, notes, outcome)


def _last(connection: sqlite3.Connection) -> tuple[int, str] | None:
    found: tuple[int, str] | None = connection.execute(
        f"SELECT seq, hash FROM {TABLE} ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    return found


def _doubt(last: tuple[int, str] | None, head: Head | None, signer: Signer) -> tuple[str, str]:
    """What has to be said before the chain goes on: what happened to its end, and how that shows.

    Where rows are missing or changed at the end nothing is: what comes next stands behind the row that should be there.
    """
    if head is None:
        return (BROKEN, "where the chain ends was not written down any more") if last else ("", "")
    if head.signer == signer.name:
        return ("", "") if signer.knows(head) else (BROKEN, "what says where the chain ends was changed")
    if not head.signer:
        return (NEW_KEY, "rows up to here have no seal")
    return NEW_KEY, f"rows up to here are sealed with another key ({head.signer}), which is not here any more"


def _end(last: tuple[int, str] | None, head: Head | None, signer: Signer) -> tuple[int, str]:
    """Behind which row the next one comes: the one that the chain was said to end with, be it there or not."""
    last = last or (0, "")
    if head is None or (head.signer == signer.name and not signer.knows(head)):
        return last
    return max(last[0], head.seq), head.hash


def _mark_gaps(
    connection: sqlite3.Connection, found: list[mendings.Mending], head: Head | None, now: int, signer: Signer
) -> None:
    """Say which rows are missing since a damaged file was mended, so that nobody is blamed for it."""
    last = _last(connection)
    ends = (last[0] if last else 0), _end(last, head, signer)[0]
    missing = [*_holes(connection), *([(ends[0] + 1, ends[1])] if ends[0] < ends[1] else [])]
    if not missing and head:
        return
    asides = ", ".join(sorted({one.aside for one in found}))
    lost = "; ".join(one.lost for one in found)
    why = f"a damaged file was mended, and is kept as {asides}; lost: {lost}"
    if head is None:
        why += "; what came at the end is not known"
    target = " ".join(f"{one}-{two}" for one, two in missing)
    _append(connection, _of_itself(now, GAP, target, outcome=why), signer)


def _holes(connection: sqlite3.Connection) -> Iterator[tuple[int, int]]:
    """The numbers that no row has, of those before the last; what was pruned is none of them."""
    found = connection.execute(
        f"SELECT before + 1, seq - 1 FROM (SELECT seq, lag(seq, 1, 0) OVER (ORDER BY seq) AS before FROM {TABLE}) "
        "WHERE seq > before + 1"
    ).fetchall()
    (pruned,) = connection.execute(
        f"SELECT coalesce(max(CAST(substr(target, 3) AS INTEGER)), 0) FROM {TABLE} WHERE principal = ? AND action = ?",
        (SELF, PRUNED),
    ).fetchone()
    for one, two in found:
        if two > pruned:
            yield max(one, pruned + 1), two


def _take_in(connection: sqlite3.Connection, now: int, signer: Signer) -> None:
    """Chain the rows of tables from before there was a chain, in the order of their times, and drop those tables."""
    old = [name for name in _EARLIER if connection.execute(_IS_THERE, (name,)).fetchone()]
    if not old:
        return
    deeds = sorted(
        (deed for name in old for deed in _earlier(connection.execute(_EARLIER[name]))), key=lambda one: one.time
    )
    first = _end(_last(connection), head_of(connection), signer)[0] + 1
    for deed in deeds:
        _append(connection, deed, signer)
    for name in old:
        connection.execute(f"DROP TABLE {name}")
    if deeds:
        why = "what they say was kept without a chain until now, and nothing vouches for it"
        _append(connection, _of_itself(now, MOVED, f"{first}-{first + len(deeds) - 1}", outcome=why), signer)


_IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
_EARLIER = {
    "audit": "SELECT CAST(time * 1000 AS INTEGER), principal, address, '', action, '', '', outcome "
    "FROM audit ORDER BY id",
    "alert_audit": "SELECT time, principal, address, operator, 'alerts/' || action, alert, notes, 'done' "
    "FROM alert_audit ORDER BY seq",
}


def _earlier(found: Iterable[tuple[int, str, str, str, str, str, str, str]]) -> Iterator[Deed]:
    for row in found:
        yield Deed(*row)
