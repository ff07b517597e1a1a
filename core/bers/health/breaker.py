"""A circuit breaker gives a thing that keeps failing a rest: closed, open, half open (Nygard, *Release It!*, 2007)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from bers.clock import Clock, Stamp

BreakerState: TypeAlias = Literal["closed", "open", "half_open"]


class BreakerReport(msgspec.Struct, rename="camel", frozen=True):
    """A breaker, as REST shows it; times in milliseconds since 1970."""

    state: BreakerState
    failures: int
    opened_at: int | None = None
    next_attempt: int | None = None
    last_error: str | None = None
    """Of the last failure, until it is closed again."""


class Rest(msgspec.Struct, array_like=True, frozen=True):
    """A breaker that is not closed, as it is written down."""

    opened: Stamp
    """When it opened last."""
    failures: int
    error: str


class Breaker:
    """Ask :meth:`allows` before each attempt, and tell it how that went."""

    def __init__(self, clock: Clock, *, failures: int, reset_after: float, successes: int) -> None:
        self._clock = clock
        self._threshold = failures
        self._reset_after = reset_after
        self._needed = successes
        self._opened: float | None = None
        self._half_open = False
        self._stamp = Stamp()
        self.failures = 0
        """Failures in a row."""
        self._successes = 0
        self.opened_at: float | None = None
        """When it opened, in seconds since 1970."""
        self.last_error = ""

    @property
    def state(self) -> BreakerState:
        if self._opened is None:
            return "half_open" if self._half_open else "closed"
        return "open"

    @property
    def wait(self) -> float:
        """Seconds until the next attempt is allowed."""
        if self._opened is None:
            return 0.0
        return max(0.0, self._opened + self._reset_after - self._clock.monotonic())

    @property
    def report(self) -> BreakerReport:
        opened = int(self.opened_at * 1000) if self.opened_at is not None else None
        next = int((self._clock.time() + self.wait) * 1000) if self.state == "open" else None
        return BreakerReport(self.state, self.failures, opened, next, self.last_error or None)

    def allows(self) -> bool:
        """Whether an attempt may be made now; an open breaker whose rest is over becomes half open by this."""
        if self._opened is not None and not self.wait:
            self._opened, self._half_open, self._successes = None, True, 0
        return self._opened is None

    def succeeded(self) -> None:
        self.failures = 0
        if self._half_open:
            self._successes += 1
            if self._successes >= self._needed:
                self.reset()
        else:
            self.last_error = ""

    def failed(self, error: str = "") -> None:
        self.failures += 1
        self.last_error = error
        if self._half_open or self.failures >= self._threshold:
            self._opened, self._half_open = self._clock.monotonic(), False
            self.opened_at, self._stamp = self._clock.time(), Stamp.of(self._clock)

    def reset(self) -> bool:
        """Close it; False where it was closed already."""
        was = self.state != "closed"
        self._opened, self._half_open, self.failures, self._successes, self.opened_at = None, False, 0, 0, None
        self.last_error = ""
        return was

    # What outlives the process.

    @property
    def rest(self) -> Rest | None:
        """What is to be written down of it; None while it is closed."""
        return None if self.state == "closed" else Rest(self._stamp, self.failures, self.last_error)

    def recall(self, rest: Rest) -> None:
        """Go on with a rest of an earlier process; where it is over, the next attempt is the first one after it."""
        age = rest.opened.age(self._clock)
        self._opened, self._half_open = self._clock.monotonic() - age, False
        self.opened_at, self._stamp = self._clock.time() - age, rest.opened
        self.failures, self.last_error = rest.failures, rest.error
