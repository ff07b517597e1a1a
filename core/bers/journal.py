"""The journal of the bus: frames are appended to segments, and made durable together by one thread."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
from anyio import CapacityLimiter, to_thread

from bers import disk
from bers.frames import Frame, encode, frames_of, is_torn, unfinished, with_length_mended
from bers.segments import put_in_order, segment_at, segment_files
from bers.units import Size

PROBE = 64 << 10
"""Bytes that are written to see whether there is room again: about what comes at once."""

_log = logging.getLogger(__name__)


class Journal:
    """Frames in order. What :meth:`sync` has returned for is there after ``kill -9``; what it has not may be torn."""

    def __init__(
        self,
        folder: Path,
        *,
        begin: int = 0,
        segment_bytes: int = 16 << 20,
        min_free: int = 0,
        on_loss: Callable[[], None] = lambda: None,
        give_way: Callable[[], bool] = lambda: False,
    ) -> None:
        """Open the folder, and cut off what the last process left unfinished; an empty one begins at ``begin``.

        A segment that is damaged is kept aside as ``NAME.damaged``; what is whole in it can still be read.

        ``on_loss`` is called at the moment when waiting frames are given up, before anybody can add another.

        ``min_free`` is how many bytes of the disk are left to others; of a small disk, it is a small part. ``give_way``
        is called when there is no room for a frame: whether it has made some, so that it is worth another attempt.
        """
        folder.mkdir(parents=True, exist_ok=True)
        put_in_order(folder)
        self._folder = folder
        self.segment_bytes = segment_bytes
        self._waiting: list[Frame] = []
        self._losses = 0
        self._on_loss = on_loss
        self._give_way = give_way
        self.min_free = min_free
        self._short = False
        """Whether there was less room than that when it was looked last."""
        self._turn = anyio.Lock()
        self._thread = CapacityLimiter(1)
        self._starts = [int(path.stem) for path in segment_files(folder)] or [begin]
        self._sizes = [path.stat().st_size if (path := self._path(at)).exists() else 0 for at in self._starts]
        self._file = os.open(self._path(self._starts[-1]), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._sync_found()
        self.end = self._recover()
        self._torn = False
        """Whether there may be something behind the last whole frame."""
        self._closed = False

    @property
    def start(self) -> int:
        """The oldest position that can still be read from."""
        return self._starts[0]

    @property
    def active(self) -> int:
        """Where the segment begins that is written to."""
        return self._starts[-1]

    @property
    def size(self) -> int:
        """How many bytes the files have."""
        return sum(self._sizes)

    def add(self, frame: Frame) -> None:
        """Let a frame wait for the next sync."""
        self._waiting.append(frame)

    async def sync(self) -> None:
        """Return when every frame added so far is on disk.

        Whoever comes first writes for all who wait. If that fails, none of the waiting frames was ever there.
        """
        end = self._waiting[-1].end if self._waiting else self.end
        losses = self._losses
        async with self._turn:
            if self._losses != losses:
                raise OSError("an earlier frame could not be written, and this one followed from it")
            if self.end >= end:
                return
            group = tuple(self._waiting)
            try:
                await self._write_down(group)
            except OSError:
                self._waiting.clear()
                self._losses += 1
                self._on_loss()
                raise
            del self._waiting[: len(group)]

    async def probe(self) -> None:
        """Find out whether as much could be written as comes at once; raise OSError where it could not."""
        async with self._turn:
            try:
                await to_thread.run_sync(self._try, limiter=self._thread)
            finally:
                self._torn = True

    async def read(self, after: int, *, max_bytes: int = 1 << 20) -> Sequence[Frame]:
        """Return the frames that follow a position, as many as fit, and at least one where there is one."""
        return await to_thread.run_sync(self._read, after, max_bytes)

    async def roll(self) -> None:
        """Go on in another segment, so that this one can be deleted once nobody needs it."""
        async with self._turn:
            await to_thread.run_sync(self._roll, limiter=self._thread)

    def trim(self, before: int) -> None:
        """Delete the segments that end at or before a position."""
        while len(self._starts) > 1 and self._starts[1] <= before:
            self.drop_oldest()

    def drop_oldest(self) -> bool:
        """Delete the oldest segment; False where it is the one that is written to."""
        if len(self._starts) == 1:
            return False
        self._path(self._starts[0]).unlink(missing_ok=True)
        del self._starts[0], self._sizes[0]
        return True

    def close(self) -> None:
        """Let go of the file; what is added afterwards is refused."""
        self._closed = True
        os.close(self._file)

    def _path(self, start: int) -> Path:
        return segment_at(self._folder, start)

    def _sync_found(self) -> None:
        """Make durable what a killed process wrote and did not sync: it is read from now on, and who sends it again is
        told that it is known. And the names: without them nothing that follows is.
        """
        folder = self._folder.absolute()
        try:
            if self._sizes[-1]:
                os.fdatasync(self._file)
            for path in (folder, folder.parent):
                disk.sync(path)
        except OSError as exc:  # The first append will fail as well, and somebody can be told then.
            _log.error("%s cannot be synced: %s; what was written last may not survive a loss of power", folder, exc)
        with suppress(OSError):  # This one need not be ours.
            disk.sync(folder.parent.parent)

    def _recover(self) -> int:
        """Find the end, and make sure that the next frame follows it."""
        path, at, end = self._path(self._starts[-1]), 0, self._starts[-1]
        damaged = False
        for found in frames_of(path):
            if found.at > at:
                damaged = True
                _log.error(
                    "%s is damaged from byte %d to %d: events from position %d to %d are lost",
                    path, at, found.at, end, found.frame.start,
                )  # fmt: skip
            at, end = found.after, found.frame.end
        if not damaged and (last := with_length_mended(path, at, end)):
            _log.error("%s: the length of the last frame was damaged, and is written anew", path)
            os.ftruncate(self._file, at)
            data = encode(last)
            disk.assert_whole(os.write(self._file, data), data)
            os.fdatasync(self._file)
            self._sizes[-1] = at + len(data)
            return last.end
        if not damaged and is_torn(path, at):
            if at < self._sizes[-1]:
                _log.info("%s: an append that was not finished was cut off, %d bytes", path, self._sizes[-1] - at)
            os.ftruncate(self._file, at)
            self._sizes[-1] = at
            return end
        if at < self._sizes[-1]:
            _log.error("%s is damaged from byte %d on: events after position %d may be lost", path, at, end)
        self._put_aside(path, end)
        return end

    def _put_aside(self, path: Path, end: int) -> None:
        """Leave a damaged segment as it is, for whoever may make more of it, and go on behind it in a new one."""
        aside = path.with_suffix(".damaged")
        if end == self._starts[-1]:  # Nothing in it is whole, and the new one takes its name.
            disk.set_aside(path, aside)
            self._starts.pop()
            self._sizes.pop()
        else:
            with suppress(OSError):  # There already, or not to be had here: it stays until it is trimmed in any case.
                aside.hardlink_to(path)
        _log.error("%s is kept as %s; delete that when nobody needs it", path.name, aside)
        self._begin_segment(end)

    async def _write_down(self, group: Sequence[Frame]) -> None:
        while True:
            try:
                await to_thread.run_sync(self._write, group, limiter=self._thread)
                return
            except OSError as exc:
                self._torn = True
                if not (disk.is_full(exc) and self._give_way()):
                    raise

    def _write(self, group: Sequence[Frame]) -> None:
        if self._closed:
            raise OSError("the journal is closed")
        self._leave_room()
        if self._torn:
            os.ftruncate(self._file, self._sizes[-1])
            self._torn = False
        if self._sizes[-1] >= self.segment_bytes:
            self._begin_segment(group[0].start)
        data = b"".join(map(encode, group))
        disk.assert_whole(os.write(self._file, data), data)
        os.fdatasync(self._file)
        self._sizes[-1] += len(data)
        self.end = group[-1].end

    def _try(self) -> None:
        """Write what a recovery takes for an append that was not finished, and take it back."""
        if self._closed:
            raise OSError("the journal is closed")
        self._leave_room()
        size = min(PROBE, self.segment_bytes // 2)
        data = unfinished(self.end, size)
        os.ftruncate(self._file, self._sizes[-1])
        try:
            disk.assert_whole(os.write(self._file, data), data)
            os.fdatasync(self._file)
        finally:
            os.ftruncate(self._file, self._sizes[-1])

    def _leave_room(self) -> None:
        """Stop before the disk is full: alerts, and what is swept away, need some of it."""
        if not self.min_free:
            return
        free, total, _ = disk.room(self._folder)
        left = disk.left_free(self.min_free, total)
        # A little more is wanted once it was short, or it would be full and not full with every frame.
        self._short = free < left + self._short * left // 4
        if self._short:
            raise OSError(
                errno.ENOSPC,
                f"its disk has {_mib(free)} left, and intake.journal.min_free leaves {_mib(left)} for all else",
            )

    def _roll(self) -> None:
        if self._sizes[-1] and not self._closed and not self._torn:
            self._begin_segment(self.end)

    def _begin_segment(self, start: int) -> None:
        file = os.open(self._path(start), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        os.close(self._file)
        self._file = file
        self._starts.append(start)
        self._sizes.append(0)
        disk.sync(self._folder)

    def _read(self, after: int, max_bytes: int) -> Sequence[Frame]:
        starts = tuple(self._starts)  # As they are now: this is a thread, and the loop may trim meanwhile.
        first = max(n for n, start in enumerate(starts) if start <= after or not n)
        frames: list[Frame] = []
        for start in starts[first:]:
            for _, _, frame in frames_of(self._path(start)):
                if frame.end > self.end or max_bytes <= 0:
                    return frames
                if frame.end > after:
                    frames.append(frame)
                    max_bytes -= len(frame.body)
        return frames


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.2f} MiB" if size >= 1 << 20 else str(Size(size // 1024 * 1024))
