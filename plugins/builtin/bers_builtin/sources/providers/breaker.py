"""A circuit breaker: whoever keeps failing is left alone for a while, and then longer and longer."""

from __future__ import annotations

from typing import Literal, TypeAlias

from bers import Clock

State: TypeAlias = Literal["closed", "open", "half-open"]


class Breaker:
    """Ask :meth:`allows` before every attempt and tell it how that went. All times are monotonic seconds."""

    def __init__(self, clock: Clock, *, failures: int, reset_after: float, longest: float) -> None:
        self.state: State = "closed"
        self.failures = 0
        """How many attempts failed in a row."""
        self.opened_at: float | None = None
        self.next_attempt: float | None = None
        """When an attempt is allowed again; None where it is now."""
        self._clock = clock
        self._limit = failures
        self._first = min(reset_after, longest)
        self._longest = longest
        self._delay = self._first

    def allows(self) -> bool:
        """Whether to try now. An open breaker lets one attempt through when its time has come."""
        if self.state == "open" and self.next_attempt is not None and self._clock.monotonic() >= self.next_attempt:
            self.state, self.next_attempt = "half-open", None
        return self.state != "open"

    def succeeded(self) -> None:
        self.reset()

    def failed(self) -> None:
        self.failures += 1
        if self.state == "half-open":
            self._delay = min(self._delay * 2, self._longest)
            self._open()
        elif self.failures >= self._limit:
            self._open()

    def reset(self) -> bool:
        """Close it and forget what was; return whether it was not closed."""
        was_closed = self.state == "closed"
        self.state, self.failures, self.opened_at, self.next_attempt = "closed", 0, None, None
        self._delay = self._first
        return not was_closed

    def _open(self) -> None:
        self.state, self.opened_at = "open", self._clock.monotonic()
        self.next_attempt = self.opened_at + self._delay
