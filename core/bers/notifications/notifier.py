"""A sink that tells: it writes down who is to be told what, and its channels tell it from there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from sqlite3 import Connection
from typing import Any, Self, TypeVar

import anyio

from bers.checks import Finding
from bers.disk import disk_fault
from bers.errors import ConfigError
from bers.notifications.channels import Channels
from bers.notifications.ledger import Ledger, Standing
from bers.notifications.messengers import Messenger
from bers.notifications.outbox import Looked, Outbox
from bers.notifications.routing import is_meant
from bers.notifications.sender import Sender, opened
from bers.persisting import persist
from bers.positions import Positions
from bers.records import Batch
from bers.stages import Context, Stage

SETTLE_EVERY = 1.0
"""How often a position is written down when there is nothing else to write, in seconds."""

TIDY_EVERY = 3600.0

N = TypeVar("N", bound=Channels)


class Notifier(Stage[N]):
    """Notifications are committed with the position, so a channel that is down holds up neither the bus nor others."""

    def __init__(self, config: N, context: Context, messenger: Callable[[Any, Context], Messenger[Any]]) -> None:
        super().__init__(config, context)
        check_names(config, f"sinks.{context.stage_id}.")
        self.outbox = Outbox(context.state, context.stage_id, config.channels)
        self.ledger = Ledger(context.state, context.stage_id)
        self.senders = {
            channel.name: Sender(
                opened(messenger, channel, context, f"sinks.{context.stage_id}.channels[{number}]"),
                *(self.outbox, self.ledger, context),
            )
            for number, channel in enumerate(config.channels)
        }
        self._positions = Positions(context.state, context.stage_id)
        self._turn = anyio.Lock()
        self._unsettled: dict[tuple[str, int], int] = {}
        self._settled_at = context.clock.monotonic() - SETTLE_EVERY
        self._base = context.clock.time() - context.clock.elapsed()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        await self.outbox.open()
        async with anyio.create_task_group() as group:
            for sender in self.senders.values():
                group.start_soon(sender.run)
            group.start_soon(self._settle_regularly)
            group.start_soon(self._tidy)
            try:
                yield self
            finally:
                with anyio.CancelScope(shield=True):
                    await self._settle_or_wait()
                group.cancel_scope.cancel()

    async def position(self, reader: str, partition: int, *, begin: int) -> int:
        await self._settle()
        return await self._positions.begin(reader, partition, begin)

    async def write(self, batch: Batch) -> None:
        told = [event for event in batch.events if self._may_tell(event.type)]
        if not told and self.context.clock.monotonic() - self._settled_at < SETTLE_EVERY:
            self._unsettled[batch.reader, batch.partition] = batch.end  # Read again, it leads to nothing again.
            return
        now = self.context.clock.elapsed() + self._base
        async with self._turn:
            looks = {name: sender.look() for name, sender in self.senders.items()}

            def work(connection: Connection) -> dict[str, Looked | None]:
                """Write down who is to be told, and see what of it is due: it leaves without being read once more."""
                woken = self.outbox.add(connection, told, now)
                self._positions.move(connection, batch.reader, batch.partition, batch.end)
                return {name: look(connection) if look else None for name, look in looks.items() if name in woken}

            woken = await self.context.state.run(work, shared=True)
            self._positions.moved(batch.reader, batch.partition, batch.end)
            self._unsettled.pop((batch.reader, batch.partition), None)
            self._settled_at = self.context.clock.monotonic()
        for name, looked in woken.items():
            self.senders[name].take(looked)

    async def check(self) -> Finding:
        """Whether everybody who is to be told is told."""
        names = list(self.senders)
        now = self.context.clock.time()
        standings = await self.ledger.standing(names, now)
        details: dict[str, Any] = {
            "configured": len(names),
            "channels": {one.channel: _shown(one) for one in standings},
        }
        faults = [fault for one in standings for fault in self._faults(one, one.channel in names, now)]
        if faults:
            remedy = "See `bers notify list` for how each channel does, and its deliveries for each attempt's error."
            return Finding("degraded", "; ".join(faults), details, remedy)
        if not names:
            return Finding("healthy", "no channel is configured, so nobody is told of alerts", details)
        return Finding("healthy", f"{len(names)} channel{'s are' if len(names) > 1 else ' is'} told in time", details)

    def _may_tell(self, type: str) -> bool:
        """Whether anybody may be told: the end of an alert may be news to who is not configured any more."""
        return type.startswith("alert.") or any(is_meant(type, channel.events) for channel in self.config.channels)

    def _faults(self, standing: Standing, configured: bool, now: float) -> Iterator[str]:
        name = standing.channel
        if not configured:
            yield (
                f"{standing.waiting} deliveries wait for channel {name!r}, which is not configured any more; they are "
                "given up after `keep`"
            )
        elif standing.disabled_since is not None:
            yield (
                f"channel {name!r} is disabled until it is changed or reset, and {standing.waiting} deliveries wait: "
                f"{standing.why}"
            )
        elif standing.failing_since is not None and now - standing.failing_since >= self.config.patience:
            yield f"channel {name!r} takes nothing since {now - standing.failing_since:.0f} s: {standing.error}"
        if standing.given_up:
            yield f"channel {name!r}: {standing.given_up} deliveries were given up: {standing.error}"

    async def _settle(self) -> None:
        """Write down how far we have read, where nothing had to be told."""
        async with self._turn:
            ends, self._unsettled = self._unsettled, {}
            if not ends:
                return

            def work(connection: Connection) -> None:
                for (reader, partition), end in ends.items():
                    self._positions.move(connection, reader, partition, end)

            try:
                await self.context.state.run(work, shared=True)
            except BaseException:
                self._unsettled = ends | self._unsettled
                raise
            for (reader, partition), end in ends.items():
                self._positions.moved(reader, partition, end)
            self._settled_at = self.context.clock.monotonic()

    async def _settle_regularly(self) -> None:
        while True:
            await self.context.clock.sleep(SETTLE_EVERY)
            await self._settle_or_wait()

    async def _settle_or_wait(self) -> None:
        """Settle; what the disk does not take now is settled with the next."""
        try:
            await self._settle()
        except Exception as exc:
            if not disk_fault(exc):
                raise

    async def _tidy(self) -> None:
        """Forget what was done long ago, and give up what has waited too long for nobody."""
        clock = self.context.clock
        while True:
            before = clock.settled() - self.config.keep
            for one in await persist(partial(self.ledger.standing, list(self.senders), clock.time()), clock):
                gone = one.channel not in self.senders
                if one.waiting and (gone or one.disabled_since is not None):
                    why = "the channel is not configured any more" if gone else f"the channel is disabled: {one.why}"
                    given_up = await persist(
                        partial(self.outbox.give_up, one.channel, before, clock.time(), why), clock
                    )
                    if given_up:
                        self.context.logger.error("%d notifications are given up: %s (%r)", given_up, why, one.channel)
            while await persist(partial(self.ledger.forget, before), clock):
                await clock.sleep(0.05)
            await clock.sleep(TIDY_EVERY)


def check_names(config: Channels, path: str = "") -> None:
    """Raise ConfigError, with the path in front of the place, where two channels cannot be told apart."""
    names: set[str] = set()
    for number, channel in enumerate(config.channels):
        if channel.name in names:
            raise ConfigError(
                f"two channels are named {channel.name!r}; rename one", path=f"{path}channels[{number}].name"
            )
        names.add(channel.name)
    for number, channel in enumerate(config.channels):
        if channel.formerly in names:
            fault = (
                f"{channel.formerly!r} is the name of a channel now, so nothing of it can be taken over; leave it out"
            )
            raise ConfigError(fault, path=f"{path}channels[{number}].formerly")


def _shown(standing: Standing) -> dict[str, Any]:
    return {
        "waiting": standing.waiting,
        "failingSince": _ms(standing.failing_since),
        "givenUp": standing.given_up,
        "deliveredAt": _ms(standing.delivered_at),
        "disabledSince": _ms(standing.disabled_since),
        "lastError": standing.why or standing.error,
    }


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
