"""Requests of OpenTelemetry that are as large as they may be, or larger: others have their turn while they are read."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bers import Refused
from bers.testing.server import serving
from bers_builtin.sources.otlp import bounds, messages, points
from bers_builtin.sources.otlp.points import Names
from tests.builtin.test_otlp import METRICS

NAMES = Names(METRICS, {})


def turns(found: Iterator[object]) -> int:
    """How often others have their turn."""
    return sum(one is None for one in found)


def field(number: int, content: bytes) -> bytes:
    """A field of protobuf that is shorter than 128 bytes, or one of many that are."""
    length = bytearray()
    left = len(content)
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([number << 3 | 2]) + bytes([*length, left]) + content


def test_fields_of_protobuf_are_counted_a_slice_at_a_time() -> None:
    body = field(1, field(2, field(2, b"") * 300_000))
    assert turns(bounds.check_protobuf("metrics", body)) == 300_000 // bounds.SLICE
    with pytest.raises(Refused, match="fields are too many"):
        list(bounds.check_protobuf("metrics", field(1, field(2, field(2, b"") * bounds.MAX_FIELDS))))


def test_a_metric_of_many_points_in_protobuf_is_read_in_parts() -> None:
    service = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
    from bers_builtin.sources.otlp import protobuf

    request = service.ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="build_performance", unit="ms")
    metric.sum.is_monotonic = True
    for number in range(1_001):
        metric.sum.data_points.add(time_unix_nano=number + 1, as_double=number)
    told = [one[2] for one in protobuf.read_metrics(request.SerializeToString()) if one]
    assert [len(one.sum.data_points) for one in told if one.sum] == [200] * 5 + [1]
    assert {(one.name, one.unit, one.sum and one.sum.is_monotonic) for one in told} == {
        ("build_performance", "ms", True)
    }
    assert [point.as_double for one in told if one.sum for point in one.sum.data_points] == [*range(1_001)]


@pytest.mark.parametrize("read", [messages.read_metrics, messages.read_logs])
def test_senders_who_tell_nothing_are_looked_at_a_few_at_a_time_and_are_not_many(
    read: Callable[[bytes], Iterator[object]],
) -> None:
    word = "resourceMetrics" if read is messages.read_metrics else "resourceLogs"
    body = b'{"%s":[%s]}' % (word.encode(), b",".join([b"{}"] * 10_000))
    assert turns(read(body)) == 10_000 // messages.TURN
    many = b'{"%s":[%s]}' % (word.encode(), b",".join([b"{}"] * 240_000))
    with pytest.raises(Refused, match="nothing in them are too many"):
        list(read(many))


def test_a_request_of_nothing_but_numbers_is_not_decoded() -> None:
    point = b'{"timeUnixNano":"1","explicitBounds":[' + b",".join([b"1"] * 2_000_000) + b"]}"
    body = b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[' + point + b"]}}]}]}]}"
    with pytest.raises(Refused, match="values are too many"):
        list(messages.read_metrics(body))


def test_a_point_of_too_many_bounds_is_rejected_before_they_are_looked_at() -> None:
    point = messages.HistogramPoint(time_unix_nano=1, explicit_bounds=[float("nan")] * 5_000)
    metric = messages.Metric(name="build_performance", unit="ms", histogram=messages.Histogram(data_points=[point]))
    (why,) = points.documents([({}, "", metric)], NAMES)
    assert str(why) == "'build_performance': 5000 buckets are too many; at most 2000"


def test_a_null_is_taken_out_of_small_requests_alone() -> None:
    def body(size: int) -> bytes:
        return b'{"resourceMetrics":[{"scopeMetrics":null,"x":"' + b"x" * size + b'"}]}'

    assert turns(messages.read_metrics(body(1_000))) == 1
    with pytest.raises(ValueError, match="leave it out"):
        list(messages.read_metrics(body(bounds.MAX_NULLS)))


async def test_what_is_rejected_in_protobuf_is_told_without_secrets(home: Path) -> None:
    service = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
    request = service.ExportMetricsServiceRequest()
    name = "ghp_" + "a" * 36 + " someone@people.example"
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    metric.gauge.data_points.add(time_unix_nano=1, as_double=1)
    async with serving(home) as server:
        kind = {"Content-Type": "application/x-protobuf"}
        reply = await server.post("/v1/metrics", content=request.SerializeToString(), headers=kind)
        answer = service.ExportMetricsServiceResponse.FromString(reply.content)
        assert answer.partial_success.rejected_data_points == 1
        assert answer.partial_success.error_message.startswith("'*** ***' is no metric of this server")
