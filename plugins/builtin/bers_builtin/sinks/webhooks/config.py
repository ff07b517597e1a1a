"""What an operator says about webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from bers import Channel, Channels, Secret

Format: TypeAlias = Literal["cloudevents", "slack", "alertmanager", "alertmanager-api"]


class Webhook(Channel, frozen=True, kw_only=True):
    """One place that is told."""

    url: Annotated[Secret, Meta(description="Where to POST to; https, unless the place is internal.")]
    format: Annotated[
        Format,
        Meta(
            description="What is sent: the event as a CloudEvent, or several as a batch of them where the channel has "
            "a `group`; a message for Slack's incoming webhooks, and for all who take the same; what Alertmanager "
            "sends to its webhooks (version 4); or what Alertmanager itself is sent at /api/v2/alerts."
        ),
    ] = "cloudevents"
    template: Annotated[
        str,
        Meta(
            description="A Jinja template that makes a JSON body instead, out of `event`, or `events` where the channel"
            " has a `group`, and `notice`."
        ),
    ] = ""
    headers: Annotated[Mapping[str, Secret], Meta(description="Headers to send besides, such as Authorization.")] = {}
    secrets: Annotated[
        tuple[Secret, ...],
        Meta(
            description="Keys that sign what is sent, as Standard Webhooks has it: `whsec_` and 24 to 64 bytes in "
            "base64. With several, each signs: a receiver that knows one of them is content, so that keys can be "
            "changed one by one."
        ),
    ] = ()
    external_url: Annotated[
        str, Meta(description="Where people find this monitoring; what Alertmanager's format links to.")
    ] = ""
    allow_internal: Annotated[
        bool, Meta(description="Whether the place may be loopback or in a private network; http is allowed there too.")
    ] = False


class WebhooksConfig(Channels, frozen=True, kw_only=True):
    """Tell others of alerts by HTTP, until they have taken it."""

    channels: Annotated[tuple[Webhook, ...], Meta(description="The places that are told.")] = ()
