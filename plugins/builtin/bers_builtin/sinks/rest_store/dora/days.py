"""Deployments, counted day by day: a day that is over is counted once, until something about it changes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from ..pace import Pace
from .deployments import Commit, Deployment
from .portions import portions
from .timeline import finish

DAY = 86_400.0


@dataclass
class Tally:
    """Some deployments, counted."""

    deployments: int = 0
    succeeded: int = 0
    failed: int = 0
    rework: int = 0
    unknown_outcomes: int = 0
    unrecovered: int = 0
    commits: dict[Commit, int] = field(default_factory=dict[Commit, int])
    leads: list[float] = field(default_factory=list[float])
    recoveries: list[float] = field(default_factory=list[float])
    environments: set[str] = field(default_factory=set[str])

    def __iadd__(self, other: Tally) -> Self:
        self.deployments += other.deployments
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.rework += other.rework
        self.unknown_outcomes += other.unknown_outcomes
        self.unrecovered += other.unrecovered
        self.leads += other.leads
        self.recoveries += other.recoveries
        self.environments |= other.environments
        for commit, count in other.commits.items():
            self.commits[commit] = self.commits.get(commit, 0) + count
        return self

    def add(self, one: Deployment) -> None:
        self.deployments += 1
        self.rework += one.rework
        self.unknown_outcomes += one.outcome is None
        self.environments.add(one.environment)
        if one.ended == "succeeded":
            self.succeeded += 1
            self.commits[one.commit] = self.commits.get(one.commit, 0) + 1
            self.leads += one.leads
        if one.failed_at is not None:
            self.failed += 1
            if one.recovered_at is None:
                self.unrecovered += 1
            else:
                self.recoveries.append((one.recovered_at - one.finished) * 1000)


Tallies: TypeAlias = Mapping[str | None, Tally]
"""By service."""


class Days:
    """Counts of whole days in UTC."""

    def __init__(self) -> None:
        self._counted: dict[float, Tallies] = {}

    def changed(self, one: Deployment) -> None:
        self._counted.pop(one.finished // DAY, None)

    async def between(
        self, deployments: Sequence[Deployment], start: float, end: float, pace: Pace
    ) -> dict[float, Tallies]:
        """The deployments that finished in a period, by the number of their day since 1970."""
        found: dict[float, Tallies] = {}
        first, last = (bisect_left(deployments, edge, key=finish) for edge in (start, end))
        while first < last:
            day = deployments[first].finished // DAY
            following = min(last, bisect_left(deployments, (day + 1) * DAY, first, last, key=finish))
            tallies = self._counted.get(day)
            whole = start <= day * DAY and (day + 1) * DAY <= end
            if tallies is None or not whole:
                tallies = await _count(deployments[first:following], pace)
                if whole:
                    self._counted[day] = tallies
            found[day], first = tallies, following
        return found


async def _count(deployments: Sequence[Deployment], pace: Pace) -> Tallies:
    tallies: dict[str | None, Tally] = {}
    for portion in portions(deployments):
        for one in portion:
            tally = tallies.get(one.service)
            if tally is None:
                tally = tallies[one.service] = Tally()
            tally.add(one)
        await pace()
    return tallies


async def by_service(days: Iterable[Tallies], service: str, pace: Pace) -> dict[str | None, Tally]:
    """All days together; of one service, or of each."""
    together: dict[str | None, Tally] = {}
    for tallies in days:
        for whose, tally in tallies.items():
            if not service or whose == service:
                together.setdefault(whose, Tally()).__iadd__(tally)
        await pace()
    return together
