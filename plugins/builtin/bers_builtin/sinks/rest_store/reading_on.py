"""Reading the details of events on from where an answer ended, until there are enough that are wanted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from bers import Database, Event

from . import details
from .details import Found, Place
from .pace import Pace

AT_ONCE = 100
"""How many events are read, and looked into, before others have their turn."""
SIFTED = 500
"""The same where few of them are looked into."""
LOOKED_AT = 20_000
"""How many events one answer looks at that conditions do not want."""


class _Read(Protocol):
    """Reads so many events behind a place; one that is not wanted, or cannot be told, has no body."""

    def __call__(
        self, connection: sqlite3.Connection, *, texts: Sequence[bytes], after: Place, limit: int
    ) -> Sequence[Found]: ...


async def read_on(
    database: Database,
    read: _Read,
    wanted: tuple[Callable[[Event], bool], Sequence[bytes]],
    after: Place,
    limit: int,
) -> tuple[list[Event], str | None]:
    """Read on behind a place until there are enough that are wanted; return them, and where to go on, if anywhere.

    Where few are wanted it stops after having looked at many: the answer may be short, and has a place to go on.
    """
    found, looked, pace, place = list[Event](), 0, Pace(), after
    holds, texts = wanted
    at_once = SIFTED if texts else AT_ONCE
    while True:
        most = at_once if looked else min(at_once, 2 * limit)
        rows = await database.read(partial(read, texts=texts, after=place, limit=most))
        for place, body in rows:
            if body is not None and holds(event := details.decoded(body)):
                found.append(event)
                if len(found) == limit:
                    return found, details.as_text(place)
            await pace()
        looked += len(rows)
        if len(rows) < most:
            return found, None
        if looked >= LOOKED_AT:
            return found, details.as_text(place)
