"""The check `storage`: whether what has to survive can be written, and how much room there is for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from anyio import to_thread

from bers.checks import Check, Finding
from bers.clock import Clock
from bers.counters import Counters
from bers.disk import Reserve, Room, left_free, room, taken
from bers.units import Interval, format_duration

LOOK_EVERY = 1.0
"""Seconds between two looks at the disk."""

NEEDED = frozenset({"journal", "state.db"})
"""What a node cannot do its work without."""

REMEDY = (
    "Make room on the disk of {path}, or let this server write there (mount it writable, give back its rights): "
    "it goes on by itself, and nothing that was acknowledged is lost."
)
SHORT = "Make room on the disk of {path}: below intake.journal.min_free, new events are refused."


class Storage:
    """Watches the disk of one data directory: who cannot write there, since when, and what it cost."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        counters: Counters,
        writers: Mapping[str, Callable[[], str]],
        min_free: Callable[[], int],
        changed: Callable[[], object],
        logs: Path | None = None,
    ) -> None:
        """``writers`` say, by name, why they cannot write at present; nothing where they can.

        ``min_free`` is what is to stay free. ``changed`` is called when one of the writers cannot write any more, or
        can again. ``logs`` is where the log files are.
        """
        self._folder = folder
        self._clock = clock
        self._counters = counters
        self.writers = writers
        self._min_free = min_free
        self._changed = changed
        self._logs = logs
        self._reserve = Reserve(folder)
        self._refused_before = 0
        self.room = Room(0, 0)
        """What was found when it was looked last."""
        self.used: Mapping[str, int] = {}
        """How many bytes what takes on the disk."""
        self.failing: dict[str, float] = {}
        """Who cannot write, since when in seconds since 1970."""
        self.reserve = 0
        """How many bytes are kept aside for when nothing else is left."""

    @property
    def short(self) -> bool:
        """Whether there is less room than is to stay free."""
        return self.room.known and self.room.free < left_free(self._min_free(), self.room.total)

    @property
    def refused(self) -> int:
        """How many events the intake has refused, for whatever reason, since something could not be written."""
        return self._counters.edge("intake").dropped["refused"] - self._refused_before if self.failing else 0

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await to_thread.run_sync(self._look, abandon_on_cancel=True)  # A disk that hangs keeps nobody from ending.
            self.note()
            await self._clock.sleep(LOOK_EVERY)

    def close(self) -> None:
        """Keep nothing aside any more."""
        self._reserve.give_up()

    def note(self) -> None:
        """See who cannot write."""
        now = {name for name, fault in self.writers.items() if fault()}
        if not now:
            self._refused_before = self._counters.edge("intake").dropped["refused"]
        if now == self.failing.keys():
            return
        since = self._clock.time()
        self.failing = {name: self.failing.get(name, since) for name in sorted(now)}
        self._changed()

    async def look(self) -> Finding:
        await to_thread.run_sync(self._look, abandon_on_cancel=True)
        self.used = await to_thread.run_sync(lambda: dict(self._taken()), abandon_on_cancel=True)
        self.note()
        now, path = self._clock.time(), str(self._folder.absolute())
        failing = {name: self.writers[name]() for name in self.failing}
        details: dict[str, Any] = {
            "path": path,
            "freeBytes": self.room.free if self.room.known else None,
            "totalBytes": self.room.total if self.room.known else None,
            "minFreeBytes": left_free(self._min_free(), self.room.total),
            "reserveBytes": self.reserve,
            "usedBytes": self.used,
            "failing": {
                name: {"since": round(since * 1000), "error": failing[name]} for name, since in self.failing.items()
            },
            "refusedEvents": self.refused,
        }
        free = "how much is free is not known"
        if self.room.known:
            free = f"{_readable(self.room.free)} of {_readable(self.room.total)} are free"
        if failing:
            lasted = format_duration(round(max(0.0, now - min(self.failing.values()))))
            what = "; ".join(f"{name}: {why}" for name, why in failing.items())
            message = f"{', '.join(failing)} of {path} cannot be written, for {lasted} already ({what}); {free}"
            if self.refused:
                message += f"; {self.refused} events were refused since"
            return Finding(
                "unhealthy" if NEEDED & failing.keys() else "degraded", message, details, REMEDY.format(path=path)
            )
        if self.room.fault:
            why = f"{path} cannot be looked at: {self.room.fault}; {free}"
            return Finding("degraded", why, details, REMEDY.format(path=path))
        if self.short:
            return Finding("degraded", f"{path}: only {free}", details, SHORT.format(path=path))
        return Finding("healthy", f"{path}: {free}", details)

    def _look(self) -> None:
        self.room = room(self._folder)
        if self.room.known:
            self._reserve.tend(self.room, left_free(self._min_free(), self.room.total))
        self.reserve = self._reserve.size

    def _taken(self) -> Iterator[tuple[str, int]]:
        """What the files of each part take; a database with its log."""
        yield "journal", taken((self._folder / "journal").glob("*"))
        for path in sorted(self._folder.glob("*.db")):
            yield path.name, taken(self._folder.glob(f"{path.name}*"))
        if self._logs:
            yield "logs", taken(self._logs.glob("*.log*"))


def _readable(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size / 1024:.0f} KiB"


CHECK = Check(
    "storage",
    Storage.look,
    "Whether the data directory can be written, and has room left.",
    interval=Interval("10s"),
    critical=True,
)
