"""The folder of spools: what dead processes left, what the server refused, and the bounds of both."""

from __future__ import annotations

import contextlib
import json
import os
import time

from bers_emit.spool import SUFFIX, Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BYTES = 128 * 1024 * 1024
MAX_AGE = 7 * 86400.0
_DEAD = "dead"


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
    dead, lost = os.path.join(folder, _DEAD), 0
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


def bury(folder: str, name: str, refused: list[tuple[bytes, str]]) -> None:
    """Keep events that the server refused for good, each with the reason, where nobody sends them again."""
    dead = os.path.join(folder, _DEAD)
    os.makedirs(dead, mode=0o700, exist_ok=True)
    fd = os.open(os.path.join(dead, name + SUFFIX), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for line, reason in refused:
            os.write(fd, json.dumps({"reason": reason, "event": _parsed(line)}).encode() + b"\n")
    finally:
        os.close(fd)


def status(folder: str) -> dict[str, object]:
    """What waits here, and what was refused."""
    live = waiting = 0
    files, dead = _files(folder), _files(os.path.join(folder, _DEAD))
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
        "dead": sum(_lines(path) for _, _, path in dead),
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


def _parsed(line: bytes) -> object:
    try:
        parsed: object = json.loads(line)
        return parsed
    except ValueError:
        return line.decode("utf-8", "replace")


def _lines(path: str) -> int:
    try:
        with open(path, "rb") as file:
            return sum(1 for _ in file)
    except OSError:
        return 0


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
