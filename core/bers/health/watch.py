"""One check at work: what it looks at and when, and what is made of what it finds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio

from bers.checks import Finding
from bers.health.breaker import Breaker, Rest
from bers.health.damping import Damper, Flapping
from bers.health.reports import CheckReport


class NoAnswer(Exception):
    """What is looked at gives no answer at all; so it is unhealthy, and after some times it is given a rest."""


@dataclass
class Watch:
    """One check at work on a running thing."""

    name: str
    probe: Callable[[], Awaitable[Finding | None]]
    """Looks; None where this is no moment to look."""
    interval: float
    timeout: float
    critical: bool
    breaker: Breaker
    damper: Damper = field(default_factory=Damper)
    flapping: Flapping | None = None
    depends_on: Sequence[str] = ()
    description: str = ""
    remediation: str = ""
    confirm: float | None = None
    """Seconds between two looks while a change is not certain yet."""
    patient: bool = True
    """Whether the start waits for its first look however long that takes; for all others within a bound."""
    impatient: bool = True
    """Whether it is looked at again soon while it is unknown: just after the start, most things of a node are."""
    digest: str = ""
    """Of what it looks at, where that is to be known again by the next process."""
    report: CheckReport | None = None
    basis: object = None
    """What it was made of: a watch made of the same is the same."""
    looked: float | None = None
    """When the last look began, by the monotonic clock."""
    told: CheckReport | None = None
    """What was told of it last."""
    rest: Rest | None = None
    """The rest of its breaker that was written down last."""
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Cancelled when it is not to be made any more."""

    @property
    def culprit(self) -> str:
        """Which check is to blame if one that depends on this one does not work; empty where none is."""
        if self.report is None:
            return ""
        if self.report.because:
            return self.report.because
        return self.name if "unhealthy" in (self.report.status, self.damper.found) else ""

    @property
    def unknown(self) -> bool:
        """Whether nothing is known of it, and not because of another."""
        return self.report is None or (self.report.status == "unknown" and not self.report.because)

    def pause(self, impatience: float) -> float:
        """Seconds until the next look."""
        if self.report is None or (self.unknown and self.impatient):
            return min(self.interval, impatience)
        if self.breaker.state == "open":
            return min(self.interval, self.breaker.wait or self.interval)
        if self.confirm is not None and self.damper.waiting:
            return min(self.interval, self.confirm)
        return self.interval
