"""What REST is asked about metrics, and what it answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from bers import Period, Status

Trend: TypeAlias = Literal["improving", "stable", "worsening", "unknown"]
Tiered: TypeAlias = Literal["realtime", "short-term", "medium-term", "long-term"]
Figure: TypeAlias = Literal["count", "sum", "average", "min", "max", "last", "p50", "p95", "p99"]

FIGURES: tuple[Figure, ...] = ("count", "sum", "average", "min", "max", "last", "p50", "p95", "p99")
"""What a point may tell."""

LATEST = 253_402_300_799_999
"""The end of the year 9999, in milliseconds since 1970."""
POINTS = 5000
"""How many points a series may be asked for at most."""
LINES = 500
"""How many series may be asked for at most."""
STANDINGS = 100_000
"""Of how many series the newest value may be asked for at most."""
RECORDS = 1000
"""How many details may be asked for at most."""

_Millis = Annotated[int, Meta(ge=0, le=LATEST)]
_FIGURE = "|".join(FIGURES)
_NAMES = "[a-z][a-z0-9_]*"
_LABELS = {
    "pattern": "^(?:[^,=!]+!?=[^,]*(?:,[^,=!]+!?=[^,]*)*)?$",
    "examples": ["kind=raw", "environment!=production,kind=raw|gzip"],
}


def up_to(most: int) -> dict[str, int]:
    """As the schema says it; what is beyond is refused by whoever answers, who says why."""
    return {"minimum": 1, "maximum": most}


Where: TypeAlias = Annotated[
    str,
    Meta(
        max_length=1000,
        description="Conditions that must all hold, as in `outcome=failure and vcs.ref~^release/`: those that `tap` "
        "takes.",
    ),
]

After: TypeAlias = Annotated[
    str,
    Meta(
        description="What `next` said of the answer before: go on behind it.",
        extra_json_schema={"pattern": "^(?:[0-9a-f]{20}(?:[0-9a-f]{2})*)?$"},
    ),
]

Point: TypeAlias = tuple[float, ...]
"""Start in ms, and then what `fields` names."""


class AskMetrics(msgspec.Struct):
    """What all metrics did lately."""

    period: Annotated[Period, Meta(description="How far to look back: 5m, 7d, or milliseconds.")] = "5m"


class AskMetric(msgspec.Struct, kw_only=True):
    """What one metric did in a span of time."""

    type: Annotated[str, Meta(description="The metric's name.")]
    period: Annotated[Period, Meta(description="How far to look back from `to`: 5m, 7d, or milliseconds.")] = "5m"
    from_: Annotated[_Millis | None, Meta(description="The start, in ms since 1970, instead of a period.")] = (
        msgspec.field(default=None, name="from")
    )
    to: Annotated[_Millis | None, Meta(description="The end, in ms since 1970; now if not told.")] = None
    step: Annotated[
        Period | None, Meta(description="How far apart points lie: 10s, or milliseconds; fitting if not told.")
    ] = None
    labels: Annotated[
        str,
        Meta(
            description="Only series with these labels: `kind=raw|gzip,environment!=production`. "
            "A label that a series does not have is empty.",
            extra_json_schema=_LABELS,
        ),
    ] = ""
    by: Annotated[
        str | None,
        Meta(
            description="Series that agree in these labels become one line: `environment`; with nothing, all of them "
            "do. Each series is a line if not told.",
            extra_json_schema={"pattern": f"^(?:{_NAMES}(?:,{_NAMES})*)?$", "examples": ["environment"]},
        ),
    ] = None
    fields: Annotated[
        str,
        Meta(
            description=f"What a point tells beside its start: {', '.join(FIGURES)}.",
            extra_json_schema={"pattern": f"^(?:{_FIGURE})(?:,(?:{_FIGURE}))*$", "examples": ["min,max,p50,p99"]},
        ),
    ] = "count,average,min,max,p95"
    line_fields: Annotated[
        str | None,
        Meta(
            description="What a point of a single line tells, where that is less than `fields`, which then is of all "
            "series together; as `fields` if not told.",
            extra_json_schema={"pattern": f"^(?:{_FIGURE})(?:,(?:{_FIGURE}))*$", "examples": ["average"]},
        ),
    ] = msgspec.field(default=None, name="lineFields")
    points: Annotated[
        int,
        Meta(description=f"How many points a line may have at most, up to {POINTS}.", extra_json_schema=up_to(POINTS)),
    ] = 300
    limit: Annotated[
        int,
        Meta(
            description=f"How many lines at most, those with the most samples; up to {LINES}.",
            extra_json_schema=up_to(LINES),
        ),
    ] = 50


class AskCurrent(msgspec.Struct):
    """How every series stands now."""

    period: Annotated[Period, Meta(description="Over how long percentiles are: 5m, or milliseconds.")] = "5m"
    limit: Annotated[
        int,
        Meta(description="How many series at most, of all metrics together.", extra_json_schema=up_to(STANDINGS)),
    ] = 10_000


class AskReport(msgspec.Struct):
    """How all metrics stand."""

    period: Annotated[Period, Meta(description="What the report covers: 5m, 7d, or milliseconds.")] = "5m"


class AskForget(msgspec.Struct):
    """What is to be deleted."""

    type: Annotated[str, Meta(description="The metric's name.")]
    before: Annotated[
        _Millis,
        Meta(
            description="Delete the windows that begin before this, in ms since 1970. In a coarser tier that may be a "
            "window that reaches beyond it."
        ),
    ]
    labels: Annotated[
        str, Meta(description="Only of series with these labels: `kind=raw`.", extra_json_schema=_LABELS)
    ] = ""


class AskRecords(msgspec.Struct):
    """Which event details are wanted."""

    id: Annotated[
        str,
        Meta(
            description="Only the event of this id; `type`, `subject`, `since`, `until`, `where` and `after` do not "
            "matter then."
        ),
    ] = ""
    source: Annotated[str, Meta(description="With `id`: its source, where several may have used the id.")] = ""
    type: Annotated[str, Meta(description="An event type, or all of a kind as in `build.*`.")] = "*"
    subject: Annotated[str, Meta(description="Only what happened to this.")] = ""
    since: Annotated[_Millis, Meta(description="Only what happened from then on, in ms since 1970.")] = 0
    until: Annotated[_Millis, Meta(description="Only what happened up to then, in ms since 1970.")] = LATEST
    where: Where = ""
    limit: Annotated[
        int,
        Meta(description=f"How many at most, up to {RECORDS}.", extra_json_schema=up_to(RECORDS)),
    ] = 50
    after: After = ""
    format: Annotated[
        Literal["json", "csv", "ndjson", "cdevents"],
        Meta(
            description="As what to answer: `csv` or `ndjson` is a file to download, which Accept asks for too; with"
            " `cdevents`, each event is a CDEvent 0.5.1."
        ),
    ] = "json"


class MetricSummary(msgspec.Struct, rename="camel", kw_only=True):
    """One metric over one period, all its series together, in the metric's unit.

    ``current`` is the newest sample of all, whenever it was. ``trend`` compares the mean of the period's second half
    with that of the first. ``healthStatus`` is unhealthy where the mean misses the target, degraded where the p95 or
    the newest sample does, and unknown without a sample.
    """

    type: str
    title: str
    unit: str
    description: str
    target: float | None
    current: float | None
    average: float | None = None
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    count: int = 0
    trend: Trend = "unknown"
    health_status: Status = "unknown"
    last_updated: int | None = None
    period_ms: int = 0


class Line(msgspec.Struct, rename="camel", kw_only=True):
    """One line: the labels that its series share, what it amounts to, and its points, as `fields` has them.

    Where there was no sample there is no point: between two that lie more than ``stepMs`` apart is a gap.
    """

    labels: dict[str, str]
    current: float | None = None
    last_updated: int | None = None
    count: int = 0
    average: float | None = None
    min: float | None = None
    max: float | None = None
    p95: float | None = None
    points: list[Point] = []


class MetricAnswer(MetricSummary, rename="camel", kw_only=True):
    """One metric with its lines. ``from`` and ``to`` are widened to whole windows of the tier that answers.

    ``min`` and ``max`` of a point are those of every sample in its step, however long that is: no spike is lost.
    """

    from_: int = msgspec.field(default=0, name="from")
    to: int = 0
    width_ms: int = 0
    tier: Tiered = "realtime"
    step_ms: int = 0
    fields: list[Literal["start"] | Figure] = []
    """What the numbers of a point are, in their order."""
    line_fields: list[Literal["start"] | Figure] = []
    """The same, of the points in `series`."""
    series_count: int = 0
    """How many lines there are; those with the most samples are told."""
    series: list[Line] = []
    overall: list[Point] = []
    """The points of all series together, also of those that are not told."""


class Standing(msgspec.Struct, rename="camel", kw_only=True):
    """One series as it stands. Percentiles are of the period, and left out where it has no sample."""

    labels: dict[str, str]
    value: float
    last_updated: int
    count: int
    """How many samples there were since the store was opened."""
    sum: float
    """What they add up to."""
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class LeftOutBeside(msgspec.Struct, rename="camel"):
    """How many series are not told, because there are more than were asked for."""

    left_out: int


class BufferBeside(msgspec.Struct, rename="camel"):
    """How full the buffers are, 0 to 1: windows of each metric that no page holds yet, and the fullest of all."""

    buffer_utilization: dict[str, float]


class NextBeside(msgspec.Struct):
    """Where the answer ends: what to ask for as `after` to be told what comes then; null where nothing does."""

    next: str | None


class Cleared(msgspec.Struct, rename="camel"):
    """How many decoded pages were dropped, and about how many bytes they took."""

    cleared: int
    bytes: int


class Forgotten(msgspec.Struct, rename="camel"):
    """How many series were looked at, and how many windows of all tiers were deleted."""

    type: str
    before: int
    series: int
    windows: int


Record: TypeAlias = dict[str, Any]
