"""The runbook's rules against servers that run, in real seconds: what fires, when it does, and when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Operator, configuration, operating
from tests.integration.processes import at_leisure

EVERY = 0.5
"""Seconds between two values of one series."""

MINUTE = 60.0
"""For so many seconds it has to last what is not to fire at once."""

QUIET = {
    # Nobody but the test measures what the test measures.
    "environment-resolver: {fallback: production}": "environment-resolver: {fallback: production, interval: 1h}",
    "host: {use: system-resources, interval: 1s}": "host: {use: system-resources, interval: 1h}",
}


@dataclass
class Course:
    """What is measured again and again in one series, and what came of it."""

    name: str
    rule: str
    event: Callable[[float], Mapping[str, Any]]
    parts: Sequence[tuple[float, float]]
    """Values, and for how many seconds each is measured."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    fires: float | None = None
    """After how many seconds it is to fire; None: never."""
    turns: list[float] = field(default_factory=list[float])
    """When the first event of each part was handed in, in seconds since 1970."""
    read: list[float] = field(default_factory=list[float])
    """When it had been read at the latest."""

    def play(self, server: Operator) -> None:
        """Measure each value for its time; the one that is to fire at least for so long, and until it has."""
        began, fires = time.monotonic(), self.fires
        for value, seconds in self.parts:
            self.turns.append(time.time())
            end = began + seconds
            server.emit(self.event(value))
            server.until("dashboard/status", lambda data: data["pipelines"]["alerts"] == 0)
            self.read.append(time.time())
            while time.monotonic() + EVERY <= end or (fires and time.monotonic() < end + 30 and not self.found(server)):
                time.sleep(EVERY)
                server.emit(self.event(value))
            time.sleep(max(0.0, end - time.monotonic()))
            began, fires = max(end, time.monotonic()), None

    def found(self, server: Operator) -> Sequence[Mapping[str, Any]]:
        """Every time that it fired."""
        history = server.data("alerts/history?period=1h")
        return [one for one in history if one["rule"] == self.rule and one["labels"] == self.labels]

    def judge(self, server: Operator) -> None:
        """Assert that it fired when it had to, once, and ended with the first good value; or that it did neither."""
        found = self.found(server)
        if self.fires is None:
            # Where the machine held us up for so long, what is bad did last for a minute, and may fire after that.
            late = [one for one in found if len(self.read) > 1 and self.read[1] - self.turns[0] >= MINUTE]
            assert found == late, (self.name, found)
            assert all(one["timestamp"] / 1000 - self.turns[0] >= MINUTE - 0.01 for one in late), (self.name, late)
            return
        (alert,) = found
        assert alert["count"] == 1 and alert["status"] == "resolved", (self.name, alert)
        since = alert["timestamp"] / 1000 - self.turns[0]
        lags = [read - turn for turn, read in zip(self.turns, self.read, strict=True)]
        assert self.fires - 0.01 <= since <= self.fires + EVERY + at_leisure(1.5) + lags[0], (self.name, since, lags)
        assert alert["resolution"]["reason"] == "recovered"
        over = alert["resolution"]["timestamp"] / 1000 - self.turns[-1]
        assert -0.01 <= over <= at_leisure(1.5) + lags[-1], (self.name, over, lags)


def resolution(cached: str) -> Callable[[float], Mapping[str, Any]]:
    return lambda ms: {
        "type": "configuration.resolved", "outcome": "success", "duration_ms": ms, "labels": {"cached": cached},
    }  # fmt: skip


def memory(percent: float) -> Mapping[str, Any]:
    return {"type": "system.measured", "measures": {"system_memory_usage": percent}}


SLOW, MEMORY = "Configuration Resolution Slow", "Memory Usage High"

COURSES: Sequence[Sequence[Course]] = (
    (
        Course(
            "101 ms for 59 s never fires", SLOW, resolution("false"), [(101, 59), (99, 3)], {"cached": "false"},
        ),
        Course(
            "101 ms for 61 s fires once", SLOW, resolution("true"), [(101, 62), (100, 1)], {"cached": "true"}, fires=60,
        ),
        Course("81 % of memory for a minute fires once", MEMORY, memory, [(80.1, 62), (80, 1)], fires=60),
    ),
    (
        Course("exactly 100 ms never fires", SLOW, resolution("true"), [(100.0, 63)], {"cached": "true"}),
        Course(
            "a dip at 30 s starts anew", SLOW, resolution("false"), [(101, 30), (100, 0.5), (101, 32)],
            {"cached": "false"},
        ),
        Course("80 % of memory never fires", MEMORY, memory, [(80.0, 63)]),
    ),
)  # fmt: skip
"""The courses of each server; those of one server run at the same time, in series of their own."""


