"""The source `otlp`: what OpenTelemetry sends is measured as what it is here, once, and answered as OTLP says."""

import gzip
import json
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace

from bers import Catalog, ConfigError, Delivery, Event, Metric, Rejection, Table
from bers.decoding.documents import event as read
from bers.stages import Context
from bers.testing import check_format, check_spec, run_receive, step
from bers.testing.server import Server, serving
from bers_builtin.sources.build import BUILD
from bers_builtin.sources.otlp import OTLP
from bers_builtin.sources.otlp.config import Chosen, OtlpConfig
from bers_builtin.sources.otlp.source import OtlpSource

SECOND = 10**9
START = 1_795_000_000 * SECOND
METRICS = Catalog(
    [
        *BUILD.metrics,
        Metric("request_time", "ms", "How long requests take.", labels=("http_route",)),
        Metric("request_total", "{request}", "Requests."),
        Metric("jobs_waiting", "{job}", "Jobs that wait."),
    ]
)
CHOSEN = [
    {"name": "http.server.request.duration", "metric": "request_time"},
    {"name": "requests", "metric": "request_total"},
    {"name": "queue", "metric": "jobs_waiting"},
]


def attributes(values: dict[str, Any]) -> list[Any]:
    kinds = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}
    return [{"key": key, "value": {kinds[type(value)]: str(value) if type(value) is int else value}}
            for key, value in values.items()]  # fmt: skip


def export(*metrics: dict[str, Any], **resource: Any) -> dict[str, Any]:
    said = {name.replace("_", "."): value for name, value in resource.items()}
    scope = {"scope": {"name": "test"}, "metrics": list(metrics)}
    return {"resourceMetrics": [{"resource": {"attributes": attributes(said)}, "scopeMetrics": [scope]}]}


def point(at: float, value: float, *, start: float = 0.0, **said: Any) -> dict[str, Any]:
    """A number, so many seconds after the beginning."""
    found: dict[str, Any] = {
        "timeUnixNano": str(START + int(at * SECOND)),
        "asDouble": value,
        "attributes": attributes(said),
    }
    return {**found, "startTimeUnixNano": str(START + int(start * SECOND))}


def counter(
    *points: dict[str, Any], name: str = "requests", temporality: int = 2, monotonic: bool = True
) -> dict[str, Any]:
    told = {"dataPoints": list(points), "aggregationTemporality": temporality, "isMonotonic": monotonic}
    return {"name": name, "unit": "1", "sum": told}


class Rig:
    """A source at work, with a table, and without a server around it."""

    def __init__(self, stage: OtlpSource) -> None:
        self.stage = stage
        self.table = Table()
        self.rejected: list[str] = []
        self.ids: list[str] = []

    def take(self, body: dict[str, Any], *, received: float = START / 1e9 + 60) -> list[Event]:
        """Hand in a request as the door does; what would be appended."""
        delivery = Delivery({}, json.dumps(body).encode(), "application/json", received)
        found: list[Event] = []
        for document in self.stage.read_metrics(delivery):
            if document is None:
                continue
            if isinstance(document, ValueError):
                self.rejected.append(str(document))
                continue
            event = replace(read(document, now=received, fallback_id="none"), received=received)
            self.ids.append(event.id)
            found += self.stage.receive(event, self.table)
        return found

    def sums(self, *bodies: dict[str, Any]) -> list[float]:
        """What each request adds to the metric of its only measure."""
        return [sum(event.measures.get("request_total", 0.0) for event in self.take(body)) for body in bodies]


@asynccontextmanager
async def source(**options: Any) -> AsyncGenerator[Rig]:
    async with step(OTLP, context=Context("otlp", metrics=METRICS), **({"metrics": CHOSEN} | options)).open() as stage:
        yield Rig(stage)


async def test_the_spec_keeps_its_promises() -> None:
    await check_spec(OTLP)


async def test_a_sum_since_its_start_is_counted_by_its_differences_and_begins_anew_with_its_start() -> None:
    async with source() as rig:
        bodies = [
            export(counter(point(10, 4))),
            export(counter(point(20, 9))),
            export(counter(point(20, 9))),  # Sent again.
            export(counter(point(15, 6))),  # Late.
            export(counter(point(30, 2, start=25))),  # The process was started anew.
            export(counter(point(40, 5, start=25))),
            export(counter(point(22, 10))),  # Of the process before.
        ]
        assert rig.sums(*bodies) == [4, 5, 0, 0, 2, 3, 0]


