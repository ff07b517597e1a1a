import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from bers import Event, Full
from bers.frames import Frame
from bers.journal import Journal
from bers.log import Log
from bers.testing import feed


def events(*numbers: int) -> list[Event]:
    return [Event(f"e-{n}", "/ci", "reading", float(n)) for n in numbers]


async def ids(bus: Log) -> list[str]:
    return [event.id for event in (await anext(bus.read(0, after=0))).events]


async def all_ids(bus: Log) -> list[str]:
    found: list[str] = []
    _, end = await bus.span(0)
    async for batch in bus.read(0, after=0):
        found += [event.id for event in batch.events]
        if batch.end == end:
            break
    return found


async def read(bus: Log, *, after: int, cuts: tuple[int, ...] = ()) -> list[tuple[int, int]]:
    """How many events each batch has up to the end of the bus, and where it ends."""
    seen: list[tuple[int, int]] = []
    _, end = await bus.span(0)
    async for batch in bus.read(0, after=after, cuts=cuts):
        seen.append((len(batch.events), batch.end))
        if batch.end == end:
            break
    return seen


async def test_frames_are_joined_but_never_across_a_cut() -> None:
    bus = await feed(events(1, 2), events(3, 4, 5), events(6))
    assert await read(bus, after=0) == [(6, 6)]
    assert await read(bus, after=0, cuts=(2, 4)) == [(2, 2), (2, 4), (2, 6)]
    assert await read(bus, after=3, cuts=(2, 4)) == [(1, 4), (2, 6)]


async def test_a_reader_far_behind_reads_the_same_from_the_files(tmp_path: Path) -> None:
    async with Log(tmp_path, tail_bytes=0) as bus:
        for n in range(10):
            await bus.append(0, events(n))
        assert await read(bus, after=4, cuts=(7,)) == [(3, 7), (3, 10)]


async def test_what_is_appended_is_there_after_a_restart(tmp_path: Path) -> None:
    async with Log(tmp_path) as bus:
        assert await bus.append(0, events(1, 2)) == 2
    async with Log(tmp_path) as bus:
        assert await bus.span(0) == (0, 2)
        assert await bus.append(0, events(3)) == 3
        assert await ids(bus) == ["e-1", "e-2", "e-3"]


async def test_readers_see_nothing_that_is_not_synced(tmp_path: Path) -> None:
    async with Log(tmp_path, patience=60) as bus:
        assert await bus.append(0, events(1, 2), durable=False) == 2
        assert await bus.span(0) == (0, 0)
        assert await bus.append(0, (), durable=True) == 2
        assert await bus.span(0) == (0, 2)


