"""Tekton's CloudEvents, under our names: a run of a pipeline or of a task, told as often as Tekton likes."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

from bers.decoding.limits import MAX_REASON
from bers.plain import as_list, as_object

KIND = "bers/kind"
"""The label of a run in Kubernetes that says what it is: a build, a validation or a deployment, which are measured."""

_TYPE = re.compile(r"dev\.tekton\.event\.(pipelinerun|taskrun|customrun|run)\.([a-z]+)\.v1")
_ENDS = {"successful": "success", "failed": "failure"}
_BEGINNINGS = ("queued", "started")


def is_one(type: str) -> bool:
    return _TYPE.fullmatch(type) is not None


def fields(type: str, data: dict[str, Any]) -> dict[str, Any]:
    """What an event tells of its run. The object of Kubernetes in it is too large to be kept."""
    found = _TYPE.fullmatch(type)
    assert found, "it is one"
    run = next((part for one in data.values() if (part := as_object(one)) and "metadata" in part), None) or {}
    about, status = as_object(run.get("metadata")) or {}, as_object(run.get("status")) or {}
    labels = as_object(about.get("labels")) or {}
    spec = as_object(run.get("spec")) or {}
    name, word = _text(about, "name"), found[2]
    kind = _text(labels, KIND) or ("pipelinerun" if found[1] == "pipelinerun" else "taskrun")
    what = word if word in _BEGINNINGS else "finished" if word in _ENDS else "running"
    told: dict[str, Any] = {
        "type": f"{kind}.{what}",
        "subject": f"{_text(about, 'namespace')}/{name}".strip("/"),
        "run": {
            "system": "tekton",
            "id": name,
            "pipeline": _text(labels, "tekton.dev/pipeline") or _text(as_object(spec.get("pipelineRef")) or {}, "name"),
            "job": _text(labels, "tekton.dev/pipelineTask") or _text(as_object(spec.get("taskRef")) or {}, "name"),
        },
        "labels": {"namespace": _text(about, "namespace")[:200]} if about.get("namespace") else {},
    }
    if uid := _text(about, "uid"):
        told["id"] = f"{uid}/{what}"  # Tekton tells things again after a restart, each time with another id.
    begin, end = status.get("startTime"), status.get("completionTime")
    if what == "started" and isinstance(begin, str):
        told["time"] = begin
    if what == "finished":
        told |= _ended(word, status, begin, end)
    return told


def _ended(word: str, status: dict[str, Any], begin: object, end: object) -> dict[str, Any]:
    ended: dict[str, Any] = {"outcome": _ENDS[word]}
    if isinstance(end, str):
        ended["time"] = end
    if (taken := _taken(begin, end)) is not None:
        ended["duration_ms"] = taken
    for one in as_list(status.get("conditions")) or []:
        condition = as_object(one) or {}
        if word == "failed" and condition.get("type") == "Succeeded":
            why = _text(condition, "reason")
            ended["outcome"] = "cancel" if "Cancel" in why else "timeout" if "Timeout" in why else "failure"
            ended["reason"] = (_text(condition, "message") or why)[:MAX_REASON] or None
    return ended


def _taken(begin: object, end: object) -> float | None:
    try:
        first, last = (msgspec.convert(one, datetime) for one in (begin, end))
        return max(0.0, (last - first).total_seconds() * 1000)
    except (msgspec.ValidationError, TypeError):
        return None


def _text(part: dict[str, Any], name: str) -> str:
    value = part.get(name)
    return value if isinstance(value, str) else ""
