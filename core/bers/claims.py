"""Which source an event type belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

T = TypeVar("T")

MAX_TYPES = 10_000

UNMAPPED = "unmapped"
"""The source of what nobody claims."""


class Owners:
    """Event types by the stage that claims them: ``build.finished`` exactly, or ``build.*`` for all of a kind."""

    of: Callable[[str], str]
    """The key of the source that owns a type; ``unmapped`` where there is none."""

    def __init__(self, claims: Mapping[str, Sequence[str]]) -> None:
        """``claims`` has the claimed types of every source, by its key in pipelines.yaml."""
        owners = {claim: key for key, claimed in claims.items() for claim in claimed}
        self.of = Answers(partial(_find, owners)).__getitem__


def covers(claim: str, type: str) -> bool:
    """Whether a claim is for a type: ``build.finished``, ``build.*`` for all of a kind, ``*`` for all there are."""
    return claim in ("*", type) or (claim.endswith(".*") and type.startswith(claim[:-1]))


class Answers(dict[str, T]):
    """What a function says of each type, asked once for each: a look-up is all that an event costs."""

    def __init__(self, ask: Callable[[str], T]) -> None:
        super().__init__()
        self._ask = ask

    def __missing__(self, type: str) -> T:
        if len(self) > MAX_TYPES:  # Types come from outside: what is used is learned again.
            self.clear()
        self[type] = answer = self._ask(type)
        return answer


def _find(owners: Mapping[str, str], type: str) -> str:
    if type in owners:
        return owners[type]
    parts = type.split(".")
    for length in range(len(parts) - 1, 0, -1):
        pattern = ".".join(parts[:length]) + ".*"
        if pattern in owners:
            return owners[pattern]
    return UNMAPPED
