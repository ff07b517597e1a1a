"""Log records that are events, as documents: their attributes under the names that events have here."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from hashlib import blake2b
from math import isfinite
from typing import Any

import msgspec

from bers_builtin.sources.otlp import conventions
from bers_builtin.sources.otlp.messages import Attributes, LogRecord, RecordTold, attributes
from bers_builtin.sources.otlp.points import Document

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,119}")
_HEX = re.compile(r"[0-9a-f]+")
_IDS = ("log.record.uid", "event.id")
_REASONS = ("error.message", "exception.message", "error.type", "exception.type")
_ASIDE = frozenset({"event.name", "duration_ms", *_IDS}) | conventions.CONTEXT


def documents(told: Iterable[RecordTold | None], labels: Collection[str]) -> Iterator[Document | ValueError | None]:
    """Each record that names an event as its document, or why it is none; ``labels`` are those that metrics have. At a
    None others have their turn.
    """
    for one in told:
        if one is None:
            yield None
            continue
        resource, record = one
        own = attributes(record.attributes)
        name = record.event_name or own.get("event.name")
        if isinstance(name, str) and name:
            yield _document(name, record, resource, own, labels)
        else:
            yield ValueError("a log record without an event name is no event; this server keeps no other logs")


def _document(name: str, record: LogRecord, resource: Attributes, own: Attributes, labels: Collection[str]) -> Document:
    said = resource | own
    type, ended = conventions.event_type(name, own)
    document: Document = {
        "type": type,
        "id": next((str(own[one]) for one in _IDS if own.get(one)), "") or _digest(name, record, said),
        "source": conventions.source(resource),
        "subject": str(own.get("subject", "")) or conventions.subject(own),
        "outcome": ended,
        **conventions.fields(said),
        "origin": f"otlp/{name}",
    }
    if moment := record.time_unix_nano or record.observed_time_unix_nano:
        document["time"] = moment / 1e9
    if _number(own.get("duration_ms")) is not None:
        document["duration_ms"] = own["duration_ms"]
    told_why = next((one for one in _REASONS if own.get(one)), "")
    if reason := str(own[told_why]) if told_why else _body_of_failure(record, document["outcome"]):
        document["reason"] = reason[:4096]
    if parent := _traceparent(record):
        document["traceparent"] = parent
    known = {one.replace(".", "_"): one for one in own}
    told = {label: str(own[known[label]])[:200] for label in labels if label in known and own[known[label]] != ""}
    if severity := conventions.severity(record.severity_number):
        told["severity"] = severity
    numbers = {one: number for one, value in own.items() if (number := _number(value)) is not None}
    document["labels"] = told
    document["measures"] = {
        one: number for one, number in numbers.items() if one not in _ASIDE and _NAME.fullmatch(one)
    }
    document["data"] = _rest(
        record, own, {*_ASIDE, "subject", told_why, *numbers, *(known[label] for label in told if label in known)}
    )
    return document


def _rest(record: LogRecord, own: Attributes, told: set[str]) -> dict[str, Any]:
    rest = {name: value for name, value in own.items() if name not in told}
    if record.body is not None and (body := record.body.plain()) not in (None, ""):
        rest["body"] = body
    return rest


def _body_of_failure(record: LogRecord, outcome: object) -> str:
    """What a record says in words, where it tells of something that went wrong."""
    body = record.body.string_value if record.body else None
    return (body or "") if outcome in ("failure", "error", "timeout") else ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        return None
    return float(value)


def _traceparent(record: LogRecord) -> str:
    trace, span = record.trace_id.lower(), record.span_id.lower()
    if len(trace) != 32 or len(span) != 16 or not _HEX.fullmatch(trace + span) or not int(trace, 16):
        return ""
    return f"00-{trace}-{span}-{record.flags & 0xFF:02x}"


def _digest(name: str, record: LogRecord, said: Attributes) -> str:
    """The same for a record that is sent again."""
    parts = [name, record.time_unix_nano, record.observed_time_unix_nano, said, record.body and record.body.plain()]
    return blake2b(msgspec.json.encode(parts, order="deterministic"), digest_size=16).hexdigest()
