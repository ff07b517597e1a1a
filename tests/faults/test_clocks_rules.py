"""Rules of every kind, while a wall clock is set or a process suspended: each concludes what it would have anyway."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import anyio
import pytest

from bers import Event
from tests.faults.simulated import Hurried, all_read, simulating

LONG = bool(os.environ.get("BERS_TEST_LONG"))
HOUR = 3600.0

RULES: Sequence[Mapping[str, Any]] = [
    {"name": "Value", "metric": "build_performance", "above": "5s"},
    {"name": "Lasting", "metric": "build_performance", "above": "5s", "for": "20s"},
    {"name": "Kept", "metric": "build_performance", "above": "5s", "keep_firing_for": "20s"},
    {"name": "Cleared", "metric": "build_performance", "above": "5s", "clear": "2s"},
    {"name": "Mean", "metric": "build_performance", "above": "5s", "aggregate": "mean", "window": "20s"},
    {"name": "P95", "metric": "build_performance", "above": "5s", "aggregate": "p95", "window": "20s"},
    {"name": "Many", "metric": "build_queue_time", "above": "5", "aggregate": "count", "window": "20s"},
    {"name": "Few", "metric": "build_performance", "below": "15", "aggregate": "count", "window": "20s"},
    {"name": "Changed", "metric": "build_performance", "change": {"over": "50%", "runs": 20}},
    {"name": "Unheard", "metric": "validation_duration", "above": "5s", "no_data_after": "20s", "on_no_data": "alert"},
    {"name": "In A Row", "event": "service-is.tried", "consecutive": 5},
    {"name": "Share", "event": "service-is.tried", "ratio": "50%", "window": "20s", "min_samples": 5},
    {"name": "Down", "event": "service-is.down", "clears": {"event": "service-is.up"}},
    {"name": "Absent", "event": "service-is.up", "absent": "20s"},
]
SLO = {
    "name": "Tries", "objective": "90%", "period": "1h", "event": "service-is.tried", "min_samples": 5,
    "windows": [{"long": "60s", "short": "20s", "burn": 5.0}],
}  # fmt: skip

GOOD, BAD, OVER = 40, 100, 170
"""All is well until the first of these seconds, bad until the second, and well again."""
KNOWN = 18
"""Until this second a rule may miss what came before the first: how long ago the node began to look is chance."""

Happened: TypeAlias = tuple[str, Literal["fires", "ends"]]


class Scene(NamedTuple):
    """What is done to the clocks, and in which second."""

    steps: Mapping[int, float] = {}
    suspended: Mapping[int, float] = {}


async def played(folder: Path, scene: Scene) -> dict[Happened, list[int]]:
    """In which seconds each rule's alert fires and ends."""
    clock, found, alive = Hurried(), dict[Happened, list[int]](), set[str]()
    changes: Sequence[tuple[tuple[str, ...], Any]] = [
        (("sources",), {}),
        (("pipelines",), {"alerts": {"sources": ["unmapped"], "sinks": ["alert-engine"]}}),
        (
            ("sinks",),
            {
                "alert-engine": {
                    "defaults": False,
                    "rules": RULES,
                    "slos": [SLO],
                    "deduplication": {"enabled": False},
                    "rate_limiting": {"max_alerts": 10_000},
                }
            },
        ),
        (("processors",), {}),
    ]
    async with simulating(folder, clock, changes) as server:
        for second in range(OVER):
            clock.step(scene.steps.get(second, 0.0))
            if second in scene.suspended:
                clock.suspend(scene.suspended[second])
            await server.node.supervisor.intake.submit(evidence(second, clock.time(), bad=GOOD <= second < BAD))
            await all_read(server)
            await clock.advance(1.0)
            await anyio.sleep(0.005)
            now = {alert["rule"] for alert in await server.data("alerts")}
            for rule in sorted(now ^ alive if second >= KNOWN else ()):
                found.setdefault((rule, "fires" if rule in now else "ends"), []).append(second)
            alive = now
    return found


def evidence(second: int, now: float, *, bad: bool) -> list[Event]:
    """What is handed in within a second."""

    def event(kind: str, **fields: Any) -> Event:
        return Event(f"{kind}-{second}", "/ci", f"service-is.{kind}", now, **fields)

    measures = {"build_performance": 9000.0 if bad else 1000.0}
    if bad:
        return [event("measured", measures={**measures, "build_queue_time": 1.0}), event("tried", outcome="failure"),
                event("down")]  # fmt: skip
    return [
        event("measured", measures={**measures, "validation_duration": 1000.0}),
        event("tried", outcome="success"),
        event("up"),
    ]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[Happened, list[int]]:
    """What happens where nobody touches a clock."""
    return anyio.run(played, tmp_path_factory.mktemp("usual"), Scene())


def test_every_rule_fires_and_ends_once(usual: dict[Happened, list[int]]) -> None:
    rules = {str(rule["name"]) for rule in RULES} - {"Few"}  # Of it there are enough, all the time.
    assert {rule for rule, what in usual if what == "fires"} >= rules
    assert all(len(seconds) == 1 for seconds in usual.values()), usual
    assert all(second >= GOOD for seconds in usual.values() for second in seconds), usual


def offsets(one: dict[Happened, list[int]], other: dict[Happened, list[int]]) -> dict[Happened, object]:
    """Where two plays differ, by more than the second in which things are looked at."""
    return {
        key: (one.get(key), other.get(key))
        for key in {*one, *other}
        if len(one.get(key, ())) != len(other.get(key, ()))
        or any(abs(a - b) > 1 for a, b in zip(one[key], other[key], strict=True))
    }


@pytest.mark.parametrize("step", [HOUR, -HOUR])
@pytest.mark.parametrize("seconds", [(20, 30), (45, 110), *([(45, 55), (80, 110), (105,), (50,)] if LONG else [])])
async def test_a_wall_clock_that_is_set_changes_nothing(
    step: float, seconds: tuple[int, ...], usual: dict[Happened, list[int]], tmp_path: Path
) -> None:
    steps = {second: step if number % 2 == 0 else -step for number, second in enumerate(seconds)}
    assert offsets(await played(tmp_path, Scene(steps)), usual) == {}


@pytest.mark.parametrize("second", [35, 75, *([20, 95, 165] if LONG else [])])
async def test_a_process_that_was_suspended_neither_fires_nor_ends_what_it_did_not_see(
    second: int, usual: dict[Happened, list[int]], tmp_path: Path
) -> None:
    found = await played(tmp_path, Scene(suspended={second: 600.0}))
    wrong: list[str] = []
    for (rule, what), seconds in found.items():
        for at in seconds:
            if what == "fires" and not GOOD <= at <= BAD + 1:
                wrong.append(f"{rule} fires at {at}: nothing was bad")
            if what == "ends" and at < BAD and rule != "Changed":  # What is usual by then is no change any more.
                wrong.append(f"{rule} ends at {at}: nothing was good")
    assert not wrong, (wrong, offsets(found, usual))
