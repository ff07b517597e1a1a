"""OpenTelemetry's semantic conventions for builds, tests and deployments, in the words of this product."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from bers import Outcome
from bers_builtin.sources.otlp.messages import Attributes

RUN: Final = "cicd.pipeline.run"
"""What a point stands for that times whole runs of pipelines: builds, each with its outcome."""

_OUTCOMES: Final[Mapping[str, Outcome]] = {
    **dict.fromkeys(("success", "succeeded", "pass"), "success"),
    **dict.fromkeys(("failure", "failed", "fail", "unstable"), "failure"),
    **dict.fromkeys(("cancellation", "aborted"), "cancel"),
    **dict.fromkeys(("timeout", "timed_out"), "timeout"),
    **dict.fromkeys(("skip", "skipped", "not_built", "not_build"), "skip"),
    "error": "error",
}
DURATIONS: Final = ("cicd.pipeline.run.duration", "ci.pipeline.run.duration")
"""How long pipeline runs took; the second is what Jenkins' plugin calls it."""

SAID_AGAIN: Final = frozenset({
    "cicd.pipeline.run.active", "cicd.pipeline.run.errors",
    "ci.pipeline.run.active", "ci.pipeline.run.launched", "ci.pipeline.run.started", "ci.pipeline.run.completed",
    "ci.pipeline.run.success", "ci.pipeline.run.failed", "ci.pipeline.run.aborted",
})  # fmt: skip
"""What durations and events say, too: counted beside those, each run would count twice."""

_TOLD_BY: Final = (
    "cicd.pipeline.result", "cicd.pipeline.task.run.result", "deployment.status", "test.suite.run.status",
    "test.case.result.status", "ci.pipeline.run.result",
)  # fmt: skip
_KINDS: Final = {"build": "build", "test": "testsuiterun", "deploy": "deployment"}
_VERBS: Final = {
    "start": "started", "begin": "started", "begun": "started", "enqueued": "queued", "pending": "queued",
    "finish": "finished", "end": "finished", "ended": "finished", "complete": "finished", "completed": "finished",
}  # fmt: skip
_SUBJECTS: Final = ("deployment.id", "cicd.pipeline.task.run.id", "cicd.pipeline.run.id")
_VCS: Final = {
    "vcs.repository.url.full": "repository", "vcs.ref.head.revision": "revision", "vcs.ref.head.name": "ref",
    "vcs.ref.base.revision": "base_revision", "vcs.change.id": "change",
}  # fmt: skip
_RUN: Final = {
    "ci.pipeline.id": "pipeline", "cicd.pipeline.name": "pipeline", "cicd.pipeline.run.id": "id",
    "cicd.pipeline.task.name": "job",
    "cicd.pipeline.run.url.full": "url", "cicd.system.name": "system",
}  # fmt: skip

CONTEXT: Final = frozenset({
    "deployment.environment.name", "deployment.environment", "service.name", "service.version", "service.namespace",
    "service.instance.id", "deployment.id", "cicd.pipeline.task.run.id", "cicd.pipeline.task.type", *_TOLD_BY, *_VCS,
    *_RUN,
})  # fmt: skip
"""Attributes that have a field of their own in an event."""


def source(resource: Attributes) -> str:
    """Who sends, as the source of its events; an instance of a service is not told apart from its others."""
    parts = [str(resource[name]) for name in ("service.namespace", "service.name") if resource.get(name)]
    return "/".join(["/otlp", *parts])[:1024]


def fields(attributes: Attributes) -> dict[str, Any]:
    """The fields of an event that attributes tell: where, of what, from which commit and run, and how it ended."""
    found: dict[str, Any] = {}
    environment = attributes.get("deployment.environment.name", attributes.get("deployment.environment"))
    for name, value in (
        ("environment", environment),
        ("service", attributes.get("service.name")),
        ("version", attributes.get("service.version")),
        ("outcome", outcome(attributes)),
    ):
        if value:
            found[name] = str(value)
    for part, names in (("vcs", _VCS), ("run", _RUN)):
        told = {mine: str(attributes[theirs]) for theirs, mine in names.items() if attributes.get(theirs)}
        if told:
            found[part] = told
    return found


def outcome(attributes: Attributes) -> Outcome | None:
    """How a thing ended; None where nothing says so, or says that it has not ended."""
    told = next((str(attributes[name]) for name in _TOLD_BY if attributes.get(name)), "")
    return _OUTCOMES.get(told.lower())


def subject(attributes: Attributes) -> str:
    """What all events of one thing share; empty where nothing names it."""
    return next((str(attributes[name]) for name in _SUBJECTS if attributes.get(name)), "")


def event_type(name: str, attributes: Attributes) -> tuple[str, Outcome | None]:
    """The type of an event, as far as conventions know it, and the outcome that its name tells; else as it came."""
    found = re.fullmatch(
        r"(cicd\.pipeline(?:\.task)?\.run|test\.suite\.run|test\.case(?:\.run)?|deployment)\.(\w+)", name
    )
    if not found:
        return name, None
    thing, verb = found[1], _VERBS.get(found[2].lower(), found[2].lower())
    if thing.startswith("cicd"):
        kind = _KINDS.get(str(attributes.get("cicd.pipeline.task.type", "build")).lower(), "build")
    else:
        kind = "deployment" if thing == "deployment" else "testsuiterun" if "suite" in thing else "testcaserun"
    if verb in ("failed", "succeeded"):
        return f"{kind}.finished", "failure" if verb == "failed" else "success"
    return f"{kind}.{verb}", None


def severity(number: int) -> str:
    """The word for a severity of 1 to 24; empty where none was told."""
    words = ("trace", "debug", "info", "warn", "error", "fatal")
    return words[(number - 1) // 4] if 1 <= number <= 24 else ""


def pipeline_runs(attributes: Attributes) -> str | None:
    """What the durations of pipeline runs are here, by the state that they tell of; None where nothing."""
    state = str(attributes.get("cicd.pipeline.run.state", "executing")).lower()
    return {"executing": RUN, "pending": "build_queue_time"}.get(state)
