"""What OTLP sends, as far as we read it: the messages of its protobuf files, in the spelling of its JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias, TypeVar

import msgspec

from bers_builtin.sources.otlp import bounds

M = TypeVar("M", bound="Message")


class Message(msgspec.Struct, rename="camel", gc=False):
    """Unknown fields are ignored, as OTLP asks; 64-bit numbers may be text; what is left out has its default."""


class Array(Message):
    values: list[AnyValue] = []


class KeyValues(Message):
    values: list[KeyValue] = []


class AnyValue(Message):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | None = None
    double_value: float | None = None
    array_value: Array | None = None
    kvlist_value: KeyValues | None = None
    bytes_value: str | None = None

    def plain(self) -> Any:
        """The value as JSON has it."""
        if self.string_value is not None:
            return self.string_value
        if self.bool_value is not None:
            return self.bool_value
        if self.int_value is not None:
            return self.int_value
        if self.double_value is not None:
            return self.double_value
        if self.array_value is not None:
            return [one.plain() for one in self.array_value.values]
        if self.kvlist_value is not None:
            return attributes(self.kvlist_value.values)
        return self.bytes_value


class KeyValue(Message):
    key: str = ""
    value: AnyValue | None = None


Attributes: TypeAlias = dict[str, Any]


def attributes(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: pair.value.plain() for pair in pairs if pair.value is not None}


class Resource(Message):
    attributes: list[KeyValue] = []


class Scope(Message):
    name: str = ""
    version: str = ""


class NumberPoint(Message):
    attributes: list[KeyValue] = []
    start_time_unix_nano: int = 0
    time_unix_nano: int = 0
    as_double: float | None = None
    as_int: int | None = None
    flags: int = 0


class HistogramPoint(Message):
    attributes: list[KeyValue] = []
    start_time_unix_nano: int = 0
    time_unix_nano: int = 0
    count: int = 0
    sum: float | None = None
    bucket_counts: list[int] = []
    explicit_bounds: list[float] = []
    flags: int = 0
    min: float | None = None
    max: float | None = None


class Buckets(Message):
    offset: int = 0
    bucket_counts: list[int] = []


class ExponentialPoint(Message):
    attributes: list[KeyValue] = []
    start_time_unix_nano: int = 0
    time_unix_nano: int = 0
    count: int = 0
    sum: float | None = None
    scale: int = 0
    zero_count: int = 0
    positive: Buckets | None = None
    negative: Buckets | None = None
    flags: int = 0
    min: float | None = None
    max: float | None = None
    zero_threshold: float = 0.0


class Quantile(Message):
    quantile: float = 0.0
    value: float = 0.0


class SummaryPoint(Message):
    attributes: list[KeyValue] = []
    start_time_unix_nano: int = 0
    time_unix_nano: int = 0
    count: int = 0
    sum: float = 0.0
    quantile_values: list[Quantile] = []
    flags: int = 0


Point: TypeAlias = NumberPoint | HistogramPoint | ExponentialPoint | SummaryPoint


class Gauge(Message):
    data_points: list[NumberPoint] = []


class Sum(Message):
    data_points: list[NumberPoint] = []
    aggregation_temporality: int = 0
    is_monotonic: bool = False


class Histogram(Message):
    data_points: list[HistogramPoint] = []
    aggregation_temporality: int = 0


class ExponentialHistogram(Message):
    data_points: list[ExponentialPoint] = []
    aggregation_temporality: int = 0


class Summary(Message):
    data_points: list[SummaryPoint] = []


class Metric(Message):
    name: str = ""
    unit: str = ""
    gauge: Gauge | None = None
    sum: Sum | None = None
    histogram: Histogram | None = None
    exponential_histogram: ExponentialHistogram | None = None
    summary: Summary | None = None


class ScopeMetrics(Message):
    scope: Scope | None = None
    metrics: list[msgspec.Raw] = []


class ResourceMetrics(Message):
    resource: Resource | None = None
    scope_metrics: list[ScopeMetrics] = []


class ExportMetrics(Message):
    resource_metrics: list[msgspec.Raw] = []


class LogRecord(Message):
    time_unix_nano: int = 0
    observed_time_unix_nano: int = 0
    severity_number: int = 0
    severity_text: str = ""
    body: AnyValue | None = None
    attributes: list[KeyValue] = []
    trace_id: str = ""
    span_id: str = ""
    flags: int = 0
    event_name: str = ""


class ScopeLogs(Message):
    scope: Scope | None = None
    log_records: list[msgspec.Raw] = []


class ResourceLogs(Message):
    resource: Resource | None = None
    scope_logs: list[ScopeLogs] = []


class ExportLogs(Message):
    resource_logs: list[msgspec.Raw] = []


DELTA, CUMULATIVE = 1, 2
"""How OTLP numbers the two ways in which sums and histograms are told."""

NO_VALUE = 1
"""The flag of a point that says that there is no value: a stream that has ended."""

MetricTold: TypeAlias = tuple[Attributes, str, Metric]
"""A metric, with the attributes of who sends it and the name of the scope that it was made in."""

RecordTold: TypeAlias = tuple[Attributes, LogRecord]

TURN = 200
"""How many senders are looked at before others have their turn."""

_EXPORT_METRICS = msgspec.json.Decoder(ExportMetrics, strict=False)
_EXPORT_LOGS = msgspec.json.Decoder(ExportLogs, strict=False)
_RESOURCE_METRICS = msgspec.json.Decoder(ResourceMetrics, strict=False)
_RESOURCE_LOGS = msgspec.json.Decoder(ResourceLogs, strict=False)
_METRIC = msgspec.json.Decoder(Metric, strict=False)
_RECORD = msgspec.json.Decoder(LogRecord, strict=False)


def read_metrics(body: bytes | bytearray) -> Iterator[MetricTold | None]:
    """The metrics of a request in JSON, decoded one by one; at a None others have their turn. Raise ValueError where it
    is none.
    """
    bounds.check_json(body)
    idle = 0
    for number, one in enumerate(_read(body, _EXPORT_METRICS).resource_metrics):
        if not number % TURN:
            yield None
        sender = _read(one, _RESOURCE_METRICS)
        idle += sum(not scope.metrics for scope in sender.scope_metrics) or not sender.scope_metrics
        bounds.check_idle(idle)
        resource = attributes(sender.resource.attributes) if sender.resource else {}
        for scope in sender.scope_metrics:
            for metric in scope.metrics:
                yield resource, scope.scope.name if scope.scope else "", _read(metric, _METRIC)


def read_logs(body: bytes | bytearray) -> Iterator[RecordTold | None]:
    """The log records of a request in JSON, decoded one by one; at a None others have their turn. Raise ValueError
    where it is none.
    """
    bounds.check_json(body)
    idle = 0
    for number, one in enumerate(_read(body, _EXPORT_LOGS).resource_logs):
        if not number % TURN:
            yield None
        sender = _read(one, _RESOURCE_LOGS)
        idle += sum(not scope.log_records for scope in sender.scope_logs) or not sender.scope_logs
        bounds.check_idle(idle)
        resource = attributes(sender.resource.attributes) if sender.resource else {}
        for scope in sender.scope_logs:
            for record in scope.log_records:
                yield resource, _read(record, _RECORD)


def _read(body: bytes | bytearray | msgspec.Raw, decoder: msgspec.json.Decoder[M]) -> M:
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            if b"null" not in bytes(body):
                raise
            if len(bytes(body)) > bounds.MAX_NULLS:
                raise ValueError(f"a null is in more than {bounds.MAX_NULLS} bytes; leave it out") from None
            # `null` is the same as left out in protobuf's JSON; few write it, so nobody else pays for it.
            told = msgspec.json.encode(_without_null(msgspec.json.decode(body)))
            return decoder.decode(told)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ValueError(str(exc) or "it is nested too deeply") from exc


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(inner) for key, inner in value.items() if inner is not None}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_without_null(inner) for inner in value if inner is not None]  # pyright: ignore[reportUnknownVariableType]
    return value
