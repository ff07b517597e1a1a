"""What came of each deployment: that it failed or was taken back, when it was mended, and whether it is rework.

It is judged anew whenever something is known that was not, of those alone that somebody says something about; for few
of all deployments fail.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from ..pace import Pace
from .config import DoraConfig
from .days import Days
from .deployments import Deployment
from .incidents import Incident
from .portions import empty, portions
from .timeline import Names, Timeline, Where, anywhere
from .told import Told

_order = attrgetter("order")


class _Verdict(NamedTuple):
    failed_at: float | None
    recovered_at: float | None
    rework: bool


class Judgement:
    """Decides what came of each deployment."""

    def __init__(self, config: DoraConfig, days: Days) -> None:
        self._config = config
        self._days = days
        self._names = Names()
        self._succeeded = Timeline()
        self._brought = Timeline()
        """Those that are no rollbacks themselves, however they ended."""
        self._failed: set[Deployment] = set()
        self._taking_back: set[Deployment] = set()
        self._with_cause: set[Deployment] = set()
        self._labelled = 0
        self._told: list[Told] = []
        """Rollbacks, in their order."""
        self._judged: dict[Deployment, None] = {}
        """Those that something came of."""
        self._rollbacks: dict[Where, list[float]] = {}
        """When each place was rolled back."""
        self._responds = False

    @property
    def rework_told(self) -> bool:
        return self._responds or self._labelled > 0

    def add(self, one: Deployment) -> None:
        for name in set(one.names) - {""}:
            self._names.add(name, one)
        for timeline in self._timelines(one):
            timeline.add(one)
        for some in self._sets(one):
            some.add(one)
        self._labelled += bool(one.kind)
        one.rework = one.kind in self._config.rework

    def remove(self, one: Deployment) -> None:
        for name in set(one.names) - {""}:
            self._names.remove(name, one)
        for timeline in self._timelines(one):
            timeline.remove(one)
        for some in self._sets(one):
            some.remove(one)
        self._labelled -= bool(one.kind)
        self._judged.pop(one, None)

    def roll_back(self, told: Told) -> None:
        insort(self._told, told, key=_order)

    def do_not_roll_back(self, told: Told) -> None:
        del self._told[bisect_left(self._told, told.order, key=_order)]

    async def judge(self, incidents: Sequence[Incident], pace: Pace) -> None:
        before = await self._begin_anew(pace)
        for portion in portions([*self._failed]):
            for one in portion:
                self._fail(one, one.finished)
            await pace()
        for portion in portions([*self._taking_back]):
            for one in portion:
                self._mark(self._brought.before(one), one.finished, limited=True)
            await pace()
        answered = set[str]()
        for found in portions(incidents) if self._with_cause else ():
            answered.update(name for incident in found for name in incident.names)
            await pace()
        for portion in portions([*self._with_cause]):
            for one in portion:
                self._respond(one, answered)
            await pace()
        for rollbacks in portions(self._told):
            for told in rollbacks:
                self._roll_back(told)
            await pace()
        for moments in self._rollbacks.values():
            moments.sort()
        for found in portions(incidents):
            for incident in found:
                self._attribute(incident)
            await pace()
        for portion in portions([*self._judged]):
            for one in portion:
                if one.failed_at is not None:
                    one.recovered_at = self._recovery(one, one.failed_at)
                if before.pop(one, None) != _verdict(one):
                    self._days.changed(one)
            await pace()
        for one in before:
            self._days.changed(one)

    async def clear(self, pace: Pace) -> None:
        """Let go of everything, a little at a time."""
        await self._names.clear(pace)
        for mapping in (self._judged, self._rollbacks):
            await empty(mapping, pace)
        for timeline in (self._succeeded, self._brought):
            await timeline.clear(pace)

    async def _begin_anew(self, pace: Pace) -> dict[Deployment, _Verdict]:
        """Forget what was judged; return what it was."""
        before: dict[Deployment, _Verdict] = {}
        for portion in portions([*self._judged]):
            for one in portion:
                before[one] = _verdict(one)
                one.failed_at = one.recovered_at = one.resolutions = None
            await pace()
        self._judged, self._rollbacks, self._responds = {}, {}, False
        return before

    def _timelines(self, one: Deployment) -> Iterable[Timeline]:
        if one.kind != "rollback":
            yield self._brought
        if one.ended == "succeeded":
            yield self._succeeded

    def _sets(self, one: Deployment) -> Iterable[set[Deployment]]:
        if one.ended != "succeeded":
            yield self._failed
        if one.kind == "rollback":
            yield self._taking_back
        if one.causes:
            yield self._with_cause

    def _respond(self, one: Deployment, answered: Collection[str]) -> None:
        responds = one.answers(answered)
        one.rework = responds or one.kind in self._config.rework
        self._responds |= responds
        self._judged[one] = None

    def _fail(self, one: Deployment, at: float) -> None:
        one.fail(at)
        self._judged[one] = None

    def _roll_back(self, told: Told) -> None:
        """Mark the deployment that was rolled back: the one that is named, else the last before."""
        where = anywhere(told.service, told.environment)
        named = self._named((told.cause, told.taken_back), where, told.time)
        culprit = named or self._named(_unsure(told), where, told.time) or self._brought.latest(where, told.time)
        self._mark(culprit, told.time, limited=named is None)
        if culprit:
            self._rollbacks.setdefault(culprit.place, []).append(told.time)
        elif told.environment:
            self._rollbacks.setdefault((told.service, told.environment), []).append(told.time)

    def _mark(self, culprit: Deployment | None, at: float, *, limited: bool) -> None:
        if culprit and not (limited and at - culprit.finished > self._config.rollback_within):
            self._fail(culprit, at)

    def _attribute(self, incident: Incident) -> None:
        """Find what an incident came of: what it names, else the last success before it, unless that contradicts."""
        where = anywhere(incident.service, incident.environment)
        culprit = self._named(incident.blames, where, incident.detected, rollbacks=True)
        if culprit is None:
            culprit = self._succeeded.latest(where, incident.detected)
            if culprit and culprit.contradicts(incident.version, incident.artifact):
                culprit = None
        incident.attributed = culprit is not None
        if culprit:
            self._fail(culprit, incident.detected)
            if incident.resolved is not None:
                culprit.resolve(incident.resolved)

    def _named(
        self, names: Iterable[str | None], where: Where, at: float, *, rollbacks: bool = False
    ) -> Deployment | None:
        for name in filter(None, names):
            found = self._names.latest(name, where, at)
            if found and (rollbacks or found.kind != "rollback"):
                return found
        return None

    def _recovery(self, one: Deployment, known: float) -> float | None:
        """When it was first better again: by a success, by a rollback, or because an incident was resolved."""
        moments = [moment for moment in one.resolutions or () if moment >= known]
        if following := self._succeeded.following(one, known):
            moments.append(following.finished)
        rollbacks = self._rollbacks.get(one.place, [])
        number = bisect_left(rollbacks, max(known, one.finished))
        return min([*moments, *rollbacks[number : number + 1]], default=None)


def _verdict(one: Deployment) -> _Verdict:
    return _Verdict(one.failed_at, one.recovered_at, one.rework)


def _unsure(rollback: Told) -> tuple[str, str]:
    """Names of a rollback that may be those of what was rolled back, and may be those of the whole service."""
    return rollback.subject, rollback.run.id if rollback.run else ""
