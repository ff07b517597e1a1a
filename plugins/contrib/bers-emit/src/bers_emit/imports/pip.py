"""What ``pip --log FILE`` writes. pip says nowhere how long it took, but each line has its time."""

from __future__ import annotations

import re
from datetime import datetime

from bers_emit.imports.dependencies import Dependencies
from bers_emit.imports.documents import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.imports.documents import Document

_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d),(\d{3}) (.*)")
_BUILDS = "Building wheels for collected packages"
_INSTALLS = "Installing collected packages"


def read(document: Document) -> Dependencies:
    """Resolved is what there is to install when pip begins to build wheels, else when it begins to install.

    What pip installs for the build of a wheel stands in the same log: so of the times when it begins to install, the
    last counts.
    """
    first = last = builds = installs = None
    for line in document.lines():
        if found := _LINE.match(line):
            last = datetime.fromisoformat(f"{found[1]}.{found[2]}000")
            first = first or last
            if found[3].startswith(_BUILDS):
                builds = builds or last
            elif found[3].startswith(_INSTALLS):
                installs = last
    if first is None or last is None:
        raise Unreadable(f"{document.path}: is no log of pip; no line begins with a time")
    resolved = builds or installs
    if resolved is None:  # All was there already, or it went wrong before.
        return Dependencies("pip", (last - first).total_seconds() * 1000)
    return Dependencies("pip", (resolved - first).total_seconds() * 1000, (last - resolved).total_seconds() * 1000)
