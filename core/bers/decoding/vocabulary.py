"""What emitters call things, and what we call them: event types and outcomes."""

from __future__ import annotations

import re
from typing import NamedTuple

from bers.records import Outcome

TYPE = re.compile(r"[a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)+")
"""What a canonical type looks like: ``build.finished``."""

RESERVED = ("alert.", "health.", "stage.", "config.", "clock.")
"""Types that only this node itself may say."""

OUTCOMES: dict[str, Outcome] = {
    **dict.fromkeys(("success", "succeeded", "successful", "pass", "passed", "ok", "completed"), "success"),
    **dict.fromkeys(("failure", "fail", "failed"), "failure"),
    **dict.fromkeys(("error", "errored", "startup_failure", "action_required"), "error"),
    **dict.fromkeys(("cancel", "cancelled", "canceled", "cancellation", "aborted"), "cancel"),
    **dict.fromkeys(("timeout", "timed_out", "timedout"), "timeout"),
    **dict.fromkeys(("skip", "skipped", "neutral", "stale"), "skip"),
}
"""CDEvents', OpenTelemetry's, GitHub's, GitLab's and test runners' words for how a thing ended."""

_SEED = re.compile(r"(build|validation|deployment)-(started|completed|finished|failed)")
_CDEVENT = re.compile(r"dev\.cdevents\.([a-z]+)\.([a-z]+)\.[0-9].*")
_CUSTOM_CDEVENT = re.compile(r"dev\.cdeventsx\.(?:bers-)?([A-Za-z][A-Za-z0-9-]*)\.([A-Za-z]+)\.[0-9].*")
"""A type that a tool has made up: ``dev.cdeventsx.TOOL-SUBJECT.PREDICATE.VERSION``. Ours need not name their tool."""
_OURS = re.compile(r"io\.bers\.(.+)\.v[0-9]+")


class Canonical(NamedTuple):
    """A type in our words, the outcome it implies, and what it was before, where that differs."""

    type: str
    outcome: Outcome | None = None
    origin: str = ""


def canonical(type: str) -> Canonical:
    """Find our word for an emitter's type. Raise ValueError where it cannot be one."""
    text = type.strip()
    if cdevent := _CDEVENT.fullmatch(text) or _CUSTOM_CDEVENT.fullmatch(text):
        found = Canonical(f"{cdevent[1]}.{cdevent[2]}".lower(), origin=f"cdevents/{text}")
        _check_reserved(found.type)
        return found
    if ours := _OURS.fullmatch(text):
        text = ours[1]
    text = text.lower().replace("_", "-")
    if seed := _SEED.fullmatch(text):
        if seed[2] == "started":
            return Canonical(f"{seed[1]}.started", origin=f"seed/{type}")
        return Canonical(f"{seed[1]}.finished", "failure" if seed[2] == "failed" else "success", f"seed/{type}")
    if text and "." not in text:
        text = f"custom.{text}"
    if not TYPE.fullmatch(text) or len(text) > 128:
        raise ValueError(f"type {type[:80]!r} is not understood; write it as in 'build.finished'")
    _check_reserved(text)
    return Canonical(text, origin="" if text == type else type)


def _check_reserved(type: str) -> None:
    if type.startswith(RESERVED):
        raise ValueError(f"type {type!r} is reserved for this server's own events; choose another")


def outcome(text: str) -> Outcome:
    """Find our word for how a thing ended. Raise ValueError where there is none."""
    try:
        return OUTCOMES[text.lower().replace("-", "_")]
    except KeyError:
        raise ValueError(
            f"outcome {text[:40]!r} is not understood; write success, failure, error, cancel, timeout or skip"
        ) from None
