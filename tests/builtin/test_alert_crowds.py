"""Thousands of living alerts hold up nobody: whatever goes through all of them lets others have their turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from bers import Database, Event
from bers.testing import VirtualClock
from bers_builtin.sinks.alert_engine.alerts import Alert
from bers_builtin.sinks.alert_engine.desk.answers import AskAlert, AskStats, ListAlerts
from bers_builtin.sinks.alert_engine.desk.listing import get_alert
from bers_builtin.sinks.alert_engine.evaluator import Evaluator
from bers_builtin.sinks.alert_engine.slices import SLICE, at_once, in_slices
from bers_builtin.sinks.alert_engine.suppression.matching import Matchers, Meant
from bers_builtin.sinks.alert_engine.suppression.silences import Kept, Silence
from bers_builtin.sinks.alert_engine.written.ledger import Memory
from tests.builtin.test_alert_engine import OPERATOR, engine, rule
from tests.builtin.test_alert_evaluator import evaluator

CROWD = 5000
ROOM = {"max_alerts": 2 * CROWD}


@dataclass
class Turns:
    """How often somebody else had a turn."""

    count: int = 0


@asynccontextmanager
async def others() -> AsyncGenerator[Turns]:
    turns = Turns()

    async def take() -> None:
        while True:
            await checkpoint()
            turns.count += 1

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await checkpoint()
        turns.count = 0
        yield turns
        group.cancel_scope.cancel()


def crowd(clock: VirtualClock, size: int = CROWD) -> list[Event]:
    """That many series beyond their threshold."""
    return [
        Event(f"e-{n}", "s", "custom.measured", clock.time(), measures={"queue": 11.0}, labels={"name": f"n{n}"})
        for n in range(size)
    ]


def _pieces(work: Generator[None, None, None]) -> int:
    """In how many pieces it is done: between any two of them others may have their turn."""
    return sum(1 for _ in work)


async def many(clock: VirtualClock, **options: Any) -> Evaluator:
    usual: dict[str, Any] = {"rules": [rule(severity="error")], "rate_limiting": ROOM, "escalation": [], "repeat": {}}
    mind = evaluator(clock, **usual | options)
    await mind.read(crowd(clock))
    assert len(mind.register.live) == CROWD
    mind.written()
    return mind


def kept(number: int, mind: Evaluator, *matchers: str, starts: float = 0.0) -> Kept:
    at = mind.moment.at + starts
    silence = Silence(
        id=f"s-{number}", state="pending" if starts else "active", matchers=list(matchers), created_by="ada",
        comment="why", created_at=0, starts=0, ends=0,
    )  # fmt: skip
    return Kept(silence, at, at + 3600)


async def test_long_work_is_cut_into_slices_and_comes_to_the_same() -> None:
    def work() -> Generator[None, None, str]:
        for _ in range(20):
            until = perf_counter() + SLICE
            while perf_counter() < until:
                pass
            yield
        return "done"

    assert at_once(work()) == "done"
    async with others() as turns:
        assert await in_slices(work()) == "done"
        assert turns.count >= 19


async def test_who_is_escalated_at_one_moment_holds_up_nobody(clock: VirtualClock) -> None:
    mind = await many(clock, escalation=[{"after": "5m", "contact": "b"}])
    await clock.advance(301)
    async with others() as turns:
        await mind.look_again()
        assert turns.count >= 5
    assert [step.kind for step in mind.register.transitions] == ["escalated"] * CROWD


async def test_a_silence_of_everything_that_begins_holds_up_nobody(clock: VirtualClock) -> None:
    mind = await many(clock)
    mind.register.suppressions.silences.add(kept(1, mind, "rule=Long Queue", starts=60.0), mind.moment)
    await clock.advance(61)
    async with others() as turns:
        await mind.look_again()
        assert turns.count >= 5
    assert [step.kind for step in mind.register.transitions] == ["suppressed"] * CROWD


async def test_what_is_due_before_events_are_read_holds_up_nobody(clock: VirtualClock) -> None:
    mind = await many(clock)
    mind.register.suppressions.silences.add(kept(1, mind, "rule=Long Queue", starts=60.0), mind.moment)
    await clock.advance(61)
    async with others() as turns:
        await mind.read([])
        assert turns.count >= 5
    assert {alert.status for alert in mind.register.live.values()} == {"suppressed"}


async def test_what_is_to_be_written_down_is_gathered_in_slices(clock: VirtualClock) -> None:
    mind = evaluator(clock, rules=[rule(**{"for": "1h"})])
    await mind.read(crowd(clock))
    async with others() as turns:
        changes = await in_slices(mind.gathering())
        await in_slices(mind.writing_off())
        assert turns.count >= 2
    assert len(changes.series) == CROWD


async def test_a_reload_that_changes_the_rule_of_many_alerts_stops_at_each_of_them(clock: VirtualClock) -> None:
    rules: dict[str, Any] = {"rate_limiting": ROOM, "escalation": [], "repeat": {}}
    before = evaluator(clock, rules=[rule(severity="error")], **rules)
    await before.read(crowd(clock))
    changes = before.changes()
    live = sorted(before.register.live.values(), key=lambda alert: alert.fingerprint)
    last = {alert.fingerprint: alert.id for alert in live}
    courses = [(name, course) for name, course in changes.courses if course]
    memory = Memory(changes.clock, changes.series, live, [], last, courses)

    mind = evaluator(clock, rules=[rule(severity="error", above="12")], **rules)
    # Alerts, names, courses, timers, those at rest, suppressions, rows and which of them are gone, ends.
    assert _pieces(mind.restoring(memory)) >= 9 * CROWD
    assert [step.alert.resolution and step.alert.resolution.reason for step in mind.register.transitions] == [
        "rule_changed"
    ] * CROWD
    assert len(mind.changes().forgotten) == CROWD
    assert _pieces(mind.writing_off()) >= 2 * CROWD, "steps, and rows that are gone"
    assert not mind.has_news


async def test_while_a_reload_ends_many_alerts_nobody_sees_some_of_them_and_evidence_waits(tmp_path: Path) -> None:
    clock = VirtualClock()
    options: dict[str, Any] = {"defaults": False, "rate_limiting": ROOM}
    with closing(Database(tmp_path / "state.db")) as database:
        async with engine(clock, database, rules=[rule(severity="error")], **options) as rig:
            rig.end = CROWD
            await rig.send(*crowd(clock))
            begun = await rig.alerts(limit=10_000)
        assert len(begun) == CROWD
        async with engine(
            database=database, clock=clock, rules=[rule(severity="error", above="10.5")], **options
        ) as rig:
            ended = await rig.history()
            assert {one.resolution and one.resolution.reason for one in ended} == {"rule_changed"}
            rig.end, seen = rig.end + CROWD, set[int]()

            async def ask() -> None:
                while True:
                    seen.add((await rig.stage.list_alerts(ListAlerts(limit=1), OPERATOR)).beside["meta"].total)
                    await checkpoint()

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await checkpoint()
                await rig.send(*crowd(clock))
                group.cancel_scope.cancel()
            assert seen <= {0, CROWD}
            again = await rig.alerts(limit=10_000)
            assert {(one.id, one.count) for one in again} == {(one.id, 2) for one in begun}, "reopened, all of them"


async def test_numbers_of_alerts_are_never_those_of_half_a_batch() -> None:
    async with engine(rules=[rule(**{"for": "1h"})], defaults=False) as rig:
        rig.end, seen = CROWD, set[int]()

        async def ask() -> None:
            while True:
                seen.add((await rig.stage.count_alerts(AskStats(), OPERATOR)).pending)
                await checkpoint()

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await checkpoint()
            await rig.send(*crowd(rig.clock))
            group.cancel_scope.cancel()
        assert seen <= {0, CROWD}
        assert (await rig.stage.count_alerts(AskStats(), OPERATOR)).pending == CROWD


async def test_each_alert_is_held_against_a_silence_once(clock: VirtualClock) -> None:
    held: list[str] = []

    class Counted(Matchers):
        def match(self, alert: Alert) -> bool:
            held.append(alert.id)
            return super().match(alert)

    mind = evaluator(clock, rules=[rule()])
    await mind.read(crowd(clock, 3))
    alerts, meant = list(mind.register.live.values()), Meant[str]()
    meant.add("all", Counted(["rule=Long Queue"]))
    meant.add("one", Counted(["labels.name=n1"]))
    assert [meant.of(alert) for alert in alerts] == [["all"], ["all", "one"], ["all"]]
    assert len(held) == 6
    meant.add("none", Counted(["rule=Another"]))
    assert [meant.of(alert) for alert in alerts] == [["all"], ["all", "one"], ["all"]]
    assert len(held) == 9
    meant.remove("all")
    assert [meant.of(alert) for alert in alerts] == [[], ["one"], []]
    assert len(held) == 9
    meant.forget(alerts[1])
    assert meant.of(alerts[1]) == ["one"]
    assert len(held) == 11


async def test_the_newest_of_many_alerts_come_first_pending_ones_among_them() -> None:
    waits = {"name": "Waits", "metric": "error_rate", "above": "1%", "for": "1h", "group": ["name"]}
    async with engine(rules=[rule(), waits], defaults=False, rate_limiting=ROOM) as rig:
        for number in range(60):
            await rig.measure("queue", 11, name=f"n{number}")
            await rig.clock.advance(1)
            await rig.measure("error_rate", 2, name=f"n{number}")
        everything = await rig.alerts("active,pending", limit=10_000)
        assert len(everything) == 120
        assert list(everything) == sorted(everything, key=lambda alert: (-alert.fired_at, alert.id))
        reply = await rig.stage.list_alerts(ListAlerts(status="active,pending", limit=7), OPERATOR)
        assert list(reply.data) == list(everything[:7])
        assert reply.beside["meta"].total == 120
        assert await get_alert(rig.stage, AskAlert(everything[0].id), OPERATOR) == everything[0]


async def test_a_list_of_many_alerts_holds_up_nobody() -> None:
    async with engine(rules=[rule()], defaults=False, rate_limiting=ROOM) as rig:
        rig.end = CROWD
        await rig.send(*crowd(rig.clock))
        async with others() as turns:
            found = await rig.alerts(limit=10)
            assert turns.count >= 3
        assert len(found) == 10


async def test_long_after_a_storm_nothing_of_it_is_reopened_and_nobody_pays_for_it_at_once(clock: VirtualClock) -> None:
    mind = await many(clock)
    for event in crowd(clock):
        await mind.read([Event(event.id, "s", event.type, clock.time(), measures={"queue": 1.0}, labels=event.labels)])
    ids = {step.alert.id for step in mind.register.transitions}
    await clock.advance(301)
    await mind.read(crowd(clock, 1))
    (alert,) = mind.register.live.values()
    assert alert.id not in ids
    assert alert.previous_id in ids
