"""Bodies of requests as events: what is right is taken, what is wrong is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any
from uuid import uuid4

import msgspec
from anyio.lowlevel import checkpoint

from bers.decoding.documents import MAX_LABELS, MAX_MEASURES, MAX_NAME, event
from bers.decoding.vocabulary import Canonical, canonical
from bers.decoding.vocabulary import outcome as outcome
from bers.errors import Refused
from bers.records import Event, Outcome, Run, Vcs

SLICE = 100
"""How many events are decoded before others have their turn."""

MEDIA = ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json")
"""The content types that are understood."""


class Rejection(msgspec.Struct, frozen=True):
    """An event that was not taken: where in the request it stood, its id if it had one, and why."""

    index: int
    error: str
    id: str | None = None


@dataclass(frozen=True)
class Decoded:
    """What a request held."""

    events: Sequence[Event]
    rejected: Sequence[Rejection]


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    """The exact shape that our own emitters send. It decodes ten times faster than a document that may be anything."""

    type: str
    id: str
    source: str
    time: datetime | float | int
    subject: str = ""
    environment: str | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    duration_ms: float | None = None
    service: str | None = None
    version: str | None = None
    artifact: str | None = None
    vcs: Vcs | None = None
    run: Run | None = None
    measures: dict[str, float] = {}
    labels: dict[str, str] = {}
    weight: int = 1
    chain: str | None = None
    traceparent: str | None = None
    data: dict[str, Any] = {}


class Decoder:
    """Decodes what emitters send. An event without an id gets one, and is not recognised when it is sent again."""

    def __init__(self, *, max_event: int = 256 << 10, max_events: int = 10_000) -> None:
        """``max_event`` is the size of the largest event in bytes, ``max_events`` the most in one request."""
        self._max_event = max_event
        self._max_events = max_events
        self._boot = uuid4().hex[:12]
        self._numbers = count()
        self._pieces = msgspec.json.Decoder(list[msgspec.Raw])
        self._document = msgspec.json.Decoder(dict[str, Any])
        self._id = msgspec.json.Decoder(_Id)
        self._types: dict[str, Canonical] = {}
        self._measures: set[str] = set()

    async def decode(self, body: bytes, *, now: float) -> Decoded:
        """Decode one object or an array of them. Raise Refused where the body is neither."""
        pieces = self._split(body)
        events: list[Event] = []
        rejected: list[Rejection] = []
        for index, piece in enumerate(pieces):
            if index and not index % SLICE:
                await checkpoint()
            try:
                if len(piece) > self._max_event:
                    raise ValueError(f"{len(piece)} bytes are too many; an event has at most {self._max_event:d}")
                events.append(self._one(piece, now))
            except (ValueError, msgspec.DecodeError, RecursionError) as exc:
                rejected.append(Rejection(index, str(exc) or type(exc).__name__, self._find_id(piece)))
        return Decoded(events, rejected)

    def _split(self, body: bytes) -> Sequence[bytes | memoryview]:
        start = body.lstrip()[:1]
        try:
            if start == b"[":
                pieces: list[bytes | memoryview] = [memoryview(raw) for raw in self._pieces.decode(body)]
            elif start == b"{":
                pieces = [body]
            else:
                raise Refused(
                    "bad_request", "the body is not an event", hint="send one JSON object, or an array of them"
                )
        except (msgspec.DecodeError, RecursionError) as exc:
            raise Refused("bad_request", f"the body is not JSON: {exc}") from exc
        if len(pieces) > self._max_events:
            raise Refused(
                "too_large", f"{len(pieces)} events are too many", hint=f"send at most {self._max_events} at once"
            )
        return pieces

    def _one(self, piece: bytes | memoryview, now: float) -> Event:
        fallback = f"{self._boot}-{next(self._numbers)}"
        try:
            plain = _PLAIN.decode(piece)
        except msgspec.DecodeError:
            return event(self._document.decode(piece), now=now, fallback_id=fallback)
        kind = self._types.get(plain.type)
        if kind is None or not plain.measures.keys() <= self._measures or not _in_bounds(plain):
            # Not seen yet, or not within the limits: the slow way says why.
            made = event(self._document.decode(piece), now=now, fallback_id=fallback)
            if len(self._types) < 1_000:
                self._types[plain.type] = canonical(plain.type)
            if len(self._measures) < 10_000:
                self._measures.update(made.measures)
            return made
        return Event(
            plain.id, plain.source, kind.type, _seconds(plain.time), plain.subject, plain.environment,
            plain.outcome or kind.outcome, plain.reason, plain.duration_ms, plain.service, plain.version,
            plain.artifact, plain.vcs, plain.run, plain.measures, plain.labels, plain.weight, plain.chain,
            plain.traceparent, kind.origin, plain.data,
        )  # fmt: skip

    def _find_id(self, piece: bytes | memoryview) -> str | None:
        try:
            return self._id.decode(piece).id
        except (msgspec.DecodeError, RecursionError):
            return None


class _Id(msgspec.Struct):
    id: str | None = None


_PLAIN = msgspec.json.Decoder(_Plain)


def _in_bounds(plain: _Plain) -> bool:
    return (
        (not isinstance(plain.time, datetime) or plain.time.tzinfo is not None)
        and 0 < len(plain.id) <= 256
        and 0 < len(plain.source) <= 1024
        and not plain.source.startswith("bers:")
        and len(plain.subject) <= 512
        and len(plain.measures) <= MAX_MEASURES
        and len(plain.labels) <= MAX_LABELS
        and all(len(name) <= MAX_NAME for name in plain.labels)
        and 1 <= plain.weight <= 1_000_000
        and (plain.duration_ms is None or plain.duration_ms >= 0)
        and all(len(value) <= 200 for value in plain.labels.values())
        and all(
            text is None or 0 < len(text) <= 100
            for text in (
                plain.environment,
                plain.service,
                plain.version,
                plain.artifact,
                plain.chain,
                plain.traceparent,
            )
        )
        and (plain.reason is None or 0 < len(plain.reason) <= 4096)
    )


def _seconds(time: datetime | float) -> float:
    if isinstance(time, datetime):
        return time.timestamp()
    return time / 1000 if abs(time) >= 1e11 else float(time)
