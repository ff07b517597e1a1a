"""Bodies of requests as events: what is right is taken, what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Annotated, Any
from uuid import uuid4

import msgspec
from anyio.lowlevel import checkpoint
from msgspec import Meta

from bers.decoding.documents import (
    MAX_LABEL,
    MAX_LABELS,
    MAX_MEASURES,
    MAX_NAME,
    MAX_NUMBER,
    check_data,
    check_parts,
    check_time,
    event,
)
from bers.decoding.vocabulary import Canonical, canonical
from bers.decoding.vocabulary import outcome as outcome
from bers.errors import Refused
from bers.records import Event, Outcome, Run, Vcs, weigh

WHOLE = 128 << 10
"""Bodies of so many bytes are decoded at once: within a millisecond or two."""

MAX_WORDS = 1_000
"""How many types, and how many names of measures, are known to the fast way."""

SLICE = 100
"""How many events are decoded before others have their turn."""

MANY_PIECES = 200_000
"""From so many commas on, the events of a body are counted before anything is made of them."""

MAX_ERROR = 400
"""Characters of what is said of one event."""

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


_Text = Annotated[str, Meta(min_length=1, max_length=100)]


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    """The exact shape that our own emitters send, within the limits: it decodes many times faster than a document that
    may be anything. What does not fit is read the slow way, which says why.
    """

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

    async def decode(
        self, body: bytes | bytearray, *, now: float, grow: Callable[[int], None] = lambda size: None
    ) -> Decoded:
        """Decode one object or an array of them. Raise Refused where the body is neither.

        ``grow`` is told, now and then, about how many bytes the events take that were made so far.
        """
        if body[: len(_BOM)] == _BOM:
            body = body[len(_BOM) :]
        if len(body) <= min(WHOLE, self._max_event) and (known := self._at_once(body)) is not None:
            return Decoded(known, [])
        pieces = self._split(body)
        events: list[Event] = []
        rejected: list[Rejection] = []
        size = weighed = read = 0
        for index, raw in enumerate(pieces):
            piece = memoryview(raw)
            if index and not index % SLICE:
                size += weigh(events[weighed:], read)
                weighed, read = len(events), 0
                grow(size)
                await checkpoint()
            read += len(piece)
            try:
                if len(piece) > self._max_event:
                    raise ValueError(f"{len(piece)} bytes are too many; an event has at most {self._max_event:d}")
                events.append(self._one(piece, now))
            except (ValueError, msgspec.DecodeError, RecursionError) as exc:
                error = (str(exc) or type(exc).__name__)[:MAX_ERROR]
                rejected.append(Rejection(index, error, self._find_id(piece)))
        return Decoded(events, rejected)

    def _at_once(self, body: bytes | bytearray) -> list[Event] | None:
        """Decode a body of nothing but plain events whose words are known; None where it is not one."""
        try:
            plains = _PLAINS.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if len(plains) > self._max_events or not all(map(self._is_known, plains)):
            return None
        try:
            return [self._event(plain) for plain in plains]
        except ValueError:
            return None  # One by one, each for itself.

    def _split(self, body: bytes | bytearray) -> Sequence[msgspec.Raw | bytes | bytearray]:
        start = body[:100].lstrip()[:1] or body.lstrip()[:1]
        if body.startswith(_UTF_16) or b"\0" in body[:4]:
            raise Refused("bad_request", "the body is not UTF-8", hint="send JSON in UTF-8")
        try:
            if start == b"[":
                if body.count(b",") > MANY_PIECES:
                    self._count(body)
                pieces: Sequence[msgspec.Raw | bytes | bytearray] = self._pieces.decode(body)
            elif start == b"{":
                pieces = [body]
            else:
                raise Refused(
                    "bad_request", "the body is not an event", hint="send one JSON object, or an array of them"
                )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise Refused("bad_request", f"the body is not JSON: {exc}") from exc
        if len(pieces) > self._max_events:
            raise self._too_many(f"{len(pieces)} events are too many")
        return pieces

    def _count(self, body: bytes | bytearray) -> None:
        """Raise Refused where there are more events than may be, before as many pieces are made of the body."""
        left = self._max_events

        def count(_: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise self._too_many(f"more than {self._max_events} events are too many")

        nothing = msgspec.defstruct("_Nothing", [], namespace={"__post_init__": count})
        msgspec.json.decode(body, type=list[nothing])  # type: ignore[valid-type]

    def _too_many(self, message: str) -> Refused:
        return Refused("too_large", message, hint=f"send at most {self._max_events} at once")

    def _one(self, piece: bytes | memoryview, now: float) -> Event:
        try:
            plain = _PLAIN.decode(piece)
            if self._is_known(plain):
                return self._event(plain)
        except msgspec.DecodeError:
            plain = None
        made = event(self._document.decode(piece), now=now, fallback_id=f"{self._boot}-{next(self._numbers)}")
        if plain:
            if len(self._types) < MAX_WORDS:
                self._types[plain.type] = canonical(plain.type)
            if len(self._measures) < MAX_WORDS:
                self._measures.update(made.measures)
        return made

    def _is_known(self, plain: _Plain) -> bool:
        """Whether its type and its measures were looked at before, and its source is not one of ours."""
        return (
            plain.type in self._types
            and plain.measures.keys() <= self._measures
            and not plain.source.startswith("bers:")
        )

    def _event(self, plain: _Plain) -> Event:
        """Make the event. Raise ValueError where its time or its data are such that nobody could keep them."""
        kind = self._types[plain.type]
        if plain.data:
            check_data(plain.data)
        if plain.vcs or plain.run:
            check_parts(plain.vcs, plain.run)
        return Event(
            plain.id, plain.source, kind.type, check_time(_seconds(plain.time)), plain.subject, plain.environment,
            plain.outcome or kind.outcome, plain.reason, plain.duration_ms, plain.service, plain.version,
            plain.artifact, plain.vcs, plain.run, plain.measures, plain.labels, plain.weight, plain.chain,
            plain.traceparent, kind.origin, plain.data,
        )  # fmt: skip

    def _find_id(self, piece: bytes | memoryview) -> str | None:
        try:
            found = self._id.decode(piece).id
            return found and found[:MAX_ID]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


MAX_ID = 256

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class _Id(msgspec.Struct):
    id: str | None = None


_PLAIN = msgspec.json.Decoder(_Plain)
_PLAINS = msgspec.json.Decoder(list[_Plain])


def _seconds(time: datetime | float) -> float:
    if isinstance(time, datetime):
        return time.timestamp()
    return time / 1000 if abs(time) >= 1e11 else float(time)
