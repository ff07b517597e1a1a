"""Everything that was told, joined: which deployments there were, what came of them, and how each was mended.

Nothing here depends on the order in which records came, or reads a clock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ..pace import Pace
from . import deployments, incidents
from .config import DoraConfig
from .deployments import Deployment, Key
from .incidents import Incident
from .portions import PORTION, portions
from .timeline import Names, Timeline, anywhere, finish
from .told import DEPLOYED, DETECTED, LOST, RESOLVED, ROLLED_BACK, Told

Place: TypeAlias = Callable[[str], bool]
"""Whether an environment is among those asked about."""
Aside: TypeAlias = tuple[float, str | None]
"""When something happened that is counted and not measured, and the service, where it is told."""


@dataclass
class Ledger:
    """What is known of one set of environments."""

    deployments: list[Deployment] = field(default_factory=list[Deployment])
    """Those that came to an end in production, well or not, in the order of their finish."""
    incidents: list[Incident] = field(default_factory=list[Incident])
    unknown_environment: list[Aside] = field(default_factory=list[Aside])
    stopped: dict[str, list[Aside]] = field(default_factory=dict[str, list[Aside]])
    """Those that never reached production, by their outcome; ``lost`` are those that nobody heard of again."""
    incidents_told: bool = False
    """Whether anybody tells of incidents, here or elsewhere."""
    rework_told: bool = False
    """Whether anybody labels deployments, or says which incident they answer."""


@dataclass
class _Groups:
    """What was told, by what it was told of."""

    deployments: dict[Key, Sequence[Told]] = field(default_factory=dict[Key, Sequence[Told]])
    incidents: dict[Key, list[Told]] = field(default_factory=dict[Key, list[Told]])
    rollbacks: list[Told] = field(default_factory=list[Told])
    lost: dict[Key, Told] = field(default_factory=dict[Key, Told])
    ended: set[Key] = field(default_factory=set[Key])
    commits: dict[str, float] = field(default_factory=dict[str, float])


async def join(told: Sequence[Told], here: Place, config: DoraConfig, pace: Pace) -> Ledger:
    """Join everything that was told, each event once."""
    ledger, groups = Ledger(), _Groups()
    for portion in portions(told):
        for one in portion:
            _sort(one, here, ledger, groups)
        await pace()
    every: list[Deployment] = []
    for groups_of_some in portions(list(groups.deployments.values())):
        every += [deployments.build(group, groups.commits) for group in groups_of_some]
        await pace()
    await put_in_order(every, pace)
    for some in portions(every):
        for deployment in some:
            if deployment.ended == "stopped":
                ledger.stopped.setdefault(str(deployment.outcome), []).append((deployment.finished, deployment.service))
            else:
                ledger.deployments.append(deployment)
        await pace()
    ledger.stopped["lost"] = sorted(
        ((one.time, one.service) for key, one in groups.lost.items() if key not in groups.ended),
        key=lambda one: (one[0], one[1] or ""),
    )
    for groups_of_some in portions(list(groups.incidents.values())):
        for group in groups_of_some:
            found = incidents.build(group)
            ledger.incidents += [one for one in found if one.environment is None or here(one.environment)]
        await pace()
    ledger.incidents_told = bool(groups.incidents) or config.incidents_are_told
    await _Judgement(ledger, groups.rollbacks, config, pace).judge()
    return ledger


def _sort(one: Told, here: Place, ledger: Ledger, groups: _Groups) -> None:
    vcs = one.vcs
    if vcs and vcs.revision and vcs.committed_at is not None:
        known = groups.commits.get(vcs.revision)
        groups.commits[vcs.revision] = vcs.committed_at if known is None else min(known, vcs.committed_at)
    if one.type in DEPLOYED:
        groups.ended.add((one.source, one.subject))
        if one.environment is None:
            ledger.unknown_environment.append((one.time, one.service))
        elif here(one.environment):
            _join_group(groups.deployments, deployments.key_of(one), one)
    elif one.type in ROLLED_BACK:
        if one.environment is None or here(one.environment):
            groups.rollbacks.append(one)
    elif one.type in DETECTED or one.type in RESOLVED:
        groups.incidents.setdefault(incidents.key_of(one), []).append(one)
    elif one.type in LOST and one.environment is not None and here(one.environment):
        before = groups.lost.setdefault((one.source, one.subject), one)
        groups.lost[one.source, one.subject] = max(before, one, key=lambda either: either.order)


def _join_group(groups: dict[Key, Sequence[Told]], key: Key, one: Told) -> None:
    """Add to a group. Most have one member: the garbage collector forgets tuples of records, and visits every list."""
    known = groups.get(key)
    if known is None:
        groups[key] = (one,)
    elif isinstance(known, list):
        known.append(one)
    else:
        groups[key] = [*known, one]


class _Judgement:
    """Decides what came of each deployment."""

    def __init__(self, ledger: Ledger, rollbacks: Iterable[Told], config: DoraConfig, pace: Pace) -> None:
        self._ledger = ledger
        self._told = sorted(rollbacks, key=lambda one: one.order)
        self._names = Names(
            [name for one in self._told for name in (one.cause, one.taken_back, *_unsure(one))]
            + [name for one in ledger.incidents for name in one.blames]
        )
        self._config = config
        self._pace = pace
        self._succeeded = Timeline()
        self._brought = Timeline()
        """Those that are no rollbacks themselves, however they ended."""
        self._seen: dict[tuple[str | None, str], set[str]] = {}
        """The revisions that came to each place."""
        self._rollbacks: dict[tuple[str | None, str], list[float]] = {}
        """When each place was rolled back."""

    async def judge(self) -> None:
        answered = {name for one in self._ledger.incidents for name in one.names}
        for portion in portions(self._ledger.deployments):
            for one in portion:
                self._enter(one, answered)
            await self._pace()
        for rollbacks in portions(self._told):
            for told in rollbacks:
                self._roll_back(told)
            await self._pace()
        for moments in self._rollbacks.values():
            moments.sort()
        for found in portions(self._ledger.incidents):
            for incident in found:
                self._attribute(incident)
            await self._pace()
        for portion in portions(self._ledger.deployments):
            for one in portion:
                if one.failed_at is not None:
                    one.recovered_at = self._recovery(one, one.failed_at)
            await self._pace()

    def _enter(self, one: Deployment, answered: Collection[str]) -> None:
        """Take the next deployment into account: what it brought, what it takes back, and whether it is rework."""
        place = one.service, one.environment
        if one.kind == "rollback":
            self._mark(self._brought.latest(place, one.finished), one.finished, limited=True)
        else:
            self._brought.add(one)
        self._names.add(one)
        if one.ended == "succeeded":
            self._succeeded.add(one)
            _measure(one, self._seen.setdefault(place, set()))
        else:
            one.fail(one.finished)
        responds = one.answers(answered)
        one.rework = responds or one.kind in self._config.rework
        self._ledger.rework_told |= responds or bool(one.kind)

    def _roll_back(self, told: Told) -> None:
        """Mark the deployment that was rolled back: the one that is named, else the last before."""
        where = anywhere(told.service, told.environment)
        named = self._named((told.cause, told.taken_back), where, told.time)
        culprit = named or self._named(_unsure(told), where, told.time) or self._brought.latest(where, told.time)
        self._mark(culprit, told.time, limited=named is None)
        if culprit:
            self._rollbacks.setdefault((culprit.service, culprit.environment), []).append(told.time)
        elif told.environment:
            self._rollbacks.setdefault((told.service, told.environment), []).append(told.time)

    def _mark(self, culprit: Deployment | None, at: float, *, limited: bool) -> None:
        if culprit and not (limited and at - culprit.finished > self._config.rollback_within):
            culprit.fail(at)

    def _attribute(self, incident: Incident) -> None:
        """Find what an incident came of: what it names, else the last success before it, unless that contradicts."""
        where = anywhere(incident.service, incident.environment)
        culprit = self._named(incident.blames, where, incident.detected, rollbacks=True)
        if culprit is None:
            culprit = self._succeeded.latest(where, incident.detected)
            if culprit and culprit.contradicts(incident.version, incident.artifact):
                culprit = None
        if culprit:
            incident.attributed = True
            culprit.fail(incident.detected)
            if incident.resolved is not None:
                culprit.resolve(incident.resolved)

    def _named(
        self, names: Iterable[str | None], where: tuple[str | None, str], at: float, *, rollbacks: bool = False
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
        rollbacks = self._rollbacks.get((one.service, one.environment), [])
        number = bisect_left(rollbacks, max(known, one.finished))
        return min([*moments, *rollbacks[number : number + 1]], default=None)


async def put_in_order(deployments: list[Deployment], pace: Pace) -> None:
    """By their finish; those of one moment by their key, so that it does not matter which came first."""
    deployments.sort(key=finish)  # Mostly sorted already: each type is read in its order.
    start = 0
    for number in range(1, len(deployments) + 1):
        if number == len(deployments) or deployments[number].finished != deployments[start].finished:
            if number - start > 1:
                deployments[start:number] = sorted(deployments[start:number], key=lambda one: one.key)
            start = number
        if not number % PORTION:
            await pace()


def _unsure(rollback: Told) -> tuple[str, str]:
    """Names of a rollback that may be those of what was rolled back, and may be those of the whole service."""
    return rollback.subject, rollback.run.id if rollback.run else ""


def _measure(one: Deployment, seen: set[str]) -> None:
    """Note how long those changes took that a deployment brought for the first time."""
    fresh = False
    leads: list[float] = []
    for revision, taken in one.changes.items():
        if revision not in seen:
            fresh = True
            if taken is not None:
                leads.append(taken)
            if revision:
                seen.add(revision)
    if one.kind == "rollback":
        one.commit = "rollback"
    elif leads:
        one.commit, one.leads = "measured", tuple(leads)
    else:
        one.commit = "unknown" if fresh else "redeployed"
