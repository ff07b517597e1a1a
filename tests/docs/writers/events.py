"""The page about events: their fields, their types, and the frames in which the stream tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from bers import Event, Outcome
from bers.decoding import limits
from bers.decoding.vocabulary import OUTCOMES, RESERVED, canonical
from bers.plugins import load
from bers_builtin.sinks.sse.frames import frame_name
from tests.docs.writers import markdown, source

SEED_KINDS = ("build", "validation", "deployment")
SEED_ENDS = ("started", "completed", "finished", "failed")

TYPES: Mapping[str, str] = {
    "build.queued": "A build waits. With `build.started` of the same subject it gives `build_queue_time`.",
    "build.started": "A build begins.",
    "build.finished": "A build ends: `duration_ms`, or the time since `build.started`, is `build_performance`.",
    "build.lost": "No finish came within `lost_after`. Told by the node.",
    "build.measured": "What follows from other events of a build. Told by the node.",
    "testsuiterun.started": "A test suite begins.",
    "emitter.report": "What an emitter says of itself: how many events it had to drop, as `dropped`.",
    "testsuiterun.progress": "How far a test suite is: `progress.passed`, ..., and in `data` what is `running`.",
    "coverage.reported": "What tests covered, where that is told by itself: `coverage.lines`, `coverage.branches`, ...",
    "testsuiterun.finished": "A test suite ends, with counts (`tests.passed`, ...) and `coverage.lines`, ...",
    "testsuiterun.lost": "No finish came within `lost_after`, told by the node; or the process died, as it left word.",
    "validation.started": "A validation begins.",
    "validation.finished": "A validation ends; its outcome is `validation_success_rate`.",
    "validation.environment": "One comparison between environments; its outcome is `cross_environment_validation`.",
    "validation.lost": "No finish came within `lost_after`. Told by the node.",
    "validation.measured": "What follows from other events of a validation. Told by the node.",
    "deployment.queued": "A deployment waits, for a runner or for somebody who agrees. Nothing is measured of it.",
    "deployment.started": "A deployment begins.",
    "deployment.finished": "A deployment ends: time, outcome, and with `vcs.committed_at` the lead time.",
    "deployment.validated": "A validation on staging ended.",
    "deployment.rolledback": "A deployment was taken back.",
    "deployment.lost": "No finish came within `lost_after`. Told by the node.",
    "deployment.measured": "What follows from other events of a deployment. Told by the node.",
    "service.deployed": "CDEvents' word for a deployment that has ended well.",
    "service.upgraded": "The same, of a service that was there before.",
    "service.rolledback": "The same as `deployment.rolledback`.",
    "environment.created": "An environment was made. What it has is `data.keys` or `data.configuration`.",
    "environment.modified": "An environment was changed. With its settings it is compared with the others.",
    "environment.deleted": "An environment was removed.",
    "change.merged": "A change was merged.",
    "change.pushed": "Commits came to the default branch. Nothing is measured of it.",
    "incident.detected": "Something is wrong.",
    "incident.reported": "The same, as somebody reported it.",
    "incident.resolved": "It is over; the time since it was detected is `incident_recovery_time`.",
    "provider.initialized": "A provider has initialised, or failed to; told by a probe or by the provider itself.",
    "environment.detected": "The environment of the project, or that none was found. Told by the resolver.",
    "configuration.compared": "Two environments were compared by their files. Told by the resolver.",
    "configuration.resolved": "The configuration was resolved. Told by the resolver.",
    "system.measured": "A reading of this machine. Told by the node.",
    "heartbeat.received": "A job reports that it ran; its `subject` is the job, its outcome whether it ran well.",
    "heartbeat.missed": "A job did not report in time. Told by the node.",
    "monitoring.measured": "Figures of the node itself. Told by the node.",
    "otlp.point": "What OpenTelemetry tells of one stream of a metric. Made of what is sent to `/v1/metrics`.",
}
"""The types that builtin sources read or tell, and what they mean."""

OWN: Mapping[str, str] = {
    "health.checked": "A health check came to another status, its breaker to another state, or it began or ceased to "
    "flap: `data` has each with what it was before, `labels` have `check`, `status`, `breaker`, `critical` and "
    "`flapping`.",
    "stage.changed": "A stage came to another state; which, and why, is in `data` and `reason`.",
    "config.reloaded": "A reload has ended: what changed is in `data`, and every fault in `reason`.",
    "clock.jumped": "The wall clock was set (`cause` is `step`), the machine slept (`sleep`), or this process was "
    "stopped (`stop`): `seconds`, and what the wall clock went `from` and `to`, are in `data`.",
}
"""The types that the node itself tells."""

CDEVENTS = (
    "dev.cdevents.build.queued.0.3.0",
    "dev.cdeventsx.bers-build.measured.0.1.0",
    "dev.cdeventsx.mytool-resource.created.0.1.0",
    "dev.cdevents.build.started.0.2.0",
    "dev.cdevents.build.finished.0.2.0",
    "dev.cdevents.testsuiterun.finished.0.2.0",
    "dev.cdevents.service.deployed.0.2.0",
    "dev.cdevents.service.rolledback.0.2.0",
    "dev.cdevents.change.merged.0.2.0",
    "dev.cdevents.incident.detected.0.2.0",
)

FRAMES: Mapping[str, str] = {
    "connected": "First: who answers, and how many listen.",
    "ping": "Nothing else was to be told for `heartbeat`.",
    "gap": "Something was missed: it is not kept any more, or the client is slow. Read the present from REST.",
    "performance_metrics": "Once a second at most: the newest value of every metric that came in.",
    "active_alerts": "The alerts that are alive, whenever that changes and at the beginning.",
    "health_status": "A health check came to another status: event `health.checked`.",
    "events": "How many events of each type were not told one by one, because there were too many.",
    "event": "Any other event.",
    "alert_firing, alert_acknowledged, alert_resolved, ...": "An event `alert.*`: its second word, with underscores.",
    "silence_created, silence_expired": "An event `silence.*`, likewise.",
}


def page() -> str:
    return markdown.page(
        "Events",
        "An event is one thing that happened. `type` is the only field that has to be there.",
        "## Fields",
        markdown.table(["field", "type", "meaning"], _fields()),
        _FIELDS_TEXT,
        "## Types",
        "A type is written `subject.predicate` in lower case, in [CDEvents](https://cdevents.dev)' words. Any type is "
        "taken; these mean something to a builtin source. The source that claims a type reads it: joins what belongs "
        "together by `source` and `subject`, and gives measures the names of the [metrics](metrics.md).",
        markdown.table(["type", "read by", "meaning"], _types()),
        "The node itself tells these; nobody claims them.",
        markdown.table(["type", "meaning"], [[markdown.code(type), text] for type, text in OWN.items()]),
        "What nobody claims belongs to the source `unmapped`. " + _reserved(),
        "## Other spellings",
        "A type is brought to that form first; `origin` keeps what it was. An underscore is a hyphen, upper case is "
        "lower case, and a word without a dot becomes `custom.WORD`.",
        markdown.table(["handed in", "becomes", "outcome"], _seeds()),
        "CDEvents, inside a CloudEvent or by name:",
        markdown.table(["handed in", "becomes"], _cdevents()),
        "## Outcomes",
        markdown.table(["outcome", "other words for it"], _outcomes()),
        "## Frames of the stream",
        "`GET /api/monitoring/events` sends frames as server-sent events: `event` is the frame's name, `id` a place to "
        "come back to, `data` JSON. Events are told as CloudEvents 1.0 of the type `io.bers.TYPE.v1`, with the fields "
        "above in `data`. With `?format=message` frames have no name, for clients that know `onmessage` alone.",
        markdown.table(["frame", "what it tells"], [[f"`{name}`", text] for name, text in FRAMES.items()]),
        "Runs have names of their own, as the runbook's browser events have:",
        markdown.table(["event", "outcome", "frame"], _run_frames()),
    )


def _fields() -> list[list[str]]:
    module = source.module("bers.records")
    return [
        [markdown.code(member.name), member.type, member.text or _FIELDS.get(member.name, "")]
        for member in source.members(module, "Event")
        if member.name not in _OURS
    ]


def _types() -> list[list[str]]:
    owners = claims()
    return [[markdown.code(type), owner_of(type, owners), text] for type, text in TYPES.items()]


def claims() -> dict[str, str]:
    """Who claims which types, by the claim."""
    sources = load(installed=False).specs["source"]
    return {claim: spec.name for spec in sources.values() for claim in spec.claims}


def owner_of(type: str, owners: Mapping[str, str]) -> str:
    return owners.get(type) or owners.get(f"{type.partition('.')[0]}.*") or "unmapped"


def _reserved() -> str:
    words = ", ".join(f"`{one}*`" for one in RESERVED)
    return f"Types {words}, and sources that begin with `bers:`, are the node's own, and refused."


def _seeds() -> list[list[str]]:
    rows: list[list[str]] = []
    for kind in SEED_KINDS:
        for end in SEED_ENDS:
            found = canonical(f"{kind}-{end}")
            rows.append([f"`{kind}-{end}`, `{kind}_{end}`", f"`{found.type}`", markdown.code(found.outcome)])
    return [*rows, ["`cache-warmed`", f"`{canonical('cache-warmed').type}`", ""]]


def _cdevents() -> list[list[str]]:
    return [[f"`{one}`", f"`{canonical(one).type}`"] for one in CDEVENTS]


def _outcomes() -> list[list[str]]:
    return [
        [f"`{one}`", ", ".join(f"`{word}`" for word, meant in OUTCOMES.items() if meant == one and word != one)]
        for one in get_args(Outcome)
    ]


def _run_frames() -> list[list[str]]:
    rows: list[list[str]] = []
    ends: list[tuple[str, Outcome | None]] = [
        ("started", None),
        ("finished", "success"),
        ("finished", "failure"),
        ("lost", None),
    ]
    for kind in ("build", "testsuiterun", "validation", "deployment"):
        for predicate, outcome in ends:
            event = Event("1", "/docs", f"{kind}.{predicate}", 0.0, outcome=outcome)
            rows.append([f"`{event.type}`", markdown.code(outcome), f"`{frame_name(event)}`"])
    return rows


_OURS = {"cause", "received", "seq", "origin"}
"""What emitters do not say."""
_FIELDS = {
    "id": "What tells it from others of its source; one is made where it is missing, and then a repeat is not seen.",
    "source": "Who tells of it.",
    "time": "When it happened: RFC 3339 with a zone, or seconds or milliseconds since 1970; now if not told.",
    "environment": "The environment it is about.",
    "outcome": "How it ended; see below.",
    "reason": "Why, in words.",
    "duration_ms": "How long it took, in milliseconds.",
    "service": "The service it is about.",
    "version": "The version it is about.",
    "artifact": "What was built or deployed.",
    "vcs": "The state of the source code.",
    "run": "The run of a CI system.",
    "measures": "Numbers, by name.",
    "labels": "Texts, by name; those that a metric names make its series.",
    "chain": "What ties events of one delivery together.",
    "traceparent": "W3C trace context.",
}
_FIELDS_TEXT = f"""
`vcs` has `repository`, `revision`, `ref`, `base_revision`, `change` and `committed_at`; `run` has `system`, `pipeline`,
`id`, `job`, `attempt` and `url`. An event has at most {limits.MAX_MEASURES} measures and {limits.MAX_LABELS}
labels; a label has at most {limits.MAX_LABEL} characters. What has no field of its own is kept in `data`:
at most {limits.MAX_DEPTH} levels deep, {limits.MAX_VALUES} values, {limits.MAX_KEYS} keys in one object, keys
of {limits.MAX_KEY} and texts of {limits.MAX_STRING} characters. A text in `vcs` or `run` has at most
{limits.MAX_PART}.

The runbook's spellings are understood too: `detail` around the fields, `correlationId` for `subject`, `duration` and
`durationMs` for `duration_ms`, `timestamp` for `time`, `error` and `message` for `reason`, `successRate`, `bundleSize`,
`queueTime`, `leadTime`, `cacheHitRate` and `failureRate` for measures, and objects `phases`, `coverage` and `tests`.
"""
