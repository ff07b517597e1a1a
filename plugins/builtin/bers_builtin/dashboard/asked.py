"""What the addresses of views say: which alerts, which metric and how, which runs, which place of the pipelines."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class AskAlertsView(msgspec.Struct, frozen=True):
    """Which alerts to look at."""

    state: Annotated[
        str,
        Meta(
            max_length=20,
            description="Which list: active, acknowledged, suppressed, history, silences, rules or statistics.",
        ),
    ] = "active"
    rule: Annotated[
        str,
        Meta(max_length=200, description="The name of the rule whose alerts are listed, or the id of the one shown."),
    ] = ""
    severity: Annotated[str, Meta(max_length=20, description="Only alerts of this severity.")] = ""
    period: Annotated[str, Meta(max_length=20, description="How far back the history goes: 24h, 7d.")] = "7d"
    after: Annotated[str, Meta(max_length=200, description="Where in the history the page begins.")] = ""
    id: Annotated[str, Meta(max_length=200, description="The alert that is shown whole.")] = ""


class AskMetricsView(msgspec.Struct, frozen=True):
    """Which metrics to look at, and how."""

    range: Annotated[str, Meta(max_length=20, description="How far to look back: 5m, 1h, 30d.")] = "15m"
    find: Annotated[str, Meta(max_length=200, description="Words that name, title or description have to have.")] = ""


class AskMetricView(msgspec.Struct, frozen=True, rename={"since": "from", "until": "to"}):
    """Which metric to look at, and how."""

    name: Annotated[str, Meta(max_length=200, description="The metric's name.")]
    range: Annotated[str, Meta(max_length=20, description="How far to look back: 5m, 1h, 30d.")] = "1h"
    since: Annotated[str, Meta(max_length=20, description="The start, in ms since 1970, instead of a range.")] = ""
    until: Annotated[str, Meta(max_length=20, description="The end, in ms since 1970.")] = ""
    labels: Annotated[str, Meta(max_length=1000, description="Only series with these labels.")] = ""
    by: Annotated[str, Meta(max_length=200, description="A line for each value of this label.")] = ""
    before: Annotated[str, Meta(max_length=1, description="1 compares with the period before.")] = ""


class AskRunsView(msgspec.Struct, frozen=True):
    """Which runs to look at."""

    id: Annotated[str, Meta(max_length=1000, description="The run that is shown whole.")] = ""
    name: Annotated[str, Meta(max_length=200, description="Only what is called so.")] = ""
    service: Annotated[str, Meta(max_length=200, description="Only those of this service.")] = ""
    environment: Annotated[str, Meta(max_length=200, description="Only those for this environment.")] = ""
    branch: Annotated[str, Meta(max_length=200, description="Only those of this branch.")] = ""
    outcome: Annotated[str, Meta(max_length=20, description="Only those that ended so; running, or lost.")] = ""


class AskPipelinesView(msgspec.Struct, frozen=True):
    """Which place of the pipelines to look at."""

    at: Annotated[
        str, Meta(max_length=300, description="The place whose records are shown, by its name in the graph.")
    ] = ""


class AskAsset(msgspec.Struct, frozen=True):
    """Which part of the page."""

    name: Annotated[str, Meta(max_length=200, description="The file's name.")]