async def test_a_sum_that_falls_without_a_start_began_anew() -> None:
    def told(at: float, value: float) -> dict[str, Any]:
        return export(counter({**point(at, value), "startTimeUnixNano": "0"}))

    async with source() as rig:
        assert rig.sums(told(1, 100), told(2, 103), told(3, 2)) == [0, 3, 2], "nobody knows when the 100 were"


async def test_what_was_counted_long_before_it_came_for_the_first_time_is_not_counted_now() -> None:
    async with source(count_from_start="1h") as rig:
        day = 86_400.0
        assert (
            sum(len(one.measures) for one in rig.take(export(counter(point(day, 900))), received=START / 1e9 + day))
            == 0
        )
        grown = rig.take(export(counter(point(day + 10, 907))), received=START / 1e9 + day + 10)
        assert [dict(one.measures) for one in grown] == [{"request_total": 7.0}]


async def test_deltas_are_added_and_a_repeat_has_the_same_id() -> None:
    async with source() as rig:
        one = export(counter(point(10, 4), temporality=1))
        assert rig.sums(one, export(counter(point(20, 3, start=10), temporality=1))) == [4, 3]
        rig.take(one)
        assert rig.ids[0] == rig.ids[2] != rig.ids[1]


async def test_streams_are_told_apart_by_their_attributes_in_any_order_and_by_who_sends() -> None:
    async with source() as rig:
        both = counter(point(10, 4, a="x", b="y"), point(10, 7, b="y", a="z"))
        assert rig.sums(export(both), export(counter(point(20, 5, b="y", a="x")))) == [11, 1]
        assert rig.sums(export(counter(point(20, 50, a="x", b="y")), service_name="other")) == [50]


async def test_what_goes_up_and_down_is_a_level_however_it_is_told() -> None:
    def levels(rig: Rig, *values: float, temporality: int) -> list[float]:
        found: list[float] = []
        for at, value in enumerate(values, 1):
            told = counter(point(at, value), name="queue", temporality=temporality, monotonic=False)
            found += [one.measures["jobs_waiting"] for one in rig.take(export(told))]
        return found

    async with source() as rig:
        assert levels(rig, 5, 2, 0, temporality=2) == [5, 2, 0]
        assert levels(rig, 5, -3, -2, temporality=1) == [5, 2, 0]


async def test_durations_of_pipeline_runs_are_builds_with_their_outcome() -> None:
    def runs(result: str, seconds: Sequence[float], **more: Any) -> dict[str, Any]:
        said = {"cicd.pipeline.result": result, "cicd.pipeline.run.state": "executing", **more}
        return {
            "attributes": attributes(said), "startTimeUnixNano": START, "timeUnixNano": START + SECOND,
            "count": len(seconds), "sum": sum(seconds), "min": min(seconds), "max": max(seconds),
            "bucketCounts": [0, len(seconds), 0], "explicitBounds": [0, 100],
        }  # fmt: skip

    points = [
        runs("success", [4.2, 6.0]),
        runs("failure", [1.0]),
        runs("cancellation", [2.0]),
        runs("success", [0.5], **{"cicd.pipeline.run.state": "pending"}),
        runs("success", [0.5], **{"cicd.pipeline.run.state": "finalizing"}),
    ]
    histogram = {"dataPoints": points, "aggregationTemporality": 1}
    metric = {"name": "cicd.pipeline.run.duration", "unit": "s", "histogram": histogram}
    async with source() as rig:
        found = rig.take(export(metric, deployment_environment_name="staging"))
    assert [(one.outcome, one.environment, dict(one.measures)) for one in found] == [
        ("success", "staging", {"build_total": 1, "build_performance": 4200, "build_success_rate": 100}),
        ("success", "staging", {"build_total": 1, "build_performance": 6000, "build_success_rate": 100}),
        ("failure", "staging", {"build_total": 1, "build_success_rate": 0}),
        ("cancel", "staging", {"build_total": 1}),
        ("success", "staging", {"build_queue_time": 500}),
    ]
    assert found[1].cause == found[0].id and rig.rejected == []


