"""What takes time, a build, a test suite, a deployment: two events with one subject, and what was measured between."""

from __future__ import annotations

import contextlib
import os
from contextvars import ContextVar
from time import perf_counter, time

from bers_emit import context, shapes
from bers_emit.emitter import emit, process_emitter
from bers_emit.wrapping import Wrapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextvars import Token
    from types import TracebackType

    from typing_extensions import Self

    from bers_emit.emitter import Emitter
    from bers_emit.parts import Around

# Kind: the event type's first part, and the field or label that carries the name.
KINDS = {
    "build": ("build", "build"),
    "test": ("testsuiterun", "suite"),
    "deploy": ("deployment", "service"),
    "task": ("task", "task"),
}
MOST_PARTS = 200
"""Of how many parts of phases it is told when they began."""
_current: ContextVar[Activity | None] = ContextVar("bers_emit_activity", default=None)


class Activity(Wrapping):
    """Emits ``started`` when entered and ``finished`` when left, with outcome and duration. Never raises by itself.

    It is entered by ``with`` or ``async with``; as a decorator it makes each call of the function one of its own.
    """

    subject: str
    """What this is known by: both of its events have it."""
    chain: str
    """The subject of the outermost activity: one for the whole tree."""
    traceparent: str
    """The W3C trace that it is part of: that of the environment, else one that it begins."""

    name: str
    """What its label says."""

    def __init__(
        self,
        kind: str,
        name: str,
        fields: dict[str, object],
        emitter: Emitter | None = None,
        around: Around | None = None,
    ) -> None:
        """Part of a run ``around``, it has that one's subject and name, and what it finds is told by that."""
        self._given = (kind, name, fields, emitter, around)
        self._type, label = KINDS.get(_text(kind), (_text(kind), _text(kind)))
        self._emitter = emitter
        self.kind = kind
        self.heard = emitter is None or bool(emitter.url)
        """Whether anybody is told: what is measured to be told need not be measured otherwise."""
        self._fields = dict(fields)
        self._measures: dict[object, object] = {**(shapes.pairs(self._fields.pop("measures", None)) or {})}
        self._timeline: list[dict[str, object]] = []
        """Each part of a phase: when it began, in milliseconds since 1970, and how long it took."""
        self._begun = 0.0
        self._ended: float | None = None
        self._token: Token[Activity | None] | None = None
        self._around = around
        self._alone: dict[str, object] = {}
        """What it says of itself where the run around takes nothing any more."""
        self.name = _text(name)
        self.subject = _text(self._fields.get("subject")) or f"{_text(name)}/{os.urandom(6).hex()}"
        if label == "service":
            self._fields.setdefault("service", name)
        else:
            self._set_inner("labels", {label: name})
        parent = _current.get()
        above = parent.subject if parent else os.environ.get("BERS_PARENT", "")
        chained = parent.chain if parent else os.environ.get("BERS_CHAIN", "")
        self.chain = _text(self._fields.get("chain")) or chained or above or self.subject
        self.traceparent = parent.traceparent if parent else context.traceparent(os.environ) or _new_trace()
        if around:
            self._alone = {"subject": self.subject, "labels": self._fields.get("labels"), "parent": around.subject}
            self.subject, self.chain, self.name = around.subject, around.chain, around.name or self.name
            self._fields["labels"] = {label: self.name}
        self._fields.update(subject=self.subject, chain=self.chain)
        self._fields.setdefault("traceparent", self.traceparent)
        if above and above != self.subject:
            self._set_inner("data", {"parent": above})

    @property
    def emitter(self) -> Emitter | None:
        """Who sends what is told of this; None where nobody is to be told."""
        return self._emitter or process_emitter()

    def measure(self, name: str, value: float, kind: str = "") -> None:
        """Report a number with the end: ``measure("bundle.size", 412_331, kind="raw")`` is ``bundle.size.raw``."""
        name, kind = _text(name), _text(kind)
        self._measures[f"{name}.{kind}" if kind else name] = value

    def set(self, **fields: object) -> None:
        """Add fields to the end: version, artifact, or an outcome of your own."""
        self._fields.update(fields)

    def note(self, **data: object) -> None:
        """Add to the data of the end."""
        self._set_inner("data", data)

    def take(self, parts: Sequence[dict[object, object]]) -> Sequence[str]:
        """Report with the end what parts of this have found; return what they say went wrong.

        What is known already of the same tests or files is not added to theirs: the larger of both is told.
        """
        from bers_emit.sums import FAMILIES, Sum, knows

        found = Sum(parts)
        data = dict(shapes.pairs(self._fields.get("data")) or {})
        for family, (_, beside) in FAMILIES.items():
            if knows(family, self._measures, data) > found.knows(family):
                found.drop(family)
            elif found.knows(family):
                self._measures = {name: of for name, of in self._measures.items() if not str(name).startswith(family)}
                data = {name: of for name, of in data.items() if name not in beside}
        measures: dict[object, object] = dict(found.measures.items())
        beside_ours: dict[object, object] = dict(found.data.items())
        self._measures = {**measures, **self._measures}
        self._fields["data"] = {**beside_ours, **data}
        if len(found.environments) == 1 and not self._fields.get("environment"):
            self._fields["environment"] = found.environments.pop()
        return found.reasons

    def add_phase(self, name: str, milliseconds: float) -> None:
        """Add to the measure ``phase.NAME`` what has just ended; a phase may come in several parts."""
        key = f"phase.{_text(name)}"
        before = self._measures.get(key, 0.0)
        self._measures[key] = milliseconds + (before if isinstance(before, float) else 0.0)
        if len(self._timeline) < MOST_PARTS:
            start = round(time() * 1000 - milliseconds, 3)
            self._timeline.append({"phase": _text(name), "start": start, "ms": round(milliseconds, 3)})

    def environ(self) -> dict[str, str]:
        """The environment for a child process: its activities name this one as their parent, and share its trace.

        It is left as it is where nothing is sent anyway.
        """
        emitter = self.emitter
        if emitter is None or not emitter.url:
            return dict(os.environ)
        ours = {"BERS_PARENT": self.subject, "BERS_CHAIN": self.chain, "TRACEPARENT": self.traceparent}
        return {**os.environ, **ours}

    def emit(self, type: str, /, **fields: object) -> bool:
        """Emit an event that came of this activity: it names it as its parent, and is part of its chain."""
        ours = {"chain": self.chain, "traceparent": self.traceparent}
        return self._hand_in(type, {**ours, **fields, "data": _within(self.subject, fields.get("data"))})

    def start(self) -> None:
        """Report the start."""
        self._begun = perf_counter()
        if self._around is None:
            self._hand_in(f"{self._type}.started", self._fields)

    def set_off(self) -> None:
        """It begins only now: what was prepared since its start was told is not its time."""
        self._begun = perf_counter()

    def stop(self) -> None:
        """It has ended, though there is still something to measure: what is spent on that is not its time."""
        self._ended = perf_counter()

    def finish(self, outcome: str, reason: str | None = None) -> None:
        """Report the end; an outcome or reason that was ``set`` goes before these."""
        elapsed = ((self._ended or perf_counter()) - self._begun) * 1000
        if self._timeline:
            self._set_inner("data", {"timeline": self._timeline})
        ended = {"duration_ms": elapsed, "outcome": outcome, "reason": reason, "measures": self._measures}
        fields = {**ended, **self._fields}
        if self._around is None or not self._part_of(self._around, fields):
            self._hand_in(f"{self._type}.finished", fields)

    def again(self) -> Activity:
        """Another one like this, for another call of a function."""
        return Activity(*self._given)

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

    def _part_of(self, around: Around, fields: dict[str, object]) -> bool:
        """Let the run around have our end; where it takes none, say in the fields whose end it is."""
        emitter = self.emitter
        if emitter is None:
            return True
        subject = around.tell(emitter.shown(f"{self._type}.finished", dict(fields)).encode())
        if subject == "":
            fields.update(subject=self._alone["subject"], labels=self._alone["labels"])
            fields["data"] = {**(shapes.pairs(fields.get("data")) or {}), "parent": self._alone["parent"]}
        return subject is None

    def _hand_in(self, type: str, fields: dict[str, object]) -> bool:
        return emit(type, **fields) if self._emitter is None else self._emitter.emit(type, **fields)

    def _set_inner(self, field: str, defaults: dict[str, object]) -> None:
        given = self._fields.get(field)
        pairs = {} if given is None else shapes.pairs(given)
        if pairs is not None:
            merged: dict[object, object] = dict(pairs)
            for name, value in defaults.items():
                merged.setdefault(name, value)
            self._fields[field] = merged


