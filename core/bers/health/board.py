"""Every check of a node: made at its time, and after those that it depends on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter

import anyio
from anyio.abc import TaskGroup

from bers.checks import Finding
from bers.clock import Clock
from bers.health.breaker import BreakerReport
from bers.health.conclusions import Conclusions, Look, Publish, held
from bers.health.history import History
from bers.health.reports import CheckReport
from bers.health.rests import Rests
from bers.health.watch import NoAnswer, Watch
from bers.redaction import Redactor

BROKEN = Finding("unhealthy", "the check itself failed", {}, "See the error, and logs/monitoring.log.")

SETTLING = 0.05
"""Seconds between two looks at what is unknown while everything is just starting."""

FIRST_LOOK = 5.0
"""Seconds that the start waits for the first answer of what is asked over a network, or of a program."""

IMPATIENCE = 1.0
"""Seconds until the next look at something that is unknown."""


class Health:
    """Every check of this node."""

    def __init__(
        self,
        clock: Clock,
        publish: Publish,
        redactor: Redactor | None = None,
        history: History | None = None,
        rests: Rests | None = None,
    ) -> None:
        """``publish`` is told what a look found, as ``redactor`` lets it be told, and what was told of it before:
        where it came to another status, its breaker to another state, or it began or ceased to flap.
        """
        self._clock = clock
        self._watches: dict[str, Watch] = {}
        self._conclusions = Conclusions(clock, publish, redactor or Redactor(), history, rests, lambda: self._watches)
        self._group: TaskGroup | None = None
        """Where the checks are made, while they are made regularly."""

    # Which checks there are.

    def add(self, watch: Watch) -> None:
        self._watches[watch.name] = watch

    def change(self, watches: Iterable[Watch]) -> None:
        """Make these checks from now on. One that was made on the same basis goes on, with its breaker and report."""
        before, self._watches = self._watches, {}
        for watch in watches:
            known = before.get(watch.name)
            if known and known.basis is not None and known.basis == watch.basis:
                self._watches[watch.name] = before.pop(watch.name)
                continue
            if known:
                # Until the first look, what was known is better than nothing.
                watch.report, watch.told = known.report, known.told
                watch.damper.settle(known.damper.status)
            self._watches[watch.name] = watch
            if self._group:
                self._group.start_soon(self._repeat, watch, 0.0)
        for gone in before.values():
            gone.scope.cancel()
        self._conclusions.forget(before.values())

    async def recall(self) -> None:
        """Go on with the rests that an earlier process gave to what does not answer."""
        await self._conclusions.recall()

    @property
    def names(self) -> Sequence[str]:
        return list(self._watches)

    # How they are.

    def report(self, name: str) -> CheckReport:
        """What a check found last. Raise KeyError where there is no such check."""
        return self._conclusions.report(self._watches[name])

    def reports(self) -> list[CheckReport]:
        return [self.report(name) for name in self._watches]

    def breakers(self) -> dict[str, BreakerReport]:
        """The breaker of every check."""
        return {name: watch.breaker.report for name, watch in self._watches.items()}

    async def reset_breakers(self, name: str = "") -> list[str]:
        """Close every breaker, or that of one check, and look at once; return the names of those that were not closed.

        Raise KeyError where there is no such check.
        """
        chosen = [self._watches[name]] if name else list(self._watches.values())
        reset = [watch for watch in chosen if watch.breaker.reset()]
        for watch in reset:
            self._conclusions.rested(watch)
            if self._group:
                self._group.start_soon(self._look, watch)
        if reset:
            await self._conclusions.save()
        return [watch.name for watch in reset]

    # When they are made.

    async def look_at_all(self, *, patience: float = 1.0) -> None:
        """Make every check once, at the same time; what is unknown yet is looked at again, for so many seconds.

        What is asked over a network is waited for too, for its first answer alone, and no longer than FIRST_LOOK.
        """
        deadline = self._clock.monotonic() + patience
        waiting = list(self._watches.values())
        while waiting:
            async with anyio.create_task_group() as group:
                for watch in waiting:
                    group.start_soon(self._look_at_start, watch)
            waiting = [watch for watch in waiting if watch.patient and watch.unknown]
            if self._clock.monotonic() >= deadline:
                return
            if waiting:
                await self._clock.sleep(SETTLING)

    async def look(self, names: Iterable[str]) -> None:
        """Make some checks at once, because something has changed that they tell of."""
        for name in names:
            if name in self._watches:
                await self._look(self._watches[name])

    async def run(self) -> None:
        """Make every check again and again, each at its interval."""
        async with anyio.create_task_group() as self._group:
            for watch in self._watches.values():
                self._group.start_soon(self._repeat, watch)
            await self._conclusions.run()

    async def close(self) -> None:
        """Write down that no check is made any more."""
        await self._conclusions.close()

    async def _repeat(self, watch: Watch, first: float | None = None) -> None:
        """Look again and again, for the first time after so many seconds, or else after an interval."""
        with watch.scope:
            while True:
                await self._clock.sleep(watch.pause(IMPATIENCE) if first is None else first)
                first = None
                await self._look(watch)

    async def _look_at_start(self, watch: Watch) -> None:
        with anyio.CancelScope() if watch.patient else anyio.move_on_after(FIRST_LOOK):
            await self._look(watch)

    # One look.

    async def _look(self, watch: Watch, *, unless: float | None = None) -> None:
        """Look, unless that was done at a time or later."""
        async with watch.turn:
            if unless is not None and watch.looked is not None and watch.looked >= unless:
                return
            blamed = watch.culprit
            watch.looked = self._clock.monotonic()
            look = await self._found(watch)
            # Whoever asked may have waited while the configuration was changed.
            if look is not None and self._watches.get(watch.name) is watch:
                await self._conclusions.conclude(watch, look)
        if watch.culprit != blamed and self._group:
            for other in self._watches.values():
                if watch.name in other.depends_on:
                    self._group.start_soon(self._look, other)

    async def _found(self, watch: Watch) -> Look | None:
        """What there is to be found; None where this is no moment to look."""
        began = self._clock.monotonic()
        if because := await self._because(watch):
            return held(because)
        if not watch.breaker.allows():
            return None
        look = await self._asked(watch)
        if look is None or look.finding.status in ("healthy", "degraded"):
            return look
        # Whoever is to blame may not have been looked at since it went down.
        because = await self._because(watch, since=began)
        return held(because) if because else look

    async def _because(self, watch: Watch, *, since: float | None = None) -> str:
        """Which check is to blame for whatever this one finds; empty where none is.

        What it depends on is looked at before, if it was never, or not ``since`` a moment.
        """
        for name in watch.depends_on:
            other = self._watches.get(name)
            if other is None:
                continue
            if since is not None:
                await self._look(other, unless=since)
            elif other.report is None:
                await self._look(other, unless=0.0)
            if other.culprit:
                return other.culprit
        return ""

    async def _asked(self, watch: Watch) -> Look | None:
        started = perf_counter()
        try:
            with anyio.fail_after(watch.timeout):
                finding = await watch.probe()
            return None if finding is None else Look(finding, (perf_counter() - started) * 1000)
        except NoAnswer as exc:
            return Look(Finding("unhealthy", str(exc)), (perf_counter() - started) * 1000, str(exc))
        except Exception as exc:
            timed_out = isinstance(exc, TimeoutError)
            error = f"no answer within {watch.timeout:g} s" if timed_out else f"{type(exc).__name__}: {exc}"
            return Look(BROKEN, (perf_counter() - started) * 1000, error)
