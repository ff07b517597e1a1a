"""What is sent, and what follows from it: an emitter knows what every store has to hold once all was acknowledged."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import groupby
from random import Random
from threading import Event as Flag
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

WIDTH = 10.0
EMITTERS = 3
ENVIRONMENTS = 30
"""Each makes a series of its own, so that folding them takes several transactions."""
TOGETHER = 20
"""So many batches are sent as one, where everything is sent again."""
HOUR, DAY = 3600.0, 86_400.0

Fields: TypeAlias = dict[str, Any]
Identity: TypeAlias = tuple[str, str]
Key: TypeAlias = tuple[str, float]
"""Of a window: its environment, and its start."""


class Taken(NamedTuple):
    """What a node says to a batch."""

    new: int
    repeated: int


class Busy(Exception):
    """The node takes nothing at present."""


class Door(Protocol):
    """A way into a node. Whatever ends it raises OSError or HTTPException: then nobody knows what became of a batch."""

    def post(self, number: str, body: bytes) -> Taken: ...
    def close(self) -> None: ...


@dataclass
class Sent:
    """One batch, and whether it was acknowledged."""

    number: str
    body: bytes
    ids: frozenset[Identity]
    acknowledged: bool = False


@dataclass
class Figures:
    """What one window has to hold."""

    count: int = 0
    sum: float = 0.0
    min: float = float("inf")
    max: float = float("-inf")
    last: tuple[float, float] = (0.0, 0.0)
    """When the last value was measured, and that value."""

    def add(self, at: float, value: float) -> None:
        self.count += 1
        self.sum += value
        self.min, self.max = min(self.min, value), max(self.max, value)
        self.last = max(self.last, (at, value))


@dataclass
class Truth:
    """What everybody has to know who was told everything, once."""

    windows: dict[Key, Figures] = field(default_factory=dict[Key, Figures])
    ids: set[Identity] = field(default_factory=set[Identity])
    alerts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """What has to be told of each subject, in order."""

    def measure(self, environment: str, at: float, value: float) -> None:
        self.windows.setdefault((environment, at // WIDTH * WIDTH), Figures()).add(at, value)


class Emitter:
    """Sends one batch after another, and again what was not acknowledged, before anything else.

    Builds whose halves come in any order and in several batches, builds of an hour and of a day ago out of a spool,
    what nobody claims, and services that go down and up; with repeats in the batch and of what was taken long ago.
    """

    def __init__(self, number: int, rng: Random, truth: Truth, began: float) -> None:
        """``began`` is the second in which all emitters began."""
        self.source = f"/ci/{number}"
        self.sent: list[Sent] = []
        self.faults: list[str] = []
        self.repeated = 0
        self._number = number
        self._rng = rng
        self._truth = truth
        self._began = began
        self._counts = Counter[str]()
        self._later: list[Fields] = []
        self._down: set[str] = set()

    def run(self, door: Door, over: Flag) -> None:
        """Send until the node is gone or it is over; only what is owed, if it is over from the beginning."""
        try:
            for one in [one for one in self.sent if not one.acknowledged]:
                self._post(door, one)
            self.send_again(door, self._sample())
            while not over.is_set():
                self._post(door, self._next())
                time.sleep(self._rng.choice([0.0, 0.0, 0.002, 0.01]))
        except (OSError, HTTPException):
            pass
        finally:
            door.close()

    def send_again(self, door: Door, some: Iterable[Sent]) -> None:
        """Everything that was acknowledged is known: it is a repeat, all of it."""
        for one in some:
            taken = self._until_taken(door, one.number, one.body)
            self.repeated += taken.repeated
            if taken.new:
                self.faults.append(f"{self.source} {one.number} was acknowledged, and {taken.new} of it are new again")

    def send_all(self, door: Door) -> None:
        """Everything from the beginning, what was held back too, many batches together."""
        if self._later:
            self._add(self._later, [])
            self._later = []
        for acknowledged, batches in groupby(self.sent, key=lambda one: one.acknowledged):
            some = list(batches)
            for at in range(0, len(some), TOGETHER):
                part = some[at : at + TOGETHER]
                whole = Sent(part[-1].number, b"[%s]" % b",".join(one.body[1:-1] for one in part), frozenset())
                if acknowledged:
                    self.send_again(door, [whole])
                else:
                    self._until_taken(door, whole.number, whole.body)
        for one in self.sent:
            one.acknowledged = True
        door.close()

    def _sample(self) -> list[Sent]:
        known = [one for one in self.sent if one.acknowledged]
        return known[-3:] + self._rng.sample(known, min(len(known), 3))

    def _post(self, door: Door, one: Sent) -> None:
        self._until_taken(door, one.number, one.body)
        one.acknowledged = True

    def _until_taken(self, door: Door, number: str, body: bytes) -> Taken:
        while True:
            try:
                return door.post(number, body)
            except Busy:
                time.sleep(0.02)

    # What is in a batch

    def _next(self) -> Sent:
        rng = self._rng
        events = [event for _ in range(rng.randrange(1, 6)) for event in self._build()]
        self._rng.shuffle(self._later)
        while self._later and rng.random() < 0.5:
            events.append(self._later.pop())
        if rng.random() < 0.3:
            age = rng.choice([HOUR, DAY])
            events += [self._spooled(age) for _ in range(rng.randrange(1, 6))]
        if rng.random() < 0.2:
            events.append(self._event("note.written", f"{self._count('note'):x}z"))
        events += rng.sample(events, min(len(events), rng.choice([0, 0, 1, 2])))
        rng.shuffle(events)
        services = [self._service() for _ in range(rng.choice([0, 0, 1, 3]))]
        return self._add(events, services)

    def _add(self, events: list[Fields], services: list[Fields]) -> Sent:
        """``services`` keep their order, wherever they stand."""
        mixed = list(events)
        places = sorted((self._rng.randrange(len(events) + 1) for _ in services), reverse=True)
        for at, one in zip(places, reversed(services), strict=True):
            mixed.insert(at, one)
        ids = frozenset((event["source"], event["id"]) for event in mixed)
        sent = Sent(f"{self._number}:{len(self.sent)}", msgspec.json.encode(mixed), ids)
        self.sent.append(sent)
        self._truth.ids |= ids
        return sent

    def _build(self) -> list[Fields]:
        """Two halves, of which one may come in a later batch."""
        n, rng = self._count("build"), self._rng
        slot = n // 256 * 256 + n * 97 % 256  # No two at one time, and hardly any two in order.
        end = self._began - 30 * DAY + (slot * EMITTERS + self._number) / 16
        taken = rng.randrange(100) / 16
        environment = self._environment()
        self._truth.measure(environment, end, taken * 1000)
        both = {"subject": f"b{n}", "environment": environment}
        halves = [
            self._event("build.started", f"s-{n}", end - taken, **both),
            self._event("build.finished", f"f-{n}", end, outcome="success", **both),
        ]
        rng.shuffle(halves)
        if rng.random() < 0.3:
            self._later.append(halves.pop())
        return halves

    def _spooled(self, age: float) -> Fields:
        n = self._count("spool")
        at = self._began - age + (n * EMITTERS + self._number) / 1024
        taken = float(self._rng.randrange(5000))
        environment = self._environment()
        self._truth.measure(environment, at, taken)
        fields = {"subject": f"spooled-{n}", "outcome": "success", "environment": environment, "duration_ms": taken}
        return self._event("build.finished", f"SPOOL-{n}", at, **fields)

    def _service(self) -> Fields:
        """A service that goes down or up, or stays what it is."""
        subject = f"{self._number}/{self._rng.randrange(3)}"
        kind = self._rng.choice(["service-is.down", "service-is.up"])
        told = self._truth.alerts.setdefault(subject, [])
        if kind.endswith("down") and subject not in self._down:
            self._down.add(subject)
            told.append("alert.firing")
        elif kind.endswith("up") and subject in self._down:
            self._down.discard(subject)
            told.append("alert.resolved")
        return self._event(kind, f"a-{self._count('service')}", time.time(), subject=subject)

    def _event(self, kind: str, id: str, at: float | None = None, **fields: object) -> Fields:
        at = self._began if at is None else at
        return {"id": id, "source": self.source, "type": kind, "time": at, **fields}

    def _environment(self) -> str:
        return f"env-{self._rng.randrange(ENVIRONMENTS)}"

    def _count(self, kind: str) -> int:
        self._counts[kind] += 1
        return self._counts[kind]
