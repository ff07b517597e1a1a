"""One JSON document of an emitter, as the event that it describes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from math import isfinite
from typing import Any

import msgspec

from bers.decoding import cdevents, cloudevents
from bers.decoding.limits import (
    MAX_LABEL,
    MAX_LABELS,
    MAX_MEASURES,
    MAX_NAME,
    MAX_NUMBER,
    MAX_REASON,
    check_data,
    check_parts,
    check_time,
)
from bers.decoding.vocabulary import Canonical, canonical, outcome
from bers.plain import as_number, as_object
from bers.records import Event, Run, Vcs

_TEXTS = {"id": 256, "source": 1024, "subject": 512, "environment": 100, "reason": MAX_REASON, "service": 200,
          "version": 200, "artifact": 512, "chain": 256, "traceparent": 128}  # fmt: skip
_SYNONYMS = {
    "correlationId": "subject", "durationMs": "duration_ms", "duration": "duration_ms", "timestamp": "time",
    "error": "reason", "message": "reason",
}  # fmt: skip
_MEASURES = {
    "successRate": "success_rate", "bundleSize": "bundle.size", "queueTime": "queue", "leadTime": "lead_time",
    "cacheHitRate": "cache.hit_rate", "failureRate": "failure_rate",
}  # fmt: skip
_KNOWN = {
    *_TEXTS, "type", "time", "outcome", "duration_ms", "vcs", "run", "measures", "labels", "weight", "data",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_MILLISECONDS_FROM = 1e11


def event(document: Mapping[str, Any], *, now: float, fallback_id: str, origin: str = "") -> Event:
    """Read one document: plain JSON, a CloudEvent, a CDEvent, one inside the other, or one of the runbook's browser
    events.

    ``now`` and ``fallback_id`` serve where it names no time or no id; ``origin`` is what it was before. Raise
    ValueError naming the field, what is wrong with it, and what would be right.
    """
    fields = _flat(document)
    kind = canonical(_text(fields, "type", 256) or _missing("type"))
    texts = {name: _text(fields, name, limit) for name, limit in _TEXTS.items()}
    if texts["source"] and texts["source"].startswith("bers:"):
        raise ValueError("source: 'bers:' is reserved for this server's own events; name the emitter")
    given = _text(fields, "outcome", 40)
    measures = _measures(fields)
    vcs, run = _part(fields, "vcs", Vcs), _part(fields, "run", Run)
    check_parts(vcs, run)
    return Event(
        id=texts["id"] or fallback_id,
        source=texts["source"] or "/unknown",
        type=kind.type,
        time=check_time(_time(fields.get("time"), now)),
        subject=texts["subject"] or "",
        environment=texts["environment"],
        outcome=outcome(given) if given else kind.outcome,
        reason=texts["reason"],
        duration_ms=_duration(fields.get("duration_ms")),
        service=texts["service"],
        version=texts["version"],
        artifact=texts["artifact"],
        vcs=vcs,
        run=run,
        measures=measures,
        labels=_labels(fields.get("labels")),
        weight=_weight(fields.get("weight")),
        chain=texts["chain"],
        traceparent=texts["traceparent"],
        origin=origin or _origin(fields, kind),
        data=check_data(_rest(fields)),
    )


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """All that a document says, on one level and under our names; `null` is the same as not said."""
    if cloudevents.is_one(document):
        fields = cloudevents.fields(document)
    elif cdevents.is_one(document):
        fields = cdevents.fields(document)
    else:
        fields = _said(document)
    detail = fields.pop("detail", {})
    if (inner := as_object(detail)) is None:
        raise ValueError("detail: expected an object")
    fields = {**_said(inner), **fields}
    for synonym, name in _SYNONYMS.items():
        if synonym in fields and name not in fields and as_object(fields[synonym]) is None:
            fields[name] = fields.pop(synonym)
    return fields


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _measures(fields: Mapping[str, Any]) -> dict[str, float]:
    given = as_object(fields.get("measures", {}))
    if given is None:
        raise ValueError("measures: expected an object of numbers")
    measures: dict[str, float] = {}
    for name, value in given.items():
        if len(name) > MAX_NAME or not _NAME.fullmatch(name):
            raise ValueError(f"measures: {name[:40]!r} cannot name a measure; use letters, digits, dots and _")
        measures[name] = _number(value, f"measures.{name}")
    for theirs, mine in _MEASURES.items():
        if theirs in fields:
            measures.setdefault(mine, _number(fields[theirs], theirs))
    for group, prefix in (("phases", "phase"), ("coverage", "coverage"), ("tests", "tests")):
        for name, number in (as_object(fields.get(group)) or {}).items():
            if as_number(number) is not None:
                measures.setdefault(f"{prefix}.{name}", _number(number, f"{group}.{name}"))
        if (number := as_number(fields.get(group))) is not None:
            measures.setdefault("tests.total" if group == "tests" else prefix, _number(number, group))
    if len(measures) > MAX_MEASURES:
        raise ValueError(f"measures: {len(measures)} are too many; an event has at most {MAX_MEASURES}")
    return measures


def _labels(value: object) -> dict[str, str]:
    given = as_object({} if value is None else value)
    if given is None:
        raise ValueError("labels: expected an object of texts")
    if len(given) > MAX_LABELS:
        raise ValueError(f"labels: {len(given)} are too many; an event has at most {MAX_LABELS}")
    labels: dict[str, str] = {}
    for name, text in given.items():
        written = str(text).lower() if isinstance(text, bool) else str(text)
        if not isinstance(text, (str, int, float)) or len(written) > MAX_LABEL or len(name) > MAX_NAME:
            raise ValueError(f"labels.{name[:40]}: expected a text of at most {MAX_LABEL} characters")
        labels[name] = written
    return labels


def _text(fields: Mapping[str, Any], name: str, limit: int) -> str | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f"{name}: expected text")
    if len(value) > limit:
        raise ValueError(f"{name}: {len(value)} characters are too many; at most {limit}")
    return value


def _time(value: Any, now: float) -> float:
    """Seconds since 1970, of RFC 3339 text with a zone, or of a number of milliseconds."""
    if value is None:
        return now
    if isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value):
        return value / 1000 if abs(value) >= _MILLISECONDS_FROM else float(value)
    if isinstance(value, str):
        try:
            when = msgspec.convert(value, datetime, strict=False)
        except msgspec.ValidationError:
            when = None
        if when and when.tzinfo:
            return when.timestamp()
    raise ValueError(f"time: {str(value)[:40]!r} is not a time with a zone; write it as in '2026-11-23T08:00:00Z'")


def _duration(value: Any) -> float | None:
    if value is None:
        return None
    number = _number(value, "duration_ms")
    if number < 0:
        raise ValueError(f"duration_ms: {number:g} is negative; it is in milliseconds from start to finish")
    return number


def _weight(value: Any) -> int:
    if value is None:
        return 1
    if isinstance(value, float) and value.is_integer():  # JSON has one kind of number, and some write 2.0 for 2.
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1_000_000:
        raise ValueError("weight: expected a whole number from 1 to 1000000: how many events this one stands for")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_finite(value):
        raise ValueError(f"{name}: expected a finite number")
    if abs(value) > MAX_NUMBER:
        raise ValueError(f"{name}: {float(value):g} is out of range; at most {MAX_NUMBER:g}")
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # A whole number may be longer than any float.
        return False


def _part(fields: Mapping[str, Any], name: str, type: type[Any]) -> Any:
    value = fields.get(name)
    if value is None:
        return None
    part = as_object(value)
    if part and isinstance(part.get("committed_at"), str):
        value = {**part, "committed_at": _time(part["committed_at"], 0)}
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as exc:
        raise ValueError(f"{name}: {exc}") from exc


def _origin(fields: Mapping[str, Any], kind: Canonical) -> str:
    if version := fields.get("cdevents"):
        return f"cdevents/{version}"
    if type := fields.get("tekton"):
        return f"tekton/{type}"
    return kind.origin


def _rest(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What was said and has no field of its own."""
    rest = {key: value for key, value in fields.items() if key not in _KNOWN and key not in ("cdevents", "tekton")}
    data = fields.get("data")
    if (inner := as_object(data)) is not None:
        return {**inner, **rest}
    return rest if data is None else {**rest, "data": data}


def _missing(name: str) -> Any:
    raise ValueError(f"{name}: is missing; every event names it")
