"""The folder of spools: what dead processes left, and the bounds of that and of what the server refused."""

from __future__ import annotations

import contextlib
import os
import time

from bers_emit import dead_letters
from bers_emit.spool import SUFFIX, Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypedDict

    class Status(TypedDict):
        """What there is in a folder of spools."""

        folder: str
        files: int
        in_use: int
        waiting: int
        bytes: int
        oldest_seconds: float | None
        dead: int
        reasons: dict[str, int]


MAX_BYTES = 128 * 1024 * 1024
MAX_AGE = 7 * 86400.0


def default(environ: Mapping[str, str]) -> str:
    """Where spools live unless somebody says otherwise."""
    state = environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return environ.get("BERS_EMIT_SPOOL") or os.path.join(state, "bers", "spool")


def orphans(folder: str) -> Iterator[Spool]:
    """What processes left that live no more, oldest first. The caller closes each."""
    for _, _, path in _files(folder):
        spool = Spool.adopt(path)
        if spool:
            yield spool


def prune(folder: str) -> int:
    """Drop what is older than a week, then the oldest while the folder is over its bound; return the events lost."""
    dead, lost = dead_letters.place(folder), 0
    files = sorted(_files(folder) + _files(dead))
    total, oldest = sum(size for _, size, _ in files), time.time() - MAX_AGE
    for modified, size, path in files:
        if total <= MAX_BYTES and modified >= oldest:
            break
        if os.path.dirname(path) == dead:
            _unlink(path)
            total -= size
            continue
        spool = Spool.adopt(path)
        if spool:  # The file of a process that lives is never taken from it.
            lost += spool.waiting()
            spool.remove()
            total -= size
    return lost


def status(folder: str) -> Status:
    """What waits here, and what was refused."""
    live = waiting = 0
    reasons = dead_letters.reasons(folder)
    files, dead = _files(folder), _files(dead_letters.place(folder))
    for _, _, path in files:
        spool = Spool.adopt(path)
        if spool:
            waiting += spool.waiting()
            spool.close()
        else:
            live += 1
    return {
        "folder": folder,
        "files": len(files),
        "in_use": live,
        "waiting": waiting,
        "bytes": sum(size for _, size, _ in files + dead),
        "oldest_seconds": round(time.time() - files[0][0], 1) if files else None,
        "dead": sum(reasons.values()),
        "reasons": reasons,
    }


def _files(folder: str) -> list[tuple[float, int, str]]:
    """Modification time, size and path of each file, oldest first."""
    found: list[tuple[float, int, str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                    try:
                        about = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:  # Somebody finished it while we looked.
                        continue
                    found.append((about.st_mtime, about.st_size, entry.path))
    except OSError:  # No folder yet, or none that we may read.
        pass
    return sorted(found)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
