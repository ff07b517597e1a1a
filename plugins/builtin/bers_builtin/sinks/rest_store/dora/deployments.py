"""A deployment: everything that was told of one attempt to bring a service to an environment."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from bers import Outcome
from bers_builtin.sources._changes import lead_time

from .commits import Commits
from .told import Told

Key: TypeAlias = tuple[object, ...]
Ended: TypeAlias = Literal["succeeded", "failed", "stopped"]
"""``stopped``: nothing came to production, because somebody or the machinery stopped it before."""
Commit: TypeAlias = Literal["measured", "unknown", "redeployed", "rollback"]

_ENDED: Mapping[Outcome | None, Ended] = {
    None: "succeeded",  # What is not known to have failed has succeeded, as everywhere in these figures.
    "success": "succeeded",
    "failure": "failed",
    "timeout": "failed",
    "error": "stopped",
    "cancel": "stopped",
    "skip": "stopped",
}
_WORST = ("success", "skip", "cancel", "error", "timeout", "failure")


class Deployment(msgspec.Struct, gc=False, eq=False):
    """What is known of it itself, and, once all records are joined, what became of it."""

    service: str | None
    environment: str
    finished: float
    outcome: Outcome | None
    ended: Ended
    kind: str
    changes: Mapping[str, float | None]
    """The revisions that it brought, with the milliseconds since each was committed; the empty one is not known."""
    told: Sequence[Told]
    """What else was said of it, in order."""
    order: tuple[float, str, str]
    """Where it stands among all others: by its finish, and of those of one moment by the first of its events."""
    commit: Commit = "unknown"
    leads: Sequence[float] = ()
    """The milliseconds of those changes that came here for the first time."""
    failed_at: float | None = None
    """When it was first known to be a failure."""
    recovered_at: float | None = None
    rework: bool = False
    resolutions: list[float] | None = None
    """When incidents were resolved that came of it."""

    def answers(self, incidents: Collection[str]) -> bool:
        """Whether it names one of these as its cause."""
        return bool(incidents) and any(one.data.cause and one.cause in incidents for one in self.told)

    @property
    def place(self) -> tuple[str | None, str]:
        return self.service, self.environment

    @property
    def causes(self) -> bool:
        """Whether it names a cause, which may be an incident."""
        return any(one.data.cause for one in self.told)

    @property
    def names(self) -> Iterator[str]:
        """By what others may mean it: ids, subjects, runs, versions, artifacts, revisions."""
        for one in self.told:
            yield one.id
            yield one.subject
            yield one.run.id if one.run else ""
            yield one.version or ""
            yield one.artifact or ""
            yield one.vcs.revision if one.vcs else ""

    def fail(self, at: float) -> None:
        self.failed_at = at if self.failed_at is None else min(self.failed_at, at)

    def resolve(self, at: float) -> None:
        if self.resolutions is None:
            self.resolutions = []
        self.resolutions.append(at)

    def contradicts(self, version: str | None, artifact: str | None) -> bool:
        """Whether it is known to be of another version or artifact than these."""
        versions = {one.version for one in self.told if one.version}
        artifacts = {one.artifact for one in self.told if one.artifact}
        return bool(
            (version and versions and version not in versions) or (artifact and artifacts and artifact not in artifacts)
        )


def key_of(told: Told) -> Key:
    """Events of one key tell of one deployment: by its run and attempt, else each is one of its own.

    A subject may be that of the service, and so of many deployments.
    """
    if told.run and told.run.id:
        run = told.run
        return told.service, told.environment, run.system, run.pipeline, run.id, run.attempt
    return told.source, told.id


def build(group: Sequence[Told], commits: Commits) -> Deployment:
    """Make one deployment of all that was told of it: it ended with the last of that, as the last outcome told says.

    ``commits`` has the times of the commits that other records know.
    """
    ordered = group if len(group) == 1 else sorted(group, key=_order)
    last = ordered[-1]
    outcome: Outcome | None = None
    kind = ""
    for one in ordered:
        outcome = _outcome(one) or outcome
        kind = one.labels.get("kind") or kind
    ended = _ENDED[outcome]
    changes: Mapping[str, float | None] = {}
    if ended == "succeeded":
        changes = _changes(ordered, outcome, last.time, commits)
    order = last.time, *min((one.source, one.id) for one in ordered)
    return Deployment(last.service, last.environment or "", last.time, outcome, ended, kind, changes, ordered, order)


def _order(told: Told) -> tuple[float, int, tuple[float, str, str, str]]:
    return told.time, _WORST.index(_outcome(told) or "success"), told.order


def _outcome(told: Told) -> Outcome | None:
    return told.outcome or ("success" if told.type.startswith("service.") else None)


def _changes(
    ordered: Sequence[Told], outcome: Outcome | None, finished: float, commits: Commits
) -> Mapping[str, float | None]:
    changes: dict[str, float | None] = {}
    for one in ordered:
        revision = one.vcs.revision if one.vcs else ""
        committed = one.vcs.committed_at if one.vcs else None
        taken = lead_time(outcome, commits.of(revision) if committed is None else committed, finished)
        if taken is None and committed is None:
            told = one.measures.get("deployment_lead_time", 0.0)  # Said by the emitter itself.
            taken = told if told > 0 else None
        if taken is not None or changes.get(revision) is None:
            changes[revision] = taken
        for name, when in one.commits:
            if changes.get(name) is None:
                changes[name] = lead_time(outcome, when, finished)
    if len(changes) > 1 and changes.get("", 0.0) is None:
        del changes[""]  # Another event of the same deployment knows the revision.
    return changes
