"""Since when everybody can be heard: while we were away or stood still, silence proved nothing."""

from __future__ import annotations

from collections.abc import Collection

from bers_builtin.sinks.alert_engine.alerts import EPSILON
from bers_builtin.sinks.alert_engine.watches.watch import Watch

LATE = 5.0
"""Seconds by which we may be late at what was waited for; beyond, this process was stopped, and heard nobody."""

GRACE = 60.0
"""Seconds after we were away, at most, in which silence proves nothing: emitters try again what they kept."""

IN_A_ROW = 3
"""So often we may be late one time after the other; beyond, this machine is slow, and its silence means something."""


class Hearing:
    """Told when we are to look next and when we do, it lets rules on silence wait where we are late.

    Whoever is away again and again, before silence means anything, has half the patience each time: else what is absent
    would never be missed.
    """

    def __init__(self, watches: Collection[Watch]) -> None:
        self._watches = watches
        self.resumed = 0.0
        """From when on silence means something again."""
        self.interrupted = 0
        """How often in a row we were away again before that."""
        self.has_news = False
        """Whether that is to be written down."""
        self.expected: float | None = None
        """By when we are asked to look again."""
        self._held, self._held_until = 0, 0.0

    def restore(self, resumed: float, interrupted: int, at: float, away: float) -> None:
        """Go on after we were away, from what was known before."""
        self.resumed, self.interrupted, self.expected = resumed, interrupted, None
        self._held, self._held_until = 0, 0.0
        self._resume(at, away)

    def notice(self, at: float) -> None:
        """See whether this process stood still: then there may be events that nobody has read yet."""
        if self.expected is None or (late := at - self.expected) <= 0:
            return
        stopped, brief = late > LATE, [watch for watch in self._watches if late > watch.patience]
        if stopped or brief:
            self._held = self._held + 1 if self._held_until >= self.expected - EPSILON else 0
            self._held_until = at + late
            self.expected = None
            if self._held >= IN_A_ROW:
                return
        if stopped:
            self._resume(at, late)
            return
        for watch in brief:
            watch.heard_since, watch.resumed = at, max(watch.resumed, self._held_until)

    def _resume(self, at: float, away: float) -> None:
        """Hear again, after we were away for a while."""
        grace = min(GRACE, away)
        if grace:
            self.interrupted = self.interrupted + 1 if self.resumed > at - away else 0
            self.resumed = max(self.resumed, at + grace / 2**self.interrupted)
            self.has_news = True
        for watch in self._watches:
            watch.heard_since, watch.resumed = at, self.resumed
