"""lcov's tracefiles: what is said of one source file in several places is put together before it is counted."""

from __future__ import annotations

from bers_emit.event import number
from bers_emit.imports.counted import Coverage
from bers_emit.imports.documents import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.imports.documents import Document

_DETAILS = {"DA": "lines", "BRDA": "branches", "FNDA": "functions", "FNA": "functions"}
_SUMS = {"LF": "lines", "BRF": "branches", "FNF": "functions"}
_HITS = {"LH": "lines", "BRH": "branches", "FNH": "functions"}


def read(document: Document) -> Coverage:
    files: dict[str, _File] = {}
    file = None
    for line in document.lines():
        word, _, rest = line.partition(":")
        if word == "SF":
            file = files.setdefault(rest, _File())
            file.parts += 1
        elif line.strip() == "end_of_record":
            file = None
        elif file is not None:
            file.read(word, rest)
        elif word != "TN" and line.strip() and not line.startswith("#") and not files:
            raise Unreadable(
                f"{document.path}: is no coverage; it is neither JSON nor XML, and begins like no tracefile"
            )
    if not files:
        raise Unreadable(f"{document.path}: says nothing of coverage that could be counted")
    found = Coverage()
    for one in files.values():
        one.count(found)
    return found


class _File:
    """What is known of one source file."""

    def __init__(self) -> None:
        self.parts = 0
        self._hit: dict[str, dict[str, bool]] = {}
        self._found: dict[str, float] = {}
        self._reached: dict[str, float] = {}

    def read(self, word: str, rest: str) -> None:
        if kind := _DETAILS.get(word):
            name, hits = _detail(word, rest)
            known = self._hit.setdefault(kind, {})
            known[name] = known.get(name, False) or hits not in ("0", "-", "")
        elif kind := _SUMS.get(word):
            self._found[kind] = number(rest) or 0.0
        elif kind := _HITS.get(word):
            self._reached[kind] = number(rest) or 0.0

    def count(self, coverage: Coverage) -> None:
        for kind in ("lines", "branches", "functions"):
            known = self._hit.get(kind, {})
            if kind in self._found and (self.parts == 1 or not known):
                coverage.add(kind, self._reached.get(kind), self._found[kind])
            else:
                coverage.add(kind, sum(known.values()), len(known))


def _detail(word: str, rest: str) -> tuple[str, str]:
    """What is meant, and how often it was reached."""
    if word == "DA":  # A checksum may follow.
        line, _, hits = rest.partition(",")
        return line, hits.partition(",")[0].strip()
    if word == "BRDA":
        branch, _, hits = rest.rpartition(",")
        return branch, hits.strip()
    first, _, name = rest.partition(",")
    return (name, first) if word == "FNDA" else (first, name.partition(",")[0])
