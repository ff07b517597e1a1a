"""One channel at work: send what is due, and try again what was not taken."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from sqlite3 import Connection
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import anyio
from anyio.abc import TaskGroup

from bers.errors import ConfigError, Fault
from bers.notifications.channels import LONGEST_WAIT, Channel
from bers.notifications.ledger import Ledger
from bers.notifications.messengers import Messenger, NotTaken, Taken
from bers.notifications.notices import Notice
from bers.notifications.outbox import Due, Looked, Outbox
from bers.notifications.secrecy import Masked, mark_of
from bers.persisting import persist
from bers.stages import Context

MANY = 8
"""After so many failures in a row a channel is asked with one notification at a time, until it takes one."""

ASKED_EVERY = 1.0
"""Seconds between two of these."""

SAID = 500
"""Characters of what a receiver says that are kept."""


T = TypeVar("T")


class Attempt(NamedTuple):
    """What an attempt led to."""

    taken: Taken | None
    error: str = ""
    status: int | None = None
    again: bool = True
    wait: float = 0.0
    gone: bool = False
    ms: float = 0.0


class Sender:
    """Sends for one channel, for as long as it runs. What it has done is in the database, so that a restart goes on."""

    def __init__(self, messenger: Messenger[Any], outbox: Outbox, ledger: Ledger, context: Context) -> None:
        self.messenger = messenger
        self._channel: Channel = messenger.channel
        self._outbox = outbox
        self._ledger = ledger
        self._context = context
        self._masked = Masked(self._channel, context.redactor)
        self._mark = mark_of(self._channel)
        self._news = anyio.Event()
        self._paused_until = 0.0
        self._disabled = False
        self._failing = False
        """Whether there was no answer since the last notification that was taken."""
        self._failed = 0
        """How many failed since then."""
        self.busy: set[int] = set()
        """The rows that are being sent."""
        self._sending = 0
        self._group: TaskGroup | None = None
        """Whose tasks send, while the channel is at work."""
        self._base = context.clock.time() - context.clock.elapsed()

    def now(self) -> float:
        """Wall time as it was when we began, and goes on: whoever sets the clock makes no attempt early or late."""
        return self._context.clock.elapsed() + self._base

    def wake(self) -> None:
        """Say that there may be something to send."""
        self._news.set()

    def look(self) -> Callable[[Connection], Looked] | None:
        """How to ask for what there is to send now, inside a transaction; nothing where nothing may be sent."""
        room = self._room
        if self._group is None or self._disabled or room <= 0 or self._paused_until > self._context.clock.monotonic():
            return None
        name, now, busy = self._channel.name, self.now(), list(self.busy)
        return lambda connection: self._outbox.due(connection, name, now, room, busy)

    def take(self, looked: Looked | None) -> None:
        """Send what was found to be due, and look again where there may be more."""
        if looked is not None:
            self._start(looked.due)
        if looked is None or looked.more or looked.later is not None:
            self.wake()

    async def enable(self) -> None:
        """Try again all that was not taken, whatever was said of waiting."""
        await self._ledger.enable(self._channel.name, self.now())
        self._disabled, self._paused_until = False, 0.0
        self.wake()

    async def run(self) -> None:
        """Send until cancelled."""
        name, clock = self._channel.name, self._context.clock
        self._disabled = await persist(partial(self._ledger.disabled, name, self._mark, self.now()), clock)
        async with self.messenger, anyio.create_task_group() as self._group:
            while True:
                self._news = anyio.Event()  # Before we look: what is written meanwhile wakes us.
                if (look := self.look()) is None:
                    pause = self._paused_until - clock.monotonic()
                    await self._rest(pause if pause > 0 and not self._disabled else None)
                    continue
                found = await persist(partial(self._outbox.look, look), clock)
                self._start(found.due)
                if not found.more:
                    await self._rest(None if found.later is None else min(LONGEST_WAIT, found.later - self.now()))

    async def attempt(self, notice: Notice) -> Attempt:
        """Send a notice once, and say what came of it."""
        began = perf_counter()
        told = notice._replace(events=[self._context.redactor.event(event) for event in notice.events])
        try:
            with anyio.fail_after(self._channel.timeout):
                taken = await self.messenger.send(told) or Taken()
            taken = taken._replace(text=self._shortened(taken.text))
            return Attempt(taken, status=taken.status, ms=(perf_counter() - began) * 1000)
        except TimeoutError:
            failed = Attempt(None, f"no answer within {self._channel.timeout:g} s")
        except NotTaken as no:
            failed = Attempt(None, self._shortened(str(no)), no.status, no.again, no.wait, no.gone)
        except Exception as exc:  # Whatever a receiver does to us is an attempt that failed, and no end of the others.
            failed = Attempt(None, self._shortened(f"{type(exc).__name__}: {exc}".strip(": ")))
        return failed._replace(ms=(perf_counter() - began) * 1000)

    def masked(self, text: str) -> str:
        """A text without what nobody may read of this channel."""
        return self._masked(text)

    @property
    def _room(self) -> int:
        """How many more may be sent at the same time."""
        return (self._channel.at_once if self._failed < MANY else 1) - self._sending

    def _start(self, due: Iterable[Due]) -> None:
        """Begin to send, but for what is being sent, and what is too much: two may have looked at the same time."""
        assert self._group is not None
        for one in due:
            if self._room > 0 and self.busy.isdisjoint(one.numbers):
                self.busy.update(one.numbers)
                self._sending += 1
                self._group.start_soon(self._deliver, one)

    async def _deliver(self, due: Due) -> None:
        more = True
        try:
            more = await self._note(due, await self.attempt(due.notice)) or self._room <= 0
        finally:
            self.busy.difference_update(due.numbers)
            self._sending -= 1
            if more:
                self.wake()

    async def _note(self, due: Due, done: Attempt) -> bool:
        """Write down what came of it, as soon as the disk lets us: else it would be sent again.

        Return whether there may be more to send, or at another time.
        """
        now, attempts = self._context.clock.time(), due.notice.attempts + 1
        name, id, log = self._channel.name, due.notice.id, self._context.logger
        steady = self.now()  # Whoever sets the clock forward makes nobody give up.
        since = steady if due.failing_since is None else due.failing_since
        retries = self._channel.retries
        if done.taken is not None:
            more = await self._write(partial(self._outbox.delivered, due, attempts, now, self.now(), done.status))
            log.info("channel %r was told: %s", name, id)
            more, self._failed = more or self._failed > 0, 0
            if self._failing:
                self._failing = False
                await self._write(partial(self._outbox.hurry, name, self.now()))
            return more
        self._failing = self._failing or done.status is None
        self._failed += 1
        if done.gone:
            self._disabled = True
            await self._write(partial(self._ledger.disable, name, self._mark, now, done.error))
            log.error(
                "channel %r is disabled until it is changed or reset: %s; what it is to be told waits", name, done.error
            )
        elif (
            not done.again or attempts >= (retries.attempts or attempts + 1) or steady - since >= retries.give_up_after
        ):
            fail = partial(self._outbox.failed, due, attempts, now, self.now(), done.status, done.error)
            await self._write(fail)
            log.error("channel %r was not told and will not be: %s: %s (attempt %d)", name, id, done.error, attempts)
            return True
        wait = 0.0 if done.gone else min(LONGEST_WAIT, max(done.wait, self._back_off(attempts)))
        pause = min(LONGEST_WAIT, done.wait)  # The receiver has too much: all deliveries wait, not this one alone.
        if self._failed >= MANY and not done.gone:
            pause = max(pause, min(ASKED_EVERY, retries.max))
        self._paused_until = max(self._paused_until, self._context.clock.monotonic() + pause)
        await self._write(
            lambda: self._outbox.postpone(
                due, attempts, since=since, next=self.now() + wait, answer=done.status, error=done.error
            )
        )
        if not done.gone:
            log.warning(
                "channel %r was not told yet: %s: %s (attempt %d, the next in %.1f s)",
                *(name, id, done.error, attempts, wait),
            )

        return True

    async def _write(self, write: Callable[[], Awaitable[T]]) -> T:
        return await persist(write, self._context.clock)

    def _shortened(self, text: str) -> str:
        return self._masked(text)[:SAID]

    def _back_off(self, attempts: int) -> float:
        retries = self._channel.retries
        wait: float = min(retries.max, retries.initial * 2.0 ** min(attempts - 1, 30))
        return wait * random.uniform(0.75, 1.0)  # Not all who wait come back at the same moment.

    async def _rest(self, seconds: float | None) -> None:
        """Wait until there is news, or the time has passed."""
        async with anyio.create_task_group() as group:

            async def until(done: Callable[[], Awaitable[object]]) -> None:
                await done()
                group.cancel_scope.cancel()

            group.start_soon(until, self._news.wait)
            if seconds is not None:
                group.start_soon(until, lambda: self._context.clock.sleep(max(0.0, seconds)))


def opened(factory: Callable[[Any, Context], Messenger[Any]], channel: Any, context: Context, path: str) -> Any:
    """The messenger of a channel. Raise ConfigError, with the place in pipelines.yaml, where it cannot work."""
    try:
        return factory(channel, context)
    except ConfigError as exc:
        named = [
            Fault(path if one.path == "$" else f"{path}.{one.path}", f"channel {channel.name!r}: {one.message}")
            for one in exc.faults
        ]
        raise ConfigError(named) from exc
    except ValueError as exc:
        raise ConfigError(f"channel {channel.name!r}: {exc}", path=path) from exc
