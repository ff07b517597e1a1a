"""Rules about this server itself: each fires with a real fault of a real node, and ends when that is mended."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import anyio
import pytest
from msgspec import Meta

from bers import (
    Batch,
    Catalog,
    Check,
    Config,
    Context,
    Emit,
    Event,
    Finding,
    Full,
    Interval,
    Metric,
    ProcessorSpec,
    SinkSpec,
    SourceSpec,
    Stage,
    SystemClock,
    Vital,
)
from bers.plugins import Kind
from bers.stages import AnySpec
from bers.testing import VirtualClock, check_spec, emitting
from bers.testing.server import Server, serving
from bers_builtin.sinks.alert_engine.rules.ourselves import OURSELVES
from bers_builtin.sources.self_monitoring import METRICS, SELF_MONITORING, SelfMonitoring
from tests.builtin.test_alert_engine import Rig, engine
from tests.builtin.test_heartbeat import watchman

Change: TypeAlias = tuple[tuple[str, ...], Any]

SHIPPED = {rule.name: rule for rule in OURSELVES}
EVENTS = {"Heartbeat Missed", "Heartbeat Failed"}


def hastened(*names: str, **changed: str) -> Change:
    """These of the shipped rules, with other times, so that nobody waits for a minute."""
    rules: list[Mapping[str, Any]] = []
    for name in names:
        rule = SHIPPED[name]
        fields = {
            "name": name, "severity": rule.severity, "metric": rule.metric, "where": dict(rule.where),
            "aggregate": rule.aggregate, "window": str(rule.window) if rule.window else None,
            "above": rule.above and str(rule.above), "below": rule.below and str(rule.below), "for": str(rule.for_),
        }  # fmt: skip
        rules.append({key: value for key, value in {**fields, **changed}.items() if value})
    return ("sinks", "alert-engine", "rules"), rules


QUICK: Sequence[Change] = (
    (("sources", "self", "interval"), "100ms"),
    # What the machine of the test is doing is not what it is about.
    (("sources", "host", "interval"), "1h"),
    (("sources", "environment-resolver", "interval"), "1h"),
    (("log", "level"), "error"),
)


@asynccontextmanager
async def node(
    folder: Path,
    *changes: Change,
    specs: Sequence[tuple[Kind, AnySpec]] = (),
    clock: SystemClock | None = None,
) -> AsyncGenerator[Server]:
    with anyio.fail_after(180):
        async with serving(folder, changes=[*QUICK, *changes], specs=specs, clock=clock) as server:
            yield server


async def fired(server: Server, rule: str, **labels: str) -> Any:
    """The alert of a rule about this, as soon as it is there: on a busy machine, it may be about something else too."""

    def wanted(alerts: Any) -> list[Any]:
        return [one for one in alerts if one["rule"] == rule and (not labels or one["labels"] == labels)]

    (alert,) = wanted(await server.until("alerts", wanted))
    return alert


async def over(server: Server, rule: str) -> None:
    """Wait until there is none any more."""
    await server.until("alerts", lambda data: all(one["rule"] != rule for one in data))


class NoOptions(Config, frozen=True):
    """Nothing to configure."""


class Polled(Config, frozen=True):
    """Measure at an interval."""

    interval: Annotated[Interval, Meta(description="The time between two readings.")] = Interval("50ms")


class Switch:
    """What makes stages of the test work, hang or fail."""

    def __init__(self) -> None:
        self.going = anyio.Event()
        self.going.set()
        self.broken = False

    def hang(self) -> None:
        self.going = anyio.Event()

    async def check(self) -> Finding:
        return Finding("unhealthy" if self.broken else "healthy", "as the test says")


class Piece(Stage[Any]):
    """A stage of any kind that does as its switch says."""

    def __init__(self, config: Any, context: Context, switch: Switch) -> None:
        super().__init__(config, context)
        self.switch = switch

    async def run(self, emit: Emit) -> None:
        while True:
            await self._do()
            await emit([self.context.event("piece.measured")])
            await self.context.clock.sleep(0.05)

    async def process(self, batch: Batch) -> Batch:
        await self._do()
        return batch

    async def write(self, batch: Batch) -> None:
        await self._do()

    async def check(self) -> Finding:
        return await self.switch.check()

    async def _do(self) -> None:
        await self.switch.going.wait()
        if self.switch.broken:
            raise RuntimeError("it is broken")


def opened(switch: Switch) -> Callable[[Any, Context], Piece]:
    return lambda config, context: Piece(config, context, switch)


def source(switch: Switch, **more: Any) -> tuple[Kind, AnySpec]:
    return "source", SourceSpec("piece", Polled, opened(switch), claims=("piece.measured",), **more)


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(SELF_MONITORING)


def test_each_rule_reads_what_is_measured_and_says_what_to_do() -> None:
    measured = {metric.name for metric in METRICS}
    assert {rule.metric for rule in OURSELVES if rule.metric} <= measured
    assert {rule.name for rule in OURSELVES if not rule.metric} == EVENTS
    assert all(rule.annotations.keys() == {"summary", "step"} for rule in OURSELVES)


# The thresholds that are shipped


@asynccontextmanager
async def shipped() -> AsyncGenerator[Rig]:
    async with engine(metrics=Catalog([*METRICS, Metric("other", "1", "Another.")])) as rig:
        yield rig


@pytest.mark.parametrize(
    ("rule", "metric", "fine", "bad", "labels"),
    [
        ("Pipeline Behind", "pipeline_lag", 30_000, 30_001, {"pipeline": "alerts"}),
        ("Queue Too Old", "queue_age", 60_000, 60_001, {"stage": "live/sse"}),
        ("Source Silent", "source_overdue", 30_000, 30_001, {"source": "host"}),
        ("Stage Quarantined", "stage_quarantined", 0, 1, {"stage": "sse"}),
        (
            "Notifications Not Delivered",
            "check_state",
            0,
            1,
            {"check": "notifications-email", "about": "notifications"},
        ),
        ("Disk Nearly Full", "disk_headroom", 4, 3.99, {}),
        ("Journal Nearly Full", "journal_fill", 80, 80.1, {}),
        ("Clock Was Set", "clock_step", 2000, 2001, {}),
        ("Reload Failed", "reload_failed", 0, 1, {}),
    ],
)
async def test_beyond_its_threshold_it_fires_at_once_and_back_at_it_it_ends(
    rule: str, metric: str, fine: float, bad: float, labels: dict[str, str]
) -> None:
    async with shipped() as rig:
        await rig.measure(metric, fine, **labels)
        assert await rig.names() == []
        await rig.measure(metric, bad, **labels)
        assert await rig.names() == [rule]
        await rig.measure(metric, fine, **labels)
        assert await rig.names() == []


async def test_what_an_emitter_lost_is_told_for_five_minutes() -> None:
    async with shipped() as rig:
        await rig.measure("emitter_events_lost", 3.0)
        assert await rig.names() == ["Events Lost"]
        await rig.keep_measuring("other", 1.0, 299)
        assert await rig.names() == ["Events Lost"]
        await rig.keep_measuring("other", 1.0, 4)
        assert await rig.names() == []


async def test_the_report_of_an_emitter_is_a_figure(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.emit({"type": "emitter.report", "source": "/ci", "measures": {"dropped": 7}})
        await server.until("metrics/emitter_events_lost", lambda data: data["current"] == 7)
        (alert,) = await server.until("alerts", len)
        assert alert["rule"] == "Events Lost"


@pytest.mark.parametrize(
    ("rule", "metric", "fine", "bad"),
    [
        ("Alert Evaluations Missed", "alert_evaluations_missed", 0, 1),
        ("Server Stood Still", "loop_lag", 5000, 5001),
        ("Events Refused", "events_refused", 0, 1),
    ],
)
async def test_what_is_over_at_once_is_told_for_two_minutes(rule: str, metric: str, fine: float, bad: float) -> None:
    async with shipped() as rig:
        await rig.measure(metric, fine)
        assert await rig.names() == []
        await rig.measure(metric, bad)
        assert await rig.names() == [rule]
        await rig.keep_measuring(metric, fine, 118)
        assert await rig.names() == [rule]
        await rig.keep_measuring(metric, fine, 4)
        assert await rig.names() == []


@pytest.mark.parametrize(
    ("rule", "metric", "seconds", "bad", "labels"),
    [
        ("Stage Failing", "stage_failing", 60, 1, {"stage": "sse"}),
        ("Health Check Unhealthy", "check_state", 30, 2, {"check": "metrics-store"}),
    ],
)
async def test_what_may_mend_itself_has_a_while_for_it(
    rule: str, metric: str, seconds: int, bad: float, labels: dict[str, str]
) -> None:
    async with shipped() as rig:
        for second in range(seconds + 1):
            await rig.measure(metric, bad, **labels)
            assert await rig.names() == ([] if second < seconds else [rule])
            await rig.clock.advance(1)
        await rig.measure(metric, 0, **labels)
        assert await rig.names() == []


@pytest.mark.parametrize(
    ("rule", "metric", "bad", "labels"),
    [
        ("Pipeline Behind", "pipeline_lag", 40_000, {"pipeline": "slow"}),
        ("Queue Too Old", "queue_age", 70_000, {"stage": "slow/piece"}),
        ("Stage Quarantined", "stage_quarantined", 1, {"stage": "piece"}),
        ("Source Silent", "source_overdue", 40_000, {"source": "piece"}),
        ("Stage Failing", "stage_failing", 1, {"stage": "piece"}),
        ("Health Check Unhealthy", "check_state", 2, {"check": "piece"}),
        ("Notifications Not Delivered", "check_state", 1, {"check": "notifications", "about": "notifications"}),
    ],
)
async def test_what_was_taken_out_while_the_server_was_down_is_nobodys_trouble_any_more(
    rule: str, metric: str, bad: float, labels: dict[str, str]
) -> None:
    async with shipped() as rig:
        await rig.measure(metric, bad, **labels)
        await rig.clock.advance(61)
        await rig.measure(metric, bad, **labels)
        assert await rig.names() == [rule]
        await rig.clock.advance(599)
        assert await rig.names() == [rule]
        await rig.clock.advance(2)
        assert await rig.names() == []
        reason = (await rig.history())[0].reason
        assert reason and reason.sentence == "nothing was heard of it for 10m, and its rule calls that good"


# The faults


async def test_a_pipeline_that_stands_still_is_behind(tmp_path: Path) -> None:
    switch = Switch()
    spec = ProcessorSpec("piece", NoOptions, opened(switch))
    slow = (("pipelines", "slow"), {"sources": ["self"], "processors": ["piece"], "sinks": ["sse"]})
    changes: Sequence[Change] = ((("processors", "piece"), {}), slow, hastened("Pipeline Behind", above="700ms"))
    async with node(tmp_path, *changes, specs=[("processor", spec)]) as server:
        await anyio.sleep(0.5)
        switch.hang()
        alert = await fired(server, "Pipeline Behind", pipeline="slow")
        assert alert["severity"] == "error"
        switch.going.set()
        await over(server, "Pipeline Behind")


async def test_a_sink_that_takes_nothing_lets_its_queue_grow_old(tmp_path: Path) -> None:
    switch = Switch()
    spec = SinkSpec("piece", NoOptions, opened(switch))
    apart = (("pipelines", "slow"), {"sources": ["self"], "sinks": ["piece"]})
    changes: Sequence[Change] = ((("sinks", "piece"), {}), apart, hastened("Queue Too Old", above="700ms"))
    async with node(tmp_path, *changes, specs=[("sink", spec)]) as server:
        switch.hang()
        await fired(server, "Queue Too Old", stage="slow/piece")
        switch.going.set()
        await over(server, "Queue Too Old")


async def test_a_source_that_sent_at_an_interval_and_stops_to_is_silent(tmp_path: Path) -> None:
    switch = Switch()
    changes: Sequence[Change] = ((("sources", "piece"), {}), hastened("Source Silent", above="2s"))
    async with node(tmp_path, *changes, specs=[source(switch)]) as server:
        await anyio.sleep(3.0)
        assert await server.data("alerts") == []
        switch.hang()
        await fired(server, "Source Silent", source="piece")
        switch.going.set()
        await over(server, "Source Silent")


async def test_a_source_that_has_never_sent_is_not_silent(tmp_path: Path) -> None:
    switch = Switch()
    switch.hang()
    changes: Sequence[Change] = ((("sources", "piece"), {}), hastened("Source Silent", above="300ms"))
    async with node(tmp_path, *changes, specs=[source(switch)]) as server:
        await anyio.sleep(1.5)
        assert await server.data("alerts") == []


async def test_a_stage_that_fails_is_told_and_one_that_was_given_up_too(tmp_path: Path) -> None:
    switch = Switch()
    switch.broken = True
    supervision = (("supervision",), {"restarts": 2, "release_after": "1h"})
    changes: Sequence[Change] = ((("sources", "piece"), {}), supervision, hastened("Stage Failing", **{"for": "0s"}))
    async with node(tmp_path, *changes, specs=[source(switch)]) as server:
        alert = await fired(server, "Stage Quarantined", stage="piece")
        failing = [one for one in await server.data("alerts/history?period=1h") if one["rule"] == "Stage Failing"]
        assert failing and all(one["labels"] == {"stage": "piece"} for one in failing)
        assert alert["severity"] == "error"
        await over(server, "Stage Failing")  # It is not tried any more.
        switch.broken = False
        await server.post("stages/piece/restart")
        await over(server, "Stage Quarantined")


async def test_a_check_that_is_unhealthy_is_an_alert(tmp_path: Path) -> None:
    switch = Switch()
    switch.going.set()
    check = Check("piece", Piece.check, "As the test says.", interval=Interval("50ms"))
    changes: Sequence[Change] = ((("sources", "piece"), {}), hastened("Health Check Unhealthy", **{"for": "300ms"}))

    class Calm(Piece):
        async def _do(self) -> None:
            await self.switch.going.wait()

    spec = SourceSpec(
        "piece", Polled, lambda config, context: Calm(config, context, switch), claims=("piece.measured",),
        checks=(check,),
    )  # fmt: skip
    async with node(tmp_path, *changes, specs=[("source", spec)]) as server:
        switch.broken = True
        await fired(server, "Health Check Unhealthy", check="piece")
        switch.broken = False
        await over(server, "Health Check Unhealthy")


async def test_a_channel_that_is_down_is_one_alert_and_no_storm(tmp_path: Path) -> None:
    async with watchman(*["503 Busy"] * 200) as there:
        team = {
            "name": "team", "url": there.url, "allow_internal": True,
            "retries": {"attempts": 1000, "initial": "50ms", "max": "100ms"},
        }  # fmt: skip
        changes: Sequence[Change] = (
            (("sinks", "webhooks"), {"channels": [team], "patience": "200ms"}),
            (("health", "checks"), {"notifications": {"interval": "100ms"}}),
        )
        async with node(tmp_path, *changes) as server:
            await server.emit({"type": "build.finished", "outcome": "failure", "source": "/ci"})
            await fired(server, "Notifications Not Delivered", check="notifications")
            await anyio.sleep(2)
            found = await server.data("alerts/history?period=1h")
            assert sorted(one["rule"] for one in found) == ["Build Failed", "Notifications Not Delivered"]
            assert len(await server.data("webhooks/deliveries")) == 2  # Each alert is told once, and tried again.
            there.answers.clear()
            await over(server, "Notifications Not Delivered")
            await server.until("webhooks/deliveries?status=waiting", lambda data: not data)
            assert len(await server.data("alerts/history?period=1h")) == 2


async def test_a_channel_of_any_kind_that_tells_nobody_is_an_alert(tmp_path: Path) -> None:
    changes: Sequence[Change] = (
        (("sinks", "command"), {"channels": [{"name": "pager", "command": ["/bin/false"]}]}),
        (("pipelines", "notify", "sinks"), ["webhooks", "heartbeat", "command"]),
        (("health", "checks"), {"notifications-command": {"interval": "100ms"}}),
    )
    async with node(tmp_path, *changes) as server:
        await server.emit({"type": "build.finished", "outcome": "failure", "source": "/ci"})
        await fired(server, "Notifications Not Delivered", check="notifications-command")


async def test_a_journal_that_nobody_empties_is_told_before_it_is_full(tmp_path: Path) -> None:
    switch = Switch()
    spec = ProcessorSpec("piece", NoOptions, opened(switch))
    changes: Sequence[Change] = (
        (("processors", "piece"), {}),
        (("pipelines", "metrics", "processors"), ["piece", "windows"]),
        (("intake", "journal"), {"max_bytes": "4MiB"}),
        (("intake", "snapshot_every"), "1s"),
        (("supervision",), {"process_within": "10m"}),  # However long it takes to fill the journal.
    )
    async with node(tmp_path, *changes, specs=[("processor", spec)]) as server:
        switch.hang()
        for first in range(0, 10_000, 20):
            if server.node.supervisor.bus.fill > 0.83:
                break
            await server.emit(
                *(
                    {"type": "build.queued", "id": f"e-{n}", "source": "/ci", "data": {"pad": f"{n}" * 1000}}
                    for n in range(first, first + 20)
                )
            )
        assert (await fired(server, "Journal Nearly Full"))["unit"] == "%"
        switch.going.set()
        await over(server, "Journal Nearly Full")


async def test_rules_that_were_looked_at_too_late_are_told_of_afterwards(tmp_path: Path) -> None:
    switch = Switch()
    spec = ProcessorSpec("piece", NoOptions, opened(switch))
    changes: Sequence[Change] = (
        (("processors", "piece"), {}),
        (("pipelines", "alerts", "processors"), ["piece"]),
        (("sinks", "alert-engine", "heartbeat"), "200ms"),
    )
    async with node(tmp_path, *changes, specs=[("processor", spec)]) as server:
        await server.until("alerts/heartbeat", lambda pulse: pulse["at"])
        switch.hang()
        await server.until("alerts/heartbeat", lambda pulse: pulse["missed"] == 1)
        await anyio.sleep(0.3)
        switch.going.set()
        assert (await fired(server, "Alert Evaluations Missed"))["value"] >= 1


class Settable(SystemClock):
    """The machine's clock, and somebody who sets it."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


