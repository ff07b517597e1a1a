"""The webhooks sink: it writes down who is to be told what, and its channels tell it from there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from sqlite3 import Connection
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import quote

import anyio
from msgspec import Meta, Struct

from bers import (
    Batch,
    Caller,
    Check,
    Context,
    DurableSpec,
    Event,
    Finding,
    Operation,
    Positions,
    Refused,
    Stage,
    disk_fault,
    hookimpl,
    unknown,
)
from bers_builtin.sinks._disk import persist
from bers_builtin.sinks._types import matches
from bers_builtin.sinks.webhooks.config import WebhooksConfig, targets
from bers_builtin.sinks.webhooks.deliveries import Deliveries, Delivery, New, Standing

if TYPE_CHECKING:
    from bers_builtin.sinks.webhooks.sender import Sender

SETTLE_EVERY = 1.0
"""How often a position is written down when there is nothing else to write, in seconds."""

TIDY_EVERY = 3600.0


class ListDeliveries(Struct, rename="camel", frozen=True):
    """Which deliveries to list."""

    status: Annotated[
        Literal["", "waiting", "delivered", "failed"], Meta(description="Only those that are so; empty: all.")
    ] = ""
    channel: Annotated[str, Meta(description="Only those of this channel; empty: all.")] = ""
    limit: Annotated[int, Meta(ge=1, le=1000, description="How many at most, the newest first.")] = 100


class Webhooks(Stage[WebhooksConfig]):
    """Deliveries are committed with the position, so a channel that is down holds up neither the bus nor others."""

    def __init__(self, config: WebhooksConfig, context: Context) -> None:
        super().__init__(config, context)
        self._targets = targets(config, context)
        self._deliveries = Deliveries(context.state, context.stage_id)
        self._positions = Positions(context.state, context.stage_id)
        self._senders: dict[str, Sender] = {}
        self._turn = anyio.Lock()
        self._unsettled: dict[tuple[str, int], int] = {}
        self._settled_at = context.clock.monotonic() - SETTLE_EVERY

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        await self._deliveries.open()
        async with anyio.create_task_group() as group:
            if self.config.channels:
                from bers_builtin.sinks.webhooks.sender import Sender  # The HTTP client is not imported for nothing.

                for channel in self.config.channels:
                    target, body = self._targets[channel.name]
                    sender = Sender(channel, target, body, self._deliveries, self.context)
                    self._senders[channel.name] = sender
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
        rows = [row for event in batch.events for row in self._rows(event)]
        if not rows and self.context.clock.monotonic() - self._settled_at < SETTLE_EVERY:
            self._unsettled[batch.reader, batch.partition] = batch.end  # Read again, it leads to nothing again.
            return
        now = self.context.clock.time()
        async with self._turn:

            def work(connection: Connection) -> None:
                self._deliveries.add(connection, rows, now)
                self._positions.move(connection, batch.reader, batch.partition, batch.end)

            await self.context.state.run(work)
            self._positions.moved(batch.reader, batch.partition, batch.end)
            self._unsettled.pop((batch.reader, batch.partition), None)
            self._settled_at = self.context.clock.monotonic()
        for name in {row.channel for row in rows}:
            self._senders[name].wake()

    async def list_deliveries(self, ask: ListDeliveries, caller: Caller) -> list[Delivery]:
        known = [channel.name for channel in self.config.channels]
        if ask.channel and ask.channel not in known:
            raise Refused("not_found", unknown("channel", ask.channel, known), known=known)
        return await self._deliveries.newest(ask.status or None, ask.channel, ask.limit)

    async def check(self) -> Finding:
        """Whether everybody who is to be told is told."""
        names = [channel.name for channel in self.config.channels]
        now = self.context.clock.time()
        standings = await self._deliveries.standing(names, now)
        details: dict[str, Any] = {
            "configured": len(names),
            "channels": {one.channel: _shown(one) for one in standings},
        }
        faults = [fault for one in standings for fault in self._faults(one, one.channel in names, now)]
        if faults:
            remedy = "See GET /api/monitoring/webhooks/deliveries for each attempt's error, and the channel's url."
            return Finding("degraded", "; ".join(faults), details, remedy)
        if not names:
            return Finding("healthy", "no channel is configured, so nobody is told of alerts", details)
        return Finding("healthy", f"{len(names)} channels are told in time", details)

    def _rows(self, event: Event) -> Iterator[New]:
        for channel in self.config.channels:
            if any(matches(event.type, pattern) for pattern in channel.events):
                wanted = not channel.severities or _severity(event) in channel.severities
                if wanted or event.type == "alert.resolved":
                    yield New(channel.name, _webhook_id(event), event, only_if_told=not wanted)

    def _faults(self, standing: Standing, configured: bool, now: float) -> Iterator[str]:
        name = standing.channel
        if not configured:
            yield f"{standing.waiting} deliveries wait for channel {name!r}, which is not configured any more"
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
                await self.context.state.run(work)
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
        while True:
            before = self.context.clock.settled() - self.config.keep
            while await persist(partial(self._deliveries.forget, before), self.context.clock):
                await self.context.clock.sleep(0.05)
            await self.context.clock.sleep(TIDY_EVERY)


def _severity(event: Event) -> str:
    return str(event.labels.get("severity") or event.data.get("severity") or "")


def _webhook_id(event: Event) -> str:
    """The event's name, as a header can carry it."""
    return quote(f"{event.source}/{event.id}", safe="/:@!$&'()*+,;=~?#[]")


def _shown(standing: Standing) -> dict[str, Any]:
    delivered = standing.delivered_at
    return {
        "waiting": standing.waiting,
        "failingSince": None if standing.failing_since is None else int(standing.failing_since * 1000),
        "givenUp": standing.given_up,
        "deliveredAt": None if delivered is None else int(delivered * 1000),
        "lastError": standing.error,
    }


WEBHOOKS = DurableSpec(
    "webhooks",
    WebhooksConfig,
    Webhooks,
    operations=[
        Operation(
            "GET",
            "webhooks/deliveries",
            Webhooks.list_deliveries,
            ListDeliveries,
            list[Delivery],
            "List who was told of what, who is still to be told, and who could not be",
            refuses=("not_found",),
        )
    ],
    checks=[Check("notifications", Webhooks.check, "Whether everybody who is to be told of alerts is told")],
)


@hookimpl
def bers_sinks() -> Iterable[DurableSpec[WebhooksConfig]]:
    return [WEBHOOKS]
