"""Two ways not to believe in every change: it has to be seen several times in a row, or else it is flapping."""

from __future__ import annotations

from collections import deque

from bers.checks import Status
from bers.clock import Clock

_RANK: dict[Status, int] = {"healthy": 0, "degraded": 1, "unknown": 2, "unhealthy": 3}


def worst(statuses: list[Status]) -> Status:
    """The worst of some."""
    return max(statuses, key=_RANK.__getitem__)


class Damper:
    """Takes a change for one only when so many looks in a row found it."""

    def __init__(self, failures: int = 1, successes: int = 1) -> None:
        self._needed = {True: failures, False: successes}
        self.status: Status = "unknown"
        """What is believed."""
        self.found: Status = "unknown"
        """What the last look found."""
        self.looks = 0
        """How many in a row have found something worse, or better, than what is believed."""
        self._worse = False

    @property
    def needed(self) -> int:
        """How many looks it takes until the change that is under way is believed."""
        return self._needed[self._worse]

    @property
    def waiting(self) -> bool:
        """Whether a change is under way that is not believed yet."""
        return self.looks > 0

    def see(self, found: Status) -> Status:
        """Hear what a look found; return what is believed from now on."""
        self.found = found
        if found == self.status:
            self.looks = 0
            return self.status
        # What nobody knew is believed at once where it is good: there is nothing that it could swing from.
        worse = _RANK[found] > _RANK[self.status] or (self.status == "unknown" and found != "healthy")
        self.looks = self.looks + 1 if self.looks and worse == self._worse else 1
        self._worse = worse
        if self.looks >= self.needed or (self.status == "unknown" and found == "healthy"):
            self.settle(found)
        return self.status

    def settle(self, status: Status) -> None:
        """Believe it at once."""
        self.status = self.found = status
        self.looks = 0


class Flapping:
    """Counts changes: above so many within so long it begins to flap, at half as many it ends."""

    def __init__(self, clock: Clock, *, changes: int = 6, within: float = 3600.0) -> None:
        self._clock = clock
        self._most = changes
        self._within = within
        self._changes: deque[tuple[float, Status]] = deque(maxlen=changes + 1)
        self.flaps = False

    @property
    def worst(self) -> Status | None:
        """The worst that it was in that time, while it flaps."""
        return worst([status for _, status in self._changes]) if self.flaps and self._changes else None

    def changed(self, before: Status, after: Status) -> None:
        """Hear of a change."""
        self._changes.append((self._clock.monotonic(), worst([before, after])))

    def look(self) -> bool:
        """See whether it flaps; return whether that has changed."""
        oldest = self._clock.monotonic() - self._within
        while self._changes and self._changes[0][0] <= oldest:
            self._changes.popleft()
        flapped, count = self.flaps, len(self._changes)
        self.flaps = count > (self._most // 2 if flapped else self._most)
        return self.flaps != flapped
