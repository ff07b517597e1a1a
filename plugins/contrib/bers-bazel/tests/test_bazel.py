"""The source `bazel`, on streams written as the Build Event Protocol says, in every order, and cut off."""

import json
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from bers import Context, Event
from bers.testing import VirtualClock, check_source, step
from bers.testing.server import serving

from bers_bazel import Bazel, bers_sources

(BAZEL,) = bers_sources()
UUID = "0f9a3c1e-7d6b-4c2a-9f10-5a4b3c2d1e0f"
BEGAN = 1_795_000_000
Line = dict[str, Any]


def started(**more: Any) -> Line:
    told = {
        "uuid": UUID, "startTimeMillis": str(BEGAN * 1000), "startTime": "2026-11-18T11:06:40Z",
        "buildToolVersion": "8.1.0",
        "command": "test", "workingDirectory": "/src/widget", "workspaceDirectory": "/src/widget", **more,
    }  # fmt: skip
    children: list[Line] = [
        progress_id(0),
        {"pattern": {"pattern": ["//..."]}},
        {"buildFinished": {}},
        {"workspaceStatus": {}},
    ]
    return {"id": {"started": {}}, "children": children, "started": told}


def progress_id(count: int) -> Line:
    return {"progress": {"opaqueCount": count} if count else {}}


def progress(count: int, *announced: Line, **more: Any) -> Line:
    """Not the end of anything: it holds the chain together, and brings what Bazel wrote."""
    return {
        "id": progress_id(count),
        "children": [*announced],
        "progress": {"stderr": "INFO: Analyzed 2 targets\n"},
        **more,
    }


def expanded(*labels: str) -> Line:
    children = [{"targetConfigured": {"label": label}} for label in labels]
    return {"id": {"pattern": {"pattern": ["//..."]}}, "children": children, "expanded": {}}


def configured(label: str) -> Line:
    children = [{"targetCompleted": {"label": label, "configuration": {"id": "c1"}}}]
    told = {"targetKind": "py_test rule", "testSize": "SMALL"}
    return {"id": {"targetConfigured": {"label": label}}, "children": children, "configured": told}


def completed(label: str, *, success: bool = True) -> Line:
    id = {"label": label, "configuration": {"id": "c1"}}
    children = [{"testResult": {**id, "run": 1, "shard": 1, "attempt": 1}}, {"testSummary": id}]
    return {"id": {"targetCompleted": id}, "children": children, "completed": {"success": True} if success else {}}


def result(label: str, status: str, attempt: int = 1) -> Line:
    id = {"label": label, "configuration": {"id": "c1"}, "run": 1, "shard": 1, "attempt": attempt}
    told = {
        "status": status,
        "testAttemptDurationMillis": "826",
        "testAttemptStartMillisEpoch": str(BEGAN * 1000 + 2000),
    }
    return {"id": {"testResult": id}, "testResult": told}


def summary(label: str, status: str, first: float = 2.0, last: float = 7.0) -> Line:
    told = {
        "totalRunCount": 1, "overallStatus": status, "runCount": 1,
        "firstStartTimeMillis": str(int((BEGAN + first) * 1000)),
        "lastStopTimeMillis": str(int((BEGAN + last) * 1000)),
    }  # fmt: skip
    return {"id": {"testSummary": {"label": label, "configuration": {"id": "c1"}}}, "testSummary": told}


def finished(code: int = 0, name: str = "SUCCESS", seconds: float = 12.5) -> Line:
    exit = {"name": name, "code": code} if code else {"name": name}
    told: Line = {"exitCode": exit, "finishTimeMillis": str(int((BEGAN + seconds) * 1000)), "anomalyReport": {}}
    children: list[Line] = [{"buildToolLogs": {}}, {"buildMetrics": {}}]
    return {
        "id": {"buildFinished": {}},
        "children": children,
        "finished": told | ({} if code else {"overallSuccess": True}),
    }


def metrics() -> Line:
    told = {
        "actionSummary": {"actionsExecuted": "9", "actionCacheStatistics": {"hits": 30, "misses": 10}},
        "timingMetrics": {"cpuTimeInMs": "4100", "wallTimeInMs": "12400", "analysisPhaseTimeInMs": "1800",
                          "executionPhaseTimeInMs": "9600"},
    }  # fmt: skip
    return {"id": {"buildMetrics": {}}, "buildMetrics": told}


