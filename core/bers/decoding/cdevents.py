"""CDEvents 0.3 to 0.5, under our names: their own words for how a thing ended, what it led to, and figures besides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bers.decoding.limits import MAX_REASON
from bers.plain import as_list, as_number, as_object

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,119}")
_OURS = {"id", "source", "type", "time", "timestamp", "subject", "detail", "specversion"}
"""What is said by the event itself, and not again by data of somebody's own."""

_FIELDS = {
    "duration", "durationMs", "duration_ms", "weight", "version", "successRate", "bundleSize", "queueTime", "leadTime",
    "cacheHitRate", "failureRate", "tests", "coverage", "environment", "service", "artifact", "chain", "reason",
}  # fmt: skip
"""Numbers of these names have a meaning of their own already."""

_COUNTS = ("passed", "failed", "errored", "skipped", "flaky")
_TEXTS = {"outcome": "outcome", "errors": "reason", "reason": "reason", "description": "reason",
          "artifactId": "artifact"}  # fmt: skip
_PARTS = ("environment", "service")
_ENDS = {
    "testcaserun.skipped": "skip",
    # There is no event for a deployment that failed: who tells of one tells that it went well.
    "service.deployed": "success",
    "service.upgraded": "success",
}
_SUBJECTS = {"artifact": "artifact", "environment": "environment", "service": "service"}
"""Of which subjects the id is a field of its own."""


def is_one(document: Mapping[str, Any]) -> bool:
    """Whether a document has the shape of a CDEvent."""
    return as_object(document.get("context")) is not None and as_object(document.get("subject")) is not None


def fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """All that a CDEvent says, on one level and under our names."""
    context, subject = as_object(document["context"]) or {}, as_object(document["subject"]) or {}
    type = str(context.get("type", ""))
    content = _said(as_object(subject.get("content")) or {})
    found: dict[str, Any] = _said({name: context.get(name) for name in ("id", "source", "type")})
    found |= _custom(document.get("customData"), type)
    found |= _content(content)
    if context.get("timestamp"):
        found["time"] = context["timestamp"]
    if context.get("chainId"):
        found["chain"] = context["chainId"]
    found["cdevents"] = context.get("specversion") or context.get("version") or ""
    if subject.get("id"):
        found["subject"] = subject["id"]
    found |= _places(subject, content, _kind(type), found)
    if end := _ENDS.get(_kind(type)):
        found.setdefault("outcome", end)
    if links := as_list(context.get("links")):
        found["links"] = links
        if cause := _cause(links):
            found.setdefault("cause", cause)
    if content:
        found["content"] = content
    return found


def _kind(type: str) -> str:
    return ".".join(type.split(".")[2:4])


def _custom(given: object, type: str) -> dict[str, Any]:
    """Somebody's own data: what has a name of ours is that, and other numbers are measures."""
    custom = as_object(given)
    if custom is None:
        return {} if given is None else {"customData": given}
    custom = _said(as_object(custom.get("bers")) or custom)
    found: dict[str, Any] = {}
    measures: dict[str, Any] = dict(as_object(custom.get("measures")) or {})
    suite = _kind(type).startswith("testsuiterun.")
    for name, value in custom.items():
        if name in _OURS or (name == "measures" and measures):
            continue
        if as_number(value) is not None and name not in _FIELDS and _NAME.fullmatch(name):
            measures.setdefault(f"tests.{name}" if suite and name in _COUNTS else name, value)
        else:
            found[name] = value
    return {**found, "measures": measures} if measures else found


def _content(content: dict[str, Any]) -> dict[str, Any]:
    """Take what has a name of ours out of what is told of the subject."""
    found: dict[str, Any] = {}
    for theirs, mine in _TEXTS.items():
        text = content.get(theirs)
        if isinstance(text, str) and text and mine not in found:
            found[mine] = text[:MAX_REASON] if mine == "reason" else text
            if len(found[mine]) == len(text):
                del content[theirs]
    for name in _PARTS:
        if id := _id(content.get(name)):
            found[name] = id
            del content[name]
    labels: dict[str, str] = {}
    if (suite := as_object(content.get("testSuite"))) and (id := _id(suite)):
        labels["suite"] = id
    if isinstance(content.get("severity"), str) and content["severity"]:
        labels["severity"] = content.pop("severity")
    if labels:
        found["labels"] = labels
    return found


def _places(subject: dict[str, Any], content: dict[str, Any], kind: str, found: dict[str, Any]) -> dict[str, Any]:
    """Which change, which run and which thing it is about."""
    places: dict[str, Any] = {}
    id, what = subject.get("id"), kind.partition(".")[0]
    if (mine := _SUBJECTS.get(what)) and mine not in found and isinstance(id, str):
        places[mine] = id
    repository = _id(content.get("repository")) or (id if what == "repository" else "")
    change = _id(content.get("change")) or (id if what == "change" else "")
    if repository or change:
        places["vcs"] = {"repository": repository or "", "change": change or ""}
    run = {
        "pipeline": content.get("pipelineName"),
        "job": content.get("taskName"),
        "id": _id(content.get("pipelineRun")),
        "url": content.get("uri") or content.get("url"),
    }
    if run := {name: value for name, value in run.items() if isinstance(value, str) and value}:
        places["run"] = run
    return places


def _cause(links: list[Any]) -> str:
    """The id of the event that this one follows from: the one before it on its path, or else what it is related to."""
    found: dict[str, str] = {}
    for one in links:
        link = as_object(one) or {}
        kind = link.get("linkType") or link.get("link_type")
        end = as_object(link.get("target" if kind == "RELATION" else "from")) or {}
        id = end.get("contextId") or end.get("context_id")
        if isinstance(kind, str) and isinstance(id, str):
            found.setdefault(kind, id)
    return found.get("PATH") or found.get("RELATION") or found.get("END") or ""


def _id(part: object) -> str:
    id = (as_object(part) or {}).get("id")
    return id if isinstance(id, str) else ""


def _said(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
