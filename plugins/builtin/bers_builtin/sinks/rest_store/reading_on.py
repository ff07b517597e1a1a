"""Reading the details of events on from where an answer ended, until there are enough that are wanted."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from bers import Database, Event

from . import details
from .details import Place, Read
from .looking import Looking

AT_ONCE = 100
"""How many events are read, and looked into, before others have their turn."""
SIFTED = 2_000
"""The same where SQLite leaves most of them out, and few are looked into."""
LOOKED_AT = 20_000
"""How many events one answer looks at that conditions do not want."""


class _Read(Protocol):
    """Reads so many events behind a place, but for those that have not all of the texts in them."""

    def __call__(self, connection: sqlite3.Connection, *, texts: Sequence[bytes], after: Place, limit: int) -> Read: ...


async def read_on(
    database: Database,
    read: _Read,
    look: Looking,
    after: Place,
    limit: int,
) -> tuple[list[Event], str | None]:
    """Read on behind a place until there are enough that are wanted; return them, and where to go on, if anywhere.

    Where few are wanted it stops after having looked at many, or for long: the answer may be short, and has a place to
    go on.
    """
    found, looked, place, texts = list[Event](), 0, after, look.texts
    most = min(AT_ONCE, 2 * limit)
    while True:
        rows, more = await database.read(partial(read, texts=texts, after=place, limit=most))
        for place, body in rows:
            if body is not None and await look.at(event := details.decoded(body)):
                found.append(event)
            if len(found) == limit or look.is_over:
                return found, details.as_text(place)
        if more is None:
            return found, None
        looked, place, most = looked + most, more, min(SIFTED if texts else AT_ONCE, 4 * most)
        if looked >= LOOKED_AT:
            return found, details.as_text(place)
