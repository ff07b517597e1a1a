"""One log file: rotated by size, and written in whole lines whatever its disk does."""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from bers import disk

_log = logging.getLogger(__name__)


class _Whole(io.FileIO):
    """A file that takes all of what it is given or nothing, and keeps nothing back."""

    def write(self, data: Any, /) -> int:
        before = os.fstat(self.fileno()).st_size
        try:
            view, written = memoryview(data).cast("B"), 0
            while written < len(view):  # What is left of a part says why it is left.
                written += super().write(view[written:])
        except OSError:
            with suppress(OSError):  # Half a line is worse than none.
                os.ftruncate(self.fileno(), before)
            raise
        return written


class LogFile(logging.handlers.RotatingFileHandler):
    """One log file. What its disk does not take is lost, counted, and said once; nobody else suffers for it."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        super().__init__(path, maxBytes=max_bytes, backupCount=keep, encoding="utf-8", delay=True)
        self.fault = ""
        """Why it cannot be written at present."""
        self._lost = 0
        """How many lines could not be, since it began."""

    def open(self) -> io.TextIOWrapper:
        """Make the file, if it is not open; raise OSError where that cannot be."""
        if self.stream is None:
            self.stream = self._open()
            self.delay = False  # A rotated file is followed at once by the next.
        return self.stream

    def reopen(self) -> None:
        """Let go of the file, and make it anew in its place."""
        self.acquire()
        try:
            old, self.stream = self.stream, None
            if old:
                old.close()
            self.open()
        except OSError as exc:
            self.failed(exc, 0)
        finally:
            self.release()

    def append(self, text: str) -> None:
        """Write lines as they are."""
        self.acquire()
        try:
            stream = self.open()
            stream.write(text)
            self._worked()
            if 0 < self.maxBytes <= stream.tell():
                self.doRollover()
        except OSError as exc:
            self.failed(exc, text.count("\n"))
        finally:
            self.release()

    def emit(self, record: logging.LogRecord) -> None:
        lost = self._lost
        super().emit(record)
        if self._lost == lost:
            self._worked()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - The name is logging's.
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self.failed(error, 1)
        else:
            super().handleError(record)

    def failed(self, error: OSError, lines: int) -> None:
        """Note that so many lines could not be written."""
        self._lost += lines
        if not self.fault:
            self.fault = disk.disk_fault(error) or str(error)
            _log.error("%s cannot be written, its lines are lost: %s", self.baseFilename, self.fault)

    def _worked(self) -> None:
        if self.fault:
            lost, self.fault, self._lost = self._lost, "", 0
            _log.warning("%s is written again; %d lines were lost", self.baseFilename, lost)

    def _open(self) -> io.TextIOWrapper:
        path = Path(self.baseFilename)
        path.parent.mkdir(parents=True, exist_ok=True)
        raw: Any = _Whole(path, "a")  # It is asked for no more than what is written to it.
        return io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
