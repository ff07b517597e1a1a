"""How long providers take to initialise, and whether they do."""

from collections.abc import Iterable
from typing import Any

from bers import Check, Interval, Metric, Nothing, Operation, SourceSpec, hookimpl
from bers_builtin.sources.providers.config import ProvidersConfig
from bers_builtin.sources.providers.source import Providers, ProviderState

PROVIDERS = SourceSpec(
    "providers",
    ProvidersConfig,
    Providers,
    claims=("provider.*",),
    metrics=(
        Metric(
            "provider_initialization_time",
            "ms",
            "Time that a provider takes to initialise.",
            target=50.0,
            labels=("provider",),
        ),
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
            "providers",
            Providers.list_providers,
            Nothing,
            list[ProviderState],
            "How every provider is, with its breaker.",
        ),
    ),
    checks=(
        Check(
            "provider-health",
            Providers.check,
            "Whether the providers that are probed initialise.",
            interval=Interval("10s"),
        ),
    ),
    log="provider-health",
)


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [PROVIDERS]
