"""A look at a metric: what the store knows of it, against thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bers.catalog import Metric
from bers.checks import Finding, Status
from bers.health.damping import worst
from bers.health.kinds import MetricCheck
from bers.plain import as_number
from bers.stages import Call
from bers.units import format_duration, format_value, quantity

_FIGURES = {
    "last": "current", "mean": "average", "min": "min", "max": "max", "p50": "p50", "p95": "p95", "p99": "p99",
    "count": "count",
}  # fmt: skip
"""What the store calls what is compared."""


class MetricLook:
    """Asks the store, one look after another."""

    def __init__(self, settings: MetricCheck, metric: Metric, call: Call) -> None:
        self._settings = settings
        self._call = call
        self._unit = settings.unit(metric.unit)
        self._limits = {
            name: quantity(text, self._unit) for name, text in settings.thresholds.items() if text is not None
        }

    async def look(self) -> Finding:
        """Ask once. Raise Refused where there is no store that answers."""
        settings = self._settings
        window = max(1, round(settings.window * 1000))
        asked = {"period": str(window), "points": 1, "limit": 1}
        if settings.labels:
            asked["labels"] = ",".join(f"{name}={value}" for name, value in settings.labels.items())
        answer: Mapping[str, Any] = await self._call("GET", f"metrics/{settings.name}", asked)
        count = as_number(answer.get("count")) or 0
        value = as_number(answer.get(_FIGURES[settings.aggregate]))
        details = {
            "metric": settings.name, "aggregate": settings.aggregate, "value": value, "unit": self._unit,
            "samples": count, "windowMs": window,
        }  # fmt: skip
        if settings.aggregate != "count" and (value is None or not count):
            return Finding(settings.no_data, f"no sample in {format_duration(float(settings.window))}", details)
        found = list(self._faults(float(value or 0)))
        what = f"{settings.aggregate} of {settings.name} is {format_value(value, self._unit)}"
        if not found:
            return Finding("healthy", what, details)
        return Finding(worst([status for status, _ in found]), f"{what}, {found[0][1]}", details)

    def _faults(self, value: float) -> Iterator[tuple[Status, str]]:
        for status in ("unhealthy", "degraded"):
            above, below = self._limits.get(f"{status}_above"), self._limits.get(f"{status}_below")
            if above is not None and value > above:
                yield status, f"and more than {format_value(above, self._unit)}"
            elif below is not None and value < below:
                yield status, f"and less than {format_value(below, self._unit)}"
