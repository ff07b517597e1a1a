"""The node's current values and its own counters, as Prometheus reads them (text format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bers.clock import CAUSES
from bers.collection import culprits
from bers.errors import Refused
from bers.plain import as_number, as_object
from bers.states import STATES
from bers.supervisor import Supervisor

MEDIA = "text/plain; version=0.0.4; charset=utf-8"


async def exposition(node: Supervisor) -> str:
    """The whole page: the newest value of every metric, and what the stages of this node did."""
    try:
        current: Mapping[str, Any] = await node.directory.call("GET", "metrics", {})
    except Refused:
        current = {}
    _, end = await node.bus.span(0)
    return "\n".join([*_metrics(node, current), *_own(node, end), ""])


def _metrics(node: Supervisor, current: Mapping[str, Any]) -> Iterator[str]:
    for name, metric in node.plan.metrics.items():
        value = as_number((as_object(current.get(name)) or {}).get("current"))
        # Of what is counted, the newest sample says nothing: how many there were, REST tells for any period.
        if value is not None and not name.endswith("_total"):
            yield from _head(metric.prometheus, "gauge", metric.description)
            yield f"{metric.prometheus} {_number(value * metric.scale)}"


def _own(node: Supervisor, end: int) -> Iterator[str]:
    counts, gaps = node.counters.snapshot(), node.counters.gaps()
    lags = {name: pipeline.behind(end, node.clock.time()) for name, pipeline in node.pipelines.items()}
    for name, help in (
        ("taken", "Records that went into a stage."),
        ("made", "Records that a stage made."),
        ("out", "Records that a stage passed on or delivered."),
        ("filtered", "Records that a stage left out on purpose."),
        ("dead", "Records that became dead letters."),
        ("merged", "Records that were folded into others."),
        ("errors", "Errors that a stage raised."),
    ):
        metric = f"bers_stage_{name}_total"
        yield from _head(metric, "counter", help)
        for stage, edge in counts.items():
            yield f'{metric}{{stage="{_label(stage)}"}} {getattr(edge, name)}'
    yield from _head("bers_stage_dropped_total", "counter", "Records that were lost at a stage, by reason.")
    for stage, edge in counts.items():
        for reason, number in edge.dropped.items():
            yield f'bers_stage_dropped_total{{stage="{_label(stage)}",reason="{_label(reason)}"}} {number}'
    yield from _head("bers_stage_queued", "gauge", "Records that are inside a stage or wait for it.")
    for stage, edge in counts.items():
        yield f'bers_stage_queued{{stage="{_label(stage)}"}} {edge.queued}'
    for name, help in (
        ("queue_records", "Records that wait in front of a stage."),
        ("queue_bytes", "About how many bytes wait in front of a stage."),
        ("queue_age_seconds", "How long that waits already which waits longest in front of a stage."),
    ):
        yield from _head(f"bers_stage_{name}", "gauge", help)
        for pipeline in node.pipelines.values():
            for key, queue in pipeline.queues.items():
                values = {"queue_records": queue.size, "queue_bytes": queue.bytes}
                value = values.get(name, queue.age(node.clock.monotonic()))
                yield f'bers_stage_{name}{{stage="{_label(f"{pipeline.name}/{key}")}"}} {value:g}'
    yield from _head("bers_dead_letters", "gauge", "Dead letters that there are.")
    yield f"bers_dead_letters {node.dead.count}"
    yield from _head("bers_dead_letters_bytes", "gauge", "What the dead letters take.")
    yield f"bers_dead_letters_bytes {node.dead.bytes}"
    yield from _head("bers_dead_letters_dropped_total", "counter", "Records whose dead letters had to give way.")
    yield f"bers_dead_letters_dropped_total {node.dead.dropped}"
    yield from _head("bers_stage_seconds_total", "counter", "Time spent inside a stage.")
    for stage, edge in counts.items():
        yield f'bers_stage_seconds_total{{stage="{_label(stage)}"}} {edge.seconds:.6f}'
    yield from _head(
        "bers_stage_cpu_seconds_total", "counter", "CPU that a stage took on the thread of the event loop."
    )
    for stage, edge in counts.items():
        yield f'bers_stage_cpu_seconds_total{{stage="{_label(stage)}"}} {edge.cpu:.6f}'
    yield from _head(
        "bers_stage_latency_seconds", "gauge", "Time of one call of a stage in the last one to two minutes."
    )
    for stage, edge in counts.items():
        for share, seconds in (("0.5", edge.p50), ("0.99", edge.p99)):
            if seconds is not None:
                yield f'bers_stage_latency_seconds{{stage="{_label(stage)}",quantile="{share}"}} {seconds:.6f}'
    yield from _head("bers_pipeline_lag", "gauge", "Events that a pipeline has yet to read.")
    for name, (lag, _) in lags.items():
        yield f'bers_pipeline_lag{{pipeline="{_label(name)}"}} {lag}'
    yield from _head(
        "bers_pipeline_age_seconds", "gauge", "How long ago the event came that a pipeline read last, while it lags."
    )
    for name, (_, age) in lags.items():
        yield f'bers_pipeline_age_seconds{{pipeline="{_label(name)}"}} {age:.3f}'
    yield from _head(
        "bers_stage_unaccounted", "gauge", "Records whose whereabouts counters do not tell; anything but 0 is a fault."
    )
    for stage in counts:
        yield f'bers_stage_unaccounted{{stage="{_label(stage)}"}} {gaps.get(stage, 0)}'
    yield from _head("bers_stage_state", "gauge", "1 for the state that a stage is in.")
    for cell in node.cells:
        for state in STATES:
            yield f'bers_stage_state{{stage="{_label(cell.name)}",state="{state}"}} {int(cell.state == state)}'
    yield from _head("bers_stage_restarts_total", "counter", "How often a stage was started again after a failure.")
    for cell in node.cells:
        yield f'bers_stage_restarts_total{{stage="{_label(cell.name)}"}} {cell.restarts}'
    yield from _head("bers_loop_blocked_total", "counter", "How often the event loop stood still, by whose fault.")
    for stage, number in node.blame.blocks.items():
        yield f'bers_loop_blocked_total{{stage="{_label(stage)}"}} {number}'
    yield from _head("bers_loop_blocked_seconds_total", "counter", "For how long the event loop stood still.")
    for stage, number in node.blame.blocked.items():
        yield f'bers_loop_blocked_seconds_total{{stage="{_label(stage)}"}} {number / 1000:.3f}'
    yield from _head("bers_journal_fill_ratio", "gauge", "How much of its quota the journal has used.")
    yield f"bers_journal_fill_ratio {node.bus.fill:.6f}"
    yield from _head("bers_config_generation", "gauge", "How many configurations this node has had in place.")
    yield f"bers_config_generation {node.configuration.generation}"
    yield from _head("bers_config_last_reload_successful", "gauge", "0 while the last reload has failed, else 1.")
    yield f"bers_config_last_reload_successful {int(node.configuration.result == 'ok')}"
    reload = node.configuration.reload
    yield from _head(
        "bers_config_last_reload_seconds", "gauge", "When the last reload, or else the start, was: Unix time."
    )
    yield f"bers_config_last_reload_seconds {(reload.at if reload else node.configuration.loaded_at) / 1000:.3f}"
    yield from _head("bers_memory_budget_bytes", "gauge", "What this process may take of memory.")
    yield f"bers_memory_budget_bytes {node.memory.budget}"
    yield from _head("bers_memory_resident_bytes", "gauge", "What this process takes of memory.")
    yield f"bers_memory_resident_bytes {node.memory.resident}"
    yield from _head("bers_memory_used_bytes", "gauge", "What is held of memory, by who holds it.")
    for account, held in node.memory.accounts():
        yield f'bers_memory_used_bytes{{account="{_label(account)}"}} {held}'
    yield from _head("bers_intake_refused_total", "counter", "Requests with events that were refused, by reason.")
    for reason, number in node.intake.refused.items():
        yield f'bers_intake_refused_total{{reason="{_label(reason)}"}} {number}'
    yield from _head("bers_intake_labels_folded_total", "counter", "Values of labels that became `other`, by label.")
    for name, number in node.intake.series.folded.items():
        yield f'bers_intake_labels_folded_total{{label="{_label(name)}"}} {number}'
    yield from _head(
        "bers_intake_culprit_values", "gauge", "Values of labels that became `other`, by who sent most of them."
    )
    for one in culprits(node.intake.series):
        labels = ",".join(f'{name}="{_label(one[name])}"' for name in ("source", "metric", "label"))
        yield f"bers_intake_culprit_values{{{labels}}} {one['values']}"
    yield from _head(
        "bers_clock_jumps_total", "counter", "How often the clock was set (step), or nothing happened here for a while."
    )
    for cause in CAUSES:
        yield f'bers_clock_jumps_total{{cause="{cause}"}} {node.timekeeping.jumps[cause]}'
    availability = node.heartbeats.availability()
    yield from _head("bers_availability_ratio", "gauge", "Share of the last 30 days in which this node was there.")
    yield f"bers_availability_ratio {availability.percent / 100:.6f}"
    yield from _head(
        "bers_error_budget_remaining_ratio", "gauge", "What is left of the error budget of 30 days at 99.9 %."
    )
    yield f"bers_error_budget_remaining_ratio {availability.budget_remaining / 100:.4f}"
    yield from _head("bers_uptime_seconds", "gauge", "Time since this node was started.")
    yield f"bers_uptime_seconds {node.uptime:.3f}"


def _head(name: str, kind: str, help: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return f"{value:.10g}"
