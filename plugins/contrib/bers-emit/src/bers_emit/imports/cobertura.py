"""Coverage as XML: Cobertura's, which coverage.py and Istanbul write too, and JaCoCo's."""

from __future__ import annotations

import re

from bers_emit.imports import markup
from bers_emit.imports.counted import Coverage
from bers_emit.imports.documents import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from bers_emit.imports.documents import Document

_JACOCO = {"LINE": "lines", "BRANCH": "branches", "METHOD": "functions"}
_CONDITIONS = re.compile(r"\((\d+)/(\d+)\)")


def read(document: Document) -> Coverage:
    reader = _Reader()
    markup.read(document, reader, named=True)  # Istanbul and JaCoCo name a document type; nobody needs to see it.
    found = reader.finished()
    if not found.kinds:
        raise Unreadable(f"{document.path}: says nothing of coverage that could be counted")
    return found


class _Reader:
    def __init__(self) -> None:
        self._root = ""
        self._told = Coverage()
        """What the root says of the whole."""
        self._seen = {"lines": [0, 0], "branches": [0, 0]}
        self._methods = 0
        """How many methods we are in: their lines are those of the class, told again."""

    def begin(self, name: str, attributes: Mapping[str, str], depth: int) -> None:
        if depth == 1:
            if name not in ("coverage", "report"):
                raise markup.Refused("is no coverage report; its root is neither coverage nor report")
            self._root = name
            for kind in ("lines", "branches") if name == "coverage" else ():
                covered, total = (markup.number(attributes, f"{kind}-{what}") for what in ("covered", "valid"))
                self._told.add(kind, covered, total)
        elif self._root == "report":
            if depth == 2 and name == "counter" and (jacoco := _JACOCO.get(attributes.get("type", ""))):
                covered, missed = markup.number(attributes, "covered"), markup.number(attributes, "missed")
                if covered is not None and missed is not None:
                    self._told.add(jacoco, covered, covered + missed)
        elif name == "method":
            self._methods += 1
        elif name == "line" and not self._methods:
            self._line(attributes)

    def end(self, name: str, depth: int) -> None:
        if name == "method":
            self._methods = max(0, self._methods - 1)

    def finished(self) -> Coverage:
        for kind, (covered, total) in self._seen.items():
            if kind not in self._told.kinds:  # Old writers have nothing but rates at the root.
                self._told.add(kind, covered, total)
        return self._told

    def _line(self, attributes: Mapping[str, str]) -> None:
        lines, branches = self._seen["lines"], self._seen["branches"]
        lines[0] += (markup.number(attributes, "hits") or 0) > 0
        lines[1] += 1
        if found := _CONDITIONS.search(attributes.get("condition-coverage", "")):
            branches[0] += int(found[1])
            branches[1] += int(found[2])
