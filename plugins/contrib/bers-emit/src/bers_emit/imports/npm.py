"""What ``npm --timing`` writes: ``idealTree`` is finding out what is needed, ``reify`` installing it."""

from __future__ import annotations

from bers_emit import shapes
from bers_emit.event import number
from bers_emit.imports.dependencies import Dependencies
from bers_emit.imports.documents import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.imports.documents import Document


def read(document: Document) -> Dependencies:
    found = shapes.pairs(document.json()) or {}
    timers = shapes.pairs(found.get("timers"))
    if timers is None:
        raise Unreadable(f"{document.path}: has no timers; npm writes them to *-timing.json when it is told --timing")
    return Dependencies("npm", number(timers.get("idealTree")), number(timers.get("reify")))
