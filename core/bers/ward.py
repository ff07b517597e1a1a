"""Where the code of plugins runs: in tasks of its own, so that who does not end when told to can be given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import cached_property
from math import inf
from types import TracebackType
from typing import Self

import anyio
from anyio import AsyncContextManagerMixin

from bers.errors import PluginError


class Bell:
    """Wakes who waits for something to be so."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def ring(self) -> None:
        """Say that something has changed."""
        event, self._event = self._event, anyio.Event()
        event.set()

    async def until(self, met: Callable[[], object], within: float | None = None) -> bool:
        """Wait until it is so, and not longer than that; whether it is."""
        if met():
            return True
        with anyio.move_on_after(within):
            while not met():
                await self._event.wait()
        return bool(met())


class Leash:
    """A cancel scope that can be let go of.

    Who does not heed a cancellation is told again in every turn of the loop, for ever. Let go of, it is not told any
    more: it may sleep, and costs nothing but its memory.
    """

    def __init__(self) -> None:
        self._outer = anyio.CancelScope()
        self._inner = anyio.CancelScope()
        self._both = ExitStack()

    def __enter__(self) -> None:
        self._both.enter_context(self._outer)
        self._both.enter_context(self._inner)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._both.__exit__(kind, exc, trace)

    def pull(self) -> None:
        self._outer.cancel()

    def let_go(self) -> None:
        self._inner.shield = True


class Stay:
    """One piece of a plugin's work, while it is in the ward."""

    def __init__(self, name: str, stage: Callable[[], str], bell: Bell | None) -> None:
        self.name = name
        self.stage = stage
        """Whose code runs at this moment; empty where it is ours."""
        self.ended = anyio.Event()
        self.error: BaseException | None = None
        self.given_up = False
        self._whole = Leash()
        self._bell = bell

    @cached_property
    def body(self) -> Leash:
        """What may be ended on its own, inside the whole: a stage's work, before it closes."""
        return Leash()

    @property
    def over(self) -> bool:
        return self.ended.is_set()

    def cancel(self) -> None:
        """Tell it to end."""
        self._whole.pull()

    async def leave(self, within: float) -> bool:
        """Tell it to end, and give it up where it does not; whether it ended."""
        self.cancel()
        with anyio.move_on_after(within):
            await self.ended.wait()
        if not self.over:
            self.given_up = True
            self._whole.let_go()
            self.body.let_go()
        return self.over

    async def run(self, work: Callable[[Stay], Awaitable[object]]) -> None:
        """Do it, whatever it raises: what a plugin raises, be it an exit or a cancellation, ends nobody else."""
        try:
            with self._whole:
                await work(self)
        except BaseException as exc:
            if cancelled():  # From above: that is not its doing.
                raise
            self.error = exc
        finally:
            self.ended.set()
            if self._bell:
                self._bell.ring()


class Ward(AsyncContextManagerMixin):
    """All the work of plugins in one node. To leave it is to wait for all of it, given up or not."""

    def __init__(self) -> None:
        self._stays: dict[asyncio.Task[object] | None, Stay] = {}

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with anyio.create_task_group() as self._group:
            yield self
            self._group.cancel_scope.cancel()

    @property
    def given_up(self) -> list[str]:
        """Whose work did not end when it was told to, and still goes on."""
        return sorted({stay.name for stay in self._stays.values() if stay.given_up})

    @property
    def inside(self) -> list[str]:
        """Whose work goes on."""
        return sorted({stay.name for stay in self._stays.values()})

    def take(
        self,
        name: str,
        work: Callable[[Stay], Awaitable[object]],
        *,
        stage: Callable[[], str] | None = None,
        bell: Bell | None = None,
    ) -> Stay:
        """Start a piece of work. ``bell`` is rung when it has ended."""
        stay = Stay(name, stage or (lambda: name), bell)
        self._group.start_soon(self._keep, stay, work)
        return stay

    def stage_of(self, task: asyncio.Task[object] | None) -> str:
        """Whose code a task runs at this moment; safe to ask from another thread."""
        stay = self._stays.get(task) if task else None
        return stay.stage() if stay else ""

    async def _keep(self, stay: Stay, work: Callable[[Stay], Awaitable[object]]) -> None:
        task = asyncio.current_task()
        self._stays[task] = stay
        try:
            await stay.run(work)
        finally:
            del self._stays[task]


def cancelled() -> bool:
    """Whether the task that asks is being cancelled by a scope around it, rather than by whim."""
    return anyio.current_effective_deadline() == -inf


def late(stage: str, verb: str, seconds: float) -> PluginError:
    """The fault of a stage that did not answer in time."""
    return PluginError(f"{stage}: it did not {verb} within {seconds:g} s; it was given up, and is started anew")
