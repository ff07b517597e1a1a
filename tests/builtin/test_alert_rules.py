"""The language of rules: what each option does, up to the boundary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import pytest

from bers import ConfigError, Outcome, Percent, config, plugins
from bers.config.located import parse
from bers.testing import step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE
from bers_builtin.sinks.alert_engine.desk.answers import Answer
from bers_builtin.sinks.alert_engine.rules import Rule, Slo
from tests.builtin import test_alert_engine
from tests.builtin.test_alert_engine import OPERATOR, Rig, rule

# No commit in between: a virtual clock does not wait for the database's thread.
engine = partial(test_alert_engine.engine, commit_every="30d")


async def alive(rig: Rig) -> bool:
    return bool(await rig.alerts())


def event_rule(**fields: Any) -> Mapping[str, Any]:
    return {"name": "Something Happens", "event": "custom.something", **fields}


# Hysteresis: `clear`


@pytest.mark.parametrize(
    ("fields", "values", "ends"),
    [
        ({"above": "100", "clear": "80"}, [101, 100], False),
        ({"above": "100", "clear": "80"}, [101, 80.1], False),
        ({"above": "100", "clear": "80"}, [101, 80], True),
        ({"above": "100", "clear": "80"}, [101, 90, 101, 90, 79], True),
        ({"above": "100", "clear": "100"}, [101, 100], True),
        ({"below": "10", "clear": "20"}, [9, 10, 19.9], False),
        ({"below": "10", "clear": "20"}, [9, 20], True),
    ],
)
async def test_an_alert_ends_only_at_clear_or_past_it(
    fields: dict[str, Any], values: Sequence[float], ends: bool
) -> None:
    one = {"name": "Queue", "metric": "queue", **fields}
    async with engine(rules=[one], defaults=False) as rig:
        for value in values:
            await rig.measure("queue", value)
        assert await rig.told() == (["firing", "resolved"] if ends else ["firing"])


async def test_between_clear_and_the_threshold_nothing_begins_and_what_is_pending_starts_anew() -> None:
    async with engine(rules=[rule(clear="5", **{"for": "10s"})], defaults=False) as rig:
        await rig.measure("queue", 8)
        assert await rig.names("pending") == []
        await rig.measure("queue", 11)
        await rig.clock.advance(9)
        await rig.measure("queue", 8)
        assert await rig.names("pending") == []
        await rig.measure("queue", 11)
        await rig.clock.advance(9)
        await rig.measure("queue", 11)
        assert await rig.told() == []
        await rig.clock.advance(1)
        await rig.measure("queue", 11)
        assert await rig.told() == ["firing"]


async def test_clear_holds_for_what_a_window_holds_too() -> None:
    one = rule(aggregate="mean", window="10s", above="100", clear="50")
    async with engine(rules=[one], defaults=False) as rig:
        await rig.measure("queue", 200)
        await rig.measure("queue", 0)  # The mean is 100.
        assert await rig.told() == ["firing"]
        await rig.measure("queue", 0)
        assert await rig.told() == ["firing"]
        await rig.measure("queue", 0)  # It is 50.
        assert await rig.told() == ["firing", "resolved"]


# keep_firing_for


async def test_an_alert_ends_once_all_was_good_for_so_long_without_another_value() -> None:
    async with engine(rules=[rule(keep_firing_for="30s")], defaults=False) as rig:
        await rig.measure("queue", 11)
        await rig.clock.advance(5)
        await rig.measure("queue", 10)
        await rig.clock.advance(29.9)
        assert await alive(rig)
        await rig.clock.advance(0.1)
        assert await rig.told() == ["firing", "resolved"]


async def test_what_is_bad_again_meanwhile_starts_keep_firing_for_anew() -> None:
    async with engine(rules=[rule(keep_firing_for="30s")], defaults=False) as rig:
        await rig.measure("queue", 11)
        await rig.measure("queue", 10)
        await rig.clock.advance(29)
        await rig.measure("queue", 11)
        await rig.measure("queue", 10)
        await rig.clock.advance(29)
        assert await alive(rig)
        await rig.clock.advance(1)
        assert await rig.told() == ["firing", "resolved"]


async def test_keep_firing_for_does_not_keep_what_is_only_pending() -> None:
    async with engine(rules=[rule(keep_firing_for="30s", **{"for": "10s"})], defaults=False) as rig:
        await rig.measure("queue", 11)
        await rig.measure("queue", 10)
        assert await rig.names("pending") == []


async def test_an_event_keeps_its_alert_for_so_long_after_the_last_one() -> None:
    async with engine(rules=[event_rule(keep_firing_for="1h")], defaults=False) as rig:
        await rig.happen("custom.something")
        await rig.clock.advance(1800)
        await rig.happen("custom.something")
        await rig.clock.advance(3599)
        assert (await rig.only()).count == 2
        await rig.clock.advance(1)
        assert await rig.told() == ["firing", "resolved"]


# What is looked at: `where`; and what is put on alerts: `labels`


@pytest.mark.parametrize(
    ("where", "labels", "fires"),
    [
        ({"name": "a"}, {"name": "a", "other": "x"}, True),
        ({"name": "a"}, {"name": "b"}, False),
        ({"name": "a"}, {}, False),
        ({"name": ["a", "b"]}, {"name": "b"}, True),
        ({"name": "a", "other": "x"}, {"name": "a", "other": "y"}, False),
        ({"source": "/ci/test"}, {}, True),
        ({"source": ["/ci/else"]}, {}, False),
    ],
)
async def test_where_says_which_events_are_looked_at(
    where: dict[str, Any], labels: dict[str, str], fires: bool
) -> None:
    async with engine(rules=[rule(where=where)], defaults=False) as rig:
        await rig.measure("queue", 11, **labels)
        assert await alive(rig) == fires


async def test_labels_are_put_on_the_alert_beside_those_it_is_told_apart_by() -> None:
    async with engine(rules=[rule(labels={"team": "platform"})], defaults=False) as rig:
        await rig.measure("queue", 11, name="a")
        alert = await rig.only()
        assert (alert.labels, alert.title) == ({"name": "a", "team": "platform"}, "Long Queue: a")
        await rig.measure("queue", 1, name="a")
        assert await rig.told() == ["firing", "resolved"]


# Templates


async def test_annotations_say_what_the_alert_is_about() -> None:
    texts = {
        "summary": "{{ rule }} of {{ labels.name }}: {{ value }} instead of {{ threshold }} ({{ labels.team }})",
        "step": "{% if raw_value > 50 %}Call {{ labels.team }}.{% else %}Wait.{% endif %}",
        "plain": "100 % plain",
    }
    async with engine(rules=[rule(annotations=texts, labels={"team": "ops"})], defaults=False) as rig:
        await rig.measure("queue", 60, name="a")
        told = (await rig.only()).annotations
        assert told == {
            "summary": "Long Queue of a: 60 instead of 10 (ops)", "step": "Call ops.", "plain": "100 % plain"
        }  # fmt: skip


async def test_a_template_that_fails_says_so_and_the_alert_fires() -> None:
    async with engine(rules=[rule(annotations={"summary": "{{ raw_value / 0 }}"})], defaults=False) as rig:
        await rig.measure("queue", 60)
        assert "division by zero" in (await rig.only()).annotations["summary"]


async def test_a_template_cannot_leave_its_sandbox() -> None:
    escape = "{{ rule.__class__.__mro__ }}"
    async with engine(rules=[rule(annotations={"summary": escape})], defaults=False) as rig:
        await rig.measure("queue", 60)
        assert "template failed" in (await rig.only()).annotations["summary"]


@pytest.mark.parametrize(
    "bomb",
    [
        "{{ 'x'.ljust(99999999) }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% set x = 'word' %}" + "{% set x = x ~ x %}" * 25,
    ],
)
async def test_a_template_that_would_take_all_time_or_room_fails_and_the_alert_fires(bomb: str) -> None:
    async with engine(rules=[rule(annotations={"summary": bomb})], defaults=False) as rig:
        await rig.measure("queue", 60)
        assert "template failed" in (await rig.only()).annotations["summary"]


# Environments


async def test_an_environment_has_thresholds_severity_and_alerts_of_its_own() -> None:
    one = rule(**{"in": {"staging": {"above": "20", "severity": "info"}, "test": {"enabled": False}}})
    async with engine(rules=[one], defaults=False) as rig:
        for environment in ("production", "staging", "test"):
            await rig.happen("custom.measured", environment=environment, measures={"queue": 15.0})
        alert = await rig.only()
        assert (alert.environment, alert.severity, alert.threshold) == ("production", "warning", 10.0)
        await rig.happen("custom.measured", environment="staging", measures={"queue": 21.0})
        assert {(one.environment, one.severity, one.threshold) for one in await rig.alerts()} == {
            ("production", "warning", 10.0),
            ("staging", "info", 20.0),
        }
        await rig.happen("custom.measured", environment="production", measures={"queue": 1.0})
        assert (await rig.only()).environment == "staging"


async def test_an_environment_may_wait_longer() -> None:
    one = rule(**{"for": "10s", "in": {"staging": {"for": "60s"}}})
    async with engine(rules=[one], defaults=False) as rig:
        for _ in range(2):
            for environment in ("production", "staging"):
                await rig.happen("custom.measured", environment=environment, measures={"queue": 15.0})
            await rig.clock.advance(10)
        assert (await rig.only()).environment == "production"
        assert (await rig.only("pending")).environment == "staging"


# Counts, rates and increases


async def test_events_are_counted_in_a_window_and_leave_it_by_themselves() -> None:
    one = event_rule(aggregate="count", window="1h", above="3", outcome="failure")
    async with engine(rules=[one], defaults=False) as rig:
        for _ in range(3):
            await rig.happen("custom.something", "failure", service="chat")
        await rig.happen("custom.something", "success", service="chat")
        assert not await alive(rig)
        await rig.happen("custom.something", "failure", service="chat")
        alert = await rig.only()
        assert (alert.value, alert.threshold, alert.unit) == (4.0, 3.0, "{event}")
        assert alert.message == "count of custom.something over 1h is 4, above 3"
        await rig.clock.advance(3613)
        assert await rig.told() == ["firing", "resolved"]


async def test_too_few_events_in_a_window_are_as_bad() -> None:
    async with engine(rules=[event_rule(aggregate="count", window="60s", below="2")], defaults=False) as rig:
        await rig.happen("custom.something")
        assert not await alive(rig), "nobody could be heard for most of the window"
        await rig.clock.advance(60)
        assert await alive(rig)
        await rig.happen("custom.something")
        await rig.happen("custom.something")
        assert not await alive(rig)
        await rig.clock.advance(62)
        assert await alive(rig)


@pytest.mark.parametrize(("limit", "fires"), [("6/min", False), ("5.9/min", True), ("0.1/s", False), ("5/min", True)])
async def test_a_rate_is_what_came_per_time(limit: str, fires: bool) -> None:
    async with engine(rules=[event_rule(aggregate="rate", window="10s", above=limit)], defaults=False) as rig:
        await rig.happen("custom.something")
        assert await alive(rig) == fires


async def test_the_rate_of_a_metric_adds_its_values_up() -> None:
    one = rule(aggregate="rate", window="10s", above="2/s")
    async with engine(rules=[one], defaults=False) as rig:
        await rig.measure("queue", 15)
        await rig.measure("queue", 5)
        assert not await alive(rig)
        await rig.measure("queue", 1)
        alert = await rig.only()
        assert (alert.value, alert.threshold, alert.unit) == (2.1, 2.0, "{event}/s")


async def test_an_increase_is_how_far_a_climbing_value_climbed_also_where_it_began_anew() -> None:
    async with engine(rules=[rule(aggregate="increase", window="60s", above="10")], defaults=False) as rig:
        for value in (1000, 1006, 2, 4):  # 6 more, then from nothing to 4.
            await rig.measure("queue", value)
        assert not await alive(rig)
        await rig.measure("queue", 5)
        assert (await rig.only()).value == 11.0


# Absence


async def test_absence_fires_when_nothing_came_for_so_long_and_ends_with_the_next() -> None:
    one = {"name": "No Builds", "event": "build.finished", "absent": "2h", "severity": "error"}
    async with engine(rules=[one], defaults=False) as rig:
        await rig.clock.advance(3600)
        await rig.happen("build.finished", "success", subject="b-1")
        await rig.clock.advance(7199.9)
        assert not await alive(rig)
        await rig.clock.advance(0.1)
        alert = await rig.only()
        assert (alert.severity, alert.type, alert.labels) == ("error", "build.finished", {})
        assert alert.message == "no build.finished for 2h; the last was build.finished (success): b-1"
        await rig.happen("build.finished", "success")
        assert await rig.told() == ["firing", "resolved"]
        await rig.clock.advance(7200)
        assert await rig.told() == ["firing", "resolved", "firing"]


async def test_absence_is_counted_from_when_the_rule_was_first_at_work() -> None:
    async with engine(rules=[event_rule(absent="10m")], defaults=False) as rig:
        await rig.clock.advance(599)
        assert not await alive(rig)
        await rig.clock.advance(1)
        assert (await rig.only()).message == "no custom.something for 10m"


async def test_absence_of_a_metric_and_of_an_outcome() -> None:
    rules = [rule(above=None, absent="60s"), event_rule(absent="60s", outcome="success")]
    async with engine(rules=[msgspec.to_builtins(one) for one in rules], defaults=False) as rig:
        await rig.clock.advance(30)
        await rig.measure("queue", 1)
        await rig.happen("custom.something", "failure")
        await rig.clock.advance(30)
        assert await rig.names() == ["Something Happens"]
        await rig.clock.advance(30)
        assert await rig.names() == ["Long Queue", "Something Happens"]


async def test_a_group_is_waited_for_once_it_was_seen() -> None:
    async with engine(rules=[event_rule(absent="60s", group=["service"])], defaults=False) as rig:
        await rig.clock.advance(100)
        assert not await alive(rig)
        await rig.happen("custom.something", service="a")
        await rig.clock.advance(30)
        await rig.happen("custom.something", service="b")
        await rig.clock.advance(30)
        assert (await rig.only()).labels == {"service": "a"}
        await rig.stage.resolve(Answer((await rig.only()).id, "admin", "it is no more"), OPERATOR)
        await rig.clock.advance(29)
        assert not await alive(rig)
        await rig.clock.advance(1)
        assert (await rig.only()).labels == {"service": "b"}


async def test_a_late_event_counts_from_when_it_happened() -> None:
    async with engine(rules=[event_rule(absent="1h")], defaults=False) as rig:
        start = rig.clock.time()
        await rig.clock.advance(3600)
        assert await alive(rig)
        await rig.happen("custom.something", time=start)  # An hour old: no answer.
        assert await alive(rig)
        await rig.happen("custom.something", time=start + 600)
        assert not await alive(rig)
        await rig.clock.advance(599)
        assert not await alive(rig)
        await rig.clock.advance(1)
        assert await alive(rig)


async def test_a_process_that_stood_still_blames_nobody_for_its_own_silence() -> None:
    async with engine(rules=[event_rule(absent="1h")], defaults=False) as rig:
        await rig.clock.suspend(7200)
        assert not await alive(rig)
        await rig.clock.advance(59)
        assert not await alive(rig)
        await rig.clock.advance(1)
        assert await alive(rig)


async def test_a_step_of_the_clock_is_no_absence() -> None:
    async with engine(rules=[event_rule(absent="1h")], defaults=False) as rig:
        await rig.happen("custom.something")
        rig.clock.step(7200)
        await rig.clock.advance(3599)
        assert not await alive(rig)
        await rig.clock.advance(1)
        assert await alive(rig)


# No data


@pytest.mark.parametrize("aggregate", ["mean", "min", "max", "p95", "sum"])
async def test_b10_what_nobody_measures_any_more_is_not_zero(aggregate: str) -> None:
    async with engine(rules=[rule(aggregate=aggregate, window="60s")]) as rig:
        await rig.measure("queue", 20)
        for _ in range(20):
            await rig.clock.advance(10)
        assert [alert.status for alert in await rig.alerts()] == ["active"], "the window is empty, and it fires on"
        await rig.measure("queue", 1)
        assert await rig.alerts() == []


async def test_b10_for_counts_from_when_a_value_arrives_and_not_from_when_it_was_measured() -> None:
    async with engine(rules=[rule(**{"for": "60s"})]) as rig:
        for wait, late in ((0, 120), (59, 0), (2, 0)):
            await rig.clock.advance(wait)
            assert await rig.alerts() == []
            measured = rig.event("custom.measured", measures={"queue": 20.0}, time=rig.clock.time() - late)
            await rig.send(msgspec.structs.replace(measured, received=rig.clock.time()))
        assert [alert.status for alert in await rig.alerts()] == ["active"]


async def test_silence_keeps_the_alert_and_raises_another_of_its_own() -> None:
    async with engine(rules=[rule(no_data_after="60s")], defaults=False) as rig:
        await rig.measure("queue", 11, name="a")
        await rig.measure("queue", 1, name="b")
        await rig.clock.advance(59)
        assert await rig.names() == ["Long Queue"]
        await rig.clock.advance(1)
        assert await rig.names() == ["Long Queue", "No Data: Long Queue"]
        silent = next(alert for alert in await rig.alerts() if alert.rule.startswith("No Data"))
        assert (silent.severity, silent.value) == ("info", 2.0)
        assert silent.message == "queue: no data for 1m from 2 of 2: a, b"
        await rig.measure("queue", 1, name="b")
        assert "No Data: Long Queue" in await rig.names()
        await rig.measure("queue", 11, name="a")
        assert await rig.names() == ["Long Queue"]


async def test_silence_may_count_as_bad() -> None:
    async with engine(rules=[rule(no_data_after="60s", on_no_data="alert", **{"for": "90s"})], defaults=False) as rig:
        await rig.measure("queue", 1)
        await rig.clock.advance(60)
        assert await rig.names("pending") == ["Long Queue"]
        await rig.measure("queue", 1)
        assert await rig.names("pending") == []
    async with engine(rules=[rule(no_data_after="60s", on_no_data="alert")], defaults=False) as rig:
        await rig.measure("queue", 1)
        await rig.clock.advance(60)
        assert (await rig.only()).message == "queue: no data for 1m"
        await rig.measure("queue", 1)
        assert await rig.told() == ["firing", "resolved"]


async def test_silence_that_counts_as_bad_waits_for_as_long_as_values_would() -> None:
    async with engine(rules=[rule(no_data_after="60s", on_no_data="alert", **{"for": "90s"})], defaults=False) as rig:
        await rig.measure("queue", 1)
        await rig.clock.advance(89.9)
        assert await rig.names() == []
        await rig.clock.advance(0.1)
        assert await rig.names() == ["Long Queue"]


async def test_silence_may_count_as_good() -> None:
    async with engine(rules=[rule(no_data_after="60s", on_no_data="ok")], defaults=False) as rig:
        await rig.measure("queue", 11)
        await rig.clock.advance(60)
        assert await rig.told() == ["firing", "resolved"]
        await rig.clock.advance(600)
        assert await rig.names() == []


async def test_a_series_that_is_gone_for_a_day_is_waited_for_no_more() -> None:
    async with engine(rules=[rule(no_data_after="1h")], defaults=False) as rig:
        await rig.measure("queue", 1, name="a")
        await rig.clock.advance(86_399)
        assert await rig.names() == ["No Data: Long Queue"]
        await rig.clock.advance(1)
        assert await rig.told() == ["firing", "resolved"]


async def test_without_no_data_after_silence_is_normal() -> None:
    async with engine(rules=[rule()], defaults=False) as rig:
        await rig.measure("queue", 1)
        await rig.clock.advance(100_000)
        assert await rig.told() == []


# Change against a baseline


@pytest.mark.parametrize(
    ("change", "usual", "value", "fires"),
    [
        ({"over": "20%"}, [100, 100, 100, 100, 100], 120, False),
        ({"over": "20%"}, [100, 100, 100, 100, 100], 120.1, True),
        ({"over": "20%"}, [100, 100, 100, 100], 1000, False),  # One too few to say what is usual.
        ({"over": "20%", "min_runs": 4}, [100, 100, 100, 100], 1000, True),
        ({"over": "20%"}, [100, 100, 900, 100, 100], 121, True),  # The median is 100.
        ({"over": "20%", "of": "mean"}, [100, 100, 900, 100, 100], 121, False),  # The mean is 260.
        ({"over": "20%", "runs": 5}, [900, 100, 100, 100, 100, 100], 121, True),
        ({"under": "50%"}, [100, 100, 100, 100, 100], 50, False),
        ({"under": "50%"}, [100, 100, 100, 100, 100], 49.9, True),
        ({"over": "20%"}, [0, 0, 0, 0, 0], 5, False),  # There is no share of nothing.
    ],
)
async def test_a_value_is_compared_with_the_last_runs(
    change: dict[str, Any], usual: Sequence[float], value: float, fires: bool
) -> None:
    one = {"name": "Slower", "metric": "queue", "change": change}
    async with engine(rules=[one], defaults=False) as rig:
        for run in usual:
            await rig.measure("queue", run)
        assert not await alive(rig)
        await rig.measure("queue", value)
        assert await alive(rig) == fires


async def test_what_is_usual_moves_on() -> None:
    one = {"name": "Slower", "metric": "build_performance", "change": {"over": "20%", "runs": 5}}
    async with engine(rules=[one], defaults=False) as rig:
        for _ in range(5):
            await rig.measure("build_performance", 1000)
        await rig.measure("build_performance", 2000)
        alert = await rig.only()
        assert (alert.value, alert.threshold) == (2000.0, 1200.0)
        assert alert.message == "build performance is 2 s, 100 % above the median of the last 5, 1 s"
        await rig.measure("build_performance", 2000)
        assert await alive(rig)
        await rig.measure("build_performance", 2000)
        assert await alive(rig)
        await rig.measure("build_performance", 2000)  # Three of the last five took as long.
        assert not await alive(rig)


# Events that fire at once


async def test_a_lost_build_fires_until_the_next_good_one() -> None:
    async with engine() as rig:
        await rig.happen("build.lost", "error", subject="b-7")
        alert = await rig.only()
        assert (alert.rule, alert.severity) == ("Build Lost", "error")
        await rig.happen("build.finished", "success")
        assert await rig.told() == ["firing", "resolved"]


async def test_drift_of_production_from_staging_fires_until_they_agree() -> None:
    async with engine() as rig:
        await rig.measure("environment_drift_count", 5, pair="development/production")
        assert not await alive(rig)
        await rig.measure("environment_drift_count", 2, pair="production/staging")
        alert = await rig.only()
        assert (alert.rule, alert.severity) == ("Production Configuration Drifted", "warning")
        await rig.measure("environment_drift_count", 0, pair="production/staging")
        assert await rig.told() == ["firing", "resolved"]


# What cannot be


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"metric": "queu"}, "rules[0].metric", "did you mean 'queue'?"),
        ({"clear": "11"}, "rules[0].clear", "bad side"),
        ({"clear": "5s"}, "rules[0].clear", "is not a number"),
        ({"in": {"staging": {"above": "5s"}}}, "rules[0].in.staging.above", "is not a number"),
        ({"in": {"staging": {"above": "5", "clear": "6"}}}, "rules[0].in.staging", "bad side"),
        ({"labels": {"name": "a"}}, "rules[0].labels.name", "write it below `where`"),
        ({"depends_on": ["Long Qeue"]}, "rules[0].depends_on[0]", "did you mean 'Long Queue'?"),
        ({"depends_on": ["Long Queue"]}, "rules[0].depends_on", "Long Queue -> Long Queue"),
        ({"annotations": {"step": "{{ valu }}"}}, "rules[0].annotations.step", "did you mean 'value'?"),
        ({"annotations": {"step": "{% if %}"}}, "rules[0].annotations.step", "is no template"),
        ({"aggregate": "rate", "window": "5m"}, "rules[0].above", "says nothing of time"),
        ({"aggregate": "rate", "window": "5m", "above": "3/parsec"}, "rules[0].above", "'parsec' is no time"),
        ({"aggregate": "count", "window": "5m", "above": "target"}, "rules[0].above", "write how many"),
    ],
)
async def test_a_rule_that_cannot_work_is_refused(fields: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        async with engine(rules=[rule(**fields)], defaults=False):
            pass
    assert error.value.faults[0].path == path
    assert message in error.value.faults[0].message


async def test_rules_that_depend_on_each_other_in_a_circle_are_refused() -> None:
    rules = [rule(name=name, depends_on=[other]) for name, other in (("A", "B"), ("B", "c"), ("C", "A"))]
    with pytest.raises(ConfigError, match=r"rules\[0\].depends_on: rule 'A' depends on itself, by way of A -> B -> c"):
        async with engine(rules=rules, defaults=False):
            pass


async def test_a_rule_may_depend_on_a_shipped_one_and_on_silence() -> None:
    rules = [rule(depends_on=["memory usage high", "No Data: Memory Usage High"])]
    async with engine(rules=rules) as rig:
        await rig.measure("queue", 11)
        assert await rig.names() == ["Long Queue"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"on_no_data": "alert"}, "on_no_data: .*`on_no_data` needs `no_data_after`"),
        ({"change": {"over": "20%"}}, "above: .*`above` has no meaning in a rule on a `change`"),
        ({"above": None, "change": {}}, "either `over` or `under`"),
        ({"above": None, "change": {"over": "20%", "min_runs": 30}}, "min_runs: 30 runs are more than the 20"),
        ({"above": None, "change": {"over": "0%"}}, "over: 0% is no change"),
        ({"above": None, "change": {"over": 20}}, "has no unit"),
        ({"absent": "2h"}, "above: .*`above` has no meaning in a rule on absence"),
        ({"above": None, "absent": "2h", "for": "5m"}, "for: .*`for` has no meaning in a rule on absence"),
        ({"in": {"staging": {"below": "5"}}}, "in.staging: .*the rule has no `below`"),
        ({"in": {"staging": {"above": "5"}}, "environment": "production"}, "looks at 'production' alone"),
        ({"labels": {"environment": "x"}}, "is what tells its alerts apart"),
        ({"labels": {"a b": "x"}}, "cannot name a label"),
        ({"metric": "", "event": "a.b", "above": "3"}, "above: .*`above` has no meaning in a rule on an event"),
        ({"metric": "", "event": "a.b", "aggregate": "count", "window": "5m", "above": None}, "either `above`"),
        ({"metric": "", "event": "a.b", "aggregate": "mean", "window": "5m", "above": None}, "is `count` or `rate`"),
        ({"metric": "", "event": "a.b", "aggregate": "count", "above": "3"}, "`count` needs a `window`"),
        ({"metric": "", "event": "a.b", "above": None, "no_data_after": "5m"}, "`no_data_after` has no meaning"),
        ({"metric": "", "event": "a.b", "above": None, "ratio": "101%", "window": "5m"}, "ratio: .*no share"),
        ({"metric": "", "event": "a.b", "above": None, "clears": {"event": "a.b"}}, "clears: .*would end"),
        ({"metric": "", "event": "a.b", "above": None, "clears": {"event": "a.b", "outcome": "success"}}, "clears: .*"),
        ({"keep_firing": "5m"}, "unknown field"),
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        step(ALERT_ENGINE, rules=[rule(**fields)])


def test_outcomes_that_say_nothing_are_no_failures() -> None:
    outcomes: Sequence[Outcome] = ("cancel", "skip")
    slo = Slo(name="Builds", objective=Percent("99%"), event="build.finished")
    assert [slo.is_good(outcome) for outcome in outcomes] == [None, None]


FILE = """\
version: 1
sources:
  host: {use: system-resources}