async def test_a_torn_tail_is_cut_off_wherever_it_tore(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for n in range(3):
        journal.add(Frame(n, n + 1, b"body %d" % n))
    await journal.sync()
    journal.close()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        torn = Journal(tmp_path)
        assert torn.end == size * 3 // len(whole)
        torn.close()


async def test_what_follows_a_torn_tail_is_read_again(tmp_path: Path) -> None:
    async with Log(tmp_path) as bus:
        await bus.append(0, events(1, 2))
        await bus.append(0, events(3))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    async with Log(tmp_path) as bus:
        assert await bus.append(0, events(4)) == 3
    async with Log(tmp_path) as bus:
        assert await ids(bus) == ["e-1", "e-2", "e-4"]


async def test_if_the_disk_refuses_all_who_wait_are_out_and_may_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[int] = []

    async def append(n: int) -> None:
        try:
            await bus.append(0, events(n))
        except OSError:
            refused.append(n)
            monkeypatch.undo()
            await bus.append(0, events(n))

    def refuse(file: int) -> None:
        raise OSError("I/O error")

    monkeypatch.setattr(os, "fdatasync", refuse)
    async with Log(tmp_path, patience=60) as bus:
        async with anyio.create_task_group() as group:
            for n in range(10):
                group.start_soon(append, n)
        assert await bus.span(0) == (0, 10)
    assert sorted(refused) == list(range(10))
    async with Log(tmp_path) as bus:
        (batch,) = [await anext(bus.read(0, after=0))]
        assert sorted(event.time for event in batch.events) == list(range(10))


async def test_damage_in_the_middle_costs_its_own_frame_alone_and_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Log(tmp_path) as bus:
        for n in (1, 2, 3, 4):
            await bus.append(0, events(n))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 4 + 30] + b"?" + whole[len(whole) // 4 + 31 :])
    damaged = file.read_bytes()
    async with Log(tmp_path) as bus:
        assert await bus.span(0) == (0, 4)
        assert await bus.append(0, events(5)) == 5
        assert await all_ids(bus) == ["e-1", "e-3", "e-4", "e-5"]
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    quarter = len(whole) // 4
    assert told == [
        f"{file} is damaged from byte {quarter} to {2 * quarter}: events from position 1 to 2 are lost",
        f"{file.name} is kept as {file.with_suffix('.damaged')}; delete that when nobody needs it",
        "the journal is damaged: a reader misses what lay between positions 1 and 2",
    ]
    assert file.with_suffix(".damaged").read_bytes() == damaged
    caplog.clear()
    async with Log(tmp_path) as bus:
        assert await all_ids(bus) == ["e-1", "e-3", "e-4", "e-5"]
    assert "is kept as" not in caplog.text, "what is behind was written to a segment of its own, which is whole"


async def test_a_last_frame_that_is_damaged_rather_than_torn_is_kept_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Log(tmp_path) as bus:
        await bus.append(0, events(1))
    (file,) = tmp_path.iterdir()
    damaged = file.read_bytes()[:-1] + b"?"
    file.write_bytes(damaged)
    async with Log(tmp_path) as bus:
        assert await bus.append(0, events(2)) == 1
    assert "is damaged from byte 0 on: events after position 0 may be lost" in caplog.text
    assert file.with_suffix(".damaged").read_bytes() == damaged
    async with Log(tmp_path) as bus:
        assert await all_ids(bus) == ["e-2"]


async def test_what_is_damaged_while_we_run_is_passed_over_and_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Log(tmp_path) as bus:
        await bus.append(0, events(1, 2))
        await bus.append(0, events(3))
    (file,) = tmp_path.iterdir()
    async with Log(tmp_path) as bus:
        file.write_bytes(b"?" + file.read_bytes()[1:])
        assert await all_ids(bus) == ["e-3"]
        file.write_bytes(b"?" * file.stat().st_size)
        batch = await anext(bus.read(0, after=0))
        assert (batch.events, batch.end) == ([], 3)
    assert "a reader misses what lay between positions 0 and 2" in caplog.text
    assert "a reader misses what lay between positions 0 and 3" in caplog.text


async def test_all_who_wait_share_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    monkeypatch.setattr(os, "fdatasync", syncs.append)
    async with Log(tmp_path) as bus, anyio.create_task_group() as group:
        for n in range(100):
            group.start_soon(bus.append, 0, events(n))
    assert len(syncs) == 1


async def test_trimmed_segments_are_gone_and_their_readers_are_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path, segment_bytes=1)
    for n in range(4):
        journal.add(Frame(n, n + 1, b"x"))
        await journal.sync()
    journal.trim(before=2)
    assert journal.start == 2
    journal.close()
    async with Log(tmp_path) as bus:
        assert (await anext(bus.read(0, after=1))).end == 2
        assert bus.gaps == [(1, 2)]


async def test_an_event_knows_the_position_after_it(tmp_path: Path) -> None:
    async with Log(tmp_path) as bus:
        await bus.append(0, events(1, 2))
        await bus.append(0, events(3))
    async with Log(tmp_path) as bus:
        assert [event.seq for event in (await anext(bus.read(0, after=0))).events] == [1, 2, 3]


async def test_a_journal_that_was_lost_begins_where_its_readers_stand(tmp_path: Path) -> None:
    async with Log(tmp_path, begin=40) as bus:
        assert await bus.span(0) == (40, 40)
        assert await bus.append(0, events(1)) == 41


async def test_a_full_journal_refuses_and_takes_again_after_a_trim(tmp_path: Path) -> None:
    async with Log(tmp_path, max_bytes=400, segment_bytes=100) as bus:
        taken = 0
        with pytest.raises(Full, match="reached its 400 bytes"):
            while True:
                taken = await bus.append(0, events(taken))
        assert bus.fill == 1.0
        await bus.trim(0, taken)
        assert await bus.append(0, events(99)) == taken + 1


