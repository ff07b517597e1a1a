"""A look at a port: does it take a connection, and in time."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from time import perf_counter

import anyio

from bers.checks import Finding, Status
from bers.health.damping import worst
from bers.health.kinds import TcpCheck
from bers.health.watch import NoAnswer
from bers.targets import Blocked, Target


class Tcp:
    """Connects, one look after another."""

    def __init__(self, settings: TcpCheck) -> None:
        self._settings = settings
        self._target = settings.target()

    async def look(self) -> Finding:
        """Connect once. Raise NoAnswer where nobody answers."""
        started = perf_counter()
        await connect(self._target)
        seconds = perf_counter() - started
        details = {"address": self._settings.address, "latencyMs": round(seconds * 1000, 3)}
        found = list(lateness("a connection", seconds, self._settings.degraded_above, self._settings.unhealthy_above))
        if found:
            return Finding(worst([status for status, _ in found]), "; ".join(why for _, why in found), details)
        return Finding("healthy", f"connected in {seconds * 1000:.0f} ms", details)


async def connect(target: Target) -> None:
    """Open a connection, and close it. Raise NoAnswer where nobody takes it."""
    places = await addresses(target)
    for address in places:
        try:
            async with await anyio.connect_tcp(address, target.port):
                return
        except OSError as exc:
            if address == places[-1]:
                raise NoAnswer(f"no connection to {target.authority}: {said(exc)}") from exc
    raise NoAnswer(f"{target.host} has no address")


async def addresses(target: Target) -> Sequence[str]:
    """Where a target is. Raise NoAnswer where its name leads nowhere, or to where nobody must go."""
    try:
        return await target.addresses()
    except Blocked as exc:
        raise NoAnswer(str(exc)) from exc
    except (OSError, UnicodeError) as exc:
        raise NoAnswer(f"{target.host} cannot be resolved: {said(exc)}") from exc


def lateness(
    what: str, seconds: float, degraded: float | None, unhealthy: float | None
) -> Iterator[tuple[Status, str]]:
    """What follows from something having taken so long."""
    limits: Sequence[tuple[Status, float | None]] = (("unhealthy", unhealthy), ("degraded", degraded))
    for status, limit in limits:
        if limit is not None and seconds > limit:
            yield status, f"{what} took {seconds * 1000:.0f} ms, and {limit * 1000:g} ms is right"
            return


def said(exc: BaseException) -> str:
    """What an error of the system says, without its number."""
    cause = exc.__cause__ if isinstance(exc.__cause__, OSError) else exc
    if isinstance(cause, OSError) and cause.errno and not isinstance(cause, socket.gaierror):
        return os.strerror(cause.errno).lower()
    return (getattr(cause, "strerror", None) or str(cause) or type(cause).__name__).lower()
