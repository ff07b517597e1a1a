"""Events in the exact shape that our own emitters send: they decode many times faster than what may be anything."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bers.decoding.limits import MAX_LABEL, MAX_LABELS, MAX_MEASURES, MAX_NAME, MAX_NUMBER
from bers.records import Outcome, Run, Vcs

_Text = Annotated[str, Meta(min_length=1, max_length=100)]


class Plain(msgspec.Struct, forbid_unknown_fields=True):
    """What does not fit is read the slow way, which says why."""

    type: str
    id: Annotated[str, Meta(min_length=1, max_length=256)]
    source: Annotated[str, Meta(min_length=1, max_length=1024)]
    time: Annotated[datetime, Meta(tz=True)] | float | int
    subject: Annotated[str, Meta(max_length=512)] = ""
    environment: _Text | None = None
    outcome: Outcome | None = None
    reason: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    duration_ms: Annotated[float, Meta(ge=0, le=MAX_NUMBER)] | None = None
    service: _Text | None = None
    version: _Text | None = None
    artifact: _Text | None = None
    vcs: Vcs | None = None
    run: Run | None = None
    measures: Annotated[
        dict[str, Annotated[float, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]], Meta(max_length=MAX_MEASURES)
    ] = {}
    labels: Annotated[
        dict[Annotated[str, Meta(max_length=MAX_NAME)], Annotated[str, Meta(max_length=MAX_LABEL)]],
        Meta(max_length=MAX_LABELS),
    ] = {}
    weight: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    chain: _Text | None = None
    traceparent: _Text | None = None
    data: dict[str, Any] = {}


ONE = msgspec.json.Decoder(Plain)
ALL = msgspec.json.Decoder(list[Plain])


def seconds(time: datetime | float) -> float:
    if isinstance(time, datetime):
        return time.timestamp()
    return time / 1000 if abs(time) >= 1e11 else float(time)
