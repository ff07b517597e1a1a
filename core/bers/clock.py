"""Time, as a thing that is handed in: stages ask their clock, so that tests can set it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import anyio
import msgspec

JUMP = 2.0
"""Seconds by which the wall clock may go apart from what counts the seconds before it is said to have been set."""

SETTLE = 3600.0
"""For how many seconds a clock that was set forward must go steadily until things are forgotten by it."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")

Cause: TypeAlias = Literal["step", "sleep", "stop"]
CAUSES: tuple[Cause, ...] = ("step", "sleep", "stop")


class Clock(Protocol):
    """Wall time for what is recorded, monotonic time for what is waited for."""

    def time(self) -> float:
        """Seconds since 1970, as the machine believes."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds, at least at the next opportunity."""
        ...

    def elapsed(self) -> float:
        """Seconds since the machine was started, those included in which it slept; never goes back."""
        return self.monotonic()

    @property
    def boot(self) -> str:
        """Which start of the machine :meth:`elapsed` counts from; empty where nobody knows."""
        return ""

    def settled(self) -> float:
        """What to forget by: wall time, except that it follows a step forward only when that has stood for an hour.

        It is never ahead of :meth:`time`. So a clock that is wrong for a while makes nobody forget what a right one
        would have kept.
        """
        return self.time()


class SystemClock(Clock):
    """The clock of this machine."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def elapsed(self) -> float:
        # Only Linux has it; elsewhere a sleep of the machine looks as if the wall clock had been set forward.
        return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()

    @property
    def boot(self) -> str:
        try:
            return _BOOT.read_text(encoding="ascii").strip()
        except OSError:
            return ""


class Stamp(msgspec.Struct, array_like=True, frozen=True):
    """A moment that can be written down, so that another process can say how long ago it was."""

    wall: float = 0.0
    boot: str = ""
    elapsed: float = 0.0

    @classmethod
    def of(cls, clock: Clock) -> Stamp:
        """This moment."""
        return cls(clock.time(), clock.boot, clock.elapsed())

    def age(self, clock: Clock) -> float:
        """How many seconds ago that was.

        The machine has counted them, if it was not started anew since: then it does not matter that its wall clock was
        set.
        """
        elapsed = clock.elapsed()
        if self.boot and self.boot == clock.boot and elapsed >= self.elapsed:
            return elapsed - self.elapsed
        return max(0.0, clock.settled() - self.wall)


class Jump(msgspec.Struct, frozen=True):
    """Time did not go on as it does: between two looks, more of it passed on one clock than on another."""

    cause: Cause
    """The wall clock was set; the machine slept; or this process alone was stopped."""
    seconds: float
    """By how much the wall clock was set, negative where it was set back; or for how long nothing happened here."""
    before: float
    """What the wall clock would say if it had not been set, or did say when nothing happened any more."""
    after: float
    """What it says."""

    def __str__(self) -> str:
        if self.cause == "step":
            way = "forward" if self.seconds > 0 else "back"
            return f"the wall clock was set {way} by {abs(self.seconds):.1f} s"
        who = "the machine slept" if self.cause == "sleep" else "this process was stopped"
        return f"{who} for {self.seconds:.1f} s"


class SteadyClock(Clock):
    """Another clock, watched: it finds out when that one is set, and does not believe it at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._boot = clock.boot
        wall, elapsed = self._read()
        self._offset = self._believed = wall - elapsed
        """From seconds counted to wall time: as it is, and as it is believed for forgetting."""
        self._stood = elapsed - SETTLE
        """When the offset changed last. What it is at the start has to be believed."""
        self._slept = elapsed - clock.monotonic()
        self.jumps: list[Jump] = []
        """What was found and is not told yet: whoever tells it removes it."""

    def time(self) -> float:
        return self._clock.time()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def elapsed(self) -> float:
        return self._clock.elapsed()

    @property
    def boot(self) -> str:
        return self._boot

    def settled(self) -> float:
        elapsed = self.look()
        return min(self._clock.time(), elapsed + self._believed)

    @property
    def behind(self) -> float:
        """By how many seconds :meth:`settled` is behind the wall clock."""
        self.look()
        return self._offset - self._believed

    def look(self) -> float:
        """See whether the clock was set, or the machine slept; return the seconds counted."""
        wall, elapsed = self._read()
        if abs(step := wall - elapsed - self._offset) > JUMP:
            self._offset += step
            self._stood = elapsed
            self.jumps.append(Jump("step", step, wall - step, wall))
        slept = elapsed - self._clock.monotonic()
        if (sleep := slept - self._slept) > JUMP:
            self.jumps.append(Jump("sleep", sleep, wall - sleep, wall))
        self._slept = slept
        # Back is believed at once: nothing is forgotten by that.
        if self._offset < self._believed or elapsed - self._stood >= SETTLE:
            self._believed = self._offset
        return elapsed

    def recall(self, last: Stamp, settled: float) -> None:
        """Go on from an earlier process on this machine, where ``settled`` was believed at that moment."""
        wall, elapsed = self._read()
        if last.boot and last.boot == self._boot and last.elapsed <= elapsed:
            believed = settled - last.elapsed
            if self._offset - believed > JUMP:
                self._believed, self._stood = believed, elapsed
            if abs(step := self._offset - (last.wall - last.elapsed)) > JUMP:
                self.jumps.append(Jump("step", step, wall - step, wall))

    def _read(self) -> tuple[float, float]:
        """Both clocks at one moment: whoever is stopped in between reads them again."""
        while True:
            before, wall, after = self._clock.elapsed(), self._clock.time(), self._clock.elapsed()
            if after - before < JUMP / 4:
                return wall, after
