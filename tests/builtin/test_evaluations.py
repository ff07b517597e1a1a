"""Why a rule fires or not: its last evaluations in words, and what is said of rules that can never fire."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from bers import Batch, Caller, Catalog, Context, Event, Metric, Nothing, Outcome, Refused
from bers.testing import VirtualClock, step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE
from bers_builtin.sinks.alert_engine.desk.why import AskRule, RuleStory, explain_rule, list_rules
from bers_builtin.sinks.alert_engine.engine import AlertEngine
from bers_builtin.sinks.alert_engine.watches.evaluations import APART, CROWD, KEPT, Evaluation

METRICS = Catalog(
    [
        Metric("queue", "{event}", "Waiting.", labels=("name",)),
        Metric("latency", "ms", "Answering."),
        Metric("coverage", "%", "Covered.", labels=("kind",)),
    ]
)
CALLER = Caller()


class Rig:
    def __init__(self, stage: AlertEngine, clock: VirtualClock) -> None:
        self.stage, self.clock, self.end = stage, clock, 0

    async def send(self, *events: Event) -> None:
        self.end += len(events)
        await self.stage.write(Batch(events, reader="alerts", end=self.end))

    def event(self, type: str = "custom.measured", **fields: Any) -> Event:
        return Event(f"e-{self.end}", "/ci", type, fields.pop("time", self.clock.time()), **fields)

    async def measure(self, metric: str, *values: float, **labels: str) -> None:
        for value in values:
            await self.send(self.event(measures={metric: value}, labels=labels))

    async def build(self, outcome: Outcome) -> None:
        await self.send(self.event("build.finished", outcome=outcome, service="web"))

    async def story(self, id: str) -> RuleStory:
        return await explain_rule(self.stage, AskRule(id), CALLER)

    async def told(self, id: str) -> Sequence[Evaluation]:
        """Its evaluations, the oldest first."""
        return (await self.story(id)).evaluations[::-1]

    async def reasons(self, id: str) -> Sequence[str]:
        return [one.reason for one in await self.told(id)]


@asynccontextmanager
async def engine(*rules: Mapping[str, Any], call: Any = None, **options: Any) -> AsyncGenerator[Rig]:
    clock = VirtualClock()
    context = Context("alert-engine", clock=clock, metrics=METRICS)
    context = replace(context, call=call) if call else context
    options = {"commit_every": "1h", "defaults": False, "rules": list(rules), **options}
    async with step(ALERT_ENGINE, context=context, **options).open() as stage:
        await stage.position("alerts", 0, begin=0)
        yield Rig(stage, clock)


def queue(**fields: Any) -> Mapping[str, Any]:
    return {"name": "Long Queue", "metric": "queue", "above": "10", **fields}


async def test_each_evaluation_says_what_was_compared_concluded_and_done() -> None:
    async with engine(queue(**{"for": "60s"})) as rig:
        await rig.measure("queue", 5.0, name="mail")
        await rig.measure("queue", 15.0, name="mail")
        await rig.clock.advance(12)
        await rig.measure("queue", 16.0, name="mail")
        await rig.clock.advance(48)
        await rig.measure("queue", 17.0, name="mail")
        await rig.clock.advance(1)
        await rig.measure("queue", 10.0, name="mail")
        good, began, waits, fires, over = await rig.told("long-queue")
    assert good == Evaluation(1_700_000_000_000, {"name": "mail"}, 5.0, None, "good", "ok", "5 is good")
    assert (began.decision, began.status, began.reason) == ("breaching", "pending", "waits: 0 s of 60 s")
    assert (waits.time, waits.value, waits.reason) == (1_700_000_012_000, 16.0, "waits: 12 s of 60 s")
    assert (fires.status, fires.reason) == ("active", "active: queue is 17, above 10 for 1m")
    assert (over.decision, over.status) == ("good", "resolved")
    assert over.reason == "10 is good; the alert was resolved: what it watches is good again"


async def test_a_window_says_how_many_samples_it_had_and_that_time_went_on() -> None:
    slow = {"name": "Slow", "metric": "latency", "above": "100ms", "aggregate": "mean", "window": "10s"}
    async with engine({**slow, "min_samples": 3}) as rig:
        await rig.measure("latency", 500.0, 10.0, 150.0)
        await rig.clock.advance(12)
        one, two, three, gone = await rig.told("slow")
    assert (one.samples, one.decision, one.reason) == (1, "undecided", "fewer than min_samples: 1 of 3")
    assert two.reason == "fewer than min_samples: 2 of 3"
    assert (three.samples, three.value, three.status) == (3, 220.0, "active")
    assert (gone.samples, gone.decision) == (0, "undecided")


async def test_what_suppresses_an_alert_is_named() -> None:
    async with engine(queue(), rate_limiting={"max_alerts": 1, "window": "5m"}) as rig:
        await rig.measure("queue", 11.0, name="mail")
        await rig.measure("queue", 11.0, name="print")
        assert await rig.reasons("long-queue") == ["active: queue is 11, above 10", "suppressed by rate limit"]


async def test_an_event_that_is_too_old_is_named_as_ignored() -> None:
    async with engine(queue()) as rig:
        await rig.send(rig.event(measures={"queue": 99.0}, labels={"name": "mail"}, time=rig.clock.time() - 600))
        (ignored,) = await rig.told("long-queue")
    assert (ignored.decision, ignored.labels) == ("ignored", {"name": "mail"})
    assert ignored.reason == "too old: it came 600 s late, and events are looked at for 5m"


async def test_events_are_evaluations_too() -> None:
    failing = {"name": "Failing", "event": "build.finished", "consecutive": 2}
    async with engine(failing) as rig:
        for outcome in ("failure", "failure", "success"):
            await rig.build(outcome)
        assert [one.decision for one in await rig.told("failing")] == ["good", "breaching", "good"]
        assert [one.status for one in await rig.told("failing")] == ["ok", "active", "resolved"]


async def test_the_last_fifty_are_kept_by_id_or_by_name() -> None:
    async with engine(queue()) as rig:
        await rig.measure("queue", *range(60), name="mail")
        story = await rig.story("Long Queue")
    assert [one.value for one in story.evaluations] == [float(value) for value in range(59, 9, -1)]
    assert (story.id, story.state, len(story.evaluations)) == ("long-queue", "active", KEPT)


async def test_of_a_crowd_one_in_a_tenth_of_a_second_is_kept_and_every_step_of_an_alert() -> None:
    async with engine(queue()) as rig:
        events = [
            rig.event(measures={"queue": 99.0 if n == 70 else 1.0}, labels={"name": "mail"}) for n in range(CROWD * 4)
        ]
        await rig.send(*events)
        told = await rig.told("long-queue")
        assert {"active", "resolved"} <= {one.status for one in told}
        await rig.clock.advance(2 * APART)
        await rig.measure("queue", 2.0, name="mail")
        assert (await rig.told("long-queue"))[-1].value == 2.0


async def test_a_rule_that_there_is_not_is_refused_with_those_there_are() -> None:
    async with engine(queue()) as rig:
        with pytest.raises(Refused, match="unknown rule 'long-quue'; did you mean 'long-queue'"):
            await rig.story("long-quue")


async def test_the_evaluations_of_a_thousand_rules_take_less_than_twenty_megabytes() -> None:
    rules = [queue(name=f"Rule {n}") for n in range(1000)]
    async with engine(*rules) as rig:
        await rig.measure("queue", *[5.0] * KEPT, name="mail")
        held = 0
        for watch in rig.stage.books.evaluator.watches.by_id.values():
            for noted in watch.evaluations._noted:  # pyright: ignore[reportPrivateUsage] - What is held is to be weighed.
                held += sys.getsizeof(noted) + 3 * sys.getsizeof(1.0) + 64
    assert 5_000_000 < held < 20_000_000


# Rules that can never fire


def history(**series: Sequence[Mapping[str, str]]) -> Any:
    """A store that has these series, and no records."""
    asked: list[str] = []

    async def call(method: str, path: str, fields: Mapping[str, Any]) -> Any:
        asked.append(path)
        if path == "records":
            return []
        found = series[path.removeprefix("metrics/")]
        return {"series": [{"labels": labels} for labels in found], "seriesCount": len(found)}

    call.asked = asked  # type: ignore[attr-defined]
    return call


async def hints(rig: Rig) -> Mapping[str, str]:
    return {one.name: one.hint for one in await list_rules(rig.stage, Nothing(), CALLER) if one.hint}


async def test_a_metric_that_nothing_ever_measured_is_called_out_until_something_does() -> None:
    call = history(queue=[])
    async with engine(queue(), call=call) as rig:
        said = "it can never fire as things are: nothing has measured 'queue' within 30d"
        assert await hints(rig) == {"Long Queue": said}
        assert (await rig.story("long-queue")).hint == said
        assert call.asked == ["metrics/queue"], "what was found is believed for a while"
        await rig.measure("queue", 1.0, name="mail")
        assert await hints(rig) == {}


async def test_a_metric_that_was_measured_before_the_start_is_not_called_out() -> None:
    async with engine(queue(), call=history(queue=[{"name": "mail"}])) as rig:
        assert await hints(rig) == {}


async def test_a_label_that_never_came_is_called_out_with_those_that_did() -> None:
    low = {"name": "Low", "metric": "coverage", "below": "80%", "where": {"kind": "line"}}
    call = history(coverage=[{"kind": "lines"}, {"kind": "branches"}])
    async with engine(low, call=call) as rig:
        said = "it can never fire as things are: kind was never 'line' within 30d; it was 'branches', 'lines'"
        assert await hints(rig) == {"Low": said}


async def test_an_event_that_never_came_is_mentioned() -> None:
    broken = {"name": "Broken", "event": "biuld.finished"}
    async with engine(broken, call=history()) as rig:
        assert (await hints(rig))["Broken"].startswith("no event of type 'biuld.finished' has come yet")


async def test_without_a_store_nobody_knows_what_was_before() -> None:
    async with engine(queue()) as rig:
        assert (await hints(rig))["Long Queue"].endswith("and no store says what was before")
