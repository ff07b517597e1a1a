"""A file that some tool has written: read in pieces, within bounds, and known by its content."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MAX_BYTES = 64 << 20
"""The largest file that is read."""

MAX_JSON = 32 << 20
"""The largest that is read as a whole: as objects it takes some ten times as much."""

PIECE = 64 << 10


class Unreadable(ValueError):
    """A file is not what it is taken for, or too much; the message is one line."""


class Document:
    """One file, or the standard input where it is called ``-``."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._sum = hashlib.sha256()
        self._told: bytes | None = None

    @property
    def digest(self) -> bytes:
        """What tells the content from any other, once it was read."""
        return self._sum.digest()

    @property
    def modified(self) -> float | None:
        """When it was written, in seconds since 1970."""
        return None if self.path == "-" else os.stat(self.path).st_mtime

    def pieces(self, limit: int = MAX_BYTES) -> Iterator[bytes]:
        """The content, a piece at a time. Raise Unreadable where there is too much, before that is read."""
        self._sum = hashlib.sha256()
        with self._open(limit) as file:
            left = limit
            while piece := file.read(PIECE):
                left -= len(piece)
                if left < 0:
                    raise self.too_large(limit)
                self._sum.update(piece)
                yield piece

    def lines(self) -> Iterator[str]:
        """The lines, without what ends them; a line without end is cut where a document may be no longer."""
        rest = b""
        for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > MAX_BYTES // 16:
                raise Unreadable(f"{self.path}: a line has more than {MAX_BYTES // 16} bytes")
            for line in lines:
                yield line.rstrip(b"\r").decode("utf-8", "replace")
        if rest:
            yield rest.decode("utf-8", "replace")

    def json(self) -> object:
        """The content as JSON."""
        body = b"".join(self.pieces(MAX_JSON))
        try:
            found: object = json.loads(body)
        except RecursionError:
            raise Unreadable(f"{self.path}: is nested too deeply") from None
        except ValueError as exc:
            raise Unreadable(f"{self.path}: is no JSON ({exc})") from exc
        return found

    def head(self) -> str:
        """How it begins, without what is blank."""
        with self._open(MAX_BYTES) as file:
            return file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n").decode("utf-8", "replace")

    def too_large(self, limit: int) -> Unreadable:
        return Unreadable(f"{self.path}: has more than {limit >> 20} MiB")

    def _open(self, limit: int) -> BinaryIO:
        if self.path == "-":
            told = self._told
            if told is None:  # It is there once, and some formats are told by how they begin.
                told = self._told = sys.stdin.buffer.read(limit + 1)
            return io.BytesIO(told)
        try:
            # Without waiting: a pipe that nobody writes to would hold up the build for ever.
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except OSError as exc:
            raise Unreadable(f"{self.path}: {exc.strerror}") from exc
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            os.close(descriptor)
            raise self.too_large(limit) if stat.S_ISREG(found.st_mode) else Unreadable(f"{self.path}: is no file")
        return os.fdopen(descriptor, "rb", 0)
