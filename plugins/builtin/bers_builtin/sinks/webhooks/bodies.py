"""What a channel is told: the event as a CloudEvent, or what the operator's template makes of it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from bers import Event, as_cloudevent, redact, rfc3339

if TYPE_CHECKING:
    from jinja2 import Template


class Body:
    """Makes bodies. Raise ValueError, here or in :meth:`of`, where the template does not make JSON."""

    def __init__(self, template: str) -> None:
        self._source = template
        if template:
            _ = self._template  # Compiled now, so that a fault in it is found before the first alert.

    @property
    def media(self) -> str:
        return "application/json" if self._source else "application/cloudevents+json"

    def of(self, event: Event) -> bytes:
        """The body that tells of an event, without its secrets."""
        if not self._source:
            return msgspec.json.encode(as_cloudevent(event))
        from jinja2 import TemplateError

        fields: dict[str, Any] = redact(msgspec.to_builtins(event))
        try:
            text = self._template.render(event=_DEFAULTS | fields | {"time": rfc3339(event.time)})
            msgspec.json.decode(text)
        except (TemplateError, TypeError, ArithmeticError, msgspec.DecodeError) as exc:
            raise ValueError(f"the template does not make JSON of {event.type}: {exc}") from exc
        return text.encode()

    @cached_property
    def _template(self) -> Template:
        from jinja2 import StrictUndefined, TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        try:
            # JSON is not HTML: `tojson` is what quotes here.
            return ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False).from_string(self._source)
        except TemplateError as exc:
            line = getattr(exc, "lineno", None)
            raise ValueError(f"the template cannot be read{f', line {line}' if line else ''}: {exc}") from exc


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
