"""The source `spool`: what emitters left in a folder is handed in, once, and a bad line stops nothing."""

import json
import os
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from bers import Context, Event, Finding, Full
from bers.testing import VirtualClock, check_source, step
from bers.testing.server import serving
from bers_builtin.sources.spool import SPOOL, SpoolSource
from bers_emit.spool import Spool


def build(number: int, name: str = "s", **fields: Any) -> bytes:
    event = {"id": f"{name}-{number}", "source": "/ci/demo", "type": "build.finished", "time": "2026-11-23T08:00:00Z"}
    return json.dumps({**event, "outcome": "success", "duration_ms": 900 + number, **fields}).encode() + b"\n"


def leave(folder: Path, name: str, *lines: bytes, sent: int = 0, at: float = 0.0) -> Path:
    """What a process leaves that dies when so many of its events have been sent."""
    spool = Spool.create(str(folder), name)
    for line in lines[:sent]:
        spool.append(line)
    if sent:
        spool.batch()
    for line in lines[sent:]:
        spool.append(line)
    if sent:
        spool.done()
    spool.abandon()
    path = folder / f"{name}.ndjson"
    if at:
        os.utime(path, (at, at))
    return path


def letters(folder: Path) -> list[Any]:
    return [json.loads(line) for path in (folder / "dead").iterdir() for line in path.read_bytes().splitlines()]


@asynccontextmanager
async def looking(
    folder: Path, clock: VirtualClock, took: list[Event], full: Sequence[int] = ()
) -> AsyncGenerator[SpoolSource]:
    """The source at work; ``full`` are the calls that the intake refuses."""
    calls = 0

    async def emit(events: Sequence[Event], /, *, durable: bool = False) -> None:
        nonlocal calls
        calls += 1
        assert durable
        if calls in full:
            raise Full("there is no room", retry_after=5.0)
        took.extend(events)

    async with step(SPOOL, context=Context("spool", clock=clock), folder=str(folder)).open() as stage:
        assert isinstance(stage, SpoolSource)
        async with anyio.create_task_group() as group:
            group.start_soon(stage.run, emit)
            yield stage
            group.cancel_scope.cancel()


@asynccontextmanager
async def no_thread_for_the_disk() -> AsyncGenerator[None]:
    """Whoever asks the disk waits, as where it hangs, until the end of the block."""
    limiter, gate = to_thread.current_default_thread_limiter(), threading.Event()
    limiter.total_tokens, usual = 1, limiter.total_tokens

    def hold() -> None:
        gate.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(to_thread.run_sync, hold)
        with anyio.fail_after(30):
            while not limiter.borrowed_tokens:
                await checkpoint()
        try:
            yield
        finally:
            gate.set()
            limiter.total_tokens = usual


async def becomes(stage: SpoolSource, status: str) -> Finding:
    """What the check finds as soon as it finds that."""
    with anyio.fail_after(30):
        while (finding := await stage.check()).status != status:
            await anyio.sleep(0.01)
    return finding


async def settled(folder: Path) -> None:
    """Threads read the folder: wait until no file is left in it."""
    with anyio.fail_after(30):
        while list(folder.glob("*.ndjson")):
            await anyio.sleep(0.01)


async def test_it_keeps_the_promises_of_a_source(tmp_path: Path) -> None:
    async def provoke(_: SpoolSource) -> None:
        leave(tmp_path, f"p{os.urandom(4).hex()}", build(1), build(2))

    events = await check_source(
        SPOOL, provoke, count=2, context=Context("spool"), folder=str(tmp_path), interval="20ms"
    )
    assert [event.id for event in events] == ["s-1", "s-2"]


async def test_orphans_are_handed_in_oldest_first_and_deleted(tmp_path: Path, clock: VirtualClock) -> None:
    leave(tmp_path, "young", build(1, "young"), at=2000.0)
    leave(tmp_path, "old", build(1, "old"), build(2, "old"), at=1000.0)
    took: list[Event] = []
    async with looking(tmp_path, clock, took):
        await settled(tmp_path)
    assert [event.id for event in took] == ["old-1", "old-2", "young-1"]
    assert took[0].duration_ms == 901 and took[0].source == "/ci/demo"


