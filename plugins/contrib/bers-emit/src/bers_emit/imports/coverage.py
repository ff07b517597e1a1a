"""Coverage, each kind for itself: what the formats have in common, and which of them a file is.

One run is 62.5 %, 75 % or 50 % covered, depending on whether lines and branches are added up, or which of them is
meant. So there is no figure without its kind; and what a tool has not measured is absent, and neither 0 nor 100.
"""

from __future__ import annotations

from bers_emit import shapes
from bers_emit.event import number
from bers_emit.imports import cobertura, istanbul, lcov
from bers_emit.imports.counted import Coverage
from bers_emit.imports.documents import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.imports.documents import Document


def read(document: Document) -> Coverage:
    """Read coverage.py's JSON, Cobertura's or JaCoCo's XML, lcov's or Istanbul's; which one, the content says."""
    head = document.head()
    if head.startswith("<"):
        return cobertura.read(document)
    if not head.startswith("{"):
        return lcov.read(document)
    found = shapes.pairs(document.json()) or {}
    totals = shapes.pairs(found.get("totals"))
    covered = istanbul.read(found) if totals is None else _python(totals)
    if not covered.kinds:
        raise Unreadable(f"{document.path}: says nothing of coverage that could be counted")
    return covered


def _python(totals: dict[object, object]) -> Coverage:
    """coverage.py: its ``percent_covered`` adds lines and branches up, its statements are what others call lines."""
    found = Coverage()
    for kind, covered, total in (
        ("lines", "covered_lines", "num_statements"),
        ("branches", "covered_branches", "num_branches"),
    ):
        found.add(kind, number(totals.get(covered)), number(totals.get(total)))
    return found