@pytest.mark.parametrize("anew", [False, True])
async def test_a_journal_whose_quota_was_lowered_below_its_only_segment_takes_again_once_all_is_read(
    anew: bool, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(Log(tmp_path, max_bytes=1 << 20))
        taken = await bus.append(0, events(*range(20)))
        bus.limit(400, "refuse")
        if anew:
            await stack.aclose()
            bus = await stack.enter_async_context(Log(tmp_path, max_bytes=400))
        await bus.trim(0, taken - 1)
        with pytest.raises(Full, match="reached its 400 bytes"):
            await bus.append(0, events(99))
        await bus.trim(0, taken)
        for n in range(50):  # Of small segments from now on, so that some of them can always be given up.
            assert await bus.append(0, events(100 + n)) == taken + 1 + n
            await bus.trim(0, taken + 1 + n)


async def test_a_full_journal_may_drop_its_oldest_instead(tmp_path: Path) -> None:
    async with Log(tmp_path, max_bytes=400, segment_bytes=100, when_full="drop_oldest", tail_bytes=0) as bus:
        for n in range(50):
            await bus.append(0, events(n))
        oldest, end = await bus.span(0)
        assert end == 50 and oldest > 0
        batch = await anext(bus.read(0, after=0))
        assert (batch.end, batch.events) == (oldest, [])


async def test_a_journal_that_was_copied_before_its_databases_goes_on_from_where_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Log(tmp_path) as bus:
        await bus.append(0, events(1, 2))
    async with Log(tmp_path, begin=5) as bus:
        assert "ends at position 2 and databases beside it have seen 5" in caplog.text
        assert await bus.append(0, events(6)) == 6
        assert await read(bus, after=0, cuts=(1,)) == [(1, 1), (2, 6)]
    async with Log(tmp_path, begin=5, tail_bytes=0) as bus:
        assert await read(bus, after=0) == [(3, 6)]
        assert await read(bus, after=3) == [(1, 6)]


async def test_while_the_disk_is_read_only_nothing_piles_up_and_afterwards_each_event_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("read-only file system")

    async with Log(tmp_path, patience=60) as bus:
        monkeypatch.setattr(os, "fdatasync", refuse)
        monkeypatch.setattr(os, "ftruncate", refuse)
        for _ in range(3):
            with pytest.raises(OSError, match="read-only"):
                await bus.append(0, events(1))
        monkeypatch.undo()
        assert await bus.append(0, events(1)) == 1
        assert await ids(bus) == ["e-1"]
    async with Log(tmp_path) as bus:
        assert await ids(bus) == ["e-1"]


async def test_a_bus_without_a_journal_is_bounded_too() -> None:
    bus = Log(max_bytes=3_500)
    for n in range(4):
        await bus.append(0, events(n))
    with pytest.raises(Full, match="reached its 3500 bytes of memory"):
        await bus.append(0, events(5))
    await bus.trim(0, 2)
    assert await bus.append(0, events(5)) == 5


async def test_what_comes_after_the_end_is_refused_and_written_nowhere(tmp_path: Path) -> None:
    async with Log(tmp_path) as bus:
        await bus.append(0, events(1))
    with pytest.raises(OSError, match="the journal is closed"):
        await bus.append(0, events(2))


async def test_many_events_are_parted_into_frames_and_never_from_what_follows_from_them(tmp_path: Path) -> None:
    many = [Event(f"e-{n}", "/ci", "reading", 0.0, cause="" if n % 3 == 0 else f"e-{n - n % 3}") for n in range(5000)]
    large = [Event(f"l-{n}", "/ci", "reading", 0.0, data={"text": "x" * 100_000}) for n in range(40)]
    async with Log(tmp_path, tail_bytes=0) as bus:
        assert await bus.append(0, many) == 5000
        assert await bus.append(0, large) == 5040
    journal = Journal(tmp_path)
    frames: list[Frame] = []
    while not frames or frames[-1].end < 5040:
        frames += await journal.read(frames[-1].end if frames else 0)
    journal.close()
    assert all(frame.end - frame.start <= 1000 and len(frame.body) <= 1 << 20 for frame in frames)
    assert all(frame.start % 3 == 0 for frame in frames if frame.start < 5000)
    async with Log(tmp_path, tail_bytes=0) as bus:
        assert sum(count for count, _ in await read(bus, after=0)) == 5040


async def test_the_newest_events_take_no_more_memory_than_they_may(tmp_path: Path) -> None:
    async with Log(tmp_path, tail_bytes=1 << 20) as bus:
        for n in range(50):
            nested: dict[str, Any] = {"list": [{} for _ in range(5000)]}
            await bus.append(0, [Event(f"e-{n}", "/ci", "reading", 0.0, data=nested)])
            assert bus.held <= 1 << 20


class Disk:
    """What the disk says to a write; a test breaks it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broken = False
        write = os.write

        def guarded(file: int, data: bytes) -> int:
            if self.broken:
                raise OSError(28, "No space left on device")
            return write(file, data)

        monkeypatch.setattr("bers.journal.os.write", guarded)


async def test_while_the_disk_is_full_our_own_figures_go_on_in_memory_and_the_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    async with Log(tmp_path, patience=0.01) as bus:
        seen: list[str] = []

        async def follow() -> None:
            async for batch in bus.read(0, after=0):
                seen.extend(event.id for event in batch.events)

        async def until(*ids: str) -> None:
            with anyio.fail_after(30):
                while seen != list(ids):
                    await anyio.sleep(0.01)

        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await bus.append(0, events(1))
            disk.broken = True
            await bus.append(0, events(2), durable=False)  # It is not known yet that the disk is full.
            await until("e-1", "e-2")
            assert "No space left" in bus.fault
            await bus.append(0, events(3), durable=False)
            with pytest.raises(OSError, match="No space left"):
                await bus.append(0, events(4))
            await bus.append(0, events(5), durable=False)
            await until("e-1", "e-2", "e-3", "e-5")
            disk.broken = False
            end = await bus.append(0, events(6))
            assert (end, bus.fault) == (5, "")
            await until("e-1", "e-2", "e-3", "e-5", "e-6")
            group.cancel_scope.cancel()
    async with Log(tmp_path) as bus:  # What memory alone had is gone, and its place is kept.
        assert await bus.span(0) == (0, 5)
        assert [event.id async for event in everything(bus)] == ["e-1", "e-6"]


async def test_it_writes_again_by_itself_when_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bers.log.RETRY_EVERY", 0.02)
    disk = Disk(monkeypatch)
    async with Log(tmp_path, patience=0.01) as bus:
        disk.broken = True
        await bus.append(0, events(1), durable=False)
        with anyio.fail_after(30):
            while not bus.fault:
                await anyio.sleep(0.01)
            disk.broken = False
            while bus.fault:
                await anyio.sleep(0.01)
        assert await bus.append(0, events(2)) == 2


async def test_a_reader_that_is_late_misses_what_only_memory_had_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    async with Log(tmp_path, patience=0.01, tail_bytes=3000) as bus:
        await bus.append(0, events(1))
        disk.broken = True
        for n in range(2, 12):
            await bus.append(0, events(n), durable=False)
            with anyio.fail_after(30):
                while not bus.fault:
                    await anyio.sleep(0.01)
        assert [event.id async for event in everything(bus)] in (
            ["e-1", "e-10", "e-11"],
            ["e-1", "e-9", "e-10", "e-11"],
        )


async def everything(bus: Log) -> AsyncGenerator[Event]:
    _, end = await bus.span(0)
    async for batch in bus.read(0, after=0):
        for event in batch.events:
            yield event
        if batch.end == end:
            return


async def test_a_running_bus_takes_another_limit() -> None:
    bus = Log(None, max_bytes=1_000)
    await bus.append(0, events(1))
    with pytest.raises(Full):
        await bus.append(0, events(2))
    bus.limit(10_000, "refuse")
    await bus.append(0, events(2))
    bus.limit(1_000, "drop_oldest")
    await bus.append(0, events(3))
    assert await bus.span(0) == (2, 3)


async def test_of_events_of_which_one_cannot_be_written_none_is_there(tmp_path: Path) -> None:
    many = events(*range(1_500))
    many[1_200] = Event("e-1200", "/ci", "reading", 1200.0, data={"what": object()})
    async with Log(tmp_path) as bus:
        with pytest.raises(TypeError):
            await bus.append(0, many)
        assert await bus.append(0, events(1)) == 1
        assert await all_ids(bus) == ["e-1"]
    async with Log(tmp_path) as bus:
        assert await all_ids(bus) == ["e-1"]


async def test_a_segment_that_is_old_is_parted_and_goes_when_everybody_has_read_it(tmp_path: Path) -> None:
    def files() -> list[str]:
        return sorted(path.stem.lstrip("0") or "0" for path in tmp_path.iterdir())

    def at(received: float, *numbers: int) -> list[Event]:
        return [msgspec.structs.replace(one, received=received) for one in events(*numbers)]

    async with Log(tmp_path) as bus:
        await bus.part(before=1e9)
        assert files() == ["0"], "nothing is in it"
        await bus.append(0, at(100.0, 1))
        await bus.append(0, at(200.0, 2))
        await bus.part(before=100.0)
        assert files() == ["0"], "its first event is not older"
        await bus.part(before=100.1)
        assert files() == ["0", "2"]
        await bus.part(before=1e9)
        assert files() == ["0", "2"], "nothing is in the new one"
        await bus.append(0, at(300.0, 3))
        await bus.trim(0, before=2)
        assert files() == ["2"]
        await bus.part(before=250.0)
        assert files() == ["2"]
    async with Log(tmp_path) as bus:
        await bus.part(before=300.1)
        assert files() == ["2", "3"], "its age is in it, for the next process too"
        assert await read(bus, after=2) == [(1, 3)]
