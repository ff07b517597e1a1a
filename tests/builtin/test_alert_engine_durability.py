"""The alert engine: what survives restarts, crashes and failing disks, and what others are told."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from bers import Batch, BersError, Caller, Catalog, Context, Database, Event, Full, Metric
from bers.testing import VirtualClock, feed, run_pipeline, step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE
from bers_builtin.sinks.alert_engine.alerts import Alert
from bers_builtin.sinks.alert_engine.desk.answers import Answer, ListAlerts, ListHistory
from bers_builtin.sinks.alert_engine.engine import AlertEngine

METRICS = Catalog(
    [
        Metric("system_memory_usage", "%", "Memory."),
        Metric("build_performance", "ms", "Building."),
        Metric("error_rate", "%", "Failures.", 1.0),
    ]
)
OPERATOR = Caller("anonymous", "10.0.0.7")


@asynccontextmanager
async def engine(path: Path, clock: VirtualClock, **options: Any) -> AsyncGenerator[AlertEngine]:
    """An engine on a database file, as a process would open it."""
    database = Database(path / "state.db")
    context = Context("alert-engine", clock=clock, metrics=METRICS, state=database, environment="production")
    try:
        async with step(ALERT_ENGINE, context=context, **options).open() as stage:
            yield stage
    finally:
        database.close()


def memory(clock: VirtualClock, number: int, value: float = 90.0) -> Event:
    return Event(f"m-{number}", "bers:host", "system.sampled", clock.time(), measures={"system_memory_usage": value})


def build(clock: VirtualClock, number: int, value: float) -> Event:
    return Event(f"b-{number}", "/ci/test", "build.finished", clock.time(), measures={"build_performance": value})


async def write(stage: AlertEngine, end: int, *events: Event) -> None:
    await stage.write(Batch(events, reader="alerts", end=end))


async def alerts(stage: AlertEngine, status: str = "active,acknowledged") -> Sequence[Alert]:
    return (await stage.list_alerts(ListAlerts(status=status), OPERATOR)).data


def outbox(path: Path) -> Sequence[str]:
    """What another process finds, after this one was killed."""
    connection = sqlite3.connect(path / "state.db")
    try:
        return [kind for (kind,) in connection.execute("SELECT kind FROM alert_outbox ORDER BY seq")]
    finally:
        connection.close()


async def test_a_restart_in_the_middle_of_for_keeps_the_progress(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with engine(tmp_path, clock) as stage:
        assert await stage.position("alerts", 0, begin=0) == 0
        await write(stage, 1, memory(clock, 1))
        await clock.advance(40)
        await write(stage, 2, memory(clock, 2))
    rebooted = VirtualClock(clock.time() + 5)  # Its monotonic clock begins at 0 again.
    async with engine(tmp_path, rebooted) as stage:
        assert await stage.position("alerts", 0, begin=0) == 2
        assert [alert.status for alert in await alerts(stage, "pending")] == ["pending"]
        await rebooted.advance(14)
        await write(stage, 3, memory(rebooted, 3))
        assert await alerts(stage) == []
        await rebooted.advance(1)
        await write(stage, 4, memory(rebooted, 4))
        (alert,) = await alerts(stage)
        assert alert.fired_at == 1_700_000_060_000


async def test_a_wall_clock_set_back_during_a_restart_costs_nothing(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 1, memory(clock, 1))
        await clock.advance(40)
        await write(stage, 2, memory(clock, 2))
    rebooted = VirtualClock(clock.time() - 7200)
    async with engine(tmp_path, rebooted) as stage:
        await stage.position("alerts", 0, begin=0)
        await rebooted.advance(20)
        await write(stage, 3, memory(rebooted, 3))
        assert len(await alerts(stage)) == 1


async def test_a_restart_keeps_alerts_windows_and_what_can_be_reopened(tmp_path: Path) -> None:
    clock = VirtualClock()
    rates = [
        Event(f"r-{number}", "bers:env", "environment.detected", clock.time(), measures={"error_rate": 100.0})
        for number in range(4)
    ]
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 5, build(clock, 1, 6000.0), *rates)
        (slow,) = await alerts(stage)
        await stage.acknowledge(Answer(slow.id, "admin", "on it"), OPERATOR)
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        (slow,) = await alerts(stage)
        assert (slow.status, slow.count) == ("acknowledged", 1)
        await write(stage, 6, build(clock, 2, 10.0))
        assert await alerts(stage) == []
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 7, build(clock, 3, 7000.0))
        (again,) = await alerts(stage)
        assert (again.id, again.count) == (slow.id, 2)
        fifth = Event("r-5", "bers:env", "environment.detected", clock.time(), measures={"error_rate": 100.0})
        await write(stage, 8, fifth)
        assert {alert.rule for alert in await alerts(stage)} == {"Build Performance Degraded", "Error Rate High"}


async def test_nothing_goes_back_to_pending(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 1, memory(clock, 1))
        await clock.advance(60)
        await write(stage, 2, memory(clock, 2))
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 3, memory(clock, 3))
        assert [alert.status for alert in await alerts(stage, "pending,active")] == ["active"]
    assert outbox(tmp_path) == ["firing"]


async def test_what_was_not_committed_is_read_again_and_counts_once(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with engine(tmp_path, clock, commit_every="1h") as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 1, build(clock, 1, 6000.0))
        await write(stage, 2, build(clock, 2, 6000.0))  # Counted, and not committed yet.
        assert [alert.count for alert in await alerts(stage)] == [2]
        killed = tmp_path / "killed"
        killed.mkdir()
        source = sqlite3.connect(tmp_path / "state.db")
        with sqlite3.connect(killed / "state.db") as copy:
            source.backup(copy)
        copy.close()
        source.close()
    async with engine(killed, clock) as stage:
        assert await stage.position("alerts", 0, begin=0) == 1
        await write(stage, 2, build(clock, 2, 6000.0))
        assert [alert.count for alert in await alerts(stage)] == [2]
    assert outbox(killed) == ["firing"]


@pytest.mark.parametrize("cut", [1, 3, 7])
async def test_a_replay_from_any_cut_makes_the_same_transitions(tmp_path: Path, cut: int) -> None:
    clock = VirtualClock()
    values = [6000.0, 10.0, 6000.0, 7000.0, 10.0, 10.0, 6000.0, 10.0]
    bus = await feed(*[[build(clock, number, value)] for number, value in enumerate(values, 1)])
    context = Context("alert-engine", clock=clock, metrics=METRICS, state=Database(tmp_path / "state.db"))
    for until in (cut, len(values)):
        engine = step(ALERT_ENGINE, context=context, flapping={"enabled": False})
        await run_pipeline(bus, sinks=[engine], begin=0, until=until)
    context.state.close()
    assert outbox(tmp_path) == ["firing", "resolved"] * 3


async def test_a_commit_that_fails_is_read_back(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await stage.position("other", 0, begin=0)
        state = stage.context.state
        await state.run(lambda connection: connection.execute("ALTER TABLE alert_outbox RENAME TO gone"))
        with pytest.raises(sqlite3.OperationalError):
            await write(stage, 1, build(clock, 1, 6000.0))
        await state.run(lambda connection: connection.execute("ALTER TABLE gone RENAME TO alert_outbox"))
        with pytest.raises(BersError, match="ask for its position"):
            await write(stage, 2, build(clock, 2, 6000.0))
        assert (await stage.look()).status == "unhealthy"
        assert await stage.position("alerts", 0, begin=0) == 0
        with pytest.raises(BersError, match="ask for its position"):
            await stage.write(Batch((), reader="other", end=5))
        assert await alerts(stage) == []
        await write(stage, 1, build(clock, 1, 6000.0))
        assert [alert.count for alert in await alerts(stage)] == [1]
        assert (await stage.look()).status == "healthy"


async def test_progress_is_committed_without_a_transition(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 1, memory(clock, 1))
        reader = sqlite3.connect(tmp_path / "state.db")
        try:
            assert reader.execute("SELECT position FROM positions").fetchall() == [(0,)]
            await clock.advance(0.25)
            await alerts(stage)
            assert reader.execute("SELECT position FROM positions").fetchall() == [(1,)]
            assert reader.execute("SELECT count(*) FROM alert_series").fetchall() == [(1,)]
            await stage.write(Batch((), reader="alerts", end=2))
            await clock.advance(0.5)
            await alerts(stage)
            assert reader.execute("SELECT position FROM positions").fetchall() == [(1,)]  # Only an end to tell.
            await clock.advance(0.75)
            await alerts(stage)
            assert reader.execute("SELECT position FROM positions").fetchall() == [(2,)]
        finally:
            reader.close()


async def test_an_alert_whose_rule_is_gone_ends(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 1, build(clock, 1, 6000.0), memory(clock, 1))
    changed = {"name": "Memory Usage High", "metric": "system_memory_usage", "above": "95%", "for": "60s"}
    async with engine(tmp_path, clock, defaults=False, rules=[changed]) as stage:
        await stage.position("alerts", 0, begin=0)
        assert await alerts(stage, "pending,active") == []
    async with engine(tmp_path, clock) as stage:
        (ended,) = (await stage.list_history(ListHistory(), OPERATOR)).data
        assert ended.resolution is not None
        assert (ended.status, ended.resolution.notes) == ("resolved", "its rule was removed")
    assert outbox(tmp_path) == ["firing", "resolved"]


async def test_an_alert_whose_rule_means_something_else_now_ends_and_new_evidence_reopens_it(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 1, build(clock, 1, 6000.0))
        (before,) = await alerts(stage)
    changed = {"name": "Build Performance Degraded", "metric": "build_performance", "above": "7s"}
    async with engine(tmp_path, clock, rules=[changed]) as stage:
        await stage.position("alerts", 0, begin=0)
        assert await alerts(stage) == []
        (ended,) = (await stage.list_history(ListHistory(), OPERATOR)).data
        assert ended.resolution is not None and ended.reason is not None
        assert (ended.resolution.reason, ended.reason.word) == ("rule_changed", "rule_changed")
        await write(stage, 2, build(clock, 2, 6000.0))
        assert await alerts(stage) == []
        await write(stage, 3, build(clock, 3, 9000.0))
        (again,) = await alerts(stage)
        assert (again.id, again.count, again.threshold) == (before.id, 2, 7000.0)
    assert outbox(tmp_path) == ["firing", "resolved", "firing"]


async def test_an_alert_outlives_a_change_of_what_its_rule_tells(tmp_path: Path) -> None:
    clock = VirtualClock()
    rule = {"name": "Slow", "metric": "build_performance", "above": "5s"}
    async with engine(tmp_path, clock, rules=[rule], defaults=False) as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 1, build(clock, 1, 6000.0))
        (before,) = await alerts(stage)
    told = {"severity": "error", "annotations": {"step": "Wait."}, "incidents": True}
    async with engine(tmp_path, clock, rules=[rule | told], defaults=False) as stage:
        await stage.position("alerts", 0, begin=0)
        assert await alerts(stage) == [before]
    assert outbox(tmp_path) == ["firing"]


# What others are told


class Intake:
    """Takes events as the intake would: repeats are known by their source and id."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], Event] = {}
        self.trouble: list[Exception] = []
        self.refused = anyio.Event()
        self.news = anyio.Event()

    async def __call__(self, events: Sequence[Event], *, durable: bool = False) -> None:
        assert durable
        if self.trouble:
            self.refused.set()
            raise self.trouble.pop()
        for event in events:
            self.events.setdefault((event.source, event.id), event)
        self.news.set()
        self.news = anyio.Event()

    async def wait_for(self, count: int) -> Sequence[Event]:
        with anyio.fail_after(30):
            while len(self.events) < count:
                await self.news.wait()
        return list(self.events.values())


