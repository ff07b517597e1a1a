"""Events as CDEvents 0.5.1: under the specification's own type where it has one that fits, else under one of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from bers.cloudevents import MAX_DATA, rfc3339
from bers.records import Event
from bers.redaction import redact

SPEC = "0.5.1"
_VERSION = "0.3.0"
_CUSTOM_VERSION = "0.1.0"

_OUTCOMES = {"success": "success", "failure": "failure", "error": "error", "cancel": "cancel", "timeout": "error"}
"""There is no word for a time-out, which is no verdict on the work; one that was skipped did not finish."""

_SAID = ("id", "source", "time", "subject", "chain", "traceparent", "seq", "received")
"""What the context says, or what is of this node alone."""

_URI = "%:/?#[]@!$&'()*+,;=~"
_NO_LETTER = re.compile(r"[^a-z]")


class _Shape(NamedTuple):
    """What the content of one type holds."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    means: Callable[[Event], bool] = lambda event: True
    """Whether the type means what happened."""


def _went_well(event: Event) -> bool:
    """There is no outcome in it: told of one that failed, everybody would believe that it is there."""
    return event.outcome in ("success", None)


_RELEASE = _Shape(("environment", "artifactId"), (), _went_well)
_INCIDENT = _Shape(("environment",), ("description", "service", "artifactId"))
_SUITE = _Shape(("environment",), ("testSuite",))
_SUITE_FINISHED = _Shape(("environment", "outcome"), ("testSuite", "reason", "severity"))
_TASK, _PIPELINE = ("pipelineRun", "uri"), ("uri",)

_SHAPES: Mapping[str, _Shape] = {
    "build.queued": _Shape(),
    "build.started": _Shape(),
    "build.finished": _Shape((), ("artifactId",)),
    "pipelinerun.queued": _Shape(("pipelineName",), _PIPELINE),
    "pipelinerun.started": _Shape(("pipelineName", "uri")),
    "pipelinerun.finished": _Shape(("pipelineName", "outcome"), (*_PIPELINE, "errors")),
    "taskrun.started": _Shape(("taskName",), _TASK),
    "taskrun.finished": _Shape(("taskName", "outcome"), (*_TASK, "errors")),
    "testsuiterun.queued": _SUITE,
    "testsuiterun.started": _SUITE,
    "testsuiterun.finished": _SUITE_FINISHED,
    "service.deployed": _RELEASE,
    "service.upgraded": _RELEASE,
    "service.rolledback": _RELEASE,
    "service.removed": _Shape(("environment",)),
    "incident.detected": _INCIDENT,
    "incident.resolved": _INCIDENT,
}

_ALSO: Mapping[str, str] = {
    "deployment.finished": "service.deployed",
    "deployment.rolledback": "service.rolledback",
    "task.started": "taskrun.started",
    "task.finished": "taskrun.finished",
}
"""What of ours is one of theirs by another name."""


def as_cdevent(event: Event) -> dict[str, Any]:
    """The event as a CDEvent. What no field of its content holds is ``customData.bers``, under our names."""
    kind, content = _rendered(event)
    fields: dict[str, Any] = msgspec.to_builtins(event)
    data = {name: value for name, value in fields.items() if name not in _SAID}
    if "data" in data and (size := len(msgspec.json.encode(data["data"]))) > MAX_DATA:
        data["data"] = {"omitted_bytes": size}
    context = {
        "specversion": SPEC,
        "id": event.id,
        "source": quote(event.source, safe=_URI) or "/",
        "type": kind,
        "timestamp": rfc3339(event.time),
    }
    if event.chain:
        context["chainId"] = event.chain
    masked: dict[str, Any] = redact(
        {
            "context": context,
            "subject": {"id": _subject(event, kind), "content": content},
            "customData": {"bers": data},
            "customDataContentType": "application/json",
        }
    )
    return masked


def _rendered(event: Event) -> tuple[str, dict[str, Any]]:
    """The type of the CDEvent that says this, and its content."""
    name = _ALSO.get(event.type, event.type)
    shape = _SHAPES.get(name)
    if shape and shape.means(event) and (event.service or not name.startswith("service.")):
        known = _contents(event)
        if all(known.get(field) for field in shape.required):
            wanted = (*shape.required, *shape.optional)
            return f"dev.cdevents.{name}.{_VERSION}", {field: known[field] for field in wanted if known.get(field)}
    subject, _, predicate = event.type.partition(".")
    # Letters alone, as the specification has it for types of one's own; `customData.bers.type` has the whole name.
    words = [_NO_LETTER.sub("", word) or "event" for word in (subject, predicate)]
    return f"dev.cdeventsx.bers-{words[0]}.{words[1]}.{_CUSTOM_VERSION}", {}


def _subject(event: Event, kind: str) -> str:
    if kind.startswith("dev.cdevents.service."):
        return event.service or event.id
    return event.subject or event.id


def _contents(event: Event) -> dict[str, Any]:
    """Everything that an event says in their words."""
    run, reason = event.run, event.reason or ""
    suite = event.labels.get("suite")
    severity = event.labels.get("severity")
    return {
        "environment": {"id": event.environment} if event.environment else None,
        "artifactId": event.artifact,
        "service": {"id": event.service} if event.service else None,
        "outcome": _OUTCOMES.get(event.outcome or ""),
        "errors": reason,
        "reason": reason,
        "description": reason,
        "testSuite": {"id": suite} if suite else None,
        "severity": severity if severity in ("low", "medium", "high", "critical") else None,
        "pipelineName": run.pipeline if run else None,
        "taskName": event.labels.get("name") or (run.job if run else None),
        "pipelineRun": {"id": run.id} if run and run.id else None,
        "uri": run.url if run and re.match(r"[a-z][a-z0-9+.-]*:[^\s]+$", run.url) else None,
    }