async def test_what_was_sent_before_is_not_handed_in_again(tmp_path: Path, clock: VirtualClock) -> None:
    leave(tmp_path, "half", build(1), build(2), build(3), sent=2)
    took: list[Event] = []
    async with looking(tmp_path, clock, took):
        await settled(tmp_path)
    assert [event.id for event in took] == ["s-3"]


async def test_the_file_of_a_process_that_lives_is_left_alone(tmp_path: Path, clock: VirtualClock) -> None:
    living = Spool.create(str(tmp_path), "living")
    living.append(build(1))
    took: list[Event] = []
    async with looking(tmp_path, clock, took):
        leave(tmp_path, "orphan", build(7))
        with anyio.fail_after(30):
            while not took:
                await clock.advance(1)
                await anyio.sleep(0.01)
        assert [event.id for event in took] == ["s-7"] and not living.empty
        living.abandon()
        await clock.advance(1)
        with anyio.fail_after(30):
            while len(took) < 2:
                await clock.advance(1)
                await anyio.sleep(0.01)
    assert took[1].id == "s-1"


async def test_nothing_is_deleted_that_the_intake_did_not_take(tmp_path: Path, clock: VirtualClock) -> None:
    path = leave(tmp_path, "kept", build(1), build(2))
    took: list[Event] = []
    async with looking(tmp_path, clock, took, full=[1]) as stage:
        await becomes(stage, "degraded")
        assert path.exists() and took == []
        with anyio.fail_after(30):
            while path.exists():
                await clock.advance(1)
                await anyio.sleep(0.01)
        assert [event.id for event in took] == ["s-1", "s-2"]
        await becomes(stage, "healthy")


async def test_a_bad_line_is_a_dead_letter_with_its_place_and_the_others_are_taken(
    tmp_path: Path, clock: VirtualClock
) -> None:
    leave(
        tmp_path, "mixed", build(1), build(2), b"{not json}\n", b'{"type": "build.finished", "outcome": "great"}\n',
        b'{"id": "a", "type": "build.finished"}, {"id": "b", "type": "build.finished"}\n', b"7\n", build(5), sent=1,
    )  # fmt: skip
    took: list[Event] = []
    async with looking(tmp_path, clock, took) as stage:
        await settled(tmp_path)
        with anyio.fail_after(30):  # The file is gone a moment before that is counted.
            while stage.tell() != {"handed_in": 2, "files": 1, "dead": 4}:
                await anyio.sleep(0.01)
    assert [event.id for event in took] == ["s-2", "s-5"]
    reasons = [one["reason"] for one in letters(tmp_path)]
    assert [reason.partition(": ")[0] for reason in reasons] == [f"mixed.ndjson, line {n}" for n in (4, 5, 6, 7)]
    assert "JSON is malformed" in reasons[0] and "outcome 'great' is not understood" in reasons[1]
    assert letters(tmp_path)[0]["event"] == "{not json}"


async def test_a_line_that_a_kill_cut_off_is_no_event(tmp_path: Path, clock: VirtualClock) -> None:
    leave(tmp_path, "cut", build(1), build(2)[:-20])
    took: list[Event] = []
    async with looking(tmp_path, clock, took):
        await settled(tmp_path)
    assert [event.id for event in took] == ["s-1"]


