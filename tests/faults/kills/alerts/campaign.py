"""Many kills of the nodes of one folder, while alerts fire, are answered and end; and what is wrong afterwards."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Event as Flag
from threading import Thread
from typing import Self

from tests.faults.kills.alerts import oracle
from tests.faults.kills.alerts.ambushes import Ambush, ambushes
from tests.faults.kills.alerts.operators import Alert, Line, Operator, Promises
from tests.faults.kills.alerts.receiver import Receiver
from tests.faults.kills.alerts.services import FOR, Due, Services
from tests.faults.kills.nodes import Gone, Node, started

EMITTERS, OPERATORS = 2, 3
SETTLED_WITHIN = 60.0

WELL_AGAIN = 3.0
"""Seconds after which it is said again that all is well: longer than the windows of the rules."""

PIPELINES = """
version: 1
server: {{health: 0, metrics: 0, control: 0}}
access: {{rate: {{per_second: 100000, burst: 100000}}}}
intake: {{snapshot_every: 150ms, journal: {{max_bytes: 1MiB}}}}
sinks:
  store: {{use: rest-store, primary: true, commit_every: 20ms, events_keep: 365000d}}
  alert-engine:
    defaults: false
    commit_every: 40ms
    deduplication: {{enabled: false}}
    rate_limiting: {{max_alerts: 1000000}}
    flapping: {{enabled: false}}
    escalation: []
    rules:
      - {{name: Down, severity: critical, event: service-is.down, clears: {{event: service-is.up}}, group: [subject]}}
      - {{name: Crash, event: service-is.crashed, group: [subject]}}
      - {{name: Failing, event: service-is.tried, consecutive: 3, group: [subject]}}
      - {{name: Slow, metric: build_performance, above: 5s, for: {lasting:g}s, group: [subject]}}
      - {{name: Busy, metric: validation_duration, above: 5s, aggregate: max, window: 2s, group: [subject]}}
  webhooks:
    channels:
      - name: receiver
        url: http://127.0.0.1:{port}/
        allow_internal: true
        events: [alert.*]
        timeout: 300ms
        retries: {{attempts: 1000000, initial: 20ms, max: 150ms}}
pipelines:
  details: {{sources: [unmapped, alert-engine], sinks: [store]}}
  alerts: {{sources: [unmapped], sinks: [alert-engine]}}
  notify: {{sources: [alert-engine], sinks: [webhooks]}}
"""
"""Nobody is spared and nothing is held back: no rate limit, no deduplication, and a receiver that is tried for ever."""


class Campaign:
    """One folder, whoever hands events in, whoever answers alerts, and whoever is told; close it when all is over."""

    def __init__(self, folder: Path, seed: int, *, say: Callable[[str], None] = lambda line: None) -> None:
        self.folder = folder
        self.rng = Random(seed)
        self.kills = Counter[str]()
        self.due = Due()
        self.promises = Promises()
        self.receiver = Receiver(Random(seed * 10 + 1))
        self.account: oracle.Account
        """Everything there was to compare when all was settled last."""
        self._services = [Services(n, Random(seed * 10 + 2 + n), self.due) for n in range(EMITTERS)]
        self._operators = [Operator(n, Random(seed * 10 + 5 + n), self.promises) for n in range(OPERATORS)]
        self._ways = ambushes()
        self._say = say
        folder.mkdir(parents=True, exist_ok=True)
        text = PIPELINES.format(port=self.receiver.port, lasting=FOR)
        (folder / "pipelines.yaml").write_text(text, encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.receiver.close()

    def kill(self) -> None:
        """Start a node, let everybody work with it, and kill it in some way."""
        self.receiver.good = False
        way = self.rng.choice(self._ways)
        with started(self.folder, lean=False, tracing=way.tracing(self.folder, self.rng)) as node:
            done = self._kill(node, way)
        self.kills[done] += 1
        self._say(f"{self.kills.total():4} {done}")
        assert not self.promises.broken, self.promises.broken

    def settle(self) -> list[str]:
        """Let everything end and everybody be told; what is wrong then."""
        self.receiver.good = True
        with started(self.folder, lean=False) as node:
            node.wait_until_up()
            self._look(node)
            for services in self._services:
                services.finish(node.door())
            line, began = Line(node.port), time.monotonic()
            deadline, again = began + SETTLED_WITHIN, began + WELL_AGAIN
            while not self._is_over(line):
                if time.monotonic() >= again:  # What is good leaves its window together with a peak just before it.
                    for services in self._services:
                        services.finish(node.door())
                    again = time.monotonic() + WELL_AGAIN
                assert time.monotonic() < deadline, f"not over after {SETTLED_WITHIN} s; see {self.folder}/said.log"
                for operator in self._operators:
                    operator.resolve_all(line)
                time.sleep(0.05)
            history = self._check(line)
            logs = {alert["id"]: line.get(f"alerts/{alert['id']}/log") for alert in history}
            line.close()
            node.signal(signal.SIGTERM)  # A node that stops by itself leaves its outbox empty.
            node.process.wait(SETTLED_WITHIN)
        receipts = list(self.receiver.receipts)
        self.account = oracle.Account(self.folder / ".bers", self.due, receipts, history, logs, self.promises)
        return [*self.promises.broken, *oracle.faults(self.account)]

    def summary(self) -> str:
        receipts = self.receiver.receipts
        told = len({one.id for one in receipts if one.taken})
        return (
            f"{told} events told in {len(receipts)} attempts, {oracle.repeated(receipts)} of them more than once; "
            f"{len(self.promises.made)} answers to operators, and {len(self.promises.silences)} silences; 0 lost"
        )

    def _kill(self, node: Node, way: Ambush) -> str:
        if way.name == "starting":
            return way.kill(node, self.rng, self.receiver)
        try:
            node.wait_until_up()
            self._look(node)
        except (Gone, OSError):
            assert way.name == "call", f"the node did not start; see {self.folder}/said.log"
            return "at a call, as it started"
        with self._at_work(node):
            return way.kill(node, self.rng, self.receiver)

    def _look(self, node: Node) -> None:
        """Before anybody does anything: whatever was promised by the last node is so."""
        line = Line(node.port)
        self._check(line)
        line.close()

    def _check(self, line: Line) -> list[Alert]:
        alerts: list[Alert] = line.get("alerts/history?period=7d&limit=10000")
        assert len(alerts) < 10_000, "there are too many to be listed"
        silences = line.get("silences?state=active,pending,expired&limit=10000")
        self.promises.check({alert["id"]: alert for alert in alerts}, {one["id"]: one for one in silences})
        return alerts

    def _is_over(self, line: Line) -> bool:
        if line.get("alerts?status=pending,active,acknowledged,suppressed&limit=1"):
            return False
        health = {check["name"]: check for check in line.get("health")["checks"]}
        untold = health["alert-engine"]["details"]["untold"]
        waiting = line.get("webhooks/deliveries?status=waiting&limit=1")
        return not untold and not waiting

    @contextmanager
    def _at_work(self, node: Node) -> Generator[None]:
        """Let everybody work, until the node is dead."""
        over = Flag()
        threads = [Thread(target=one.run, args=(node.door(), over)) for one in self._services]
        threads += [Thread(target=one.run, args=(Line(node.port), over)) for one in self._operators]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            node.kill()
            for thread in threads:
                thread.join()
