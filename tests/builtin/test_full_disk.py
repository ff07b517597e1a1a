"""What durable sinks do while their disk does not let them write: they wait, say so, lose nothing and stay open."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from bers import Batch, Caller, Catalog, Context, Database, Event, Finding, Metric, Refused, Unwritable, Window
from bers.notifications.notifier import Notifier
from bers.testing import VirtualClock, step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE
from bers_builtin.sinks.alert_engine.desk.answers import Answer, ListAlerts
from bers_builtin.sinks.alert_engine.engine import AlertEngine
from bers_builtin.sinks.rest_store import REST_STORE, RestStore, read_windows
from bers_builtin.sinks.webhooks import WEBHOOKS
from tests.unit.full_disk import no_file_beyond

NOW = 1_700_000_000.0
METRICS = Catalog([Metric("latency", "ms", "Latency."), Metric("build_performance", "ms", "Building.")])
OPERATOR = Caller("ada")


async def until(clock: VirtualClock, look: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not look():
            await clock.advance(0.5)


@asynccontextmanager
async def store(folder: Path, clock: VirtualClock, **options: object) -> AsyncGenerator[RestStore]:
    context = Context("store", data_dir=folder, clock=clock, metrics=METRICS)
    async with step(REST_STORE, context=context, **options).open() as stage:
        assert isinstance(stage, RestStore)
        yield stage


def measured(end: int) -> Batch:
    """A batch whose windows and details are new, so that its commit takes room."""
    windows = [Window.of(("latency", (("n", f"{end}-{n}"),), NOW, 1.0), float(n), NOW, end) for n in range(50)]
    events = [Event(f"e-{end}-{n}", "/ci", "build.finished", NOW, subject="x" * 500) for n in range(50)]
    return Batch(events, windows, "metrics", 0, end)


async def test_the_store_holds_what_it_cannot_commit_and_commits_it_by_itself(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with store(tmp_path, clock, buffer=500, tiers=[{"width": "1s", "keep": "7d"}]) as stage:
        assert await stage.position("metrics", 0, begin=0) == 0
        await stage.write(measured(1))
        await stage.commit()
        await stage.fold()
        size = max(path.stat().st_size for path in tmp_path.iterdir())
        with no_file_beyond(max(size, 1 << 15)):
            await stage.write(measured(2))
            found = await healthy_no_more(stage, clock)
            assert "metrics.db cannot be written" in found.message and "disk I/O error" in found.message
            assert str(tmp_path) in found.remediation
            ends = 2
            with pytest.raises(Unwritable), anyio.fail_after(20):
                while True:
                    await stage.write(measured(ends + 1))
                    ends += 1
            assert ends < 15, "what waits in memory has an end"
            assert await stage.position("metrics", 0, begin=0) == ends, "a pipeline goes on behind what waits"
            await clock.advance(3600)  # An hour of attempts, and the stage is open.
        await until(clock, lambda: not stage.utilization()["overall"])
        assert (await stage.check()).status == "healthy"
        await stage.write(measured(ends + 1))
    windows = read_windows(tmp_path / "metrics.db")
    assert sum(window.count for window in windows) == 50 * (ends + 1)
    async with store(tmp_path, clock) as again:
        assert await again.position("metrics", 0, begin=0) == ends + 1


async def healthy_no_more(stage: RestStore, clock: VirtualClock) -> Finding:
    with anyio.fail_after(20):
        while (found := await stage.check()).status == "healthy":
            await clock.advance(0.5)
    return found


@asynccontextmanager
async def engine(folder: Path, clock: VirtualClock) -> AsyncGenerator[AlertEngine]:
    state = Database(folder / "state.db")
    context = Context("alert-engine", clock=clock, metrics=METRICS, state=state)
    rules = [{"name": "Slow", "metric": "build_performance", "above": "1s"}]
    try:
        async with step(ALERT_ENGINE, context=context, rules=rules).open() as stage:
            assert isinstance(stage, AlertEngine)
            yield stage
    finally:
        state.close()


def slow(n: int) -> Event:
    return Event(f"b-{n}", "/ci", "build.finished", NOW, measures={"build_performance": 9000.0}, labels={"os": f"o{n}"})


async def test_transitions_wait_for_the_disk_and_are_told_when_it_has_room(tmp_path: Path) -> None:
    clock, told, fired = VirtualClock(NOW), list[str](), ""

    async def emit(events: list[Event], **_: object) -> None:
        told.extend(event.id for event in events)

    async with engine(tmp_path, clock) as stage, anyio.create_task_group() as group:
        assert await stage.position("alerts", 0, begin=0) == 0
        group.start_soon(stage.run, emit)  # type: ignore[arg-type]
        with no_file_beyond(max(path.stat().st_size for path in tmp_path.iterdir())):
            await stage.write(Batch([slow(1)], reader="alerts", end=1))
            found = await stage.look()
            assert found.status == "unhealthy" and "wait in memory: disk I/O error" in found.message
            assert "Make room" in found.remediation
            with pytest.raises(Unwritable):  # One batch waits, and the next stays in the journal.
                await stage.write(Batch([slow(2)], reader="alerts", end=2))
            with pytest.raises(Unwritable):
                await stage.position("alerts", 0, begin=0)
            with pytest.raises(Refused, match="cannot be written down"):
                await stage.list_alerts(ListAlerts(), OPERATOR)
            await clock.advance(3600)
            assert told == [], "nobody is told what is not written down"
            await until(clock, lambda: stage.heart.pulse.fault)
            assert stage.heart.pulse.at is None and "cannot be written down" in stage.heart.pulse.fault
        await until(clock, lambda: told)
        assert await stage.position("alerts", 0, begin=0) == 1
        await stage.write(Batch([slow(2)], reader="alerts", end=2))
        fired = (await stage.list_alerts(ListAlerts(), OPERATOR)).data[0].id
        assert (await stage.look()).status == "healthy"
        group.cancel_scope.cancel()
        assert len(told) == len(set(told)) >= 1
    async with engine(tmp_path, clock) as stage:
        assert await stage.position("alerts", 0, begin=0) == 2
        assert (await stage.list_alerts(ListAlerts(), OPERATOR)).data[0].id == fired


async def test_an_answer_that_cannot_be_written_down_is_refused_and_kept_for_later(tmp_path: Path) -> None:
    clock = VirtualClock(NOW)
    async with engine(tmp_path, clock) as stage:
        await stage.position("alerts", 0, begin=0)
        await stage.write(Batch([slow(1)], reader="alerts", end=1))
        (alert, *_) = (await stage.list_alerts(ListAlerts(), OPERATOR)).data
        with no_file_beyond(max(path.stat().st_size for path in tmp_path.iterdir())), pytest.raises(Unwritable):
            await stage.acknowledge(Answer(alert.id), OPERATOR)
        with anyio.fail_after(20):
            while (await stage.look()).status == "unhealthy":  # Nobody tells what it has to tell.
                await clock.advance(0.5)
        assert (await stage.acknowledge(Answer(alert.id), OPERATOR)).status == "acknowledged"


async def test_webhooks_keep_their_place_while_it_cannot_be_written_down(tmp_path: Path) -> None:
    clock, state = VirtualClock(NOW), Database(tmp_path / "state.db")
    async with step(WEBHOOKS, context=Context("webhooks", clock=clock, state=state)).open() as stage:
        assert isinstance(stage, Notifier)
        assert await stage.position("notify", 0, begin=0) == 0
        await stage.write(Batch([slow(1)], reader="notify", end=1))
        await stage.write(Batch([slow(2)], reader="notify", end=2))  # It leads to nothing, so it can wait.
        with no_file_beyond(max(path.stat().st_size for path in tmp_path.iterdir())):
            await clock.advance(3600)
            with pytest.raises(sqlite3.OperationalError):
                await stage.position("notify", 0, begin=0)
        await clock.advance(2)
        assert await stage.position("notify", 0, begin=0) == 2
    state.close()
