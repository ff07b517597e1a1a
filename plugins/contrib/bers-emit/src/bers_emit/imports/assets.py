"""What a build delivers: each file with its sizes, and under a name that the next build has too."""

from __future__ import annotations

import os
import zlib
from time import monotonic

from bers_emit.asset_names import normalized
from bers_emit.imports import brotli

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NAMED = 200
"""How many files are named, the largest first; all are counted."""

MAX_FILES = 10_000
MAX_FILE = 256 << 20
PATIENCE = 2.0
"""Seconds that may be spent on compressing; what is not done by then is not told."""

_PIECE = 1 << 20


class Asset:
    """One file; what is not known of it is None."""

    def __init__(self, name: str, raw: int, *, entry: bool = False, initial: bool = False) -> None:
        self.name = name
        self.raw = raw
        self.gzip: int | None = None
        self.brotli: int | None = None
        self.entry = entry
        """Whether something begins with it."""
        self.initial = initial
        """Whether it is loaded at once."""


class Bundle:
    """All that a build delivers. Source maps are no part of it: nobody loads them."""

    def __init__(self) -> None:
        self.assets: list[Asset] = []
        self.known = False
        """Whether it is known what is loaded at once."""

    def add(self, asset: Asset) -> None:
        if not asset.name.endswith(".map"):
            self.assets.append(asset)
            self.known = self.known or asset.initial

    def merge(self, other: Bundle) -> None:
        for asset in other.assets:
            self.add(asset)

    def measures(self) -> dict[str, float]:
        found = {"bundle.assets": float(len(self.assets)), "bundle.raw": float(sum(one.raw for one in self.assets))}
        for kind in ("gzip", "brotli"):
            sizes = [getattr(one, kind) for one in self.assets]
            if sizes and None not in sizes:  # A sum of some of them would be taken for that of all.
                found[f"bundle.{kind}"] = float(sum(sizes))
        if self.known:
            found["bundle.initial"] = float(sum(one.raw for one in self.assets if one.initial))
        return found

    def data(self) -> dict[str, object]:
        """The files; those whose names differ in their hashes alone together."""
        named: dict[str, list[Asset]] = {}
        for one in self.assets:
            named.setdefault(normalized(one.name), []).append(one)
        largest = sorted(named.items(), key=lambda pair: (-sum(one.raw for one in pair[1]), pair[0]))
        return {"assets": [_shown(name, together) for name, together in largest[:NAMED]]}

    def compress(self, folder: str) -> str:
        """Find out how large the files are when they are compressed; what kept us from it, if anything did."""
        deadline = monotonic() + PATIENCE
        trouble = ""
        squeeze = brotli.compressor()
        for asset in self.assets:
            if monotonic() > deadline:
                return f"compressing took more than {PATIENCE:g} s; not all sizes are told"
            path = os.path.join(folder, asset.name)
            try:
                asset.raw, asset.gzip = gzipped(path)
                if squeeze and monotonic() < deadline:
                    asset.brotli = squeeze(path)
            except OSError as exc:
                trouble = f"{path}: {exc.strerror or exc}"
        return trouble


def gzipped(path: str) -> tuple[int, int]:
    """How many bytes a file has, and how many zlib makes of them, at the level that servers and tools use."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    raw = packed = 0
    with open(path, "rb", 0) as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE:
            raise OSError(f"has more than {MAX_FILE >> 20} MiB")
        while piece := file.read(_PIECE):
            raw += len(piece)
            packed += len(packer.compress(piece))
    return raw, packed + len(packer.flush())


def _shown(name: str, together: list[Asset]) -> dict[str, object]:
    found: dict[str, object] = {"name": name, "files": len(together)}
    for kind in ("raw", "gzip", "brotli"):
        sizes = [getattr(one, kind) for one in together]
        if None not in sizes:
            found[kind] = sum(sizes)
    found.update({mark: True for mark in ("entry", "initial") if any(getattr(one, mark) for one in together)})
    return found


def marked(assets: Iterable[Asset], entries: Iterable[str], initial: Iterable[str]) -> None:
    """Mark the files that something begins with, and those that are loaded at once."""
    begun, at_once = set(entries), set(initial)
    for one in assets:
        one.entry = one.name in begun
        one.initial = one.entry or one.name in at_once