sinks:
  alert-engine:
    rules:
      - name: Memory
        metric: system_memory_usage
        above: 80%
        claer: 70%
      - name: Disk
        metric: system_disk_usage
        above: 80%
        clear: 90%
      - name: Load
        metric: system_load_1m
        aggregate: count
        window: 5m
        above: target
        on_no_data: alert
        depends_on: [Disc]
    slos:
      - name: Host
        objective: 99%
        metric: system_memory_usage
        above: 5s
        windows: [{long: 1h, short: 5m, burn: fast}]
pipelines:
  alerts: {sources: [host], sinks: [alert-engine]}
"""


def faults_of(text: str) -> Sequence[str]:
    try:
        config.plan(parse(text, "pipelines.yaml"), plugins.load(installed=False), environ={})
    except ConfigError as error:
        return [str(fault) for fault in error.faults]
    return []


_OUTCOMES = "unknown value 'good'; known: cancel, error, failure, skip, success, timeout"


@pytest.mark.parametrize(
    ("added", "fault"),
    [
        ("    maintenance: [{name: a, from: '02:00', to: '03:00', time_zone: Mars/Base}]", "'Mars/Base'; there are "),
        ("      - {name: B, event: a.b, outcome: good}", f".outcome: {_OUTCOMES}"),
        ("      - {name: B, event: a.b, outcome: [failure, good]}", f".outcome[1]: {_OUTCOMES}"),
    ],
)
def test_a_word_that_is_none_is_told_with_those_there_are_unless_they_are_hundreds(added: str, fault: str) -> None:
    (said,) = [one for one in faults_of(FILE.replace("    slos:", f"{added}\n    slos:")) if fault in one]
    assert len(said) < 250


def test_every_fault_is_told_by_file_line_and_column() -> None:
    here = "sinks.alert-engine"
    keys = ", ".join(sorted(field.encode_name for field in msgspec.structs.fields(Rule)))
    number = "expected a number, found text; write digits alone, without quotes"
    needs = "`on_no_data` needs `no_data_after`, such as 5m: after how long there is no data"
    assert faults_of(FILE) == [
        f"pipelines.yaml:10:9: {here}.rules[0].claer: unknown key 'claer'; did you mean 'clear'? Known: {keys}",
        f"pipelines.yaml:20:9: {here}.rules[2].on_no_data: rule 'Load': {needs}",
        f"pipelines.yaml:27:41: {here}.slos[0].windows[0].burn: {number}",
    ]
    bad_side = "`clear` lies on the bad side of `above`; it has to be at or below it, or no alert would ever end"
    no_share = "'5s' is not understood; expected a share such as 80%"
    told = "`target` is a value of a metric; write how many, as in 5"
    mended = FILE.replace("claer", "clear").replace("        on_no_data: alert\n", "").replace("burn: fast", "burn: 2")
    assert faults_of(mended) == [
        f"pipelines.yaml:14:9: {here}.rules[1].clear: rule 'Disk': {bad_side}",
        f"pipelines.yaml:19:9: {here}.rules[2].above: rule 'Load': {told}",
        f"pipelines.yaml:25:9: {here}.slos[0].above: rule 'Host': {no_share}",
    ]
    mended = mended.replace("clear: 90%", "clear: 70%").replace("above: target", "above: 5").replace("5s", "80%")
    (stranger,) = faults_of(mended)
    assert stranger.startswith(f"pipelines.yaml:20:22: {here}.rules[2].depends_on[0]: unknown rule 'Disc'; did you")
    assert faults_of(mended.replace("[Disc]", "[disk]")) == []
