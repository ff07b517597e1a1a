"""Back-tests: what rules would have done over a journal, windows and records, beside what was done."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from time import process_time
from typing import Any

import anyio
import msgspec
import pytest
from anyio.lowlevel import checkpoint

from bers import Batch, Caller, Catalog, Clock, Context, Event, Metric, Outcome, Recorded, Refused
from bers.clock import SystemClock
from bers.schemas import decode
from bers.testing import VirtualClock, step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.desk.answers import Acknowledge, Answer
from bers_builtin.sinks.alert_engine.engine import AlertEngine
from bers_builtin.sinks.alert_engine.rehearsal.backtest import Rehearsal, Source
from bers_builtin.sinks.alert_engine.rehearsal.backtest_answers import AskBacktest, Backtest, Occurrence
from bers_builtin.sinks.alert_engine.rehearsal.backtesting import run_backtest
from bers_builtin.sinks.alert_engine.rehearsal.turns import Turns

METRICS = Catalog(
    [Metric("queue", "{event}", "Waiting.", labels=("name", "environment")), Metric("latency", "ms", "Answering.")]
)
CALLER = Caller()
START = 1_700_000_000


class Kept(Recorded):
    """A journal in memory."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events

    async def begin(self) -> float | None:
        return self.events[0].received if self.events else None

    async def read(self, since: float, until: float) -> AsyncGenerator[Sequence[Event]]:
        yield [event for event in self.events if since <= event.received < until]


class Store:
    """A store that keeps these windows, per minute, and these records."""

    def __init__(self, windows: Mapping[str, Sequence[Any]] | None = None, records: Sequence[Event] = ()) -> None:
        self.windows, self.records = windows or {}, records

    async def __call__(self, method: str, path: str, fields: Mapping[str, Any]) -> Any:
        if path == "records":
            found = [one for one in self.records if one.type == fields["type"]]
            return {"data": [{**msgspec.to_builtins(one), "timestamp": one.time * 1000} for one in found], "next": None}
        points = [
            one
            for one in self.windows.get(path.removeprefix("metrics/"), ())
            if fields["from"] <= one[0] < fields["to"]
        ]
        series = [{"labels": {"name": "mail", "environment": "production"}, "points": points}]
        return {"data": {"widthMs": 60_000, "stepMs": 60_000, "seriesCount": 1, "series": series}}


class Rig:
    """An engine at work whose journal remembers all, or as much as the test leaves in it."""

    def __init__(self, stage: AlertEngine, clock: VirtualClock, events: list[Event]) -> None:
        self.stage, self.clock, self.events, self.end = stage, clock, events, 0

    async def send(self, type: str = "custom.measured", **fields: Any) -> None:
        now = self.clock.time()
        self.end += 1
        event = Event(f"e-{self.end}", "/ci", type, now, received=now, environment="production", **fields)
        self.events.append(event)
        await self.stage.write(Batch([event], reader="alerts", end=self.end))

    async def measure(self, value: float, seconds: int = 1, name: str = "mail") -> None:
        for _ in range(seconds):
            await self.send(measures={"queue": value}, labels={"name": name})
            await self.clock.advance(1)

    async def build(self, outcome: Outcome) -> None:
        await self.send("build.finished", outcome=outcome, service="web")

    async def log(self) -> int:
        """How many steps were written down."""
        count = "SELECT count(*) FROM alert_log"
        return await self.stage.context.state.run(lambda connection: connection.execute(count).fetchone()[0])

    async def run(self, *rules: Mapping[str, Any], **ask: Any) -> Backtest:
        config = configured(*rules) if rules else None
        return await run_backtest(self.stage, AskBacktest(since=START * 1000, config=config, **ask), CALLER)


def configured(*rules: Mapping[str, Any]) -> AlertConfig:
    return msgspec.convert({"defaults": False, "rules": list(rules)}, AlertConfig, dec_hook=decode)


QUEUE = {"name": "Long Queue", "metric": "queue", "above": "10", "for": "10s"}
BROKEN = {
    "name": "Broken", "event": "build.finished", "outcome": "failure",
    "clears": {"event": "build.finished", "outcome": "success"},
}  # fmt: skip


@asynccontextmanager
async def engine(*rules: Mapping[str, Any], store: Store | None = None) -> AsyncGenerator[Rig]:
    clock, events = VirtualClock(START), list[Event]()
    context = Context("alert-engine", clock=clock, metrics=METRICS, recorded=Kept(events))
    context = replace(context, whole=store) if store else context
    options = {"commit_every": "1h", "defaults": False, "rules": list(rules)}
    async with step(ALERT_ENGINE, context=context, **options).open() as stage:
        await stage.position("alerts", 0, begin=0)
        yield Rig(stage, clock, events)


