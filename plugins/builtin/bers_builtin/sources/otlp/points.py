"""Points of metrics as events: what a sender said, which metric of the catalogue that is, and in which unit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from math import isfinite
from typing import Any, NamedTuple, TypeAlias

import msgspec

from bers import Catalog
from bers_builtin.sources.otlp import bounds, conventions
from bers_builtin.sources.otlp.messages import (
    CUMULATIVE,
    NO_VALUE,
    Attributes,
    ExponentialPoint,
    HistogramPoint,
    Metric,
    MetricTold,
    NumberPoint,
    Point,
    SummaryPoint,
    attributes,
)
from bers_builtin.sources.otlp.told import MAX_BUCKETS, MAX_COUNT, MAX_VALUE, Kind, Told, buckets
from bers_builtin.sources.otlp.units import factor

TYPE = "otlp.point"

Document: TypeAlias = dict[str, Any]


class Unknown(ValueError):
    """A metric that nothing here stands for."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:100]!r} is no metric of this server; name the one that it is in `metrics` of the source"
        )
        self.name = name


class Series(NamedTuple):
    """The points of one metric of one sender."""

    metric: Metric
    points: Sequence[Point]
    kind: Kind
    cumulative: bool
    monotonic: bool


class Names:
    """Which metric of the catalogue each metric of OpenTelemetry is, and in which unit it comes."""

    def __init__(self, catalog: Catalog, chosen: Mapping[str, tuple[str, str]]) -> None:
        """``chosen`` has what the configuration says: the metric, and the unit where the sender names none."""
        self._catalog = catalog
        self._chosen = chosen

    def find(self, metric: Metric, said: Attributes) -> tuple[str, str, float, tuple[str, ...]] | None:
        """What a point goes to, the metric of the catalogue for that, the factor of its unit, and the labels it has;
        None where it is known and says nothing here. Raise ValueError where that cannot be.
        """
        goal, unit = self._chosen.get(metric.name, ("", ""))
        name = goal
        if not goal:
            name = metric.name.replace(".", "_")
            if metric.name in conventions.SAID_AGAIN:
                return None
            if metric.name in conventions.DURATIONS:
                found = conventions.pipeline_runs(said)
                if found is None:
                    return None
                goal, name = found, "build_performance" if found == conventions.RUN else found
        if name not in self._catalog:
            raise Unknown(metric.name)
        mine = self._catalog[name]
        scale = factor(metric.unit or unit, mine.unit)
        if scale is None:
            raise ValueError(f"{metric.name[:100]!r} is in {metric.unit or unit!r}, and {name} in {mine.unit!r}")
        return goal or name, name, scale, mine.labels


def documents(told: Iterable[MetricTold | None], names: Names) -> Iterator[Document | ValueError | None]:
    """Each point as the document of an event, or what is wrong with it, in their order; at a None others have their
    turn.
    """
    idle = 0
    for one in told:
        if one is None:
            yield None
            continue
        resource, scope, metric = one
        series = _series(metric)
        idle += not (series and series.points)
        if idle > bounds.MAX_IDLE:
            raise bounds.idle_too_long()
        for point in series.points if series else ():
            if not series or point.flags & NO_VALUE:
                continue
            own = attributes(point.attributes)
            try:
                found = _document(series, point, resource | own, names)
            except ValueError as exc:
                yield exc
                continue
            except OverflowError:
                yield ValueError(f"{metric.name[:100]!r}: a number of a point is beyond all numbers")
                continue
            if found:
                stream = _digest([resource, scope, metric.name, metric.unit, series.kind, own])
                found |= {"source": conventions.source(resource), "subject": stream}
                found["id"] = f"{stream}.{point.start_time_unix_nano:x}.{point.time_unix_nano:x}"
                yield found


def _series(metric: Metric) -> Series | None:
    if metric.gauge:
        return Series(metric, metric.gauge.data_points, "gauge", False, False)
    if one := metric.sum:
        cumulative = one.aggregation_temporality == CUMULATIVE
        return Series(metric, one.data_points, "sum", cumulative, one.is_monotonic)
    if histogram := metric.histogram:
        cumulative = histogram.aggregation_temporality == CUMULATIVE
        return Series(metric, histogram.data_points, "histogram", cumulative, True)
    if exponential := metric.exponential_histogram:
        cumulative = exponential.aggregation_temporality == CUMULATIVE
        return Series(metric, exponential.data_points, "exponential", cumulative, True)
    return Series(metric, metric.summary.data_points, "summary", True, True) if metric.summary else None


