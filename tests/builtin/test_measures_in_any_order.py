"""Builds, suites and deployments through the intake: what is told twice or the wrong way round changes nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bers import Catalog, Context, Event, Receiver
from bers.claims import Owners
from bers.intake import Intake
from bers.log import Log
from bers.testing import run_processor
from bers_builtin.processors.aggregation import AGGREGATION
from bers_builtin.sources.build import BUILD, BuildConfig, BuildSource
from bers_builtin.sources.deployment import DEPLOYMENT, DeploymentConfig, DeploymentSource
from bers_builtin.sources.validation import VALIDATION, ValidationConfig, ValidationSource

SPECS = (BUILD, VALIDATION, DEPLOYMENT)
OWNERS = Owners({spec.name: list(spec.claims) for spec in SPECS})
RECEIVERS: Mapping[str, Receiver] = {
    "build": BuildSource(BuildConfig(), Context("build")),
    "validation": ValidationSource(ValidationConfig(), Context("validation")),
    "deployment": DeploymentSource(DeploymentConfig(), Context("deployment")),
}
CATALOG = Catalog([*BUILD.metrics, *VALIDATION.metrics, *DEPLOYMENT.metrics])


def of(kind: str, what: str, time: float, **fields: object) -> Event:
    return msgspec.structs.replace(Event(f"{kind}/{what}", "/ci", what, time, subject=kind), **fields)


DAY: Sequence[Event] = (
    of("b1", "build.queued", 1),
    of("b1", "build.started", 3),
    of(
        "b1", "build.finished", 9, outcome="success", environment="production", labels={"tool": "npm"},
        measures={"phase.bundle": 400, "bundle.gzip": 99, "dependencies.resolve": 70, "cache.hit_rate": 61},
        data={"assets": [{"name": "index-B3vZRz9l.js", "raw": 400, "gzip": 99}]},
    ),
    of("b2", "build.started", 4),
    of("b2", "build.finished", 5, outcome="failure"),
    of("b3", "build.finished", 8, outcome="success", duration_ms=930),
    of("b4", "build.started", 6),
    of("s1", "testsuiterun.started", 10, labels={"suite": "unit"}),
    of("s1", "testsuiterun.progress", 11, labels={"suite": "unit"}, data={"running": ["a"]}),
    of(
        "s1", "testsuiterun.finished", 12, outcome="failure", labels={"suite": "unit"},
        measures={"tests.total": 50, "tests.failed": 1, "tests.skipped": 2, "tests.flaky": 3, "coverage.lines": 95.2},
    ),
    of("v1", "validation.finished", 14, outcome="success"),
    of("v1", "validation.started", 13),
    of("e1", "validation.environment", 15, outcome="failure", environment="staging", measures={"drift": 2}),
    of("d1", "deployment.started", 20, environment="staging"),
    of("d1", "deployment.finished", 25, environment="staging", outcome="success"),
    of("d1", "deployment.validated", 27, environment="staging", outcome="success", duration_ms=2000),
    of("d2", "deployment.started", 30, environment="production"),
    of("d2", "deployment.finished", 39, environment="production", outcome="success"),
    of("d2", "deployment.rolledback", 45, environment="production"),
)  # fmt: skip


async def figures(told: Sequence[Event]) -> list[Any]:
    """All that can be asked of what was handed in one by one."""
    bus = Log()
    intake = Intake(bus, OWNERS, RECEIVERS)
    for event in told:
        await intake.submit([msgspec.structs.replace(event)])
    _, end = await bus.span(0)
    events: list[Event] = []
    async for batch in bus.read(0, after=0):
        events += batch.events
        if batch.end == end:
            break
    batch = await run_processor(AGGREGATION, events, context=Context("windows", metrics=CATALOG))
    return sorted((w.key, w.count, w.sum, w.min, w.max, sorted(w.sketch.items())) for w in batch.windows)


@given(st.permutations([*DAY, *DAY[:12:2], *DAY[1::3]]))
@settings(max_examples=60, derandomize=True, phases=[Phase.generate, Phase.shrink])
async def test_c160_c173_order_and_repeats_change_no_figure(told: list[Event]) -> None:
    assert await figures(told) == await figures(DAY)


async def test_every_measure_of_a_day_is_a_metric() -> None:
    found: set[str] = {key[0] for key, *_ in await figures(DAY)}
    assert found == {
        "build_queue_time", "build_performance", "build_total", "build_success_rate", "build_phase_time",
        "build_cache_hit_rate", "bundle_size_total", "bundle_asset_size", "dependency_resolution_time",
        "test_suite_duration", "test_count", "test_failure_rate", "test_flaky_count", "test_coverage",
        "validation_duration", "validation_success_rate", "cross_environment_validation", "environment_drift_count",
        "deployment_performance", "deployment_total", "deployment_success_rate", "deployment_rollback_total",
        "deployment_recovery_time", "staging_validation_success", "staging_validation_duration",
    }  # fmt: skip
