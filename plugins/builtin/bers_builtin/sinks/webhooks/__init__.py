"""Tell others of alerts by HTTP: durably, in order, signed, with an id that stays the same in every attempt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bers import DurableSpec, hookimpl, notifier
from bers_builtin.sinks.webhooks.config import Webhook, WebhooksConfig
from bers_builtin.sinks.webhooks.messenger import WebhookMessenger

__all__ = ["WEBHOOKS", "Webhook", "WebhookMessenger", "WebhooksConfig", "bers_sinks"]

WEBHOOKS = notifier("webhooks", WebhooksConfig, WebhookMessenger, check="notifications")


@hookimpl
def bers_sinks() -> Iterable[DurableSpec[Any]]:
    return [WEBHOOKS]
