"""What a node tells Prometheus: the current value of every series, and its own counters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from bers import disk
from bers.catalog import Metric
from bers.clock import CAUSES
from bers.collection import culprits
from bers.counters import Counts
from bers.errors import Refused
from bers.states import STATES
from bers.supervisor import Supervisor
from bers.web.exposition import Family, Sample, render, unit_of

STALE = 3600.0
"""Seconds after which a value that nothing followed is not current any more."""

_WORD = re.compile(r"[^a-zA-Z0-9_]")

_COUNTERS: Mapping[str, str] = {
    "taken": "Records that went into a stage.",
    "made": "Records that a stage made.",
    "out": "Records that a stage passed on or delivered.",
    "filtered": "Records that a stage left out on purpose.",
    "dead": "Records that became dead letters.",
    "merged": "Records that were folded into others.",
    "errors": "Errors that a stage raised.",
}
_SPENT: Sequence[tuple[str, str, Callable[[Counts], float]]] = (
    ("seconds", "Time spent inside a stage.", lambda edge: edge.seconds),
    ("cpu_seconds", "CPU that a stage took on the thread of the event loop.", lambda edge: edge.cpu),
)


async def exposition(node: Supervisor, media: str) -> str:
    """The whole page: every series as it stands, and what the stages of this node did."""
    try:
        current: Mapping[str, Any] = await node.directory.call("GET", "metrics/current", {})
    except Exception as exc:
        if not (isinstance(exc, Refused) and exc.reason == "unavailable") and not disk.disk_fault(exc):
            raise  # Half a page would look as if the other half had stopped.
        current = {}
    _, end = await node.bus.span(0)
    told = [*_metrics(node, current), *_own(node, end)]
    return render({family.name: family for family in told}.values(), media)  # A name is told once; ours come last.


def _metrics(node: Supervisor, current: Mapping[str, Any]) -> Iterator[Family]:
    now = node.clock.time()
    for name, metric in node.plan.metrics.items():
        series: Sequence[Mapping[str, Any]] = current.get(name) or ()
        if not series:
            continue
        if metric.counts:
            counted = [Sample(one["sum"], _labels(one)) for one in series]
            yield Family(metric.prometheus.removesuffix("_total"), "counter", metric.description, counted)
            continue
        fresh = [one for one in series if now - one["lastUpdated"] / 1000 <= STALE]
        if fresh:
            values = [Sample(one["value"] * metric.scale, _labels(one)) for one in fresh]
            yield Family(metric.prometheus, "gauge", metric.description, values)
        yield _samples(metric, series)


def _samples(metric: Metric, series: Sequence[Mapping[str, Any]]) -> Family:
    """What the samples of a metric amount to: percentiles of the last minutes, sum and count since the start."""
    unit = unit_of(metric.prometheus)
    samples: list[Sample] = []
    for one in series:
        labels = _labels(one)
        for share, key in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99")):
            if one[key] is not None:
                samples.append(Sample(one[key] * metric.scale, {**labels, "quantile": share}))
        samples += [Sample(one["sum"] * metric.scale, labels, "_sum"), Sample(one["count"], labels, "_count")]
    name = f"{metric.prometheus.removesuffix(f'_{unit}')}_samples_{unit}" if unit else f"{metric.prometheus}_samples"
    return Family(name, "summary", f"{metric.description} Percentiles are of the last 5 minutes.", samples)


def _own(node: Supervisor, end: int) -> Iterator[Family]:
    yield from _stages(node)
    yield from _pipelines(node, end)
    yield from _keeping(node)
    yield from _disk(node)
    yield from _process(node)


def _stages(node: Supervisor) -> Iterator[Family]:
    counts, gaps = node.counters.snapshot(), node.counters.gaps()

    def each(value: Callable[[Counts], float]) -> list[Sample]:
        return [Sample(value(edge), {"stage": stage}) for stage, edge in counts.items()]

    for name, help in _COUNTERS.items():
        yield Family(f"bers_stage_{name}", "counter", help, each(attrgetter(name)))
    yield Family(
        "bers_stage_dropped", "counter", "Records that were lost at a stage, by reason.",
        [
            Sample(number, {"stage": stage, "reason": reason})
            for stage, edge in counts.items()
            for reason, number in edge.dropped.items()
        ],
    )  # fmt: skip
    for name, help, spent in _SPENT:
        yield Family(f"bers_stage_{name}", "counter", help, each(spent))
    yield Family(
        "bers_stage_latency_seconds", "summary", "Time of one call of a stage in the last one to two minutes.",
        [
            Sample(seconds, {"stage": stage, "quantile": share})
            for stage, edge in counts.items()
            for share, seconds in (("0.5", edge.p50), ("0.99", edge.p99))
            if seconds is not None
        ],
    )  # fmt: skip
    yield Family(
        "bers_stage_queued", "gauge", "Records that are inside a stage or wait for it.",
        each(lambda edge: edge.queued),
    )  # fmt: skip
    yield Family(
        "bers_stage_unaccounted", "gauge",
        "Records whose whereabouts counters do not tell; anything but 0 is a fault.",
        [Sample(gaps.get(stage, 0), {"stage": stage}) for stage in counts],
    )  # fmt: skip
    yield Family(
        "bers_stage_state", "gauge", "1 for the state that a stage is in.",
        [
            Sample(int(cell.state == state), {"stage": cell.name, "state": state})
            for cell in node.cells
            for state in STATES
        ],
    )  # fmt: skip
    yield Family(
        "bers_stage_restarts", "counter", "How often a stage was started again after a failure.",
        [Sample(cell.restarts, {"stage": cell.name}) for cell in node.cells],
    )  # fmt: skip


def _pipelines(node: Supervisor, end: int) -> Iterator[Family]:
    queues = [
        ({"stage": f"{pipeline.name}/{key}"}, queue)
        for pipeline in node.pipelines.values()
        for key, queue in pipeline.queues.items()
    ]
    now = node.clock.monotonic()
    yield Family(
        "bers_stage_queue_records", "gauge", "Records that wait in front of a stage.",
        [Sample(queue.size, stage) for stage, queue in queues],
    )  # fmt: skip
    yield Family(
        "bers_stage_queue_bytes", "gauge", "About how many bytes wait in front of a stage.",
        [Sample(queue.bytes, stage) for stage, queue in queues],
    )  # fmt: skip
    yield Family(
        "bers_stage_queue_age_seconds", "gauge",
        "How long that waits already which waits longest in front of a stage.",
        [Sample(queue.age(now), stage) for stage, queue in queues],
    )  # fmt: skip
    lags = [({"pipeline": name}, *pipeline.behind(end, node.clock.time())) for name, pipeline in node.pipelines.items()]
    yield Family(
        "bers_pipeline_lag", "gauge", "Events that a pipeline has yet to read.",
        [Sample(lag, name) for name, lag, _ in lags],
    )  # fmt: skip
    yield Family(
        "bers_pipeline_age_seconds", "gauge",
        "How long ago the event came that a pipeline read last, while it lags.",
        [Sample(age, name) for name, _, age in lags],
    )  # fmt: skip


def _keeping(node: Supervisor) -> Iterator[Family]:
    """The journal, the dead letters, and what the intake refuses."""
    dead, intake = node.dead, node.intake
    yield _one("bers_journal_fill_ratio", "How much of its quota the journal has used.", node.bus.fill)
    yield _one("bers_dead_letters", "Dead letters that there are.", dead.count)
    yield _one("bers_dead_letters_bytes", "What the dead letters take.", dead.bytes)
    yield Family(
        "bers_dead_letters_dropped", "counter", "Records whose dead letters had to give way.", [Sample(dead.dropped)]
    )
    yield _by("bers_intake_refused", "reason", "Requests with events that were refused, by reason.", intake.refused)
    yield _by(
        "bers_intake_labels_folded", "label", "Values of labels that became `other`, by label.", intake.series.folded
    )
    yield Family(
        "bers_intake_culprit_values", "gauge", "Values of labels that became `other`, by who sent most of them.",
        [
            Sample(one["values"], {name: one[name] for name in ("source", "metric", "label")})
            for one in culprits(intake.series)
        ],
    )  # fmt: skip


def _disk(node: Supervisor) -> Iterator[Family]:
    """The disk of the data directory, and who cannot write there."""
    storage, now = node.storage, node.clock.time()
    if storage.room.known:
        yield _one("bers_disk_free_bytes", "What is free of the disk of the data directory.", storage.room.free)
        yield _one("bers_disk_size_bytes", "How large the disk of the data directory is.", storage.room.total)
    used = [Sample(size, {"part": part}) for part, size in storage.used.items()]
    yield Family("bers_disk_used_bytes", "gauge", "What files of this node take on the disk, by part.", used)
    lasted = [Sample(max(0.0, now - storage.failing.get(part, now)), {"part": part}) for part in storage.writers]
    help = "For how long something could not be written; 0: it can."
    yield Family("bers_disk_unwritable_seconds", "gauge", help, lasted)
    help = "Events that the journal gave up before their time."
    yield Family("bers_journal_dropped", "counter", help, [Sample(node.bus.dropped)])


def _process(node: Supervisor) -> Iterator[Family]:
    blame, memory, configuration = node.blame, node.memory, node.configuration
    yield _by("bers_loop_blocked", "stage", "How often the event loop stood still, by whose fault.", blame.blocks)
    yield _by(
        "bers_loop_blocked_seconds", "stage", "For how long the event loop stood still.",
        {stage: milliseconds / 1000 for stage, milliseconds in blame.blocked.items()},
    )  # fmt: skip
    yield _one(
        "bers_config_generation", "How many configurations this node has had in place.", configuration.generation
    )
    yield _one(
        "bers_config_last_reload_successful", "0 while the last reload has failed, else 1.",
        int(configuration.result == "ok"),
    )  # fmt: skip
    reloaded = configuration.reload.at if configuration.reload else configuration.loaded_at
    yield _one(
        "bers_config_last_reload_seconds", "When the last reload, or else the start, was: Unix time.", reloaded / 1000
    )
    yield _one("bers_memory_budget_bytes", "What this process may take of memory.", memory.budget)
    yield _one("bers_memory_resident_bytes", "What this process takes of memory.", memory.resident)
    yield Family(
        "bers_memory_used_bytes", "gauge", "What is held of memory, by who holds it.",
        [Sample(held, {"account": account}) for account, held in memory.accounts()],
    )  # fmt: skip
    yield _by(
        "bers_clock_jumps", "cause", "How often the clock was set (step), or nothing happened here for a while.",
        {cause: node.timekeeping.jumps[cause] for cause in CAUSES},
    )  # fmt: skip
    availability = node.heartbeats.availability()
    yield _one(
        "bers_availability_ratio", "Share of the last 30 days in which this node was there.",
        availability.percent / 100,
    )  # fmt: skip
    yield _one(
        "bers_error_budget_remaining_ratio", "What is left of the error budget of 30 days at 99.9 %.",
        availability.budget_remaining / 100,
    )  # fmt: skip
    yield _one("bers_uptime_seconds", "Time since this node was started.", node.uptime)


def _one(name: str, help: str, value: float) -> Family:
    return Family(name, "gauge", help, [Sample(value)])


def _by(name: str, label: str, help: str, numbers: Mapping[str, float]) -> Family:
    return Family(name, "counter", help, [Sample(number, {label: key}) for key, number in numbers.items()])


def _labels(series: Mapping[str, Any]) -> dict[str, str]:
    """Labels by names that Prometheus takes; its own one for percentiles is not theirs to use."""
    found: Mapping[str, str] = series["labels"]
    return {("label_" if name == "quantile" else "") + _WORD.sub("_", name): text for name, text in found.items()}
