"""Checks are made on a schedule, a failing one is given a rest, and one word stands for all of them."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from bers import Finding, Status
from bers.health.board import Health
from bers.health.breaker import Breaker, BreakerReport
from bers.health.reports import CheckReport, overall, severity, summarize
from bers.health.settings import BreakerSettings
from bers.health.watch import Watch
from bers.testing import VirtualClock

WELL = Finding("healthy", "well")


def breaker(clock: VirtualClock) -> Breaker:
    usual = BreakerSettings()
    return Breaker(clock, failures=usual.failures, reset_after=usual.reset_after, successes=usual.successes)


def opened(clock: VirtualClock) -> Breaker:
    one = breaker(clock)
    for _ in range(5):
        one.failed()
    return one


def test_five_failures_in_a_row_open_a_breaker_and_a_success_between_does_not(clock: VirtualClock) -> None:
    one = breaker(clock)
    for _ in range(4):
        one.failed()
    one.succeeded()
    for _ in range(4):
        one.failed()
    assert (one.state, one.allows()) == ("closed", True)
    one.failed()
    assert (one.state, one.allows(), one.wait, one.opened_at) == ("open", False, 60.0, 1_700_000_000.0)


async def test_after_its_rest_a_breaker_is_half_open_and_three_successes_close_it(clock: VirtualClock) -> None:
    one = opened(clock)
    await clock.advance(59.9)
    assert not one.allows()
    await clock.advance(0.1)
    assert (one.allows(), one.state) == (True, "half_open")
    one.succeeded()
    one.succeeded()
    assert one.state == "half_open"
    one.succeeded()
    assert (one.state, one.failures, one.opened_at) == ("closed", 0, None)


async def test_one_failure_while_half_open_opens_it_for_another_rest(clock: VirtualClock) -> None:
    one = opened(clock)
    await clock.advance(60)
    assert one.allows()
    one.succeeded()
    one.failed()
    assert (one.state, one.wait) == ("open", 60.0)
    await clock.advance(60)
    assert one.allows()
    one.succeeded()
    one.succeeded()
    assert one.state == "half_open"  # The success before the failure does not count.


def test_a_breaker_can_be_reset_and_says_whether_it_was_closed(clock: VirtualClock) -> None:
    one = opened(clock)
    assert (one.reset(), one.state, one.reset()) == (True, "closed", False)


async def test_setting_the_wall_clock_does_not_end_a_rest(clock: VirtualClock) -> None:
    one = opened(clock)
    clock.step(3600)
    assert not one.allows()
    clock.step(-7200)
    await clock.advance(60)
    assert one.allows()


class Probe:
    """A thing that is looked at: it finds, or fails, as it is told; and counts."""

    def __init__(self) -> None:
        self.looks = 0
        self.finds: Finding | Exception = WELL

    async def __call__(self) -> Finding:
        self.looks += 1
        if isinstance(self.finds, Exception):
            raise self.finds
        return self.finds


def watch(
    clock: VirtualClock, probe: Callable[[], Awaitable[Finding]], *, timeout: float = 5.0, critical: bool = False
) -> Watch:
    return Watch("thing", probe, 30.0, timeout, critical, breaker(clock))


@asynccontextmanager
async def watching(clock: VirtualClock, *watches: Watch) -> AsyncGenerator[tuple[Health, list[CheckReport]]]:
    published: list[CheckReport] = []

    async def publish(report: CheckReport, before: CheckReport | None) -> None:
        published.append(report)

    health = Health(clock, publish)
    for one in watches:
        health.add(one)
    async with anyio.create_task_group() as group:
        group.start_soon(health.run)
        await anyio.wait_all_tasks_blocked()
        yield health, published
        group.cancel_scope.cancel()


async def test_what_was_not_looked_at_yet_is_unknown(clock: VirtualClock) -> None:
    async with watching(clock, watch(clock, Probe())) as (health, _):
        report = health.report("thing")
        assert (report.status, report.message) == ("unknown", "not looked at yet")
        assert list(health.names) == ["thing"]
        with pytest.raises(KeyError):
            health.report("nothing")


async def test_a_check_is_made_again_at_its_interval(clock: VirtualClock) -> None:
    probe = Probe()
    async with watching(clock, watch(clock, probe)) as (health, _):
        await health.look_at_all()
        await clock.advance(1)  # What is unknown is looked at again after a second: this look was asked for before.
        looks = probe.looks
        await clock.advance(60)
        assert probe.looks == looks + 2
        assert health.report("thing").timestamp == int(clock.time() * 1000)


async def test_only_what_changes_is_told_with_what_was_told_before(clock: VirtualClock) -> None:
    probe, told = Probe(), list[tuple[str, str, str | None]]()

    async def publish(report: CheckReport, before: CheckReport | None) -> None:
        told.append((report.status, report.breaker.state, before.status if before else None))

    health = Health(clock, publish)
    health.add(watch(clock, probe))
    async with anyio.create_task_group() as group:
        group.start_soon(health.run)
        await clock.advance(301)
        assert told == [("healthy", "closed", None)]
        probe.finds = Finding("degraded", "slow")
        await clock.advance(90)
        assert told[1:] == [("degraded", "closed", "healthy")]
        probe.finds = RuntimeError("down")
        await clock.advance(150)
        assert told[2:] == [("unhealthy", "closed", "degraded"), ("unhealthy", "open", "unhealthy")]
        probe.finds = WELL
        await clock.advance(150)
        assert told[4:] == [("healthy", "half_open", "unhealthy"), ("healthy", "closed", "healthy")]
        group.cancel_scope.cancel()


async def test_one_breaker_is_reset_by_name(clock: VirtualClock) -> None:
    probe = Probe()
    probe.finds = RuntimeError("down")
    async with watching(clock, watch(clock, probe)) as (health, _):
        await clock.advance(1 + 4 * 30)
        assert health.breakers()["thing"].state == "open"
        with pytest.raises(KeyError):
            await health.reset_breakers("nothing")
        assert await health.reset_breakers("thing") == ["thing"]
        assert health.breakers()["thing"].state == "closed"


async def test_an_open_breaker_is_tried_when_it_says_though_the_interval_is_another(clock: VirtualClock) -> None:
    probe = Probe()
    probe.finds = RuntimeError("down")
    one = watch(clock, probe)
    one.interval = 45.0
    async with watching(clock, one) as (health, _):
        await clock.advance(1 + 4 * 45)
        (due, looks) = (health.report("thing").breaker.next_attempt, probe.looks)
        assert due == int(clock.time() * 1000) + 60_000
        await clock.advance(59.9)
        assert probe.looks == looks
        await clock.advance(0.1)
        assert probe.looks == looks + 1


async def test_what_is_unknown_is_looked_at_again_soon_and_then_at_leisure(clock: VirtualClock) -> None:
    probe = Probe()
    probe.finds = Finding("unknown", "no answer yet")
    async with watching(clock, watch(clock, probe)):
        await clock.advance(5)
        assert probe.looks == 5
        probe.finds = WELL
        await clock.advance(1)
        assert probe.looks == 6
        await clock.advance(29)
        assert probe.looks == 6
        await clock.advance(1)
        assert probe.looks == 7


async def test_a_check_that_fails_is_unhealthy_rests_and_comes_back(clock: VirtualClock) -> None:
    probe = Probe()
    probe.finds = RuntimeError("https://ada:hunter2@example.com is down")
    async with watching(clock, watch(clock, probe)) as (health, _):
        await clock.advance(1 + 4 * 30)
        report = health.report("thing")
        assert (report.status, report.message) == ("unhealthy", "the check itself failed")
        assert report.error == "RuntimeError: https://***@example.com is down"
        assert report.remediation == "See the error, and logs/monitoring.log."
        opened_at = 1_700_000_121_000
        error = "RuntimeError: https://***@example.com is down"
        assert report.breaker == BreakerReport("open", 5, opened_at, opened_at + 60_000, error)
        await clock.advance(30)
        assert probe.looks == 5
        probe.finds = WELL
        await clock.advance(90)
        assert health.report("thing").breaker.state == "closed"
        assert (health.report("thing").status, health.report("thing").error) == ("healthy", None)


async def test_finding_something_unhealthy_is_no_failure_of_the_check(clock: VirtualClock) -> None:
    probe = Probe()
    probe.finds = Finding("unhealthy", "the disk is full", {"free": 0}, "Make room.")
    async with watching(clock, watch(clock, probe)) as (health, _):
        await clock.advance(600)
        report = health.report("thing")
        assert (report.breaker.state, report.details, report.remediation) == ("closed", {"free": 0}, "Make room.")


async def test_a_check_that_never_answers_is_given_up(clock: VirtualClock) -> None:
    async def never() -> Finding:
        await anyio.sleep_forever()
        return WELL

    async with watching(clock, watch(clock, never, timeout=0.01)) as (health, _):
        with anyio.fail_after(30):
            await health.look_at_all()
        assert health.report("thing").error == "no answer within 0.01 s"


async def test_resetting_closes_what_was_open_names_it_and_looks_at_once(clock: VirtualClock) -> None:
    probe = Probe()
    probe.finds = RuntimeError("down")
    async with watching(clock, watch(clock, probe)) as (health, _):
        await clock.advance(1 + 4 * 30)
        assert await health.reset_breakers() == ["thing"]
        assert await health.reset_breakers() == []
        await clock.advance(0)
        assert probe.looks == 6


def report(status: Status, critical: bool = False, duration: float = 2.0) -> CheckReport:
    return CheckReport("x", status, 0, duration, "", critical, BreakerReport("closed", 0))


@pytest.mark.parametrize(
    ("ordinary", "critical", "word", "bad"),
    [
        ([], [], "healthy", "none"),
        (["healthy"], ["healthy"], "healthy", "none"),
        (["degraded"], ["healthy"], "degraded", "warning"),
        (["unknown"], ["healthy"], "degraded", "info"),
        (["unhealthy"], ["healthy"], "degraded", "error"),
        (["healthy"], ["degraded"], "degraded", "warning"),
        (["healthy"], ["unknown"], "unknown", "info"),
        (["unhealthy"], ["unknown"], "unknown", "error"),
        (["healthy"], ["unhealthy"], "unhealthy", "critical"),
        (["unhealthy"], ["unknown", "unhealthy"], "unhealthy", "critical"),
    ],
)
def test_one_word_stands_for_all(ordinary: list[Status], critical: list[Status], word: str, bad: str) -> None:
    reports = [*(report(one) for one in ordinary), *(report(one, True) for one in critical)]
    assert (overall(reports), severity(reports)) == (word, bad)


def test_a_summary_counts_them() -> None:
    reports = [report("healthy"), report("unhealthy", True), report("unhealthy"), report("unknown", True, 6.0)]
    found = summarize(reports)
    assert (found.healthy, found.degraded, found.unhealthy, found.unknown) == (1, 0, 2, 1)
    assert (found.critical, found.total_checks, found.avg_response_time) == (1, 4, 3.0)
    assert summarize([]).avg_response_time == 0.0


async def test_a_look_at_what_is_not_checked_any_more_leads_to_nothing(clock: VirtualClock) -> None:
    going = anyio.Event()

    async def hangs() -> Finding:
        await going.wait()
        return Finding("unhealthy", "down")

    async with watching(clock, watch(clock, hangs)) as (health, published):
        async with anyio.create_task_group() as group:
            group.start_soon(health.look, ["thing"])
            await anyio.wait_all_tasks_blocked()
            health.change([watch(clock, Probe())])
            going.set()
        await clock.advance(1)
        assert [report.status for report in published] == ["healthy"]
