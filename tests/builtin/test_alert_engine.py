"""The alert engine: which events make alerts, when, and what becomes of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
import pytest

from bers import Batch, Caller, Catalog, ConfigError, Context, Database, Event, Interval, Metric, Outcome, Refused
from bers.testing import VirtualClock, check_spec, run_receive, step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE, ALERTS
from bers_builtin.sinks.alert_engine.alerts import Alert, Moment, Suppressed
from bers_builtin.sinks.alert_engine.desk.answers import Answer, AskStats, ListAlerts, ListHistory
from bers_builtin.sinks.alert_engine.engine import AlertEngine
from bers_builtin.sinks.alert_engine.suppression.suppressions import RateLimiting, Suppressions

METRICS = Catalog(
    [
        Metric("configuration_resolution_time", "ms", "Resolving.", 100.0, labels=("cached",)),
        Metric("provider_initialization_time", "ms", "Initialising.", 50.0, labels=("provider",)),
        Metric("build_performance", "ms", "Building.", 30_000.0),
        Metric("system_memory_usage", "%", "Memory."),
        Metric("error_rate", "%", "Failures.", 1.0),
        Metric("deployment_performance", "ms", "Deploying.", 300_000.0, labels=("environment",)),
        Metric("test_coverage", "%", "Coverage.", 95.0, better="higher", labels=("kind",)),
        Metric("test_failure_rate", "%", "Failing tests."),
        Metric("environment_drift_count", "{key}", "Drift.", labels=("pair",)),
        Metric("queue", "{event}", "Waiting.", labels=("name",)),
    ]
)
OPERATOR = Caller("anonymous", "10.0.0.7")


@dataclass
class Rig:
    """An engine that is at work, and a clock that goes where it is told."""

    stage: AlertEngine
    clock: VirtualClock
    end: int = 0
    sent: list[Event] = field(default_factory=list[Event])

    def event(self, type: str, **fields: Any) -> Event:
        self.end += 1
        return Event(f"e-{self.end}", "/ci/test", type, fields.pop("time", self.clock.time()), **fields)

    async def send(self, *events: Event) -> None:
        await self.stage.write(Batch(events, reader="alerts", end=self.end))

    async def happen(self, type: str, outcome: Outcome | None = None, **fields: Any) -> None:
        await self.send(self.event(type, outcome=outcome, **fields))

    async def measure(self, metric: str, value: float, **labels: str) -> None:
        await self.send(self.event("custom.measured", measures={metric: value}, labels=labels))

    async def keep_measuring(self, metric: str, value: float, seconds: int) -> None:
        """A value now, and one after each of so many seconds."""
        await self.measure(metric, value)
        for _ in range(seconds):
            await self.clock.advance(1)
            await self.measure(metric, value)

    async def alerts(self, status: str = "active,acknowledged", **ask: Any) -> Sequence[Alert]:
        return (await self.stage.list_alerts(ListAlerts(status=status, **ask), OPERATOR)).data

    async def names(self, status: str = "active,acknowledged") -> Sequence[str]:
        return sorted(alert.rule for alert in await self.alerts(status))

    async def only(self, status: str = "active,acknowledged") -> Alert:
        (alert,) = await self.alerts(status)
        return alert

    async def history(self) -> Sequence[Alert]:
        return (await self.stage.list_history(ListHistory(period="30d"), OPERATOR)).data

    async def told(self) -> Sequence[str]:
        """The types of the events that the engine made, in order."""
        rows = await self.stage.context.state.run(
            lambda connection: connection.execute("SELECT kind FROM alert_outbox ORDER BY seq").fetchall()
        )
        return [kind for (kind,) in rows]


@asynccontextmanager
async def engine(
    clock: VirtualClock | None = None, database: Database | None = None, metrics: Catalog = METRICS, **options: Any
) -> AsyncGenerator[Rig]:
    clock = clock or VirtualClock()
    context = Context(
        "alert-engine", clock=clock, metrics=metrics, state=database or Database(), environment="production"
    )
    # Each waking of a sleeper costs a test a tenth of a second, and no commit is to come between two of its hours.
    usual: dict[str, Any] = {"commit_every": "1h", "escalation": [], "repeat": {}}
    options = usual | options
    async with step(ALERT_ENGINE, context=context, **options).open() as stage:
        yield Rig(stage, clock, await stage.position("alerts", 0, begin=0))


def rule(**fields: Any) -> Mapping[str, Any]:
    return {"name": "Long Queue", "metric": "queue", "above": "10", **fields}


async def test_spec_keeps_its_promises() -> None:
    await check_spec(ALERT_ENGINE, context=Context("alert-engine", metrics=METRICS))
    received = await run_receive(ALERTS, [Event("t-1", "bers:alert-engine", "alert.firing", 1.0)])
    assert [event.id for event in received] == ["t-1"]


# How long something lasts (C070)


async def test_c070_101_ms_for_59_s_never_fires() -> None:
    async with engine() as rig:
        await rig.keep_measuring("configuration_resolution_time", 101.0, 59)
        assert await rig.names("pending") == ["Configuration Resolution Slow"]
        await rig.clock.advance(300)
        assert await rig.names() == []


async def test_c070_101_ms_for_61_s_fires_once() -> None:
    async with engine() as rig:
        await rig.keep_measuring("configuration_resolution_time", 101.0, 61)
        alert = await rig.only()
        assert (alert.rule, alert.severity) == ("Configuration Resolution Slow", "warning")
        assert (alert.value, alert.threshold, alert.unit) == (101.0, 100.0, "ms")
        assert alert.message == "configuration resolution time is 101 ms, above 100 ms for 1m"
        assert alert.count == 1
        assert alert.fired_at == 1_700_000_060_000
        assert await rig.told() == ["firing"]
        assert await rig.names("pending") == []


async def test_c070_exactly_100_ms_never_fires() -> None:
    async with engine() as rig:
        await rig.keep_measuring("configuration_resolution_time", 100.0, 120)
        assert await rig.names("pending,active") == []


async def test_c070_a_dip_at_30_s_starts_anew() -> None:
    async with engine() as rig:
        await rig.keep_measuring("configuration_resolution_time", 101.0, 30)
        await rig.measure("configuration_resolution_time", 99.0)
        assert await rig.names("pending") == []
        await rig.keep_measuring("configuration_resolution_time", 101.0, 59)
        assert await rig.names() == []
        await rig.clock.advance(1)
        await rig.measure("configuration_resolution_time", 101.0)
        assert await rig.names() == ["Configuration Resolution Slow"]


async def test_silence_keeps_the_state_and_proves_nothing() -> None:
    async with engine() as rig:
        await rig.measure("configuration_resolution_time", 101.0)
        await rig.clock.advance(1000)
        assert await rig.names("pending,active") == ["Configuration Resolution Slow"]
        assert await rig.told() == []
        await rig.measure("configuration_resolution_time", 101.0)
        assert await rig.told() == ["firing"]
        await rig.clock.advance(1000)
        assert await rig.names("active") == ["Configuration Resolution Slow"]


async def test_a_step_of_the_wall_clock_neither_fires_nor_resolves() -> None:
    async with engine() as rig:
        await rig.measure("configuration_resolution_time", 101.0)
        rig.clock.step(3600)
        await rig.measure("configuration_resolution_time", 101.0)
        assert await rig.names("active") == []
        rig.clock.step(-7200)
        await rig.clock.advance(60)
        await rig.measure("configuration_resolution_time", 101.0)
        assert await rig.names("active") == ["Configuration Resolution Slow"]


async def test_a_backlog_is_judged_by_when_the_intake_took_it() -> None:
    async with engine() as rig:
        start = rig.clock.time()
        await rig.clock.advance(90)
        events = [
            rig.event(
                "custom.measured",
                measures={"configuration_resolution_time": 101.0},
                time=start + second,
                received=start + second,
            )
            for second in (20, 50, 79)
        ]
        await rig.send(*events)
        assert await rig.names("active") == []
        late = rig.event("custom.measured", measures={"configuration_resolution_time": 101.0}, received=start + 80)
        await rig.send(late)
        assert await rig.names("active") == ["Configuration Resolution Slow"]


async def test_series_are_separate() -> None:
    async with engine(rules=[rule()], defaults=False) as rig:
        await rig.measure("queue", 11, name="a", other="x")
        await rig.measure("queue", 10, name="b", other="x")
        alert = await rig.only()
        assert (alert.labels, alert.title) == ({"name": "a"}, "Long Queue: a")
        await rig.measure("queue", 12, name="b")
        await rig.measure("queue", 0, name="a")
        assert (await rig.only()).labels == {"name": "b"}


# The rules of the runbook


@pytest.mark.parametrize(
    ("metric", "value", "labels", "name", "severity"),
    [
        ("provider_initialization_time", 50.1, {"provider": "api"}, "Provider Initialization Slow", "warning"),
        ("build_performance", 5000.1, {}, "Build Performance Degraded", "error"),
        ("deployment_performance", 300_001.0, {}, "Deployment Slow", "warning"),
        ("test_coverage", 94.9, {"kind": "lines"}, "Test Coverage Low", "error"),
        ("test_failure_rate", 1.1, {}, "Test Failures", "warning"),
    ],
)
async def test_one_value_is_enough(metric: str, value: float, labels: dict[str, str], name: str, severity: str) -> None:
    async with engine() as rig:
        await rig.measure(metric, value, **labels)
        alert = await rig.only()
        assert (alert.rule, alert.severity, alert.value) == (name, severity, value)
        assert alert.annotations["step"]


@pytest.mark.parametrize(
    ("metric", "value", "labels"),
    [
        ("provider_initialization_time", 50.0, {}),
        ("build_performance", 5000.0, {}),
        ("deployment_performance", 300_000.0, {}),
        ("test_coverage", 95.2, {"kind": "lines"}),
        ("test_coverage", 95.0, {"kind": "lines"}),
        ("test_coverage", 10.0, {"kind": "branches"}),
        ("test_failure_rate", 1.0, {}),
        ("system_memory_usage", 80.0, {}),
        ("build_performance", float("inf"), {}),
    ],
)
async def test_c079_what_is_within_its_threshold_is_fine(metric: str, value: float, labels: dict[str, str]) -> None:
    async with engine() as rig:
        await rig.measure(metric, value, **labels)
        assert await rig.names("pending,active") == []


async def test_c080_memory_above_80_percent_for_a_minute() -> None:
    async with engine() as rig:
        await rig.keep_measuring("system_memory_usage", 80.1, 59)
        assert await rig.names() == []
        await rig.keep_measuring("system_memory_usage", 80.1, 1)
        assert await rig.names() == ["Memory Usage High"]
        await rig.measure("system_memory_usage", 79.0)
        assert await rig.names() == []


async def test_c076_error_rate_is_a_mean_of_at_least_five() -> None:
    async with engine() as rig:
        for value in (100.0, 0.0, 0.0, 0.0):
            await rig.measure("error_rate", value)
        assert await rig.names() == []
        await rig.measure("error_rate", 0.0)
        alert = await rig.only()
        assert (alert.rule, alert.value, alert.unit) == ("Error Rate High", 20.0, "%")
        assert alert.message == "mean of error rate over 5m is 20 %, above 1 %"


async def test_a_window_forgets_without_new_values() -> None:
    async with engine() as rig:
        await rig.measure("error_rate", 100.0)
        await rig.clock.advance(100)
        for _ in range(5):
            await rig.measure("error_rate", 0.0)
        assert await rig.names() == ["Error Rate High"]
        await rig.clock.advance(199)
        assert await rig.names() == ["Error Rate High"]
        await rig.clock.advance(3)
        assert await rig.names() == []
        assert (await rig.history())[0].status == "resolved"


async def test_c073_build_failed_until_the_next_good_one_of_its_source() -> None:
    async with engine() as rig:
        await rig.happen("build.finished", "failure", subject="B1", reason="linker: token ghp_aaaaaaaaaaaaaaaaaaaaaaaa")
        alert = await rig.only()
        assert (alert.rule, alert.severity) == ("Build Failed", "error")
        assert alert.message == "build.finished (failure): B1: linker: token ***"
        assert alert.metadata == {"source": "/ci/test", "event": "e-1", "subject": "B1"}
        await rig.happen("build.finished", "cancel")
        other = msgspec.structs.replace(rig.event("build.finished", outcome="success"), source="/ci/other")
        await rig.send(other)
        assert await rig.names() == ["Build Failed"]
        await rig.happen("build.finished", "success")
        assert await rig.names() == []


@pytest.mark.parametrize(
    ("environment", "severity"), [("production", "critical"), ("staging", "error"), (None, "error")]
)
async def test_a_failed_deployment_is_critical_in_production(environment: str | None, severity: str) -> None:
    async with engine() as rig:
        await rig.happen("deployment.finished", "failure", environment=environment, service="chat")
        alert = await rig.only()
        assert (alert.rule, alert.severity, alert.environment) == ("Deployment Failed", severity, environment)
        await rig.happen("deployment.finished", "success", environment=environment, service="other")
        assert await rig.names() == ["Deployment Failed"]
        await rig.happen("service.deployed", "success", environment=environment, service="chat")
        assert await rig.names() == []


@pytest.mark.parametrize(("environment", "severity"), [("production", "error"), ("staging", "warning")])
async def test_a_rollback_always_alerts(environment: str, severity: str) -> None:
    async with engine() as rig:
        await rig.happen("deployment.rolledback", environment=environment)
        alert = await rig.only()
        assert (alert.rule, alert.severity, alert.type) == ("Deployment Rolled Back", severity, "deployment.rolledback")


@pytest.mark.parametrize(
    ("outcomes", "fires"),
    [
        ("ff", False),
        ("fff", True),
        ("fcfsf", True),  # Three of four failed; cancelled ones do not count.
        ("ffs", True),
        ("sfs", False),
        ("sfsf", True),
        ("ssfsf", False),
    ],
)
async def test_c075_detection_that_keeps_failing_is_critical(outcomes: str, fires: bool) -> None:
    meaning: dict[str, Outcome] = {"f": "failure", "s": "success", "c": "cancel"}
    async with engine() as rig:
        for outcome in outcomes:
            await rig.clock.advance(1)
            await rig.happen("environment.detected", meaning[outcome])
        assert [(alert.rule, alert.severity) for alert in await rig.alerts()] == (
            [("Environment Detection Failed", "critical")] if fires else []
        )


async def test_c075_three_failures_far_apart_and_one_good_detection() -> None:
    async with engine() as rig:
        for _ in range(3):
            await rig.happen("environment.detected", "error")
            await rig.clock.advance(400)
        assert await rig.names() == ["Environment Detection Failed"]
        await rig.clock.advance(4000)
        assert await rig.names() == ["Environment Detection Failed"]
        await rig.happen("environment.detected", "success")
        assert await rig.names() == []


async def test_c005_the_target_of_the_metric_is_the_threshold() -> None:
    async with engine(metrics=METRICS.with_targets({"provider_initialization_time": 20.0})) as rig:
        await rig.measure("provider_initialization_time", 21.0)
        assert (await rig.only()).threshold == 20.0


async def test_evidence_that_is_too_old_changes_nothing() -> None:
    async with engine() as rig:
        await rig.happen("deployment.finished", "failure", time=rig.clock.time() - 301)
        assert await rig.names() == []
        await rig.happen("deployment.finished", "failure", time=rig.clock.time() - 299)
        assert await rig.names() == ["Deployment Failed"]
        await rig.happen("deployment.finished", "success", time=rig.clock.time() - 301)
        assert await rig.names() == ["Deployment Failed"]


async def test_a_rule_of_the_same_name_replaces_a_default() -> None:
    mine = {"name": "Build Performance Degraded", "metric": "build_performance", "above": "1min", "severity": "info"}
    async with engine(rules=[mine]) as rig:
        await rig.measure("build_performance", 6000.0)
        assert await rig.names() == []
        await rig.measure("build_performance", 60_001.0)
        assert (await rig.only()).severity == "info"


@pytest.mark.parametrize(
    ("aggregate", "limit", "fires"),
    [("min", "1", True), ("max", "9", False), ("max", "8", True), ("sum", "14", True), ("count", "2", True),
     ("count", "3", False), ("p50", "3.5", True), ("p50", "4.1", False), ("mean", "4.9", True), ("mean", "5", False)],
)  # fmt: skip
async def test_aggregates(aggregate: str, limit: str, fires: bool) -> None:
    one = rule(aggregate=aggregate, window="1m", above=limit)
    async with engine(rules=[one], defaults=False) as rig:
        for value in (2.0, 4.0, 9.0):
            await rig.measure("queue", value)
            await rig.clock.advance(2)
        assert (await rig.names() == ["Long Queue"]) == fires


# Alerts that come back (A35, C102), and too many at once (C103)


async def test_c102_what_comes_back_within_the_window_is_the_same_alert() -> None:
    async with engine(deduplication={"window": "60s"}) as rig:
        await rig.measure("build_performance", 6000.0)
        first = await rig.only()
        await rig.stage.acknowledge(Answer(first.id, "admin"), OPERATOR)
        await rig.measure("build_performance", 10.0)
        await rig.clock.advance(59)
        await rig.measure("build_performance", 7000.0)
        again = await rig.only()
        assert (again.id, again.count, again.status, again.value) == (first.id, 2, "active", 7000.0)
        assert (again.timestamp, again.acknowledgment, again.resolution) == (first.timestamp, None, None)
        await rig.measure("build_performance", 10.0)
        await rig.clock.advance(61)
        await rig.measure("build_performance", 6000.0)
        later = await rig.only()
        assert later.id != first.id
        assert (later.count, later.previous_id) == (1, first.id)
        assert await rig.told() == ["firing", "acknowledged", "resolved", "firing", "resolved", "firing"]


async def test_c097_not_told_otherwise_the_window_is_five_minutes() -> None:
    async with engine() as rig:
        await rig.measure("build_performance", 6000.0)
        first = await rig.only()
        await rig.measure("build_performance", 10.0)
        await rig.clock.advance(300)
        await rig.measure("build_performance", 6000.0)
        assert (await rig.only()).id == first.id
        await rig.measure("build_performance", 10.0)
        await rig.clock.advance(300.1)
        await rig.measure("build_performance", 6000.0)
        assert (await rig.only()).previous_id == first.id


async def test_c098_c099_not_told_otherwise_ten_fire_in_five_minutes() -> None:
    async with engine() as rig:
        for number in range(11):
            await rig.happen("deployment.rolledback", service=f"s{number}")
        assert [len(await rig.alerts(status)) for status in ("active", "suppressed")] == [10, 1]
        await rig.clock.advance(299.9)
        await rig.happen("deployment.rolledback", service="s11")
        assert [len(await rig.alerts(status)) for status in ("active", "suppressed")] == [10, 2]
        await rig.clock.advance(0.2)
        await rig.happen("deployment.rolledback", service="s12")
        assert [len(await rig.alerts(status)) for status in ("active", "suppressed")] == [11, 2]


async def test_c102_the_same_thing_twice_is_one_alert_that_counts_two() -> None:
    async with engine() as rig:
        await rig.happen("deployment.rolledback", service="chat")
        await rig.happen("deployment.rolledback", service="chat")
        assert (await rig.only()).count == 2
        assert await rig.told() == ["firing"]


async def test_c096_without_deduplication_it_is_a_new_alert() -> None:
    async with engine(deduplication={"enabled": False}) as rig:
        for value in (6000.0, 10.0, 6000.0):
            await rig.measure("build_performance", value)
        alert = await rig.only()
        ended = next(one for one in await rig.history() if one.status == "resolved")
        assert (alert.previous_id, alert.count) == (ended.id, 1)


async def test_a35_resolved_by_hand_while_still_true_reopens() -> None:
    async with engine() as rig:
        await rig.keep_measuring("system_memory_usage", 90.0, 61)
        alert = await rig.only()
        done = await rig.stage.resolve(Answer(alert.id, "admin", "fixed"), OPERATOR)
        assert done.resolution is not None
        assert (done.status, done.resolution.reason) == ("resolved", "manual")
        await rig.keep_measuring("system_memory_usage", 90.0, 59)
        assert await rig.names() == []
        await rig.clock.advance(1)
        await rig.measure("system_memory_usage", 90.0)
        again = await rig.only()
        assert (again.id, again.count) == (alert.id, 2)


async def test_resolving_a_window_by_hand_takes_new_evidence_to_reopen() -> None:
    async with engine() as rig:
        for _ in range(3):
            await rig.happen("environment.detected", "failure")
        await rig.stage.resolve(Answer((await rig.only()).id, "admin"), OPERATOR)
        await rig.clock.advance(10)
        await rig.happen("environment.detected", "success")
        assert await rig.names() == []


async def test_c103_too_many_are_suppressed_and_none_is_lost() -> None:
    async with engine(rules=[rule()], rate_limiting={"max_alerts": 2, "window": "60s"}) as rig:
        for number in range(5):
            await rig.measure("queue", 11, name=f"q{number}")
        await rig.happen("deployment.finished", "failure", environment="production")
        assert await rig.names() == ["Deployment Failed", "Long Queue", "Long Queue"]
        suppressed = await rig.alerts("suppressed")
        assert len(suppressed) == 3
        stats = await rig.stage.count_alerts(AskStats(), OPERATOR)
        assert (stats.total, stats.suppressed, stats.active) == (6, 3, 3)
        await rig.measure("queue", 0, name="q4")
        assert len(await rig.alerts("suppressed")) == 2
        assert await rig.told() == ["firing", "firing", "suppressed", "suppressed", "suppressed", "firing"]


async def test_c103_a_suppressed_alert_fires_when_there_is_room() -> None:
    async with engine(rules=[rule()], rate_limiting={"max_alerts": 1, "window": "60s"}) as rig:
        await rig.measure("queue", 11, name="a")
        await rig.measure("queue", 11, name="b")
        await rig.clock.advance(61)
        assert len(await rig.alerts("suppressed")) == 1
        await rig.measure("queue", 11, name="b")
        assert await rig.alerts("suppressed") == []
        assert await rig.told() == ["firing", "suppressed", "firing"]


async def test_c103_what_arrived_long_ago_and_is_read_late_counts_as_told_now() -> None:
    async with engine(rules=[rule()]) as rig:
        await rig.measure("queue", 11)
        alert = msgspec.structs.replace(await rig.only(), told=False)
    suppressions = Suppressions(RateLimiting(2, Interval("60s")), [])
    for arrived in (20.0, 30.0):
        suppressions.fired(Moment(arrived, 100.0, behind=100.0 - arrived))
    assert suppressions.reason(alert, Moment(40.0, 101.0, behind=61.0)) == Suppressed("rate_limit")
    assert suppressions.reason(alert, Moment(159.5, 159.5)) == Suppressed("rate_limit")
    assert suppressions.reason(alert, Moment(160.5, 160.5)) is None


# What operators do (C032, C033)


async def test_c032_acknowledge_is_kept_audited_and_idempotent() -> None:
    async with engine() as rig:
        await rig.measure("build_performance", 6000.0)
        alert = await rig.only()
        rig.clock.step(1.5)
        notes = "Investigating with key AKIAABCDEFGHIJKLMNOP"
        done = await rig.stage.acknowledge(Answer(alert.id, "admin", notes), OPERATOR)
        assert done.status == "acknowledged"
        assert msgspec.to_builtins(done.acknowledgment) == {
            "operator": "admin",
            "notes": "Investigating with key ***",
            "timestamp": 1_700_000_001_500,
            "address": "10.0.0.7",
            "expires": None,
        }
        assert await rig.stage.acknowledge(Answer(alert.id, "somebody else"), OPERATOR) == done
        await rig.measure("build_performance", 6500.0)
        assert ((await rig.only()).status, (await rig.only()).count) == ("acknowledged", 2)
        await rig.measure("build_performance", 10.0)
        ended = (await rig.history())[0]
        assert (ended.status, ended.acknowledgment) == ("resolved", done.acknowledgment)
        assert (await rig.stage.acknowledge(Answer(alert.id, "admin"), OPERATOR)).status == "resolved"
        (row,) = await rig.stage.context.audit.entries()
        assert (row.time, row.action, row.target) == (1_700_000_001_500, "alerts/acknowledge", alert.id)
        who = ("admin", "anonymous", "Investigating with key ***", "10.0.0.7")
        assert (row.operator, row.principal, row.notes, row.address) == who


async def test_c033_resolve_is_kept_audited_and_idempotent() -> None:
    async with engine() as rig:
        await rig.happen("deployment.rolledback")
        alert = await rig.only()
        done = await rig.stage.resolve(Answer(alert.id, "admin", "Fixed by clearing cache"), OPERATOR)
        assert msgspec.to_builtins(done.resolution) == {
            "operator": "admin", "notes": "Fixed by clearing cache", "timestamp": 1_700_000_000_000, "reason": "manual",
        }  # fmt: skip
        assert await rig.stage.resolve(Answer(alert.id, "admin"), OPERATOR) == done
        assert await rig.names() == []
        rows = [(row.action, row.operator, row.notes) for row in await rig.stage.context.audit.entries()]
        assert rows == [("alerts/resolve", "admin", "Fixed by clearing cache")]
        with pytest.raises(Refused, match="is resolved") as refusal:
            await rig.stage.acknowledge(Answer(alert.id, "admin"), OPERATOR)
        assert refusal.value.reason == "conflict"
        assert await rig.told() == ["firing", "resolved"]


async def test_c033_unknown_alerts_and_unknown_people_are_refused() -> None:
    async with engine() as rig:
        await rig.happen("deployment.rolledback")
        alert = await rig.only()
        with pytest.raises(Refused) as refusal:
            await rig.stage.acknowledge(Answer("nope", "admin"), OPERATOR)
        assert (refusal.value.reason, refusal.value.known) == ("not_found", [alert.id])
        with pytest.raises(Refused) as refusal:
            await rig.stage.resolve(Answer(alert.id, "  "), OPERATOR)
        assert (refusal.value.reason, refusal.value.details[0][0]) == ("invalid", "operator")
        done = await rig.stage.resolve(Answer(alert.id), Caller("ci-key", "::1"))
        assert done.resolution is not None
        assert done.resolution.operator == "ci-key"


async def test_a_pending_alert_cannot_be_answered_yet() -> None:
    async with engine() as rig:
        await rig.measure("system_memory_usage", 90.0)
        await rig.clock.advance(10)
        pending = await rig.only("pending")
        assert (pending.status, pending.timestamp) == ("pending", 1_700_000_000_000)
        with pytest.raises(Refused, match="pending"):
            await rig.stage.resolve(Answer(pending.id, "admin"), OPERATOR)


# What is asked


async def test_c029_lists_by_status_and_severity() -> None:
    async with engine() as rig:
        await rig.happen("deployment.rolledback")
        await rig.clock.advance(1)
        await rig.measure("build_performance", 6000.0)
        await rig.measure("build_performance", 6000.0)
        assert [alert.rule for alert in await rig.alerts()] == ["Build Performance Degraded", "Deployment Rolled Back"]
        assert [alert.rule for alert in await rig.alerts(severity="warning")] == ["Deployment Rolled Back"]
        assert [alert.rule for alert in await rig.alerts(rule="Build Performance Degraded")] == [
            "Build Performance Degraded"
        ]
        reply = await rig.stage.list_alerts(ListAlerts(limit=1), OPERATOR)
        assert (len(reply.data), reply.beside["meta"].total) == (1, 2)
        with pytest.raises(Refused, match="resolved") as refusal:
            await rig.alerts("resolved")
        assert "alerts/history" in refusal.value.hint


async def test_c031_stats_over_a_period() -> None:
    async with engine() as rig:
        await rig.measure("build_performance", 6000.0)
        await rig.clock.advance(10)
        await rig.stage.acknowledge(Answer((await rig.only()).id, "admin"), OPERATOR)
        await rig.clock.advance(20)
        await rig.measure("build_performance", 10.0)
        await rig.happen("deployment.rolledback")
        await rig.measure("system_memory_usage", 90.0)
        stats = await rig.stage.count_alerts(AskStats("604800000"), OPERATOR)
        assert msgspec.to_builtins(stats) == {
            "periodMs": 604_800_000,
            "total": 2,
            "bySeverity": {"error": 1, "warning": 1},
            "byRule": {"Build Performance Degraded": 1, "Deployment Rolled Back": 1},
            "byStatus": {"active": 1, "resolved": 1},
            "active": 1,
            "acknowledged": 0,
            "resolved": 1,
            "suppressed": 0,
            "pending": 1,
            "flapping": 0,
            "suppressedBy": {},
            "meanTimeToAcknowledgeMs": 10_000.0,
            "meanTimeToResolveMs": 30_000.0,
            "timeToAcknowledge": {"count": 1, "meanMs": 10_000.0, "p50Ms": 10_000, "p95Ms": 10_000},
            "timeToResolve": {"count": 1, "meanMs": 30_000.0, "p50Ms": 30_000, "p95Ms": 30_000},
            "noise": [],
        }
        await rig.clock.advance(290)
        await rig.measure("system_memory_usage", 50.0)
        await rig.clock.advance(290)
        recent = await rig.stage.count_alerts(AskStats("5m"), OPERATOR)
        assert (recent.total, recent.mean_time_to_acknowledge_ms, recent.mean_time_to_resolve_ms) == (1, None, None)
        with pytest.raises(Refused, match="abc"):
            await rig.stage.count_alerts(AskStats("abc"), OPERATOR)


async def test_rules_say_what_they_see() -> None:
    async with engine() as rig:
        await rig.measure("build_performance", 6000.0)
        await rig.measure("system_memory_usage", 85.0)
        reports = {report.name: report for report in await rig.stage.list_rules(None, OPERATOR)}
        assert len(reports) == 17  # The two about heartbeats too: the others read what is not declared here.
        build, memory = reports["Build Performance Degraded"], reports["Memory Usage High"]
        assert (build.id, build.state, build.alerts, build.last_value) == (
            "build-performance-degraded",
            "active",
            1,
            6000.0,
        )
        assert (build.condition, build.last_evaluation) == ("last > 5 s", 1_700_000_000_000)
        assert (memory.state, memory.pending, memory.condition) == ("pending", 1, "last > 80 % for 1m")
        assert reports["Test Failures"].state == "ok"
        assert reports["Error Rate High"].condition == "mean > 1 % over 5m"
        assert (
            reports["Environment Detection Failed"].condition == "3 failures in a row or at least 50 % failed over 5m"
        )


async def test_history_is_forgotten_after_its_time() -> None:
    async with engine(history="1d") as rig:
        await rig.measure("build_performance", 6000.0)
        await rig.measure("build_performance", 10.0)
        assert len(await rig.history()) == 1
        with anyio.fail_after(30):
            while await rig.history():  # The sweep has a thread of its own, which no clock of ours sets.
                await rig.clock.advance(3600)
        assert rig.clock.monotonic() > 86400


# What cannot be


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"metric": "build_perfomance"}, "rules[0].metric", "did you mean 'build_performance'?"),
        ({"above": "100ms"}, "rules[0].above", "counts '{event}'"),
        ({"above": "target"}, "rules[0].above", "has no target"),
        ({"metric": "build_performance", "above": "5"}, "rules[0].above", "has no unit"),
    ],
)
async def test_a_rule_that_cannot_work_is_refused(fields: dict[str, str], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        async with engine(rules=[rule(**fields)]):
            pass
    assert error.value.faults[0].path == path
    assert message in error.value.faults[0].message


async def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"rules\[1\].name: rule 'long queue' is there already, as rules\[0\]"):
        async with engine(rules=[rule(), rule(name="long queue")]):
            pass


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"below": "5"}, "either `above` or `below`"),
        ({"event": "build.finished"}, "either `metric` or `event`"),
        ({"window": "5m"}, "`window` has no meaning for `last`"),
        ({"aggregate": "p95"}, "`p95` needs a `window`"),
        ({"min_samples": 3}, "`min_samples` needs a `window`"),
        ({"consecutive": 3}, "`consecutive` has no meaning"),
        ({"metric": "", "event": "a.b"}, "`above` has no meaning"),
        ({"metric": "", "above": None, "event": "alert.firing"}, "no rule watches alerts"),
        ({"metric": "", "above": None, "event": "a.b", "ratio": "5%"}, "`ratio` and `window` need each other"),
        ({"severity": "bad"}, "Invalid enum value"),
        ({"for": 60}, "has no unit"),
        ({"treshold": 60}, "unknown field"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message) as error:
        step(ALERT_ENGINE, rules=[rule(**fields)])
    assert "$.rules[0]" in str(error.value)
