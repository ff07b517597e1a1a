"""The keys of pipelines.yaml that are not stages."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from bers.access.settings import AccessSettings, TlsSettings
from bers.health.settings import HealthSettings
from bers.shapes import objection
from bers.stages import Config
from bers.units import Duration, Interval, Quantity, Size

LEAST_MEMORY = Size("128MiB")
"""Half of it is what a node takes that has nothing to do."""


class LogSettings(Config, frozen=True):
    """What is written below `logs/`."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least severe message that is written.")
    ] = "info"
    folder: Annotated[str, Meta(description="Where the log files are, relative to where the server was started.")] = (
        "logs"
    )
    max_bytes: Annotated[Size, Meta(description="The size at which a log file is rotated.")] = Size("16MiB")
    keep: Annotated[int, Meta(ge=1, le=100, description="How many rotated files are kept, of each log.")] = 3
    events: Annotated[bool, Meta(description="Whether each accepted event is one line in the log of its source.")] = (
        True
    )


class ServerSettings(Config, frozen=True):
    """Where the server listens. Port 0 takes any that is free."""

    host: Annotated[str, Meta(description="The address to listen on.")] = "127.0.0.1"
    health: Annotated[int, Meta(ge=0, le=65535, description="The port of health reads.")] = 3001
    metrics: Annotated[int, Meta(ge=0, le=65535, description="The port of metrics reads.")] = 3002
    control: Annotated[int, Meta(ge=0, le=65535, description="The port of everything, and of all writes.")] = 3003
    max_connections: Annotated[
        int,
        Meta(ge=16, le=100_000, description="The most connections; health and metrics have a sixteenth each of them."),
    ] = 4096
    headers_within: Annotated[
        Interval, Meta(description="How long the headers of a request may take; then the connection is closed.")
    ] = Interval("10s")
    idle_within: Annotated[
        Interval, Meta(description="How long a connection is kept open on which nothing is asked.")
    ] = Interval("15s")
    tls: Annotated[TlsSettings | None, Meta(description="The certificate of all three; without, they speak HTTP.")] = (
        None
    )


class JournalSettings(Config, frozen=True):
    """The files behind the bus."""

    durable: Annotated[
        bool, Meta(description="Whether there are files at all; without, a stop forgets everything.")
    ] = True
    max_bytes: Annotated[Size, Meta(description="What the files may take before `when_full` applies.")] = Size("512MiB")
    min_free: Annotated[
        Size,
        Meta(
            description="What is left free of its disk, for alerts and for what has to be written in order to delete, "
            "before `when_full` applies; of a small disk, a twentieth at most."
        ),
    ] = Size("64MiB")
    when_full: Annotated[
        Literal["refuse", "drop_oldest"],
        Meta(
            description="Refuse new events (429 at `max_bytes`, 503 when the disk is full), or drop the oldest that "
            "somebody still has to read."
        ),
    ] = "refuse"
    max_age: Annotated[
        Interval,
        Meta(
            description="How old the oldest event of a file may be before another is begun: files go as a whole, once "
            "every event of theirs was read."
        ),
    ] = Interval("1h")


class LabelSettings(Config, frozen=True):
    """How many series labels may make. What is beyond is counted as `other`; the event keeps its own."""

    max_values: Annotated[
        int, Meta(gt=0, le=100_000, description="The most values of one label, of those that metrics are split by.")
    ] = 1000
    max_series: Annotated[int, Meta(gt=0, le=100_000, description="The most series of one metric.")] = 2000
    forget_after: Annotated[
        Interval,
        Meta(description="A value that was not seen for so long, or up to twice that, makes room for another."),
    ] = Interval("12h")


class IntakeSettings(Config, frozen=True):
    """How events come in."""

    journal: Annotated[JournalSettings, Meta(description="The files behind the bus.")] = JournalSettings()
    max_event: Annotated[Size, Meta(description="The largest event.")] = Size("256KiB")
    max_body: Annotated[Size, Meta(description="The largest request, as it was sent.")] = Size("10MiB")
    max_inflated: Annotated[Size, Meta(description="The largest request, decompressed.")] = Size("16MiB")
    max_events: Annotated[int, Meta(gt=0, description="The most events in one request.")] = 10_000
    body_within: Annotated[
        Interval, Meta(description="How long a body may take to arrive; then it is refused with 408.")
    ] = Interval("30s")
    memory: Annotated[
        Size,
        Meta(description="What this process may take of memory; beyond, new events are refused with 429."),
    ] = Size("512MiB")
    events_per_second: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="The most events a second from one sender; beyond, it is answered with 429."),
    ] = None
    labels: Annotated[LabelSettings, Meta(description="How many series labels may make.")] = LabelSettings()
    snapshot_every: Annotated[
        Interval,
        Meta(description="Time between two snapshots of what is remembered; the journal is trimmed after each."),
    ] = Interval("30s")
    forget_after: Annotated[Interval, Meta(description="How long a source waits for the other half of a thing.")] = (
        Interval("24h")
    )

    def __post_init__(self) -> None:
        if self.memory < LEAST_MEMORY:
            raise ValueError(f"memory: {self.memory} is too little for this process; write at least {LEAST_MEMORY}")


class WatchdogSettings(Config, frozen=True):
    """What is done about a stage that keeps everybody waiting, because its code does not await."""

    block: Annotated[
        Interval, Meta(description="How long the event loop may stand still until somebody is blamed.")
    ] = Interval("500ms")
    blocks: Annotated[int, Meta(gt=0, description="A stage that has blocked it so often is quarantined.")] = 3
    within: Annotated[Interval, Meta(description="Within what time.")] = Interval("10m")