@pytest.mark.parametrize("content", [b"", b"{}\n", b"hello\n" * 1000, b'{"bers_spool": 1, "sent": x}\n'])
async def test_what_is_no_spool_stays_where_it_is(tmp_path: Path, clock: VirtualClock, content: bytes) -> None:
    (tmp_path / "other.ndjson").write_bytes(content)
    (tmp_path / "link.ndjson").symlink_to(tmp_path / "other.ndjson")
    took: list[Event] = []
    async with looking(tmp_path, clock, took):
        orphan = leave(tmp_path, "orphan", build(1))
        with anyio.fail_after(30):
            while orphan.exists():
                await clock.advance(1)
                await anyio.sleep(0.01)
    assert (tmp_path / "other.ndjson").read_bytes() == content and len(took) == 1


async def test_a_folder_that_is_not_there_yet_is_no_fault(tmp_path: Path, clock: VirtualClock) -> None:
    folder, took = tmp_path / "later", list[Event]()
    async with looking(folder, clock, took) as stage:
        await clock.advance(2)
        await becomes(stage, "healthy")
        leave(folder, "first", build(1))
        with anyio.fail_after(30):
            while not took:
                await clock.advance(1)
                await anyio.sleep(0.01)


async def test_a_folder_is_not_said_to_be_well_before_it_was_read(tmp_path: Path, clock: VirtualClock) -> None:
    async with no_thread_for_the_disk(), looking(tmp_path, clock, []) as stage:
        await clock.advance(1)
        finding = await stage.check()
        assert (finding.status, finding.message) == ("unknown", "the folder was not looked at yet")


async def test_a_folder_that_does_not_answer_any_more_is_not_said_to_be_well(
    tmp_path: Path, clock: VirtualClock
) -> None:
    async with looking(tmp_path, clock, []) as stage:
        await becomes(stage, "healthy")
        async with no_thread_for_the_disk():
            await clock.advance(1)
            assert (await stage.check()).status == "healthy"
            await clock.advance(6)
            finding = await stage.check()
            assert (finding.status, finding.message) == ("degraded", f"{tmp_path} has not answered for 6s")
        await becomes(stage, "healthy")


async def test_what_lay_in_the_folder_is_measured_once_by_the_source_it_belongs_to(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    text = f"""\
version: 1
sources: {{build: {{}}, spool: {{folder: {folder}, interval: 20ms}}}}
processors: {{windows: {{use: aggregation}}}}
sinks: {{store: {{use: rest-store}}}}
pipelines: {{metrics: {{sources: [build], processors: [windows], sinks: [store]}}}}
"""
    lines = [build(n, time=1_000 * n) for n in range(1, 1201)]
    leave(folder, "first", *lines)
    async with serving(tmp_path, text) as server:
        assert not [one for one in server.node.supervisor.plan.warnings if "spool" in one]
        await settled(folder)
        leave(folder, "again", *lines[:10], build(2000, time=1_000))
        await settled(folder)
        # The file is gone a moment before that is counted.
        status = await server.until("dashboard/status", lambda data: data["details"]["spool"]["handed_in"] == 1211)
        assert status["counters"]["intake"]["filtered"] == 10 and status["unmapped"] == {}
        await server.until("health/spool", lambda report: report["status"] == "healthy")
    log = (tmp_path / "logs" / "monitoring.log").read_text(encoding="utf-8")
    assert "does not claim" not in log


async def test_who_is_stopped_while_the_intake_has_no_time_leaves_the_file_to_the_next(
    tmp_path: Path, clock: VirtualClock
) -> None:
    """The next may be in the same process, as after a reload."""
    leave(tmp_path, "waits", build(1), build(2))
    asked, took = anyio.Event(), list[Event]()

    async def never(events: Sequence[Event], /, *, durable: bool = False) -> None:
        asked.set()
        await anyio.sleep_forever()

    async with step(SPOOL, context=Context("spool", clock=clock), folder=str(tmp_path)).open() as stage:
        async with anyio.create_task_group() as group:
            group.start_soon(stage.run, never)
            with anyio.fail_after(30):
                await asked.wait()
            group.cancel_scope.cancel()
    async with looking(tmp_path, clock, took):
        await settled(tmp_path)
    assert [event.id for event in took] == ["s-1", "s-2"]
