"""The project directory, read with limits: nothing outside it, nothing huge, nothing that blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

MAX_BYTES = 1 << 20
MAX_FILES = 64

_GRAIN_NS = 20_000_000
"""A file changed twice within one tick of the file system's clock looks the same after both."""

Stamp: TypeAlias = tuple[str, int, int, int, int]


class Unreadable(Exception):
    """A file is there and is not read; the text says why. ``harmless`` where a program might leave it out too."""

    def __init__(self, why: str, *, harmless: bool = False) -> None:
        super().__init__(why)
        self.harmless = harmless


class ProjectFolder:
    """One look at the files below a root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = root.resolve()
        self._read = 0

    def read(self, name: str, *, outside: bool = False) -> bytes | None:
        """The content of a file, None if there is none; raise Unreadable if it is not to be read.

        ``outside`` lets it lie elsewhere, for a file that the operator named.
        """
        path = self.root / name
        if not outside and not path.resolve().is_relative_to(self._real):
            raise Unreadable("it leads out of the project directory; such files are not read")
        try:
            # Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise Unreadable(f"it cannot be opened: {exc.strerror}") from exc
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unreadable("it is not a regular file; it is left out", harmless=True)
            self._read += 1
            if self._read > MAX_FILES:
                raise Unreadable(f"it is one file too many; at most {MAX_FILES} are read")
            content = _read(descriptor, MAX_BYTES + 1)
        except OSError as exc:
            raise Unreadable(f"it cannot be read: {exc.strerror}") from exc
        finally:
            os.close(descriptor)
        if len(content) > MAX_BYTES:
            raise Unreadable("it is larger than 1 MiB; it is left out")
        return content

    def stamps(self, names: Iterable[str]) -> tuple[Stamp, ...]:
        """What changes when one of the files does; a file that is not there has a stamp too."""
        return tuple(self._stamp(name) for name in names)

    def _stamp(self, name: str) -> Stamp:
        try:
            found = (self.root / name).stat()
        except OSError as exc:
            return name, 0, 0, 0, exc.errno or 0
        return name, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _read(descriptor: int, at_most: int) -> bytes:
    content = b""
    while len(content) < at_most and (more := os.read(descriptor, at_most - len(content))):
        content += more
    return content


def settled(stamps: Iterable[Stamp], now_ns: int) -> bool:
    """Whether none of the files could change once more without its stamp telling."""
    return all(not changed or abs(now_ns - changed) > _GRAIN_NS for _, changed, *_ in stamps)
