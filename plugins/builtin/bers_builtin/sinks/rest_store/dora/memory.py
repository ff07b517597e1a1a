"""What was read of the store for one answer, kept for the next one: that reads only what is new."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import TypeAlias

from ..pace import Pace
from .ledger import Ledger
from .portions import drop, empty
from .told import Told

Name: TypeAlias = tuple[str, str]
"""The source and the id of a record."""

LEDGERS = 2
"""How many sets of environments have a ledger that is kept: production, and another that is asked for."""
MARGIN = 1.0
"""Seconds by which a record is looked at before it is too old: whether it is, the words of the store decide."""


class Memory:
    """Records as they are in the store, and the ledgers that are written of them.

    It is right as long as nothing is deleted before its time, and the clock is not set back.
    """

    def __init__(self, keep: float, era: object) -> None:
        """``keep`` is how many seconds a record counts."""
        self._keep = keep
        self.era = era
        """What has to be as it was, or everything is read anew."""
        self.now = 0.0
        """When it is asked for."""
        self.news: list[Name] = []
        """Records that came since."""
        self._told: dict[Name, Told] = {}
        self._later: list[tuple[float, Name, float, Told]] = []
        """Records of the future, as a heap."""
        self._awaited: set[Name] = set()
        self._leaving: list[tuple[float, Name, float]] = []
        """When each record is too old, and until when it is kept, as a heap."""
        self._ledgers: dict[str, Ledger] = {}
        self._gone: list[Told] = []
        self._new: list[Told] = []

    def __len__(self) -> int:
        return len(self._told) + len(self._later)

    def knows(self, name: Name) -> bool:
        return name in self._told or name in self._awaited

    def add(self, told: Told, expires: float) -> None:
        """Take one in that was read; one of the future when its time has come."""
        name = told.source, told.id
        if told.time > self.now:
            self._awaited.add(name)
            heappush(self._later, (told.time, name, expires, told))
        elif name not in self._told and self._is_kept(told, expires):
            self._told[name] = told
            self._new.append(told)
            heappush(self._leaving, (min(expires, told.time + self._keep), name, expires))

    async def advance(self, pace: Pace) -> None:
        """Let what is new come in, and what is too old go."""
        now = self.now
        while self._later and self._later[0][0] <= now:
            _, name, expires, told = heappop(self._later)
            self._awaited.remove(name)
            self.add(told, expires)
            await pace()
        stay: list[tuple[float, Name, float]] = []
        while self._leaving and self._leaving[0][0] <= now + MARGIN:
            leaving = heappop(self._leaving)
            told = self._told[leaving[1]]
            if self._is_kept(told, leaving[2]):
                stay.append(leaving)
            else:
                self._gone.append(self._told.pop(leaving[1]))
            await pace()
        for leaving in stay:
            heappush(self._leaving, leaving)
        if self._gone or self._new:
            for ledger in self._ledgers.values():
                await ledger.change(self._gone, self._new, pace)
            self._gone, self._new = [], []

    async def ledger(self, environment: str, make: Callable[[], Ledger], pace: Pace) -> Ledger:
        """What is known of a set of environments, by its name."""
        if environment not in self._ledgers:
            while len(self._ledgers) >= LEDGERS:
                oldest = next(name for name in self._ledgers if name)
                await self._ledgers.pop(oldest).clear(pace)
            made = make()
            await made.change((), list(self._told.values()), pace)
            self._ledgers[environment] = made
        return self._ledgers[environment]

    async def clear(self, pace: Pace) -> None:
        """Let go of everything, a little at a time: to free many records at once would hold up everybody."""
        while self._ledgers:
            await self._ledgers.popitem()[1].clear(pace)
        await empty(self._told, pace)
        await drop(self._leaving, pace)

    def _is_kept(self, told: Told, expires: float) -> bool:
        """In the words of the questions to the store."""
        return expires > self.now and told.time >= self.now - self._keep
