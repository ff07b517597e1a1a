"""What the disk does not let the store do: nothing of it is lost, it is tried again, and health tells of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from bers import Context, disk_fault
from bers_builtin.sinks._disk import AGAIN


class Unwritten:
    """The kinds of writes that fail at present; true while there is one."""

    def __init__(self, context: Context, path: Path) -> None:
        self._context = context
        self._path = path
        self._known: dict[str, tuple[float, str]] = {}
        """Since when, by the monotonic clock, and why."""

    def __bool__(self) -> bool:
        return bool(self._known)

    @property
    def longest(self) -> tuple[float, str]:
        """Since when something cannot be written that has waited for longest, and why."""
        return min(self._known.values())

    async def attempt(self, write: Callable[[], Awaitable[None]], failed: Callable[[], None]) -> None:
        """Write; where the disk does not let us, call ``failed`` and wait a little."""
        name, clock = write.__name__, self._context.clock
        try:
            await write()
        except Exception as exc:
            if not (why := disk_fault(exc)):
                raise
            if not self._known:
                self._context.logger.error("%s cannot be written, what comes waits in memory: %s", self._path, why)
            since, _ = self._known.get(name, (clock.monotonic(), ""))
            self._known[name] = since, why
            failed()
            await clock.sleep(AGAIN)
        else:
            if self._known.pop(name, None) and not self._known:
                self._context.logger.warning("%s is written again", self._path)
