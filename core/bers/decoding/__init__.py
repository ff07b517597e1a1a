"""Bodies of requests as events: what is right is taken, what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import msgspec
from anyio.lowlevel import checkpoint

from bers.decoding import cloudevents
from bers.decoding.documents import event
from bers.decoding.limits import check_data, check_marks, check_parts, check_time, seems_full
from bers.decoding.plain_events import ALL, ONE, Plain, seconds
from bers.decoding.vocabulary import Canonical, canonical
from bers.decoding.vocabulary import outcome as outcome
from bers.errors import Refused
from bers.records import Event, weigh

WHOLE = 128 << 10
"""Bodies of so many bytes are decoded at once: within a millisecond or two."""

MAX_WORDS = 1_000
"""How many types, and how many names of measures, are known to the fast way."""

SLICE = 100
"""How many events are decoded before others have their turn."""

PIECE = 64 << 10
"""After how many bytes of them at the latest: of much data, a hundred would take half a second."""

MANY_PIECES = 200_000
"""From so many commas on, the events of a body are counted before anything is made of them."""

APART = 1e-6
"""Seconds between two events of one request that name no time: they happened in the order in which they stand."""

MAX_ERROR = 400
"""Characters of what is said of one event."""

PLAIN = "application/json"
MEDIA = (PLAIN, cloudevents.STRUCTURED, cloudevents.BATCH)
"""The content types that are understood as they are; any other may be the data of a CloudEvent in binary mode."""


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
        self,
        body: bytes | bytearray,
        *,
        now: float,
        media: str = PLAIN,
        grow: Callable[[int], None] = lambda size: None,
    ) -> Decoded:
        """Decode one object or an array of them. Raise Refused where the body is neither.

        ``media`` is one of MEDIA: what says that it holds CloudEvents holds nothing else. ``grow`` is told, now and
        then, about how many bytes the events take that were made so far.
        """
        if body[: len(_BOM)] == _BOM:
            body = body[len(_BOM) :]
        cloud = media != PLAIN
        small = not cloud and len(body) <= min(WHOLE, self._max_event) and not seems_full(body)
        if small and (known := self._at_once(body)) is not None:
            return Decoded(known, [])
        pieces = self._split(body, media)
        if len(body) > WHOLE:
            await checkpoint()
        events: list[Event] = []
        rejected: list[Rejection] = []
        size = weighed = read = 0
        for index, raw in enumerate(pieces):
            piece = memoryview(raw)
            if index and (read > PIECE or not index % SLICE):
                size += weigh(events[weighed:], read)
                weighed, read = len(events), 0
                grow(size)
                await checkpoint()
            read += len(piece)
            try:
                if len(piece) > self._max_event:
                    raise ValueError(f"{len(piece)} bytes are too many; an event has at most {self._max_event:d}")
                events.append(self._one(piece, now + index * APART, cloud=cloud))
            except (ValueError, msgspec.DecodeError, RecursionError) as exc:
                rejected.append(Rejection(index, _why(exc), self._find_id(piece)))
        return Decoded(events, rejected)

    async def read(
        self,
        documents: Iterable[Mapping[str, Any] | ValueError | None],
        *,
        now: float,
        size: int,
        grow: Callable[[int], None] = lambda size: None,
    ) -> Decoded:
        """Read documents that somebody else has decoded; ``size`` is how many bytes they were. ``origin`` in one of
        them says what it was before; an error among them is why there is no document, and at a None others have
        their turn.
        """
        events: list[Event] = []
        rejected: list[Rejection] = []
        index, weighed, weight = -1, 0, weigh((), size)
        for document in documents:
            if document is None:
                await checkpoint()
                continue
            index += 1
            if index >= self._max_events:
                raise self._too_many(f"more than {self._max_events} events are too many")
            if index and not index % SLICE:
                weight, weighed = weight + weigh(events[weighed:], 0), len(events)
                grow(weight)
                await checkpoint()
            if isinstance(document, ValueError):
                rejected.append(Rejection(index, _why(document)))
                continue
            said = dict(document)
            _take(self._tried(index, said, now + index * APART, said.pop("origin", "")), events, rejected)
        grow(weight + weigh(events[weighed:], 0))
        return Decoded(events, rejected)

    def binary(
        self, headers: Iterable[tuple[bytes, bytes]], content_type: str, body: bytes | bytearray, *, now: float
    ) -> Decoded:
        """Decode a CloudEvent whose attributes are the headers and whose data is the body."""
        large = len(body) > self._max_event  # Nothing is made of it then: it may be fifty times what an event may be.
        document = cloudevents.from_request(headers, content_type, b"" if large else body)
        if large:
            message = f"{len(body)} bytes are too many; an event has at most {self._max_event:d}"
            return Decoded([], [Rejection(0, message, str(document.get("id", ""))[:MAX_ID] or None)])
        events: list[Event] = []
        rejected: list[Rejection] = []
        _take(self._tried(0, cloudevents.claimed(document), now), events, rejected)
        return Decoded(events, rejected)

    def _at_once(self, body: bytes | bytearray) -> list[Event] | None:
        """Decode a body of nothing but plain events whose words are known; None where it is not one."""
        try:
            plains = ALL.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if len(plains) > self._max_events or not all(map(self._is_known, plains)):
            return None
        try:
            return [self._event(plain) for plain in plains]
        except ValueError:
            return None  # One by one, each for itself.

    def _split(self, body: bytes | bytearray, media: str) -> Sequence[msgspec.Raw | bytes | bytearray]:
        start = body[:100].lstrip()[:1] or body.lstrip()[:1]
        if (media == cloudevents.STRUCTURED and start == b"[") or (media == cloudevents.BATCH and start == b"{"):
            other = cloudevents.BATCH if start == b"[" else cloudevents.STRUCTURED
            what = "an array of events" if start == b"[" else "one event alone"
            raise Refused("bad_request", f"{media} does not hold {what}", hint=f"send it as {other}")
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

    def _one(self, piece: bytes | memoryview, now: float, *, cloud: bool) -> Event:
        check_marks(piece)
        plain = None if cloud else _plain(piece)
        if plain:
            if self._is_known(plain):
                return self._event(plain)
            check_data(plain.data)  # Before it is decoded once more: what is nested deeply takes longest.
        document: Mapping[str, Any] = self._document.decode(piece)
        if cloud:
            document = cloudevents.claimed(document)
        made = event(document, now=now, fallback_id=self._next_id())
        if plain:
            if len(self._types) < MAX_WORDS:
                self._types[plain.type] = canonical(plain.type)
            if len(self._measures) < MAX_WORDS:
                self._measures.update(made.measures)
        return made

    def _tried(self, index: int, document: Mapping[str, Any], now: float, origin: str = "") -> Event | Rejection:
        try:
            return event(document, now=now, fallback_id=self._next_id(), origin=origin)
        except (ValueError, OverflowError, RecursionError) as exc:
            id = document.get("id")
            return Rejection(index, _why(exc), id[:MAX_ID] if isinstance(id, str) else None)

    def _next_id(self) -> str:
        return f"{self._boot}-{next(self._numbers)}"

    def _is_known(self, plain: Plain) -> bool:
        """Whether its type and its measures were looked at before, and its source is not one of ours."""
        return (
            plain.type in self._types
            and plain.measures.keys() <= self._measures
            and not plain.source.startswith("bers:")
        )

    def _event(self, plain: Plain) -> Event:
        """Make the event. Raise ValueError where its time or its data are such that nobody could keep them."""
        kind = self._types[plain.type]
        if plain.data:
            check_data(plain.data)
        if plain.vcs or plain.run:
            check_parts(plain.vcs, plain.run)
        return Event(
            plain.id, plain.source, kind.type, check_time(seconds(plain.time)), plain.subject, plain.environment,
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


def _plain(piece: bytes | memoryview) -> Plain | None:
    """The event, where it has the exact shape that is decoded fast."""
    try:
        return ONE.decode(piece)
    except msgspec.DecodeError:
        return None


def _take(made: Event | Rejection, events: list[Event], rejected: list[Rejection]) -> None:
    if isinstance(made, Event):
        events.append(made)
    else:
        rejected.append(made)


def _why(exc: Exception) -> str:
    return (str(exc) or type(exc).__name__)[:MAX_ERROR]