async def test_jenkins_plugin_counts_each_run_once() -> None:
    """Its histogram has the result of each run; its counters, and those of the conventions, say the same again."""

    def runs(result: str, seconds: float) -> dict[str, Any]:
        said = {"ci.pipeline.id": "acme/app", "ci.pipeline.run.result": result}
        return {
            "attributes": attributes(said), "startTimeUnixNano": START, "timeUnixNano": START + SECOND, "count": 1,
            "sum": seconds, "min": seconds, "max": seconds, "bucketCounts": [0, 1, 0], "explicitBounds": [0, 100],
        }  # fmt: skip

    results = {"SUCCESS": 4.2, "UNSTABLE": 1.0, "ABORTED": 2.0, "NOT_BUILT": 0.1}
    points = [runs(result, seconds) for result, seconds in results.items()]
    histogram = {"dataPoints": points, "aggregationTemporality": 2}
    async with source() as rig:
        found = rig.take(export({"name": "ci.pipeline.run.duration", "unit": "s", "histogram": histogram}))
        for name in ("ci.pipeline.run.started", "ci.pipeline.run.completed", "ci.pipeline.run.failed",
                     "ci.pipeline.run.active", "cicd.pipeline.run.active", "cicd.pipeline.run.errors"):  # fmt: skip
            one = {"startTimeUnixNano": START, "timeUnixNano": START + SECOND, "asInt": "3"}
            told = {"dataPoints": [one], "aggregationTemporality": 2, "isMonotonic": "active" not in name}
            assert rig.take(export({"name": name, "unit": "{runs}", "sum": told})) == []
    assert [(one.outcome, one.run and one.run.pipeline, dict(one.measures)) for one in found] == [
        ("success", "acme/app", {"build_total": 1, "build_performance": 4200, "build_success_rate": 100}),
        ("failure", "acme/app", {"build_total": 1, "build_success_rate": 0}),
        ("cancel", "acme/app", {"build_total": 1}),
        ("skip", "acme/app", {"build_total": 1}),
    ]
    assert rig.rejected == []


async def test_a_histogram_since_its_start_brings_what_came_since_with_its_number_and_its_sum() -> None:
    def told(at: float, counts: list[int], total: float) -> dict[str, Any]:
        one = {
            "attributes": attributes({"http.route": "/a", "user.id": "u-1"}), "startTimeUnixNano": str(START),
            "timeUnixNano": str(START + int(at * SECOND)), "count": str(sum(counts)), "sum": total,
            "bucketCounts": list(map(str, counts)), "explicitBounds": [0.1, 0.5],
        }  # fmt: skip
        histogram = {"dataPoints": [one], "aggregationTemporality": 2}
        return export({"name": "http.server.request.duration", "unit": "s", "histogram": histogram})

    async with source() as rig:
        rig.take(told(10, [3, 1, 0], 0.45))
        found = rig.take(told(20, [5, 1, 1], 1.6))
    assert sum(one.weight for one in found) == 3
    assert sum(one.measures["request_time"] * one.weight for one in found) == pytest.approx(1150.0)
    assert all(one.labels == {"http_route": "/a"} for one in found), "what no metric is split by stays outside"
    assert "u-1" not in str(found)


async def test_a_restart_remembers_the_same() -> None:
    async with source() as rig:
        events: list[Event] = []
        for body in (export(counter(point(10, 4))), export(counter(point(20, 9)), counter(point(5, 1), name="queue"))):
            delivery = Delivery({}, json.dumps(body).encode(), "application/json", START / 1e9)
            events += [read(one, now=0.0, fallback_id="x") for one in rig.stage.read_metrics(delivery)
                       if one and not isinstance(one, ValueError)]  # fmt: skip
    received = await run_receive(OTLP, events, context=Context("otlp", metrics=METRICS), metrics=CHOSEN)
    assert [dict(one.measures) for one in received] == [{"request_total": 4}, {"request_total": 5}, {"jobs_waiting": 1}]


