"""The pages' script, style sheet and pictures, as the build of the web folder made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

import msgspec

from bers import ConfigError, Page, Refused

MEDIA = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
"""Media types by the ending of a name; there is nothing else."""

FOR_EVER = 31_536_000.0
"""Seconds that a file is kept whose name changes with its content."""

UNBUILT = "the dashboard's pages are not built; run `make setup`, or install a wheel, which has them"


@dataclass(frozen=True)
class Assets:
    """The files by their names."""

    first: str
    """What runs before anything is painted."""
    script: str
    styles: Sequence[str]
    pages: Mapping[str, Page]

    @classmethod
    def read(cls, folder: Traversable) -> Assets:
        """Read what was built. Raise ConfigError where nothing was."""
        built = folder / "built"
        try:
            manifest: dict[str, dict[str, Any]] = msgspec.json.decode((built / "manifest.json").read_bytes())
        except FileNotFoundError:
            raise ConfigError(UNBUILT, path="sinks.dashboard") from None
        entry = manifest["src/main.ts"]
        pages = {
            one.name: Page(one.read_bytes(), MEDIA[one.name.rpartition(".")[2]], max_age=FOR_EVER)
            for one in built.iterdir()
            if one.name.rpartition(".")[2] in MEDIA
        }
        pages["icon.svg"] = Page((folder / "icon.svg").read_bytes(), MEDIA["svg"], max_age=3600)
        return cls(manifest["src/first.ts"]["file"], entry["file"], entry.get("css", []), pages)

    def get(self, name: str) -> Page:
        """A file. Raise Refused where there is none."""
        if (page := self.pages.get(name)) is None:
            raise Refused("not_found", f"there is no {name!r}", hint="reload the page: it may be of another version")
        return page
