"""What is told with an alert: texts, or bounded templates that are compiled once and rendered when an alert changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bers import ConfigError, Template, unknown

LONGEST = 10_000
"""Characters that one annotation may have once it is rendered."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a template may say of an alert. Values are as people read them; raw ones are in the metric's unit."""

    rule: str = ""
    severity: str = ""
    environment: str = ""
    message: str = ""
    value: str = ""
    threshold: str = ""
    unit: str = ""
    labels: Mapping[str, str] = {}
    raw_value: float | None = None
    raw_threshold: float | None = None


KNOWN = frozenset(field.name for field in msgspec.structs.fields(Told))


class Annotations:
    """The annotations of a rule. Plain text costs nothing; jinja2 is loaded where there is a template."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self._templates = {name: _compile(text) for name, text in texts.items() if is_template(text)}

    @property
    def has_templates(self) -> bool:
        return bool(self._templates)

    def render(self, told: Told) -> Mapping[str, str]:
        """All annotations for one alert. One that fails says so in its place: the alert matters more."""
        values = msgspec.structs.asdict(told)
        return {name: self._render(name, text, values) for name, text in self._texts.items()}

    def _render(self, name: str, text: str, values: Mapping[str, Any]) -> str:
        template = self._templates.get(name)
        if template is None:
            return text
        try:
            return template.render(**values)[:LONGEST]
        except Exception as exc:  # Whatever an operator's template does.
            return f"{text} (this template failed: {exc})"[:LONGEST]


def is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


def check(texts: Mapping[str, str], path: str) -> None:
    """Raise ConfigError where a template is none, or speaks of what it is not told."""
    for name, text in texts.items():
        if not is_template(text):
            continue
        key = f"{path}.{name}"
        try:
            template = _compile(text)
        except ValueError as exc:
            raise ConfigError(f"{text[:60]!r} is no template: {exc}; see jinja2's syntax", path=key) from exc
        for word in sorted(template.names - KNOWN):
            raise ConfigError(unknown("variable", word, KNOWN), path=key)


def _compile(text: str) -> Template:
    return Template(text, strict=False)
