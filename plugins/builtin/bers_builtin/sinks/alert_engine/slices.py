"""Work that may be long, in slices: others have their turn after every millisecond of it."""

from __future__ import annotations

from collections.abc import Generator
from time import perf_counter
from typing import Any, TypeVar

from anyio.lowlevel import cancel_shielded_checkpoint

T = TypeVar("T")

SLICE = 0.001
"""Seconds after which others have their turn."""


async def in_slices(work: Generator[None, None, T]) -> T:
    """Do all of it, and return what comes of it; nobody may cancel it, because half of it is worth nothing."""
    until = perf_counter() + SLICE
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result
        if perf_counter() >= until:
            await cancel_shielded_checkpoint()
            until = perf_counter() + SLICE


def at_once(work: Generator[None, None, T]) -> T:
    """The same where nobody else waits."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result


def letting_go(*lists: list[Any]) -> Generator[None, None, None]:
    """Empty lists that nobody needs any more, step by step: tens of thousands at once take a while to be freed."""
    for one in lists:
        while one:
            one.pop()
            yield
