"""A change is believed when it was seen often enough, and what changes too often is flapping."""

from collections.abc import Sequence

import anyio
import pytest

from bers import Finding, Status
from bers.health.board import Health
from bers.health.breaker import Breaker
from bers.health.damping import Damper, Flapping
from bers.health.reports import CheckReport, Confirming, overall, summarize
from bers.health.watch import Watch
from bers.testing import VirtualClock

H, D, U, N = "healthy", "degraded", "unhealthy", "unknown"


@pytest.mark.parametrize(
    ("failures", "successes", "found", "believed"),
    [
        (1, 1, [H, U, H, D, U], [H, U, H, D, U]),
        (3, 1, [H, U, U, H, U, U, U, H], [H, H, H, H, H, H, U, H]),
        (2, 3, [U, U, H, H, U, H, H, H], [N, U, U, U, U, U, U, H]),
        (3, 1, [H, D, U, D], [H, H, H, D]),  # Worse is worse; in the end it is what was found last.
        (3, 1, [H, U, H, U, H, U], [H, H, H, H, H, H]),
        (3, 3, [H, N, N, N, H], [H, H, H, N, H]),  # What nobody knew is believed at once where it is good.
        (1, 2, [U, N, N, U], [U, U, N, U]),
        (2, 1, [U, D], [N, D]),
    ],
)
def test_a_change_is_believed_when_so_many_looks_in_a_row_found_it(
    failures: int, successes: int, found: Sequence[Status], believed: Sequence[Status]
) -> None:
    damper = Damper(failures, successes)
    assert [damper.see(one) for one in found] == believed


async def test_more_changes_than_allowed_are_flapping_until_half_of_them_are_over(clock: VirtualClock) -> None:
    flapping = Flapping(clock, changes=4, within=100.0)
    statuses: list[Status] = ["healthy", "unhealthy"]
    for number in range(4):
        flapping.changed(statuses[number % 2], statuses[(number + 1) % 2])
        assert flapping.look() is False
        await clock.advance(10)
    flapping.changed("healthy", "degraded")
    assert (flapping.look(), flapping.flaps, flapping.worst) == (True, True, "unhealthy")
    await clock.advance(79)  # Three of the five are less than 100 s ago.
    assert (flapping.look(), flapping.flaps) == (False, True)
    await clock.advance(2)
    assert (flapping.look(), flapping.flaps, flapping.worst) == (True, False, None)


class Thing:
    finds: Status = "healthy"

    async def __call__(self) -> Finding:
        return Finding(self.finds, self.finds)


async def test_what_flaps_is_told_of_once_in_and_once_out_and_the_whole_does_not_swing(clock: VirtualClock) -> None:
    thing, told, words = Thing(), list[tuple[Status, bool]](), list[Status]()

    async def publish(report: CheckReport, before: CheckReport | None) -> None:
        told.append((report.status, report.flapping))

    health = Health(clock, publish)
    watch = Watch("thing", thing, 30.0, 5.0, True, Breaker(clock, failures=5, reset_after=60, successes=3))
    watch.flapping = Flapping(clock, changes=4, within=600.0)
    health.add(watch)
    async with anyio.create_task_group() as group:
        group.start_soon(health.run)
        await clock.advance(1)
        for number in range(20):
            thing.finds = "healthy" if number % 2 else "unhealthy"
            await clock.advance(30)
            words.append(overall(health.reports()))
        assert words[:4] == ["unhealthy", "healthy", "unhealthy", "healthy"]
        assert set(words[4:]) == {"unhealthy"}
        assert told == [("healthy", False), ("unhealthy", False), ("healthy", False), ("unhealthy", False),
                        ("healthy", False), ("unhealthy", True)]  # fmt: skip
        report = health.report("thing")
        assert (report.status, report.flapping, report.counts_as) == ("healthy", True, "unhealthy")
        assert summarize([report]).flapping == 1
        await clock.advance(700)
        assert told[6:] == [("healthy", False)]
        assert overall(health.reports()) == "healthy"
        group.cancel_scope.cancel()


async def test_a_change_that_is_not_certain_yet_is_shown_and_looked_at_sooner(clock: VirtualClock) -> None:
    thing, told = Thing(), list[Status]()

    async def publish(report: CheckReport, before: CheckReport | None) -> None:
        told.append(report.status)

    health = Health(clock, publish)
    watch = Watch(
        "thing", thing, 60.0, 5.0, True, Breaker(clock, failures=5, reset_after=60, successes=3), Damper(3, 1)
    )
    watch.confirm = 5.0
    health.add(watch)
    async with anyio.create_task_group() as group:
        group.start_soon(health.run)
        await clock.advance(1)
        thing.finds = "unhealthy"
        await clock.advance(60)
        report = health.report("thing")
        assert (report.status, report.message) == ("healthy", "healthy")
        assert report.confirming == Confirming("unhealthy", "unhealthy", 1, 3)
        await clock.advance(5)
        assert health.report("thing").confirming == Confirming("unhealthy", "unhealthy", 2, 3)
        await clock.advance(5)
        assert (health.report("thing").status, health.report("thing").confirming) == ("unhealthy", None)
        thing.finds = "healthy"
        await clock.advance(60)
        assert told == ["healthy", "unhealthy", "healthy"]
        group.cancel_scope.cancel()
