"""Whatever happens to an alert, in whatever order and through restarts: the engine does what a small model does."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bers import Database
from bers.testing import VirtualClock
from bers_builtin.sinks.alert_engine.alerts import Alert, Moment, Suppressed
from bers_builtin.sinks.alert_engine.desk.answers import Acknowledge, Answer
from bers_builtin.sinks.alert_engine.suppression.suppressions import Suppressions
from tests.builtin.alert_model import DEDUP, FLIP_WINDOW, FLIPS, REPEAT, STEADY, STEPS, Model, Said
from tests.builtin.test_alert_engine import OPERATOR, Rig, engine

LONG = bool(os.environ.get("BERS_TEST_LONG"))
NAMES = ["a", "b", ""]
"""Two queues that must be long for some seconds, and builds, each of which counts."""
NAME, EXPIRY = st.sampled_from(NAMES), st.sampled_from([None, 4, 20])


class Mute(Suppressions):
    """Suppresses what the test says, and nothing else."""

    muted: set[str]

    def reason(self, alert: Alert, moment: Moment, *, evident: bool = True) -> Suppressed | None:
        return Suppressed("silence", "by-hand") if alert.labels.get("name", "") in self.muted else None


def options(*, threshold: int, step: str) -> dict[str, Any]:
    queue = {"name": "Queue", "metric": "queue", "above": str(threshold), "for": "3s", "severity": "error"}
    builds = {"name": "Builds", "metric": "build_performance", "above": "5s", "severity": "critical"}
    return {
        "rules": [queue | {"annotations": {"step": step}}, builds],
        "defaults": False,
        "commit_every": "0s",
        "deduplication": {"window": f"{DEDUP}s"},
        "flapping": {"transitions": FLIPS, "window": f"{FLIP_WINDOW}s", "steady": f"{STEADY}s"},
        "escalation": [{"after": f"{after}s", "contact": contact} for after, contact in STEPS],
        "repeat": {"error": f"{REPEAT}s", "critical": f"{REPEAT}s"},
    }


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.portal: BlockingPortal = self.stack.enter_context(start_blocking_portal())
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="alerts-")))
        self.clock = VirtualClock()
        self.models = {name: Model(0.0 if not name else 3.0, counts=not name) for name in NAMES}
        self.threshold, self.step, self.files = 10, "wait", 0
        self.path = self.folder / "0.db"
        self.running = ExitStack()
        self.rig: Rig

    @initialize()
    def start(self) -> None:
        database = Database(self.path)
        self.running.callback(database.close)
        made = engine(self.clock, database, **options(threshold=self.threshold, step=self.step))
        self.rig = self.running.enter_context(self.portal.wrap_async_context_manager(made))
        self.install()

    def install(self) -> None:
        mute = Mute(self.rig.stage.config.rate_limiting, self.rig.stage.config.maintenance)
        mute.muted = {name for name, model in self.models.items() if model.muted}
        self.rig.stage.books.evaluator.register.suppressions = mute

    def teardown(self) -> None:
        with self.stack:
            self.running.close()

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    def alert_of(self, name: str) -> str:
        living = self.portal.call(self.rig.alerts, "active,acknowledged,suppressed")
        return next((alert.id for alert in living if alert.labels.get("name", "") == name), "")

    @rule(name=NAME)
    def is_bad(self, name: str) -> None:
        self.measure(name, bad=True)
        self.models[name].bad(self.now)

    @rule(name=NAME)
    def is_good(self, name: str) -> None:
        self.measure(name, bad=False)
        self.models[name].good(self.now)

    @rule(name=NAME, times=st.integers(2, 5))
    def comes_and_goes(self, name: str, times: int) -> None:
        for _ in range(times):
            self.is_bad(name)
            if name:
                self.waits(3)
                self.is_bad(name)
            self.is_good(name)
            self.waits(1)

    def measure(self, name: str, *, bad: bool) -> None:
        metric, value, labels = ("queue", 20.0, {"name": name}) if name else ("build_performance", 6000.0, {})

        async def send() -> None:
            await self.rig.measure(metric, value if bad else 1.0, **labels)

        self.portal.call(send)

    @rule(seconds=st.integers(1, 16))
    def waits(self, seconds: int) -> None:
        for _ in range(seconds):
            self.portal.call(self.pass_time, 1.002)  # A little more, so that nothing is due at the very end.
            for model in self.models.values():
                model.pass_time(self.now)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass; what it brings is written down, on a thread that no clock of ours sets, before more does."""
        end = self.now + seconds
        while (left := end - self.now) > 0:
            idle = self.rig.stage.books.evaluator.idle
            await self.clock.advance(left if idle is None else min(idle, left))
            await self.rig.told()

    @rule(name=NAME, expires=EXPIRY)
    def is_acknowledged(self, name: str, expires: int | None) -> None:
        if id := self.alert_of(name):
            ask = Acknowledge(id, "ada", "", None if expires is None else f"{expires}s")
            self.portal.call(self.rig.stage.acknowledge, ask, OPERATOR)
            self.portal.call(self.rig.stage.acknowledge, ask, OPERATOR)  # Nothing happens twice.
            self.models[name].acknowledge(self.now, expires)

    @rule(name=NAME)
    def is_given_back(self, name: str) -> None:
        if id := self.alert_of(name):
            self.portal.call(self.rig.stage.unacknowledge, Answer(id, "ada"), OPERATOR)
            self.portal.call(self.rig.stage.unacknowledge, Answer(id, "ada"), OPERATOR)
            self.models[name].unacknowledge(self.now)

    @rule(name=NAME)
    def is_resolved(self, name: str) -> None:
        if id := self.alert_of(name):
            self.portal.call(self.rig.stage.resolve, Answer(id, "ada"), OPERATOR)
            self.portal.call(self.rig.stage.resolve, Answer(id, "ada"), OPERATOR)
            self.models[name].resolve(self.now)

    @rule(name=NAME, muted=st.booleans())
    def is_muted(self, name: str, muted: bool) -> None:
        self.models[name].mute(self.now, muted=muted)
        self.install()

        async def reconsider() -> None:
            async with self.rig.stage.books.sound() as evaluator:
                evaluator.register.reconsider(evaluator.moment)
                await self.rig.stage.books.commit()
                self.rig.stage.look_sooner()

        self.portal.call(reconsider)

    @rule(away=st.integers(0, 40), killed=st.booleans(), change=st.sampled_from(["", "", "text", "threshold"]))
    def restarts(self, away: int, killed: bool, change: str) -> None:
        if killed:  # What a process that is killed leaves behind.
            self.files += 1
            copy = self.folder / f"{self.files}.db"
            with sqlite3.connect(self.path) as source, sqlite3.connect(copy) as target:
                source.backup(target)
            source.close()
            target.close()
            self.path = copy
        self.running.close()
        self.portal.call(self.clock.advance, float(away))
        if change == "text":
            self.step += "!"
        elif change == "threshold":
            self.threshold = 11 if self.threshold == 10 else 10
            for name in ("a", "b"):
                self.models[name].change(self.now)
        self.start()
        awake = self.now + 0.001  # It looks for the first time a moment after it is there.
        self.portal.call(self.pass_time, 1.002)
        for model in self.models.values():
            model.pass_time(self.now, awake)

    @invariant()
    def statuses_are_the_models(self) -> None:
        living = self.portal.call(self.rig.alerts, "active,acknowledged,suppressed")
        found = {alert.labels.get("name", ""): alert for alert in living}
        for name, model in self.models.items():
            alert = found.get(name)
            seen = alert and (alert.status, alert.told, alert.flapping, alert.count)
            wanted = (model.status, model.told, model.flapping, model.count) if model.status else None
            assert seen == wanted, name
        pending = {alert.labels["name"] for alert in self.portal.call(self.rig.alerts, "pending")}
        begun = {name for name, model in self.models.items() if model.bad_since is not None and not model.status}
        assert pending == begun

    @invariant()
    def the_log_is_what_happened_and_what_was_told_is_what_it_says(self) -> None:
        lines, told = self.portal.call(self.rig.stage.context.state.run, _written)
        told_in_log: list[tuple[str, str]] = []
        of_names: dict[str, list[tuple[Said, str]]] = {name: [] for name in NAMES}
        for alert, kind, was, status, is_told, name in lines:
            of_names[name].append((Said(kind, was, status, bool(is_told)), alert))
            told_in_log += [(kind, alert)] if is_told else []
        assert told == told_in_log
        for name, model in self.models.items():
            found = of_names[name]
            assert [said for said, _ in found] == model.log, name
            ids = list(dict.fromkeys(alert for _, alert in found))
            assert [ids.index(alert) + 1 for _, alert in found] == model.numbers, "an id is an occurrence"
        _assert_paired(told)


def _written(
    connection: sqlite3.Connection,
) -> tuple[list[tuple[str, str, str | None, str, int, str]], list[tuple[str, str]]]:
    names = {
        id: msgspec.json.decode(body, type=Alert).labels.get("name", "")
        for id, body in connection.execute("SELECT id, body FROM alert_alerts")
    }
    rows = connection.execute("SELECT alert, kind, was, status, told FROM alert_log ORDER BY seq").fetchall()
    letters = connection.execute("SELECT kind, body FROM alert_outbox ORDER BY seq").fetchall()
    return (
        [(*row, names[row[0]]) for row in rows],
        [(kind, msgspec.json.decode(body, type=Alert).id) for kind, body in letters],
    )


def _assert_paired(told: list[tuple[str, str]]) -> None:
    """Whoever was told that an alert fires is told once that it is resolved, and nobody else is."""
    firing: dict[str, bool] = {}
    for kind, alert in told:
        if kind == "firing":
            assert not firing.get(alert), "told twice that it fires"
            firing[alert] = True
        elif kind == "resolved":
            assert firing.get(alert), "told that it is resolved, and not that it fired"
            firing[alert] = False


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=600 if LONG else 25,
    stateful_step_count=40,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
