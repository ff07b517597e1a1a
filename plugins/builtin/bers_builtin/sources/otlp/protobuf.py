"""OTLP in protobuf, which takes the extra `otlp`: decoded by its own library, and made into the same messages."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from importlib import import_module
from typing import Any, TypeVar

from bers import Refused
from bers_builtin.sources.otlp import bounds
from bers_builtin.sources.otlp import messages as m
from bers_builtin.sources.otlp.messages import (
    AnyValue,
    Array,
    KeyValue,
    KeyValues,
    Message,
    MetricTold,
    RecordTold,
    attributes,
)

M = TypeVar("M", bound=Message)

AT_ONCE = 200
"""How many points of a metric are made into messages before any of them is read."""

REMEDY = "install `bers-monitoring[otlp]`, or let the sender use http/json"


def read_metrics(body: bytes | bytearray) -> Iterator[MetricTold | None]:
    """The metrics of a request; at a None others have their turn. Raise ValueError where it is none;
    Refused where nothing here can read it.
    """
    yield from bounds.check_protobuf("metrics", bytes(body))
    for sender in _parsed("metrics", "ExportMetricsServiceRequest", body).resource_metrics:
        resource = attributes(map(_pair, sender.resource.attributes))
        for scope in sender.scope_metrics:
            for metric in scope.metrics:
                for part in _parts(metric):
                    yield resource, scope.scope.name, part


def read_logs(body: bytes | bytearray) -> Iterator[RecordTold | None]:
    """The log records of a request; at a None others have their turn. Raise ValueError where it is none;
    Refused where nothing here can read it.
    """
    yield from bounds.check_protobuf("logs", bytes(body))
    for sender in _parsed("logs", "ExportLogsServiceRequest", body).resource_logs:
        resource = attributes(map(_pair, sender.resource.attributes))
        for scope in sender.scope_logs:
            for record in scope.log_records:
                yield resource, _message(record, m.LogRecord)


def _parts(metric: Any) -> Iterator[m.Metric]:
    """A metric of ours out of one of the library's; one of many points in parts, as if they had come so."""
    kind = metric.WhichOneof("data")
    told = getattr(metric, kind) if kind else None
    if told is None or len(told.data_points) <= AT_ONCE:
        yield _message(metric, m.Metric)
        return
    mine = _INNER["Metric", kind]
    point = _INNER[mine.__name__, "data_points"]
    fields = {field.name: value for field, value in told.ListFields() if field.name in mine.__struct_fields__}
    for at in range(0, len(told.data_points), AT_ONCE):
        fields["data_points"] = [_message(one, point) for one in told.data_points[at : at + AT_ONCE]]
        parts: dict[str, Any] = {kind: mine(**fields)}
        yield m.Metric(name=metric.name, unit=metric.unit, **parts)


def _parsed(signal: str, name: str, body: bytes | bytearray) -> Any:
    # By their names: who has not installed them, and who checks types without them, need not know them.
    try:
        service = import_module(f"opentelemetry.proto.collector.{signal}.v1.{signal}_service_pb2")
        errors = import_module("google.protobuf.message")
    except ImportError as exc:
        raise Refused("unsupported_media_type", f"this server does not read protobuf; {REMEDY}", hint=REMEDY) from exc
    try:
        return getattr(service, name).FromString(bytes(body))
    except errors.DecodeError as exc:
        raise ValueError(f"it is no {name}: {exc}") from exc


def _message(found: Any, kind: type[M]) -> M:
    """Fill a message of ours from one of the library's, field by field: both are of one file."""
    fields: dict[str, Any] = {}
    for field, value in found.ListFields():
        name = field.name
        if name in kind.__struct_fields__:
            fields[name] = _value(name, value, kind)
    return kind(**fields)


def _value(name: str, value: Any, kind: type[Message]) -> Any:
    if name == "attributes":
        return [_pair(one) for one in value]
    if name == "body":
        return _any(value)
    if name in ("trace_id", "span_id"):
        return value.hex()
    inner = _INNER.get((kind.__name__, name))
    if inner is None:
        return [*value] if name in _NUMBERS else value
    return [_message(one, inner) for one in value] if name in _REPEATED else _message(value, inner)


def _pair(pair: Any) -> KeyValue:
    return KeyValue(pair.key, _any(pair.value) if pair.HasField("value") else None)


def _any(value: Any) -> AnyValue:
    kind = value.WhichOneof("value")
    if kind is None:
        return AnyValue()
    found: Any = getattr(value, kind)
    if kind == "array_value":
        found = Array([_any(one) for one in found.values])
    elif kind == "kvlist_value":
        found = KeyValues([_pair(one) for one in found.values])
    elif kind == "bytes_value":
        found = b64encode(found).decode()
    fields: dict[str, Any] = {kind: found} if kind in AnyValue.__struct_fields__ else {}
    return AnyValue(**fields)


_INNER: dict[tuple[str, str], type[Message]] = {
    ("Metric", "gauge"): m.Gauge,
    ("Metric", "sum"): m.Sum,
    ("Metric", "histogram"): m.Histogram,
    ("Metric", "exponential_histogram"): m.ExponentialHistogram,
    ("Metric", "summary"): m.Summary,
    ("Gauge", "data_points"): m.NumberPoint,
    ("Sum", "data_points"): m.NumberPoint,
    ("Histogram", "data_points"): m.HistogramPoint,
    ("ExponentialHistogram", "data_points"): m.ExponentialPoint,
    ("ExponentialPoint", "positive"): m.Buckets,
    ("ExponentialPoint", "negative"): m.Buckets,
    ("Summary", "data_points"): m.SummaryPoint,
    ("SummaryPoint", "quantile_values"): m.Quantile,
}
"""The fields that hold messages, of each message."""

_REPEATED = ("data_points", "quantile_values")
"""Those of them that hold many."""

_NUMBERS = ("bucket_counts", "explicit_bounds")
"""The fields that hold many numbers."""
