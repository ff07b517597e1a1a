"""What takes time, a build, a test suite, a deployment: two events with one subject, and what was measured between."""

from __future__ import annotations

import contextlib
import os
from contextvars import ContextVar
from time import perf_counter

from bers_emit import shapes
from bers_emit.emitter import emit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from contextvars import Token
    from types import TracebackType

    from typing_extensions import Self

    from bers_emit.emitter import Emitter

# Kind: the event type's first part, and the field or label that carries the name.
KINDS = {
    "build": ("build", "build"),
    "test": ("testsuiterun", "suite"),
    "deploy": ("deployment", "service"),
    "task": ("task", "task"),
}
_current: ContextVar[Activity | None] = ContextVar("bers_emit_activity", default=None)


class Activity:
    """Emits ``started`` when entered and ``finished`` when left, with outcome and duration. Never raises by itself."""

    chain: str
    """The subject of the outermost activity: one for the whole tree."""

    def __init__(self, kind: str, name: str, fields: dict[str, object], emitter: Emitter | None = None) -> None:
        self._type, label = KINDS.get(kind, (kind, kind))
        self._emit = emit if emitter is None else emitter.emit
        self._fields = dict(fields)
        self._measures: dict[object, object] = {**(shapes.pairs(self._fields.pop("measures", None)) or {})}
        self._begun = 0.0
        self._ended: float | None = None
        self._token: Token[Activity | None] | None = None
        self.subject = _text(self._fields.get("subject") or f"{_text(name)}/{os.urandom(6).hex()}")
        if label == "service":
            self._fields.setdefault("service", name)
        else:
            self._set_inner("labels", {label: name})
        parent = _current.get()
        above = parent.subject if parent else os.environ.get("BERS_PARENT")
        self.chain = _text(
            self._fields.get("chain")
            or (parent.chain if parent else os.environ.get("BERS_CHAIN"))
            or above
            or self.subject
        )
        self._fields.update(subject=self.subject, chain=self.chain)
        if above:
            self._set_inner("data", {"parent": above})

    def measure(self, name: str, value: float, kind: str = "") -> None:
        """Report a number with the end: ``measure("bundle.size", 412_331, kind="raw")`` is ``bundle.size.raw``."""
        self._measures[f"{name}.{kind}" if kind else name] = value

    def set(self, **fields: object) -> None:
        """Add fields to the end: version, artifact, or an outcome of your own."""
        self._fields.update(fields)

    def add_phase(self, name: str, milliseconds: float) -> None:
        """Add to the measure ``phase.NAME``; a phase may come in several parts."""
        key = f"phase.{name}"
        before = self._measures.get(key, 0.0)
        self._measures[key] = milliseconds + (before if isinstance(before, float) else 0.0)

    def environ(self) -> dict[str, str]:
        """The environment for a child process, whose activities then name this one as their parent."""
        return {**os.environ, "BERS_PARENT": self.subject, "BERS_CHAIN": self.chain}

    def start(self) -> None:
        self._begun = perf_counter()
        self._emit(f"{self._type}.started", **self._fields)

    def emit(self, type: str, /, **fields: object) -> bool:
        """Emit an event that came of this activity: it names it as its parent, and is part of its chain."""
        return self._emit(type, **{"chain": self.chain, **fields, "data": _within(self.subject, fields.get("data"))})

    def stop(self) -> None:
        """It has ended, though there is still something to measure: what is spent on that is not its time."""
        self._ended = perf_counter()

    def finish(self, outcome: str, reason: str | None = None) -> None:
        """Report the end; an outcome or reason that was ``set`` goes before these."""
        elapsed = ((self._ended or perf_counter()) - self._begun) * 1000
        ended = {"duration_ms": elapsed, "outcome": outcome, "reason": reason, "measures": self._measures}
        self._emit(f"{self._type}.finished", **{**ended, **self._fields})

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish(*_outcome(exc))
        if self._token is not None:
            with contextlib.suppress(ValueError):  # Left in another context: a generator that somebody else closed.
                _current.reset(self._token)

    def _set_inner(self, field: str, defaults: dict[str, object]) -> None:
        given = self._fields.get(field)
        pairs = {} if given is None else shapes.pairs(given)
        if pairs is not None:
            merged: dict[object, object] = dict(pairs)
            for name, value in defaults.items():
                merged.setdefault(name, value)
            self._fields[field] = merged


def build(name: str, *, emitter: Emitter | None = None, **fields: object) -> Activity:
    """A build: ``with build("chat-widget", environment="production") as b: ...``"""
    return Activity("build", name, fields, emitter)


def suite(name: str, *, emitter: Emitter | None = None, **fields: object) -> Activity:
    """A run of a test suite: emits ``testsuiterun.started`` and ``testsuiterun.finished``."""
    return Activity("test", name, fields, emitter)


def deployment(name: str, *, emitter: Emitter | None = None, **fields: object) -> Activity:
    """A deployment of the service of that name."""
    return Activity("deploy", name, fields, emitter)


@contextlib.contextmanager
def phase(name: str) -> Generator[None, None, None]:
    """A part of the activity around it, which reports it as the measure ``phase.NAME``, in milliseconds."""
    activity, begun = _current.get(), perf_counter()
    try:
        yield
    finally:
        if activity is not None:
            activity.add_phase(name, (perf_counter() - begun) * 1000)


def _within(parent: str, data: object) -> object:
    """Data that names its parent, unless it is something that cannot."""
    pairs = {} if data is None else shapes.pairs(data)
    return data if pairs is None else {"parent": parent, **pairs}


def _outcome(exc: BaseException | None) -> tuple[str, str | None]:
    if exc is None or (isinstance(exc, SystemExit) and not exc.code):
        return "success", None
    reason = _text(exc) or type(exc).__name__
    # KeyboardInterrupt, a cancelled task, a closed generator: somebody stopped it, it did not fail.
    stopped = not isinstance(exc, (Exception, SystemExit))
    return "cancel" if stopped else "failure", reason


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"