def _document(series: Series, point: Point, said: Attributes, names: Names) -> Document | None:
    """The event of one point, but for who says it; None where there is nothing to say. Raise ValueError where it is
    wrong.
    """
    metric = series.metric
    found = names.find(metric, said)
    if found is None:
        return None
    if not 0 < point.time_unix_nano < 1 << 63 or not 0 <= point.start_time_unix_nano < 1 << 63:
        raise ValueError(f"{metric.name[:100]!r}: a point has no time")
    goal, _, scale, wanted = found
    told = _told(series, point, goal, scale)
    underscored = {name.replace(".", "_"): name for name in said}
    labels = {name: _label(said[underscored[name]]) for name in wanted if name in underscored}
    return {
        "type": TYPE,
        "time": point.time_unix_nano / 1e9,
        **conventions.fields(said),
        "labels": {name: text for name, text in labels.items() if text},
        "origin": f"otlp/{metric.name}",
        "data": {"point": msgspec.to_builtins(told)},
    }


def _told(series: Series, point: Point, goal: str, scale: float) -> Told:
    """What a point says, as far as it can be counted; raise ValueError where nobody could mean it."""
    told = Told(
        series.kind,
        point.time_unix_nano,
        metric=series.metric.name,
        goal=goal,
        start=point.start_time_unix_nano,
        unit=series.metric.unit,
        scale=scale,
        cumulative=series.cumulative,
        monotonic=series.monotonic,
    )
    if isinstance(point, NumberPoint):
        value = point.as_double if point.as_double is not None else point.as_int
        if value is None:
            raise ValueError(f"{told.metric!r}: a point has no value")
        told = msgspec.structs.replace(told, value=float(value))
        numbers: list[float | None] = [told.value]
    else:
        told = _distribution(told, point)
        numbers = [told.sum, told.min, told.max, *told.bounds, *(number for pair in told.quantiles for number in pair)]
    # A bound may be infinite by mistake of a sender, a value by arithmetic: neither can be added up.
    if any(number is not None and not (isfinite(number) and abs(number) <= MAX_VALUE) for number in numbers):
        raise ValueError(f"{told.metric!r}: a number of a point is not finite, or beyond {MAX_VALUE:g}")
    if not isinstance(point, NumberPoint):
        _check(told)
    return told


def _distribution(told: Told, point: HistogramPoint | ExponentialPoint | SummaryPoint) -> Told:
    _check_size(told, point)
    told = msgspec.structs.replace(told, count=point.count, sum=point.sum)
    if isinstance(point, SummaryPoint):
        return msgspec.structs.replace(told, quantiles=[(one.quantile, one.value) for one in point.quantile_values])
    told = msgspec.structs.replace(told, min=point.min, max=point.max)
    if isinstance(point, HistogramPoint):
        return msgspec.structs.replace(told, bounds=point.explicit_bounds, buckets=point.bucket_counts)
    positive, negative = point.positive, point.negative
    return msgspec.structs.replace(
        told,
        resolution=point.scale,
        zero=point.zero_count,
        zero_width=point.zero_threshold,
        positive=(positive.offset, positive.bucket_counts) if positive else (0, []),
        negative=(negative.offset, negative.bucket_counts) if negative else (0, []),
    )


def _check_size(told: Told, point: HistogramPoint | ExponentialPoint | SummaryPoint) -> None:
    """Raise ValueError where there are more numbers in a point than anybody sends, before they are looked at."""
    if isinstance(point, SummaryPoint):
        lists: list[Sequence[Any]] = [point.quantile_values]
    elif isinstance(point, HistogramPoint):
        lists = [point.explicit_bounds, point.bucket_counts]
    else:
        lists = [side.bucket_counts for side in (point.positive, point.negative) if side]
    if (most := max(map(len, lists), default=0)) > MAX_BUCKETS:
        raise ValueError(f"{told.metric!r}: {most} buckets are too many; at most {MAX_BUCKETS}")


def _check(told: Told) -> None:
    counts = [told.count, told.zero, *told.buckets, *told.positive[1], *told.negative[1]]
    if not all(0 <= count <= MAX_COUNT for count in counts):
        raise ValueError(f"{told.metric!r}: a count is out of range; at most {MAX_COUNT:g}")
    found = sum(one.number for one in buckets(told))
    if found != told.count:
        raise ValueError(f"{told.metric!r}: the buckets hold {found} values, and the point says {told.count}")


def _label(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text[:200]


def _digest(parts: Sequence[Any]) -> str:
    """What tells one stream from all others, whatever the order of its attributes."""
    return blake2b(msgspec.json.encode(parts, order="deterministic"), digest_size=12).hexdigest()
