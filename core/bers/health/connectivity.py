"""The check `connectivity`: whether this node itself is cut off, so that nobody else is blamed for that."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from bers.checks import Check, Finding
from bers.health.kinds import place
from bers.health.settings import ConnectivitySettings
from bers.health.tcp import connect
from bers.health.watch import NoAnswer
from bers.health.wiring import CONNECTIVITY
from bers.targets import Target
from bers.units import Interval

REMEDY = "Look at the network of this machine. Until it is back, checks of what lies beyond it are unknown."


class Connectivity:
    """The places that answer as long as this node is not cut off."""

    def __init__(self, settings: ConnectivitySettings) -> None:
        self._settings = settings
        self._targets = [place(target) for target in settings.targets]

    async def look(self) -> Finding:
        failed: dict[str, str] = {}
        async with anyio.create_task_group() as group:
            for target in self._targets:
                group.start_soon(self._try, target, failed)
        count, reached = len(self._targets), len(self._targets) - len(failed)
        details = {"targets": list(self._settings.targets), "failed": failed}
        if reached:
            return Finding("healthy", f"{reached} of {count} places answer", details)
        return Finding("unhealthy", f"this node is cut off: {_listed(failed)}", details, REMEDY)

    async def _try(self, target: Target, failed: dict[str, str]) -> None:
        try:
            with anyio.fail_after(self._settings.timeout):
                await connect(target)
        except TimeoutError:
            failed[target.authority] = f"no answer within {self._settings.timeout}"
        except NoAnswer as exc:
            failed[target.authority] = str(exc)


def _listed(failed: dict[str, str]) -> str:
    said: Sequence[str] = list(failed.values())
    return "; ".join(said[:3]) + (f"; and {len(said) - 3} more" if len(said) > 3 else "")


def check(settings: ConnectivitySettings) -> Check[Connectivity]:
    """The check, as the settings want it made."""
    return Check(
        CONNECTIVITY,
        Connectivity.look,
        "Whether this node reaches anything outside.",
        interval=Interval(float(settings.interval)),
        timeout=Interval(float(settings.timeout) + 1.0),
    )
