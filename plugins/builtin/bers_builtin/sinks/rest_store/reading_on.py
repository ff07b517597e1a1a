"""Reading the details of events on from where an answer ended, until there are enough that are wanted."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from bers import Database, Event

from . import details
from .details import Place
from .pace import Pace

AT_ONCE = 500
"""How many events are read before others may use the database."""
LOOKED_AT = 20_000
"""How many events one answer looks at that conditions do not want."""


class _Read(Protocol):
    """Reads so many events behind a place; one that cannot be told is None."""

    def __call__(
        self, connection: sqlite3.Connection, *, after: Place, most: int
    ) -> Sequence[tuple[Place, Event | None]]: ...


async def read_on(
    database: Database,
    read: _Read,
    wanted: Callable[[Event], bool],
    after: Place,
    limit: int,
) -> tuple[list[Event], str | None]:
    """Read on behind a place until there are enough that are wanted; return them, and where to go on, if anywhere.

    Where few are wanted it stops after having looked at many: the answer may be short, and has a place to go on.
    """
    found, looked, pace, place = list[Event](), 0, Pace(), after
    while True:
        most = AT_ONCE if looked else min(AT_ONCE, limit)
        rows = await database.run(partial(read, after=place, most=most))
        for place, event in rows:
            if event is not None and wanted(event):
                found.append(event)
                if len(found) == limit:
                    return found, details.as_text(place)
            await pace()
        looked += len(rows)
        if len(rows) < most:
            return found, None
        if looked >= LOOKED_AT:
            return found, details.as_text(place)
