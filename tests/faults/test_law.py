"""The counters' law: whatever happens to a node, at every moment every record that came in is accounted for.

Everything real is at work: the intake, the log, sources, processors, the store, a durable sink and a moody one that
nobody waits for. A random run hands in events and repeats, lets sinks fail, reject and hang and processors crash, fills
queues and the journal, restarts stages and reloads; at every turn of the event loop the law is looked at.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from bers import (
    Batch,
    Config,
    DurableSpec,
    Event,
    Full,
    ProcessorSpec,
    Rejected,
    SinkSpec,
    Stage,
    Written,
    plugins,
)
from bers.config import Plan, plan
from bers.config.located import parse
from bers.counters import Edge
from bers.intake import Receipt
from bers.letters import Filter
from bers.supervisor import Supervisor
from bers_builtin.sinks.rest_store import read_windows
from tests.faults.simulated import Hurried
from tests.unit.ledger import Ledger, LedgerConfig, written

LONG = bool(os.environ.get("BERS_TEST_LONG"))
RUNS = 300 if LONG else 12
WIDTH = 10.0

TEXT = """
version: 1
environment: test
stop_within: 5s
intake: {{snapshot_every: 20s, journal: {{max_bytes: 2MiB}}}}
sources: {{build: {{}}}}
processors:
  windows: {{use: aggregation, window: 10s}}
  sampling: {{rate: 0.5}}
  retention: {{realtime: 365000d}}
  fragile: {{}}
sinks:
  store: {{use: rest-store, commit_every: 500ms, fold_every: 2s, delivery: {{required: true}}}}
  ledger: {{path: {folder}/ledger.db, delivery: {{retry: {{first: 50ms, longest: 1s}}}}}}
  moody: {{delivery: {{queue: 40, retry: {{first: 50ms, longest: 1s, give_up_after: 3s}}}}}}
pipelines:
  metrics: {{sources: [build, unmapped], processors: [windows, sampling, retention], sinks: [store]}}
  safe: {{sources: [build], processors: [fragile], sinks: [ledger]}}
  live: {{sources: [build, unmapped], processors: [sampling], sinks: [moody]}}
