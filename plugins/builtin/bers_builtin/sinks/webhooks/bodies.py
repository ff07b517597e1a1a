"""What a webhook is sent: a notice in the channel's format, or what the operator's template makes of it."""

from __future__ import annotations

from typing import Any

import msgspec

from bers import Event, Notice, Template, as_cloudevent, redact, rfc3339
from bers_builtin.sinks.webhooks import alertmanager, slack
from bers_builtin.sinks.webhooks.config import Webhook


class Body:
    """Makes bodies. Raise ValueError, here or in :meth:`of`, where the template does not make JSON."""

    def __init__(self, channel: Webhook) -> None:
        self._channel = channel
        self._template = Template(channel.template) if channel.template else None

    @property
    def media(self) -> str:
        if self._template or self._channel.format != "cloudevents":
            return "application/json"
        return "application/cloudevents-batch+json" if self._channel.group else "application/cloudevents+json"

    def of(self, notice: Notice) -> bytes:
        """The body that tells of a notice, without its secrets."""
        if self._template:
            return self._rendered(self._template, notice)
        document: Any
        match self._channel.format:
            case "slack":
                document = slack.message(notice)
            case "alertmanager":
                document = alertmanager.webhook(notice, self._channel.external_url)
            case "alertmanager-api":
                document = alertmanager.posted(notice, self._channel.external_url)
            case "cloudevents":
                documents = [as_cloudevent(event) for event in notice.events]
                return msgspec.json.encode(documents if self._channel.group else documents[0])
        return msgspec.json.encode(redact(document))

    def _rendered(self, template: Template, notice: Notice) -> bytes:
        events = [_fields(event) for event in notice.events]
        told = {"id": notice.id, "channel": notice.channel, "headline": notice.headline, "text": notice.text}
        try:
            text = template.render(event=events[0], events=events, notice={**told, "group": dict(notice.group or {})})
            msgspec.json.decode(text)
        except (ValueError, msgspec.DecodeError) as exc:
            raise ValueError(f"the template does not make JSON of {notice.events[0].type}: {exc}") from exc
        return text.encode()


def _fields(event: Event) -> dict[str, Any]:
    fields: dict[str, Any] = redact(msgspec.to_builtins(event))
    return _DEFAULTS | fields | {"time": rfc3339(event.time)}


_DEFAULTS: dict[str, Any] = {
    "subject": "",
    "environment": None,
    "outcome": None,
    "reason": None,
    "duration_ms": None,
    "service": None,
    "version": None,
    "artifact": None,
    "measures": {},
    "labels": {},
    "data": {},
}
"""Fields that an event may have: a template may ask for them whether it has or not."""
