"""What `pipelines.yaml` can say about OpenTelemetry."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from bers import Catalog, Config, ConfigError, Interval, unknown
from bers_builtin.sources.otlp.units import factor


class Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One metric of OpenTelemetry, and what it is here."""

    name: Annotated[
        str, Meta(min_length=1, max_length=255, description="Its name at the sender: `http.server.request.duration`.")
    ]
    metric: Annotated[
        str,
        Meta(
            description="The metric that it is here: one of the reference, or of your own, declared below `metrics:`."
        ),
    ]
    unit: Annotated[
        str,
        Meta(
            max_length=40, description="The unit of its values, in UCUM, as in s or KiBy; for senders that name none."
        ),
    ] = ""


class OtlpConfig(Config, frozen=True):
    """Take metrics and events that OpenTelemetry's SDKs and collectors send, at `/v1/metrics` and `/v1/logs`."""

    metrics: Annotated[
        tuple[Chosen, ...],
        Meta(
            description="Which metrics of OpenTelemetry are which of this server. Those that have the same name here, "
            "with `_` for each dot, and those of the conventions for CI/CD need no mention; others are rejected."
        ),
    ] = ()
    count_from_start: Annotated[
        Interval,
        Meta(
            description="A sum or a histogram that is told since its start, and comes for the first time, is counted "
            "whole where it started within this time. Where it started earlier, counting begins with its next point."
        ),
    ] = Interval("1h")


def verify(config: OtlpConfig, metrics: Catalog) -> None:
    """Raise ConfigError where a metric is not there, or has another kind of unit."""
    seen: set[str] = set()
    for number, one in enumerate(config.metrics):
        here = f"metrics[{number}]"
        if one.name in seen:
            raise ConfigError(f"{one.name!r} is named twice; remove one of them", path=f"{here}.name")
        seen.add(one.name)
        if one.metric not in metrics:
            message = unknown("metric", one.metric, metrics)
            raise ConfigError(f"{message}; declare your own below `metrics:`, with its unit", path=f"{here}.metric")
        if factor(one.unit, mine := metrics[one.metric].unit) is None:
            raise ConfigError(f"{one.unit!r} cannot be converted to {mine!r}", path=f"{here}.unit")
