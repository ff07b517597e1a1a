"""Jobs that run elsewhere: who reports is known, and who does not in time is missed."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from msgspec.structs import replace

from bers import Caller, Context, Event, Full, Nothing, Refused, Table
from bers.clock import SteadyClock
from bers.testing import VirtualClock, check_spec, run_receive, step
from bers.testing.server import serving
from bers_builtin.sources.heartbeats import HEARTBEATS, Heartbeats, JobState, Report

OPERATOR = Caller("anonymous", "10.0.0.7")
NIGHTLY = {"backup": {"every": "24h", "grace": "1h"}}
HOUR = 3600.0


@dataclass
class Rig:
    """A source at work, with an intake that does no more than it must."""

    stage: Heartbeats
    clock: VirtualClock
    table: Table
    told: list[Event] = field(default_factory=list[Event])
    full: bool = False

    async def emit(self, events: Sequence[Event], *, durable: bool = False) -> None:
        if self.full:
            raise Full("there is no room")
        for event in events:
            self.take(event)

    def take(self, event: Event) -> Event:
        (taken,) = self.stage.receive(replace(event, received=self.clock.time()), self.table)
        self.told.append(taken)
        return taken

    async def beat(self, name: str = "backup", **fields: Any) -> JobState:
        return await self.stage.report(Report(name, **fields), OPERATOR)

    async def state(self, name: str = "backup") -> JobState:
        (found,) = [one for one in await self.stage.list_jobs(Nothing(), OPERATOR) if one.name == name]
        return found

    @property
    def missed(self) -> Sequence[str]:
        return [event.id for event in self.told if event.type == "heartbeat.missed"]


@asynccontextmanager
async def source(clock: VirtualClock, table: Table | None = None, **options: Any) -> AsyncGenerator[Rig]:
    table = Table() if table is None else table
    context = Context("heartbeats", clock=SteadyClock(clock), table=table)
    async with step(HEARTBEATS, context=context, **(options or {"jobs": NIGHTLY})).open() as stage:
        assert isinstance(stage, Heartbeats)
        rig = Rig(stage, clock, table)
        async with anyio.create_task_group() as group:
            group.start_soon(stage.run, rig.emit)
            await clock.advance(0)
            yield rig
            group.cancel_scope.cancel()


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(HEARTBEATS)


async def test_a_job_that_never_reported_is_new_and_is_not_missed(clock: VirtualClock) -> None:
    async with source(clock, jobs={"backup": {"every": "10s", "grace": "5s"}}) as rig:
        await clock.advance(60)
        assert (await rig.state()).status == "new" and rig.missed == []


async def test_a_heartbeat_is_missed_once_when_its_grace_is_over_and_the_next_is_the_end_of_it(
    clock: VirtualClock,
) -> None:
    async with source(clock, jobs={"backup": {"every": "20s", "grace": "10s"}}) as rig:
        assert (await rig.beat()).status == "up"
        await clock.advance(19)
        assert (await rig.state()).status == "up"
        await clock.advance(10)
        assert (await rig.state()).status == "grace" and rig.missed == []
        await clock.advance(1)
        assert (await rig.state()).status == "down" and rig.missed == ["backup/missed-1"]
        await clock.advance(30)
        assert rig.missed == ["backup/missed-1"]
        assert (await rig.beat()).status == "up"
        await clock.advance(31)
        assert rig.missed == ["backup/missed-1", "backup/missed-2"]
        assert (await rig.state()).missed == 2
        assert rig.told[1].reason == "no heartbeat within 20s, and 10s of grace"


async def test_who_says_that_it_failed_has_reported(clock: VirtualClock) -> None:
    async with source(clock) as rig:
        state = await rig.beat(status="fail", message="the disk is full")
        assert (state.status, state.outcome, state.message) == ("up", "failure", "the disk is full")
        assert (rig.told[0].type, rig.told[0].outcome, rig.told[0].subject) == (
            "heartbeat.received",
            "failure",
            "backup",
        )


async def test_an_unknown_job_is_refused_with_the_one_that_was_meant(clock: VirtualClock) -> None:
    async with source(clock) as rig:
        with pytest.raises(Refused, match="unknown job 'bakcup'; did you mean 'backup'") as info:
            await rig.beat("bakcup")
        assert info.value.reason == "not_found" and rig.told == []


async def test_one_that_comes_as_an_event_from_an_unknown_job_is_kept_and_shown(clock: VirtualClock) -> None:
    async with source(clock) as rig:
        rig.take(Event("e-1", "/ci", "heartbeat.received", clock.time(), subject="bakcup"))
        assert (await rig.state("bakcup")).status == "unknown" and len(rig.table) == 0


async def test_a_job_that_is_learned_is_expected_from_its_first_heartbeat_on(clock: VirtualClock) -> None:
    async with source(clock, learn={"every": "10s", "grace": "5s"}) as rig:
        await rig.beat("reports")
        await clock.advance(16)
        assert rig.missed == ["reports/missed-1"]


async def test_a_restart_goes_on_with_what_had_passed(clock: VirtualClock) -> None:
    async with source(clock, jobs={"backup": {"every": "60s", "grace": "10s"}}) as rig:
        await rig.beat()
        await clock.advance(50)
    async with source(clock, rig.table, jobs={"backup": {"every": "60s", "grace": "10s"}}) as again:
        await clock.advance(19)
        assert again.missed == []
        await clock.advance(1)
        assert again.missed == ["backup/missed-1"]


async def test_what_was_missed_is_not_missed_again_by_a_restart(clock: VirtualClock) -> None:
    async with source(clock, jobs={"backup": {"every": "10s", "grace": "5s"}}) as rig:
        await rig.beat()
        await clock.advance(16)
    async with source(clock, rig.table, jobs={"backup": {"every": "10s", "grace": "5s"}}) as again:
        await clock.advance(60)
        assert again.missed == [] and (await again.state()).status == "down"
        await again.beat()
        await clock.advance(16)
        assert again.missed == ["backup/missed-2"]


async def test_who_could_not_reach_us_has_its_grace_again(clock: VirtualClock) -> None:
    async with source(clock, jobs={"backup": {"every": "60s", "grace": "20s"}}) as rig:
        await rig.beat()
        await clock.advance(10)
        await clock.suspend(600, machine=True)
        await clock.advance(19)
        assert rig.missed == []
        await rig.beat()
        await clock.advance(60)
        assert rig.missed == []
    await clock.advance(600)  # Nobody was there to be reached.
    async with source(clock, rig.table, jobs={"backup": {"every": "60s", "grace": "20s"}}) as again:
        await clock.advance(19)
        assert again.missed == []
        await clock.advance(2)
        assert again.missed == ["backup/missed-1"]


@pytest.mark.parametrize("step", [2 * HOUR, -2 * HOUR])
async def test_a_clock_that_is_set_makes_nobody_late_nor_forgiven(step: float, clock: VirtualClock) -> None:
    async with source(clock, jobs={"backup": {"every": "60s", "grace": "10s"}}) as rig:
        await rig.beat()
        await clock.advance(30)
        clock.step(step)
        await clock.advance(39)
        assert rig.missed == []
        await clock.advance(2)
        assert rig.missed == ["backup/missed-1"]


async def test_one_out_of_a_spool_tells_of_then_and_one_from_the_future_of_now(clock: VirtualClock) -> None:
    async with source(clock, jobs={"backup": {"every": "60s", "grace": "10s"}}) as rig:
        now = clock.time()
        rig.take(Event("e-1", "/cron", "heartbeat.received", now - 50, subject="backup"))
        assert (await rig.state()).last == int((now - 50) * 1000)
        rig.take(Event("e-2", "/cron", "heartbeat.received", now - 80, subject="backup"))  # Later, of earlier.
        assert (await rig.state()).last == int((now - 50) * 1000)
        rig.take(Event("e-3", "/cron", "heartbeat.received", now + 9999, subject="backup"))
        assert (await rig.state()).last == int(now * 1000)


async def test_what_cannot_be_told_is_told_when_there_is_room(clock: VirtualClock) -> None:
    async with source(clock, jobs={"backup": {"every": "10s", "grace": "5s"}}) as rig:
        await rig.beat()
        rig.full = True
        await clock.advance(20)
        with pytest.raises(Refused) as info:
            await rig.beat()
        assert info.value.reason == "unavailable"
        rig.full = False
        await clock.advance(2)
        assert rig.missed == ["backup/missed-1"]


async def test_the_time_between_two_is_measured(clock: VirtualClock) -> None:
    beats = [
        Event(f"e-{n}", "/cron", "heartbeat.received", 1000.0 + 60 * n, subject="backup", received=1000.0 + 60 * n)
        for n in range(2)
    ]
    first, second = await run_receive(HEARTBEATS, beats, jobs=NIGHTLY)
    assert not first.measures
    assert (second.measures, second.labels) == ({"heartbeat_gap": 60_000.0}, {"job": "backup"})


async def test_a_yearly_job_is_remembered_however_long_ago_it_was(clock: VirtualClock) -> None:
    async with source(clock, jobs={"audit": {"every": "365d", "grace": "1d"}}) as rig:
        await rig.beat("audit")
        rig.table.expire(clock.time() + 300 * 86400)
        assert (await rig.state("audit")).status == "up"


async def test_names_from_outside_cannot_fill_the_memory(clock: VirtualClock) -> None:
    async with source(clock, learn={"every": "24h"}) as rig:
        for number in range(5000):
            rig.take(Event(f"e-{number}", "/cron", "heartbeat.received", clock.time(), subject=f"job-{number}"))
        assert len(rig.table) == 2000
        assert len(await rig.stage.list_jobs(Nothing(), OPERATOR)) == 2000 + 1000


async def test_a_missed_heartbeat_is_an_alert_until_the_next_one_and_through_a_restart(tmp_path: Path) -> None:
    changes = [(("sources", "heartbeats"), {"jobs": {"backup": {"every": "300ms", "grace": "700ms"}}})]
    async with serving(tmp_path, changes=changes) as server:
        refused = await server.post("heartbeats/bakcup")
        assert refused.status_code == 404 and "did you mean 'backup'" in refused.json()["error"]["message"]
        assert (await server.post("heartbeats/backup")).json()["data"]["status"] == "up"
        (alert,) = await server.until("alerts", len)
        assert (alert["rule"], alert["severity"], alert["labels"]) == (
            "Heartbeat Missed",
            "error",
            {"subject": "backup"},
        )
    async with serving(tmp_path, changes=changes) as server:
        assert [one["id"] for one in await server.data("alerts")] == [alert["id"]]
        (job,) = await server.data("heartbeats")
        assert (job["name"], job["status"], job["missed"]) == ("backup", "down", 1)
        await server.post("heartbeats/backup?status=fail&message=no+room")
        (failed,) = await server.until(
            "alerts", lambda data: [one["rule"] for one in data] == ["Heartbeat Failed"], seconds=3
        )
        assert "no room" in failed["message"]
        await server.post("heartbeats/backup")
        await server.until("alerts", lambda data: not data or data[0]["rule"] == "Heartbeat Missed", seconds=3)


def test_a_job_that_cannot_be_told_from_another_by_looking_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"'back\\tup' has characters that cannot be seen"):
        step(HEARTBEATS, jobs={"back\tup": {"every": "1m"}})
