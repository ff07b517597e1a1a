"""The sources that read events on their way in: whose each event is, and what each source remembers between them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import Protocol

from bers.claims import UNMAPPED, Owners
from bers.counters import Counters
from bers.records import Event
from bers.stages import Receiver
from bers.tables import Table

MAX_UNMAPPED = 200
"""How many types nobody claims are counted by name."""

_log = logging.getLogger(__name__)


class Seat(Protocol):
    """Where a source takes its place among those that read."""

    def attach(self, key: str, receiver: Receiver) -> None:
        """Let it read the events it owns, from now on."""
        ...

    def detach(self, key: str) -> None:
        """Let it read no more."""
        ...


@dataclass(frozen=True)
class Rehearsal:
    """What would become of an event: who would read it, and what that would make of it."""

    owner: str
    known: bool
    """Whether it is a repeat, and would not be taken."""
    events: Sequence[Event]
    """The event with its measures, and those that would follow from it."""
    error: str = ""
    """What the source would raise: the event is kept as it comes then."""


class Receivers:
    """Reads for the intake, which says when what was read is kept, and when it is undone."""

    def __init__(self, owners: Owners, receivers: Mapping[str, Receiver], counters: Counters) -> None:
        self.owners = owners
        """Which source each type of events is for."""
        self.reading = ""
        """The source that reads events at this moment; empty while others have their turn."""
        self.unmapped: Counter[str] = Counter()
        """Types that nobody reads, and how often they came."""
        self._receivers = dict(receivers)
        self._tables: dict[str, Table] = {}
        self._counters = counters
        self._owed = 0.0
        """Seconds of CPU that sources were charged with, and that are still to be taken off what the intake takes."""

    # Who reads.

    def attach(self, key: str, receiver: Receiver) -> None:
        """Let a source read the events it owns, from now on."""
        self._receivers[key] = receiver

    def detach(self, key: str) -> None:
        """A source that is not running reads nothing; its events are kept as they come."""
        self._receivers.pop(key, None)

    def table(self, key: str) -> Table:
        """What the source of that key remembers between events."""
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = Table()
        return table

    def tables(self, keys: Iterable[str]) -> dict[str, Table | None]:
        """The tables of these sources, for :meth:`own`."""
        return {key: self._tables.get(key) for key in keys}

    def own(self, owners: Owners, tables: Mapping[str, Table | None]) -> None:
        """Let these own the events, with these tables; None forgets one. Call it between two frames of the intake."""
        self.owners = owners
        for key, table in tables.items():
            if table is None:
                self._tables.pop(key, None)
            else:
                self._tables[key] = table

    # Reading.

    def receive(self, owner: str, event: Event) -> Sequence[Event]:
        """The event as its source reads it, and what follows from it; as it came where that fails, or nobody reads."""
        receiver = self._receivers.get(owner)
        if receiver is None:
            if owner == UNMAPPED and not event.source.startswith("bers:"):
                self._count_unmapped(event.type)
            return [event]
        table = self.table(owner)
        mark = table.mark()
        self.reading = owner
        try:
            return _checked(receiver.receive(event, table))
        except Exception as exc:  # A plugin's fault costs its own figures, never the event.
            _log.exception("event %r of %r was stored as it came", event.id, event.source)
            table.undo(mark)
            edge = self._counters.edge(f"source/{owner}")
            edge.errors += 1
            edge.last_error = f"{type(exc).__name__}: {exc}"
            self._count_unmapped(event.type)
            return [event]

    def timed(self, weight: int, owner: str, event: Event) -> Sequence[Event]:
        """The same, timed: it stands for so many."""
        edge = self._counters.edge(f"source/{owner}")
        began, cpu = perf_counter(), thread_time()
        out = self.receive(owner, event)
        used, now = thread_time() - cpu, perf_counter()
        if owner in self._receivers:
            edge.cpu += used * weight
            self._owed += used * weight
            edge.seconds += (now - began) * weight
            edge.latencies.add(now - began, now)
        return out

    def charged(self, cpu: float) -> float:
        """How many of these seconds of CPU sources were charged with already."""
        theirs = min(cpu, self._owed)
        self._owed -= theirs
        return theirs

    def rest(self) -> None:
        """Nobody reads for now: others have their turn."""
        self.reading = ""

    def rehearse(self, events: Iterable[Event], known: Callable[[Event], bool]) -> list[Rehearsal]:
        """Read events one after the other, and make it not have happened."""
        marks = {key: table.mark() for key, table in self._tables.items()}
        try:
            return [self._rehearsed(event, known(event)) for event in events]
        finally:
            self.rest()
            for key, table in self._tables.items():
                table.undo(marks.get(key, 0))

    def _rehearsed(self, event: Event, known: bool) -> Rehearsal:
        owner = self.owners.of(event.type)
        receiver = self._receivers.get(owner)
        if receiver is None:
            return Rehearsal(owner, known, [event])
        self.reading = owner
        try:
            return Rehearsal(owner, known, _checked(receiver.receive(event, self.table(owner))))
        except Exception as exc:  # Told to whoever asks, and to nobody else: nothing has happened.
            return Rehearsal(owner, known, [event], f"{type(exc).__name__}: {exc}")

    def _count_unmapped(self, type: str) -> None:
        known = type in self.unmapped or len(self.unmapped) < MAX_UNMAPPED
        self.unmapped[type if known else "other"] += 1

    # What was read.

    def keep(self) -> None:
        """What sources remember by now is not undone any more."""
        for table in self._tables.values():
            table.keep()

    def undo(self) -> None:
        """Make what was read since then not have happened."""
        for table in self._tables.values():
            table.undo()

    def dump(self) -> dict[str, tuple[list[str], list[bytes]]]:
        """What sources remember, for :meth:`load`."""
        return {key: table.dump() for key, table in self._tables.items() if len(table)}

    def load(self, tables: Mapping[str, Mapping[str, Event | bytes]]) -> None:
        for key, events in tables.items():
            self.table(key).load(events)

    def slices(self, most: int) -> Iterator[tuple[Table, Sequence[str]]]:
        """Every table there is, so many of its keys at a time."""
        for table in list(self._tables.values()):
            keys = list(table.keys())
            for at in range(0, len(keys), most):
                yield table, keys[at : at + most]


def _checked(answer: Sequence[Event]) -> Sequence[Event]:
    """What a source returned, if it is what a source may return: a plugin may be typed less strictly than we are."""
    if not isinstance(answer, (list, tuple)) or not answer or not all(map(_is_event, answer)):
        kind = type(answer).__name__
        raise TypeError(f"receive returned {kind}; it returns a list of events, the event itself first")
    return answer


def _is_event(one: object) -> bool:
    return isinstance(one, Event)
