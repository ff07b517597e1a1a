"""What a plugin implements: a config schema, a stage, and a spec that joins the two and says what it offers."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeAlias, TypeVar, runtime_checkable
from uuid import uuid4

import msgspec
from anyio import AsyncContextManagerMixin

from bers.audit import Audit
from bers.catalog import Catalog, Metric
from bers.checks import Check
from bers.clock import Clock, SystemClock
from bers.database import Database
from bers.errors import Refused
from bers.formats import AnyFormat
from bers.operations import AnyOperation
from bers.panels import Panel
from bers.recorded import NothingRecorded, Recorded
from bers.records import Batch, Event, Outcome
from bers.redaction import Redactor
from bers.tables import Table


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base class of every stage's config schema."""


C = TypeVar("C", bound=Config)
S_co = TypeVar("S_co", covariant=True)

Call: TypeAlias = Callable[[str, str, Mapping[str, Any]], Awaitable[Any]]


class Vital(NamedTuple):
    """One figure of the node itself, by the name of its metric."""

    metric: str
    value: float | None
    """None where there is such a figure, and nobody knows it at present."""
    labels: Mapping[str, str] = MappingProxyType({})


Vitals: TypeAlias = Callable[[float], Awaitable[Sequence[Vital]]]


async def _no_vitals(every: float) -> Sequence[Vital]:
    return ()


async def _nobody(method: str, path: str, fields: Mapping[str, Any]) -> Any:
    raise Refused("unavailable", f"{method} {path}: there is no server around this stage")


