"""What vitest's reporter ``json`` writes: the shape is jest's."""

from __future__ import annotations

from bers_emit.imports import jest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.imports.documents import Document
    from bers_emit.imports.suites import Suite


def read(document: Document) -> Suite:
    return jest.read(document, "vitest")
