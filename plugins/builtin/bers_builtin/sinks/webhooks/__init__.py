"""Tell others of alerts by HTTP: durably, in order, with an id that stays the same in every attempt."""

from __future__ import annotations

from bers_builtin.sinks.webhooks.config import Channel, WebhooksConfig
from bers_builtin.sinks.webhooks.stage import WEBHOOKS, ListDeliveries, Webhooks, bers_sinks

__all__ = ["WEBHOOKS", "Channel", "ListDeliveries", "Webhooks", "WebhooksConfig", "bers_sinks"]
