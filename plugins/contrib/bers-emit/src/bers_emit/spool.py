"""The spool: one file per process that keeps its events until the server has them, whatever happens to the process.

A spool file is a header of fixed size, which tells how far the file has been sent, then one event per line. Its owner
holds a lock on it while alive; whoever gets the lock after that may send what is left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import threading
import time

SUFFIX = ".ndjson"
MAX_BYTES = 16 * 1024 * 1024
"""Of events that are not sent yet; what is sent takes up room in the file until all is, up to as much again."""
BATCH_BYTES = 512 * 1024
BATCH_EVENTS = 500
_LONGEST = 4 * MAX_BYTES  # No emitter makes a longer file: what is behind that is looked at by nobody.
# Whoever can write here might have put a link to a file of ours in the place of one, or a pipe that nobody writes to.
CAREFULLY: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_HEADER = '{"bers_spool": 1, "sent": %16d}\n'
_HEADER_PATTERN = rb'\{"bers_spool": 1, "sent": +(\d+)\}\n'
_START = len(_HEADER % 0)


class Full(Exception):
    """The spool takes no more until some of it has been sent."""


def new_name() -> str:
    """A name that no other process has or had: it is the first part of every id in the file."""
    return f"{os.getpid()}-{time.time_ns()}-{os.urandom(4).hex()}"


class Spool:
    """A spool file whose lock we hold."""

    def __init__(self, path: str, fd: int, sent: int, orphan_end: int | None = None) -> None:
        self.path = path
        self.name = os.path.basename(path)[: -len(SUFFIX)]
        self.refused = 0
        self._fd = fd
        self._appender = -1
        self._sent = self._taken = sent
        self._size = sent  # For the bound alone.
        self._orphan_end = orphan_end
        self._lock = threading.RLock()  # A signal handler may emit while its own thread is in here.

    @classmethod
    def create(cls, folder: str, name: str) -> Spool:
        """Open a file of our own for events; raise OSError where the disk refuses."""
        if not can_lock():
            raise OSError(errno.ENOTSUP, "this system has no file locks")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        path, hidden = os.path.join(folder, name + SUFFIX), os.path.join(folder, "." + name)
        fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        spool: Spool | None = None
        try:
            lock(fd)
            os.write(fd, (_HEADER % _START).encode())
            os.rename(hidden, path)  # Seen only once it is locked: nobody takes it for an orphan.
            spool = cls(path, fd, _START)
            spool._appender = os.open(path, os.O_WRONLY | os.O_APPEND | CAREFULLY)
            if not os.path.samestat(os.fstat(spool._appender), os.fstat(fd)):
                raise OSError(errno.ESTALE, "somebody has put another file in the place of the spool")
        except BaseException:
            os.close(fd)
            if spool is not None and spool._appender >= 0:
                os.close(spool._appender)
            for left in (hidden, path):
                if os.path.exists(left):
                    os.unlink(left)
            raise
        return spool

    @classmethod
    def adopt(cls, path: str) -> Spool | None:
        """Take over a file that its owner has left; None where it lives, is gone, or is no spool."""
        try:
            fd = os.open(path, os.O_RDWR | CAREFULLY)
        except OSError:
            return None
        try:
            lock(fd)
            found = os.fstat(fd)
            header = re.fullmatch(_HEADER_PATTERN, os.pread(fd, _START, 0))
            # Without a link it was sent and removed while we opened it.
            if header and found.st_nlink and stat.S_ISREG(found.st_mode):
                end = _last_line(fd, min(found.st_size, _LONGEST))
                sent = int(header[1])
                return cls(path, fd, sent if _START <= sent <= end else _START, end)
        except OSError:
            pass
        os.close(fd)
        return None

    def append(self, line: bytes) -> None:
        """Write one event in one call; raise Full, or OSError where the disk refuses."""
        with self._lock:
            if self._fd < 0:
                raise OSError(errno.EBADF, "the spool is closed")
            size = self._size + len(line)
            if size - (self._sent - _START) > MAX_BYTES or size > 2 * MAX_BYTES:
                raise Full(f"{self.path} has reached {MAX_BYTES} bytes")
            written = os.write(self._appender, line)
            if written != len(line):
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)  # Half a line would spoil the next.
                raise OSError(errno.ENOSPC, "no space for an event")
            self._size += written

    def batch(self) -> list[bytes]:
        """The next events to send, without their line ends."""
        with self._lock:
            while self._fd >= 0:
                chunk = os.pread(self._fd, min(BATCH_BYTES, self._end() - self._sent), self._sent)
                lines = chunk.split(b"\n")[:-1][:BATCH_EVENTS]
                if lines or not chunk:
                    self._taken = self._sent + sum(map(len, lines)) + len(lines)
                    return lines
                self._sent += len(chunk)  # No emitter writes so long a line: the disk lost something.
            return []

    def done(self) -> None:
        """The last batch has been answered: it is never sent again."""
        with self._lock:
            if self._fd < 0:
                return
            self._sent = self._taken
            if self._sent < self._end():
                self._tell_sent()
            else:
                self._sent = self._size = _START
                self._tell_sent()  # First: a kill in between repeats events and loses none.
                os.ftruncate(self._fd, _START)
                self._orphan_end = None

    @property
    def empty(self) -> bool:
        with self._lock:
            return self._fd < 0 or self._sent >= self._end()

    @property
    def crowded(self) -> bool:
        """Whether so much waits that it had better be sent soon."""
        with self._lock:
            return self._fd >= 0 and self._end() - self._sent > MAX_BYTES // 4

    def waiting(self) -> int:
        """How many events are left to send."""
        with self._lock:
            return os.pread(self._fd, max(0, self._end() - self._sent), self._sent).count(b"\n")

    def sent(self) -> int:
        """How many events of the file were sent before."""
        with self._lock:
            pieces = range(_START, self._sent, BATCH_BYTES)
            return sum(os.pread(self._fd, min(BATCH_BYTES, self._sent - at), at).count(b"\n") for at in pieces)

    def close(self) -> None:
        """Let go of the file: what is left in it is for others; an empty one is removed."""
        with self._lock:
            if self.empty and self._fd >= 0:
                self._unlink()
            self._let_go()

    def remove(self) -> None:
        """Give up what is left."""
        with self._lock:
            self._unlink()
            self._let_go()

    def abandon(self) -> None:
        """In a forked child: close what is the parent's. The lock stays the parent's."""
        self._let_go()  # Without our lock: a thread that the child does not have may hold it.

    def _end(self) -> int:
        """Where the events end. The system knows: a signal handler may emit in the middle of any count of ours."""
        return os.fstat(self._fd).st_size if self._orphan_end is None else self._orphan_end

    def _tell_sent(self) -> None:
        os.pwrite(self._fd, (_HEADER % self._sent).encode(), 0)

    def _unlink(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def _let_go(self) -> None:
        for fd in (self._appender, self._fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._appender = -1


def can_lock() -> bool:
    """Whether this system has file locks: without them no spool is kept, because nobody could tell whose it is."""
    try:
        import fcntl
    except ImportError:
        return False
    return hasattr(fcntl, "flock")


def lock(fd: int, *, wait: bool = False) -> None:
    """Have the file for us alone until it is closed; raise OSError where somebody else has it."""
    try:
        import fcntl
    except ImportError as exc:
        raise OSError(errno.ENOTSUP, "this system has no file locks") from exc
    fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _last_line(fd: int, size: int) -> int:
    """Where the last whole line ends: a kill may have cut the one after it."""
    start = max(0, size - BATCH_BYTES)
    return start + os.pread(fd, BATCH_BYTES, start).rfind(b"\n") + 1
