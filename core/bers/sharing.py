"""Short transactions that wait for the same thread become one: they share a commit, and so a sync."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import anyio
from anyio import CancelScope, CapacityLimiter, get_cancelled_exc_class, to_thread

from bers.checksums import is_damage

T = TypeVar("T")

MOST = 32
"""How many transactions share one: whoever waits behind them has the thread next."""


class _Job:
    """One transaction, on its way."""

    __slots__ = ("error", "result", "scope", "taken", "woken", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.taken = False
        """Whether it is being done: it cannot be called off any more."""
        self.woken = anyio.Event()
        """Set when it is done, or when it is up to it to do what waits."""
        self.scope = CancelScope()


class Sharing:
    """Whoever comes first does the work of all who wait; those who come meanwhile are next, together."""

    def __init__(self, thread: CapacityLimiter, transact: Callable[[Callable[[sqlite3.Connection], Any]], Any]) -> None:
        """``thread`` is what others, who share nothing, wait for as well; ``transact`` does some work in it."""
        self._thread = thread
        self._transact = transact
        self._inner = CapacityLimiter(1)
        self._waiting: deque[_Job] = deque()
        self._led = False
        """Whether somebody does what waits, or was told to."""

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what the work returned, once it is committed; cancelled before it began, it was never done."""
        job = _Job(work)
        self._waiting.append(job)
        if self._led:
            await self._wait(job)
        if not job.taken:
            await self._lead(job)
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    async def _wait(self, job: _Job) -> None:
        try:
            with job.scope:
                await job.woken.wait()
        except get_cancelled_exc_class():
            if not job.taken:
                self._waiting.remove(job)
                if job.woken.is_set():
                    self._hand_on()
                raise
            with CancelScope(shield=True):  # Cancelled just as it was begun: it is as if that had come afterwards.
                await job.woken.wait()

    async def _lead(self, job: _Job) -> None:
        self._led = True
        group: Sequence[_Job] = ()
        try:
            await self._acquire()
            try:
                with CancelScope(shield=True):  # Whoever was taken has to be answered.
                    group = self._take()
                    await to_thread.run_sync(self._do, group, limiter=self._inner)
            finally:
                self._thread.release()
        finally:
            if not job.taken:
                self._waiting.remove(job)
            for one in group:
                one.woken.set()
            self._hand_on()

    async def _acquire(self) -> None:
        try:
            self._thread.acquire_nowait()  # Without giving way, where nobody has it.
        except anyio.WouldBlock:
            await self._thread.acquire()

    def _take(self) -> Sequence[_Job]:
        group = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        for one in group:
            one.taken = one.scope.shield = True
        return group

    def _hand_on(self) -> None:
        """Let the next one lead."""
        self._led = bool(self._waiting)
        if self._waiting:
            self._waiting[0].woken.set()

    def _do(self, group: Sequence[_Job]) -> None:
        """Do all in one transaction; where that fails each in its own, so that one spoils nothing for the others."""
        if len(group) > 1:
            try:
                results = self._transact(lambda connection: [job.work(connection) for job in group])
            except BaseException as exc:
                if is_damage(exc):  # The file is mended next: what they go by may be gone.
                    for job in group:
                        job.error = exc
                    return
            else:
                for job, result in zip(group, results, strict=True):
                    job.result = result
                return
        for job in group:
            try:
                job.result = self._transact(job.work)
            except BaseException as exc:
                job.error = exc
