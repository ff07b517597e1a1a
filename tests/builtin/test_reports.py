"""What test runners have written down is taken as it is, and whatever else is sent there does no harm."""

import time
from collections.abc import AsyncGenerator
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from bers import Delivery, Refused
from bers.stages import Context
from bers.testing.server import Server, serving
from bers_builtin.sources import _reports
from bers_builtin.sources.validation import ValidationConfig, ValidationSource
from tests.unit.test_web import error

NUMBERS = count()
LCOV = "SF:a.py\nDA:1,1\nDA:2,0\nBRDA:1,0,0,1\nBRDA:1,0,1,1\nend_of_record\n"


@pytest.fixture(scope="module")
async def server(home: Path) -> AsyncGenerator[Server]:
    async with serving(home) as found:
        yield found


def junit(*cases: str) -> str:
    name = f"t{next(NUMBERS)}"
    return f'<testsuites name="unit"><testsuite name="{name}" time="2.5">{"".join(cases)}</testsuite></testsuites>'


GOOD = '<testcase name="good" time="1"/>'
BAD = '<testcase name="bad" time="1"><failure message="no"/></testcase>'


async def send(server: Server, kind: str, body: str | bytes, **headers: str) -> Any:
    return await server.post(f"ingest/{kind}", content=body, headers=headers)


async def test_a_report_of_tests_becomes_the_metrics_of_its_suite(server: Server) -> None:
    body = junit(GOOD, GOOD, GOOD, BAD)
    first, again = await send(server, "junit?suite=nightly", body), await send(server, "junit?suite=nightly", body)
    assert (first.status_code, first.json()["data"]["accepted"]) == (202, 1)
    assert (again.status_code, again.json()["data"]["duplicates"]) == (202, 1)
    await server.until("metrics/test_suite_duration", lambda data: data["current"] == 2500)
    await server.until("metrics/test_failure_rate", lambda data: data["current"] == 25)


async def test_the_same_content_in_another_run_is_another_event(server: Server) -> None:
    body = junit(GOOD)
    told = [await send(server, f"junit?run={run}&attempt={attempt}", body) for run, attempt in ((7, 1), (7, 2), (7, 1))]
    assert [one.json()["data"]["accepted"] for one in told] == [1, 1, 0]


async def test_coverage_is_told_by_its_kinds(server: Server) -> None:
    reply = await send(server, "coverage?dry_run=1&suite=unit&revision=abc&environment=staging", LCOV)
    [event] = reply.json()["data"]["events"]
    event = event.get("event", event)
    assert (event["type"], event["origin"], event["environment"]) == ("coverage.reported", "coverage", "staging")
    assert event["vcs"] == {"revision": "abc"}
    assert (await send(server, "coverage", LCOV)).status_code == 202
    await server.until(
        "metrics/test_coverage",
        lambda data: (
            {one["labels"]["kind"]: one["current"] for one in data["series"]} == {"lines": 50, "branches": 100}
        ),
    )


HOSTILE = {
    "a bomb": ('<!DOCTYPE a [<!ENTITY a "aa">]><testsuites>&a;</testsuites>', "declares a document type"),
    "a file": ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><testsuites/>', "declares a document type"),
    "depth": ("<testsuites>" + "<a>" * 100_000, "more than 64 elements deep"),
    "a long tag": (f'<testsuites name="{"x" * (2 << 20)}"/>', "a tag of more than"),
    "no XML": ('{"a": 1}', "is no XML"),
    "another root": ("<html/>", "is no JUnit report"),
    "nothing": ("", "is no XML"),
    "an unknown encoding": ('<?xml version="1.0" encoding="rot13"?><testsuites/>', "is no XML"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_is_hostile_is_refused_at_once(name: str, server: Server) -> None:
    body, words = HOSTILE[name]
    began = time.monotonic()
    reply = await send(server, "junit", body)
    assert words in error(reply, 400)["message"]
    assert time.monotonic() - began < 20  # A process that starts on a busy machine is most of it.


@pytest.mark.parametrize("kind", ["junit", "coverage"])
async def test_what_is_too_large_is_refused_before_it_is_sent(kind: str, server: Server) -> None:
    path = f"/api/monitoring/ingest/{kind}"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {200 << 20}\r\n\r\n"
    async with await anyio.connect_tcp("127.0.0.1", server.node.ports["control"]) as stream:
        await stream.send(head.encode() + b"<testsuites>")  # The rest is never sent.
        with anyio.fail_after(30):
            assert b" 413 " in await stream.receive()


async def test_json_without_end_takes_nobody_with_it(server: Server) -> None:
    reply = await send(server, "coverage", b'{"a":' + b"[" * 1_000_000)
    assert "nested too deeply" in error(reply, 400)["message"]


async def test_a_parameter_that_is_none_is_named(server: Server) -> None:
    reply = await send(server, "junit?sweet=unit", junit(GOOD))
    assert "suite" in error(reply, 422)["known"]
    reply = await send(server, "junit?attempt=one", junit(GOOD))
    assert "attempt" in error(reply, 422)["message"]


async def test_others_are_answered_while_a_report_is_read(server: Server) -> None:
    body = f"<testsuites><testsuite>{GOOD * 100_000}</testsuite></testsuites>"
    waits: list[float] = []
    done = anyio.Event()

    async def ask() -> None:
        while not done.is_set():
            began = time.monotonic()
            await anyio.sleep(0.002)
            waits.append(time.monotonic() - began)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        assert (await send(server, "junit?suite=large", body)).status_code == 202
        done.set()
    assert sorted(waits)[len(waits) * 95 // 100] < 0.1


async def test_more_reports_than_are_read_at_once_wait_and_then_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reports, "PATIENCE", 0.05)
    stage = ValidationSource(ValidationConfig(), Context("validation"))
    delivery = Delivery({}, b"<testsuite name='a' tests='1'/>", "", 0.0)
    for _ in range(_reports.AT_ONCE):
        await stage.turns.acquire()
    with pytest.raises(Refused, match="too many reports") as refused:
        await _reports._read("junit", stage, delivery)  # pyright: ignore[reportPrivateUsage]
    assert refused.value.retry_after == 1
    stage.turns.release()
    told = await _reports._read("junit", stage, delivery)  # pyright: ignore[reportPrivateUsage]
    assert [one["origin"] for one in told] == ["junit"]
    assert stage.turns.value == 1
