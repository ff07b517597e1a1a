"""Which source an event type belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

UNMAPPED = "unmapped"
"""The source of what nobody claims."""


class Owners:
    """Event types by the stage that claims them: ``build.finished`` exactly, or ``build.*`` for all of a kind."""

    def __init__(self, claims: Mapping[str, Sequence[str]]) -> None:
        """``claims`` has the claimed types of every source, by its key in pipelines.yaml."""
        self._owners = {claim: key for key, claimed in claims.items() for claim in claimed}
        self._known: dict[str, str] = {}

    def of(self, type: str) -> str:
        """The key of the source that owns a type; ``unmapped`` where there is none."""
        owner = self._known.get(type)
        if owner is None:
            owner = self._find(type)
            if len(self._known) > 10_000:  # Types come from outside: remember what is used, not everything.
                self._known.clear()
            self._known[type] = owner
        return owner

    def _find(self, type: str) -> str:
        if type in self._owners:
            return self._owners[type]
        parts = type.split(".")
        for length in range(len(parts) - 1, 0, -1):
            pattern = ".".join(parts[:length]) + ".*"
            if pattern in self._owners:
                return self._owners[pattern]
        return UNMAPPED
