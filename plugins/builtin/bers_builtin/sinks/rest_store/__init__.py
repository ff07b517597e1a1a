"""The store: figures and event details in SQLite, each counted once, and the answers of the metrics API."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bers import Check, DurableSpec, Interval, Nothing, Operation, hookimpl

from . import sheets
from .answers import (
    AskCurrent,
    AskForget,
    AskMetric,
    AskMetrics,
    AskRecords,
    AskReport,
    BufferBeside,
    Cleared,
    Forgotten,
    LeftOutBeside,
    MetricAnswer,
    MetricSummary,
    NextBeside,
    Record,
    Standing,
)
from .config import KeptTier, RestStoreConfig
from .dora.answers import AskDora, DoraAnswer
from .offline import read_windows
from .report import Report
from .rest import RestStore
from .runs import AskRuns, RunTold

__all__ = ["REST_STORE", "KeptTier", "RestStore", "RestStoreConfig", "bers_sinks", "read_windows"]

REST_STORE = DurableSpec(
    "rest-store",
    RestStoreConfig,
    RestStore,
    owns="path",
    operations=[
        Operation(
            "GET", "metrics", RestStore.metrics, AskMetrics, dict[str, MetricSummary],
            "Every metric over the last minutes, and how full the buffers are",
            surface="metrics", beside=BufferBeside, refuses=("bad_request",), sheet=sheets.metrics,
        ),
        Operation(
            "GET", "metrics/current", RestStore.current, AskCurrent, dict[str, list[Standing]],
            "The newest value of every series, with percentiles of the last minutes", surface="metrics",
            beside=LeftOutBeside, refuses=("bad_request",), sheet=sheets.current,
        ),
        Operation(
            "GET", "metrics/report", RestStore.report, AskReport, Report,
            "Every metric against its target and its past, with recommendations", surface="metrics",
            refuses=("bad_request",), sheet=sheets.report,
        ),
        Operation(
            "GET", "metrics/{type}", RestStore.metric, AskMetric, MetricAnswer,
            "One metric over a span of time, with its series", surface="metrics",
            refuses=("bad_request",), sheet=sheets.metric,
        ),
        Operation(
            "DELETE", "metrics/{type}", RestStore.forget_metric, AskForget, Forgotten,
            "Delete what is stored of a metric from before a time; event details stay as long as they are kept",
            scope="admin", refuses=("bad_request",),
        ),
        Operation(
            "POST", "metrics/clear-cache", RestStore.clear_cache, Nothing, Cleared,
            "Drop the decoded pages; what is stored stays", scope="admin",
        ),
        Operation(
            "GET", "dora", RestStore.dora, AskDora, DoraAnswer,
            "DORA's five figures of a period, each with what it leaves out", surface="metrics",
            refuses=("bad_request",),
        ),
        Operation(
            "GET", "records", RestStore.records, AskRecords, list[Record],
            "The details of events, newest first, without secrets", beside=NextBeside, sheet=sheets.records,
            shapes=("cdevents",),
        ),
        Operation(
            "GET", "runs", RestStore.runs, AskRuns, list[RunTold],
            "Builds, suites and deployments: those that are running, and then those that have ended, newest first",
            beside=NextBeside,
        ),
    ],
    checks=[
        Check(
            "metrics-store", RestStore.check, "Whether what is written is committed and folded in time.",
            interval=Interval("10s"),
        )
    ],
)  # fmt: skip


@hookimpl
def bers_sinks() -> Iterable[DurableSpec[Any]]:
    return [REST_STORE]