def spans(occurrences: Sequence[Occurrence]) -> list[tuple[int, int | None, int, str]]:
    """From and to in seconds since the start, how often told, and what changed."""
    return [
        ((one.from_ - START * 1000) // 1000, one.to and (one.to - START * 1000) // 1000, one.told, one.change)
        for one in occurrences
    ]


async def test_over_its_own_journal_the_engine_decides_as_it_did() -> None:
    async with engine(QUEUE, BROKEN) as rig:
        await rig.measure(15.0, 12)
        await rig.build("failure")
        await rig.measure(5.0, 5)
        await rig.build("success")
        await rig.measure(15.0, 20)
        found = await rig.run()
    queue, broken = found.rules
    assert spans(queue.would) == spans(queue.did) == [(10, None, 3, "same")], "it came back, and is reopened"
    assert spans(broken.would) == spans(broken.did) == [(12, 17, 2, "same")]
    assert found.changes == {"same": 2}
    (stretch,) = found.stretches
    assert (stretch.fed_with, stretch.events, stretch.cannot_show) == ("events", 39, [])
    assert (found.reached, found.stopped) == (found.until, "")


async def test_other_rules_are_compared_with_what_was_done() -> None:
    async with engine(QUEUE, BROKEN) as rig:
        await rig.measure(15.0, 30)
        await rig.measure(5.0, 1)
        await rig.build("failure")
        await rig.clock.advance(10)
        new = {"name": "Any Queue", "metric": "queue", "above": "1"}
        found = await rig.run({**QUEUE, "for": "25s"}, new)
    by_name = {rule.name: rule for rule in found.rules}
    shorter, fresh, gone = by_name["Long Queue"], by_name["Any Queue"], by_name["Broken"]
    assert spans(shorter.would) == [(25, 30, 2, "shorter")]
    assert spans(shorter.did) == [(10, 30, 2, "shorter")]
    assert shorter.would[0].by_ms == -15_000
    assert spans(fresh.would) == [(0, None, 1, "new")]
    assert spans(gone.did) == [(31, None, 1, "gone")]
    assert found.changes == {"shorter": 1, "new": 1, "gone": 1}


async def test_an_alert_that_somebody_ended_is_longer_without_them() -> None:
    async with engine(BROKEN) as rig:
        await rig.build("failure")
        (alert,) = rig.stage.books.evaluator.register.live.values()
        await rig.clock.advance(5)
        await rig.stage.acknowledge(Acknowledge(alert.id, "anna"), CALLER)
        await rig.clock.advance(5)
        await rig.stage.resolve(Answer(alert.id, "anna"), CALLER)
        await rig.clock.advance(50)
        found = await rig.run()
    (broken,) = found.rules
    assert spans(broken.did) == [(0, 10, 3, "longer")]
    assert spans(broken.would) == [(0, None, 1, "longer")]
    assert broken.would[0].by_ms == 50_000


async def test_where_the_journal_does_not_reach_windows_and_records_are_read_and_their_limits_said() -> None:
    #       start, count, sum, average, min, max, last, p50, p95, p99
    points = [
        [(START + 60) * 1000, 60, 300.0, 5.0, 1.0, 20.0, 2.0, 5.0, 9.0, 19.0],
        [(START + 120) * 1000, 60, 300.0, 5.0, 1.0, 9.0, 2.0, 5.0, 8.0, 9.0],
    ]
    failed = Event(
        "b-1", "/ci", "build.finished", START + 90.0, outcome="failure", service="web", received=START + 90.0
    )
    store = Store({"queue": points}, [failed])
    mean = {"name": "Mean", "metric": "queue", "above": "4", "aggregate": "mean", "window": "5m", "min_samples": 60}
    async with engine(QUEUE, store=store) as rig:
        await rig.clock.advance(240)
        await rig.measure(15.0, 5)
        found = await rig.run({**QUEUE, "for": "0s"}, mean, BROKEN)
    past, lately = found.stretches
    assert (past.fed_with, past.width_ms, past.windows, past.events) == ("windows", [60_000], 2, 1)
    assert (past.to, lately.from_, lately.fed_with) == ((START + 240) * 1000, (START + 240) * 1000, "events")
    assert any("reads a window's max where it has `above`" in one for one in past.cannot_show)
    assert any("records" not in one and "`sampling` may have left some out" in one for one in past.cannot_show)
    by_name = {rule.name: rule for rule in found.rules}
    assert spans(by_name["Long Queue"].would) == [(120, None, 3, "new")], (
        "bad in one window, good in the next, bad again"
    )
    assert spans(by_name["Mean"].would)[0][0] == 120
    assert spans(by_name["Broken"].would) == [(90, None, 1, "new")]


async def test_a_back_test_changes_nothing() -> None:
    async with engine(QUEUE) as rig:
        await rig.measure(15.0, 12)
        register = rig.stage.books.evaluator.register
        before, log = dict(register.live), await rig.log()
        await rig.run(BROKEN)
        await rig.run()
        assert (register.live, await rig.log()) == (before, log)


async def test_it_stops_when_its_time_is_over_and_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bers_builtin.sinks.alert_engine.rehearsal.backtest.MOST_ALERTS", 3)
    async with engine({**QUEUE, "for": "0s"}) as rig:
        for n in range(9):
            await rig.measure(15.0, 1, name=f"q-{n}")
        found = await rig.run()
    assert found.stopped == "more than 3 alerts would have fired"
    assert found.reached == (START + 3) * 1000


async def test_what_cannot_be_asked_is_refused() -> None:
    async with engine(QUEUE) as rig:
        with pytest.raises(Refused, match="since: it must lie before until"):
            await rig.run(until=START * 1000 - 1)
        await rig.clock.advance(1)
        with pytest.raises(Refused, match="unknown metric 'queeu'"):
            await rig.run({**QUEUE, "metric": "queeu"})
        with (
            rig.stage.rehearsing.taken("ada"),
            pytest.raises(Refused, match="another back-test is running"),
        ):
            await rig.run()


async def busy(clock: Clock, until: float, **config: Any) -> tuple[Backtest, float]:
    """A back-test of a rule on silence with these options over nothing, and the most CPU that others waited for."""
    rule = {"name": "Silent", "metric": "queue", "severity": "critical", "absent": "1s"}
    options = msgspec.convert({"defaults": False, "rules": [rule], **config}, AlertConfig, dec_hook=decode)
    waits, found = [0.0], list[Backtest]()

    async def run() -> None:
        rehearsal = Rehearsal(options, METRICS, START, START + until, clock=clock, within=1.0)
        found.append(await rehearsal.run(Source(Kept([]), Store(), ())))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        while not found:
            began = process_time()
            await checkpoint()
            waits.append(process_time() - began)
    return found[0], max(waits)


@pytest.mark.parametrize(
    "config",
    [
        {"repeat": {"critical": "1ms"}},
        {"maintenance": [{"name": "nights", "from": "02:30", "to": "03:30", "time_zone": "Europe/Berlin"}]},
    ],
    ids=["told again and again", "windows that are looked at again and again"],
)
async def test_what_happens_by_time_alone_takes_no_more_time_than_there_is_and_blocks_nobody(
    config: dict[str, Any],
) -> None:
    found, waited = await busy(SystemClock(), 399 * 86_400.0, **config)
    assert found.stopped == "it took longer than 1s; ask for less time"
    assert START * 1000 < found.reached < found.until
    assert waited < 0.3, "it would have been for ever"


async def test_templates_are_looked_at_and_not_rendered() -> None:
    slow = "{% for one in range(19999) %}{% endfor %}"
    told = {f"text-{n}": slow for n in range(500)}
    async with engine() as rig:
        await rig.measure(15.0, 12)
        began = process_time()
        found = await rig.run({**QUEUE, "annotations": told})
        assert process_time() - began < 5, "rendered once, they take more than ten seconds"
        assert spans(found.rules[0].would) == [(10, None, 1, "new")]
        with pytest.raises(Refused, match="unknown variable 'who'"):
            await rig.run({**QUEUE, "annotations": {"summary": "{{ who }}"}})


async def test_what_somebody_brings_along_is_bounded() -> None:
    nights = {"name": "nights", "from": "02:30", "to": "03:30", "matchers": ["severity=info"] * 51}
    many = msgspec.convert({"maintenance": [nights]}, AlertConfig, dec_hook=decode)
    wrong = {**QUEUE, "depends_on": [f"no-{n}" for n in range(500)]}
    async with engine(QUEUE) as rig:
        with pytest.raises(Refused, match="at most 50 windows, with 50 matchers"):
            await run_backtest(rig.stage, AskBacktest(since=START * 1000 - 1, config=many), CALLER)
        await rig.clock.advance(1)
        with pytest.raises(Refused) as refused:
            await rig.run(wrong)
    assert len(refused.value.details) == 100


async def test_who_was_refused_is_the_next_if_it_asks_again_and_nobody_else_is() -> None:
    clock = VirtualClock()
    turns = Turns(clock)

    def may(principal: str) -> bool:
        try:
            with turns.taken(principal):
                return True
        except Refused:
            return False

    with turns.taken("ada"):
        assert [may("ben"), may("ada"), may("ben")] == [False, False, False]
    assert [may("ada"), may("ben"), may("ada")] == [False, True, True]
    with turns.taken("ada"):
        assert not may("ben")
    await clock.advance(11)
    assert may("ada"), "who does not come back keeps nobody waiting"
