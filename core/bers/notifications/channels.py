"""What an operator says about a channel, whatever kind it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from bers.stages import Config
from bers.units import Duration, Interval

PRIMARY = "primary"
"""The contact that is told first; who names no contact is it."""

LONGEST_WAIT = 3600.0
"""No wait is longer, whatever a receiver asks for. So one that seems longer shows that the clock was set back."""


class Retries(Config, frozen=True):
    """How often a notification is tried, and how far apart."""

    initial: Annotated[
        Interval, Meta(description="The wait after a failure; it doubles each time. A wait is a random part of that.")
    ] = Interval("1s")
    max: Annotated[Interval, Meta(description="The longest wait, unless the receiver asks for more.")] = Interval("5m")
    give_up_after: Annotated[
        Interval, Meta(description="For how long a notification may be failing before it is given up.")
    ] = Interval("3d")
    attempts: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="How many attempts are made at most; without, as many as there is time for."),
    ] = None


class Group(Config, frozen=True):
    """Which events are told together."""

    by: Annotated[
        tuple[str, ...],
        Meta(
            description="What they have in common: `rule`, `severity`, `environment`, `service`, `type`, or any label. "
            "Empty: all that this channel is told."
        ),
    ] = ("rule", "environment")
    wait: Annotated[Duration, Meta(description="How long the first of them waits for others.")] = Duration("5s")
    every: Annotated[Duration, Meta(description="How far apart notifications of one group are at least.")] = Duration(
        "1m"
    )
    most: Annotated[
        int, Meta(ge=1, le=1000, description="How many events one notification tells of; the others follow at once.")
    ] = 100

    def __post_init__(self) -> None:
        for name in ("wait", "every"):
            if getattr(self, name) > LONGEST_WAIT:
                raise ValueError(f"{name}: an alert must not wait for more than an hour; choose less")


class Channel(Config, frozen=True, kw_only=True):
    """One place that is told."""

    name: Annotated[
        str, Meta(min_length=1, max_length=100, description="The name under which deliveries and checks show it.")
    ]
    formerly: Annotated[
        str,
        Meta(
            max_length=100,
            description="What this channel was called before: it goes on with what waits for that name, and tells the "
            "end of what that one told.",
        ),
    ] = ""
    events: Annotated[
        tuple[str, ...],
        Meta(description="Event types that are told, such as alert.firing, or alert.* for all of a kind."),
    ] = (
        "alert.firing",
        "alert.acknowledged",
        "alert.unacknowledged",
        "alert.escalated",
        "alert.repeated",
        "alert.flapping",
        "alert.resolved",
    )
    severities: Annotated[
        tuple[str, ...],
        Meta(
            description="Severities that are told; all if empty. Who was told of an alert is told when it is resolved."
        ),
    ] = ()
    labels: Annotated[
        Mapping[str, str | tuple[str, ...]],
        Meta(
            description="Labels that an event must have, as `team: web` or `team: [web, app]`; `environment`, `service`"
            " and `rule` count as labels. `*` stands for anything, `!` in front for anything else."
        ),
    ] = {}
    contact: Annotated[
        str,
        Meta(
            description="The contact that this is. One that is not `primary` is told of an alert once it was escalated "
            "to that contact, and then of all that follows."
        ),
    ] = PRIMARY
    group: Annotated[
        Group | None, Meta(description="Which events are told together; without, each is told at once, by itself.")
    ] = None
    timeout: Annotated[Interval, Meta(description="How long one attempt may take.")] = Interval("10s")
    retries: Annotated[Retries, Meta(description="How often a notification is tried, and how far apart.")] = Retries()
    at_once: Annotated[
        int, Meta(ge=1, le=64, description="How many notifications are sent at the same time, each of other alerts.")
    ] = 4


class Channels(Config, frozen=True, kw_only=True):
    """What is common to all channels of a sink. Declare ``channels`` anew, with your own kind of channel."""

    channels: Annotated[tuple[Channel, ...], Meta(description="The places that are told.")] = ()
    patience: Annotated[
        Duration,
        Meta(description="How long a notification may be failing before the sink's health check is degraded."),
    ] = Duration("1m")
    keep: Annotated[
        Interval,
        Meta(
            description="How long notifications are kept after they are done, for everybody to see; and how long they "
            "wait for a channel that was disabled or taken out of the configuration."
        ),
    ] = Interval("7d")