async def test_transitions_are_told_in_order_as_events(tmp_path: Path) -> None:
    clock, intake = VirtualClock(), Intake()
    async with engine(tmp_path, clock) as stage, anyio.create_task_group() as group:
        group.start_soon(stage.run, intake)
        await stage.position("alerts", 0, begin=0)
        await write(stage, 1, build(clock, 1, 6000.0))
        (firing,) = await intake.wait_for(1)
        (alert,) = await alerts(stage)
        assert (firing.id, firing.source, firing.type, firing.subject) == (
            "t-1",
            "bers:alert-engine",
            "alert.firing",
            alert.id,
        )
        assert firing.labels == {"rule": "Build Performance Degraded", "severity": "error"}
        assert (firing.data["ruleId"], firing.data["firedAt"]) == ("build-performance-degraded", 1_700_000_000_000)
        assert (firing.environment, firing.measures) == ("production", {})
        await write(stage, 2, firing)  # Its own events mean nothing to it.
        await stage.acknowledge(Answer(alert.id, "admin"), OPERATOR)
        await stage.resolve(Answer(alert.id, "admin"), OPERATOR)
        events = await intake.wait_for(3)
        assert [(event.id, event.type) for event in events[1:]] == [
            ("t-2", "alert.acknowledged"),
            ("t-3", "alert.resolved"),
        ]
        group.cancel_scope.cancel()


