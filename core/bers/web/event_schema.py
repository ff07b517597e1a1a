"""What an event looks like that is handed in, as JSON Schema."""

from __future__ import annotations

from typing import Any

from bers.decoding.limits import MAX_LABEL, MAX_LABELS, MAX_MEASURES, MAX_NAME, MAX_NUMBER
from bers.decoding.vocabulary import OUTCOMES


def _text(most: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": most}


_NUMBER: dict[str, Any] = {"type": "number", "minimum": -MAX_NUMBER, "maximum": MAX_NUMBER}
_PLAIN: dict[str, Any] = {"anyOf": [{"type": ["string", "boolean", "null"]}, _NUMBER]}
EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["type"],
    "not": {"required": ["specversion"]},
    "properties": {
        "type": {
            "type": "string",
            "maxLength": 120,
            "pattern": "^(?!(?:alert|health|stage|config|clock)[.]|emitter[.]report$)"
            "[A-Za-z][A-Za-z0-9_-]*(?:[.][A-Za-z][A-Za-z0-9_-]*)*$",
            "examples": ["build.finished", "build-completed"],
        },
        "id": _text(256),
        "source": {**_text(1024), "pattern": "^(?!bers:)", "examples": ["/ci/main"]},
        "time": {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "number", "minimum": 0, "maximum": 253_402_300_799_000},
            ]
        },
        "subject": _text(512),
        "environment": _text(100),
        "outcome": {"enum": sorted({*OUTCOMES.values(), *OUTCOMES})},
        "reason": _text(4096),
        "duration_ms": {**_NUMBER, "minimum": 0},
        "service": _text(200),
        "version": _text(200),
        "artifact": _text(512),
        "measures": {
            "type": "object",
            "maxProperties": MAX_MEASURES,
            "propertyNames": {"pattern": "^[A-Za-z][A-Za-z0-9_.-]*$", "maxLength": MAX_NAME},
            "additionalProperties": _NUMBER,
        },
        "labels": {
            "type": "object",
            "maxProperties": MAX_LABELS,
            "propertyNames": {"maxLength": MAX_NAME},
            "additionalProperties": _text(MAX_LABEL),
        },
        "weight": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
        "chain": _text(256),
        "traceparent": _text(128),
        "data": {"type": "object", "additionalProperties": _PLAIN},
    },
    "additionalProperties": _PLAIN,
}
"""The plain form of an event. Others are understood too, so what does not fit here need not be refused."""

CLOUD: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {**_text(256), "minLength": 1},
        "source": {**EVENT["properties"]["source"], "minLength": 1},
        "type": EVENT["properties"]["type"],
        "time": {"type": "string", "format": "date-time"},
        "subject": _text(512),
        "datacontenttype": {"const": "application/json"},
        "data": {"type": "object", "additionalProperties": False},
    },
    "additionalProperties": False,
}
"""A CloudEvent in JSON; it may hold more."""
