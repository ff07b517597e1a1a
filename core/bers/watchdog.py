"""What finds a stage that keeps everybody waiting, because its code does not await: which one, and where it is."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NamedTuple, Self

from anyio import AsyncContextManagerMixin

BEAT = 0.1
"""Seconds between two signs of life that the event loop is asked for."""

SAMPLES = 50
"""How often one block is looked at, at most."""


class Block(NamedTuple):
    """The event loop stood still."""

    stage: str
    """Whose code it was; empty where it was nobody's that we know."""
    seconds: float
    stack: str


@dataclass
class _Sight:
    """What was seen of one block."""

    seen: Counter[tuple[int, str]] = field(default_factory=Counter[tuple[int, str]])
    """How often which task was at work, and whose code it ran."""
    stacks: dict[str, str] = field(default_factory=dict[str, str])
    long: bool = False
    """Whether it has lasted for as long as a block does."""

    @property
    def looks(self) -> int:
        return self.seen.total()


class Watchdog(AsyncContextManagerMixin):
    """Asks the event loop for signs of life, and looks at its stack when there are none.

    It is a thread of Python, and has to be: what it looks for is that no task can run. It sleeps nearly all the time.
    """

    def __init__(
        self,
        block: float,
        told: Callable[[Block], None],
        stage_of: Callable[[asyncio.Task[object] | None], str],
        packages: Callable[[], Mapping[str, str]],
    ) -> None:
        """``told`` is called in the event loop after each block of at least so many seconds.

        ``stage_of`` knows whose code a task runs, ``packages`` whose a module is; both are asked from the thread.
        """
        self._block = block
        self._told = told
        self._stage_of = stage_of
        self._packages = packages
        self._end = threading.Event()
        self._alive = 0
        """How many signs of life there were."""

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        watched = asyncio.get_running_loop(), threading.get_ident(), threading.get_native_id()
        watching = threading.Thread(target=self._watch, args=watched, name="bers-watchdog", daemon=True)
        watching.start()
        try:
            yield self
        finally:
            self._end.set()
            watching.join()  # It ends within a beat.

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int, native: int) -> None:
        used, queued = _cpu_clock(thread), _queue_clock(native)
        while not self._end.is_set():
            asked, cpu, queue = self._alive, used(), queued()
            began = last = time.monotonic()
            try:
                loop.call_soon_threadsafe(self._live)
            except RuntimeError:  # The loop is closed.
                return
            sight = _Sight()
            while not self._end.wait(BEAT):
                now, took, stood = time.monotonic(), used(), queued()
                late = now - last - BEAT
                # That others have the processors is nobody's fault, nor is it that the whole process is stopped: it is
                # late then, and has used no time meanwhile.
                stopped = late if took - cpu < late / 2 else 0.0
                began += max(stood - queue, stopped)
                if late > self._block and now - began >= self._block:
                    # Somebody kept us out too: C code that holds the lock of the interpreter, and has just let go.
                    self._look(sight, loop, thread)
                    sight.long = True
                elif self._alive == asked and now - began >= self._block / 2 and sight.looks < SAMPLES:
                    # From half of the time on: one look alone does not tell who blocks from who is busy just then.
                    self._look(sight, loop, thread)
                    sight.long = sight.long or now - began >= self._block
                last, cpu, queue = now, took, stood
                if self._alive != asked:
                    if sight.long:
                        self._tell(loop, self._judge(sight, now - began))
                    break

    def _live(self) -> None:
        self._alive += 1

    def _look(self, sight: _Sight, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]
        task = asyncio.current_task(loop)
        stage = (self._stage_of(task) or _owner(frame, self._packages())) if frame else ""
        sight.seen[id(task), stage] += 1
        if frame and stage not in sight.stacks:
            sight.stacks[stage] = "".join(traceback.format_stack(frame)[-12:]).rstrip()

    def _judge(self, sight: _Sight, seconds: float) -> Block:
        """Blame who was at work all the time: where tasks took turns, there was just much to do.

        One look may have come too late, when the next task was at work already.
        """
        (_, stage), times = sight.seen.most_common(1)[0]
        alone = sight.looks / 2 < times >= sight.looks - 1
        return Block(stage if alone else "", seconds, sight.stacks.get(stage, ""))

    def _tell(self, loop: asyncio.AbstractEventLoop, block: Block) -> None:
        try:
            loop.call_soon_threadsafe(self._told, block)
        except RuntimeError:
            return


def _cpu_clock(thread: int) -> Callable[[], float]:
    """The seconds of CPU that a thread has used; those of the whole process where nobody counts them by thread."""
    if hasattr(time, "pthread_getcpuclockid"):
        clock = time.pthread_getcpuclockid(thread)
        return lambda: time.clock_gettime(clock)
    return time.process_time


def _queue_clock(thread: int) -> Callable[[], float]:
    """The seconds for which a thread could have gone on and no processor was free; 0 where the kernel keeps no count.

    ``thread`` is as the kernel numbers it. Format: https://docs.kernel.org/scheduler/sched-stats.html
    """
    counted = Path(f"/proc/self/task/{thread}/schedstat")

    def queued() -> float:
        try:
            return int(counted.read_bytes().split()[1]) / 1e9
        except OSError:
            return 0.0

    return queued


def _owner(frame: FrameType | None, packages: Mapping[str, str]) -> str:
    """The stage whose module the innermost frame of any stage is from."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        while module:
            if module in packages:
                return packages[module]
            module = module.rpartition(".")[0]
        frame = frame.f_back
    return ""


def exit_after(seconds: float, code: int, who: Callable[[], str]) -> None:
    """End the process in so many seconds, come what may: for what does not heed that it should end.

    A thread, because the event loop may be what stands still. Where the process ends before, so does this.
    """

    def end() -> None:
        time.sleep(seconds)
        sys.stderr.write(
            f"this process did not end within {seconds:g} s and is ended by force; still at work: {who()}\n"
        )
        sys.stderr.flush()
        os._exit(code)

    threading.Thread(target=end, name="bers-last-resort", daemon=True).start()
