"""Drift: settings that one environment has and another lacks. That values differ is what environments are for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from bers import Event, Metric, Table
from bers_builtin.sources._runs import labelled

DRIFT = Metric(
    "environment_drift_count",
    "{key}",
    "Settings that one of two environments has and the other lacks.",
    labels=("pair",),
)

AGREEMENT = Metric(
    "cross_environment_validation",
    "%",
    "Share of the comparisons between environments that find no fault.",
    better="higher",
    labels=("environment",),
)

MAX_KEYS = 1_000
"""Settings of one environment; where there are more, nothing is compared."""

_MAX_ENVIRONMENTS = 20
_MAX_DEPTH = 16
_WHERE = "\tconfigurations"


@dataclass(frozen=True)
class Pair:
    """Two environments, compared."""

    name: str
    missing: Mapping[str, Sequence[str]]
    """What each of them lacks, in order."""

    @property
    def count(self) -> int:
        return sum(map(len, self.missing.values()))


def compare(one: str, others: Mapping[str, Collection[str]]) -> list[Pair]:
    """Compare one environment with each of the others, by the names of their settings."""
    return [_pair(one, other, others) for other in others if other != one]


def compare_all(known: Mapping[str, Collection[str]]) -> list[Pair]:
    """Compare each with each."""
    return [_pair(one, other, known) for one, other in combinations(known, 2)]


def drift(event: Event, table: Table) -> list[Event]:
    """What an event about an environment says of drift, if it tells the configuration or its keys in its data.

    It is compared with what was told last of the other environments of its service.
    """
    environment = event.environment or event.subject
    if not environment:
        return []
    key = f"{event.service or ''}{_WHERE}"
    before = table.get(key)
    known: dict[str, Any] = dict(before.data) if before else {}
    if (last := known.get(environment)) and last["time"] > event.time:
        return []  # News of old.
    if event.type == "environment.deleted":
        known[environment] = {"time": event.time, "keys": None}
        found: list[str] | None = None
    else:
        found = keys(event.data)
        if found is None:
            return []
        known[environment] = {"time": event.time, "keys": found}
    while len(known) > _MAX_ENVIRONMENTS:
        del known[min(known, key=lambda name: known[name]["time"])]
    table.put(key, Event("", "", "", event.time, data=known, received=event.received))
    if found is None:
        return []
    others = {name: of["keys"] for name, of in known.items() if of["keys"] is not None}
    return [
        labelled(event, DRIFT.name, {"pair": pair.name}, float(pair.count)) for pair in compare(environment, others)
    ]


def keys(data: Mapping[str, Any]) -> list[str] | None:
    """The names of the settings that an event tells: a list in ``keys``, or all that ``configuration`` has."""
    listed, configuration = data.get("keys"), data.get("configuration")
    if isinstance(listed, list):
        found = {str(name) for name in listed}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    elif isinstance(configuration, dict):
        found = set(paths(configuration))  # pyright: ignore[reportUnknownArgumentType]
    else:
        return None
    return sorted(found) if len(found) <= MAX_KEYS else None


def paths(settings: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """The names of settings, those in others with a dot."""
    for name, value in settings.items():
        if isinstance(value, dict) and value and depth < _MAX_DEPTH:
            for inner in paths(value, depth + 1):  # pyright: ignore[reportUnknownArgumentType]
                yield f"{name}.{inner}"
        else:
            yield name


def _pair(one: str, other: str, known: Mapping[str, Collection[str]]) -> Pair:
    first, second = sorted((one, other))
    has, had = set(known[first]), set(known[second])
    return Pair(f"{first}/{second}", {first: sorted(had - has), second: sorted(has - had)})
