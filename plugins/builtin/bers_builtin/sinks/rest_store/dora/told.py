"""What the stored events say about deployments, rollbacks, incidents and changes: those fields, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from bers import Outcome, Run, Vcs

DEPLOYED = ("deployment.finished", "service.deployed", "service.upgraded")
"""The ends of deployments; CDEvents tells of a service that was deployed, and only when it was."""
ROLLED_BACK = ("deployment.rolledback", "service.rolledback")
DETECTED = ("incident.detected", "incident.reported")
RESOLVED = ("incident.resolved",)
LOST = ("deployment.lost",)
MERGED = ("change.merged",)
MAX_COMMITS = 200
"""The most commits of one event that are counted."""
_Commits: TypeAlias = list[tuple[str, float]]
TYPES = (*DEPLOYED, *ROLLED_BACK, *DETECTED, *RESOLVED, *LOST, *MERGED)
"""Everything that DORA's figures are made of."""


class Said(msgspec.Struct, frozen=True, gc=False):
    """What an emitter said that no field of an event holds."""

    cause: Any = None
    """The name of what an incident came of, or of the incident that a deployment answers."""
    from_: Any = msgspec.field(default=None, name="from")
    """The version that was rolled back."""
    commits: Any = None
    """The commits that a deployment brought: pairs of a revision and its time, in seconds since 1970."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """One event."""

    id: str
    source: str
    type: str
    time: float
    subject: str = ""
    environment: str | None = None
    outcome: Outcome | None = None
    duration_ms: float | None = None
    service: str | None = None
    version: str | None = None
    artifact: str | None = None
    vcs: Vcs | None = None
    run: Run | None = None
    measures: dict[str, float] = {}
    labels: dict[str, str] = {}
    data: Said = Said()

    @property
    def cause(self) -> str:
        return self.data.cause if isinstance(self.data.cause, str) else ""

    @property
    def taken_back(self) -> str:
        return self.data.from_ if isinstance(self.data.from_, str) else ""

    @property
    def commits(self) -> Sequence[tuple[str, float]]:
        """The commits that it names besides the one that it is about, as far as they are any."""
        if self.data.commits is None:  # As of nearly all.
            return ()
        try:
            return msgspec.convert(self.data.commits, _Commits)[:MAX_COMMITS]
        except msgspec.ValidationError:
            return ()

    @property
    def order(self) -> tuple[float, str, str, str]:
        """Where it stands among all others, whenever it came."""
        return self.time, self.type, self.source, self.id


_decoder = msgspec.msgpack.Decoder(Told)


def read(body: bytes) -> Told:
    """The event in a row of the store."""
    return _decoder.decode(body)
