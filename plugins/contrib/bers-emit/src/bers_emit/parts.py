"""The parts of a run: what reports inside of a run of its own kind hands its figures to that, and both are one event.

A run gives its command the path of a private file whose lock it holds. The first line says which run it is; each that
reports inside appends what it would have sent, in one write.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time

from bers_emit import shapes
from bers_emit.spool import CAREFULLY, Spool, can_lock, lock, new_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Pairs = dict[object, object]

VARIABLES = {"build": "BERS_BUILD_RUN", "test": "BERS_TEST_RUN"}
"""Where the file is told, for each kind that has reporters of its own."""

_SUFFIX = ".run"
_KEPT_FOR = 86400.0
"""Seconds after which nobody comes any more to a file whose run was killed."""
_MAX_BYTES = 32 << 20
# Whatever is started in a test is what is tested, and no part of the run that the test belongs to.
_IN_TESTS = ("PYTEST_CURRENT_TEST", "VITEST_POOL_ID", "JEST_WORKER_ID")


class Parts:
    """The file of a run that is ours. Raises OSError where the disk refuses."""

    def __init__(self, folder: str, head: Mapping[str, str]) -> None:
        if not can_lock():
            raise OSError(errno.ENOTSUP, "this system has no file locks")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        _sweep(folder)
        self.path = os.path.join(folder, f".{new_name()}{_SUFFIX}")
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            lock(self._fd)
            os.write(self._fd, json.dumps(head).encode() + b"\n")
        except BaseException:
            self._remove()
            raise

    def take(self) -> list[Pairs]:
        """What was told, as events in the order in which they ended; from now on nobody is part of this run."""
        with contextlib.suppress(OSError):  # First: whoever comes now sees it, and sends his own event.
            os.unlink(self.path)
        told = os.pread(self._fd, _MAX_BYTES, 0)
        self._remove()
        found: list[Pairs] = []
        for line in told.split(b"\n")[1:]:
            pairs = _pairs(line)
            words = pairs.get("last_words")
            if isinstance(words, str):
                pairs = _last_words(words)
            if pairs:
                found.append(pairs)
        return found

    def close(self) -> None:
        """Take nothing: there is no run that it would be told with."""
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Around:
    """A run around us, of our own kind and told to the same server: it waits for what we find.

    Without a name it has ours: then it is a run of another kind that tells of ours as well.
    """

    def __init__(self, path: str, head: Pairs) -> None:
        self._path = path
        self.subject, self.name, self.chain = (str(head[key]) for key in ("subject", "name", "chain"))

    @classmethod
    def of(cls, kind: str, url: str, environ: Mapping[str, str]) -> Around | None:
        """The run that the environment names; None where there is none, or none that takes anything."""
        path = environ.get(VARIABLES.get(kind, ""), "")
        if not path or any(name in environ for name in _IN_TESTS):
            return None
        try:
            with open(path, "r+b") as file:
                head = _pairs(file.readline(1 << 16))
            return cls(path, head) if head.get("url") == url else None
        except (OSError, KeyError):
            return None

    def tell(self, line: bytes) -> str | None:
        """Hand in what we found; None where the run takes it, else the subject of the event that we have to send.

        Where the run was killed it is the run's, whose end that is then; it is empty where the run has ended, or cannot
        be told: then it is our own.
        """
        found = self._append(line)
        if found != "left":
            return None if found == "taken" else ""
        with contextlib.suppress(OSError):  # The next one is an event of its own.
            os.unlink(self._path)
        return self.subject

    def keep(self, last_words: str) -> None:
        """Say where our last words lie: the run has better ones, if it lives longer than we do."""
        self._append(json.dumps({"last_words": last_words}).encode())

    def _append(self, line: bytes) -> str:
        """Write a line: it is ``taken``, or the run has ``left`` it behind when it was killed, or is ``gone``."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | CAREFULLY)
        except OSError:
            return "gone"
        try:
            if _left(descriptor):
                return "left"
            # A part that was cut off by a full disk spoils no other.
            whole = b"\n" + line.strip() + b"\n"
            taken = os.write(descriptor, whole) == len(whole) and os.fstat(descriptor).st_nlink > 0
            return "taken" if taken else "gone"
        except OSError:
            return "gone"
        finally:
            os.close(descriptor)


def _left(descriptor: int) -> bool:
    """Whether nobody holds the file: its run was killed."""
    try:
        lock(descriptor)
    except OSError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def _last_words(path: str) -> Pairs:
    """What somebody left who died in the midst of it, as his part; it is not sent then."""
    spool = Spool.adopt(path)
    if spool is None:  # Nobody died.
        return {}
    lines = spool.batch()
    spool.remove()
    return _pairs(lines[0]) if lines else {}


def _pairs(line: bytes) -> Pairs:
    try:
        return shapes.pairs(json.loads(line)) or {}
    except ValueError:
        return {}


def _sweep(folder: str) -> None:
    for path in _forgotten(folder):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | CAREFULLY)
            try:
                if _left(descriptor):
                    os.unlink(path)
            finally:
                os.close(descriptor)


def _forgotten(folder: str) -> Iterator[str]:
    before = time.time() - _KEPT_FOR
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(_SUFFIX):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < before:
                        yield entry.path
