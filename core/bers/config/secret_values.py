"""The values of secrets that a configuration brought along, for what is written to be searched for them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from bers.config.located import Document, Steps
from bers.config.settings import RedactionSettings
from bers.config.substitution import names_secret
from bers.plain import as_list, as_object
from bers.redaction import Redactor, Secret, is_secret_variable, pieces

SHORTEST_VARIABLE = 8
"""Characters; a shorter value of a variable that the configuration does not name is more likely a word."""


def redactor(
    document: Document,
    settings: RedactionSettings,
    configs: Iterable[object] = (),
    environ: Mapping[str, str] | None = None,
) -> Redactor:
    """What masks for a node of this configuration. ``configs`` are what its stages were given."""
    found = [*document.secrets, *_named(document.value, ()), *(secret for one in configs for secret in _typed(one))]
    found += [
        value
        for name, value in (os.environ if environ is None else environ).items()
        if is_secret_variable(name) and len(value) >= SHORTEST_VARIABLE
    ]
    return Redactor(
        (piece for secret in found for piece in pieces(secret)),
        names=settings.names,
        patterns=settings.patterns,
        emails=settings.emails,
    )


def _named(value: Any, steps: Steps) -> Iterator[str]:
    """Every text of a document that stands under the name of a secret."""
    if (fields := as_object(value)) is not None:
        for key, inner in fields.items():
            yield from _named(inner, (*steps, key))
    elif (items := as_list(value)) is not None:
        for inner in items:
            yield from _named(inner, steps)
    elif isinstance(value, str) and names_secret(steps):
        yield value


def _typed(config: object) -> Iterator[str]:
    """Every secret of a config, however deep."""
    if isinstance(config, Secret):
        yield config.reveal()
    elif isinstance(config, msgspec.Struct):
        for name in config.__struct_fields__:
            yield from _typed(getattr(config, name))
    elif isinstance(config, Mapping):
        for inner in config.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _typed(inner)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(config, (list, tuple)):
        for inner in config:  # pyright: ignore[reportUnknownVariableType]
            yield from _typed(inner)  # pyright: ignore[reportUnknownArgumentType]
