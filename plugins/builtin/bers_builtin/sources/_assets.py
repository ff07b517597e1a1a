"""What the single files of a build weigh, under names that the next build has too."""

from __future__ import annotations

from collections import Counter

import msgspec

from bers import Event
from bers_emit.asset_names import normalized

MAX_ASSETS = 50
"""So many of a build's files are measured, the largest first: a metric is no list of files."""

KINDS = ("raw", "gzip", "brotli")

LONGEST = 200
"""Characters of a name that are kept: the last, which tell files apart."""


class _Asset(msgspec.Struct, frozen=True):
    name: str
    raw: float | None = None
    gzip: float | None = None
    brotli: float | None = None


def sizes(event: Event) -> dict[str, dict[str, float]]:
    """The files that ``data.assets`` lists: by name and kind, those whose names differ in their hashes together.

    What the list does not say, or says in a way that is none, is not measured.
    """
    listed = event.data.get("assets")
    if not isinstance(listed, list):
        return {}
    raw, whole = Counter[str](), dict[str, Counter[str]]()
    partial: set[tuple[str, str]] = set()
    for one in listed:  # pyright: ignore[reportUnknownVariableType]
        try:
            asset = msgspec.convert(one, _Asset)
        except msgspec.ValidationError:
            continue
        name = normalized(asset.name)[-LONGEST:]
        raw[name] += int(asset.raw or 0)
        for kind in KINDS:
            size: float | None = getattr(asset, kind)
            if size is None or size < 0:
                partial.add((name, kind))
            else:
                whole.setdefault(name, Counter())[kind] += int(size)
    largest = sorted(whole, key=lambda name: (-raw[name], name))[:MAX_ASSETS]
    return {
        name: {kind: float(whole[name][kind]) for kind in KINDS if kind in whole[name] and (name, kind) not in partial}
        for name in largest
    }