async def test_whoever_is_killed_while_telling_tells_again_by_the_same_id(tmp_path: Path) -> None:
    clock, intake = VirtualClock(), Intake()
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 2, build(clock, 1, 6000.0), build(clock, 2, 10.0))

        async def emit_and_die(events: Sequence[Event], *, durable: bool = False) -> None:
            await intake(events, durable=durable)
            raise RuntimeError("killed")

        with pytest.raises(RuntimeError, match="killed"):
            await stage.run(emit_and_die)
    async with engine(tmp_path, clock) as stage, anyio.create_task_group() as group:
        group.start_soon(stage.run, intake)
        await stage.position("alerts", 0, begin=0)
        await write(stage, 3, build(clock, 3, 6000.0))
        events = await intake.wait_for(3)
        assert [event.id for event in events] == ["t-1", "t-2", "t-3"]
        group.cancel_scope.cancel()


async def test_a_full_bus_is_waited_for(tmp_path: Path) -> None:
    clock, intake = VirtualClock(), Intake()
    intake.trouble = [Full("no room", retry_after=7.0)]
    async with engine(tmp_path, clock, commit_every="1h") as stage, anyio.create_task_group() as group:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 1, build(clock, 1, 6000.0))
        group.start_soon(stage.run, intake)
        with anyio.fail_after(30):
            await intake.refused.wait()
        await clock.advance(6)
        assert not intake.events
        await clock.advance(1)
        assert len(await intake.wait_for(1)) == 1
        group.cancel_scope.cancel()


