"""What those may cost who show no key, because what they send is to prove by itself who sent it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

import anyio

from bers.access.settings import RateSettings
from bers.clock import Clock
from bers.errors import Refused
from bers.rates import Rates

AT_ONCE = 16
"""Bodies of one address that may be on their way at once, before anybody knows whose they are."""

SHARE = 8
"""Of the budget of memory, one in so many bytes may be taken by bodies that nobody has believed yet."""


class Strangers:
    """Bounds what comes without a key until it has proven whose it is: memory, requests at once, and wrong proofs.

    Wrong ones are counted as requests are, and not as wrong keys: a code host sends for others from the same address.
    """

    def __init__(self, clock: Clock, rate: RateSettings, budget: int) -> None:
        """``budget`` is that of the process, in bytes."""
        self._wrong = Rates(clock, per_second=rate.per_second, burst=rate.burst) if rate.enabled else None
        self._room = budget // SHARE
        self._held = 0
        self._present = Counter[str]()
        self.turn = anyio.Semaphore(1, fast_acquire=True)
        """Proofs are looked at one after the other: however many are wrong, they have one core at most."""

    @contextmanager
    def visit(self, name: str) -> Generator[Visit]:
        """The visit of one from that address; raise Refused where there are too many, or too many were wrong."""
        if self._wrong is not None and (wait := self._wrong.wait(name)):
            raise Refused("rate_limited", "too many wrong signatures came from this address", retry_after=wait)
        if self._present[name] >= AT_ONCE:
            message = f"more than {AT_ONCE} webhooks came at once from this address"
            raise Refused("rate_limited", message, hint="nothing was kept; send it again", retry_after=1)
        visit = Visit(self, name)
        try:
            yield visit
        except Refused as refused:
            if refused.reason == "unauthenticated" and self._wrong is not None:
                self._wrong.take(name)
            raise
        finally:
            visit.believe()

    def hold(self, size: int) -> None:
        """Hold so many bytes more; raise Refused where bodies that nobody has believed yet take too much already."""
        if self._held + size > self._room:
            raise Refused(
                "full",
                "there is no room now for what is not signed for yet",
                hint="nothing was kept; send it again",
                retry_after=1,
            )
        self._held += size

    def come(self, name: str) -> None:
        self._present[name] += 1

    def go(self, name: str, size: int) -> None:
        self._held -= size
        self._present[name] -= 1
        if not self._present[name]:
            del self._present[name]


class Visit:
    """One request of a stranger, until he is none."""

    def __init__(self, strangers: Strangers, name: str) -> None:
        self._strangers = strangers
        self._name = name
        self._bytes = 0
        self._believed = False
        strangers.come(name)

    def grow(self, size: int) -> None:
        """Hold at least so many bytes."""
        if size > self._bytes and not self._believed:
            self._strangers.hold(size - self._bytes)
            self._bytes = size

    def believe(self) -> None:
        """From here on it counts as what anybody else sends."""
        if not self._believed:
            self._believed = True
            self._strangers.go(self._name, self._bytes)
