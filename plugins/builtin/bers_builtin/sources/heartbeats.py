"""Heartbeats of others: jobs that report when they ran, and are missed when they do not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct
from msgspec.structs import replace

from bers import (
    Caller,
    Config,
    Context,
    Emit,
    Event,
    Full,
    Interval,
    Metric,
    Nothing,
    Operation,
    Outcome,
    Refused,
    SourceSpec,
    Stage,
    Table,
    format_duration,
    hookimpl,
    unknown,
)

RECEIVED, MISSED = "heartbeat.received", "heartbeat.missed"

LOOK_EVERY = 1.0
"""Seconds between two looks at who is late."""

AWAY = 5.0
"""Seconds that a look may come too late before nobody could have reached us meanwhile."""

_NAME = r"^[^\x00-\x1f\x7f]+$"

MOST_LEARNED = 1_000
"""How many jobs are learned, and how many unknown ones are told of: their names come from outside."""

JobStatus: TypeAlias = Literal["new", "up", "grace", "down", "unknown"]


class Job(Config, frozen=True):
    """How often a job is to report."""

    every: Annotated[Interval, Meta(description="The longest time from one heartbeat to the next.")]
    grace: Annotated[
        Interval, Meta(description="How much later one may come before it is missed: the time that the job takes.")
    ] = Interval("5m")


class HeartbeatsConfig(Config, frozen=True):
    """Take heartbeats of jobs that run elsewhere, and tell when one is missed."""

    jobs: Annotated[Mapping[str, Job], Meta(description="The jobs that are to report, by name.")] = {}
    learn: Annotated[
        Job | None,
        Meta(
            description="How often a job is to report that is not among `jobs`, from its first heartbeat on. Not told: "
            "only those are taken."
        ),
    ] = None

    def __post_init__(self) -> None:
        for name in self.jobs:
            if not re.fullmatch(_NAME, name):
                raise ValueError(f"jobs: {name!r} has characters that cannot be seen; call the job differently")


class Report(Struct, frozen=True):
    """What a job says of itself."""

    name: Annotated[
        str, Meta(min_length=1, max_length=200, pattern=_NAME, description="The name of the job: printable text.")
    ]
    status: Annotated[Literal["ok", "fail"], Meta(description="Whether it ran well.")] = "ok"
    message: Annotated[str, Meta(max_length=1000, description="What there is to say, such as why it failed.")] = ""


class JobState(Struct, rename="camel", frozen=True):
    """How one job is; times in milliseconds, ``last`` and ``due`` since 1970.

    It is ``new`` until its first heartbeat, ``up`` until the next one is due, then in ``grace``, and ``down`` when that
    is over. ``unknown`` is one that reports and is not among the jobs.
    """

    name: str
    status: JobStatus
    every: int | None = None
    grace: int | None = None
    last: int | None = None
    outcome: str | None = None
    """What it said last: success or failure."""
    message: str | None = None
    due: int | None = None
    """When it is missed, unless it reports before."""
    missed: int = 0
    """How many were missed so far."""


class Heartbeats(Stage[HeartbeatsConfig]):
    """What is remembered of a job is its last heartbeat, and the last that was missed.

    Both are in the table without the time at which they were received: a yearly job is not to be forgotten.
    """

    def __init__(self, config: HeartbeatsConfig, context: Context) -> None:
        super().__init__(config, context)
        self._emit: Emit | None = None
        self._heard: dict[str, tuple[str, float]] = {}
        """The id of each job's last heartbeat, and when that was, in seconds counted."""
        self._listening = context.clock.elapsed()
        """Since when we could have been reached."""
        self._strangers = Counter[str]()
        """Who reports and is not expected, and how often; for people to see."""

    def receive(self, event: Event, table: Table) -> Sequence[Event]:
        name = event.subject
        if not name or "\t" in name or not self._expects(name, table):
            if name and (name in self._strangers or len(self._strangers) < MOST_LEARNED):
                self._strangers[name] += 1
            return (event,)
        if event.type == MISSED:
            table.put(_missed(name), replace(event, received=0.0))
        elif event.type == RECEIVED:
            # One that waited in a spool tells of then, and one from the future of now.
            at = min(event.time, event.received or event.time)
            last = table.get(name)
            if last is None or last.time <= at:
                table.put(name, replace(event, time=at, received=0.0))
            if last is not None and last.time < at:
                gap = {"heartbeat_gap": (at - last.time) * 1000}
                return (replace(event, measures={**gap, **event.measures}, labels={"job": name, **event.labels}),)
        return (event,)

    async def run(self, emit: Emit) -> None:
        """Tell who is missed, for ever."""
        clock = self.context.clock
        self._emit, looked = emit, clock.elapsed()
        try:
            while True:
                now = clock.elapsed()
                if now - looked > LOOK_EVERY + AWAY:  # We slept, or were stopped.
                    self._listening = now
                looked = now
                late = [self._loss(*one) for one in self._late(now)]
                if late:
                    try:
                        await emit(late, durable=True)
                    except Full as full:  # Again by and by; nobody was told anything.
                        self.context.logger.warning("heartbeats are missed, and that cannot be told: %s", full)
                await clock.sleep(LOOK_EVERY)
        finally:
            self._emit = None

    async def report(self, ask: Report, caller: Caller) -> JobState:
        """Take a heartbeat."""
        name, table = ask.name, self.context.table
        if not self._expects(name, table):
            known = [*self.config.jobs]
            hint = "name it among `jobs` of this source in pipelines.yaml, or let it `learn`"
            raise Refused("not_found", unknown("job", name, known), hint=hint, known=known)
        if self._emit is None:
            raise Refused("unavailable", f"{self.context.stage_id!r} is not running", hint="see `bers status`")
        outcome: Outcome = "failure" if ask.status == "fail" else "success"
        event = self.context.event(RECEIVED, subject=name, outcome=outcome, reason=ask.message or None)
        try:
            await self._emit([event], durable=True)
        except Full as full:
            raise Refused("unavailable", str(full), retry_after=full.retry_after) from full
        return self._state(name)

    async def list_jobs(self, ask: Nothing, caller: Caller) -> list[JobState]:
        """Every job that is expected, and those that report and are not."""
        names = {*self.config.jobs, *(name for name, _, _ in self._known())}
        strangers = [JobState(name, "unknown") for name in self._strangers if name not in names]
        return [*(self._state(name) for name in sorted(names)), *sorted(strangers, key=lambda one: one.name)]

    def _expects(self, name: str, table: Table) -> bool:
        if name in self.config.jobs:
            return True
        return self.config.learn is not None and (table.get(name) is not None or len(table) < 2 * MOST_LEARNED)

    def _known(self) -> Iterator[tuple[str, Job, Event]]:
        """Those that have reported, and are expected to."""
        for key, event in self.context.table.items():
            job = self.config.jobs.get(key) or self.config.learn
            if "\t" not in key and job:
                yield key, job, event

    def _late(self, now: float) -> Iterator[tuple[str, Job, Event]]:
        """Those that are missed, and were not yet said to be."""
        for name, job, last in self._known():
            # Who could not have reached us has its grace again.
            due = max(self._since(name, last) + job.every, self._listening) + job.grace
            if now >= due and not self._is_down(name, last):
                yield name, job, last

    def _since(self, name: str, last: Event) -> float:
        """When a heartbeat was, in seconds counted: from when we know of it, it does not matter what the clock says."""
        clock = self.context.clock
        known = self._heard.get(name)
        if known is None or known[0] != last.id:
            known = self._heard[name] = last.id, clock.elapsed() - max(0.0, clock.settled() - last.time)
        return known[1]

    def _is_down(self, name: str, last: Event) -> bool:
        missed = self.context.table.get(_missed(name))
        return missed is not None and missed.data.get("last") == last.id

    def _loss(self, name: str, job: Job, last: Event) -> Event:
        before = self.context.table.get(_missed(name))
        number = 1 + int(before.data.get("number", 0)) if before else 1
        every, grace = format_duration(job.every), format_duration(job.grace)
        return self.context.event(
            MISSED,
            id=f"{name}/missed-{number}",
            subject=name,
            outcome="error",
            reason=f"no heartbeat within {every}, and {grace} of grace",
            data={"number": number, "last": last.id},
        )

    def _state(self, name: str) -> JobState:
        job = self.config.jobs.get(name) or self.config.learn
        last, missed = self.context.table.get(name), self.context.table.get(_missed(name))
        assert job
        times = round(job.every * 1000), round(job.grace * 1000)
        count = int(missed.data.get("number", 0)) if missed else 0
        if last is None:
            return JobState(name, "new", *times, missed=count)
        clock = self.context.clock
        waited = clock.elapsed() - self._since(name, last)
        status: JobStatus = "down" if self._is_down(name, last) else "up" if waited < job.every else "grace"
        due = clock.time() + job.every + job.grace - waited
        return JobState(
            name, status, *times, int(last.time * 1000), last.outcome, last.reason, int(due * 1000), count,
        )  # fmt: skip


def _missed(name: str) -> str:
    return f"{name}\tmissed"


HEARTBEATS = SourceSpec(
    "heartbeats",
    HeartbeatsConfig,
    Heartbeats,
    claims=("heartbeat.*",),
    metrics=(
        Metric(
            "heartbeat_gap", "ms", "Time from one heartbeat of a job to the next.", better="neither", labels=("job",)
        ),
    ),
    operations=(
        Operation(
            "POST", "heartbeats/{name}", Heartbeats.report, Report, JobState, "Report that a job ran.", scope="ingest",
            refuses=("not_found", "unavailable"),
        ),
        Operation(
            "GET", "heartbeats", Heartbeats.list_jobs, Nothing, list[JobState], "List the jobs that are to report.",
        ),
    ),
)  # fmt: skip


@hookimpl
def bers_sources() -> Iterable[SourceSpec[Any]]:
    return [HEARTBEATS]
