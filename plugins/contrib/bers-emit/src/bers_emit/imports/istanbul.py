"""Istanbul's ``coverage-summary.json`` and ``coverage-final.json``, as nyc, jest and vitest write them."""

from __future__ import annotations

from bers_emit import shapes
from bers_emit.event import number
from bers_emit.imports.counted import KINDS, Coverage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def read(found: dict[object, object]) -> Coverage:
    """Read either. A kind of which there is nothing has the percentage "Unknown" there, and none here."""
    total = shapes.pairs(found.get("total"))
    coverage = Coverage()
    for name, one in found.items():
        file = shapes.pairs(one)
        if file is None:
            continue
        if shapes.pairs(file.get("statementMap")) is not None:
            _count(coverage, file)
        elif (total is None) == (name != "total"):
            for kind in KINDS:
                counts = shapes.pairs(file.get(kind)) or {}
                coverage.add(kind, number(counts.get("covered")), number(counts.get("total")))
    return coverage


def _count(coverage: Coverage, file: dict[object, object]) -> None:
    """Count as Istanbul does: a line is covered when any statement that begins on it was reached."""
    statements = _pairs(file, "s")
    _add(coverage, "statements", statements.values())
    _add(coverage, "functions", _pairs(file, "f").values())
    _add(coverage, "branches", (one for each in _pairs(file, "b").values() for one in shapes.items(each) or ()))
    lines: dict[object, bool] = {}
    for key, place in _pairs(file, "statementMap").items():
        line = _pairs(shapes.pairs(place) or {}, "start").get("line")
        lines[line] = lines.get(line, False) or bool(statements.get(key))
    _add(coverage, "lines", lines.values())


def _pairs(file: dict[object, object], name: str) -> dict[object, object]:
    return shapes.pairs(file.get(name)) or {}


def _add(coverage: Coverage, kind: str, hits: Iterable[object]) -> None:
    counted = [bool(one) for one in hits]
    coverage.add(kind, sum(counted), len(counted))
