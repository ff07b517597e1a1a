"""Configs as somebody types them elsewhere than in a file of ours: read with every fault at its place, and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

import msgspec
import yaml

from bers.config.convert import MISSING, convert
from bers.config.located import Document, Steps, parse_any, spell, steps_of
from bers.config.substitution import refuse_references
from bers.errors import ConfigError, Fault
from bers.plain import as_list
from bers.schemas import default_of, encode

T = TypeVar("T", bound=msgspec.Struct)


class Text(Generic[T]):
    """What somebody wrote: its value, and where in it everything stands."""

    def __init__(self, value: T, document: Document, steps: Steps) -> None:
        self.value = value
        self._document = document
        self._steps = steps

    def located(self, error: ConfigError, *, below: str = "") -> ConfigError:
        """Faults that were found in the value later, each with its place in the text.

        ``below`` is the path that those had it at who found them; what lies elsewhere is told of the whole.
        """
        above = steps_of(below)
        found = [(steps_of(one.path), one.message) for one in error.faults]
        inner = [(steps[len(above) :] if steps[: len(above)] == above else (), message) for steps, message in found]
        faults = [self._document.fault((*self._steps, *steps), message) for steps, message in inner]
        return ConfigError(_bare(faults, self._steps))


def from_yaml(text: str, type: type[T], *, name: str) -> Text[T]:
    """Read a config, or a list with one. Raise ConfigError with everything that is wrong with it, by line and column.

    What ``${env:NAME}`` stands for is not told to whoever may write here: it is a fault.
    """
    document = parse_any(text, name)
    items, steps = as_list(document.value), Steps()
    if items is not None:
        if len(items) != 1:
            raise ConfigError([document.fault((1,) if items else (), f"expected one entry, found {len(items)}")])
        steps = (0,)
    one = items[0] if items else document.value
    if not isinstance(one, dict):
        raise ConfigError(_bare([document.fault(steps, "expected keys such as `name:`; found something else")], steps))
    refuse_references(document)
    value = convert(document, one, type, steps)
    if value is MISSING or document.faults:
        raise ConfigError(_bare(document.faults, steps))
    return Text(value, document, steps)


def as_yaml(value: msgspec.Struct) -> str:
    """A config as somebody would write it: without what is as it would be anyway."""
    return yaml.safe_dump(_written(value), sort_keys=False, allow_unicode=True, width=100)


def _bare(faults: Iterable[Fault], steps: Steps) -> list[Fault]:
    """The same, by paths that begin where the config does."""
    return [Fault(spell(steps_of(one.path)[len(steps) :]), one.message, one.place) for one in dict.fromkeys(faults)]


def _written(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        given = {one.encode_name: (getattr(value, one.name), default_of(one)) for one in fields}
        return {name: _written(here) for name, (here, usual) in given.items() if here != usual}
    if isinstance(value, Mapping):
        return {str(key): _written(here) for key, here in value.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, (list, tuple)):
        return [_written(here) for here in value]  # pyright: ignore[reportUnknownVariableType]
    return msgspec.to_builtins(value, enc_hook=encode)
