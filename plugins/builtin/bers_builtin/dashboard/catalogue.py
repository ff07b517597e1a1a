"""Every metric that this server knows, as the start page of metrics lists it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bers import Catalog, format_value
from bers_builtin.dashboard.view import Summary


@dataclass(frozen=True)
class Tile:
    """One metric; ``current`` is empty where nothing was measured yet."""

    name: str
    title: str
    unit: str
    description: str
    current: str


def tiles(metrics: Mapping[str, Any], catalog: Catalog) -> list[Tile]:
    """Every metric of the catalogue, in its order: those of one plugin stand together."""
    found: list[Tile] = []
    for name, metric in catalog.items():
        measured = msgspec.convert(metrics.get(name, {}), Summary)
        title = measured.title or metric.title or name.replace("_", " ").capitalize()
        current = "" if measured.current is None else format_value(measured.current, metric.unit)
        found.append(Tile(name, title, metric.unit, metric.description, current))
    return found
