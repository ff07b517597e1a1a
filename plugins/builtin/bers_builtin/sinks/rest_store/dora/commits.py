"""When each revision was committed, as whoever knows it says."""

from __future__ import annotations

from bisect import bisect_left, insort

from ..pace import Pace
from .portions import empty
from .told import Told


class Commits:
    """The times that records tell; where they differ, the earliest counts."""

    def __init__(self) -> None:
        self._times: dict[str, float | list[float]] = {}
        """Most revisions have one record, and so no list."""

    async def clear(self, pace: Pace) -> None:
        """Let go of everything, a little at a time."""
        await empty(self._times, pace)

    def of(self, revision: str) -> float | None:
        known = self._times.get(revision)
        return known[0] if isinstance(known, list) else known

    def add(self, told: Told) -> str:
        """Note what a record tells; return the revision of which something else is known now, or nothing."""
        if not (said := _said(told)):
            return ""
        revision, when = said
        before, known = self.of(revision), self._times.setdefault(revision, [])
        if isinstance(known, list):
            insort(known, when)
            if len(known) == 1:
                self._times[revision] = when
        else:
            self._times[revision] = sorted((known, when))
        return revision if self.of(revision) != before else ""

    def remove(self, told: Told) -> str:
        """Forget what a record told; return the same."""
        if not (said := _said(told)):
            return ""
        revision, when = said
        before, known = self.of(revision), self._times[revision]
        if isinstance(known, list):
            del known[bisect_left(known, when)]
        if not isinstance(known, list) or not known:
            del self._times[revision]
        return revision if self.of(revision) != before else ""


def _said(told: Told) -> tuple[str, float] | None:
    vcs = told.vcs
    return (vcs.revision, vcs.committed_at) if vcs and vcs.revision and vcs.committed_at is not None else None
