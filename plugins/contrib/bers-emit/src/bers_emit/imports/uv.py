"""What uv prints: ``Resolved 4 packages in 154ms``, ``Prepared``, ``Installed``."""

from __future__ import annotations

import re

from bers_emit.imports.dependencies import Dependencies
from bers_emit.imports.documents import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.imports.documents import Document

_LINE = re.compile(r"(Resolved|Prepared|Installed) \d+ packages? in ([0-9.ms ]+)")
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_PART = re.compile(r"([0-9.]+)(ms|m|s)")
_UNITS = {"ms": 1.0, "s": 1000.0, "m": 60_000.0}


def read(document: Document) -> Dependencies:
    took: dict[str, float] = {}
    for line in document.lines():
        if found := _LINE.search(_STYLE.sub("", line)):
            parts = _PART.findall(found[2])
            took[found[1]] = took.get(found[1], 0.0) + sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not took:
        raise Unreadable(f"{document.path}: is nothing that uv has printed; no line says how long it took")
    installed = [took[word] for word in ("Prepared", "Installed") if word in took]
    return Dependencies("uv", took.get("Resolved"), sum(installed) if installed else None)
