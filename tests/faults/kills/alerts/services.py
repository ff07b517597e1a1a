"""What is watched: services that go down and up, crash, fail, and are slow; and the alerts that are due for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from random import Random
from threading import Event as Flag
from typing import Any, NamedTuple, TypeAlias

import msgspec

from tests.faults.kills.emitters import Busy, Door, Fields, Sent

FOR = 2.0
"""Seconds for which a service has to be slow."""

Subject: TypeAlias = tuple[str, str]
"""A rule, and what its alert is about."""


class Sample(NamedTuple):
    """How slow a service was."""

    id: str
    slow: bool


@dataclass
class Due:
    """The alerts that have to be told, once everything was handed in and every alert has ended."""

    occurrences: dict[Subject, int] = field(default_factory=dict[Subject, int])
    """How often each subject's alert begins, and ends."""
    downs: dict[str, int] = field(default_factory=dict[str, int])
    """How often each service is said to be down."""
    samples: dict[str, list[Sample]] = field(default_factory=dict[str, list[Sample]])
    """What was measured of each service, in order: when it was taken decides whether its alert fires."""


class Services:
    """Hands in one batch after another, and again what was not acknowledged, before anything else."""

    def __init__(self, number: int, rng: Random, due: Due) -> None:
        self.sent: list[Sent] = []
        self._name = f"/ci/{number}"
        self._number = number
        self._rng = rng
        self._due = due
        self._count = 0
        self._down: set[str] = set()
        self._failures: dict[str, int] = {}
        self._slow: dict[str, float] = {}
        """Services that are slow, and until when."""
        self._busy: set[str] = set()
        """Services whose peak has to leave a window."""
        self.rushes = False
        """Whether it begins with so much at once that people have to be spared, however slow the machine is."""

    def run(self, door: Door, over: Flag) -> None:
        """Send until the node is gone or it is over."""
        try:
            self._send_owed(door)
            if self.rushes:
                self._send(door, [*self._rush()])
            while not over.is_set():
                self._send(door, [*self._happening()])
                over.wait(self._rng.uniform(0.02, 0.12))
        except (OSError, HTTPException):
            pass
        finally:
            door.close()

    def finish(self, door: Door) -> None:
        """Send what is owed, and let everything be well."""
        self._send_owed(door)
        self._send(door, [*self._all_well()])
        door.close()

    def _send_owed(self, door: Door) -> None:
        for one in [one for one in self.sent if not one.acknowledged]:
            self._post(door, one)

    def _send(self, door: Door, events: list[Fields]) -> None:
        one = Sent(str(len(self.sent)), msgspec.json.encode(events), frozenset())
        self.sent.append(one)
        self._post(door, one)

    def _post(self, door: Door, one: Sent) -> None:
        while not one.acknowledged:
            try:
                door.post(one.number, one.body)
                one.acknowledged = True
            except Busy:
                time.sleep(0.02)

    # What happens

    def _happening(self) -> Iterator[Fields]:
        rng = self._rng
        for subject, until in list(self._slow.items()):
            slow = time.time() < until
            if not slow:
                del self._slow[subject]
            yield self._measured(subject, slow=slow)
        for subject in list(self._busy):
            yield self._event("service-is.loaded", subject, measures={"validation_duration": 10.0})
        match rng.choice(["down", "crash", "fail", "slow", "busy", "nothing", "nothing", "nothing"]):
            case "down":
                yield self._switched(f"{self._number}/{rng.randrange(3)}", down=rng.random() < 0.5)
            case "crash":
                subject = self._new("crash")
                self._begins("Crash", subject)
                yield self._event("service-is.crashed", subject)
            case "fail":
                yield self._tried(f"{self._number}/{rng.randrange(2)}", well=rng.random() < 0.3)
            case "slow" if len(self._slow) < 2:
                subject = self._new("slow")
                self._slow[subject] = time.time() + rng.choice([1.0, FOR + 0.3, FOR + 2.5, FOR + 4.0])
                yield self._measured(subject, slow=True)
            case "busy" if len(self._busy) < 2:
                subject = self._new("busy")
                self._busy.add(subject)
                self._begins("Busy", subject)
                yield self._event("service-is.loaded", subject, measures={"validation_duration": 9e3})
            case "busy" if rng.random() < 0.2:
                self._busy.pop()
            case _:
                yield self._event("note.written", "")

    def _rush(self) -> Iterator[Fields]:
        """Many crash, and one comes and goes."""
        for _ in range(8):
            subject = self._new("crash")
            self._begins("Crash", subject)
            yield self._event("service-is.crashed", subject)
        for n in range(6):
            yield self._switched(f"{self._number}/0", down=n % 2 == 0)

    def _all_well(self) -> Iterator[Fields]:
        for subject in sorted(self._down):
            yield self._switched(subject, down=False)
        for subject in sorted(self._failures):
            yield self._tried(subject, well=True)
        for subject in self._slow:
            yield self._measured(subject, slow=False)
        for _, subject in {key for key in self._due.occurrences if key[0] == "Busy"}:
            if subject.startswith(f"{self._number}-"):  # The last peaks may have left their windows in silence.
                yield self._event("service-is.loaded", subject, measures={"validation_duration": 10.0})
        self._slow.clear()
        self._busy.clear()

    def _switched(self, subject: str, *, down: bool) -> Fields:
        if down:
            self._due.downs[subject] = self._due.downs.get(subject, 0) + 1
        if down and subject not in self._down:
            self._down.add(subject)
            self._begins("Down", subject)
        elif not down:
            self._down.discard(subject)
        return self._event("service-is.down" if down else "service-is.up", subject)

    def _tried(self, subject: str, *, well: bool) -> Fields:
        failures = self._failures[subject] = 0 if well else self._failures.get(subject, 0) + 1
        if failures == 3:
            self._begins("Failing", subject)
        return self._event("service-is.tried", subject, outcome="success" if well else "failure")

    def _measured(self, subject: str, *, slow: bool) -> Fields:
        event = self._event("service-is.measured", subject, measures={"build_performance": 9e3 if slow else 10.0})
        self._due.samples.setdefault(subject, []).append(Sample(event["id"], slow))
        return event

    def _begins(self, rule: str, subject: str) -> None:
        key = (rule, subject)
        self._due.occurrences[key] = self._due.occurrences.get(key, 0) + 1

    def _event(self, kind: str, subject: str, **fields: Any) -> Fields:
        id = f"{self._number}-{self._next()}"
        return {"id": id, "source": self._name, "type": kind, "time": time.time(), "subject": subject, **fields}

    def _new(self, what: str) -> str:
        return f"{self._number}-{what}-{self._next()}"

    def _next(self) -> int:
        self._count += 1
        return self._count
