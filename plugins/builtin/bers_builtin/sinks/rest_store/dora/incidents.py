"""An incident: from its detection to its resolution, whoever told of the two, and in whatever order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .deployments import Key
from .told import RESOLVED, Told


@dataclass(slots=True)
class Incident:
    """What is known of it, and whether it is known what it came of."""

    names: frozenset[str]
    """By what a deployment that answers it may name it."""
    detected: float
    resolved: float | None = None
    service: str | None = None
    environment: str | None = None
    version: str | None = None
    artifact: str | None = None
    revision: str = ""
    cause: str = ""
    attributed: bool = False

    @property
    def blames(self) -> tuple[str, str, str, str]:
        """The names of what it may have come of, the surest first."""
        return self.cause, self.artifact or "", self.version or "", self.revision


def key_of(told: Told) -> Key:
    """Events of one source and subject tell of one incident; without a subject each is one of its own."""
    return (told.source, "subject", told.subject) if told.subject else (told.source, "id", told.id)


def build(group: Sequence[Told]) -> Iterator[Incident]:
    """Part what was told of one subject into incidents: a subject may be used again when its incident is over.

    A resolution whose detection nobody told is one only if it says how long the incident took.
    """
    open: list[Told] = []
    found = False
    for told in sorted(group, key=lambda one: one.order):
        if told.type not in RESOLVED:
            open.append(told)
        elif open:
            yield _incident([*open, told], open[0].time, told.time)
            open, found = [], True
        elif not found and told.duration_ms is not None:
            yield _incident([told], told.time - told.duration_ms / 1000, told.time)
            found = True
    if open:
        yield _incident(open, open[0].time, None)


def _incident(told: Sequence[Told], detected: float, resolved: float | None) -> Incident:
    incident = Incident(
        frozenset(name for one in told for name in (one.id, one.subject) if name),
        detected,
        resolved,
    )
    for one in told:  # What is told later completes what was told before.
        incident.service = incident.service or one.service
        incident.environment = incident.environment or one.environment
        incident.version = incident.version or one.version
        incident.artifact = incident.artifact or one.artifact
        incident.revision = incident.revision or (one.vcs.revision if one.vcs else "")
        incident.cause = incident.cause or one.cause
    return incident
