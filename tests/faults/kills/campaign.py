"""Many kills of the nodes of one folder, under load; and what is left of it compared with the truth."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Event as Flag
from threading import Thread

from tests.faults.kills import oracle, ways
from tests.faults.kills.emitters import EMITTERS, Emitter, Truth
from tests.faults.kills.nodes import Gone, Node, drain, started

FED_WITHIN = 180.0

# Everything happens often, so that kills fall before, between and after it: commits of two stores at different times
# and of the alert engine, foldings into pages of several tiers, snapshots, and trims of a journal of small segments.
PIPELINES = """
version: 1
server: {health: 0, metrics: 0, control: 0}
access: {rate: {per_second: 100000, burst: 100000}}
intake: {snapshot_every: 150ms, journal: {max_bytes: 1MiB}}
sources:
  build: {lost_after: 365000d}
  #host: {use: system-resources, interval: 100ms}
processors:
  windows: {use: aggregation, window: 10s}
  sampling: {}
sinks:
  quick: {use: rest-store, primary: true, path: quick.db, commit_every: 10ms, fold_every: 50ms,
          events_keep: 365000d,
          tiers: [{width: 10s, keep: 365000d}, {width: 60s, keep: 365000d}, {width: 1h, keep: 365000d}]}
  slow: {use: rest-store, path: slow.db, commit_every: 70ms, fold_every: 300ms,
         events_keep: 365000d, tiers: [{width: 10s, keep: 365000d}]}
  #third: {use: rest-store, path: third.db, commit_every: 20ms, fold_every: 60ms, events_keep: 365000d,
  #third:  tiers: [{width: 10s, keep: 365000d}]}
  alert-engine:
    defaults: false
    deduplication: {enabled: false}
    flapping: {enabled: false}
    rules:
      - {name: Down, severity: critical, event: service-is.down, clears: {event: service-is.up}, group: [subject]}
  #sse: {}
pipelines:
  metrics: {sources: [build, unmapped], processors: [windows], sinks: [quick, slow]}
  alerts: {sources: [unmapped], sinks: [alert-engine]}
  history: {sources: [alert-engine], sinks: [quick]}
  #third: {sources: [build], processors: [windows], sinks: [third]}
  #readings: {sources: [host], processors: [windows], sinks: [slow]}
  #live: {sources: [build, alert-engine], sinks: [sse]}
"""

CHANGES = {
    "a store": ("#third:  tiers", "       tiers", "#third:", "third:"),
    "a source": ("#host:", "host:", "#readings:", "readings:"),
    "a stream": ("#sse:", "sse:", "#live:", "live:"),
    "another pace": ("commit_every: 10ms", "commit_every: 30ms"),
    "a processor": ("processors: [windows], sinks: [quick", "processors: [windows, sampling], sinks: [quick"),
    "what a source is told": ("lost_after: 365000d", "lost_after: 364000d"),
    "housekeeping": ("snapshot_every: 150ms, journal: {max_bytes: 1MiB}", "snapshot_every: 90ms"),
    "a rule": ("defaults: false", "defaults: false\n    commit_every: 100ms"),
}
"""What a reload may bring or take away; metrics, alerts and history are there always."""


class Campaign:
    """One folder, its emitters, and the truth."""

    def __init__(self, folder: Path, seed: int, *, say: Callable[[str], None] = lambda line: None) -> None:
        self.folder = folder
        self.rng = Random(seed)
        self.truth = Truth()
        self.kills = Counter[str]()
        began = float(int(time.time()))
        self.emitters = [Emitter(n, Random(seed * 10 + n), self.truth, began) for n in range(EMITTERS)]
        self._ways = ways.ways()
        self._say = say
        folder.mkdir(parents=True, exist_ok=True)
        self.configure(())

    def configure(self, changes: Collection[str]) -> None:
        """Write the file as it is with some changes."""
        text = PIPELINES
        for name in changes:
            pairs = CHANGES[name]
            for old, new in zip(pairs[::2], pairs[1::2], strict=True):
                assert old in text, old
                text = text.replace(old, new)
        (self.folder / "pipelines.yaml").write_text(text, encoding="utf-8")

    def kill(self, *, lean: bool) -> None:
        """Start a node, feed it, and kill it in some way."""
        rng = self.rng
        way = rng.choice(self._ways)
        with started(self.folder, lean=lean, tracing=way.tracing(self.folder, rng)) as node:
            if way.kill is ways.while_starting:
                done = way.kill(node, rng)
            else:
                try:
                    node.wait_until_up()
                except Gone:
                    assert way.kill is ways.at_a_call, f"the node did not start; see {self.folder}/said.log"
                    done = "at a call, as it started"
                else:
                    done = self._feed(node, way)
        self.kills[done] += 1
        self._say(f"{self.kills.total():4} {'lean' if lean else 'real'} {done}")
        for emitter in self.emitters:
            assert not emitter.faults, emitter.faults

    def feed_until(self, enough: Callable[[], bool]) -> None:
        """Feed a node that is killed only once enough was sent."""
        deadline = time.monotonic() + FED_WITHIN
        with started(self.folder, lean=True) as node:
            node.wait_until_up()
            with feeding(node, self.emitters):
                while not enough():
                    assert time.monotonic() < deadline, f"after {FED_WITHIN} s not enough was sent"
                    time.sleep(0.02)

    def settle(self) -> list[str]:
        """Send what is owed, and everything again; let all be read, and say what is wrong."""
        with started(self.folder, lean=True) as node:
            node.wait_until_up()
            send_all(node, self.emitters)
            send_all(node, self.emitters)
        drain(self.folder)
        wrong = oracle.faults(self.folder / ".bers", self.truth)
        lost = [fault for emitter in self.emitters for fault in emitter.faults]
        return [*lost, *wrong, *self.answer_faults()]

    def answer_faults(self) -> list[str]:
        """What is wrong in what the real node answers about everything, from whichever tier it chooses."""
        self.configure(())
        with started(self.folder, lean=False) as node:
            node.wait_until_up()
            return oracle.answer_faults(node.ask, self.truth)

    def _feed(self, node: Node, way: ways.Way) -> str:
        if way.kill is ways.while_reloading:
            self.configure([name for name in CHANGES if self.rng.random() < 0.4])
        with feeding(node, self.emitters):
            return way.kill(node, self.rng)


@contextmanager
def feeding(node: Node, emitters: Sequence[Emitter]) -> Generator[None]:
    """Let everybody send, until the node is dead."""
    threads = [Thread(target=emitter.run, args=(node.door(), Flag())) for emitter in emitters]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        node.kill()
        for thread in threads:
            thread.join()


def send_all(node: Node, emitters: Sequence[Emitter]) -> None:
    """Let everybody send everything there ever was, in order: at least what was acknowledged is known."""
    threads = [Thread(target=emitter.send_all, args=(node.door(),)) for emitter in emitters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
