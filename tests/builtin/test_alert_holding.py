"""Hysteresis, `for` and `keep_firing_for` together, against a small model; and what of them survives a restart."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bers import Database, Event
from bers.testing import VirtualClock
from bers_builtin.sinks.alert_engine.desk.answers import Answer
from bers_builtin.sinks.alert_engine.desk.budgets import list_objectives
from tests.builtin import test_alert_engine
from tests.builtin.test_alert_engine import OPERATOR, Rig, rule

# No commit in between: a virtual clock does not wait for the database's thread.
engine = partial(test_alert_engine.engine, defaults=False, commit_every="30d")


@dataclass
class Model:
    """What a rule `above: 10`, `clear: 5` is to do: the reference."""

    for_: int
    keep: int
    firing: bool = False
    bad_since: int | None = None
    good_since: int | None = None

    def time(self, now: int) -> None:
        if self.good_since is not None and now - self.good_since >= self.keep:
            self.firing, self.good_since = False, None

    def value(self, value: float, now: int) -> None:
        if value > 10:
            self.good_since = None
            if not self.firing:
                self.bad_since = now if self.bad_since is None else self.bad_since
                if now - self.bad_since >= self.for_:
                    self.firing, self.bad_since = True, None
        elif not self.firing:
            self.bad_since = None
        elif value > 5:
            self.good_since = None
        elif self.good_since is None:
            self.good_since = now
            self.time(now)


@given(
    for_=st.sampled_from([0, 1, 3]),
    keep=st.sampled_from([0, 1, 4]),
    steps=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([None, 4.0, 5.0, 8.0, 10.0, 11.0])), max_size=25),
)
@settings(max_examples=40)
def test_an_alert_fires_and_ends_as_the_model_says(
    for_: int, keep: int, steps: Sequence[tuple[int, float | None]]
) -> None:
    for said, expected in anyio.run(_beside, for_, keep, steps):
        assert said == expected


_States: TypeAlias = tuple[bool, bool]
"""Whether an alert fires, and whether one is pending."""


async def _beside(for_: int, keep: int, steps: Sequence[tuple[int, float | None]]) -> Sequence[tuple[_States, _States]]:
    """What the engine says after each step, and what the model does."""
    one = rule(clear="5", keep_firing_for=f"{keep}s", **{"for": f"{for_}s"})
    model, now = Model(for_, keep), 0
    both: list[tuple[_States, _States]] = []
    async with engine(rules=[one], flapping={"enabled": False}) as rig:
        for after, value in steps:
            for _ in range(after):
                now += 1
                model.time(now)
            await rig.clock.advance(after)
            if value is not None:
                model.value(value, now)
                await rig.measure("queue", value)
            said = bool(await rig.alerts()), bool(await rig.alerts("pending"))
            both.append((said, (model.firing, model.bad_since is not None)))
    return both


# After a restart


async def through(path: Path, clock: VirtualClock, *acts: Any, **options: Any) -> None:
    """Do one thing after another, each in a process of its own."""
    end = 0
    for act in acts:
        database = Database(path / "state.db")
        try:
            async with engine(clock, database, **options) as rig:
                rig.end = end = max(end, rig.end)
                await act(rig)
                end = rig.end
        finally:
            database.close()


async def test_keep_firing_for_goes_on_through_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def good_again(rig: Rig) -> None:
        await rig.measure("queue", 11)
        await rig.measure("queue", 1)
        await rig.clock.advance(20)

    async def ends(rig: Rig) -> None:
        await rig.clock.advance(9)
        assert len(await rig.alerts()) == 1
        await rig.clock.advance(1)
        assert await rig.alerts() == []

    await through(tmp_path, clock, good_again, ends, rules=[rule(keep_firing_for="30s")])


async def test_absence_is_counted_through_a_restart_and_waits_as_long_as_we_were_away(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def begins(rig: Rig) -> None:
        await rig.clock.advance(600)
        await rig.happen("custom.other")  # Of what comes it knows when it was there last.

    async def away(rig: Rig) -> None:
        assert await rig.alerts() == []
        await rig.clock.advance(29)
        assert await rig.alerts() == []
        await rig.clock.advance(1)
        assert len(await rig.alerts()) == 1

    async def still(rig: Rig) -> None:
        assert len(await rig.alerts()) == 1
        await rig.happen("custom.something")
        assert await rig.alerts() == []

    absent = {"name": "Nothing", "event": "custom.something", "absent": "615s"}
    database = Database(tmp_path / "state.db")
    async with engine(clock, database, rules=[absent]) as rig:
        await begins(rig)
    database.close()
    await clock.suspend(30)  # Nobody is there.
    await through(tmp_path, clock, away, still, rules=[absent])


async def test_a_short_restart_costs_absence_nothing(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def wait(rig: Rig) -> None:
        await rig.clock.advance(300)

    async def fires(rig: Rig) -> None:
        await rig.clock.advance(299)
        assert await rig.alerts() == []
        await rig.clock.advance(1)
        assert len(await rig.alerts()) == 1

    absent = {"name": "Nothing", "event": "custom.something", "absent": "10m"}
    await through(tmp_path, clock, wait, fires, rules=[absent])


async def test_no_data_outlives_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def silent(rig: Rig) -> None:
        await rig.measure("queue", 1)
        await rig.clock.advance(60)
        assert await rig.names() == ["No Data: Long Queue"]

    async def heard(rig: Rig) -> None:
        assert await rig.names() == ["No Data: Long Queue"]
        await rig.measure("queue", 1)
        assert await rig.names() == []

    await through(tmp_path, clock, silent, heard, rules=[rule(no_data_after="60s")])


async def test_what_is_usual_outlives_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def learn(rig: Rig) -> None:
        for _ in range(5):
            await rig.measure("queue", 100)

    async def compare(rig: Rig) -> None:
        await rig.measure("queue", 130)
        assert len(await rig.alerts()) == 1

    changed = {"name": "More", "metric": "queue", "change": {"over": "20%"}}
    await through(tmp_path, clock, learn, compare, rules=[changed])


async def test_budgets_outlive_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def spend(rig: Rig) -> None:
        await rig.happen("build.finished", "failure", weight=5)
        await rig.happen("build.finished", "success", weight=995)

    async def look(rig: Rig) -> None:
        (found,) = await list_objectives(rig.stage, None, OPERATOR)
        assert (found.budgets[0].total, found.budgets[0].bad) == (1000, 5)
        assert found.budgets[0].burns[0].long_burn_rate == 0.5

    await through(
        tmp_path, clock, spend, look, slos=[{"name": "Builds", "objective": "99%", "event": "build.finished"}]
    )


async def test_a_window_of_many_parts_outlives_a_restart_and_is_forgotten_by_hand(tmp_path: Path) -> None:
    clock = VirtualClock()
    window = rule(aggregate="count", window="5m", above="149")

    async def fill(rig: Rig) -> None:
        for _ in range(149):
            await rig.measure("queue", 1)
            await rig.clock.advance(1)
        assert await rig.alerts() == []

    async def one_more(rig: Rig) -> None:
        await rig.measure("queue", 1)
        alert = await rig.only()
        assert alert.value == 150.0
        await rig.stage.resolve(Answer(alert.id, "admin"), OPERATOR)

    async def afresh(rig: Rig) -> None:
        await rig.measure("queue", 1)
        assert await rig.alerts() == []
        (report,) = await rig.stage.list_rules(None, OPERATOR)
        assert report.last_value == 1.0

    await through(tmp_path, clock, fill, one_more, afresh, rules=[window])


async def test_labels_and_texts_of_a_rule_may_change_while_its_alert_lives(tmp_path: Path) -> None:
    clock = VirtualClock()

    async def fire(rig: Rig) -> None:
        await rig.measure("queue", 11, name="a")

    async def still(rig: Rig) -> None:
        assert len(await rig.alerts()) == 1
        await rig.measure("queue", 1, name="a")
        assert await rig.told() == ["firing", "resolved"]

    await through(tmp_path, clock, fire, rules=[rule(labels={"team": "a"}, **{"for": "0s"})])
    await through(tmp_path, clock, still, rules=[rule(labels={"squad": "b"}, severity="error")])


@pytest.mark.parametrize("late", [299, 301])
async def test_evidence_that_is_too_old_moves_no_window(late: int) -> None:
    async with engine(rules=[rule(aggregate="count", window="1h", above="0")]) as rig:
        when = rig.clock.time() - late
        await rig.send(Event("e-1", "s", "custom.measured", when, measures={"queue": 1.0}))
        assert bool(await rig.alerts()) == (late < 300)


async def test_a_server_that_is_away_again_and_again_still_misses_what_is_absent(tmp_path: Path) -> None:
    clock = VirtualClock()
    absent = {"name": "Nothing", "event": "custom.something", "absent": "100s"}
    found = False
    for _ in range(6):
        database = Database(tmp_path / "state.db")
        async with engine(clock, database, rules=[absent]) as rig:
            await rig.happen("custom.other")
            await rig.clock.advance(45)
            found = found or bool(await rig.alerts())
        database.close()
        await clock.suspend(60)
    assert found


async def test_how_an_alert_ended_says_whether_anything_good_came() -> None:
    silent = rule(no_data_after="60s", on_no_data="ok")
    for options, sentence in (
        (silent, "nothing was heard of it for 1m, and its rule calls that good"),
        (rule(keep_firing_for="30s"), "what it watches was not bad again for 30s"),
    ):
        async with engine(rules=[options]) as rig:
            await rig.measure("queue", 11)
            alert = await rig.only()
            if options is not silent:
                await rig.measure("queue", 1)
            await rig.clock.advance(61)
            assert await rig.alerts() == []
            over = rig.stage.books.evaluator.register.latest(alert.fingerprint)
            assert over and over.reason and over.reason.sentence == sentence


async def test_what_an_older_version_wrote_down_without_whose_it_is_goes_on(tmp_path: Path) -> None:
    clock = VirtualClock()
    window = rule(aggregate="count", window="5m", above="39")

    async def fill(rig: Rig) -> None:
        for _ in range(39):
            await rig.measure("queue", 1)
            await rig.clock.advance(1)

    async def one_more(rig: Rig) -> None:
        await rig.measure("queue", 1)
        assert (await rig.only()).value == 40.0

    async def still(rig: Rig) -> None:
        await rig.measure("queue", 1)
        assert (await rig.only()).value == 41.0

    await through(tmp_path, clock, fill, rules=[window])
    with closing(Database(tmp_path / "state.db")) as database:
        await database.run(
            lambda connection: connection.execute(
                "UPDATE alert_series SET watch = substr(watch, instr(watch, '/') + 1)"
            )
        )
    await through(tmp_path, clock, one_more, still, rules=[window])
