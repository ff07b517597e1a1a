"""Service level objectives: burn rates and budgets, against a reference that remembers every event."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bers import ConfigError, Outcome, Percent
from bers.testing import step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE
from bers_builtin.sinks.alert_engine.desk.answers import Answer
from bers_builtin.sinks.alert_engine.desk.budgets import SloReport, list_objectives
from bers_builtin.sinks.alert_engine.rules import Slo
from bers_builtin.sinks.alert_engine.sliding.tallies import MOST_PANES, Tally
from tests.builtin import test_alert_engine
from tests.builtin.test_alert_engine import OPERATOR, Rig

# No commit in between: a virtual clock does not wait for the database's thread.
engine = partial(test_alert_engine.engine, commit_every="30d")

PAIR = {"long": "1h", "short": "5m", "burn": 14.4, "severity": "critical"}


def slo(**fields: Any) -> Mapping[str, Any]:
    return {"name": "Builds Succeed", "objective": "99.5%", "event": "build.finished", "windows": [PAIR], **fields}


async def report(rig: Rig) -> SloReport:
    (found,) = await list_objectives(rig.stage, None, OPERATOR)
    return found


async def builds(rig: Rig, good: int, bad: int = 0) -> None:
    """Builds that finish at once; where an emitter sampled, one event stands for many."""
    for number, outcome in ((good, "success"), (bad, "failure")):
        if number:
            await rig.happen("build.finished", outcome, weight=number)  # type: ignore[arg-type]


# A window over good and bad


class Seen(NamedTuple):
    at: float
    bad: bool


def exactly(seen: list[Seen], now: float, span: float) -> tuple[int, int]:
    """The reference: how many of the events of the last so many seconds there were, and how many were bad."""
    inside = [one for one in seen if one.at > now - span]
    return len(inside), sum(one.bad for one in inside)


@given(
    steps=st.lists(st.tuples(st.floats(0, 2000), st.booleans()), max_size=200),
    span=st.sampled_from([1.0, 59.0, 60.0, 300.0, 3600.0, 259_200.0]),
    wait=st.floats(0, 5000),
)
def test_a_tally_counts_what_is_in_its_window_and_at_most_a_pane_more(
    steps: list[tuple[float, bool]], span: float, wait: float
) -> None:
    tally, seen, now = Tally(span), list[Seen](), 0.0
    for after, bad in steps:
        now += after
        tally.add(int(bad), 1, now)
        seen.append(Seen(now, bad))
    now += wait
    tally.leave(now)
    pane = max(1.0, span / MOST_PANES + 1)
    least, most = exactly(seen, now, span), exactly(seen, now, span + 2 * pane)
    assert least[0] <= tally.total <= most[0]
    assert least[1] <= tally.bad <= most[1]
    again = Tally.load(span, msgspec.msgpack.decode(msgspec.msgpack.encode(tally.dump())))
    assert (again.total, again.bad, again.due) == (tally.total, tally.bad, tally.due)


def test_a_tally_takes_no_more_room_however_much_it_counts() -> None:
    tally = Tally(30 * 86_400.0)
    for hour in range(24 * 60):
        tally.leave(hour * 3600.0)
        tally.add(1, 1000, hour * 3600.0)
    assert len(tally.dump()) <= MOST_PANES + 2


# Burn rates


@pytest.mark.parametrize(
    ("bad", "fires"),
    [(71, False), (72, False), (73, True)],  # 7.2 % bad is 14.4 times the 0.5 % that may be: not beyond it yet.
)
async def test_the_page_is_sent_beyond_14_4_and_not_at_it(bad: int, fires: bool) -> None:
    async with engine(slos=[slo()], defaults=False) as rig:
        await builds(rig, 1000 - bad, bad)
        assert ("Builds Succeed: Burn Rate 1h" in await rig.names()) == fires


async def test_an_alert_on_a_burn_rate_says_how_bad_it_is() -> None:
    async with engine(slos=[slo(labels={"team": "ci"})], defaults=False) as rig:
        await builds(rig, 90, 10)
        alert = await rig.only()
        assert (alert.severity, alert.value, alert.threshold) == ("critical", 20.0, 14.4)
        assert alert.labels == {"slo": "builds-succeed", "team": "ci"}
        assert alert.message == (
            "Builds Succeed: the error budget burns at 20 over 1h and 20 over 5m, above 14.4; 10 of 100 were bad"
        )


async def test_both_windows_must_burn_and_the_short_one_ends_it() -> None:
    async with engine(slos=[slo()], defaults=False) as rig:
        await builds(rig, 0, 100)
        await rig.clock.advance(240)
        await builds(rig, 100)  # Half of five minutes is bad, and half of the hour.
        burns = (await report(rig)).budgets[0].burns[0]
        assert (burns.long_burn_rate, burns.short_burn_rate, burns.firing) == (100.0, 100.0, True)
        await rig.clock.advance(70)  # The bad ones have left the short window.
        burns = (await report(rig)).budgets[0].burns[0]
        assert (burns.long_burn_rate, burns.short_burn_rate, burns.firing) == (100.0, 0.0, False)


async def test_silence_keeps_a_burn_rate() -> None:
    async with engine(slos=[slo()], defaults=False) as rig:
        await builds(rig, 0, 100)
        await rig.clock.advance(7200)
        assert len(await rig.alerts()) == 1


async def test_a_few_events_are_no_share_to_act_on() -> None:
    async with engine(slos=[slo()], defaults=False) as rig:
        await builds(rig, 0, 9)
        assert await rig.names() == []
        await builds(rig, 0, 1)
        assert await rig.names() == ["Builds Succeed: Burn Rate 1h"]


async def test_cancelled_builds_say_nothing_and_lost_ones_are_bad() -> None:
    async with engine(slos=[slo(event=["build.finished", "build.lost"])], defaults=False) as rig:
        await builds(rig, 8)
        await rig.happen("build.finished", "cancel")
        await rig.happen("build.lost", "error")
        (budget,) = (await report(rig)).budgets
        assert (budget.total, budget.bad) == (9, 1)


async def test_the_windows_of_the_sre_workbook_are_the_default() -> None:
    usual = Slo(name="A", objective=Percent("99.9%"), event="a.b").windows
    assert [(str(one.long), str(one.short), one.burn, one.severity) for one in usual] == [
        ("1h", "5m", 14.4, "critical"),
        ("6h", "30m", 6.0, "error"),
        ("3d", "6h", 1.0, "warning"),
    ]


def test_windows_that_could_never_alert_are_left_out() -> None:
    low = Slo(name="A", objective=Percent("90%"), event="a.b")  # All that is bad burns ten times as fast as it may.
    assert [pair.burn for pair in low.pairs] == [6.0, 1.0]


async def test_a_metric_is_bad_beyond_its_threshold_as_in_a_rule() -> None:
    one = {"name": "Fast", "objective": "90%", "metric": "configuration_resolution_time", "above": "target"}
    async with engine(slos=[one], defaults=False) as rig:
        for value in (99.0, 100.0, 100.1):
            await rig.measure("configuration_resolution_time", value)
        (budget,) = (await report(rig)).budgets
        assert (budget.total, budget.bad) == (3, 1)


async def test_each_group_has_a_budget_of_its_own() -> None:
    async with engine(slos=[slo(group=["service"])], defaults=False) as rig:
        for service, outcome in (("a", "failure"), ("b", "success")):
            await rig.happen("build.finished", outcome, service=service, weight=100)  # type: ignore[arg-type]
        assert (await rig.only()).labels["service"] == "a"
        assert [(one.labels, one.bad) for one in (await report(rig)).budgets] == [
            ({"service": "a"}, 100),
            ({"service": "b"}, 0),
        ]


# Budgets


async def test_what_is_left_of_the_budget() -> None:
    async with engine(slos=[slo(period="30d")], defaults=False) as rig:
        assert (await report(rig)).budgets == []
        await builds(rig, 1998, 2)
        found = await report(rig)
        assert (found.id, found.objective, found.period_ms) == ("builds-succeed", 99.5, 2_592_000_000)
        (budget,) = found.budgets
        assert (budget.total, budget.bad, budget.allowed) == (2000, 2, 10.0)
        assert budget.budget_remaining_percent == pytest.approx(80.0)
        assert budget.good_percent == pytest.approx(99.9)


async def test_a_spent_budget_is_worth_an_alert_of_its_own() -> None:
    async with engine(slos=[slo(windows=[{**PAIR, "burn": 199.0}])], defaults=False) as rig:
        await builds(rig, 1990, 10)
        assert await rig.names() == []  # Just spent, and not beyond it.
        await builds(rig, 0, 1)
        alert = await rig.only()
        assert (alert.rule, alert.severity) == ("Builds Succeed: Error Budget Spent", "info")
        assert alert.message == "Builds Succeed: 11 of 2001 were bad in 30d, 0.55 %"


async def test_where_the_budget_is_less_than_one_event_a_single_one_is_no_news() -> None:
    async with engine(slos=[slo(windows=[{**PAIR, "burn": 199.0}])], defaults=False) as rig:
        await builds(rig, 100, 1)
        assert await rig.names() == []


@pytest.mark.parametrize("seed", range(3))
async def test_burn_rates_are_those_of_a_reference(seed: int) -> None:
    """A day of builds, good and bad in spells: no rate is further off than one pane at the edge explains."""
    dice = random.Random(seed)
    windows = [PAIR, {"long": "6h", "short": "30m", "burn": 6.0}]
    async with engine(slos=[slo(objective="99%", windows=windows, min_samples=1)], defaults=False) as rig:
        seen, share, start = list[Seen](), 0.01, rig.clock.monotonic()
        for number in range(400):
            await rig.clock.advance(dice.choice([1, 30, 200, 500]))
            if number % 40 == 0:
                share = dice.choice([0.0, 0.01, 0.1, 0.5])
            bad = dice.random() < share
            outcome: Outcome = "failure" if bad else "success"
            await rig.happen("build.finished", outcome)
            now = rig.clock.monotonic() - start
            seen.append(Seen(now, bad))
            if number % 10:
                continue
            for burns in (await report(rig)).budgets[0].burns:
                for span, rate in (
                    (burns.long_ms / 1000, burns.long_burn_rate),
                    (burns.short_ms / 1000, burns.short_burn_rate),
                ):
                    pane = max(1.0, span / MOST_PANES)
                    rates = [
                        failed / total * 100
                        for extra in (0.0, *(pane * part / 8 for part in range(1, 9)))
                        for total, failed in [exactly(seen, now, span + extra)]
                        if total
                    ]
                    assert rate is not None
                    assert min(rates) - 1e-9 <= rate <= max(rates) + 1e-9


# What cannot be


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "100%"}, "objective: .*leaves no budget"),
        ({"objective": "0%"}, "objective: .*leaves no budget"),
        ({"objective": 99}, "has no unit"),
        ({"metric": "queue", "above": "3"}, "either `event` or `metric`"),
        ({"event": "", "metric": "queue"}, "either `above` or `below`"),
        ({"above": "3"}, "above: .*`above` belongs to a metric"),
        ({"event": "alert.firing"}, "no SLO is about alerts"),
        ({"windows": []}, "windows: "),
        ({"windows": [PAIR, PAIR]}, "two pairs have the same `long`"),
        ({"windows": [{"long": "5m", "short": "5m", "burn": 1.0}]}, "short: 5m is not shorter"),
        ({"period": "30m"}, "longer than the period"),
        ({"objective": "90%"}, r"windows\[0\].burn: .*nothing burns the budget of 90% faster than 10"),
        ({"labels": {"service": "a"}}, "is what tells its alerts apart"),
    ],
)
def test_an_slo_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        step(ALERT_ENGINE, slos=[slo(**fields)])


@pytest.mark.parametrize(
    ("slos", "path", "message"),
    [
        ([slo(event="", metric="queu", above="3")], "slos[0].metric", "did you mean 'queue'?"),
        ([slo(event="", metric="queue", above="3s")], "slos[0].above", "is not a number"),
        ([slo(), slo()], "slos[1].name", "is there already, as slos[0]"),
        ([slo(depends_on=["Nothing"])], "slos[0].depends_on[0]", "unknown rule 'Nothing'"),
    ],
)
async def test_an_slo_that_cannot_work_is_refused(slos: list[Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        async with engine(slos=slos, defaults=False):
            pass
    assert error.value.faults[0].path == path
    assert message in error.value.faults[0].message


async def test_resolving_by_hand_that_a_budget_is_spent_makes_it_no_fuller() -> None:
    builds = {"name": "Builds", "objective": "99%", "event": "build.finished"}
    async with test_alert_engine.engine(slos=[builds], defaults=False) as rig:
        await rig.happen("build.finished", "success", weight=980)
        await rig.happen("build.finished", "failure", weight=20)
        (spent,) = [alert for alert in await rig.alerts() if alert.rule == "Builds: Error Budget Spent"]
        await rig.stage.resolve(Answer(spent.id, "ada"), OPERATOR)
        (found,) = await list_objectives(rig.stage, None, OPERATOR)
        assert (found.budgets[0].total, found.budgets[0].bad) == (1000, 20)
        await rig.happen("build.finished", "success")
        await rig.clock.advance(15 * 86400)
        assert "Builds: Error Budget Spent" not in await rig.names(), "nothing bad has come since"
        await rig.happen("build.finished", "failure")
        assert "Builds: Error Budget Spent" in await rig.names()
