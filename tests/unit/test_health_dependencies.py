"""What depends on something that is down is unknown because of that, and nobody blames it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio

from bers import Finding, Status
from bers.health.board import Health
from bers.health.breaker import Breaker
from bers.health.reports import CheckReport, overall, recommendations, summarize
from bers.health.watch import NoAnswer, Watch
from bers.testing import VirtualClock


class Thing:
    """Something that others may depend on; it counts who looks at it."""

    def __init__(self, clock: VirtualClock, name: str, *depends_on: str, interval: float = 30.0) -> None:
        self.finds: Status | None = "healthy"
        self.looks = 0
        self.watch = Watch(
            name,
            self.look,
            interval,
            5.0,
            False,
            Breaker(clock, failures=3, reset_after=60, successes=3),
            depends_on=depends_on,
        )
        self.watch.remediation = f"Mend {name}."

    async def look(self) -> Finding:
        self.looks += 1
        if self.finds is None:
            raise NoAnswer("gone")
        return Finding(self.finds, self.finds)


@asynccontextmanager
async def watching(clock: VirtualClock, *things: Thing) -> AsyncGenerator[tuple[Health, list[tuple[str, Status, str]]]]:
    told: list[tuple[str, Status, str]] = []

    async def publish(report: CheckReport, before: CheckReport | None) -> None:
        told.append((report.name, report.status, report.because))

    health = Health(clock, publish)
    for thing in things:
        health.add(thing.watch)
    async with anyio.create_task_group() as group:
        await health.look_at_all()
        group.start_soon(health.run)
        await anyio.wait_all_tasks_blocked()
        told.clear()
        yield health, told
        group.cancel_scope.cancel()


def found(health: Health, name: str) -> tuple[Status, str]:
    report = health.report(name)
    return report.status, report.because


async def test_at_the_start_what_others_depend_on_is_looked_at_first_and_once(clock: VirtualClock) -> None:
    gateway, web, shop = Thing(clock, "gateway"), Thing(clock, "web", "gateway"), Thing(clock, "shop", "web", "gateway")
    gateway.finds = "unhealthy"
    async with watching(clock, shop, web, gateway) as (health, _):
        assert (gateway.looks, web.looks, shop.looks) == (1, 0, 0)
        assert found(health, "web") == found(health, "shop") == ("unknown", "gateway")
        assert health.report("shop").message == "unknown because of 'gateway', which is unhealthy"


async def test_the_whole_chain_is_unknown_at_once_because_of_its_root_and_known_again_at_once(
    clock: VirtualClock,
) -> None:
    gateway = Thing(clock, "gateway", interval=10.0)
    web, shop = Thing(clock, "web", "gateway", interval=300.0), Thing(clock, "shop", "web", interval=300.0)
    async with watching(clock, gateway, web, shop) as (health, told):
        gateway.finds = "unhealthy"
        await clock.advance(10)
        assert found(health, "shop") == ("unknown", "gateway")
        assert told == [("gateway", "unhealthy", ""), ("web", "unknown", "gateway"), ("shop", "unknown", "gateway")]
        assert (web.looks, shop.looks) == (1, 1)
        reports = health.reports()
        assert recommendations(reports) == ["gateway: Mend gateway."]
        assert (summarize(reports).unknown, summarize(reports).held, overall(reports)) == (2, 2, "degraded")
        gateway.finds = "healthy"
        await clock.advance(10)
        assert found(health, "web") == found(health, "shop") == ("healthy", "")


async def test_before_anybody_is_blamed_what_it_depends_on_is_looked_at(clock: VirtualClock) -> None:
    gateway, web = Thing(clock, "gateway", interval=300.0), Thing(clock, "web", "gateway", interval=10.0)
    async with watching(clock, gateway, web) as (health, told):
        gateway.finds, web.finds = "unhealthy", None
        await clock.advance(10)
        assert found(health, "web") == ("unknown", "gateway")
        assert ("web", "unhealthy", "") not in told
        await clock.advance(100)
        assert health.report("web").breaker.failures == 0  # Its breaker does not open for another's fault.
        gateway.finds = "healthy"
        await health.look(["gateway"])
        await clock.advance(0)
        assert found(health, "web") == ("unhealthy", "")  # It is down by itself too.


async def test_what_depends_on_something_that_is_not_quite_well_is_looked_at_as_ever(clock: VirtualClock) -> None:
    gateway, web = Thing(clock, "gateway"), Thing(clock, "web", "gateway")
    gateway.finds = "degraded"
    async with watching(clock, gateway, web) as (health, _):
        assert found(health, "web") == ("healthy", "")
        gateway.finds = "unknown"
        await clock.advance(30)
        assert found(health, "web") == ("healthy", "")
        web.finds = "unhealthy"
        await clock.advance(30)
        assert found(health, "web") == ("unhealthy", "")


async def test_while_a_breaker_rests_what_depends_on_it_waits_too(clock: VirtualClock) -> None:
    gateway, web = Thing(clock, "gateway", interval=10.0), Thing(clock, "web", "gateway", interval=10.0)
    async with watching(clock, gateway, web) as (health, _):
        gateway.finds = None
        await clock.advance(30)
        assert health.report("gateway").breaker.state == "open"
        looks = gateway.looks, web.looks
        await clock.advance(50)
        assert (gateway.looks, web.looks) == looks
        assert found(health, "web") == ("unknown", "gateway")
        gateway.finds = "healthy"
        await clock.advance(10)
        assert found(health, "web") == ("healthy", "")
