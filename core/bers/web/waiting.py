"""What a server answers whose node cannot start yet, because its disk does not let it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bers
from bers.clock import Clock
from bers.disk import Room
from bers.health.breaker import BreakerReport
from bers.health.reports import CheckReport, overall, severity, summarize
from bers.storage import CHECK as STORAGE
from bers.storage import REMEDY


class Waiting:
    """Why a node has not started, and since when that is so."""

    def __init__(self, folder: Path, clock: Clock, environment: str) -> None:
        self._folder = str(folder.absolute())
        self._clock = clock
        self._environment = environment
        self._began = clock.monotonic()
        self.reason = ""
        """What the disk does to us."""
        self.room = Room(0, 0)
        self.told = False
        """Whether the log says it."""

    @property
    def why(self) -> str:
        """What is to be said to whoever asks."""
        return f"this server waits for its disk: {self.reason}"

    @property
    def remedy(self) -> str:
        return REMEDY.format(path=self._folder)

    def health(self, path: str) -> dict[str, Any] | CheckReport | None:
        """What is answered for the health as a whole, or for the one check there is; None for any other."""
        report = self._report()
        name = path.removeprefix("/api/monitoring/health").strip("/")
        if name:
            return report if name == report.name else None
        return {
            "timestamp": report.timestamp,
            "overallStatus": overall([report]),
            "severity": severity([report]),
            "version": bers.__version__,
            "uptime": int((self._clock.monotonic() - self._began) * 1000),
            "environment": self._environment,
            "checks": [report],
            "summary": summarize([report]),
            "availability": None,
            "recommendations": [f"{report.name}: {self.remedy}"],
        }

    def _report(self) -> CheckReport:
        known = self.room.known
        details: dict[str, Any] = {
            "path": self._folder,
            "freeBytes": self.room.free if known else None,
            "totalBytes": self.room.total if known else None,
            "waitingMs": int((self._clock.monotonic() - self._began) * 1000),
        }
        now = int(self._clock.time() * 1000)
        return CheckReport(
            STORAGE.name,
            "unhealthy",
            now,
            0.0,
            self.why,
            STORAGE.critical,
            BreakerReport("closed", 0),
            details,
            self.reason,
            self.remedy,
        )
