"""The metrics there are: each declared once, by the spec that measures it, with a unit and a target."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from bers.errors import PluginError, Refused, unknown

Better: TypeAlias = Literal["lower", "higher", "neither"]

RESERVED = frozenset({"report", "current", "restart", "clear-cache", "stats", "circuit-breakers"})
"""Names that routes beside ``metrics/{type}`` use."""

UNIT = re.compile(r"ms|s|By|By/s|%|1|\{[a-z][a-z _-]*\}")
"""What the unit of a metric can be."""

_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")


@dataclass(frozen=True)
class Metric:
    """A name for numbers. ``unit`` is UCUM's: ms, s, By, By/s, %, 1, or a noun in braces such as {test}."""

    name: str
    unit: str
    description: str
    target: float | None = None
    """What is to be reached, in the metric's unit."""
    better: Better = "lower"
    """On which side of its target a value should lie."""
    labels: tuple[str, ...] = ()
    """The labels that split it into series; other labels of an event do not."""
    title: str = ""
    """What people call it, where that is not the name with spaces."""

    def meets(self, value: float) -> bool:
        """Whether a value is on the right side of the target; without a target every value is."""
        if self.target is None or self.better == "neither":
            return True
        return value <= self.target if self.better == "lower" else value >= self.target

    @property
    def counts(self) -> bool:
        """Whether its values say how many there were, so that they are added up rather than looked at."""
        return self.name.endswith("_total") and self.unit.startswith("{")

    @property
    def prometheus(self) -> str:
        """The name in Prometheus' conventions: base units, ``bers_`` in front, ``_total`` behind what is counted."""
        stem = self.name.removesuffix("_time").removesuffix("_total").removesuffix("_count")
        return f"bers_{stem}{'_total' if self.counts else _SUFFIXES.get(self.unit, '')}"

    @property
    def scale(self) -> float:
        """What to multiply a value with to get Prometheus' base unit."""
        return _SCALES.get(self.unit, 1.0)


_SUFFIXES = {"ms": "_seconds", "s": "_seconds", "By": "_bytes", "By/s": "_bytes_per_second", "%": "_ratio"}
_SCALES = {"ms": 1e-3, "%": 1e-2}


class Catalog(Mapping[str, Metric]):
    """Every metric of the loaded specs, by name."""

    def __init__(self, metrics: Iterable[Metric] = ()) -> None:
        self._metrics: dict[str, Metric] = {}
        self._exposed: dict[str, str] = {}
        """Which metric has a name in Prometheus."""
        for metric in metrics:
            self._add(metric)

    def __getitem__(self, name: str) -> Metric:
        return self._metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __len__(self) -> int:
        return len(self._metrics)

    def find(self, name: str) -> Metric:
        """The metric of that name; raise Refused with those there are."""
        if name not in self._metrics:
            raise Refused("not_found", unknown("metric", name, self._metrics), known=self._metrics)
        return self._metrics[name]

    def adopt(self, other: Catalog) -> None:
        """Take the metrics of another catalogue: whoever was lent this one sees them from now on."""
        self._metrics, self._exposed = other._metrics, other._exposed

    def with_targets(self, targets: Mapping[str, float]) -> Catalog:
        """The same metrics, some with targets of their own."""
        return Catalog(
            replace(metric, target=targets[metric.name]) if metric.name in targets else metric
            for metric in self._metrics.values()
        )

    def _add(self, metric: Metric) -> None:
        if not _NAME.fullmatch(metric.name) or metric.name in RESERVED:
            reserved = ", ".join(sorted(RESERVED))
            raise PluginError(
                f"{metric.name!r} cannot name a metric; names are lower_snake_case, and none of: {reserved}"
            )
        known = self._metrics.get(metric.name)
        if known and known != metric:
            raise PluginError(f"metric {metric.name!r} is declared twice, and differently")
        other = self._exposed.setdefault(metric.prometheus.removesuffix("_total"), metric.name)
        if other != metric.name:
            raise PluginError(
                f"metrics {other!r} and {metric.name!r} would both be {metric.prometheus!r} in Prometheus; rename one"
            )
        self._metrics[metric.name] = metric
