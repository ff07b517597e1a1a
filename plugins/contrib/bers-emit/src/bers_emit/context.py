"""Where events come from: the CI system that runs us, else this host; and what each event says of that."""

from __future__ import annotations

import os
import re

from bers_emit import shapes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from bers_emit.ci_systems import System

# What tells each system; only where one is set it is worth to read what the others mean.
_MARKERS = (
    *("GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "BUILDKITE", "CIRCLECI", "TF_BUILD", "BITBUCKET_BUILD_NUMBER"),
    *("TEAMCITY_VERSION", "CODEBUILD_BUILD_ID", "TRAVIS", "DRONE"),
)
_IDENTITIES = (("vcs", "revision", ("repository",)), ("run", "id", ("system",)))
"""Of each part: what names it, and what of ours holds even where an event names another one."""


def source(environ: Mapping[str, str]) -> str:
    """The default source of an event: ``/ci/SYSTEM/PROJECT`` in CI, else ``/host/NAME``."""
    system = _system(environ)
    if system is None:
        return f"/host/{_quoted(_host(environ)) or 'unknown'}"
    project = system.project(environ)
    if system.name == "codebuild":  # An id is PROJECT:UUID, and a source outlives one build.
        project = project.partition(":")[0]
    return f"/ci/{system.name}/{_quoted(project) or 'unknown'}"


def in_ci(environ: Mapping[str, str]) -> bool:
    """Whether a CI system runs us: most of them set CI, the others something of their own."""
    return _is_set(environ, "CI") or _system(environ) is not None


class Surroundings:
    """What the environment adds to each event: the commit, the run, the chain and the trace that it belongs to."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._fields: dict[str, object] = {}
        self._parts: dict[str, dict[str, object]] = {}
        system = _system(environ)
        if system is not None:
            vcs, run = system.read(environ)
            self._parts = {"vcs": vcs, "run": run}
        chain = environ.get("BERS_CHAIN") or environ.get("BERS_PARENT")
        if chain:
            self._fields["chain"] = chain
        trace = traceparent(environ)
        if trace:
            self._fields["traceparent"] = trace

    def complete(self, fields: dict[str, object]) -> None:
        """Add what the event does not say itself; where it names another commit or run, ours says nothing of that."""
        for name, value in self._fields.items():
            if fields.get(name) is None:
                fields[name] = value
        if not self._parts:
            return
        for name, identity, shared in _IDENTITIES:
            ours, given = self._parts[name], fields.get(name)
            if given is None:
                if ours:
                    fields[name] = ours
                continue
            pairs = shapes.pairs(given)
            if pairs is not None:
                named = pairs.get(identity)
                if named is not None and named != ours.get(identity):
                    ours = {key: of for key, of in ours.items() if key in shared}
                both: list[tuple[object, object]] = [*ours.items(), *pairs.items()]
                fields[name] = {key: of for key, of in both if of is not None}


def traceparent(environ: Mapping[str, str]) -> str:
    """The W3C trace that we are part of; empty where there is none."""
    found = environ.get("TRACEPARENT", "")
    return found if re.fullmatch(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", found) else ""


def _system(environ: Mapping[str, str]) -> System | None:
    for marker in _MARKERS:
        if _is_set(environ, marker):
            from bers_emit.ci_systems import SYSTEMS

            return next(system for system in SYSTEMS if system.marker == marker)
    return None


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() not in ("", "0", "false", "no")


def _host(environ: Mapping[str, str]) -> str:
    return os.uname().nodename if hasattr(os, "uname") else environ.get("COMPUTERNAME", "")


def _quoted(text: str) -> str:
    """Percent-encode what a URI reference cannot hold; urllib's own quote costs 10 ms to import."""
    return "".join(
        letter if (letter.isalnum() and letter.isascii()) or letter in "._~/-" else _percent(letter) for letter in text
    )


def _percent(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "replace"))
