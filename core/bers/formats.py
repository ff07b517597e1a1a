"""How a plugin takes what others send in words of their own: a place to post to, who may, and what it means."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from bers.decoding import Rejection
from bers.errors import Refused

S = TypeVar("S")
Documents: TypeAlias = Iterable[Mapping[str, Any] | ValueError | None]


class Delivery(NamedTuple):
    """One request, as it came: what a signature is over."""

    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes
    media: str
    """The content type in lower case, without its parameters; empty where none was told."""
    now: float
    """When it came, in seconds since 1970."""
    query: Mapping[str, str] = {}
    """What stood behind the question mark, but for `dry_run`."""


class Answer(NamedTuple):
    """What is sent back, in a format's own words."""

    body: bytes
    media: str


@dataclass(frozen=True)
class Manners:
    """How a format is answered whose senders expect words of their own. They are told the media type of the request."""

    taken: Callable[[str, Sequence[Rejection]], Answer]
    """The answer, with status 200, to a request of which everything was taken but these."""
    refused: Callable[[str, Refused], Answer]
    """The answer to a request of which nothing was taken; its status and `Retry-After` are those that any has."""


@dataclass(frozen=True)
class Format(Generic[S]):
    """What somebody else sends, and how it is read. Its stage is handed to every function first.

    It is answered as ``POST /api/monitoring/ingest/NAME``, with everything that the door for events has: limits of
    bytes and time, ``?dry_run=1``, one answer for each event, and 202 only when they survive ``kill -9``.
    """

    name: str
    """As its users would look for it: ``github``."""
    decode: Callable[[S, Delivery], Documents | Awaitable[Documents]]
    """Tell what happened, as documents of plain JSON; nothing where nothing did that matters here. ``origin`` in a
    document says what it was: ``github/push``. An ``id`` that depends on what happened alone makes every repeat one.

    A ValueError among them is a rejected one. Raise it where the body is none of this format, or Refused; whatever else
    is raised costs the request, and is told as the fault of the plugin. It is called
    in the event loop: a generator is taken a slice at a time, and at a None others have their turn, whenever it has
    looked at much and found nothing; what takes longer is waited for, as a coroutine.
    """
    summary: str
    verify: Callable[[S, Delivery], None] | None = None
    """Who sent it is told by the request itself: raise Refused("unauthenticated", ...) where that is not so. Nobody is
    asked for a key then. It may be called in a thread. Without, a key with the scope `ingest` is needed."""
    media: tuple[str, ...] = ("application/json",)
    """The content types that it may have."""
    max_bytes: int = 2 << 20
    """The largest body; `intake.max_body` may allow less."""
    max_inflated: int = 16 << 20
    """The largest body when it is decompressed; `intake.max_inflated` may allow less."""
    expansion: int = 8
    """How many bytes of memory a byte of a body becomes, at most."""
    at: str = ""
    """Where it is answered instead, for senders that know one place: ``/v1/metrics``."""
    manners: Manners | None = None
    """How it is answered, where its senders do not understand what everybody else is answered with."""
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    """What may stand behind the question mark, with what it means; anything else is refused, if there are any."""

    @property
    def path(self) -> str:
        return self.at or f"/api/monitoring/ingest/{self.name}"


AnyFormat: TypeAlias = Format[Any]
