"""OpenTelemetry: metrics and events over OTLP/HTTP, in JSON or protobuf, from SDKs and collectors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bers import Format, SourceSpec, hookimpl
from bers_builtin.sources.otlp.config import OtlpConfig, verify
from bers_builtin.sources.otlp.manners import JSON, PROTOBUF, manners
from bers_builtin.sources.otlp.source import OtlpSource

MAX_BYTES = 4 << 20
"""The largest request as it is sent: so much of what is not compressed is taken apart within some 50 ms."""

FORMATS = (
    Format(
        "otlp-metrics",
        OtlpSource.read_metrics,
        "Metrics over OTLP/HTTP, in JSON or, with the extra `otlp`, in protobuf.",
        media=(JSON, PROTOBUF),
        max_bytes=MAX_BYTES,
        max_inflated=2 * MAX_BYTES,
        expansion=24,
        at="/v1/metrics",
        manners=manners("rejectedDataPoints"),
    ),
    Format(
        "otlp-logs",
        OtlpSource.read_logs,
        "Log records that are events, over OTLP/HTTP, in JSON or, with the extra `otlp`, in protobuf.",
        media=(JSON, PROTOBUF),
        max_bytes=MAX_BYTES,
        max_inflated=2 * MAX_BYTES,
        expansion=24,
        at="/v1/logs",
        manners=manners("rejectedLogRecords"),
    ),
)

OTLP = SourceSpec("otlp", OtlpConfig, OtlpSource, claims=("otlp.*",), formats=FORMATS, verify=verify, log="")


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [OTLP]
