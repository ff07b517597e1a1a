"""The environment of a project directory: detected, resolved, validated, measured."""

from collections.abc import Iterable
from typing import Any

from bers import Check, Interval, Metric, Nothing, Operation, SourceSpec, hookimpl
from bers_builtin.sources._drift import AGREEMENT, DRIFT
from bers_builtin.sources.environment_resolver.config import EnvironmentResolverConfig
from bers_builtin.sources.environment_resolver.source import Cleared, EnvironmentReport, EnvironmentResolver

ENVIRONMENT_RESOLVER = SourceSpec(
    "environment-resolver",
    EnvironmentResolverConfig,
    EnvironmentResolver,
    claims=("environment.detected", "configuration.*"),
    metrics=(
        Metric(
            "environment_detection_time",
            "ms",
            "Time to find out which environment a project is in.",
            target=100.0,
            labels=("source", "confidence"),
        ),
        Metric(
            "environment_detection_total",
            "{detection}",
            "Detections, by the place that gave the answer.",
            better="neither",
            labels=("source", "confidence"),
        ),
        Metric(
            "configuration_resolution_time",
            "ms",
            "Time to read, merge and validate a project's configuration.",
            target=100.0,
            labels=("cached",),
        ),
        Metric(
            "cache_hit_rate",
            "%",
            "Share of resolutions whose result was known already.",
            target=70.0,
            better="higher",
        ),
        Metric(
            "configuration_valid",
            "%",
            "Share of resolutions that gave a valid configuration.",
            target=100.0,
            better="higher",
        ),
        DRIFT,
        AGREEMENT,
        Metric(
            "error_rate",
            "%",
            "Share of detections, resolutions and provider initialisations that failed.",
            target=1.0,
        ),
    ),
    operations=(
        Operation(
            "GET",
            "environment-resolver",
            EnvironmentResolver.report,
            Nothing,
            EnvironmentReport,
            "The environment that was detected, and where each value comes from.",
        ),
        Operation(
            "POST",
            "environment-resolver/clear-cache",
            EnvironmentResolver.clear_cache,
            Nothing,
            Cleared,
            "Forget what was resolved, and look again at once.",
            scope="admin",
        ),
    ),
    checks=(
        Check(
            "environment-resolver",
            EnvironmentResolver.check_detection,
            "Whether the environment is detected, and without contradiction.",
            critical=True,
        ),
        Check(
            "configuration-validity",
            EnvironmentResolver.check_configuration,
            "Whether the configuration of that environment is valid.",
            interval=Interval("60s"),
        ),
    ),
    log="environment-resolver",
)


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [ENVIRONMENT_RESOLVER]
