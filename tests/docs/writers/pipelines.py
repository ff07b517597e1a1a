"""The page about pipelines.yaml: its keys, its units, and the runbook's dictionary beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bers.config import Delivery, PipelineSettings, Settings
from bers.config.environment import VARIABLES
from bers.config.located import spell
from bers.config.runbook import KEYS
from bers.units import EXAMPLES, TYPES
from tests.docs.writers import markdown

SAMPLES: Mapping[str, tuple[Any, str]] = {
    "environment": ("staging", "text"),
    "deployment.dashboardPort": (8080, "port"),
    "deployment.healthPort": (8081, "port"),
    "deployment.metricsPort": (8082, "port"),
    "deployment.host": ("127.0.0.1", "address"),
    "deployment.logLevel": ("debug", "debug, info, warning or error"),
    "deployment.logFolder": ("logs", "folder"),
    "deployment.dataDir": (".bers", "folder"),
    "performance.targets.configurationResolution": (75, "milliseconds"),
    "performance.targets.providerInitialization": (40, "milliseconds"),
    "performance.targets.buildTime": (20000, "milliseconds"),
    "performance.targets.deploymentTime": (120000, "milliseconds"),
    "performance.targets.testCoverage": (90, "per cent"),
    "performance.targets.errorRate": (2, "per cent"),
    "performance.optimization.sampling.adaptive": (True, "true or false"),
    "performance.optimization.sampling.rate": (0.5, "share, 0 to 1"),
    "performance.optimization.sampling.thresholdTrigger": (200, "milliseconds"),
    "monitoring.metricsGranularity": (2000, "milliseconds"),
    "monitoring.retentionPolicies.realtime": (150, "seconds"),
    "monitoring.retentionPolicies.shortTerm": (30, "minutes"),
    "monitoring.retentionPolicies.mediumTerm": (1, "days"),
    "monitoring.retentionPolicies.longTerm": (30, "days"),
    "monitoring.dashboardRefreshInterval": (10000, "milliseconds"),
    "alerting.deduplication.enabled": (True, "true or false"),
    "alerting.deduplication.window": (600000, "milliseconds"),
    "alerting.rateLimiting.maxAlerts": (5, "alerts"),
    "alerting.rateLimiting.window": (600000, "milliseconds"),
}
"""A value for every key of the runbook's dictionary, as the runbook would write it, and what it means."""

_SHORT = ("deduplication", "rateLimiting")
"""What the runbook shows at the top as well as below `alerting`."""


def page() -> str:
    return markdown.page(
        "pipelines.yaml",
        "One file says what a node watches and where it goes. `bers check` names everything that is wrong with it, "
        "with line, path and remedy; `bers start` refuses to start with a file that has a fault. Without a file the "
        "one that ships with us is used.",
        "## Keys at the top",
        markdown.table(["key", "type", "default", "meaning"], [*markdown.option_rows(Settings), *_STAGES]),
        _STAGE_TEXT,
        markdown.table(["key", "type", "default", "meaning"], _RESERVED),
        "Inside `delivery:`",
        markdown.table(["key", "type", "default", "meaning"], markdown.option_rows(Delivery)),
        "## Pipelines",
        _PIPELINE_TEXT,
        markdown.table(["key", "type", "default", "meaning"], markdown.option_rows(PipelineSettings)),
        "## Values with units",
        "A number without a unit is refused where a unit matters. Write:",
        markdown.table(
            ["type", "as in", "meaning"],
            [
                [type.__name__.lower(), markdown.code(EXAMPLES[type]), markdown.first_line(type.__doc__)]
                for type in TYPES
            ],
        ),
        _YAML_TEXT,
        "## Values from the environment",
        "These variables win over the file, where they are set and not empty. A fault in one is named with it.",
        markdown.table(
            ["variable", "sets", "written as"],
            [
                [markdown.code(name), markdown.code(spell(steps)), _WRITTEN[str(steps[-1])]]
                for name, (steps, _) in VARIABLES.items()
            ],
        ),
        "## The runbook's dictionary",
        "`start_production_monitoring({...})` takes the keys that the runbook uses, with the runbook's own units and "
        "bare numbers, and lays them over the file. A key that is not known is refused. What is below `alerting` may "
        "also stand at the top, as the runbook has it.",
        markdown.table(["key", "in", "changes", "as in"], dictionary_rows()),
    )


def dictionary_rows() -> list[list[str]]:
    """Every key of the dictionary, what its value counts, what it changes, and an example of both."""
    rows: list[list[str]] = []
    for key, change in _leaves(KEYS):
        sample, unit = SAMPLES[key]
        changes = change(sample)
        paths = " and ".join(markdown.code(spell(steps)) for steps, _ in changes)
        written = " and ".join(dict.fromkeys(_written(value) for _, value in changes))
        rows.append([markdown.code(key), unit, paths, f"{markdown.code(_written(sample))} becomes {written}"])
    return rows


def _leaves(keys: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in keys.items():
        if not prefix and key in _SHORT:
            continue
        if isinstance(inner, Mapping):
            yield from _leaves(inner, f"{prefix}{key}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield prefix + key, inner


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_WRITTEN = {
    "enabled": "`true` or `false`",
    "key": "the key",
    "allowed": "networks, with commas between",
    "allow_loopback": "`true` or `false`",
}
_STAGES = [
    ["`sources`", "map of stages", "none", "Where events come from, by a key of your choice."],
    ["`processors`", "map of stages", "none", "What is done to them; one is made for each pipeline that names it."],
    ["`sinks`", "map of stages", "none", "Where they go."],
    ["`pipelines`", "map of pipelines", "none", "Which source leads through which processors to which sink."],
]
_STAGE_TEXT = """
## Stages

Each entry of `sources`, `processors` and `sinks` declares one stage under a key; pipelines name it by that key. What
stands in it are the options of the stage, as its [page](plugins/index.md) lists them, and these:
"""
_RESERVED = [
    ["`use`", "text", "the key itself", "The name of the stage, where the key is another."],
    ["`delivery`", "Delivery", "as below", "For sinks: how they are fed."],
    ["`primary`", "true or false", "`false`", "Which of several stages of one name answers over REST."],
]
_PIPELINE_TEXT = """
A pipeline takes the events of its sources, in their order, through its processors to its sinks. `unmapped` is the
source of every event that nobody claims; it need not be declared, and no stage may be called so. A sink that is a
source too, such as `alert-engine`, may be named in the `sources` of another pipeline, but not so that pipelines form a
cycle. Two pipelines that both aggregate must not lead one source to one durable sink: it would be counted twice.
"""
_YAML_TEXT = """
Thresholds of rules and targets of metrics are written in any unit that fits the metric: `75ms` for a time, `80%` for a
share, `1MB` for a size, a bare number for a count.

Text is YAML 1.2: `on`, `yes` and `10:30` are text. Keys that stand twice, merge keys (`<<`) and tags are faults.

## Values from elsewhere

| written | becomes |
| --- | --- |
| `${env:NAME}` | The environment variable; a fault where it is not set. |
| `${env:NAME:-default}` | The same, or the default. |
| `${file:PATH}` | What the file holds, without white space around it; a fault where it cannot be read. |

They are replaced in values only, after the file has been read, so that what they bring cannot change its structure.
"""
