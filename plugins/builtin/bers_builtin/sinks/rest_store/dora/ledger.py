"""Everything that was told, joined: which deployments there were, what came of them, and how each was mended.

Nothing here depends on the order in which records came, or reads a clock. A record that comes late, or that is kept no
longer, changes what depends on it, and the ledger is as if it had been written anew without it or with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from ..pace import Pace
from . import deployments, incidents
from .commits import Commits
from .config import DoraConfig
from .days import Days
from .deployments import Deployment, Key
from .incidents import Incident
from .judgement import Judgement
from .portions import PORTION, empty, portions
from .timeline import Names, Timeline, Where, order
from .told import DEPLOYED, DETECTED, LOST, RESOLVED, ROLLED_BACK, Told

Place: TypeAlias = Callable[[str], bool]
"""Whether an environment is among those asked about."""
Aside: TypeAlias = tuple[float, str | None]
"""When something happened that is counted and not measured, and the service, where it is told."""

K = TypeVar("K")


class Ledger:
    """What is known of one set of environments."""

    def __init__(self, here: Place, config: DoraConfig) -> None:
        self._here = here
        self._config = config
        self.days = Days()
        self.incidents: list[Incident] = []
        self.stopped: dict[str, list[Aside]] = {}
        """Those that never reached production, by their outcome; ``lost`` are those that nobody heard of again."""
        self._timeline = Timeline()
        self._judgement = Judgement(config, self.days)
        self._commits = Commits()
        self._waiting: dict[str, set[Key]] = {}
        """Deployments that do not say when their revision was committed."""
        self._groups: dict[Key, Sequence[Told]] = {}
        """What was told of each deployment."""
        self._built: dict[Key, Deployment] = {}
        self._stopped: set[Deployment] = set()
        self._brought: dict[Where, Names] = {}
        """By revision, in which order deployments brought it to each place."""
        self._incidents: dict[Key, Sequence[Told]] = {}
        self._known: dict[Key, Sequence[Incident]] = {}
        self._lost: dict[Key, Sequence[Told]] = {}
        self._ended: dict[Key, int] = {}
        """How many events say that a deployment ended, wherever."""
        self._nowhere: dict[Key, Aside] = {}
        self._stale: dict[Key, None] = {}
        """Deployments of which something else is known now."""
        self._stale_incidents: dict[Key, None] = {}

    @property
    def deployments(self) -> Sequence[Deployment]:
        """Those that came to an end in production, well or not, in the order of their finish."""
        return self._timeline.all

    @property
    def unknown_environment(self) -> Sequence[Aside]:
        return list(self._nowhere.values())

    @property
    def incidents_told(self) -> bool:
        """Whether anybody tells of incidents, here or elsewhere."""
        return bool(self._incidents) or self._config.incidents_are_told

    @property
    def rework_told(self) -> bool:
        """Whether anybody labels deployments, or says which incident they answer."""
        return self._judgement.rework_told

    async def change(self, gone: Sequence[Told], new: Sequence[Told], pace: Pace) -> None:
        """Forget records and take new ones into account, each once."""
        for records, note in ((gone, self._forget), (new, self._note)):
            for portion in portions(records):
                for one in portion:
                    note(one)
                await pace()
        await self._rebuild(pace)
        for key in self._stale_incidents:
            if known := self._incidents.get(key):
                found = incidents.build(known)
                self._known[key] = [one for one in found if one.environment is None or self._here(one.environment)]
            else:
                self._known.pop(key, None)
            await pace()
        if self._stale_incidents:
            self._stale_incidents.clear()
            self.incidents = [one for some in self._known.values() for one in some]
        self.stopped = {}
        for stopped in sorted(self._stopped, key=order):
            self.stopped.setdefault(str(stopped.outcome), []).append((stopped.finished, stopped.service))
        lost = [max(some, key=order) for key, some in self._lost.items() if key not in self._ended]
        self.stopped["lost"] = [(one.time, one.service) for one in lost]
        await self._judgement.judge(self.incidents, pace)

    async def clear(self, pace: Pace) -> None:
        """Let go of everything, a little at a time."""
        await self._judgement.clear(pace)
        for brought in self._brought.values():
            await brought.clear(pace)
        await self._commits.clear(pace)
        for mapping in (self._built, self._groups, self._known, self._incidents, self._ended, self._nowhere):
            await empty(mapping, pace)
        await self._timeline.clear(pace)

    def _note(self, one: Told) -> None:
        self._stale.update(dict.fromkeys(self._waiting.get(self._commits.add(one), ())))
        if one.type in DEPLOYED:
            ended = one.source, one.subject
            self._ended[ended] = self._ended.get(ended, 0) + 1
            if one.environment is None:
                self._nowhere[one.source, one.id] = (one.time, one.service)
            elif self._here(one.environment):
                self._wait(one, set[Key].add)
                _join(self._groups, deployments.key_of(one), one, self._stale)
        elif one.type in ROLLED_BACK:
            if one.environment is None or self._here(one.environment):
                self._judgement.roll_back(one)
        elif one.type in DETECTED or one.type in RESOLVED:
            _join(self._incidents, incidents.key_of(one), one, self._stale_incidents)
        elif one.type in LOST and one.environment is not None and self._here(one.environment):
            _join(self._lost, (one.source, one.subject), one)

    def _forget(self, one: Told) -> None:
        self._stale.update(dict.fromkeys(self._waiting.get(self._commits.remove(one), ())))
        if one.type in DEPLOYED:
            ended = one.source, one.subject
            self._ended[ended] -= 1
            if not self._ended[ended]:
                del self._ended[ended]
            if one.environment is None:
                del self._nowhere[one.source, one.id]
            elif self._here(one.environment):
                _part(self._groups, deployments.key_of(one), one, self._stale)
                self._wait(one, set[Key].discard)
        elif one.type in ROLLED_BACK:
            if one.environment is None or self._here(one.environment):
                self._judgement.do_not_roll_back(one)
        elif one.type in DETECTED or one.type in RESOLVED:
            _part(self._incidents, incidents.key_of(one), one, self._stale_incidents)
        elif one.type in LOST and one.environment is not None and self._here(one.environment):
            _part(self._lost, (one.source, one.subject), one)

    def _wait(self, one: Told, change: Callable[[set[Key], Key], None]) -> None:
        """Note that a deployment waits for others to tell when its revision was committed, or does so no more."""
        if one.vcs and one.vcs.revision and one.vcs.committed_at is None:
            revision, key = one.vcs.revision, deployments.key_of(one)
            waiting = self._waiting.setdefault(revision, set())
            change(waiting, key)
            for other in self._groups.get(key, ()):  # Another event of the same deployment may wait as well.
                if other is not one and other.vcs and other.vcs.revision == revision and other.vcs.committed_at is None:
                    waiting.add(key)
            if not waiting:
                del self._waiting[revision]

    async def _rebuild(self, pace: Pace) -> None:
        fresh: list[Deployment] = []
        for keys in portions(list(self._stale)):
            for key in keys:
                if old := self._built.pop(key, None):
                    self._take_out(old)
                if group := self._groups.get(key):
                    self._built[key] = new = deployments.build(group, self._commits)
                    fresh.append(new)
            await pace()
        self._stale.clear()
        await put_in_order(fresh, pace)
        for some in portions(fresh):
            for one in some:
                self._put_in(one)
            await pace()

    def _put_in(self, one: Deployment) -> None:
        if one.ended == "stopped":
            self._stopped.add(one)
            return
        self._timeline.add(one)
        self._judgement.add(one)
        if one.ended == "succeeded":
            brought = self._brought.setdefault(one.place, Names())
            for revision in filter(None, one.changes):
                brought.add(revision, one)
                for other in brought.of(revision)[:2]:
                    if other is not one:
                        self._measure(other, brought)
            self._measure(one, brought)
        self.days.changed(one)

    def _take_out(self, one: Deployment) -> None:
        if one.ended == "stopped":
            self._stopped.remove(one)
            return
        self._timeline.remove(one)
        self._judgement.remove(one)
        if one.ended == "succeeded":
            brought = self._brought[one.place]
            for revision in filter(None, one.changes):
                brought.remove(revision, one)
                for other in brought.of(revision)[:1]:
                    self._measure(other, brought)
        self.days.changed(one)

    def _measure(self, one: Deployment, brought: Names) -> None:
        """Note how long those changes took that a deployment brought for the first time."""
        fresh = False
        leads: list[float] = []
        for revision, taken in one.changes.items():
            if not revision or next(iter(brought.of(revision)), None) is one:
                fresh = True
                if taken is not None:
                    leads.append(taken)
        one.leads = ()
        if one.kind == "rollback":
            one.commit = "rollback"
        elif leads:
            one.commit, one.leads = "measured", tuple(leads)
        else:
            one.commit = "unknown" if fresh else "redeployed"
        self.days.changed(one)


async def put_in_order(deployments: list[Deployment], pace: Pace) -> None:
    """By their finish; those of one moment by their events, so that it does not matter which came first."""
    deployments.sort(key=lambda one: one.finished)  # Mostly sorted already: each type is read in its order.
    start = 0
    for number in range(1, len(deployments) + 1):
        if number == len(deployments) or deployments[number].finished != deployments[start].finished:
            if number - start > 1:
                deployments[start:number] = sorted(deployments[start:number], key=order)
            start = number
        if not number % PORTION:
            await pace()


def _join(groups: dict[K, Sequence[Told]], key: K, one: Told, stale: dict[K, None] | None = None) -> None:
    """Add to a group. Most have one member: the garbage collector forgets tuples of records, and visits every list."""
    known = groups.get(key)
    if known is None:
        groups[key] = (one,)
    elif isinstance(known, list):
        known.append(one)
    else:
        groups[key] = [*known, one]
    if stale is not None:
        stale[key] = None


def _part(groups: dict[K, Sequence[Told]], key: K, one: Told, stale: dict[K, None] | None = None) -> None:
    """Take it out of its group."""
    if rest := [other for other in groups[key] if other is not one]:
        groups[key] = rest
    else:
        del groups[key]
    if stale is not None:
        stale[key] = None