def logs() -> Line:
    return {"id": {"buildToolLogs": {}}, "buildToolLogs": {"log": []}, "lastMessage": True}


def status() -> Line:
    return {"id": {"workspaceStatus": {}}, "workspaceStatus": {"item": [{"key": "BUILD_USER", "value": "ci"}]}}


A, B = "//a:unit", "//b:web"
GOOD = [
    started(), progress(0, progress_id(1)), status(), expanded(A, B), configured(A), configured(B),
    progress(1, progress_id(2)), completed(A), result(A, "PASSED"), summary(A, "PASSED"), completed(B),
    result(B, "FAILED"), result(B, "PASSED", 2), summary(B, "FLAKY", 3.0, 9.0), finished(), progress(2),
    metrics(), logs(),
]  # fmt: skip


def written(path: Path, events: Sequence[Line], tail: bytes = b"") -> Path:
    path.write_bytes(b"".join(json.dumps(event).encode() + b"\n" for event in events) + tail)
    return path


@asynccontextmanager
async def following(path: Path, clock: VirtualClock, told: list[Event]) -> AsyncGenerator[Bazel]:
    async def emit(events: Sequence[Event], /, *, durable: bool = False) -> None:
        assert durable
        told.extend(events)

    async with step(BAZEL, context=Context("bazel", clock=clock), path=str(path)).open() as stage:
        async with anyio.create_task_group() as group:
            group.start_soon(stage.run, emit)
            yield stage
            group.cancel_scope.cancel()


async def read(path: Path, number: int, *, seconds: float = 0.0) -> list[Event]:
    """What a source tells of a file, when so many seconds have passed in which nobody wrote to it."""
    clock, told = VirtualClock(path.stat().st_mtime), list[Event]()
    async with following(path, clock, told):
        with anyio.fail_after(10):
            while len(told) < number:
                await anyio.sleep(0.01)
                await clock.advance(1.0 if seconds else 0.1)
        for _ in range(20):  # And no more than that.
            await anyio.sleep(0.005)
            await clock.advance(0.2)
    return told


async def test_it_keeps_the_promises_of_a_source(tmp_path: Path) -> None:
    async def provoke(_: Bazel) -> None:
        written(tmp_path / "build.json", GOOD)

    events = await check_source(BAZEL, provoke, count=3, path=str(tmp_path), interval="20ms")
    assert [event.type for event in events] == ["build.started", "build.finished", "testsuiterun.finished"]


async def test_a_build_is_told_with_its_time_its_phases_and_its_tests(tmp_path: Path) -> None:
    start, build, tests = await read(written(tmp_path / "b.json", GOOD), 3)
    assert (start.id, start.source, start.subject, start.time) == (f"{UUID}/started", "/bazel/widget", UUID, BEGAN)
    assert (build.subject, build.outcome, build.duration_ms, build.reason) == (UUID, "success", 12_500, None)
    assert build.measures == {"phase.analysis": 1800, "phase.execution": 9600, "cache.hit_rate": 75}
    assert build.labels == {"tool": "bazel", "command": "test"}
    assert (tests.outcome, tests.duration_ms) == ("success", 7000)
    assert tests.measures == {"tests.passed": 2, "tests.flaky": 1}


@pytest.mark.parametrize(
    ("code", "name", "outcome"),
    [
        (0, "SUCCESS", "success"), (1, "BUILD_FAILURE", "failure"), (2, "COMMAND_LINE_ERROR", "failure"),
        (3, "TESTS_FAILED", "success"), (8, "INTERRUPTED", "cancel"), (37, "BLAZE_INTERNAL_ERROR", "error"),
    ],
)  # fmt: skip
async def test_the_exit_code_says_how_a_build_ended(tmp_path: Path, code: int, name: str, outcome: str) -> None:
    _, build = await read(written(tmp_path / "b.json", [started(), finished(code, name), logs()]), 2, seconds=12)
    assert (build.outcome, build.reason) == (outcome, None if outcome == "success" else name)


