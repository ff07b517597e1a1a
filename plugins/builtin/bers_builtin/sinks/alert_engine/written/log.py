"""The log of alerts: every step in the life of each, and why. Rows are added, and go when the history is over."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from bers import summed
from bers_builtin.sinks.alert_engine.alerts import Kind, Reason, Status, Transition

SCHEMA = (
    f"""CREATE TABLE IF NOT EXISTS alert_log (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, stage TEXT NOT NULL, time INTEGER NOT NULL, alert TEXT NOT NULL,
        rule TEXT NOT NULL, severity TEXT NOT NULL, kind TEXT NOT NULL, was TEXT, status TEXT NOT NULL,
        word TEXT NOT NULL, sentence TEXT NOT NULL, told INTEGER NOT NULL, took INTEGER, details BLOB NOT NULL,
        {summed("seq, stage, time, alert, rule, severity, kind, was, status, word, sentence, told, took, details")}
    )""",
    "CREATE INDEX IF NOT EXISTS alert_log_by_alert ON alert_log (stage, alert)",
    "CREATE INDEX IF NOT EXISTS alert_log_by_time ON alert_log (stage, time)",
)

PRUNE = (
    "DELETE FROM alert_log WHERE seq IN (SELECT seq FROM alert_log WHERE stage = ? AND time < ? LIMIT ?) RETURNING 1"
)

_INSERT = (
    "INSERT INTO alert_log (stage, time, alert, rule, severity, kind, was, status, word, sentence, told, took, details)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Entry(msgspec.Struct, rename={"was": "from", "status": "to"}, frozen=True):
    """One step in the life of an alert; ``time`` in milliseconds since 1970."""

    seq: int
    time: int
    alert: str
    rule: str
    kind: Kind
    was: Status | None
    """Its status before; nothing where it began."""
    status: Status
    reason: Reason
    told: bool
    """Whether an event told of it."""
    details: Mapping[str, Any]


def write(connection: sqlite3.Connection, stage: str, steps: Iterable[Transition]) -> None:
    connection.executemany(_INSERT, [(stage, *_row(step)) for step in steps])


def read(connection: sqlite3.Connection, stage: str, alert: str) -> list[Entry]:
    """What happened to an alert, in order."""
    rows = connection.execute(
        "SELECT seq, time, alert, rule, kind, was, status, word, sentence, told, details FROM alert_log"
        " WHERE stage = ? AND alert = ? ORDER BY seq",
        (stage, alert),
    )
    return [
        Entry(seq, time, id, rule, kind, was, status, Reason(word, sentence), bool(told), _decode(details))
        for seq, time, id, rule, kind, was, status, word, sentence, told, details in rows
    ]


def _row(step: Transition) -> Sequence[object]:
    alert, time = step.alert, int(step.time * 1000)
    took = max(0, time - alert.fired_at) if step.kind in ("acknowledged", "resolved") else None
    return (
        time,
        alert.id,
        alert.rule,
        alert.severity,
        step.kind,
        step.was,
        alert.status,
        step.reason.word,
        step.reason.sentence,
        step.is_told,
        took,
        msgspec.json.encode(_details(step)),
    )


def _details(step: Transition) -> Mapping[str, Any]:
    """What belongs to a step besides its reason; the alert itself shows only how it ended."""
    alert = step.alert
    details: dict[str, Any] = {"value": alert.value, "count": alert.count}
    match step.kind:
        case "acknowledged":
            details["acknowledgment"] = alert.acknowledgment
        case "resolved":
            details |= {"resolution": alert.resolution, "acknowledged": alert.acknowledgment is not None}
        case "suppressed":
            details["suppressedBy"] = alert.suppressed_by
        case "escalated":
            details["escalation"] = alert.escalation
        case _:
            pass
    return details
