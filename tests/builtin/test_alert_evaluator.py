"""What rules cost: nothing keeps the engine awake, and rules on other labels are not asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bers import Event
from bers.testing import VirtualClock, step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.evaluator import Evaluator
from bers_builtin.sinks.alert_engine.written.ledger import Memory
from tests.builtin.test_alert_engine import METRICS, rule


def evaluator(clock: VirtualClock, **options: Any) -> Evaluator:
    config = step(ALERT_ENGINE, defaults=False, **options).config
    assert isinstance(config, AlertConfig)
    made = Evaluator(config, METRICS, clock)
    made.restore(Memory(None, [], [], [], {}, []))
    return made


async def wakes(mind: Evaluator, clock: VirtualClock, seconds: float) -> int:
    """How often it has to look, in so many seconds in which nothing comes."""
    end, number = clock.monotonic() + seconds, 0
    while (idle := mind.idle) is not None and clock.monotonic() + idle <= end:
        await clock.advance(idle)
        await mind.look_again()
        number += 1
        assert number < 2000, "it never sleeps"
    await clock.advance(end - clock.monotonic())
    return number


KINDS: Sequence[Mapping[str, Any]] = [
    rule(),
    rule(**{"for": "30s"}),
    rule(keep_firing_for="30s"),
    rule(clear="5", keep_firing_for="30s"),
    rule(no_data_after="60s"),
    rule(no_data_after="60s", **{"for": "300s"}),
    rule(no_data_after="60s", on_no_data="alert"),
    rule(no_data_after="60s", on_no_data="alert", **{"for": "300s"}),
    rule(no_data_after="60s", on_no_data="ok", keep_firing_for="30s"),
    rule(above=None, absent="60s"),
    rule(above=None, absent="60s", group=["name"]),
    rule(above=None, change={"over": "20%", "min_runs": 1}, keep_firing_for="30s"),
    *(rule(aggregate=one, window="60s") for one in ("mean", "p95", "count", "increase", "max")),
    rule(aggregate="rate", window="60s", above="1/min", keep_firing_for="30s"),
    rule(aggregate="count", window="60s", above=None, below="3", keep_firing_for="30s"),
]


@pytest.mark.parametrize("one", KINDS, ids=str)
async def test_no_rule_keeps_the_engine_awake(one: Mapping[str, Any]) -> None:
    clock = VirtualClock()
    mind = evaluator(clock, rules=[one], flapping={"enabled": False}, repeat={}, escalation=[])
    for number, value in enumerate((11.0, 11.0, 8.0, 1.0, 11.0, 20.0, 1.0, 11.0)):
        event = Event(
            f"e-{number}", "s", "custom.measured", clock.time(), measures={"queue": value}, labels={"name": "a"}
        )
        await mind.read([event])
        assert await wakes(mind, clock, 7.0) <= 10
    assert await wakes(mind, clock, 200_000.0) <= 150


async def test_events_of_one_kind_keep_nobody_awake_either() -> None:
    clock = VirtualClock()
    happens = {"name": "A", "event": "a.b", "keep_firing_for": "30s"}
    failing = {"name": "B", "event": "a.b", "consecutive": 2, "ratio": "50%", "window": "60s", "keep_firing_for": "30s"}
    mind = evaluator(
        clock,
        rules=[happens, failing],
        slos=[{"name": "C", "objective": "90%", "event": "a.b", "min_samples": 1}],
        repeat={},
        escalation=[],
    )
    for number, outcome in enumerate(("failure", "failure", "success", "failure", "success", "success")):
        await mind.read([Event(f"e-{number}", "s", "a.b", clock.time(), outcome=outcome)])  # type: ignore[arg-type]
        assert await wakes(mind, clock, 20.0) <= 30
    assert await wakes(mind, clock, 200_000.0) <= 150


async def test_a_rule_that_asks_for_a_label_is_not_asked_about_others() -> None:
    clock = VirtualClock()
    rules = [rule(name=f"Queue {number}", where={"name": [f"q{number}", f"r{number}"]}) for number in range(100)]
    mind = evaluator(clock, rules=[*rules, rule(), rule(name="Old", where={"source": "elsewhere"})])
    readers = mind.watches.by_metric["queue"]
    for name in ("q7", "r7", "other"):
        event = Event(
            f"e-{name}", "s", "custom.measured", clock.time(), measures={"queue": 11.0}, labels={"name": name}
        )
        asked = [watch.rule.name for watch in readers.of(event)]
        assert asked == (["Long Queue"] if name == "other" else ["Long Queue", "Queue 7"])
        await mind.read([event])
    matched = {watch.rule.name: watch.matched for watch in readers if watch.matched}
    assert matched == {"Long Queue": 3, "Queue 7": 2}
    assert readers.offered == 6  # Three were asked for here, and three by reading.


async def test_what_a_rule_looks_at_but_never_comes_is_known() -> None:
    clock = VirtualClock()
    mind = evaluator(clock, rules=[rule(where={"name": "nobody"})])
    assert mind.watches.by_metric["queue"].offered == 0
    await mind.read([Event("e-1", "s", "custom.measured", clock.time(), measures={"queue": 1.0}, labels={"name": "a"})])
    assert mind.watches.by_metric["queue"].offered == 1
    assert [watch.matched for watch in mind.watches.by_metric["queue"]] == [0]


async def test_a_value_that_stays_bad_is_not_written_down_again_and_again() -> None:
    clock = VirtualClock()
    mind = evaluator(clock, rules=[rule(**{"for": "1h"})])
    for number in range(3):
        await mind.read([Event(f"e-{number}", "s", "custom.measured", clock.time(), measures={"queue": 11.0})])
        rows = mind.changes().series
        mind.written()
        assert len(rows) == (1 if number == 0 else 0)
        await clock.advance(1)


@pytest.mark.parametrize("late", [0.0, 1.5, 6.0])
async def test_who_looks_late_waits_for_what_was_not_read_yet_and_misses_what_is_absent_all_the_same(
    late: float,
) -> None:
    clock = VirtualClock()
    mind = evaluator(clock, rules=[rule(above=None, absent="3s")])

    async def look() -> bool:
        await clock.advance((mind.idle or 0.0) + late)
        await mind.look_again()
        return bool(mind.register.live)

    assert await look() is (late == 0), "what came meanwhile may wait in a socket"
    looks = 1
    while not await look():
        looks += 1
        assert looks < 5, "a machine that is late at every look misses nothing any more"