@pytest.mark.parametrize(
    "data", [{}, {"point": 7}, {"point": {"kind": "sum"}}, {"point": {"kind": "sum", "time": "x"}}]
)
async def test_an_event_of_this_type_that_somebody_else_wrote_is_kept_as_it_came(data: dict[str, Any]) -> None:
    event = Event("1", "/ci", "otlp.point", 1.0, data=data)
    assert await run_receive(OTLP, [event]) == [event]


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ({"name": "nobody.knows", "gauge": {"dataPoints": [point(1, 1)]}},
         "'nobody.knows' is no metric of this server"),
        ({"name": "requests", "unit": "By", "gauge": {"dataPoints": [point(1, 1)]}},
         "is in 'By', and request_total in"),
        ({"name": "requests", "gauge": {"dataPoints": [{"asInt": "7"}]}}, "a point has no time"),
        ({"name": "requests", "gauge": {"dataPoints": [{"timeUnixNano": START}]}}, "a point has no value"),
        ({"name": "requests", "gauge": {"dataPoints": [point(1, 1e30)]}}, "beyond 1e+18"),
        ({"name": "requests", "gauge": {"dataPoints": [{**point(1, 1), "asDouble": "NaN"}]}}, "is not finite"),
        ({"name": "requests", "gauge": {"dataPoints": [{"timeUnixNano": START, "asInt": "9" * 400}]}},
         "beyond all numbers"),
        (
            {"name": "requests", "histogram": {"dataPoints": [{"timeUnixNano": 1, "count": 3, "bucketCounts": [1, 1],
             "explicitBounds": [5]}], "aggregationTemporality": 1}},
            "the buckets hold 2 values, and the point says 3",
        ),
        (
            {"name": "requests", "histogram": {"dataPoints": [{"timeUnixNano": 1, "count": 10**15, "sum": 1}]}},
            "a count is out of range",
        ),
        (
            {"name": "requests", "histogram": {"dataPoints": [{"timeUnixNano": 1, "count": 1,
             "bucketCounts": [1] + [0] * 3000,
             "explicitBounds": list(range(3000))}]}},
            "buckets are too many",
        ),
        (
            {"name": "requests", "exponentialHistogram": {"dataPoints": [{"timeUnixNano": 1, "count": 1, "scale": -40,
             "positive": {"offset": 9, "bucketCounts": ["1"]}}]}},
            "beyond all numbers",
        ),
    ],
)  # fmt: skip
async def test_a_point_that_nobody_could_mean_is_rejected_and_the_others_are_taken(metric: Any, reason: str) -> None:
    async with source() as rig:
        taken = rig.take(export(metric, counter(point(10, 4))))
    assert [dict(one.measures) for one in taken] == [{"request_total": 4.0}]
    assert len(rig.rejected) == 1 and reason in rig.rejected[0]


async def test_a_stream_that_ended_says_nothing() -> None:
    async with source() as rig:
        assert rig.take(export(counter({**point(10, 0), "flags": 1}))) == [] and rig.rejected == []


@pytest.mark.parametrize(
    ("chosen", "fault"),
    [
        ({"name": "a", "metric": "request_tim"}, r"metrics\[0\].metric: unknown metric 'request_tim'; did you mean"),
        ({"name": "a", "metric": "request_time", "unit": "By"}, r"metrics\[0\].unit: 'By' cannot be converted to 'ms'"),
    ],
)
def test_a_name_that_leads_nowhere_is_a_fault_of_the_file(chosen: dict[str, str], fault: str) -> None:
    assert OTLP.verify
    with pytest.raises(ConfigError, match=fault):
        OTLP.verify(OtlpConfig((Chosen(**chosen),)), METRICS)


# Over HTTP.


def log(name: str, /, **said: Any) -> dict[str, Any]:
    return {"timeUnixNano": str(START), "eventName": name, "attributes": attributes(said)}


def logs(*records: dict[str, Any], **resource: Any) -> dict[str, Any]:
    said = {name.replace("_", "."): value for name, value in resource.items()}
    return {
        "resourceLogs": [{"resource": {"attributes": attributes(said)}, "scopeLogs": [{"logRecords": list(records)}]}]
    }