async def test_whatever_the_order_the_same_is_told(tmp_path: Path) -> None:
    usual = await read(written(tmp_path / "a.json", GOOD), 3)
    for number, events in enumerate((GOOD[::-1], [GOOD[-3], *GOOD[:-3], *GOOD[-2:]], sorted(GOOD, key=str))):
        assert await read(written(tmp_path / f"{number}.json", events), 3) == usual


async def test_an_end_is_not_told_before_what_was_announced_has_come(tmp_path: Path) -> None:
    path = written(tmp_path / "b.json", GOOD[:-2])
    assert [event.type for event in await read(path, 1)] == ["build.started"]
    clock, told = VirtualClock(path.stat().st_mtime), list[Event]()
    async with following(path, clock, told):
        with anyio.fail_after(10):
            while not told:
                await anyio.sleep(0.01)
            with path.open("ab") as file:
                file.write(b"".join(json.dumps(event).encode() + b"\n" for event in GOOD[-2:]))
            while len(told) < 3:
                await anyio.sleep(0.01)
                await clock.advance(1)
    assert told[1].measures["cache.hit_rate"] == 75, "the metrics came after the end"


async def test_a_build_that_was_interrupted_is_cancelled_and_its_tests_did_not_run(tmp_path: Path) -> None:
    aborted = {"reason": "USER_INTERRUPTED", "description": "build interrupted"}
    id = {"label": B, "configuration": {"id": "c1"}}
    events = [
        *GOOD[:10], completed(B), {"id": {"testSummary": id}, "aborted": aborted},
        {"id": {"testResult": {**id, "run": 1, "shard": 1, "attempt": 1}}, "aborted": aborted},
        finished(8, "INTERRUPTED"), progress(2), metrics(), logs(),
    ]  # fmt: skip
    _, build, tests = await read(written(tmp_path / "b.json", events), 3)
    assert (build.outcome, build.reason) == ("cancel", "INTERRUPTED USER_INTERRUPTED: build interrupted")
    assert (tests.outcome, tests.measures["tests.errored"], tests.measures["tests.passed"]) == ("failure", 1, 1)


@pytest.mark.parametrize(
    ("reason", "outcome"), [("TIME_OUT", "timeout"), ("INTERNAL", "error"), ("USER_INTERRUPTED", "cancel")]
)
async def test_even_the_end_may_be_aborted(tmp_path: Path, reason: str, outcome: str) -> None:
    aborted = {"reason": reason, "description": "no more"}
    end: Line = {"id": {"buildFinished": {}}, "aborted": aborted, "lastMessage": True}
    _, build = await read(written(tmp_path / "b.json", [started(), end]), 2, seconds=12)
    assert (build.outcome, build.reason) == (outcome, f"{reason}: no more")


async def test_a_file_that_was_cut_off_leaves_the_build_without_an_end(tmp_path: Path) -> None:
    path = written(tmp_path / "b.json", GOOD[:8], tail=json.dumps(finished()).encode()[:-9])
    assert [event.type for event in await read(path, 1, seconds=60)] == ["build.started"]


async def test_a_file_that_was_cut_off_behind_the_end_is_told_after_a_while(tmp_path: Path) -> None:
    events = await read(written(tmp_path / "b.json", GOOD[:15]), 3, seconds=12)
    assert [event.type for event in events][1:] == ["build.finished", "testsuiterun.finished"]
    assert events[1].measures == {}


async def test_newer_versions_tell_times_as_text(tmp_path: Path) -> None:
    begin, end = started(startTimeMillis=""), finished()
    end["finished"] |= {"finishTimeMillis": "", "finishTime": "2026-11-18T11:06:45.250Z"}
    start, build = await read(written(tmp_path / "b.json", [begin, end, logs()]), 2, seconds=12)
    assert (start.time, build.duration_ms) == (BEGAN, 5250)


