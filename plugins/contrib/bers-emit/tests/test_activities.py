"""Builds, suites and deployments as context managers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

from bers_emit import Activity, Emitter, build, deployment, phase, suite
from bers_emit.emitter import process_emitter
from bers_emit.testing import Receiver


def _flush() -> None:
    emitter = process_emitter()
    assert emitter is not None
    assert emitter.flush(60)
    emitter.close()


def test_a_build_reports_its_start_and_its_end(receiver: Receiver) -> None:
    start = time.perf_counter()
    with build("chat-widget", environment="production", measures={"files": 3}) as b:
        time.sleep(0.05)
        b.measure("bundle.size", 412_331, kind="raw")
        b.set(version="1.5.0")
    whole = (time.perf_counter() - start) * 1000
    _flush()
    [started], [finished] = receiver.of("build.started"), receiver.of("build.finished")
    assert started["subject"] == finished["subject"] == b.subject
    assert b.subject.startswith("chat-widget/")
    assert started["labels"] == finished["labels"] == {"build": "chat-widget"}
    assert started["environment"] == finished["environment"] == "production"
    assert "outcome" not in started
    assert "measures" not in started
    assert finished["outcome"] == "success"
    assert finished["version"] == "1.5.0"
    assert finished["measures"] == {"files": 3.0, "bundle.size.raw": 412_331.0}
    assert 50 <= finished["duration_ms"] <= whole


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (ValueError("boom"), "failure", "boom"),
        (ValueError(), "failure", "ValueError"),
        (subprocess.CalledProcessError(2, ["npm"]), "failure", "Command '['npm']' returned non-zero exit status 2."),
        (SystemExit(3), "failure", "3"),
        (SystemExit(0), "success", None),
        (KeyboardInterrupt(), "cancel", "KeyboardInterrupt"),
        (asyncio.CancelledError(), "cancel", "CancelledError"),
    ],
)
def test_the_outcome_is_that_of_the_block(
    error: BaseException, outcome: str, reason: str | None, receiver: Receiver
) -> None:
    with pytest.raises(type(error)), build("x"):
        raise error
    _flush()
    [finished] = receiver.of("build.finished")
    assert (finished["outcome"], finished.get("reason")) == (outcome, reason)


def test_phases_are_measures_of_the_end(receiver: Receiver) -> None:
    with build("x"):
        start = time.perf_counter()
        for _ in range(2):
            with phase("bundle"):
                time.sleep(0.02)
        whole = (time.perf_counter() - start) * 1000
        with pytest.raises(KeyError), phase("minify"):
            raise KeyError
    with phase("of nothing"):
        pass
    _flush()
    measures = receiver.of("build.finished")[0]["measures"]
    assert set(measures) == {"phase.bundle", "phase.minify"}
    assert 40 <= measures["phase.bundle"] <= whole


def test_each_part_of_a_phase_is_told_with_its_beginning_also_where_they_overlap(receiver: Receiver) -> None:
    before = time.time() * 1000
    with build("x"):
        with phase("all"):
            time.sleep(0.02)
            with phase("bundle"):
                time.sleep(0.02)
        with phase("bundle"):
            pass
    _flush()
    first, whole, last = receiver.of("build.finished")[0]["data"]["timeline"]
    assert [part["phase"] for part in (first, whole, last)] == ["bundle", "all", "bundle"]
    assert before - 1 <= whole["start"] <= first["start"] - 19
    assert whole["start"] + whole["ms"] >= first["start"] + first["ms"] - 1
    assert last["start"] >= first["start"] + 19


def test_suites_and_deployments_have_types_of_their_own(receiver: Receiver) -> None:
    with Emitter(receiver.url) as emitter:
        with suite("unit", emitter=emitter), deployment("chat", emitter=emitter, environment="staging"):
            pass
        with Activity("lint", "eslint", {}, emitter):
            pass
    assert receiver.of("testsuiterun.finished")[0]["labels"] == {"suite": "unit"}
    assert receiver.of("deployment.finished")[0]["service"] == "chat"
    assert receiver.of("lint.finished")[0]["labels"] == {"lint": "eslint"}


def test_what_is_inside_names_what_is_around(receiver: Receiver) -> None:
    with deployment("chat") as outer, build("chat") as inner, suite("smoke") as innermost:
        pass
    _flush()
    [out], [mid], [deep] = (receiver.of(f"{kind}.started") for kind in ("deployment", "build", "testsuiterun"))
    assert out["chain"] == mid["chain"] == deep["chain"] == outer.subject
    assert "data" not in out
    assert mid["data"] == {"parent": outer.subject}
    assert deep["data"] == {"parent": inner.subject}
    assert deep["subject"] == innermost.subject


def test_a_child_process_names_its_parent(receiver: Receiver) -> None:
    script = "from bers_emit import build, emit\nwith build('inner'): emit('a.b')"
    with build("outer") as outer:
        subprocess.run([sys.executable, "-c", script], env=outer.environ(), check=True)
    _flush()
    inner = next(event for event in receiver.of("build.started") if event["labels"] == {"build": "inner"})
    assert inner["data"] == {"parent": outer.subject}
    assert inner["chain"] == receiver.of("a.b")[0]["chain"] == outer.subject


def test_the_same_with_async(receiver: Receiver) -> None:
    async def work(name: str) -> None:
        async with build(name) as b:
            await asyncio.sleep(0.01)
            async with phase("bundle"):
                await asyncio.sleep(0.01)
            b.measure("files", 3)

    async def both() -> None:
        async with deployment("chat"):
            await asyncio.gather(work("one"), work("two"))
        with pytest.raises(ValueError, match="boom"):
            async with suite("unit"):
                raise ValueError("boom")

    asyncio.run(both())
    _flush()
    one, two = receiver.of("build.finished")
    assert {event["labels"]["build"] for event in (one, two)} == {"one", "two"}
    for event in (one, two):  # Each phase is of the build around it, though both ran at once.
        assert set(event["measures"]) == {"files", "phase.bundle"}
        assert event["data"]["parent"] == receiver.of("deployment.started")[0]["subject"]
    assert receiver.of("testsuiterun.finished")[0]["outcome"] == "failure"


def test_each_call_of_a_decorated_function_is_an_activity(receiver: Receiver) -> None:
    @build("widget", environment="staging")
    def compile(n: int, *, fail: bool = False) -> int:
        """Compile."""
        bundle()
        if fail:
            raise ValueError("boom")
        return n

    @phase("bundle")
    def bundle() -> None:
        time.sleep(0.01)

    assert [compile(1), compile(2)] == [1, 2]
    with pytest.raises(ValueError, match="boom"):
        compile(3, fail=True)
    assert (compile.__name__, compile.__doc__) == ("compile", "Compile.")
    _flush()
    ends = receiver.of("build.finished")
    assert [event["outcome"] for event in ends] == ["success", "success", "failure"]
    assert len({event["subject"] for event in ends}) == 3
    assert all(event["measures"]["phase.bundle"] >= 10 for event in ends)


def test_coroutines_and_generators_are_measured_to_their_end(receiver: Receiver) -> None:
    @suite("awaited")
    async def awaited() -> str:
        await asyncio.sleep(0.05)
        return "done"

    @suite("stream")
    async def stream() -> AsyncGenerator[int, None]:
        for n in range(3):
            await asyncio.sleep(0.02)
            yield n

    @suite("generator")
    def generator() -> Generator[int, None, str]:
        time.sleep(0.05)
        yield 1
        return "end"

    async def all_of_stream() -> list[int]:
        return [n async for n in stream()]

    assert asyncio.run(awaited()) == "done"
    assert asyncio.run(all_of_stream()) == [0, 1, 2]
    assert list(generator()) == [1]
    _flush()
    ends = {event["labels"]["suite"]: event for event in receiver.of("testsuiterun.finished")}
    assert set(ends) == {"awaited", "stream", "generator"}
    assert all(event["duration_ms"] >= 50 and event["outcome"] == "success" for event in ends.values())


def test_calls_at_once_do_not_mix(receiver: Receiver) -> None:
    part = phase("wait")
    around: list[float] = []

    @build("parallel")
    async def one(seconds: float) -> None:
        start = time.perf_counter()
        async with part:
            await asyncio.sleep(seconds)
        around.append((time.perf_counter() - start) * 1000)

    async def both() -> None:
        await asyncio.gather(one(0.3), one(0.05))

    asyncio.run(both())
    _flush()
    short, long = sorted(event["measures"]["phase.wait"] for event in receiver.of("build.finished"))
    assert 50 <= short <= min(around)
    assert 300 <= long <= max(around)


@pytest.mark.parametrize("name", [None, 7, "", "x" * 9999, b"x", object()])
def test_odd_names_and_fields_break_no_build(name: Any, nobody: str) -> None:
    with build(name, subject=name, measures=name, labels=name, data=name, chain=name) as b:
        b.measure(name, name)
        b.set(measures=name)
        with phase(name):
            pass
    assert isinstance(b.subject, str) and b.subject
