"""How a plugin makes a sink of its kind of channel."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from bers.checks import NOTIFICATIONS, Check
from bers.errors import ConfigError, Fault
from bers.notifications.channels import Channels
from bers.notifications.desk import operations
from bers.notifications.messengers import Messenger
from bers.notifications.notifier import Notifier, check_names
from bers.notifications.sender import opened
from bers.stages import Context, DurableSpec


def notifier(
    name: str,
    config: type[Channels],
    messenger: Callable[[Any, Context], Messenger[Any]],
    *,
    check: str = "",
) -> DurableSpec[Any]:
    """A durable sink that tells by this kind of channel.

    ``config`` declares ``channels`` as a tuple of your kind of Channel, and ``messenger`` sends for one of them. All
    the rest is done: the outbox, routing, grouping, retries, the operations below ``/api/monitoring/NAME``, and the
    health check, named ``notifications-NAME`` where ``check`` does not name it.
    """
    return DurableSpec(
        name,
        config,
        partial(Notifier, messenger=messenger),
        operations=operations(name),
        verify=lambda channels, metrics: _verify(name, channels, messenger),
        checks=[
            Check(
                check or f"{NOTIFICATIONS}-{name}",
                Notifier[Any].check,
                f"Whether everybody is told who is to be told of alerts by {name}",
            )
        ],
    )


def _verify(name: str, config: Channels, messenger: Callable[[Any, Context], Messenger[Any]]) -> None:
    """Raise ConfigError with all that a start would refuse: what messengers say when they are made, off the network."""
    check_names(config)
    context, faults = Context(name), list[Fault]()
    for number, channel in enumerate(config.channels):
        try:
            opened(messenger, channel, context, f"channels[{number}]")
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
