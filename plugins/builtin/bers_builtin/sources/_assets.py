"""What the single files of a build weigh, under names that the next build has too."""

from __future__ import annotations

import re
from collections import Counter

import msgspec

from bers import Event

MAX_ASSETS = 50
"""So many of a build's files are measured, the largest first: a metric is no list of files."""

KINDS = ("raw", "gzip", "brotli")

_SEGMENT = re.compile(r"(?<=[.\-_])[A-Za-z0-9_-]{8,}?(?=\.[A-Za-z]|$)")
_HEX = re.compile(r"(?=.*\d)[0-9a-f]{8,64}")
_WORDS = re.compile(r"(?:[A-Z]?[a-z]+)+")


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
        name = normalized(asset.name)
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


def normalized(name: str) -> str:
    """The name without what its content adds to it: ``index-B3vZRz9l.js`` is ``index-*.js`` in every build."""
    folder, slash, file = name.rpartition("/")
    whole = folder + slash + _SEGMENT.sub(lambda found: "*" if _is_hash(found[0]) else found[0], file)
    return whole[-200:]


def _is_hash(text: str) -> bool:
    """Whether no person would have named it so. Bundlers write hex, base32 in capitals, or base64 of eight letters."""
    if _HEX.fullmatch(text):
        return True
    if len(text) != 8:
        return len(text) >= 16 and text.isalnum() and not _WORDS.fullmatch(text) and any(map(str.isdigit, text))
    upper, lower = sum(map(str.isupper, text)), sum(map(str.islower, text))
    if not lower:
        return upper > 0
    return upper > 0 and (upper + lower < 8 or upper > 2)
