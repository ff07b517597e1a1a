"""How a webhook is sent: one POST, signed, to an address that was looked at first."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Self

from bers import ConfigError, Context, Messenger, Notice, NotTaken, Poster, Taken, Target, header_faults
from bers_builtin.sinks.webhooks.bodies import Body
from bers_builtin.sinks.webhooks.config import Webhook
from bers_builtin.sinks.webhooks.signing import Keys

_OURS = frozenset({"webhook-id", "webhook-timestamp", "webhook-signature", "idempotency-key"})


class WebhookMessenger(Messenger[Webhook]):
    """Sends the notices of one channel by HTTP."""

    def __init__(self, channel: Webhook, context: Context) -> None:
        super().__init__(channel, context)
        for fault in header_faults(channel.headers, _OURS):
            raise ConfigError(fault, path="headers")
        place = "url"
        try:
            target = Target(channel.url.reveal(), context.own_addresses, internal=channel.allow_internal)
            place = "template"
            self._body = Body(channel)
            place = "secrets"
            self._keys = Keys(channel.secrets)
        except ValueError as exc:
            raise ConfigError(str(exc), path=place) from exc
        self._poster = Poster(target, context.clock, timeout=channel.timeout, at_once=channel.at_once)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self._poster:
            yield self

    async def send(self, notice: Notice) -> Taken:
        try:
            body = self._body.of(notice)
        except ValueError as exc:  # The template is the operator's, who may mend it before the last attempt.
            raise NotTaken(str(exc), again=True) from exc
        headers = {name.lower(): value.reveal() for name, value in self.channel.headers.items()}
        seconds = int(self.context.clock.time())
        ours = {**self._keys.headers(notice.id, seconds, body), "idempotency-key": notice.id}
        return await self._poster.post(body, {"content-type": self._body.media, **headers, **ours})

    def preview(self, notice: Notice) -> str:
        return self._body.of(notice).decode()
