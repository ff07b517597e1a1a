"""What the view of operations shows at first: the configuration, dead letters, and the channels of every sink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec


class Configuration(msgspec.Struct, frozen=True):
    """What the page takes from the report of the configuration."""

    generation: int
    hash: str
    file: str
    result: str = "ok"


class Letter(msgspec.Struct, rename="camel", frozen=True):
    """What the page takes from a dead letter."""

    id: int
    pipeline: str
    stage: str
    reason: str
    records: int
    last_error: str | None = ""


class Channel(msgspec.Struct, rename="camel", frozen=True):
    """What the page takes from a channel."""

    name: str
    state: str
    last_error: str | None = ""


class StageRow(msgspec.Struct, frozen=True):
    """What the page takes from a stage: channels are asked for by what the stage uses."""

    use: str
    kind: str


class PanelRow(msgspec.Struct, frozen=True):
    """A part of a view that a plugin draws, with the address of its module."""

    name: str
    view: str
    title: str
    module: str


@dataclass
class Operating:
    """What there is to look after."""

    configuration: Configuration | None = None
    letters: Sequence[Letter] = ()
    channels: Mapping[str, list[Channel]] = field(default_factory=dict[str, list[Channel]])
    """Those of each sink that tells anybody, by what the sink is an instance of."""
    resolves: bool = False
    """Whether the environment is resolved here, so that there is a resolver to ask."""