@dataclass(frozen=True)
class Context:
    """What the host lends to one stage instance."""

    stage_id: str
    data_dir: Path = Path()
    environment: str = "development"
    clock: Clock = field(default_factory=SystemClock)
    metrics: Catalog = field(default_factory=Catalog)
    state: Database = field(default_factory=Database)
    """The database for what must survive anything; every commit is synced."""
    table: Table = field(default_factory=Table)
    """What `receive` is handed, for `run` to look at."""
    recorded: Recorded = field(default_factory=NothingRecorded)
    """What the journal still holds of the events that this stage is given."""
    call: Call = _nobody
    """Ask an operation, as over REST: ``await call("GET", "alerts", {})`` returns its data as plain values."""
    whole: Call = _nobody
    """The same, with what stands beside the data: ``(await whole("GET", "records", {}))["next"]``."""
    vitals: Vitals = _no_vitals
    """How the node itself is doing: what lags, waits and fails; asked every so many seconds, as one says."""
    own_addresses: Sequence[tuple[str, int]] = ()
    """Where this node itself listens; a notification must not go there."""
    boot: str = field(default_factory=lambda: uuid4().hex[:12])
    redactor: Redactor = field(default_factory=Redactor)
    """Masks what nobody may read, as the configuration says: for what a stage writes or sends that is no event."""
    audit_key: Callable[[], bytes] | None = None
    """What seals the rows of the audit."""
    _numbers: count[int] = field(default_factory=count)

    @property
    def audit(self) -> Audit:
        """The trail of who did what: a deed of an operator is written into it, in the transaction that does it."""
        return Audit(self.state, self.clock, self.redactor, self.audit_key)

    @property
    def logger(self) -> logging.Logger:
        return logging.getLogger(f"bers.stage.{self.stage_id}")

    def event(
        self,
        type: str,
        *,
        id: str = "",
        time: float | None = None,
        measures: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        subject: str = "",
        outcome: Outcome | None = None,
        reason: str | None = None,
        duration_ms: float | None = None,
        environment: str | None = None,
        service: str | None = None,
        version: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Event:
        """An event of this stage: now, in this environment, with an id that is never used again."""
        return Event(
            id or f"{self.boot}-{next(self._numbers)}",
            f"bers:{self.stage_id}",
            type,
            self.clock.time() if time is None else time,
            subject=subject,
            environment=self.environment if environment is None else environment,
            service=service,
            version=version,
            outcome=outcome,
            reason=reason,
            duration_ms=duration_ms,
            measures=measures or {},
            labels=labels or {},
            data=data or {},
        )


class Emit(Protocol):
    """The way from a source to the intake."""

    async def __call__(self, events: Sequence[Event], /, *, durable: bool = False) -> None:
        """Hand in events. With ``durable``, return when they survive ``kill -9``, and raise Full if they are not taken.

        Without, what cannot be taken is dropped and counted: the next reading is worth more than an old one.
        """
        ...


@runtime_checkable
class Source(Protocol):
    """Measures by itself."""

    async def run(self, emit: Emit) -> None:
        """Emit events until cancelled; return when there is nothing more."""


@runtime_checkable
class Receiver(Protocol):
    """Reads the events of others, of the types that its spec claims."""

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        """Return the event with its measures, then those that follow from it, each with the event's id as cause.

        Decide by the event and the table alone: no clock, no I/O, nothing kept in the object. The ids of what follows
        derive from the event or its subject. Receiving what this returned must leave the table as receiving the event
        did, because a restart rebuilds it from the bus.
        """
        ...


class Processor(Protocol):
    async def process(self, batch: Batch) -> Batch:
        """Turn one batch into another with the same end. Nothing on which a result depends is kept between batches."""
        ...


class Written(NamedTuple):
    """What became of a batch, where there is more to say than that it was delivered.

    Records are named by their index: events first, then windows.
    """

    merged: int = 0
    """How many of its records were folded into others that were here already."""
    rejected: Mapping[int, str] = MappingProxyType({})
    """Which records can never be delivered, each with the reason: they become dead letters. A durable sink raises
    :class:`Rejected` instead, because what it returns from is committed already."""
    kept: Mapping[int, str] = MappingProxyType({})
    """Which records were not taken this time, each with the reason: they alone are handed in again after a pause. Not
    for durable sinks, which take a batch as a whole."""


class Sink(Protocol):
    async def write(self, batch: Batch) -> Written | None:
        """Deliver the batch, and say what of it was not delivered, if not all was.

        Raise :class:`Rejected` for what can never be delivered. Whatever else is raised passes: the batch is handed in
        again after a pause.
        """


class Durable(Sink, Protocol):
    """A sink that commits what it derived from a batch and the batch's end in one transaction."""

    async def position(self, reader: str, partition: int, *, begin: int) -> int:
        """Return the position after what a reader has delivered; one not known yet begins, durably, at ``begin``.

        It is asked at the start, and again after a :meth:`write` that raised or took too long: the batch is handed in
        again only if the position is still where it was before.
        """
        ...


@runtime_checkable
class Telling(Protocol):
    """A stage that has something to say of itself beside its counters."""

    def tell(self) -> Mapping[str, Any]:
        """What an operator may want to know of it now, as plain values: shown by status, so quickly found."""
        ...


@runtime_checkable
class Explaining(Protocol):
    """A stage that can say what it makes of one event, for an operator who wonders."""

    async def explain(self, event: Event) -> Sequence[str]:
        """Say in whole sentences what it made of the event, or would make of it now; change nothing, and be quick."""
        ...


class Stage(AsyncContextManagerMixin, Generic[C]):
    """A convenient base class; override ``__asynccontextmanager__`` to hold a resource."""

    def __init__(self, config: C, context: Context) -> None:
        self.config = config
        self.context = context

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        yield self


@dataclass(frozen=True)
class StageSpec(Generic[C, S_co]):
    """A stage type: how it is named, configured and opened, and what it offers. Static, so that it can be listed."""

    name: str
    config: type[C]
    open: Callable[[C, Context], AbstractAsyncContextManager[S_co]]
    claims: Sequence[str] = ()
    """The types of the events that belong to a source: ``build.finished``, or ``build.*`` for all of a kind."""
    brings: Sequence[str] = ()
    """The types of events of others that a source hands in, as it found them: ``build.*``, or ``*`` for whatever comes.
    They are read by the source that claims them, and go where its events go."""
    metrics: Sequence[Metric] = ()
    operations: Sequence[AnyOperation] = ()
    checks: Sequence[Check[Any]] = ()
    panels: Sequence[Panel] = ()
    """What it adds to the views of the dashboard, drawn by modules of its own."""
    formats: Sequence[AnyFormat] = ()
    """What others send in words of their own, and this stage reads: each at a place of its own below ``ingest/``."""
    verify: Callable[[C, Catalog], object] | None = None
    """Look at a config together with the metrics there are, before anything is started; raise ConfigError with paths
    that begin inside the config."""
    hint: Callable[[C, Collection[str]], Iterable[tuple[str, str]]] | None = None
    """Look at a config together with the metrics that the stages of its file measure; say what is allowed and probably
    not meant, each with a path that begins inside the config."""
    owns: str = ""
    """The option that names a file of the data directory which no other stage may have; empty where there is none."""
    log: str = "monitoring"
    """The file below ``logs/`` that tells of it; empty where its events are too many to be told."""
    alone: bool = False
    """Whether no second instance may be open beside it, because it listens on a port or owns a file: a reload closes
    the old one first, and opens it again where the new one cannot be opened. Durable ones are always treated so."""
    reads_targets: bool = False
    """Whether it looks at the metrics' targets only as it opens: it is opened anew when one of them changes."""

    @property
    def summary(self) -> str:
        return (inspect.getdoc(self.config) or "").partition("\n")[0]


class SourceSpec(StageSpec[C, Source | Receiver | Stage[Any]]):
    """A stage type that makes events, reads those of others, or reads what others send in a format of their own."""


class ProcessorSpec(StageSpec[C, Processor]):
    """A stage type that changes batches."""


class SinkSpec(StageSpec[C, Sink]):
    """A stage type that takes batches elsewhere. It gets what happens while it runs, at most once."""


class DurableSpec(StageSpec[C, Durable]):
    """A sink that gets everything, exactly once in effect."""


AnySpec: TypeAlias = StageSpec[Any, Any]
