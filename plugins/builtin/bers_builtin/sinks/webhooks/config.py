"""What an operator says about channels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from msgspec import Meta

from bers import Config, ConfigError, Context, Duration, Interval, Secret, Target
from bers_builtin.sinks.webhooks.bodies import Body

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "webhook-id", "idempotency-key"})


class Retries(Config, frozen=True):
    """How often a delivery is tried, and how far apart."""

    attempts: Annotated[int, Meta(ge=1, description="How many attempts are made before a delivery is given up.")] = 8
    initial: Annotated[Interval, Meta(description="The wait after a failure; it doubles each time.")] = Interval("1s")
    max: Annotated[Interval, Meta(description="The longest wait, unless the receiver asks for more.")] = Interval("60s")


class Channel(Config, frozen=True):
    """One place that is told."""

    name: Annotated[
        str, Meta(min_length=1, max_length=100, description="The name under which deliveries and checks show it.")
    ]
    url: Annotated[Secret, Meta(description="Where to POST to; https, unless the place is internal.")]
    events: Annotated[
        tuple[str, ...],
        Meta(description="Event types that are told, such as alert.firing, or alert.* for all of a kind."),
    ] = ("alert.firing", "alert.acknowledged", "alert.resolved")
    severities: Annotated[
        tuple[str, ...],
        Meta(
            description="Severities that are told; all if empty. Who was told of an alert is told when it is resolved."
        ),
    ] = ()
    headers: Annotated[Mapping[str, Secret], Meta(description="Headers to send besides, such as Authorization.")] = {}
    template: Annotated[
        str,
        Meta(description="A Jinja template that makes a JSON body out of `event`; empty: the event as a CloudEvent."),
    ] = ""
    timeout: Annotated[Interval, Meta(description="How long one attempt may take.")] = Interval("10s")
    retries: Annotated[Retries, Meta(description="How often a delivery is tried, and how far apart.")] = Retries()
    allow_internal: Annotated[
        bool, Meta(description="Whether the place may be loopback or in a private network; http is allowed there too.")
    ] = False


class WebhooksConfig(Config, frozen=True):
    """Tell others of alerts by HTTP, until they have taken it."""

    channels: Annotated[tuple[Channel, ...], Meta(description="The places that are told.")] = ()
    patience: Annotated[
        Duration, Meta(description="How long a delivery may be failing before the check `notifications` is degraded.")
    ] = Duration("1m")
    keep: Annotated[
        Interval, Meta(description="How long deliveries are kept after they are done, for everybody to see.")
    ] = Interval("7d")


def targets(config: WebhooksConfig, context: Context) -> dict[str, tuple[Target, Body]]:
    """Where each channel goes, and what it says. Raise ConfigError where it cannot go there."""
    found: dict[str, tuple[Target, Body]] = {}
    for number, channel in enumerate(config.channels):
        path = f"sinks.{context.stage_id}.channels[{number}]"
        if channel.name in found:
            raise ConfigError(f"two channels are named {channel.name!r}; rename one", path=f"{path}.name")
        for fault in _header_faults(channel.headers):
            raise ConfigError(f"channel {channel.name!r}: {fault}", path=f"{path}.headers")
        place = "url"
        try:
            target = Target(channel.url.reveal(), context.own_addresses, internal=channel.allow_internal)
            place = "template"
            found[channel.name] = target, Body(channel.template)
        except ValueError as exc:
            raise ConfigError(f"channel {channel.name!r}: {exc}", path=f"{path}.{place}") from exc
    return found


def _header_faults(headers: Mapping[str, Secret]) -> Iterator[str]:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            yield f"{name!r} cannot name a header"
        elif name.lower() in _OURS:
            yield f"header {name!r} is set by us; leave it out"
        elif not value.reveal().isprintable() or not value.reveal().isascii():
            yield f"the value of header {name!r} has characters that no header can have"
