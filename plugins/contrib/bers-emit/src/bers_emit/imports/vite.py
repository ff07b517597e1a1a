"""What ``vite build --manifest`` writes: what each source became, and what loads what."""

from __future__ import annotations

import os

from bers_emit import shapes
from bers_emit.imports.assets import Asset, Bundle, marked
from bers_emit.imports.documents import Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.imports.documents import Document


def read(document: Document) -> Bundle:
    """Read a manifest, and the sizes of the files that it names, which lie beside it."""
    chunks = _chunks(document)
    folder = os.path.dirname(os.path.abspath(document.path))
    if os.path.basename(folder) == ".vite":
        folder = os.path.dirname(folder)
    bundle = Bundle()
    for name in sorted({file for chunk in chunks.values() for file in _files(chunk)}):
        path = os.path.normpath(os.path.join(folder, name))
        if not path.startswith(folder + os.sep):
            raise Unreadable(f"{document.path}: names {name!r}, which is outside of its folder")
        try:
            bundle.add(Asset(name, os.path.getsize(path)))
        except OSError as exc:
            raise Unreadable(f"{path}: {exc.strerror}; the manifest names it") from exc
    entries, initial = _loaded(chunks)
    marked(bundle.assets, entries, initial)
    bundle.known = bool(entries)
    bundle.compress(folder)
    return bundle


def loaded(document: Document) -> tuple[set[str], set[str]]:
    """The files that something begins with, and those that are loaded at once."""
    return _loaded(_chunks(document))


def _chunks(document: Document) -> dict[str, dict[object, object]]:
    found = shapes.pairs(document.json()) or {}
    chunks = {str(name): of for name, one in found.items() if (of := shapes.pairs(one)) and "file" in of}
    if not chunks:
        raise Unreadable(f"{document.path}: is no manifest of vite; no chunk names its file")
    return chunks


def _loaded(chunks: dict[str, dict[object, object]]) -> tuple[set[str], set[str]]:
    entries = [name for name, chunk in chunks.items() if chunk.get("isEntry")]
    return {str(chunks[name]["file"]) for name in entries}, _at_once(chunks, entries)


def _at_once(chunks: dict[str, dict[object, object]], entries: list[str]) -> set[str]:
    """What the entries import, and what that imports, but for what is imported when it is needed."""
    waiting, seen = list(entries), set(entries)
    files = set[str]()
    while waiting:
        chunk = chunks.get(waiting.pop(), {})
        files.update(_files(chunk, "css"))
        for name in map(str, shapes.items(chunk.get("imports")) or ()):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return files


def _files(chunk: dict[object, object], *kinds: str) -> list[str]:
    more = (str(one) for kind in kinds or ("css", "assets") for one in shapes.items(chunk.get(kind)) or ())
    return [str(chunk["file"]), *more] if "file" in chunk else []
