"""Dead letters: events that the server refused for good, each with the reason; nobody sends them by themselves."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time

from bers_emit import shapes
from bers_emit.spool import CAREFULLY, SUFFIX, Full, Spool, lock, new_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = 20
_LONGEST = 1024 * 1024


def place(folder: str) -> str:
    """Where the dead letters of a folder of spools lie."""
    return os.path.join(folder, "dead")


def bury(folder: str, name: str, refused: list[tuple[bytes, str]]) -> None:
    """Keep events that were refused, each with the reason; ``name`` is that of the spool that they come from."""
    os.makedirs(place(folder), mode=0o700, exist_ok=True)
    path = os.path.join(place(folder), name + SUFFIX)
    while True:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | CAREFULLY, 0o600)
        try:
            lock(fd, wait=True)
            if not os.fstat(fd).st_nlink:  # Somebody took the letters in it while we waited.
                continue
            for line, reason in refused:
                os.write(fd, json.dumps({"reason": reason, "event": _parsed(line)}).encode() + b"\n")
            return
        finally:
            os.close(fd)


def reasons(folder: str) -> dict[str, int]:
    """How many letters there are for each reason, the most frequent first."""
    counts: dict[str, int] = {}
    for path in _files(folder):
        with contextlib.suppress(OSError), open(os.open(path, os.O_RDONLY | CAREFULLY), "rb") as file:
            while line := file.readline(_LONGEST):
                reason = str((shapes.pairs(_parsed(line)) or {}).get("reason", "unreadable"))
                if reason not in counts and len(counts) >= _SHOWN:
                    reason = "other"
                counts[reason] = counts.get(reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda one: -one[1]))


def revive(folder: str) -> int:
    """Put the letters back where they are sent from; return how many. Their ids stay: none is counted twice."""
    count = 0
    for path, lines in _taken(folder):
        spool: Spool | None = None
        try:
            for line in lines:
                event = shapes.pairs((shapes.pairs(_parsed(line)) or {}).get("event"))
                if event is None:  # It was no event before, and is none now.
                    continue
                text = json.dumps(event, separators=(",", ":")).encode() + b"\n"
                try:
                    spool = spool or Spool.create(folder, new_name())
                    spool.append(text)
                except Full:
                    assert spool
                    spool.close()
                    spool = Spool.create(folder, new_name())
                    spool.append(text)
                count += 1
            os.unlink(path)  # Last: whoever is killed before this sends them twice, and loses none.
        finally:
            if spool:
                spool.close()
    return count


def purge(folder: str, older: float = 0.0) -> int:
    """Delete the letters of files that nobody has added to for so many seconds; return how many letters there were."""
    count, before = 0, time.time() - older
    for path, lines in _taken(folder):
        if os.stat(path).st_mtime <= before:
            count += len(lines)
            os.unlink(path)
    return count


def _taken(folder: str) -> Iterator[tuple[str, list[bytes]]]:
    """Each file with its lines, which nobody adds to until the next is asked for."""
    for path in _files(folder):
        try:
            fd = os.open(path, os.O_RDWR | CAREFULLY)
        except OSError:
            continue
        with open(fd, "rb") as file:
            lock(fd, wait=True)
            about = os.fstat(fd)
            if about.st_nlink and stat.S_ISREG(about.st_mode):
                yield path, file.read().splitlines()


def _files(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(place(folder)))
    except OSError:
        return []
    return [os.path.join(place(folder), name) for name in names if name.endswith(SUFFIX)]


def _parsed(line: bytes) -> object:
    try:
        parsed: object = json.loads(line)
        return parsed
    except (ValueError, RecursionError):
        return line.decode("utf-8", "replace")
