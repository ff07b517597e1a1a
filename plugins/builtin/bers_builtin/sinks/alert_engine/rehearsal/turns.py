"""Who may run a back-test next: one at a time, and nobody again before those who were refused meanwhile."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from bers import Clock, Refused

CLAIM = 10.0
"""Seconds in which who was refused has to ask again, to be the next."""

AGAIN = 2.0


class Turns:
    """Whoever is refused has a place in the line, for as long as it asks again and again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running = False
        self._waiting: dict[str, float] = {}
        """Who waits, in order, and until when."""

    @contextmanager
    def taken(self, principal: str) -> Generator[None]:
        """Have the turn, or raise Refused where it is somebody else's."""
        now = self._clock.monotonic()
        self._waiting = {name: until for name, until in self._waiting.items() if until > now}
        if self._running or next(iter(self._waiting), principal) != principal:
            self._waiting[principal] = now + CLAIM
            told = "another back-test is running" if self._running else "somebody else asked for a back-test before"
            hint = f"one is run at a time; ask again within {CLAIM:g} s to be the next"
            raise Refused("rate_limited", told, hint=hint, retry_after=AGAIN)
        self._waiting.pop(principal, None)
        self._running = True
        try:
            yield
        finally:
            self._running = False
