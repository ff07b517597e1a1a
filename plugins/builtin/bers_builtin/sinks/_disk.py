"""What is to be done with a database, and need not be done at once: it is, as soon as the disk lets us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from bers import Clock, disk_fault

AGAIN = 1.0
"""Seconds between two attempts, while the disk does not let us."""

T = TypeVar("T")


async def persist(work: Callable[[], Awaitable[T]], clock: Clock) -> T:
    while True:
        try:
            return await work()
        except Exception as exc:
            if not disk_fault(exc):
                raise
        await clock.sleep(AGAIN)
