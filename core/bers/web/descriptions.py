"""The OpenAPI documents of one node, each made once, when somebody first asks for it."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import msgspec
from anyio import to_thread

from bers.directory import Route
from bers.redaction import Redactor
from bers.web.doors import Door
from bers.web.openapi import document


class Descriptions:
    """What each listener answers, as JSON. Routes and doors are those of the plugins: they stay until the node ends."""

    def __init__(self, routes: Sequence[Route], doors: Sequence[Door], redactor: Redactor) -> None:
        self._routes = routes
        self._doors = doors
        self._redactor = redactor
        self._made: dict[tuple[str, bool], tuple[int, bytes]] = {}
        self._one_at_a_time = anyio.Lock()

    async def of(self, surface: str, *, closed: bool) -> bytes:
        """The document of one listener, masked; ``closed`` says whether it asks for a key."""
        async with self._one_at_a_time:
            generation, made = self._made.get((surface, closed), (-1, b""))
            if generation != (now := self._redactor.generation):
                # Some hundred milliseconds of Python, in which others have turns.
                made = await to_thread.run_sync(self._make, surface, closed)
                self._made[surface, closed] = now, made
            return made

    def _make(self, surface: str, closed: bool) -> bytes:
        routes = [route for route in self._routes if route.is_answered(surface)]
        doors = self._doors if surface == "control" else None
        return self._redactor.encoded(msgspec.json.encode(document(routes, doors=doors, closed=closed)))
