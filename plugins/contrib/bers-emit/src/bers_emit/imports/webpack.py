"""What ``webpack --json`` writes, or ``stats.toJson({assets: true, entrypoints: true, timings: true})``."""

from __future__ import annotations

import os

from bers_emit import shapes
from bers_emit.event import number
from bers_emit.imports.assets import Asset, Bundle, marked
from bers_emit.imports.documents import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.imports.documents import Document


class Build:
    """What a build's own report says of it."""

    def __init__(self, bundle: Bundle, took: float | None, errors: int, reason: str | None) -> None:
        self.bundle = bundle
        self.took = took
        """Milliseconds; None where the report does not say."""
        self.errors = errors
        self.reason = reason


def read(document: Document) -> Build:
    found = shapes.pairs(document.json())
    if found is None or ("assets" not in found and "children" not in found):
        raise Unreadable(f"{document.path}: is no report of webpack; it has no assets")
    children = [of for one in shapes.items(found.get("children")) or () if (of := shapes.pairs(one))]
    # Of several configurations each is a child that tells of itself; of one they are its plugins' compilations.
    parts = [found] if shapes.items(found.get("assets")) or not children else children
    bundle, took = Bundle(), list[float]()
    for part in parts:
        _add(bundle, part)
        if (time := number(part.get("time"))) is not None:
            took.append(time)
    errors = [text for part in parts for one in shapes.items(part.get("errors")) or () if (text := _message(one))]
    # With `all: false` there is nothing but their number.
    count = max(len(errors), *(int(number(part.get("errorsCount")) or 0) for part in (found, *parts)))
    return Build(bundle, max(took) if took else None, count, errors[0] if errors else None)


def _add(bundle: Bundle, part: dict[object, object]) -> None:
    own = Bundle()
    for one in shapes.items(part.get("assets")) or ():
        asset = shapes.pairs(one) or {}
        name, size = asset.get("name"), number(asset.get("size"))
        if isinstance(name, str) and name and size is not None:  # Where there were errors a name may be null.
            own.add(Asset(name.partition("?")[0], int(size)))
    entrypoints = shapes.pairs(part.get("entrypoints"))
    if entrypoints:
        groups = [_names(shapes.pairs(one) or {}) for one in entrypoints.values()]
        # Runtime and shared chunks come first; the last is what the entry itself became.
        scripts = [[name for name in group if not name.endswith(".css")] for group in groups]
        marked(own.assets, (group[-1] for group in scripts if group), (name for group in groups for name in group))
        bundle.known = True
    bundle.merge(own)
    folder = part.get("outputPath")
    if isinstance(folder, str) and all(os.path.isfile(os.path.join(folder, one.name)) for one in own.assets):
        own.compress(folder)


def _names(group: dict[object, object]) -> list[str]:
    found: list[str] = []
    for one in shapes.items(group.get("assets")) or ():
        name = one if isinstance(one, str) else (shapes.pairs(one) or {}).get("name")  # webpack 4 wrote names alone.
        if isinstance(name, str):
            found.append(name)
    return found


def _message(error: object) -> str:
    text = error if isinstance(error, str) else str((shapes.pairs(error) or {}).get("message", ""))
    return text.strip().partition("\n")[0][:500]
