"""How good a figure is, by the bands of the State of DevOps report that last published them for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import ge, le, lt
from typing import Literal, TypeAlias

Band: TypeAlias = Literal["elite", "high", "medium", "low"]

YEAR = 2023

_HOUR = 3_600_000.0
_DAY = 24 * _HOUR
_BETTER: tuple[Band, ...] = ("elite", "high", "medium")
_LIMITS: Mapping[str, tuple[Callable[[float, float], bool], tuple[float, float, float]]] = {
    "change_lead_time": (lt, (_DAY, 7 * _DAY, 30 * _DAY)),
    "failed_deployment_recovery_time": (lt, (_HOUR, _DAY, 7 * _DAY)),
    "change_fail_rate": (le, (5.0, 10.0, 15.0)),
    "deployment_frequency": (ge, (1.0, 1 / 7, 1 / 30)),
}
"""How a value is compared with what, to be of each band but the last: milliseconds, per cent, deployments per day."""


def band(figure: str, value: float | None) -> Band | None:
    """The band of a value; None where there is no value, or where nobody has published bands."""
    if value is None or figure not in _LIMITS:
        return None
    within, limits = _LIMITS[figure]
    for one, limit in zip(_BETTER, limits, strict=True):
        if within(value, limit):
            return one
    return "low"