class SupervisionSettings(Config, frozen=True):
    """What is done about stages that fail, hang or block."""

    restarts: Annotated[
        int, Meta(ge=0, description="So many times a stage is started anew after a failure, then it is quarantined.")
    ] = 5
    within: Annotated[Interval, Meta(description="Within what time.")] = Interval("10m")
    release_after: Annotated[
        Interval,
        Meta(
            description="How long after its last failure a quarantined stage is tried once more. One that hung and did "
            "not end when it was told to, or that blocked the event loop, waits for `bers stages restart`."
        ),
    ] = Interval("60s")
    open_within: Annotated[Interval, Meta(description="How long a stage may take to open.")] = Interval("30s")
    process_within: Annotated[Interval, Meta(description="How long a processor may take over one batch.")] = Interval(
        "10s"
    )
    write_within: Annotated[Interval, Meta(description="How long a sink may take over one batch.")] = Interval("30s")
    close_within: Annotated[Interval, Meta(description="How long a stage may take to close; then it is given up.")] = (
        Interval("5s")
    )
    watchdog: Annotated[WatchdogSettings, Meta(description="What is done about a stage that blocks.")] = (
        WatchdogSettings()
    )


class MetricSettings(Config, frozen=True):
    """How one metric differs from what its stage says; or, with a unit, one that no stage declares."""

    target: Annotated[Quantity | None, Meta(description="What is to be reached, in the metric's unit, as in 75ms.")] = (
        None
    )
    unit: Annotated[
        str,
        Meta(
            max_length=40,
            description="Declares a metric of your own, in this unit: ms, s, By, By/s, %, 1, or a noun in braces "
            "such as {request}.",
        ),
    ] = ""
    description: Annotated[str, Meta(max_length=400, description="Of a metric of your own: what is measured.")] = ""
    labels: Annotated[
        tuple[Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$", max_length=60)], ...],
        Meta(max_length=10, description="Of a metric of your own: the labels that make series of their own."),
    ] = ()
    better: Annotated[
        Literal["lower", "higher", "neither"],
        Meta(description="Of a metric of your own: on which side of its target a value should lie."),
    ] = "lower"

    @property
    def own(self) -> tuple[str, str, tuple[str, ...], str] | None:
        """What makes it a metric of its own; None where a stage declares it."""
        return (self.unit, self.description, self.labels, self.better) if self.unit else None


class RedactionSettings(Config, frozen=True):
    """What is masked besides credentials of known shapes and the values of secrets that stand in this file."""

    names: Annotated[
        tuple[Annotated[str, Meta(min_length=2, max_length=100)], ...],
        Meta(description="Names whose values are secrets, besides `token`, `password` and the like: `iban`."),
    ] = ()
    patterns: Annotated[
        tuple[Annotated[str, Meta(max_length=1000)], ...],
        Meta(
            description="Regular expressions of what is masked; where one has a group, only that is. Each is tried on "
            "every text of every event."
        ),
    ] = ()
    emails: Annotated[bool, Meta(description="Whether addresses of e-mail are masked too.")] = True

    def __post_init__(self) -> None:
        for number, pattern in enumerate(self.patterns):
            if fault := objection(pattern):
                raise ValueError(f"patterns[{number}]: {fault}")


class DeadLetterSettings(Config, frozen=True):
    """What is kept of records that can never be delivered."""

    max_bytes: Annotated[Size, Meta(description="What they may take before `when_full` applies.")] = Size("64MiB")
    when_full: Annotated[
        Literal["drop_oldest", "refuse"],
        Meta(
            description="Drop the oldest, or let required and durable sinks wait, and drop what others cannot deliver."
        ),
    ] = "drop_oldest"


class AuditSettings(Config, frozen=True):
    """What is kept of who did what."""

    keep: Annotated[
        Interval,
        Meta(description="How long a row is kept. What is deleted is said in the chain, which can be verified on."),
    ] = Interval("400d")


class Settings(Config, frozen=True):
    """Everything in pipelines.yaml beside the stages."""

    version: Annotated[Literal[1], Meta(description="The version of this file's format.")] = 1
    environment: Annotated[
        str, Meta(min_length=1, description="What this node watches, as it says in every answer.")
    ] = "production"
    data_dir: Annotated[str, Meta(min_length=1, description="Where everything is kept that has to survive.")] = ".bers"
    stop_within: Annotated[Duration, Meta(description="How long stages may take to stop.")] = Duration("10s")
    log: Annotated[LogSettings, Meta(description="What is written below `logs/`.")] = LogSettings()
    server: Annotated[ServerSettings, Meta(description="Where the server listens.")] = ServerSettings()
    access: Annotated[AccessSettings, Meta(description="Who may ask.")] = AccessSettings()
    intake: Annotated[IntakeSettings, Meta(description="How events come in.")] = IntakeSettings()
    redaction: Annotated[RedactionSettings, Meta(description="What nobody may read.")] = RedactionSettings()
    health: Annotated[HealthSettings, Meta(description="How checks are made.")] = HealthSettings()
    dead_letters: Annotated[
        DeadLetterSettings, Meta(description="What is kept of records that can never be delivered.")
    ] = DeadLetterSettings()
    audit: Annotated[AuditSettings, Meta(description="What is kept of who did what.")] = AuditSettings()
    metrics: Annotated[dict[str, MetricSettings], Meta(description="What is different for single metrics.")] = {}
    supervision: Annotated[
        SupervisionSettings, Meta(description="What is done about stages that fail, hang or block.")
    ] = SupervisionSettings()
