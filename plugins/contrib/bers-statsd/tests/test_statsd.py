"""The source `statsd`, from datagrams on loopback to what is measured."""

import re
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import SystemRandom
from typing import Any

import anyio
import pytest
from bers import Catalog, ConfigError, Context, Event, Metric
from bers.testing import VirtualClock, check_source, step
from bers.testing.server import serving

from bers_statsd import Statsd, bers_sources

(STATSD,) = bers_sources()
METRICS = Catalog(
    [
        Metric("answer_time", "ms", "Time to an answer.", labels=("environment", "route")),
        Metric("job_time", "s", "Time that a job takes."),
        Metric("job_total", "{job}", "Jobs."),
        Metric("queue_length", "{job}", "Jobs that wait."),
        Metric("visitors", "{visitor}", "Who was here."),
    ]
)


def say(port: int, *lines: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto("\n".join(lines).encode(), ("127.0.0.1", port))


def free_port() -> int:
    """One that nobody has, and that the system gives nobody who asks for any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        while True:
            with suppress(OSError):
                found.bind(("127.0.0.1", SystemRandom().randrange(20_000, 32_000)))
                return int(found.getsockname()[1])


@asynccontextmanager
async def listening(clock: VirtualClock, told: list[Event], **options: Any) -> AsyncGenerator[Statsd]:
    async def emit(events: Sequence[Event], /, *, durable: bool = False) -> None:
        told.extend(events)

    context = Context("statsd", clock=clock, metrics=METRICS)
    async with step(STATSD, context=context, port=0, **options).open() as stage:
        assert isinstance(stage, Statsd)
        async with anyio.create_task_group() as group:
            group.start_soon(stage.run, emit)
            await clock.advance(0)
            yield stage
            group.cancel_scope.cancel()


async def heard(stage: Statsd, **counts: int) -> None:
    """Datagrams take a moment, even on loopback."""
    with anyio.fail_after(30):
        while not counts.items() <= stage.tell().items():
            await anyio.sleep(0.005)


async def measured(clock: VirtualClock, *lines: str, **options: Any) -> list[tuple[str, float, int]]:
    """What lines come to after one interval: metric, value and weight."""
    told: list[Event] = []
    async with listening(clock, told, **options) as stage:
        say(stage.port, *lines)
        await heard(stage, lines=len(lines))
        await clock.advance(1)
    return [(metric, value, one.weight) for one in told for metric, value in one.measures.items()]


async def test_it_keeps_the_promises_of_a_source() -> None:
    async def provoke(stage: Statsd) -> None:
        say(stage.port, "job.total:1|c", "queue_length:7|g")

    context = Context("statsd", metrics=METRICS)
    events = await check_source(STATSD, provoke, count=2, context=context, port=0, interval="20ms")
    assert [dict(event.measures) for event in events] == [{"job_total": 1}, {"queue_length": 7}]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["job.total:1|c", "job.total:4|c"], [("job_total", 5, 1)]),
        (["job.total:1|c|@0.1"], [("job_total", 10, 1)]),
        (["job.total:-2|c"], [("job_total", -2, 1)]),
        (["queue.length:7|g", "queue.length:9|g"], [("queue_length", 9, 1)]),
        (["queue.length:7|g", "queue.length:+3|g", "queue.length:-4|g"], [("queue_length", 6, 1)]),
        (["answer.time:320|ms", "answer.time:90.5|ms"], [("answer_time", 320, 1), ("answer_time", 90.5, 1)]),
        (["answer.time:320|ms|@0.25"], [("answer_time", 320, 4)]),
        (["answer.time:1:2:3|h"], [("answer_time", 1, 1), ("answer_time", 2, 1), ("answer_time", 3, 1)]),
        (["job.time:1500|ms", "job.time:1.5|d"], [("job_time", 1.5, 1), ("job_time", 1.5, 1)]),
        (["visitors:ann|s", "visitors:bob|s", "visitors:ann|s"], [("visitors", 2, 1)]),
    ],
)
async def test_each_kind_is_counted_as_it_is_meant(
    clock: VirtualClock, lines: list[str], expected: list[tuple[str, float, int]]
) -> None:
    assert await measured(clock, *lines) == expected


async def test_tags_are_labels_where_a_metric_has_them_and_fields_where_an_event_has_them(clock: VirtualClock) -> None:
    told: list[Event] = []
    async with listening(clock, told) as stage:
        say(
            stage.port,
            "answer.time:7|ms|#route:/a,env:staging,user:4711",
            "answer.time:8|ms|@1|#route:/b,urgent|c:ab12",
        )
        await heard(stage, lines=2)
        await clock.advance(1)
    assert [(one.labels, one.environment) for one in told] == [
        ({"route": "/a"}, "staging"), ({"route": "/b"}, "development"),
    ]  # fmt: skip


async def test_names_are_those_of_the_configuration_first(clock: VirtualClock) -> None:
    assert await measured(clock, "api.latency:5|ms", metrics={"api.latency": "answer_time"}) == [("answer_time", 5, 1)]
    assert STATSD.verify
    with pytest.raises(
        ConfigError, match=re.escape("api.latency: unknown metric 'answer_tim'; did you mean 'answer_time'")
    ):
        STATSD.verify(step(STATSD, metrics={"api.latency": "answer_tim"}).config, METRICS)


async def test_what_nobody_understands_is_counted_and_costs_nobody_else(clock: VirtualClock) -> None:
    wrong = ["", "job.total", "job.total:1", "job.total:x|c", "job.total:nan|c", "job.total:1e300|c",
             "job.total:1|c|@0", "job.total:1|c|@7", "job.total:1|q", "job.total|c", "queue.length:|g",
             "\ufffd\x00"]  # fmt: skip
    told: list[Event] = []
    async with listening(clock, told) as stage:
        say(stage.port, *wrong, "nobody.knows:1|c", "job.total:1|c")
        await heard(stage, lines=2, unknown=1, malformed=len(wrong))
        await clock.advance(1)
    assert [dict(one.measures) for one in told] == [{"job_total": 1}]


async def test_a_flood_is_bounded_and_said(clock: VirtualClock) -> None:
    told: list[Event] = []
    async with listening(clock, told, most=100) as stage:
        for _ in range(10):
            say(stage.port, *["answer.time:1|ms"] * 50)
        await heard(stage, lines=500, dropped=400)
        await clock.advance(1)
        assert len(told) == 100
        say(stage.port, "job.total:1|c")
        await heard(stage, lines=501)
        await clock.advance(1)
    assert len(told) == 101


async def test_nothing_is_told_where_nothing_was_said(clock: VirtualClock) -> None:
    told: list[Event] = []
    async with listening(clock, told) as stage:
        say(stage.port, "queue.length:7|g")
        await heard(stage, lines=1)
        await clock.advance(10)
    assert len(told) == 1


async def test_what_is_said_is_there_to_be_asked_for(tmp_path: Path) -> None:
    port = free_port()
    text = f"""\
version: 1
metrics:
  answer_time: {{unit: ms, description: Time to an answer., labels: [route]}}
sources: {{statsd: {{port: {port}, interval: 20ms, metrics: {{api.latency: answer_time}}}}}}
processors: {{windows: {{use: aggregation}}}}
sinks: {{store: {{use: rest-store}}}}
pipelines: {{metrics: {{sources: [statsd], processors: [windows], sinks: [store]}}}}
"""
    async with serving(tmp_path, text) as server:
        say(port, *(f"api.latency:{n}|ms|#route:/a" for n in range(1, 101)), "api.latency:900|ms|@0.5|#route:/b")
        found = await server.until("metrics/current", lambda one: len(one.get("answer_time", [])) == 2)
        sums = Counter({one["labels"]["route"]: one["sum"] for one in found["answer_time"]})
        assert sums == {"/a": 5050, "/b": 1800}
        assert (await server.data("metrics/answer_time"))["unit"] == "ms"