@pytest.mark.parametrize("seconds", [60.0, -60.0])
async def test_a_clock_that_is_set_is_told(seconds: float, tmp_path: Path) -> None:
    clock = Settable()
    async with node(tmp_path, clock=clock) as server:
        clock.ahead = seconds
        alert = await fired(server, "Clock Was Set")
        assert alert["value"] == pytest.approx(60_000, abs=500) and alert["severity"] == "warning"


# The source


class Told:
    """What a node would say of itself."""

    def __init__(self) -> None:
        self.vitals: list[Vital] = []

    async def __call__(self, every: float) -> Sequence[Vital]:
        return self.vitals


def parts(events: Iterable[Any]) -> list[tuple[dict[str, float], dict[str, str]]]:
    return [(dict(event.measures), dict(event.labels)) for event in events if event.labels]


async def test_what_has_nothing_to_say_is_told_at_first_and_each_minute(clock: VirtualClock) -> None:
    told = Told()
    told.vitals = [Vital("queue_age", 0.0, {"stage": "a"}), Vital("journal_fill", 1.0)]
    context = Context("self", clock=clock, vitals=told)
    async with emitting(SELF_MONITORING, context=context, interval="10s") as events:

        async def read(times: int = 1) -> list[tuple[dict[str, float], dict[str, str]]]:
            seen: list[Any] = []
            for _ in range(times):
                await clock.advance(10)
                while events.statistics().current_buffer_used:
                    seen.append(events.receive_nowait())
            return parts(seen)

        zero, seven = ({"queue_age": 0.0}, {"stage": "a"}), ({"queue_age": 7.0}, {"stage": "a"})
        assert await read() == [zero]
        assert await read(5) == []
        assert await read() == [zero]
        told.vitals = [Vital("queue_age", 7.0, {"stage": "a"})]
        assert await read(2) == [seven, seven]
        told.vitals = []  # The sink is there no more.
        assert await read(3) == [zero]