async def send(server: Server, path: str, body: Any, **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await server.client.post(
        server.url(path), content=content, headers={"content-type": "application/json", **headers}
    )


async def test_an_event_in_a_log_record_is_an_event_here(tmp_path: Path) -> None:
    body = logs(
        {
            **log("deployment.finished", **{
                "deployment.id": "d-1", "deployment.status": "failed", "vcs.ref.head.revision": "9fceb02",
                "cicd.pipeline.run.id": "4711", "duration_ms": 900, "replicas": 3, "error.message": "no quota",
                "team": "web", "log.record.uid": "u-1",
            }),
            "severityNumber": 17, "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174",
            "flags": 1,
            "body": {"stringValue": "gave up"},
        },
        service_name="chat", deployment_environment_name="production", service_version="1.5.0",
    )  # fmt: skip
    async with serving(tmp_path) as server:
        for _ in range(2):
            answer = await send(server, "/v1/logs", body)
            assert (answer.status_code, answer.json()) == (200, {})
        shown = (await server.client.post(
            server.url("/v1/logs?dry_run=1"), content=json.dumps(body), headers={"content-type": "application/json"}
        )).json()["data"]["events"][0]  # fmt: skip
        counted = (await server.data("dashboard/status"))["counters"]["intake"]
    assert counted["filtered"] == 1
    assert {key: shown[key] for key in ("id", "source", "type", "subject", "outcome", "reason", "duration_ms")} == {
        "id": "u-1", "source": "/otlp/chat", "type": "deployment.finished", "subject": "d-1", "outcome": "failure",
        "reason": "no quota", "duration_ms": 900,
    }  # fmt: skip
    assert (shown["service"], shown["environment"], shown["version"]) == ("chat", "production", "1.5.0")
    assert shown["vcs"] == {"revision": "9fceb02"} and shown["run"] == {"id": "4711"}
    assert shown["measures"] == {"replicas": 3.0} and shown["labels"] == {"severity": "error"}
    assert shown["traceparent"] == "00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01"
    assert shown["data"] == {"team": "web", "body": "gave up"} and shown["origin"] == "otlp/deployment.finished"


@pytest.mark.parametrize(
    ("name", "said", "type", "outcome"),
    [
        ("cicd.pipeline.run.completed", {"cicd.pipeline.result": "success"}, "build.finished", "success"),
        ("cicd.pipeline.run.queued", {}, "build.queued", None),
        ("cicd.pipeline.task.run.failed", {"cicd.pipeline.task.type": "deploy"}, "deployment.finished", "failure"),
        ("cicd.pipeline.task.run.started", {"cicd.pipeline.task.type": "test"}, "testsuiterun.started", None),
        ("test.suite.run.finished", {"test.suite.run.status": "timed_out"}, "testsuiterun.finished", "timeout"),
        ("test.case.finished", {"test.case.result.status": "fail"}, "testcaserun.finished", "failure"),
        ("build-completed", {}, "build.finished", "success"),
        ("cart.checked_out", {}, "cart.checked-out", None),
        ("login", {}, "custom.login", None),
    ],
)
async def test_names_of_events_become_those_that_are_known_here(
    tmp_path: Path, name: str, said: dict[str, str], type: str, outcome: str | None
) -> None:
    async with source() as rig:
        delivery = Delivery({}, json.dumps(logs(log(name, **said))).encode(), "application/json", 0.0)
        (document,) = (one for one in rig.stage.read_logs(delivery) if one is not None)
    assert not isinstance(document, ValueError)
    event = read(document, now=0.0, fallback_id="x")
    assert (event.type, event.outcome) == (type, outcome)


async def test_what_is_not_taken_is_said_and_nothing_is_to_be_sent_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        mixed = export(
            {"name": "build.performance", "unit": "s", "gauge": {"dataPoints": [point(1, 2.5)]}},
            {"name": "jvm.threads", "gauge": {"dataPoints": [point(1, 1), point(2, 1)]}},
        )
        answer = await send(server, "/v1/metrics", mixed)
        why = "'jvm.threads' is no metric of this server; name the one that it is in `metrics` of the source (2)"
        assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
        assert answer.json() == {"partialSuccess": {"rejectedDataPoints": 2, "errorMessage": why}}
        assert (await server.data("dashboard/status"))["details"]["otlp"] == {"unknown": {"jvm.threads": 2}}
        answer = await send(server, "/v1/logs", logs({"body": {"stringValue": "hello"}}, log("stage.changed")))
        assert answer.status_code == 200 and answer.json()["partialSuccess"]["rejectedLogRecords"] == 2
        assert "without an event name" in answer.json()["partialSuccess"]["errorMessage"]
        assert (await send(server, "/v1/metrics", {})).json() == {}
        unknown = {
            "resourceMetrics": [{"somethingNew": {"a": [1]}, "scopeMetrics": [{"metrics": [{"name": "x", "new": 1}]}]}]
        }
        assert (await send(server, "/v1/metrics", unknown)).json() == {}
        nothing = {
            "resourceMetrics": [
                {"resource": None, "scopeMetrics": [{"metrics": [{**counter(point(1, 1)), "unit": None}]}]}
            ]
        }
        assert (await send(server, "/v1/metrics", nothing)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"hello", b"[]", b'{"resourceMetrics": 7}', b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [7]}]}]}',
        b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"sum": {"aggregationTemporality": "DELTA"}}]}]}]}',
        b'{"resourceMetrics": [{"resource": {"attributes": [{"key": "a", "value": '
        + b'{"arrayValue": {"values": [' * 5000
        + b"]}}" * 5000 + b"}]}}]}", b"\xff\xfe{}",
    ],
)  # fmt: skip
async def test_a_body_that_is_none_is_400_in_otlps_words(tmp_path: Path, body: bytes) -> None:
    async with serving(tmp_path) as server:
        answer = await send(server, "/v1/metrics", body)
        assert answer.status_code == 400 and set(answer.json()) == {"message"}
        assert "retry-after" not in answer.headers


