"""Many kills of the nodes of one folder, while alerts fire, are answered and end; and what is wrong afterwards."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from random import Random
from threading import Event as Flag
from threading import Thread
from typing import Self

from tests.faults.kills.alerts import channels, oracle
from tests.faults.kills.alerts.ambushes import Ambush, ambushes
from tests.faults.kills.alerts.forms import PLAIN, Form, pipelines
from tests.faults.kills.alerts.mailbox import Mailbox
from tests.faults.kills.alerts.operators import Alert, Line, Operator, Promises
from tests.faults.kills.alerts.pager import Pager
from tests.faults.kills.alerts.receiver import Receiver
from tests.faults.kills.alerts.services import Due, Services
from tests.faults.kills.alerts.sparing import Outage
from tests.faults.kills.nodes import Gone, Node, started
from tests.integration.processes import at_leisure

EMITTERS, OPERATORS = 2, 3
SETTLED_WITHIN = SEEN_WITHIN = at_leisure(60.0)

WELL_AGAIN = 3.0
"""Seconds after which it is said again that all is well: longer than the windows of the rules."""


class Campaign:
    """One folder, whoever hands events in, whoever answers alerts, and whoever is told; close it when all is over."""

    def __init__(
        self, folder: Path, seed: int, form: Form = PLAIN, *, say: Callable[[str], None] = lambda line: None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.form = form
        self.rng = Random(seed)
        self.kills = Counter[str]()
        self.due = Due()
        self.promises = Promises()
        self.receiver = Receiver(Random(seed * 10 + 1))
        """The one who is told everything, and springs ambushes."""
        self.digest, self.second = Receiver(Random(seed * 10 + 8)), Receiver(Random(seed * 10 + 9))
        self.mailbox, self.pager = Mailbox(Random(seed * 10)), Pager(folder)
        self.account: oracle.Account
        """Everything there was to compare when all was settled last."""
        self._services = [Services(n, Random(seed * 10 + 2 + n), self.due) for n in range(EMITTERS)]
        self._operators = [
            Operator(n, Random(seed * 10 + 5 + n), self.promises, form.silenced) for n in range(OPERATORS)
        ]
        self._ways = ambushes()
        self._say = say
        self._outages: list[Outage] = []
        self._down_since = time.time()
        text = pipelines(
            form,
            receiver=self.receiver.port,
            digest=self.digest.port,
            second=self.second.port,
            mailbox=self.mailbox.port,
            command=self.pager.command,
        )
        (folder / "pipelines.yaml").write_text(text, encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for one in (self.receiver, self.digest, self.second, self.mailbox):
            one.close()

    def kill(self) -> None:
        """Start a node, let everybody work with it, and kill it in some way."""
        self._let_be_told(well=False)
        way = self.rng.choice(self._ways)
        with started(self.folder, lean=False, tracing=way.tracing(self.folder, self.rng)) as node:
            done = self._kill(node, way)
        self.kills[done] += 1
        self._say(f"{self.kills.total():4} {done}")
        assert not self.promises.broken, self.promises.broken

    def work_until(self, seen: Callable[[Line], bool], *, rush: bool = False) -> None:
        """Let everybody work with a node that is killed only once something is seen there.

        ``rush`` makes much happen at once in the beginning.
        """
        self._let_be_told(well=False)
        for services in self._services:
            services.rushes = rush
        with started(self.folder, lean=False) as node:
            self._wait_until_up(node)
            self._look(node)
            deadline = time.monotonic() + SEEN_WITHIN
            with closing(Line(node.port)) as line, self._at_work(node):
                while not seen(line):
                    assert time.monotonic() < deadline, f"not seen within {SEEN_WITHIN} s"
                    time.sleep(0.1)

    def settle(self) -> list[str]:
        """Let everything end and everybody be told; what is wrong then."""
        self._let_be_told(well=True)
        with started(self.folder, lean=False) as node:
            self._wait_until_up(node)
            self._look(node)
            for services in self._services:
                services.finish(node.door())
            began = time.monotonic()
            deadline, again = began + SETTLED_WITHIN, began + WELL_AGAIN
            with closing(Line(node.port)) as line:
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
            node.signal(signal.SIGTERM)  # A node that stops by itself leaves its outbox empty.
            node.process.wait(SETTLED_WITHIN)
            self._down_since = time.time()
        receipts = list(self.receiver.receipts)
        self.account = oracle.Account(
            self.folder / ".bers",
            self.due,
            receipts,
            history,
            logs,
            self.promises,
            self.form,
            self.channels(),
            list(self._outages),
        )
        return [*self.promises.broken, *oracle.faults(self.account)]

    def channels(self) -> list[channels.Channel]:
        """Who else was told, of what, and how."""
        hears = channels.Channel
        return [
            hears("digest", list(self.digest.receipts), channels.of_webhook, channels.everything),
            hears("second", list(self.second.receipts), channels.of_webhook, channels.once_escalated),
            hears("team", list(self.mailbox.receipts), channels.of_message, channels.everything),
            hears("pager", self.pager.receipts, channels.of_program, channels.critical),
        ]

    def summary(self) -> str:
        receipts = self.receiver.receipts
        told = len({one.id for one in receipts if one.taken})
        others = ", ".join(f"{one.name} {len({r.id for r in one.receipts if r.taken})}" for one in self.channels())
        return (
            f"{told} events told in {len(receipts)} attempts, {oracle.repeated(receipts)} of them more than once; "
            f"{len(self.promises.made)} answers to operators, and {len(self.promises.silences)} silences; 0 lost; "
            f"notices to others: {others}"
        )

    def _let_be_told(self, *, well: bool) -> None:
        self.receiver.good = self.digest.good = self.second.good = self.mailbox.good = self.pager.good = well

    def _kill(self, node: Node, way: Ambush) -> str:
        if way.name == "starting":
            return way.kill(node, self.rng, self.receiver)
        try:
            self._wait_until_up(node)
            self._look(node)
        except (Gone, OSError, HTTPException):
            assert way.name == "call", f"the node did not start; see {self.folder}/said.log"
            return "at a call, as it started"
        with self._at_work(node):
            return way.kill(node, self.rng, self.receiver)

    def _wait_until_up(self, node: Node) -> None:
        node.wait_until_up()
        self._outages.append(Outage(self._down_since, time.time()))

    def _look(self, node: Node) -> None:
        """Before anybody does anything: whatever was promised by the last node is so."""
        with closing(Line(node.port)) as line:
            self._check(line)

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
        waiting = [line.get(f"{sink}/deliveries?status=waiting&limit=1") for sink in ("webhooks", "email", "command")]
        return not untold and not any(waiting)

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
            self._down_since = time.time()
            for thread in threads:
                thread.join()