async def test_of_what_nobody_knows_nothing_is_told_rather_than_that_it_is_well(clock: VirtualClock) -> None:
    told, check = Told(), {"check": "storage"}
    async with emitting(SELF_MONITORING, context=Context("self", clock=clock, vitals=told), interval="10s") as events:

        async def read(value: float | None) -> list[tuple[dict[str, float], dict[str, str]]]:
            told.vitals = [Vital("check_state", value, check)]
            await clock.advance(10)
            seen: list[Any] = []
            while events.statistics().current_buffer_used:
                seen.append(events.receive_nowait())
            return parts(seen)

        assert await read(2.0) == [({"check_state": 2.0}, check)]
        assert await read(None) == []
        assert await read(None) == []
        assert await read(0.0) == [({"check_state": 0.0}, check)]


class Refusing:
    """An intake that takes nothing for a while."""

    def __init__(self) -> None:
        self.is_full = False
        self.taken: list[Event] = []

    async def __call__(self, events: Sequence[Event], /, *, durable: bool = False) -> None:
        if self.is_full:
            raise Full("there is no room")
        self.taken += events

    def figures(self, metric: str) -> list[float]:
        return [event.measures[metric] for event in self.taken if metric in event.measures]


@asynccontextmanager
async def measuring(context: Context) -> AsyncGenerator[Refusing]:
    intake, stage = Refusing(), SelfMonitoring(SELF_MONITORING.config(interval=Interval("10s")), context)
    async with anyio.create_task_group() as group:
        group.start_soon(stage.run, intake)
        yield intake
        group.cancel_scope.cancel()


