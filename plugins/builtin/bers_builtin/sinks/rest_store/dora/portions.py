"""Long lists in portions, so that others have their turn between two of them."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any, TypeVar

from ..pace import Pace

PORTION = 50
"""Some tenths of a millisecond; to ask after each record would cost as much as what is done with it."""

T = TypeVar("T")


def portions(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), PORTION):
        yield items[start : start + PORTION]


async def drop(items: list[T], pace: Pace) -> None:
    """Empty a long list: to free many records at once would hold up everybody."""
    while items:
        del items[-PORTION:]
        await pace()


async def empty(items: MutableMapping[Any, Any], pace: Pace) -> None:
    """The same for what is found by keys."""
    while items:
        for _ in range(min(PORTION, len(items))):
            items.popitem()
        await pace()