async def squeezed(server: Server, body: bytes, media: str = "application/json") -> httpx2.Response:
    headers = {"content-encoding": "gzip", "content-type": media}
    return await send(server, "/v1/metrics", gzip.compress(body, 1), **headers)


def wrapped(body: bytes, *fields: int) -> bytes:
    """Bytes as a field of a message in protobuf, and that in a field of another, and so on outwards."""
    for field in fields:
        length = len(body)
        head = bytearray([field << 3 | 2])
        while length > 0x7F:
            head.append(length & 0x7F | 0x80)
            length >>= 7
        body = bytes([*head, length]) + body
    return body


async def test_a_bomb_costs_no_more_than_its_limit(tmp_path: Path) -> None:
    room = [(("intake", "memory"), "4GiB")]  # Whatever tests before left in this process.
    empty = b"{}," * 1_000_000 + b"{}"
    async with serving(tmp_path, changes=room) as server:
        before = server.node.supervisor.memory.resident
        answer = await squeezed(server, b'{"resourceMetrics": [' + b" " * (20 << 20) + b"]}")
        assert answer.status_code == 413 and "8388608" in answer.json()["message"]
        assert (await send(server, "/v1/metrics", b" " * (5 << 20))).status_code == 413
        for body in (
            b'{"resourceMetrics": [' + empty + b"]}",
            b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [' + empty + b"]}]}]}",
            b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"sum": {"dataPoints": [' + empty + b"]}}]}]}]}",
        ):
            answer = await squeezed(server, body)
            assert answer.status_code == 413 and "objects are too many" in answer.json()["message"]
        few = b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [' + b"{}," * 30_000 + b"{}]}]}]}"
        assert "with nothing in them" in (await squeezed(server, few)).json()["message"]
        for inside in (wrapped(b"\x0a\x00" * 3_000_000, 1), wrapped(b"\x0a\x00" * 3_000_000, 7, 2, 2, 1)):
            answer = await squeezed(server, inside, "application/x-protobuf")
            assert answer.status_code == 413 and b"fields are too many" in answer.content
        many = counter(*[point(n / 1000, 1, n=n) for n in range(11_000)])
        answer = await squeezed(server, json.dumps(export(many)).encode())
        assert answer.status_code == 413 and "10000 events" in answer.json()["message"]
        assert server.node.supervisor.memory.resident - before < 150 << 20


@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05abc", b"\xff" * 20, b"\x0b", b"\x0a\xff\xff\xff\xff\x7f"])
async def test_bytes_that_are_no_protobuf_are_400_in_protobuf(tmp_path: Path, body: bytes) -> None:
    status = import_module("google.rpc.status_pb2").Status
    async with serving(tmp_path) as server:
        for one in (body, body * 30_000):
            answer = await send(server, "/v1/metrics", one, **{"content-type": "application/x-protobuf"})
            assert (answer.status_code, answer.headers["content-type"]) == (400, "application/x-protobuf")
            assert status.FromString(answer.content).message.startswith("the body is not what otlp-metrics sends")


async def test_what_is_rejected_is_said_in_protobuf_too(tmp_path: Path) -> None:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
        ExportMetricsServiceResponse,
    )

    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="jvm.threads")
    for at in range(300):
        metric.gauge.data_points.add(time_unix_nano=START + at, as_int=1)
    async with serving(tmp_path) as server:
        body = request.SerializeToString()
        answer = await send(server, "/v1/metrics", body, **{"content-type": "application/x-protobuf"})
        told = ExportMetricsServiceResponse.FromString(answer.content).partial_success
        assert (answer.status_code, told.rejected_data_points) == (200, 300)
        assert told.error_message.startswith("'jvm.threads' is no metric of this server")
        answer = await send(server, "/v1/metrics", b"", **{"content-type": "application/x-protobuf"})
        assert (answer.status_code, answer.content) == (200, b"")


async def test_without_the_extra_protobuf_is_415_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [one for one in sys.modules if one.startswith("opentelemetry.proto")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.proto", None)
    async with serving(tmp_path) as server:
        answer = await send(server, "/v1/metrics", b"\x0a\x00", **{"content-type": "application/x-protobuf"})
        assert answer.status_code == 415 and b"install `bers-monitoring[otlp]`" in answer.content
        assert (await send(server, "/v1/metrics", b"", **{"content-type": "text/plain"})).status_code == 415
        assert (await send(server, "/v1/metrics", {})).status_code == 200, "JSON needs nothing"


async def test_a_full_intake_says_when_to_come_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        node = server.node.supervisor
        node.memory.promised += 512 << 20
        answer = await send(server, "/v1/metrics", export(counter(point(1, 1))))
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1 and "message" in answer.json()
        node.memory.promised -= 512 << 20
        await node.intake.close()
        good = {"name": "build.performance", "gauge": {"dataPoints": [point(1, 2.5)]}}
        answer = await send(server, "/v1/metrics", export(good))
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1


async def test_who_has_no_key_for_it_is_told_so_and_where_it_is_not_declared_too(tmp_path: Path) -> None:
    stages = "sources: {build: {}}\nsinks: {store: {use: rest-store}}\n"
    text = f"version: 1\n{stages}pipelines: {{a: {{sources: [build], sinks: [store]}}}}\n"
    async with serving(tmp_path, text) as server:
        answer = await send(server, "/v1/metrics", {})
        assert answer.status_code == 503 and "declare 'otlp'" in answer.json()["message"]
        assert (await send(server, "/v1/traces", {})).status_code == 404


def test_rejections_are_told_once_each() -> None:
    (metrics, _) = OTLP.formats
    assert metrics.manners
    told = metrics.manners.taken("application/json", [Rejection(n, f"reason {n % 7}") for n in range(20)])
    message = json.loads(told.body)["partialSuccess"]["errorMessage"]
    assert message.startswith("reason 0 (3); reason 1 (3)") and message.endswith("and 2 other reasons")


async def test_whatever_it_is_sent_it_reads_or_says_what_is_wrong() -> None:
    def told(body: Any) -> Delivery:
        return Delivery({}, json.dumps(body).encode(), "application/json", START / 1e9 + 60)

    context = Context("otlp", metrics=METRICS)
    numbers = told(export(counter(point(5, 3, kind="a")), service_name="shop"))
    assert await check_format(OTLP, "otlp-metrics", numbers, context=context, metrics=CHOSEN)
    record = {
        "timeUnixNano": str(START), "eventName": "build.finished", "body": {"stringValue": "done"},
        "attributes": attributes({"outcome": "success"}),
    }  # fmt: skip
    assert await check_format(OTLP, "otlp-logs", told(logs(record, service_name="shop")), context=context)
