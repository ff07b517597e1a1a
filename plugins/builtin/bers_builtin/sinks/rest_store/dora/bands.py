"""How good a figure is, by the bands of the State of DevOps report that last published them for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

Band: TypeAlias = Literal["elite", "high", "medium", "low"]

YEAR = 2023

_HOUR = 3_600_000.0
_DAY = 24 * _HOUR
_NAMES: tuple[Band, ...] = ("elite", "high", "medium", "low")
_BELOW: Mapping[str, tuple[float, float, float]] = {
    "change_lead_time": (_DAY, 7 * _DAY, 30 * _DAY),
    "failed_deployment_recovery_time": (_HOUR, _DAY, 7 * _DAY),
}
"""Milliseconds below which a time is of each of the first three bands."""
_AT_MOST = {"change_fail_rate": (5.0, 10.0, 15.0)}
"""Per cent up to which a rate is of each of the first three bands."""
_AT_LEAST = {"deployment_frequency": (1.0, 1 / 7, 1 / 30)}
"""Deployments per day from which on a frequency is of each of the first three bands."""


def band(figure: str, value: float | None) -> Band | None:
    """The band of a value; None where there is no value, or where nobody has published bands."""
    if value is None:
        return None
    tests: tuple[tuple[Mapping[str, tuple[float, ...]], Callable[[float], bool]], ...] = (
        (_BELOW, lambda limit: value < limit),
        (_AT_MOST, lambda limit: value <= limit),
        (_AT_LEAST, lambda limit: value >= limit),
    )
    for limits, within in tests:
        if figure in limits:
            return _NAMES[next((n for n, limit in enumerate(limits[figure]) if within(limit)), 3)]
    return None
