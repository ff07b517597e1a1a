"""The table of silences: living ones, and for a while those that are over."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from bers import Audit, Caller, summed
from bers_builtin.sinks.alert_engine.suppression.silences import Did, Kept, Silence, Step

SCHEMA = f"""CREATE TABLE IF NOT EXISTS alert_silences (
    stage TEXT, id TEXT, ended INTEGER, body BLOB NOT NULL, {summed("stage, id, ended, body")}, PRIMARY KEY (stage, id)
)"""


def living(connection: sqlite3.Connection, stage: str) -> list[Kept]:
    """Those that are not over, oldest first."""
    rows = connection.execute(
        "SELECT body FROM alert_silences WHERE stage = ? AND ended IS NULL ORDER BY rowid", (stage,)
    )
    return [_decode(body) for (body,) in rows]


def expired(connection: sqlite3.Connection, stage: str, limit: int) -> list[Silence]:
    """Those that are over, the last first."""
    rows = connection.execute(
        "SELECT body FROM alert_silences WHERE stage = ? AND ended IS NOT NULL ORDER BY ended DESC, id LIMIT ?",
        (stage, limit),
    )
    return [_decode(body).silence for (body,) in rows]


def find(connection: sqlite3.Connection, stage: str, id: str) -> Silence | None:
    row = connection.execute("SELECT body FROM alert_silences WHERE stage = ? AND id = ?", (stage, id)).fetchone()
    return _decode(row[0]).silence if row else None


def write(
    connection: sqlite3.Connection,
    stage: str,
    audit: Audit,
    changed: Sequence[Kept],
    steps: Sequence[Step],
    deeds: Sequence[Did],
) -> None:
    """Write down what changed, what is told of it, and who did it."""
    connection.executemany(
        "INSERT INTO alert_silences (stage, id, ended, body) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET ended = excluded.ended, body = excluded.body",
        [(stage, kept.silence.id, kept.silence.ended_at, msgspec.msgpack.encode(kept)) for kept in changed],
    )
    connection.executemany(
        "INSERT INTO alert_outbox (stage, kind, time, body) VALUES (?, ?, ?, ?)",
        [(stage, step.kind, step.time, msgspec.json.encode(step.silence)) for step in steps],
    )
    for deed in deeds:
        audit.row(
            Caller(deed.principal, deed.address),
            f"silences/{deed.action}",
            "done",
            target=deed.silence.id,
            operator=deed.operator,
            notes=f"{', '.join(deed.silence.matchers)}: {deed.notes}",
        )(connection)


def prune(connection: sqlite3.Connection, stage: str, before: int, limit: int) -> int:
    """Forget some that ended before a time."""
    rows = "SELECT rowid FROM alert_silences WHERE stage = ? AND ended < ? LIMIT ?"
    return connection.execute(f"DELETE FROM alert_silences WHERE rowid IN ({rows})", (stage, before, limit)).rowcount


_decode = msgspec.msgpack.Decoder(Kept).decode
