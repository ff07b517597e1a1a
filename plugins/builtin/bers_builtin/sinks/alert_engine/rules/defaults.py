"""The runbook's rules."""

from __future__ import annotations

from collections.abc import Sequence

from bers import Duration, Interval, Percent, Quantity
from bers_builtin.sinks.alert_engine.rules import FAILED, Clears, Rule

_TARGET = Quantity("target")
_DEPLOYED = Clears(event=["deployment.finished", "service.deployed", "service.upgraded"], outcome="success")

DEFAULTS: Sequence[Rule] = (
    Rule(
        name="Configuration Resolution Slow",
        severity="warning",
        metric="configuration_resolution_time",
        above=_TARGET,
        for_=Duration("60s"),
        annotations={
            "summary": "Resolving the configuration takes longer than its target.",
            "step": "Check cache_hit_rate; clear the cache with POST environment-resolver/clear-cache if it is low.",
        },
    ),
    Rule(
        name="Provider Initialization Slow",
        severity="warning",
        metric="provider_initialization_time",
        above=_TARGET,
        annotations={
            "summary": "A provider takes longer to initialise than its target.",
            "step": "Check health/provider-health and logs/provider-health.log.",
        },
    ),
    Rule(
        name="Build Performance Degraded",
        severity="error",
        metric="build_performance",
        above=Quantity("5s"),
        annotations={
            "summary": "A build took far longer than usual.",
            "step": "Check metrics/build_performance, logs/build.log, health/system-resources and the dependencies.",
        },
    ),
    Rule(
        name="Build Failed",
        severity="error",
        event="build.finished",
        outcome=list(FAILED),
        clears=Clears(event="build.finished", outcome="success"),
        group=["source", "service", "environment"],
        annotations={"summary": "A build failed.", "step": "Review logs/build.log; the next good build resolves this."},
    ),
    Rule(
        name="Build Lost",
        severity="error",
        event="build.lost",
        clears=Clears(event="build.finished", outcome="success"),
        group=["source", "service", "environment"],
        annotations={
            "summary": "A build started, and nobody heard of it again.",
            "step": "Review logs/build.log and the machine that it ran on; the next good build resolves this.",
        },
    ),
    Rule(
        name="Environment Detection Failed",
        severity="critical",
        event="environment.detected",
        consecutive=3,
        ratio=Percent("50%"),
        window=Interval("5m"),
        min_samples=3,
        annotations={
            "summary": "The environment keeps not being detected.",
            "step": "Check health/environment-resolver, NODE_ENV, PICASSO_ENV, .env* and picasso.config.json; "
            "try `bers env detect --explain`.",
        },
    ),
    Rule(
        name="Memory Usage High",
        severity="warning",
        metric="system_memory_usage",
        above=Quantity("80%"),
        for_=Duration("60s"),
        no_data_after=Interval("5m"),
        annotations={
            "summary": "The system is short of memory.",
            "step": "Check health/system-resources and bufferUtilization; reduce retention, enable adaptive sampling, "
            "clear caches with POST metrics/clear-cache.",
        },
    ),
    Rule(
        name="Error Rate High",
        severity="warning",
        metric="error_rate",
        above=_TARGET,
        aggregate="mean",
        window=Interval("5m"),
        min_samples=5,
        annotations={
            "summary": "Too many detections, resolutions and initialisations fail.",
            "step": "Check health/environment-resolver, health/provider-health and logs/monitoring.log.",
        },
    ),
    Rule(
        name="Deployment Slow",
        severity="warning",
        metric="deployment_performance",
        above=_TARGET,
        annotations={
            "summary": "A deployment took longer than its target.",
            "step": "Check metrics/deployment_performance and the deployment's own log.",
        },
    ),
    Rule(
        name="Deployment Failed",
        severity="error",
        severity_in={"production": "critical"},
        event="deployment.finished",
        outcome=list(FAILED),
        clears=_DEPLOYED,
        annotations={
            "summary": "A deployment failed.",
            "step": "Check the deployment's own log; roll back, or deploy again: a good deployment resolves this.",
        },
    ),
    Rule(
        name="Deployment Rolled Back",
        severity="warning",
        severity_in={"production": "error"},
        event=["deployment.rolledback", "service.rolledback"],
        clears=_DEPLOYED,
        annotations={
            "summary": "A deployment was rolled back.",
            "step": "Find out what the rolled back version broke; the next good deployment resolves this.",
        },
    ),
    Rule(
        name="Test Coverage Low",
        severity="error",
        metric="test_coverage",
        where={"kind": "lines"},
        below=_TARGET,
        annotations={
            "summary": "Tests cover too few lines.",
            "step": "Test what was added since coverage was reached.",
        },
    ),
    Rule(
        name="Test Failures",
        severity="warning",
        metric="test_failure_rate",
        above=Quantity("1%"),
        annotations={"summary": "Tests fail.", "step": "Check the report of the test run."},
    ),
    Rule(
        name="Production Configuration Drifted",
        severity="warning",
        metric="environment_drift_count",
        # Development is ahead of both all the time.
        where={"pair": "production/staging"},
        above=Quantity("0"),
        annotations={
            "summary": "Production lacks settings that staging has, or staging what production has.",
            "step": "Compare what both tell of their configuration; what a release needs has to be there before it.",
        },
    ),
)
"""A threshold of ``target`` follows the metric's target, where an operator set another."""
