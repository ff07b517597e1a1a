"""The page about metrics: those that events bring, and those of the node itself."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import anyio

from bers import Metric, format_value
from bers.config import plan, shipped
from bers.pipeline import Pipeline
from bers.plugins import load
from bers.supervisor import Supervisor
from bers.web.exposition import TEXT
from bers.web.prometheus import exposition
from tests.docs.writers import markdown

_HEAD = re.compile(r"# (HELP|TYPE) (\w+) (.+)")
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? \S+")


def page() -> str:
    catalogue = load(installed=False)
    owners: dict[str, list[str]] = {}
    for _, spec in catalogue.all():
        for metric in spec.metrics:
            owners.setdefault(metric.name, []).append(spec.name)
    rows = [_row(metric, owners[name]) for name, metric in sorted(catalogue.metrics().items())]
    return markdown.page(
        "Metrics",
        "Every metric that a builtin stage declares. REST, rules, targets and the store use its name and unit; times "
        "are in milliseconds and shares in per cent there. Prometheus gets base units: seconds, bytes, ratios from 0 "
        "to 1.",
        markdown.table(["metric", "unit", "target", "labels", "in Prometheus", "from", "meaning"], rows),
        "`/metrics` has a sample for each series with its labels: the newest value, for an hour after it came. What "
        "counts (`_total`) is added up since this node was started. Beside it there is a summary of each other metric, "
        "named with `_samples`: the quantiles 0.5, 0.95 and 0.99 of the last 5 minutes, and `_sum` and `_count` since "
        "the start: `bers_build_performance_samples_seconds`.",
        "A target is met by a value that equals it. `metrics: {NAME: {target: 75ms}}` in "
        "[pipelines.yaml](pipelines.md) sets another.",
        "## The node itself",
        "These are on `/metrics` alone, on the metrics port and the control port. Stages are named as in "
        "`pipelines.yaml`; at the edge of a pipeline as `PIPELINE/STAGE`, of a source as `source/KEY`. At every edge, "
        "and at any time, `taken + made = out + filtered + dropped + queued + merged`.",
        markdown.table(
            ["series", "type", "labels", "meaning"],
            [
                [markdown.code(name), kind, ", ".join(map(markdown.code, labels)), text]
                for name, kind, labels, text in own()
            ],
        ),
    )


def own() -> list[tuple[str, str, list[str], str]]:
    """What the node says of itself: name, type, labels and meaning of each series, as the exposition has them."""
    text = anyio.run(_exposed)
    types: dict[str, str] = {}
    helps: dict[str, str] = {}
    labels: dict[str, list[str]] = {}
    for line in text.splitlines():
        if head := _HEAD.fullmatch(line):
            (helps if head[1] == "HELP" else types)[head[2]] = head[3]
        elif (sample := _SAMPLE.fullmatch(line)) and sample[2]:
            labels[sample[1]] = re.findall(r"(\w+)=", sample[2])
    return [(name, kind, labels.get(name, []), helps[name]) for name, kind in types.items()]


async def _exposed() -> str:
    """The exposition of a node that has not been started, so that it has nothing to say but of itself."""
    with TemporaryDirectory() as folder:
        document = shipped()
        document.put(("data_dir",), str(Path(folder) / ".bers"))
        node = Supervisor(plan(document, load(installed=False), environ={}))
        edge = node.counters.edge("metrics/store")
        edge.dropped["full"] += 1
        edge.took(perf_counter())
        node.pipelines["metrics"] = Pipeline("metrics")
        return await exposition(node, TEXT)


def _row(metric: Metric, owners: list[str]) -> list[str]:
    side = {"lower": "at most ", "higher": "at least "}.get(metric.better, "")
    return [
        markdown.code(metric.name),
        markdown.code(metric.unit),
        "" if metric.target is None else f"{side}{format_value(metric.target, metric.unit)}",
        ", ".join(map(markdown.code, metric.labels)),
        markdown.code(metric.prometheus),
        ", ".join(dict.fromkeys(owners)),
        metric.description,
    ]