"""
CHANGES = [("rate: 0.5", "rate: 0.25"), ("queue: 40", "queue: 20"), ("commit_every: 500ms", "commit_every: 1s"),
           ("first: 50ms, longest: 1s}}", "first: 70ms, longest: 1s}}")]  # fmt: skip
WAYS = {
    "metrics": ["windows", "sampling", "retention", "store"],
    "safe": ["fragile", "ledger"],
    "live": ["sampling", "moody"],
}


@dataclass
class Mood:
    """What the stages of this test are about to do; they do it once each, or for as long as it is said."""

    crash: bool = False
    fails: int = 0
    rejects: int = 0
    keeps: int = 0
    hangs: bool = False
    ledger_fails: int = 0
    delivered: int = 0
    go_on: anyio.Event = field(default_factory=anyio.Event)


class Nothing(Config, frozen=True):
    """Nothing to configure."""


def specs(mood: Mood) -> Sequence[tuple[plugins.Kind, Any]]:
    class Moody(Stage[Nothing]):
        async def write(self, batch: Batch) -> Written:
            while mood.hangs:
                await mood.go_on.wait()
            await checkpoint()
            if mood.fails:
                mood.fails -= 1
                raise OSError("not today")
            some = range(0, len(batch), 3)
            if mood.rejects:
                mood.rejects -= 1
                mood.delivered += len(batch) - len(some)
                return Written(rejected=dict.fromkeys(some, "never"))
            if mood.keeps:
                mood.keeps -= 1
                mood.delivered += len(batch) - len(some)
                return Written(kept=dict.fromkeys(some, "later"))
            mood.delivered += len(batch)
            return Written()

    class Fragile(Stage[Nothing]):
        async def process(self, batch: Batch) -> Batch:
            await checkpoint()
            if mood.crash:
                mood.crash = False
                raise RuntimeError("broken")
            return batch

    class Poisonable(Ledger):
        async def write(self, batch: Batch) -> None:
            await checkpoint()
            if mood.ledger_fails:
                mood.ledger_fails -= 1
                raise OSError("the disk is away")
            bad = {n: "poison" for n, event in enumerate(batch.events) if event.subject.startswith("poison")}
            if bad:
                raise Rejected("poison", bad)
            await super().write(batch)

    return [
        ("sink", SinkSpec("moody", Nothing, Moody)),
        ("sink", DurableSpec("ledger", LedgerConfig, Poisonable)),
        ("processor", ProcessorSpec("fragile", Nothing, Fragile)),
    ]


@dataclass
class Run:
    """One node in one random run."""

    folder: Path
    mood: Mood = field(default_factory=Mood)
    clock: Hurried = field(default_factory=Hurried)
    text: str = ""
    numbers: int = 0
    acknowledged: set[str] = field(default_factory=set[str])
    builds: list[int] = field(default_factory=list[int])
    poisoned: list[int] = field(default_factory=list[int])
    handed: int = 0
    answered: int = 0
    own_handed: int = 0
    own_answered: int = 0
    own_taken: int = 0
    looks: int = 0
    node: Supervisor = None  # type: ignore[assignment]
    group: anyio.abc.TaskGroup = None  # type: ignore[assignment]

    def read(self) -> Plan:
        document = parse(self.text, "pipelines.yaml")
        document.put(("data_dir",), str(self.folder / "data"))
        return plan(document, plugins.load(installed=False).with_specs(specs(self.mood)), environ={})

    # What is done to it

    async def submit(self, count: int, size: int, *, repeat: bool) -> None:
        """Hand in some events, perhaps with some that were there already; whoever is refused is refused whole."""
        first = self.numbers
        again = [] if not repeat else list(range(max(0, first - count), first))
        numbers = [*again, *range(first, first + count), *again[:2]]
        self.numbers += count
        events = [
            Event(
                f"b-{n}", "/ci", "custom.thing" if n % 5 == 4 else "build.finished", when(n),
                subject=f"poison-{n}" if is_poison(n) else f"b{n}", duration_ms=1.0, data={"pad": "x" * size},
            )
            for n in numbers
        ]  # fmt: skip
        self.handed += len(events)
        ids = {event.id for event in events}
        try:
            await self.node.intake.submit(events)
            self.acknowledged |= ids
        except Full:
            pass
        finally:
            self.answered += len(events)

    async def act(self, action: Action) -> None:
        name, amount, flag = action
        mood, node = self.mood, self.node
        if name == "submit":
            self.group.start_soon(lambda: self.submit(amount, 10, repeat=False))
        elif name == "repeat":
            await self.submit(amount, 10, repeat=True)
        elif name == "large":
            await self.submit(20, 20_000, repeat=flag)
        elif name == "pass":
            await self.pass_by(amount / 10)
        elif name == "fail":
            mood.fails, mood.ledger_fails = (amount, mood.ledger_fails) if flag else (mood.fails, amount % 8)
        elif name == "reject":
            mood.rejects, mood.keeps = (amount % 5, mood.keeps) if flag else (mood.rejects, amount % 5)
        elif name == "hang":
            mood.hangs = flag
            if not flag:
                mood.go_on.set()
                mood.go_on = anyio.Event()
        elif name == "crash":
            mood.crash = True
        elif name == "restart":
            # Not the source: what comes while it is closed is kept as it comes, without figures.
            node.restart(("store", "ledger", "moody", "sampling", "windows", "fragile")[amount % 6])
        elif name == "reload":
            text = TEXT.format(folder=self.folder)
            old, new = CHANGES[amount % len(CHANGES)]
            assert old in text
            self.text = text.replace(old, new, 1) if flag else text
            await self.patiently(lambda: node.reload(by="test"))
        else:
            assert name == "replay"
            letters, _ = await node.dead.list(Filter(), 40 if flag else 3)
            for letter in letters:
                pipeline = node.pipelines.get(letter.pipeline)
                if pipeline and letter.stage in pipeline.deliveries:
                    with suppress(Exception):
                        await self.patiently(partial(pipeline.deliveries[letter.stage].replay, letter.id))

    async def pass_by(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / 0.5))):
            await self.clock.advance(0.5)
            await checkpoint()

    async def patiently(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do what takes some of the node's time, while that goes on."""
        done = anyio.Event()

        async def do() -> None:
            try:
                await work()
            finally:
                done.set()

        async with anyio.create_task_group() as group:
            group.start_soon(do)
            while not done.is_set():
                await self.clock.advance(0.1)
                await anyio.sleep(0.001)

    def listen(self) -> None:
        """Count what the node hands in itself, before it begins."""
        submit = self.node.intake.submit

        async def counted(events: Sequence[Event], **how: bool) -> Receipt:
            own = events[0].source.startswith("bers:")
            self.own_handed += own * len(events)
            try:
                receipt = await submit(events, **how)
                self.own_taken += own * receipt.new
                return receipt
            finally:
                self.own_answered += own * len(events)

        self.node.intake.submit = counted  # type: ignore[method-assign]

    # The law

    async def watch(self) -> None:
        """Look at every turn of the loop."""
        while True:
            self.look()
            await checkpoint()

    def look(self) -> None:
        self.looks += 1
        node, edges = self.node, dict(self.node.counters.edges())
        assert node.counters.gaps() == {}, "every edge"
        door = edges["intake"]
        own = sum(edge.taken for name, edge in edges.items() if name.startswith("source/"))
        assert own == door.out, "what passed the door was read by whoever owns it"
        for name, way in WAYS.items():
            if name not in edges:
                continue
            passed = edges[name].out
            for step in way:
                edge = edges.get(f"{name}/{step}")
                taken = edge.taken if edge else 0
                taken -= edge.again if edge else 0
                assert taken == passed, f"between {name} and {step}: {passed} came out, and {taken} went in"
                passed = edge.out if edge else 0
        for edge in edges.values():
            assert min(edge.queued, edge.out, edge.filtered, edge.dead, edge.merged) >= 0

    async def settle(self) -> None:
        """Let it come to rest: everybody in a good mood, and all that was handed in answered and read."""
        mood = self.mood
        mood.crash = mood.hangs = False
        mood.fails = mood.rejects = mood.keeps = mood.ledger_fails = 0
        mood.go_on.set()
        with anyio.fail_after(120):
            while True:
                await self.pass_by(2)
                await anyio.sleep(0.005)
                _, end = await self.node.bus.span(0)
                pipelines = self.node.pipelines
                queued = sum(edge.queued for _, edge in self.node.counters.edges())
                if (
                    self.answered == self.handed
                    and not self.node.held
                    and len(pipelines) == len(WAYS)
                    and all(one.position == end for one in pipelines.values())
                    and not queued
                ):
                    return

    async def judge(self) -> None:
        """Over the whole way, once nothing waits any more."""
        node, edges = self.node, dict(self.node.counters.edges())
        door, everything = edges["intake"], sorted(int(id[2:]) for id in self.acknowledged)
        builds = [n for n in everything if n % 5 != 4]
        with anyio.fail_after(10):  # What nobody waits for is seen a tenth of a second later.
            while (await node.bus.span(0))[1] != self.on_the_bus(edges):
                await anyio.sleep(0.01)
        with anyio.fail_after(10):
            while self.own_handed != self.own_answered:
                await checkpoint()
        assert door.taken == self.handed + self.own_handed, "received is what was handed in"
        assert door.out == len(everything) + self.own_taken, "each once, and none that was refused"
        assert self.mood.delivered >= edges["live/moody"].out
        letters = [await node.dead.get(letter.id) for letter in (await node.dead.list(Filter(), 1 << 20))[0]]
        of_ledger = [letter for letter in letters if letter and letter.stage == "ledger"]
        self.poisoned = sorted(int(event.id[2:]) for letter in of_ledger for event in letter.batch.events)
        assert self.poisoned == [n for n in builds if is_poison(n)], "every one of them is a letter, and nothing else"
        self.builds = builds

    @staticmethod
    def on_the_bus(edges: Mapping[str, Edge]) -> int:
        """How many records the sources let through."""
        return sum(edge.out for name, edge in edges.items() if name.startswith("source/"))

    def judge_files(self) -> None:
        """What is on the disk is what was acknowledged."""
        found = sorted(int(id[2:]) for id in written(self.folder / "ledger.db") if id.startswith("b-"))
        assert found == [n for n in self.builds if not is_poison(n)]
        windows = [w for w in read_windows(self.folder / "data/metrics.db") if w.metric == "build_performance"]
        counts = Counter[float]()
        for window in windows:
            counts[window.start] += window.count
        assert counts == Counter(when(n) // WIDTH * WIDTH for n in self.builds), "no figure is sampled"


def is_poison(number: int) -> bool:
    return number % 23 == 7


def when(number: int) -> float:
    return 1_700_000_000.0 + number % 50


Action: TypeAlias = tuple[str, int, bool]
ACTIONS = st.tuples(
    st.sampled_from(
        ["submit"] * 6
        + ["pass"] * 6
        + ["repeat", "large", "fail", "reject", "hang", "crash", "restart", "reload", "replay"]
    ),
    st.integers(1, 60),
    st.booleans(),
)


async def live(folder: Path, actions: Sequence[Action]) -> Run:
    """Start a node, let all that happen to it, let it come to rest, and judge."""
    run = Run(folder, text=TEXT.format(folder=folder))
    run.node = Supervisor(run.read(), clock=run.clock, reread=run.read)
    run.listen()
    async with run.node:
        async with anyio.create_task_group() as watching, anyio.create_task_group() as run.group:
            watching.start_soon(run.watch)
            await run.settle()
            for action in actions:
                await run.act(action)
            await run.settle()
            await run.judge()
            watching.cancel_scope.cancel()
    assert run.node.counters.gaps() == {}, "nor does anything get lost as it stops"
    run.judge_files()
    return run


@settings(max_examples=RUNS, derandomize=not LONG, print_blob=True)
@given(st.lists(ACTIONS, min_size=5, max_size=40))
def test_every_record_is_accounted_for_at_every_moment(actions: Sequence[Action]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = anyio.run(live, Path(folder), actions)
        assert run.looks > 100


async def test_one_run_that_has_everything(tmp_path: Path) -> None:
    """So that nobody has to believe that random runs do."""
    run = await live(
        tmp_path,
        [
            ("submit", 60, False), ("pass", 5, False), ("repeat", 40, False), ("pass", 20, False), ("hang", 1, True),
            ("submit", 60, False), ("pass", 5, False), ("submit", 60, False), ("pass", 5, False), ("hang", 1, False),
            ("reject", 3, True), ("submit", 30, False), ("pass", 20, False), ("reject", 4, False), ("fail", 7, False),
            ("submit", 30, False), ("pass", 60, False), ("replay", 1, False), ("crash", 1, False),
            ("submit", 30, False), ("pass", 10, False), ("reload", 1, True), ("restart", 1, False),
            ("submit", 30, False), ("fail", 60, True), ("submit", 50, False), ("pass", 60, False),
            *[("restart", n, False) for n in range(6)], ("fail", 7, False), *[("large", 1, False)] * 8,
            ("pass", 60, False), ("replay", 1, True), ("pass", 20, False),
        ],
    )  # fmt: skip
    edges = dict(run.node.counters.edges())
    assert edges["intake"].filtered, "repeats"
    assert edges["intake"].dropped["refused"], "the journal was full"
    assert edges["metrics/store"].merged and edges["metrics/sampling"].filtered and edges["metrics/windows"].made
    assert edges["live/moody"].dropped["full"] and edges["live/moody"].dead
    assert edges["safe/fragile"].dropped["crashed"] and edges["safe/ledger"].dead and edges["safe/ledger"].again