class Phase(Wrapping):
    """A part of an activity; it is entered, or decorates, as an activity does."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun: list[tuple[Activity | None, float]] = []

    def again(self) -> Phase:
        """Another one like this, for another call of a function."""
        return Phase(self._name)

    def __enter__(self) -> None:
        self._begun.append((_current.get(), perf_counter()))

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        activity, begun = self._begun.pop()
        if activity is not None:
            activity.add_phase(self._name, (perf_counter() - begun) * 1000)


def build(name: str, *, emitter: Emitter | None = None, **fields: object) -> Activity:
    """A build: ``with build("chat-widget", environment="production") as b: ...``"""
    return Activity("build", name, fields, emitter)


def suite(name: str, *, emitter: Emitter | None = None, **fields: object) -> Activity:
    """A run of a test suite: emits ``testsuiterun.started`` and ``testsuiterun.finished``."""
    return Activity("test", name, fields, emitter)


def deployment(name: str, *, emitter: Emitter | None = None, **fields: object) -> Activity:
    """A deployment of the service of that name."""
    return Activity("deploy", name, fields, emitter)


def phase(name: str) -> Phase:
    """A part of the activity around it, which reports it as the measure ``phase.NAME``, in milliseconds."""
    return Phase(name)


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


def _new_trace() -> str:
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"


def _text(value: object) -> str:
    if value is None:
        return ""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"
