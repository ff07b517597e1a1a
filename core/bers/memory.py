"""The byte budget of the process: who holds how much, and whether there is room for more."""

from __future__ import annotations

import ctypes
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import anyio
import psutil
from anyio import to_thread

from bers.clock import Clock, SystemClock
from bers.errors import Refused

LOOK_EVERY = 0.5
"""Seconds between two readings of what the process takes."""

OWN = 64 << 20
"""About what this process takes when it has nothing to do."""

SMALL = 1 << 20
"""Up to so many bytes, a request may use what large ones leave: a few events never wait behind batches."""

SPARE = 8 << 20
"""What large requests leave."""

HIGH = 0.8
"""The share of the budget from which on memory that is free inside the process is given back to the system."""

PAUSE = 1.0
"""Seconds after which somebody who was refused may come again."""

PATIENCE = 1.0
"""Seconds that somebody may wait for room, so that room is used as soon as it is there."""

MAX_WAITING = 64
"""How many may wait for room; others are refused at once."""

_ARENA_MAX = -8
"""``M_ARENA_MAX`` in malloc.h."""

_MMAP_THRESHOLD = -3
"""``M_MMAP_THRESHOLD`` there."""

_log = logging.getLogger(__name__)


class Hold:
    """What one request has been promised, in bytes. It grows as the request shows how large it is."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.bytes = 0

    def grow(self, size: int) -> None:
        """Hold at least so much. Raise Refused where there is no room for that."""
        if size > self.bytes:
            self._memory.admit(size - self.bytes)
            self._memory.promised += size - self.bytes
            self.bytes = size


class Memory:
    """What this process may take, and what it takes.

    What was measured last is the ground: the whole process, with everything that nobody has an account of. To it are
    added what accounts have grown by since, and what was promised to requests that are on their way.
    """

    def __init__(self, budget: int, clock: Clock | None = None, *, resident: Callable[[], int] | None = None) -> None:
        """``resident`` tells how many bytes the process takes."""
        self.budget = budget
        self.promised = 0
        self.refused = 0
        self._clock = clock or SystemClock()
        self._resident = resident or _resident
        self._waiting: deque[anyio.Event] = deque()
        self._patient = 0
        """How many wait; of them, the one that is looking for room is not in the queue."""
        self._accounts: dict[str, Callable[[], int]] = {}
        self._measured = self._held_then = 0
        self._looked = self._refused_at = float("-inf")

    def account(self, name: str, held: Callable[[], int]) -> None:
        """Let somebody tell how many bytes he holds; he bounds them himself."""
        self._accounts[name] = held

    def accounts(self) -> Iterator[tuple[str, int]]:
        """Who holds how much, and what is promised to requests."""
        yield "requests", self.promised
        for name, held in self._accounts.items():
            yield name, held()

    @property
    def used(self) -> int:
        """How much the process takes, and will take when everything has come that was let in."""
        resident = self.resident
        return resident + max(0, self._held() - self._held_then) + self.promised

    @property
    def resident(self) -> int:
        """How much the process takes, as was measured within the last :data:`LOOK_EVERY` seconds."""
        now = self._clock.monotonic()
        if now - self._looked >= LOOK_EVERY:
            self._looked = now
            self._measured, self._held_then = self._resident(), self._held()
        return self._measured

    @property
    def refusing(self) -> bool:
        """Whether anybody was refused within the last second."""
        return self._clock.monotonic() - self._refused_at < PAUSE

    @contextmanager
    def hold(self) -> Generator[Hold]:
        """Hold what a request needs, as long as it is on its way."""
        hold = Hold(self)
        try:
            yield hold
        finally:
            self.promised -= hold.bytes
            self._wake()

    async def wait(self, size: int) -> None:
        """Return when there is room for so many bytes, or after some time in which there was none."""
        if size > self._limit(size) - OWN:
            raise Refused(
                "too_large",
                f"this takes about {size} bytes of memory, and this server has {self.budget:d} (intake.memory)",
                hint="send fewer events at once",
            )
        if self._fits(size) or self._patient >= MAX_WAITING:
            return
        mine = anyio.Event()
        self._waiting.append(mine)
        self._patient += 1
        try:
            with anyio.move_on_after(PATIENCE):
                while True:
                    await mine.wait()
                    if self._fits(size):
                        break
                    mine = anyio.Event()
                    self._waiting.appendleft(mine)
        finally:
            self._patient -= 1
            if mine in self._waiting:
                self._waiting.remove(mine)
            self._wake()

    def _limit(self, size: int) -> int:
        return self.budget if size <= SMALL else self.budget - SPARE

    def _fits(self, size: int) -> bool:
        return self.used + size <= self._limit(size)

    def _wake(self) -> None:
        """Let the first of those who wait see whether there is room now."""
        if self._waiting:
            self._waiting.popleft().set()

    def admit(self, size: int) -> None:
        """Raise Refused where there is no room for so many bytes more."""
        if not self._fits(size):
            self.refused += 1
            if not self.refusing:
                _log.warning(
                    "events are refused: %d MB are taken, and %d MB may be (intake.memory)",
                    self.used // 1_000_000,
                    self.budget // 1_000_000,
                )
            self._refused_at = self._clock.monotonic()
            raise Refused(
                "full",
                f"there is no room for this now; this server takes at most {self.budget:d} bytes of memory",
                hint="nothing was kept; send it again",
                retry_after=PAUSE,
            )

    async def run(self) -> None:
        """Give memory that is free back to the system while much is taken: nobody else does."""
        while True:
            await self._clock.sleep(LOOK_EVERY)
            if self.resident > HIGH * self.budget:
                await to_thread.run_sync(give_back)
                self._looked = float("-inf")
            self._wake()

    def _held(self) -> int:
        return sum(held() for held in self._accounts.values())


def settle() -> None:
    """Let free memory be used again, where malloc is the GNU library's; call it before there are threads.

    It would give many of them a heap of their own, and what one frees none of the others can use. What is large is
    given back to the system as soon as it is free, instead of being cut into what is small.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_ARENA_MAX, 2)
        set_option(_MMAP_THRESHOLD, 1 << 20)


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def give_back() -> None:
    """Return what malloc has and does not use, where it is the GNU library's. It lets others run meanwhile."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
