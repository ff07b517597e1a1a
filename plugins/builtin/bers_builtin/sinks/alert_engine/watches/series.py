"""What one rule remembers about one set of labels."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import msgspec

from bers import Event, Labels, redact_text
from bers_builtin.sinks.alert_engine.watches.terms import Terms


class Evidence(msgspec.Struct, array_like=True, frozen=True):
    """The event that a rule took for a breach last."""

    environment: str | None = None
    source: str = ""
    id: str = ""
    subject: str = ""
    note: str = ""

    @classmethod
    def of(cls, event: Event) -> Evidence:
        what = event.service or event.subject or event.source
        where = f" in {event.environment}" if event.environment else ""
        outcome = f" ({event.outcome})" if event.outcome else ""
        reason = f": {redact_text(event.reason[:500])}" if event.reason else ""
        note = f"{event.type}{outcome}: {what}{where}{reason}"
        return cls(event.environment, event.source, event.id, event.subject, note)


class SavedSeries(msgspec.Struct, array_like=True):
    """What a series remembers, to be written down."""

    labels: Labels
    since: float | None
    id: str
    value: float | None
    failures: int
    evidence: Evidence
    memory: Any = None
    good: float | None = None
    heard: float | None = None
    silent: bool = False


class Memory(Protocol):
    """What a kind of rule remembers besides: a window, the last runs, tallies."""

    def __len__(self) -> int:
        """How many values it holds; without any it can be forgotten."""
        ...

    def dump(self) -> Any:
        """Write it down, as plain values."""
        ...


class Series:
    """What one rule knows about one set of labels. Times are on the engine's own clock."""

    __slots__ = (
        "evidence", "failures", "fingerprint", "firing", "good", "heard", "id", "labels", "memory", "queued", "saved",
        "silent", "since", "terms", "value", "written",
    )  # fmt: skip

    def __init__(self, labels: Labels, fingerprint: str, terms: Terms, memory: Memory | None) -> None:
        self.labels = labels
        self.fingerprint = fingerprint
        self.terms = terms
        """What holds for its environment."""
        self.memory = memory
        self.since: float | None = None
        """Since when all that was seen was beyond the threshold, by arrival."""
        self.id = ""
        """What its alert will be called."""
        self.value: float | None = None
        self.failures = 0
        """Failures in a row."""
        self.evidence = Evidence()
        self.firing = False
        """Whether it has an alert that is alive."""
        self.good: float | None = None
        """Since when all has been good, while its alert fires on."""
        self.heard: float | None = None
        """When something came last, where that matters."""
        self.silent = False
        """Whether that is too long ago."""
        self.written: tuple[object, ...] = ()
        """What was written down of it last."""
        self.saved: float | None = None
        """What was written down of ``heard``."""
        self.queued: float | None = None
        """When it is looked at next, though nothing came."""

    @property
    def is_idle(self) -> bool:
        """Whether forgetting it changes nothing."""
        return self.since is None and self.heard is None and not self.firing and not self.failures and not self.memory

    def is_changed(self, tolerance: float) -> bool:
        """Whether there is something to be written down: of when it was heard last, if that is so much later."""
        if self.memory is not None or self.written != (self.since, self.good, self.failures, self.silent):
            return True
        return self.heard is not None and (self.saved is None or self.heard - self.saved >= tolerance)

    @property
    def samples(self) -> int:
        """How many values what is compared is made of."""
        return len(self.memory) if self.memory is not None else int(self.value is not None)

    def begin(self, at: float) -> None:
        """Say that since then all is bad; what was bad before goes on."""
        if self.since is None:
            self.since, self.id = at, uuid4().hex

    def save(self) -> SavedSeries:
        memory = self.memory.dump() if self.memory is not None else None
        self.saved, self.written = self.heard, (self.since, self.good, self.failures, self.silent)
        head = (self.labels, self.since, self.id, self.value, self.failures, self.evidence)
        return SavedSeries(*head, memory, self.good, self.heard, self.silent)


class Verdict(NamedTuple):
    """What a rule makes of what it knows: beyond the threshold, or not, or nothing can be said."""

    series: Series
    breaching: bool | None
