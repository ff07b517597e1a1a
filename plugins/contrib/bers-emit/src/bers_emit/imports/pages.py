"""What of a folder of built files is loaded at once: as vite's manifest says, else as the pages do."""

from __future__ import annotations

import os
import re

from bers_emit.imports import vite
from bers_emit.imports.assets import marked
from bers_emit.imports.documents import Document, Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bers_emit.imports.assets import Bundle

_MAX_PAGE = 1 << 20
_TAG = re.compile(r"<(script|link)\b([^>]*)>", re.IGNORECASE)
_PLACE = re.compile(r"""\b(?:src|href)\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
_LOADED = re.compile(r"""\brel\s*=\s*["']?(?:stylesheet|modulepreload)\b""", re.IGNORECASE)


def mark(bundle: Bundle, folder: str) -> None:
    """Mark what is loaded at once; where neither a manifest nor a page tells, nothing is said of it."""
    manifest = os.path.join(folder, ".vite", "manifest.json")
    if os.path.exists(manifest):
        try:
            entries, initial = vite.loaded(Document(manifest))
        except Unreadable:
            pass
        else:
            marked(bundle.assets, entries, initial)
            bundle.known = bool(entries)
            return
    names = {asset.name for asset in bundle.assets}
    scripts, styles = set[str](), set[str]()
    for asset in bundle.assets:
        if asset.name.endswith((".html", ".htm")) and asset.raw <= _MAX_PAGE:
            with open(os.path.join(folder, asset.name), encoding="utf-8", errors="replace") as file:
                for tag, attributes in _TAG.findall(file.read()):
                    place = _PLACE.search(attributes)
                    found = place and _found(place[1], os.path.dirname(asset.name), names)
                    if found and tag.lower() == "script":
                        scripts.add(found)
                    elif found and _LOADED.search(attributes):
                        styles.add(found)
    marked(bundle.assets, scripts, styles)
    bundle.known = bool(scripts or styles)


def _found(place: str, folder: str, names: set[str]) -> str | None:
    """The file that an address means: pages may be served from anywhere, so only its end has to fit."""
    path = place.partition("?")[0].partition("#")[0]
    if "//" in path:
        path = path.partition("//")[2].partition("/")[2]
    beside = os.path.normpath(os.path.join(folder, path)).replace(os.sep, "/")
    path = path.lstrip("./")
    if beside in names:
        return beside
    return next((name for name in sorted(names) if path and (path == name or path.endswith("/" + name))), None)