async def test_lines_that_are_no_events_are_passed_over(tmp_path: Path) -> None:
    wrong = [b"{", b"7", b"[]", b"null", b'{"id": 7}', b'{"started": {"uuid": 1}}', b'{"id": {}, "finished": 7}',
             b'{"buildMetrics": {"timingMetrics": 7}}', b'{"id": {"testSummary": 7}}', b'{"children": 7}']  # fmt: skip
    path = tmp_path / "b.json"
    path.write_bytes(b"\n".join(wrong) + b"\n" + written(tmp_path / "good.json", GOOD).read_bytes())
    assert [event.type for event in await read(path, 3)] == ["build.started", "build.finished", "testsuiterun.finished"]


async def test_a_file_that_is_written_anew_is_the_next_build(tmp_path: Path) -> None:
    path = written(tmp_path / "b.json", GOOD)
    clock, told = VirtualClock(path.stat().st_mtime), list[Event]()
    async with following(path, clock, told):
        with anyio.fail_after(10):
            while len(told) < 3:
                await anyio.sleep(0.01)
                await clock.advance(1)
            written(path, [started(uuid="second", command="build")])
            while len(told) < 4:
                await anyio.sleep(0.01)
                await clock.advance(1)
    assert told[3].id == "second/started"


async def test_what_is_older_than_a_day_was_told_a_day_ago(tmp_path: Path) -> None:
    path, told = written(tmp_path / "b.json", GOOD), list[Event]()
    async with following(tmp_path, VirtualClock(path.stat().st_mtime + 90_000), told):
        await anyio.sleep(0.2)
    assert told == []


async def test_builds_of_bazel_are_measured_as_all_builds_are(tmp_path: Path) -> None:
    text = f"""\
version: 1
sources:
  build: {{}}
  validation: {{}}
  bazel: {{path: {tmp_path / "bep"}, interval: 20ms}}
processors: {{windows: {{use: aggregation}}}}
sinks: {{store: {{use: rest-store}}}}
pipelines: {{metrics: {{sources: [build, validation], processors: [windows], sinks: [store]}}}}
"""
    (tmp_path / "bep").mkdir()
    now = time.time()
    events = json.loads(json.dumps(GOOD).replace(str(BEGAN)[:7], str(int(now))[:7]))
    async with serving(tmp_path, text) as server:
        written(tmp_path / "bep" / "build.json", events)
        written(tmp_path / "bep" / "again.json", events)  # The same build in another file is the same build.
        await server.until("dashboard/status", lambda one: one["counters"]["intake"]["filtered"] == 3)
        status = await server.until("dashboard/status", lambda one: one["counters"]["metrics/store"]["out"] > 0)
    assert status["unmapped"] == {} and not [one for one in status["warnings"] if "bazel" in one]


async def test_a_pipe_and_a_dead_link_among_the_files_hold_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    (tmp_path / "b.json").symlink_to(tmp_path / "nothing")
    (tmp_path / "c.json").mkdir()
    written(tmp_path / "d.json", GOOD)
    clock, told = VirtualClock((tmp_path / "d.json").stat().st_mtime), list[Event]()
    async with following(tmp_path, clock, told):
        with anyio.fail_after(10):
            while len(told) < 3:
                await anyio.sleep(0.01)


async def test_a_file_of_something_else_is_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(b'{"started": {"uuid": "' + b"x" * 5_000 + b'"}}\n' * 2_000 + written(path, GOOD).read_bytes())
    await read(path, 3)
    told = [record for record in caplog.records if "no event" in record.getMessage() and record.levelname == "WARNING"]
    assert [len(record.getMessage()) < 1_000 for record in told] == [True]


async def test_numbers_that_nobody_could_mean_are_none(tmp_path: Path) -> None:
    beyond = started(startTimeMillis="9" * 30, uuid="u" * 9_999, command="c" * 9_999, workspaceDirectory="w" * 9_999)
    odd: list[Any] = [{"id": {"buildMetrics": {}}, "buildMetrics": {"timingMetrics": {"analysisPhaseTimeInMs": one}}}
           for one in ("nan", "inf", 10**400, "9" * 5_000)]  # fmt: skip
    (event,) = await read(written(tmp_path / "b.json", [*odd, beyond]), 1)
    assert (event.time, len(event.id), len(event.source), len(event.labels["command"])) == (0, 108, 107, 100)
