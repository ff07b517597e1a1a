"""The runbook's own configuration keys, and what each of them changes in pipelines.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from bers.config.located import Steps
from bers.units import format_duration

Change: TypeAlias = tuple[Steps, Any]


def _plain(*steps: str) -> Callable[[Any], list[Change]]:
    return lambda value: [(steps, value)]


def _milliseconds(*paths: Steps) -> Callable[[Any], list[Change]]:
    return lambda value: [(steps, format_duration(value / 1000)) for steps in paths]


def _kept(name: str, seconds: float) -> Callable[[Any], list[Change]]:
    return lambda value: [(("processors", "retention", name), format_duration(value * seconds))]


def _target(metric: str, unit: str) -> Callable[[Any], list[Change]]:
    return lambda value: [(("metrics", metric, "target"), f"{value}{unit}")]


_ALERTS = ("sinks", "alert-engine")
_DEDUPLICATION = {
    "enabled": _plain(*_ALERTS, "deduplication", "enabled"),
    "window": _milliseconds((*_ALERTS, "deduplication", "window")),
}
_RATE_LIMITING = {
    "maxAlerts": _plain(*_ALERTS, "rate_limiting", "max_alerts"),
    "window": _milliseconds((*_ALERTS, "rate_limiting", "window")),
}

KEYS: Mapping[str, Any] = {
    "environment": _plain("environment"),
    "deployment": {
        "dashboardPort": _plain("server", "control"),
        "healthPort": _plain("server", "health"),
        "metricsPort": _plain("server", "metrics"),
        "host": _plain("server", "host"),
        "logLevel": _plain("log", "level"),
        "logFolder": _plain("log", "folder"),
        "dataDir": _plain("data_dir"),
    },
    "performance": {
        "targets": {
            "configurationResolution": _target("configuration_resolution_time", "ms"),
            "providerInitialization": _target("provider_initialization_time", "ms"),
            "buildTime": _target("build_performance", "ms"),
            "deploymentTime": _target("deployment_performance", "ms"),
            "testCoverage": _target("test_coverage", "%"),
            "errorRate": _target("error_rate", "%"),
        },
        "optimization": {
            "sampling": {
                "adaptive": _plain("processors", "sampling", "adaptive"),
                "rate": _plain("processors", "sampling", "rate"),
                "thresholdTrigger": _milliseconds(("processors", "sampling", "threshold_trigger")),
            }
        },
    },
    "monitoring": {
        "metricsGranularity": _milliseconds(("sources", "host", "interval"), ("processors", "windows", "window")),
        "retentionPolicies": {
            "realtime": _kept("realtime", 1),
            "shortTerm": _kept("short_term", 60),
            "mediumTerm": _kept("medium_term", 86400),
            "longTerm": _kept("long_term", 86400),
        },
        "dashboardRefreshInterval": _milliseconds(("sinks", "dashboard", "refresh")),
    },
    "alerting": {"deduplication": _DEDUPLICATION, "rateLimiting": _RATE_LIMITING},
    # The runbook shows these at the top too; both spellings mean the same.
    "deduplication": _DEDUPLICATION,
    "rateLimiting": _RATE_LIMITING,
}
"""Every key of the runbook's dictionary, and what it changes in pipelines.yaml."""
