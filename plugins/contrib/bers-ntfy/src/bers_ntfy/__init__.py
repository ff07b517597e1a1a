"""Notifications on telephones, by ntfy: one POST to a topic, with a title, a priority and tags."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Self

from bers import (
    Channel,
    Channels,
    ConfigError,
    Context,
    DurableSpec,
    Messenger,
    Notice,
    Poster,
    Secret,
    Taken,
    Target,
    header_faults,
    hookimpl,
    notifier,
    one_line,
)
from msgspec import Meta

PRIORITIES = {"critical": "5", "error": "4", "warning": "3", "info": "2"}


class Topic(Channel, frozen=True, kw_only=True):
    """One topic that is told."""

    url: Annotated[Secret, Meta(description="The topic, as https://ntfy.example/TOPIC: whoever knows it can read it.")]
    token: Annotated[Secret, Meta(description="An access token; empty where the server asks for none.")] = Secret("")
    allow_internal: Annotated[bool, Meta(description="Whether the server may be in a private network.")] = False


class NtfyConfig(Channels, frozen=True, kw_only=True):
    """Tell of alerts by ntfy, on telephones and desktops."""

    channels: Annotated[tuple[Topic, ...], Meta(description="The topics that are told.")] = ()


class NtfyMessenger(Messenger[Topic]):
    def __init__(self, channel: Topic, context: Context) -> None:
        super().__init__(channel, context)
        try:
            target = Target(channel.url.reveal(), context.own_addresses, internal=channel.allow_internal)
        except ValueError as exc:
            raise ConfigError(str(exc), path="url") from exc
        for fault in header_faults({"authorization": channel.token}):
            raise ConfigError(fault, path="token")
        self._poster = Poster(target, context.clock, timeout=channel.timeout, at_once=channel.at_once)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with self._poster:
            yield self

    async def send(self, notice: Notice) -> Taken:
        worst = max(PRIORITIES.get(account.severity, "3") for account in notice.accounts)
        headers = {
            "title": one_line(notice.headline)[:250].encode("ascii", errors="replace").decode(),
            "priority": "3" if notice.is_over else worst,
            "tags": "white_check_mark" if notice.is_over else "rotating_light",
        }
        if token := self.channel.token.reveal():
            headers["authorization"] = f"Bearer {token}"
        return await self._poster.post(notice.text.encode(), headers)


@hookimpl
def bers_sinks() -> list[DurableSpec[Any]]:
    return [notifier("ntfy", NtfyConfig, NtfyMessenger)]
