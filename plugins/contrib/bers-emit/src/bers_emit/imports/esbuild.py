"""What ``esbuild --metafile=FILE`` writes."""

from __future__ import annotations

import os

from bers_emit import shapes
from bers_emit.event import number
from bers_emit.imports.assets import Asset, Bundle, marked
from bers_emit.imports.documents import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.imports.documents import Document


def read(document: Document) -> Bundle:
    """Its paths are relative to where esbuild ran; sizes beside those it has are told if that is where we are."""
    found = shapes.pairs(document.json()) or {}
    outputs = shapes.pairs(found.get("outputs"))
    if outputs is None:
        raise Unreadable(f"{document.path}: is no metafile of esbuild; it has no outputs")
    files = {str(name): of for name, one in outputs.items() if (of := shapes.pairs(one)) is not None}
    bundle = Bundle()
    for name, file in files.items():
        bundle.add(Asset(name, int(number(file.get("bytes")) or 0)))
    # What is imported when it is needed is a point of entry too, as esbuild sees it: of others nobody imports it.
    later = {path for file in files.values() for path, kind in _imports(file) if kind == "dynamic-import"}
    entries = [name for name, file in files.items() if file.get("entryPoint") and name not in later]
    marked(bundle.assets, entries, _at_once(files, entries))
    bundle.known = bool(entries)
    if all(os.path.isfile(one.name) for one in bundle.assets):
        bundle.compress("")
    return bundle


def _at_once(files: dict[str, dict[object, object]], entries: list[str]) -> set[str]:
    waiting, seen = list(entries), set(entries)
    while waiting:
        file = files.get(waiting.pop(), {})
        style = file.get("cssBundle")
        named = [path for path, kind in _imports(file) if kind not in ("dynamic-import", "file-loader", "url-token")]
        for path in [*named, *([style] if isinstance(style, str) else [])]:
            if path in files and path not in seen:
                seen.add(path)
                waiting.append(path)
    return seen


def _imports(file: dict[object, object]) -> list[tuple[str, str]]:
    pairs = (shapes.pairs(one) or {} for one in shapes.items(file.get("imports")) or ())
    return [(str(one.get("path")), str(one.get("kind"))) for one in pairs if not one.get("external")]
