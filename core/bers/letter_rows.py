"""How dead letters lie in a database: a row for each, and how many they are and how large."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from bers.checksums import summed
from bers.letters import Filter, Finding, Letter, Place
from bers.records import Batch, Event, Window, halves

OVERHEAD = 200
"""About how many bytes a letter takes beside its records and its errors."""

LARGEST = 1 << 20
"""Bytes; records that share a letter are kept in several where one would be larger."""

_SUMMED = (
    "id, pipeline, stage, reason, attempts, first_time, last_time, first_error, last_error, partition, position, "
    "records, size, turn, replayed, original"
)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, stage TEXT NOT NULL, reason TEXT NOT NULL,
    attempts INTEGER NOT NULL, first_time REAL NOT NULL, last_time REAL NOT NULL, first_error TEXT NOT NULL,
    last_error TEXT NOT NULL, partition INTEGER NOT NULL, position INTEGER NOT NULL, records INTEGER NOT NULL,
    size INTEGER NOT NULL, turn INTEGER, replayed INTEGER NOT NULL DEFAULT 0, original BLOB NOT NULL,
    {summed(_SUMMED)}
)
"""
_INDEX = "CREATE INDEX IF NOT EXISTS dead_letters_by_place ON dead_letters (stage, pipeline, position)"
_IN_FLIGHT = "CREATE INDEX IF NOT EXISTS dead_letters_in_flight ON dead_letters (turn) WHERE turn IS NOT NULL"

# Kept by triggers, so that no scan of the letters is needed to know whether there is room, and no path forgets it.
_TOTALS = (
    """
    CREATE TABLE IF NOT EXISTS dead_letter_totals (
        only INTEGER PRIMARY KEY CHECK (only = 0), letters INTEGER NOT NULL, bytes INTEGER NOT NULL,
        handed INTEGER NOT NULL
    )
    """,
    # Counted anew whenever a node starts: letters may have been lost with a damaged file.
    """
    INSERT OR REPLACE INTO dead_letter_totals (only, letters, bytes, handed)
    SELECT 0, count(*), coalesce(sum(size), 0), coalesce(sum(replayed), 0) FROM dead_letters
    """,
    """
    CREATE TRIGGER IF NOT EXISTS dead_letter_came AFTER INSERT ON dead_letters BEGIN
        UPDATE dead_letter_totals SET letters = letters + 1, bytes = bytes + new.size;
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS dead_letter_handed AFTER UPDATE OF replayed ON dead_letters BEGIN
        UPDATE dead_letter_totals SET handed = handed + new.replayed - old.replayed;
    END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS dead_letter_gone AFTER DELETE ON dead_letters BEGIN
        UPDATE dead_letter_totals
        SET letters = letters - 1, bytes = bytes - old.size, handed = handed - old.replayed;
    END
    """,
)

COLUMNS = (
    "id, pipeline, stage, reason, attempts, first_time, last_time, first_error, last_error, partition, position, "
    "records, size, turn"
)
_INSERT = (
    "INSERT INTO dead_letters (pipeline, stage, reason, attempts, first_time, last_time, first_error, last_error, "
    "partition, position, records, size, original) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_encode = msgspec.msgpack.Encoder(enc_hook=str).encode  # What cannot be encoded may be why it lies here.
_decode = msgspec.msgpack.Decoder(tuple[list[Event], list[Window]]).decode


def make(connection: sqlite3.Connection) -> None:
    """Make what is not there yet."""
    for statement in (_SCHEMA, _INDEX, _IN_FLIGHT, *_TOTALS):
        connection.execute(statement)


def insert(
    connection: sqlite3.Connection,
    place: Place,
    findings: Iterable[Finding],
    now: float,
    mask: Callable[[str], str],
) -> list[tuple[int]]:
    """Write letters down; return their ids."""
    ids: list[tuple[int]] = []
    for finding in findings:
        for batch, body in _bodies(finding.batch):
            first, last = mask(finding.first_error), mask(finding.last_error)
            size = len(body) + OVERHEAD + len(first) + len(last)
            row = (
                *place, finding.reason, finding.attempts, finding.first_time, now, first, last,
                batch.partition, batch.end, len(batch), size, body,
            )  # fmt: skip
            ids.append(connection.execute(f"{_INSERT} RETURNING id", row).fetchone())
    return ids


def _bodies(batch: Batch) -> Iterator[tuple[Batch, bytes]]:
    """The records as they are kept, in as many pieces as are needed."""
    body = _encode((batch.events, batch.windows))
    if len(body) <= LARGEST or len(batch) == 1:
        yield batch, body
        return
    for half in halves(batch):
        yield from _bodies(half)


def letters(connection: sqlite3.Connection, where: str, values: Sequence[object]) -> list[Letter]:
    """Letters with their originals."""
    found: list[Letter] = []
    for *fields, body in connection.execute(f"SELECT {COLUMNS}, original FROM dead_letters WHERE {where}", values):
        events, windows = _decode(body)
        letter = Letter(*fields)
        batch = Batch(events, windows, letter.pipeline, letter.partition, letter.position)
        found.append(msgspec.structs.replace(letter, batch=batch))
    return found


def chosen(filter: Filter) -> tuple[str, list[object]]:
    """The condition that a filter is, and its values."""
    wanted: dict[str, object] = dict(zip(("pipeline = ?", "stage = ?", "reason = ?"), filter, strict=False))
    if filter.before:
        wanted["id < ?"] = filter.before
    clauses = {clause: value for clause, value in wanted.items() if value}
    return " AND ".join(["NOT replayed", *clauses]), list(clauses.values())