async def test_what_a_reading_counted_that_nobody_took_is_in_the_next(clock: VirtualClock) -> None:
    told = Told()
    async with measuring(Context("self", clock=clock, vitals=told)) as intake:
        for is_full, refused in ((False, 0.0), (True, 7.0), (True, 3.0), (False, 0.0), (False, 0.0)):
            intake.is_full, told.vitals = is_full, [Vital("events_refused", refused)]
            await clock.advance(10)
    assert intake.figures("events_refused") == [0.0, 10.0, 0.0]


async def test_that_something_is_over_is_told_though_nobody_took_it_at_first(clock: VirtualClock) -> None:
    told = Told()
    async with measuring(Context("self", clock=clock, vitals=told)) as intake:
        fails = Vital("stage_failing", 1.0, {"stage": "a"})
        for is_full, vitals in ((False, [fails]), (True, []), (False, [])):
            intake.is_full, told.vitals = is_full, vitals
            await clock.advance(10)
    assert intake.figures("stage_failing") == [1.0, 0.0]


async def test_what_was_missed_before_the_source_began_is_not_told_as_news(clock: VirtualClock) -> None:
    missed = [5, 5, 6, 2, 2]  # The last two of an engine that was started anew.

    async def call(method: str, path: str, fields: Mapping[str, Any]) -> Any:
        return {"missed": missed.pop(0)}

    async with measuring(Context("self", clock=clock, call=call)) as intake:
        await clock.advance(40)
    assert intake.figures("alert_evaluations_missed") == [0.0, 1.0, 2.0, 0.0]


async def test_a_loop_that_was_late_shows() -> None:
    context = Context("self")
    async with emitting(SELF_MONITORING, context=context, interval="400ms") as events:
        await anyio.sleep(0.05)
        time.sleep(0.5)  # noqa: ASYNC251  # That is the fault.
        first = await events.receive()
        assert 300 <= first.measures["loop_lag"] <= 2000


async def test_a_reading_that_nobody_takes_is_left_out() -> None:
    tries: list[float] = []

    async def emit(events: Sequence[Any], *, durable: bool = False) -> None:
        tries.append(time.monotonic())
        raise Full("there is no room")

    stage = SelfMonitoring(SELF_MONITORING.config(interval=Interval("50ms")), Context("self"))
    async with anyio.create_task_group() as group:
        group.start_soon(stage.run, emit)
        with anyio.fail_after(30):
            while len(tries) < 2:
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()
