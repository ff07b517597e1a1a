"""How a stage is doing: one of seven states, derived from what happens at its edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Literal, NamedTuple, TypeAlias

from bers.clock import Clock
from bers.counters import Edge

StageState: TypeAlias = Literal["starting", "ok", "degraded", "failing", "quarantined", "stopping", "stopped"]

STATES: tuple[StageState, ...] = ("starting", "ok", "degraded", "failing", "quarantined", "stopping", "stopped")

SETTLED: frozenset[StageState] = frozenset({"ok", "degraded", "failing", "quarantined"})
"""What is worth telling: the others lead to one of these."""

CALM = 2.0
"""Seconds without a fault after which a stage that runs is well again."""

STUCK = 3.0
"""Seconds for which records wait and none gets through, until that is said."""

LOST = 10.0
"""Seconds of that until it is called failing."""

MANY = 3
"""So many errors with nothing that got through between them: nothing gets through at all."""


class Change(NamedTuple):
    """A stage came from one settled state to another."""

    before: StageState
    after: StageState
    reason: str
    error: str


@dataclass
class _Track:
    """What an edge had counted when it was looked at last, and what has become of it since."""

    errors: int = 0
    passed: int = 0
    lost: int = 0
    in_a_row: int = 0
    """Errors since something got through."""
    moved: float = 0.0
    """When something got through last, or nothing waited."""


class Standing:
    """How one stage is doing, since when, and why."""

    def __init__(self, clock: Clock, told: Callable[[Change], None] = lambda change: None) -> None:
        """``told`` is called, at once, when it comes from one settled state to another."""
        self._clock = clock
        self._told = told
        self._tracks: dict[str, _Track] = {}
        self._open = False
        self._troubled: tuple[float, str] | None = None
        """When there was a fault last that did not end it, and which."""
        self.state: StageState = "stopped"
        self.settled: StageState = "ok"
        """The last state that was worth telling: what it is, while it tries to be something else."""
        self.reason = ""
        self.since = clock.monotonic()
        """When it came to this state, by the monotonic clock."""
        self.error = ""
        """What it failed of last; kept when it is well again."""
        self.error_at: float | None = None
        """When that was, in seconds since 1970."""

    # What is done with it.

    def opening(self, reason: str = "") -> None:
        """It is about to be there; or waits for others to be, as ``reason`` says."""
        self._open = False
        self._become("starting", reason)

    def opened(self) -> None:
        """It is there. Whether it is well again after a failure, shows when it has worked for a while."""
        now = monotonic()
        again = self.settled in ("failing", "quarantined")
        self._troubled = (now, "it was started anew after a failure") if again else None
        self._open = True
        self._tracks.clear()
        self._derive(now)

    def failed(self, reason: str, error: str = "") -> None:
        """It does not run, and is to be tried again."""
        self._open = False
        self._remember(error)
        self._become("failing", reason)

    def quarantined(self, reason: str, error: str = "") -> None:
        """It does not run, and is left alone."""
        self._open = False
        self._remember(error)
        self._become("quarantined", reason)

    def stopping(self) -> None:
        self._open = False
        self._become("stopping")

    def stopped(self) -> None:
        self._open = False
        self._become("stopped")

    # What happens at its edges.

    def stumbled(self, reason: str, error: str = "") -> None:
        """There was a fault that did not end it."""
        self._remember(error)
        self._troubled = monotonic(), reason
        self._derive(self._troubled[0])

    def look(self, edges: Mapping[str, Edge], now: float | None = None) -> None:
        """See what its edges have counted since the last look. ``now`` is by the machine's monotonic clock: what hangs,
        hangs in real time, whatever the node's clock says.
        """
        now = monotonic() if now is None else now
        for name, edge in edges.items():
            track = self._tracks.get(name)
            if track is None:
                track = self._tracks[name] = _Track(edge.errors, _passed(edge), edge.dropped["full"], moved=now)
            errors, passed = edge.errors - track.errors, _passed(edge) - track.passed
            lost = edge.dropped["full"] - track.lost
            track.errors, track.passed, track.lost = edge.errors, _passed(edge), edge.dropped["full"]
            if errors > 0:
                self._remember(edge.last_error)
                self._troubled = now, "it raised an error, and goes on"
            if lost > 0:
                self._troubled = now, "it is too slow: records are dropped before it, because its queue is full"
            track.in_a_row = 0 if passed > 0 else track.in_a_row + max(0, errors)
            if passed > 0 or not edge.queued:
                track.moved = now
        self._derive(now)

    def excuse(self, seconds: float) -> None:
        """Do not count so long against it: nothing at all could be done."""
        for track in self._tracks.values():
            track.moved += seconds

    def _derive(self, now: float) -> None:
        if not self._open:
            return
        in_a_row = max((track.in_a_row for track in self._tracks.values()), default=0)
        waited = max((now - track.moved for track in self._tracks.values()), default=0.0)
        if in_a_row >= MANY:
            self._become("failing", f"nothing gets through: {in_a_row} errors in a row")
        elif waited >= STUCK:
            self._become("failing" if waited >= LOST else "degraded", f"nothing got through for {waited:.0f} s")
        elif self._troubled and (in_a_row or now - self._troubled[0] < CALM):
            self._become("degraded", self._troubled[1])
        else:
            self._become("ok")

    def _remember(self, error: str) -> None:
        if error:
            self.error, self.error_at = error, self._clock.time()

    def _become(self, state: StageState, reason: str = "") -> None:
        self.reason = reason
        if state == self.state:
            return
        self.state, self.since = state, self._clock.monotonic()
        if state in SETTLED and state != self.settled:
            before, self.settled = self.settled, state
            self._told(Change(before, state, reason, self.error))


def _passed(edge: Edge) -> int:
    return edge.out + edge.filtered + edge.merged + edge.dead
