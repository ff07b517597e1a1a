"""What a stage can be asked: named requests and answers, without a word about HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from bers.errors import Reason

Scope: TypeAlias = Literal["read", "ingest", "acknowledge", "admin"]
Surface: TypeAlias = Literal["health", "metrics", "control"]

S = TypeVar("S")
Q = TypeVar("Q")
R = TypeVar("R")


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request that says nothing, or an answer that has nothing to say."""


class Caller(NamedTuple):
    """Who asks: the principal that was authenticated, and the address it asks from."""

    principal: str = "anonymous"
    address: str = ""
    scopes: frozenset[Scope] = frozenset()
    """What may be done; nothing is asked for within this process."""
    key: str = ""
    """The id of the key that was shown; empty where there was none."""

    @property
    def named(self) -> str:
        """The principal, with its key: several may have one name, while one takes over from another."""
        return f"{self.principal} ({self.key})" if self.key not in ("", self.principal) else self.principal


@dataclass(frozen=True)
class Reply(Generic[R]):
    """An answer with more to it than its data."""

    data: R
    beside: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What stands next to the data in the envelope."""
    healthy: bool = True
    """False where the answer is itself the news that something is down."""


@dataclass(frozen=True)
class Page:
    """A document for people."""

    body: bytes
    media: str = "text/html; charset=utf-8"
    max_age: float = 0.0
    """For how many seconds it may be shown again without asking; then whoever has it is told if it is the same."""
    anywhere: bool = False
    """Whether pages of other sites may show it."""


@dataclass(frozen=True)
class Sheet:
    """An answer as rows, for spreadsheets and for programs that read line by line.

    A cell is text, a number, a truth value or None; anything else is JSON in CSV. Units stand in the header's names.
    """

    name: str
    """What a file of it is called, without its ending."""
    header: Sequence[str]
    rows: Iterable[Sequence[Any]]
    after: str = ""
    """What to ask for as ``after`` to be told the rows that come next; empty where there are none."""


class Outlet(Protocol):
    """The way to one client of a stream; the handler is cancelled when the client is gone."""

    async def send(self, data: bytes) -> None:
        """Hand over one whole frame; wait while the client is slow."""
        ...

    def offer(self, data: bytes) -> bool:
        """Hand over one whole frame at once; False, and it was not taken, where that would have to wait.

        What is offered to many clients one after another is best the same object.
        """
        ...


@dataclass(frozen=True)
class Operation(Generic[S, Q, R]):
    """One request that a stage answers. Its path lies below ``/api/monitoring/``, or is absolute.

    The fields of ``request`` are filled from the path, the query and the body.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Callable[[S, Q, Caller], Awaitable[R | Reply[R]]]
    request: type[Q]
    response: type[R]
    summary: str
    scope: Scope = "read"
    surface: Surface = "control"
    """Where it is answered beside the control surface, which answers everything."""
    where: Literal["any", "owner"] = "owner"
    beside: type[msgspec.Struct] | None = None
    """What :attr:`Reply.beside` holds."""
    public: bool = False
    """Whether it is answered without authentication."""
    refuses: tuple[Reason, ...] = ()
    """For what its handler refuses a request, beside what any operation may be refused for."""
    media: str = "application/json"
    """What it answers with; another one where the response is a :class:`Page`."""
    audited: bool = False
    """Whether its handler writes what was done into the audit itself, with the deed; what is refused others write."""
    sheet: Callable[[Q, Reply[R]], Sheet] | None = None
    """How its answer is a table, where it can be had as CSV and as NDJSON too."""
    shapes: tuple[str, ...] = ()
    """What `format` may ask for besides, as the handler answers it; the request has that field then."""


@dataclass(frozen=True)
class Stream(Generic[S, Q]):
    """A request that is answered for as long as the client stays."""

    path: str
    handler: Callable[[S, Q, Outlet], Awaitable[None]]
    request: type[Q]
    summary: str
    media: str = "text/event-stream"
    scope: Scope = "read"
    surface: Surface = "control"
    refuses: tuple[Reason, ...] = ()
    """For what its handler refuses a request, beside what any operation may be refused for."""


AnyOperation: TypeAlias = Operation[Any, Any, Any] | Stream[Any, Any]
