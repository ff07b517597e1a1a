"""What is to be done with a database, and need not be done at once: it is, as soon as the disk lets us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from bers.clock import Clock
from bers.disk import disk_fault

AGAIN = 1.0
"""Seconds between two attempts, while the disk does not let us."""

T = TypeVar("T")


async def persist(work: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """Do it, again and again while the disk is to blame that it fails."""
    while True:
        try:
            return await work()
        except Exception as exc:
            if not disk_fault(exc):
                raise
        await clock.sleep(AGAIN)