async def test_what_a_full_bus_refuses_after_a_restart_is_told_once_there_is_room(tmp_path: Path) -> None:
    clock, intake = VirtualClock(), Intake()
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 1, build(clock, 1, 6000.0))
    intake.trouble = [Full("no room", retry_after=7.0)]
    async with engine(tmp_path, clock) as stage, anyio.create_task_group() as group:
        await stage.position("alerts", 0, begin=0)
        group.start_soon(stage.run, intake)
        with anyio.fail_after(30):
            await intake.refused.wait()
        await clock.advance(7)
        assert len(await intake.wait_for(1)) == 1
        group.cancel_scope.cancel()


async def test_an_outbox_that_nobody_empties_shows_in_the_health(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with engine(tmp_path, clock, commit_every="1h") as stage:
        await stage.position("alerts", 0, begin=0)
        await write(stage, 1, build(clock, 1, 6000.0))
        assert (await stage.look()).status == "healthy"
        await clock.advance(31)
        finding = await stage.look()
        assert (finding.status, finding.message) == ("degraded", "alerts wait to be told, for 31s already")


async def test_a_position_alone_is_written_down_after_a_transition_too(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await clock.advance(1)  # It waits for something to write.
        await write(stage, 1, build(clock, 1, 9000.0))
        await write(stage, 2, Event("e", "/ci", "nothing.special", clock.time()))
        with anyio.fail_after(30):
            while position(tmp_path) != 2:
                await clock.advance(0.5)


def position(path: Path) -> int:
    connection = sqlite3.connect(path / "state.db")
    try:
        return int(connection.execute("SELECT position FROM positions").fetchone()[0])
    finally:
        connection.close()
