"""A replay in virtual time decides as the engine did: the same steps, of the same alerts, at the same times, for the
same reasons, whatever happened, whoever did what, and however often the engine was started anew or killed."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import anyio
import msgspec
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from bers import Batch, Caller, Catalog, Context, Database, Event, Metric, Outcome
from bers.testing import VirtualClock, step
from bers_builtin.sinks.alert_engine import ALERT_ENGINE
from bers_builtin.sinks.alert_engine.alerts import Alert
from bers_builtin.sinks.alert_engine.config import AlertConfig
from bers_builtin.sinks.alert_engine.desk.answers import Acknowledge, Answer, ListAlerts
from bers_builtin.sinks.alert_engine.engine import AlertEngine
from bers_builtin.sinks.alert_engine.life.register import Deed
from bers_builtin.sinks.alert_engine.rehearsal.simulation import Simulation

METRICS = Catalog(
    [
        Metric("queue", "{event}", "Waiting.", labels=("name",)),
        Metric("latency", "ms", "Answering.", labels=("service",)),
    ]
)
OPTIONS: dict[str, Any] = {
    "defaults": False,
    "deduplication": {"window": "30s"},
    "rate_limiting": {"max_alerts": 4, "window": "60s"},
    "rules": [
        {"name": "Long Queue", "metric": "queue", "above": "10", "for": "10s"},
        {"name": "Very Long Queue", "metric": "queue", "above": "20", "severity": "critical"},
        {"name": "Slow", "metric": "latency", "above": "100ms", "aggregate": "mean", "window": "20s", "min_samples": 2},
        {"name": "Slowest", "metric": "latency", "above": "200ms", "aggregate": "p95", "window": "10s", "for": "5s"},
        {"name": "Broken", "event": "build.finished", "outcome": "failure",
         "clears": {"event": "build.finished", "outcome": "success"}},
        {"name": "Failing", "event": "build.finished", "consecutive": 2, "ratio": "50%", "window": "30s",
         "min_samples": 3, "severity": "error"},
    ],
}  # fmt: skip
START = 1_700_000_000.0
CALLER = Caller("anonymous", "10.0.0.7")


class Wait(NamedTuple):
    """Let so many half seconds pass."""

    halves: int


class Measure(NamedTuple):
    metric: str
    value: float
    label: str


class Keep(NamedTuple):
    """Measure the same once a second for so many seconds."""

    metric: str
    value: float
    label: str
    seconds: int


class Build(NamedTuple):
    outcome: Outcome
    service: str


class Do(NamedTuple):
    """Somebody takes the first living alert on, or ends it."""

    verb: str


class Restart(NamedTuple):
    """The engine is stopped, or killed, and started so many half seconds later."""

    halves: int
    killed: bool


Step: TypeAlias = Wait | Keep | Measure | Build | Do | Restart


def spelt(step: Step) -> Sequence[Step]:
    """A step as its parts."""
    if not isinstance(step, Keep):
        return [step]
    return [part for _ in range(step.seconds) for part in (Measure(step.metric, step.value, step.label), Wait(2))]


STEPS = st.lists(
    st.one_of(
        st.builds(Wait, st.integers(1, 40)),
        st.builds(Wait, st.just(2)),
        st.builds(
            Keep, st.just("queue"), st.sampled_from([5.0, 15.0, 25.0]), st.sampled_from(["a", "b"]), st.integers(2, 14)
        ),
        st.builds(Measure, st.just("queue"), st.sampled_from([5.0, 15.0, 25.0]), st.sampled_from(["a", "b"])),
        st.builds(Measure, st.just("latency"), st.sampled_from([50.0, 150.0, 900.0]), st.sampled_from(["web", "api"])),
        st.builds(Build, st.sampled_from(["success", "failure", "cancel"]), st.sampled_from(["web", "api"])),
        st.builds(Do, st.sampled_from(["acknowledge", "resolve"])),
        st.builds(Restart, st.integers(0, 30), st.booleans()),
    ),
    min_size=20,
    max_size=60,
).map(lambda steps: [each for step in steps for each in spelt(step)])


class Decided(NamedTuple):
    """One step in the life of an alert, whatever it is called."""

    ms: int
    rule: str
    labels: tuple[tuple[str, str], ...]
    kind: str
    was: str | None
    status: str
    word: str
    sentence: str
    told: bool


def event(number: int, now: float, step: Measure | Build) -> Event:
    """The same for both."""
    if isinstance(step, Measure):
        name = "name" if step.metric == "queue" else "service"
        fields: dict[str, Any] = {"measures": {step.metric: step.value}, "labels": {name: step.label}}
        return Event(f"e-{number}", "/ci", "custom.measured", now, received=now, **fields)
    return Event(f"e-{number}", "/ci", "build.finished", now, outcome=step.outcome, service=step.service, received=now)


@dataclass
class Live:
    """A real engine on a real database."""

    folder: Path
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(START))
    events: list[Event] = field(default_factory=list[Event])
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    runs: int = 0
    commit_every: str = "0s"

    async def start(self) -> None:
        database = Database(self.path)
        self.stack.callback(database.close)
        context = Context("alert-engine", clock=self.clock, metrics=METRICS, state=database, environment="production")
        opening = step(ALERT_ENGINE, context=context, commit_every=self.commit_every, **OPTIONS).open()
        self.stage: AlertEngine = await self.stack.enter_async_context(opening)
        position = await self.stage.position("alerts", 0, begin=0)
        if missed := self.events[position:]:
            await self.stage.write(Batch(missed, reader="alerts", end=len(self.events)))

    @property
    def path(self) -> Path:
        return self.folder / f"state-{self.runs}.db"

    async def stop(self, *, killed: bool) -> None:
        await self.settle()
        if killed:  # What the next one finds is what was committed by now.
            with closing(sqlite3.connect(self.path)) as here, closing(sqlite3.connect(self._next())) as there:
                here.backup(there)
        await self.stack.aclose()
        self.stack = AsyncExitStack()
        self.runs += killed

    def _next(self) -> Path:
        return self.folder / f"state-{self.runs + 1}.db"

    async def settle(self) -> None:
        async with self.stage.books.turn:
            pass

    async def take(self, one: Step) -> None:
        match one:
            case Wait(halves):
                for _ in range(halves):  # Time would not wait for a commit, and nothing is due in between.
                    await self.clock.advance(0.5)
                    await self.settle()
            case Keep():
                raise AssertionError("it is spelt out")
            case Measure() | Build():
                self.events.append(event(len(self.events), self.clock.time(), one))
                await self.stage.write(Batch(self.events[-1:], reader="alerts", end=len(self.events)))
            case Do(verb):
                if alert := first((await self.stage.list_alerts(ListAlerts("active,suppressed"), CALLER)).data):
                    if verb == "acknowledge":
                        await self.stage.acknowledge(Acknowledge(alert.id, "anna", "I look"), CALLER)
                    else:
                        await self.stage.resolve(Answer(alert.id, "anna", "I look"), CALLER)
            case Restart(halves, killed):
                await self.stop(killed=killed)
                await self.clock.suspend(halves / 2)
                await self.start()

    async def decided(self) -> list[Decided]:
        await self.settle()
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute(
                "SELECT time, rule, (SELECT body FROM alert_alerts WHERE id = alert), kind, was, alert_log.status,"
                " word, sentence, told FROM alert_log ORDER BY seq"
            ).fetchall()
        return [
            Decided(ms, rule, labels(msgspec.json.decode(body, type=Alert)), kind, was, status, word, said, bool(told))
            for ms, rule, body, kind, was, status, word, said, told in rows
        ]


def labels(alert: Alert) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(alert.labels.items()))


def first(alerts: Sequence[Alert]) -> Alert | None:
    """The one that both choose: ids are random."""
    return min(alerts, key=lambda alert: (alert.rule, labels(alert)), default=None)


async def lived(steps: Sequence[Step], commit_every: str = "0s") -> list[Decided]:
    """What a kill takes is what was not committed: without a step of an alert, that is the last 250 ms, and here less.

    What time alone changed in them is looked at anew afterwards.
    """
    with tempfile.TemporaryDirectory() as folder:
        live = Live(Path(folder), commit_every=commit_every)
        await live.start()
        try:
            for one in steps:
                await live.take(one)
            return await live.decided()
        finally:
            await live.stack.aclose()


async def replayed(steps: Sequence[Step]) -> list[Decided]:
    """The same steps, without a database or a stage."""
    simulation = Simulation(msgspec.convert(OPTIONS, AlertConfig, dec_hook=decoded), METRICS, start=START)
    count = 0
    for one in steps:
        match one:
            case Wait(halves):
                await simulation.go_on(simulation.now + halves / 2)
            case Keep():
                raise AssertionError("it is spelt out")
            case Measure() | Build():
                await simulation.read([event(count, simulation.clock.time(), one)])
                count += 1
            case Do(verb):
                chosen = [alert for alert in simulation.alerts() if alert.status in ("active", "suppressed")]
                if alert := first(chosen):
                    act = simulation.acknowledge if verb == "acknowledge" else simulation.resolve
                    act(alert, Deed("anna", "anonymous", "I look", "10.0.0.7"))
            case Restart(halves):
                simulation.clock.now += halves / 2  # Nobody looks meanwhile.
    return [
        Decided(
            int(one.time * 1000), one.alert.rule, labels(one.alert), one.kind, one.was, one.alert.status,
            one.reason.word, one.reason.sentence, one.is_told,
        )
        for _, one in simulation.happened
    ]  # fmt: skip


def decoded(type: type, value: Any) -> Any:
    from bers.schemas import decode

    return decode(type, value)


BEGUN = Build("failure", "first")
"""What is written down at once. Where windows begin and end, to the second, is counted from then on."""


ENDS_TOGETHER: Sequence[Step] = (
    Measure("latency", 900.0, "web"),
    Measure("latency", 900.0, "api"),
    *spelt(Keep("queue", 25.0, "a", 9)),
    Measure("latency", 50.0, "api"),
    Measure("latency", 150.0, "web"),
    Measure("latency", 50.0, "api"),
    Restart(13, killed=True),
    Wait(30),
)
"""Two alerts that end in one moment, of which time alone brings the news: in an order that outlives a kill."""


# A shorter example is no clearer, and takes minutes to find.
@settings(max_examples=25, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@example(list(ENDS_TOGETHER))
@given(STEPS)
def test_a_replay_decides_as_the_engine_did(steps: list[Step]) -> None:
    assert anyio.run(replayed, [BEGUN, *steps]) == anyio.run(lived, [BEGUN, *steps])


async def test_an_engine_that_is_killed_before_it_wrote_anything_down_counts_from_when_events_came() -> None:
    slow, good = Measure("latency", 900.0, "api"), Measure("latency", 50.0, "api")
    steps: list[Step] = [Wait(4), slow, Restart(10, killed=True), good]
    decided = await lived(steps, "1h")
    assert [(one.rule, one.kind, one.ms) for one in decided if one.rule == "Slowest"] == [
        ("Slowest", "pending", 1_700_000_002_000),
        ("Slowest", "firing", 1_700_000_007_000),
    ]
    assert decided == await replayed(steps)
