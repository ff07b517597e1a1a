"""What git knows of a commit: when it was made, where it comes from, and which others came with it."""

from __future__ import annotations

import os
import re
from time import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bers_emit.activities import Activity

MAX_COMMITS = 200
"""The most commits that are told of one deployment, the newest first."""

PATIENCE = 3.0
"""Seconds that git may take."""

_USERINFO = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/]*@")
_SCP = re.compile(r"^[^/@:]+@([^/:]+):")
_NAME = re.compile(r"[A-Za-z0-9_][\w./@{}^~+-]*")


def change(revision: str | None = None, base: str | None = None) -> dict[str, object]:
    """The fields ``repository``, ``revision``, ``ref``, ``base_revision`` and ``committed_at`` of a commit.

    Without a revision it is that of the folder we are in. There are none where there is no repository, no git, or no
    such commit: a checkout may be shallow.
    """
    told = _git("log", "-1", "--format=%H %ct %D", _checked(revision) or "HEAD", "--").split(" ", 2)
    if len(told) < 2:
        return {}
    found: dict[str, object] = {"revision": told[0], "committed_at": float(told[1])}
    remote = _git("config", "--get", "remote.origin.url")
    if remote:
        found["repository"] = without_user(remote)
    head = told[2].partition(",")[0] if len(told) > 2 else ""
    if head.startswith("HEAD -> "):
        found["ref"] = head[len("HEAD -> ") :]
    before = base and _git("rev-parse", "--verify", "--quiet", f"{_checked(base) or ''}^{{commit}}")
    if before:
        found["base_revision"] = before
    return found


def worked_on(environ: Mapping[str, str]) -> str | None:
    """The commit that a CI system says it works on, which need not be the one that it has checked out."""
    from bers_emit import context, shapes

    fields: dict[str, object] = {}
    context.Surroundings(environ).complete(fields)
    found = (shapes.pairs(fields.get("vcs")) or {}).get("revision")
    return found if isinstance(found, str) else None


def commits(base: str, revision: str) -> list[tuple[str, float]]:
    """The commits that are in a revision and not in its base, the newest first, each with its time."""
    lines = _git("log", f"--max-count={MAX_COMMITS}", "--format=%H %ct", f"{base}..{revision}", "--").splitlines()
    pairs = (line.split(" ") for line in lines)
    return [(name, float(time)) for name, time in pairs]


class Commits:
    """Goes along with a deployment: tells which commits it brought, and how long they took to get there."""

    def __init__(self, change: Mapping[str, object]) -> None:
        self._base = change.get("base_revision")
        self._revision = change.get("revision")

    def before(self, activity: Activity, environ: dict[str, str]) -> None:
        """Nothing is asked before it is known that it went well."""

    def after(self, activity: Activity, code: int) -> None:
        if not (activity.heard and self._base and self._revision):
            return
        brought = commits(str(self._base), str(self._revision))
        if brought:
            activity.note(commits=brought)
            if code == 0:
                now = time()
                activity.measure("lead_time", 1000 * median(max(0.0, now - committed) for _, committed in brought))


def median(values: Iterable[float]) -> float:
    """As statistics has it, which costs 10 ms to import."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def without_user(remote: str) -> str:
    """The address of a repository, without who fetches from it: that may be a token."""
    return _SCP.sub(r"\1:", _USERINFO.sub(r"\1", remote))


def _checked(name: str | None) -> str | None:
    """A name that git cannot take for an option."""
    return name if name and _NAME.fullmatch(name) else None


def _git(*arguments: str) -> str:
    """What git says; nothing where it fails."""
    from subprocess import DEVNULL, PIPE, SubprocessError, run

    command: Sequence[str] = ("git", "--no-pager", *arguments)
    quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = run(
            command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, timeout=PATIENCE, env=quiet, check=False, text=True,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
    except (OSError, SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
