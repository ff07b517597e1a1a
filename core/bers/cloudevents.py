"""Events as others read them: CloudEvents 1.0 in structured JSON, with everything masked that nobody may read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from bers.records import Event
from bers.redaction import redact

MAX_DATA = 48 * 1024
"""Emitters' own data beyond so many bytes stays here: what travels is to fit into 64 KiB, as CloudEvents asks."""

_ATTRIBUTES = ("id", "source", "type", "time", "subject", "traceparent", "seq", "received")
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def as_cloudevent(event: Event) -> dict[str, Any]:
    """The event as a CloudEvent of type ``io.bers.SUBJECT.PREDICATE.v1``; its canonical fields are the data."""
    fields: dict[str, Any] = msgspec.to_builtins(event)
    data = {name: value for name, value in fields.items() if name not in _ATTRIBUTES}
    if "data" in data and (size := len(msgspec.json.encode(data["data"]))) > MAX_DATA:
        data["data"] = {"omitted_bytes": size}
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": f"io.bers.{event.type}.v1",
        "time": rfc3339(event.time),
        "datacontenttype": "application/json",
    }
    if event.subject:
        document["subject"] = event.subject
    if event.traceparent:
        document["traceparent"] = event.traceparent
    if event.seq:
        document["sequence"] = str(event.seq)
    masked: dict[str, Any] = redact(document | {"data": data})
    return masked


def rfc3339(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 has them; a time that no calendar knows becomes the nearest one that it does."""
    moment = datetime.fromtimestamp(min(max(seconds, 0.0), _LATEST), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
