"""Validation: how long test suites take, how they end, what they cover, and whether environments agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import anyio
from msgspec import Meta
from msgspec.structs import replace

from bers import Config, Context, Emit, Event, Interval, Metric, SourceSpec, Stage, Table, hookimpl
from bers_builtin.sources._drift import AGREEMENT, DRIFT
from bers_builtin.sources._reports import AT_ONCE, FORMATS
from bers_builtin.sources._runs import COMPLETED, Part, Runs, Span, followers, names, score


class ValidationConfig(Config, frozen=True):
    """Measure tests and validations from the events of test runners: time, results, flakiness, coverage, drift."""

    lost_after: Annotated[
        Interval,
        Meta(
            description="How long to wait for the finish of a test suite or a validation that has started. Then "
            "`testsuiterun.lost` or `validation.lost` is told; a finish that comes later still counts."
        ),
    ] = Interval("1h")


class ValidationSource(Stage[ValidationConfig]):
    def __init__(self, config: ValidationConfig, context: Context) -> None:
        super().__init__(config, context)
        self.turns = anyio.Semaphore(AT_ONCE)

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        measures, parts = NAMES.read(event)
        if event.type in ("testsuiterun.finished", "validation.finished"):
            event = _counted(_labelled(event), measures, parts)
        if event.type == "validation.finished":
            score(measures, "validation_success_rate", event.outcome)
        elif event.type == "validation.environment":
            score(measures, "cross_environment_validation", event.outcome)
        return [*RUNS.join(event, measures, table), *followers(event, parts)]

    async def run(self, emit: Emit) -> None:
        await RUNS.watch(self.context, emit, self.config.lost_after, "validation.measured")


def _labelled(event: Event) -> Event:
    suite = event.data.get("suite")
    if "suite" in event.labels or not isinstance(suite, str) or not suite:
        return event
    return replace(event, labels={**event.labels, "suite": suite[:200]})


def _counted(event: Event, measures: dict[str, float], parts: dict[Part, float]) -> Event:
    """Measure what follows from the counts of tests, as far as they were told; a run of no tests is an error."""
    if "status" in event.labels:
        return event
    total = measures.get("test_count")
    failed, errored, skipped = (parts.get(_status(name)) for name in ("failed", "errored", "skipped"))
    bad = None if failed is None and errored is None else (failed or 0.0) + (errored or 0.0)
    if total is not None and bad is not None:  # JUnit's reports count what did not pass.
        parts.setdefault(_status("passed"), max(0.0, total - bad - (skipped or 0.0)))
    passed = parts.get(_status("passed"))
    if any(_status(name) in parts for name in STATUSES):
        measures.pop("test_count", None)
    if total is not None:
        executed = total - (skipped or 0.0)
    elif passed is not None:
        executed = passed + (bad or 0.0)
    else:
        return event
    if executed > 0:
        if bad is not None:
            measures.setdefault("test_failure_rate", 100 * bad / executed)
    elif event.outcome in COMPLETED:
        return replace(event, outcome="error", reason="no tests ran")
    return event


def _status(name: str) -> Part:
    return "test_count", "status", name


STATUSES = ("passed", "failed", "errored", "skipped")

RUNS = Runs(
    Span(
        "test_suite_duration",
        "testsuiterun.started",
        "testsuiterun.finished",
        outcomes=COMPLETED,
        lost="testsuiterun.lost",
        clue="testsuiterun.progress",
    ),
    Span(
        "validation_duration", "validation.started", "validation.finished", outcomes=COMPLETED, lost="validation.lost"
    ),
)

NAMES = names(
    {
        "tests.total": "test_count",
        "tests.flaky": "test_flaky_count",
        "drift": "environment_drift_count",
    },
    parts={
        **{f"tests.{status}": _status(status) for status in STATUSES},
        **{
            f"coverage.{kind}": ("test_coverage", "kind", kind)
            for kind in ("lines", "branches", "functions", "statements")
        },
    },
    bare={"coverage": ("test_coverage", "kind", "lines")},
)

METRICS = (
    Metric("test_suite_duration", "ms", "Time from the start of a test suite to its end.", labels=("suite",)),
    Metric("test_count", "{test}", "Tests that ran or were skipped.", better="neither", labels=("suite", "status")),
    Metric("test_failure_rate", "%", "Share of the tests that ran and did not pass.", target=1, labels=("suite",)),
    Metric(
        "test_flaky_count", "{test}", "Tests that failed and passed without a change in between.", labels=("suite",)
    ),
    Metric(
        "test_coverage",
        "%",
        "Share of the code that tests reach.",
        target=95,
        better="higher",
        labels=("suite", "kind"),
        title="Test Coverage",
    ),
    Metric("validation_success_rate", "%", "Share of validations that succeed.", better="higher"),
    Metric("validation_duration", "ms", "Time from the start of a validation to its end."),
    DRIFT,
    AGREEMENT,
)

VALIDATION = SourceSpec(
    "validation",
    ValidationConfig,
    ValidationSource,
    claims=("testsuiterun.*", "testcaserun.*", "validation.*", "coverage.*"),
    metrics=METRICS,
    formats=FORMATS,
)


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [VALIDATION]