def test_c070_c080_what_has_to_last_for_a_minute_fires_after_it_and_not_before(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers: list[Operator] = []
        for number, _ in enumerate(COURSES):
            folder = tmp_path / str(number)
            folder.mkdir()
            configuration(folder, **QUIET)
            servers.append(stack.enter_context(operating(folder)))
        with ThreadPoolExecutor(6) as pool:
            played = [
                pool.submit(course.play, server)
                for server, courses in zip(servers, COURSES, strict=True)
                for course in courses
            ]
            for one in played:
                one.result()
        for server, courses in zip(servers, COURSES, strict=True):
            server.until("dashboard/status", lambda data: data["pipelines"]["alerts"] == 0)
            for course in courses:
                course.judge(server)
        # The dip made the second stretch begin anew: it waits for its minute, and nobody was told.
        (waiting,) = servers[1].data("alerts?status=pending")
        assert (waiting["rule"], waiting["labels"]) == (SLOW, {"cached": "false"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("rules")
    configuration(
        folder,
        **QUIET,
        **{
            "build: {}": "build: {lost_after: 2s}",
            "alert-engine: {}": "alert-engine: {rate_limiting: {max_alerts: 1000}}",
        },
    )
    with operating(folder) as operator:
        yield operator


@dataclass
class Bout:
    """What fires a rule at once, what does not, and what ends it."""

    rule: str
    severity: str
    bad: Mapping[str, Any]
    good: Mapping[str, Any]
    fine: Mapping[str, Any] | None = None
    """What just does not fire it."""
    environment: str | None = None


def provider(ms: float) -> Mapping[str, Any]:
    labels = {"provider": "slow"}
    return {"type": "provider.initialized", "outcome": "success", "duration_ms": ms, "labels": labels}


def build(ms: float) -> Mapping[str, Any]:
    return {"type": "build.finished", "outcome": "success", "duration_ms": ms, "environment": "bench"}


def deployment(ms: float) -> Mapping[str, Any]:
    return {"type": "deployment.finished", "outcome": "success", "duration_ms": ms, "environment": "slow"}


def deployed(environment: str, outcome: str) -> Mapping[str, Any]:
    return {"type": "deployment.finished", "outcome": outcome, "environment": environment, "service": "shop"}


def coverage(share: float) -> Mapping[str, Any]:
    return {"type": "validation-completed", "detail": {"coverage": share}}


def suite(failed: int, total: int) -> Mapping[str, Any]:
    counts = {"tests.failed": failed, "tests.passed": total - failed}
    return {"type": "testsuiterun.finished", "outcome": "failure" if failed else "success", "measures": counts}


def finished(outcome: str) -> Mapping[str, Any]:
    return {"type": "build.finished", "outcome": outcome, "source": "/ci/app", "service": "app"}


BOUTS = (
    Bout("Provider Initialization Slow", "warning", provider(50.1), provider(50), provider(50)),
    Bout("Build Performance Degraded", "error", build(5000.1), build(5000), build(5000)),
    Bout("Deployment Slow", "warning", deployment(300_000.1), deployment(300_000), deployment(300_000)),
    Bout("Deployment Failed", "critical", deployed("production", "failure"), deployed("production", "success")),
    Bout("Deployment Failed", "error", deployed("staging", "failure"), deployed("staging", "success")),
    Bout(
        "Deployment Rolled Back", "error", {**deployed("production", "success"), "type": "deployment.rolledback"},
        deployed("production", "success"),
    ),
    Bout("Test Coverage Low", "error", coverage(94.9), coverage(95.2), coverage(95)),
    Bout("Test Failures", "warning", suite(2, 100), suite(0, 100), suite(1, 100)),
    Bout("Build Failed", "error", finished("failure"), finished("success"), finished("cancel")),
)  # fmt: skip


@pytest.mark.parametrize("bout", BOUTS, ids=lambda bout: f"{bout.rule}-{bout.severity}")
def test_a20_c073_c078_c079_what_goes_wrong_fires_at_once_and_the_next_good_one_resolves_it(
    bout: Bout, server: Operator
) -> None:
    def alive() -> list[Any]:
        server.until("dashboard/status", lambda data: data["pipelines"]["alerts"] == 0)
        return [one for one in server.data("alerts") if one["rule"] == bout.rule and one["severity"] == bout.severity]

    if bout.fine:
        server.emit(bout.fine)
        assert not alive()
    handed_in = time.time()
    server.emit(bout.bad)
    fired = server.until("alerts", lambda data: [one for one in data if one["rule"] == bout.rule])
    (alert,) = [one for one in fired if one["rule"] == bout.rule]
    assert alert["severity"] == bout.severity and alert["status"] == "active"
    assert 0 <= alert["timestamp"] / 1000 - handed_in + 0.001 < at_leisure(2.0)
    if bout.fine:
        server.emit(bout.fine)  # Of a metric it is good; of a build that was cancelled, nothing follows.
        assert bool(alive()) == ("outcome" in bout.fine and bout.fine["outcome"] == "cancel")
    server.emit(bout.good)
    assert not alive()
    ended = next(one for one in server.data("alerts/history?period=1h") if one["id"] == alert["id"])
    assert (ended["status"], ended["resolution"]["reason"]) == ("resolved", "recovered")


def test_a_build_that_is_lost_fires_when_its_time_is_over_and_the_next_good_one_resolves_it(server: Operator) -> None:
    def lost() -> list[Any]:
        return [one for one in server.data("alerts") if one["rule"] == "Build Lost"]

    handed_in = time.time()
    server.emit({"type": "build.started", "source": "/ci/lost", "subject": "b-1", "service": "lost"})
    server.until("alerts", lambda data: [one for one in data if one["rule"] == "Build Lost"])
    (alert,) = lost()
    assert 2 <= alert["timestamp"] / 1000 - handed_in < 2 + at_leisure(3.0) and alert["severity"] == "error"
    server.emit(
        {"type": "build.finished", "source": "/ci/lost", "subject": "b-2", "service": "lost", "outcome": "success"}
    )
    server.until("dashboard/status", lambda data: data["pipelines"]["alerts"] == 0)
    assert lost() == []


def test_a21_c075_three_failures_in_a_row_are_critical_and_two_with_a_success_between_are_not(
    server: Operator,
) -> None:
    def detected(*outcomes: str) -> list[str]:
        for outcome in outcomes:
            server.emit({"type": "environment.detected", "outcome": outcome, "source": "/env/a21"})
        server.until("dashboard/status", lambda data: data["pipelines"]["alerts"] == 0)
        return [one["severity"] for one in server.data("alerts") if one["rule"] == "Environment Detection Failed"]

    # A source of its own: its share of failures stays below a half, so it is the row that counts.
    assert detected("success", "success", "success", "success", "success", "failure", "failure") == []
    assert detected("success", "failure", "failure") == []
    assert detected("failure") == ["critical"]
    assert detected("success", "success", "success") == []


def test_a21_half_of_the_detections_in_five_minutes_are_critical_and_two_are_too_few(server: Operator) -> None:
    def detected(*outcomes: str) -> list[str]:
        for outcome in outcomes:
            server.emit({"type": "environment.detected", "outcome": outcome, "source": "/env/half"})
        server.until("dashboard/status", lambda data: data["pipelines"]["alerts"] == 0)
        return [one["labels"]["source"] for one in server.data("alerts") if "Detection" in one["rule"]]

    assert detected("failure", "success") == []  # Half, but of two.
    assert detected("failure") == ["/env/half"]
    assert detected("success") == ["/env/half"]  # Two of four.
    assert detected("success") == []


def test_c076_too_many_errors_fire_from_the_fifth_sample_on(tmp_path: Path) -> None:
    configuration(tmp_path, **QUIET)
    with operating(tmp_path) as server:

        def failing(count: int) -> list[str]:
            for _ in range(count):
                server.emit({"type": "provider.initialized", "outcome": "failure", "labels": {"provider": "p"}})
            server.until("dashboard/status", lambda data: data["pipelines"]["alerts"] == 0)
            return [one["rule"] for one in server.data("alerts")]

        # The one detection and resolution of the server itself, at its start, count too.
        assert failing(2) == []
        assert failing(3) == ["Error Rate High"]
