"""The package as npm would publish it, in an environment without settings of the machine; skipped without Node."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from bers_emit.testing import SURROUNDINGS, Receiver
from tests.browsing import browser
from tests.emit_js.node import Node
from tests.emit_js.sites import Answer, Site

__all__ = ["browser"]

PACKAGE = Path(__file__).parents[2] / "plugins" / "contrib" / "bers-emit-js"


@pytest.fixture(scope="session")
def built() -> Path:
    """The package's folder, with `dist` made of the sources as they are."""
    if shutil.which("node") is None:
        pytest.skip("there is no Node.js here, so nothing can run what is written for it")
    if not (PACKAGE / "node_modules" / "typescript").is_dir():
        pytest.skip("`make setup` has installed no npm packages, so the package cannot be built")
    dist = PACKAGE / "dist"
    sources = [*(PACKAGE / "src").rglob("*"), *PACKAGE.glob("tsconfig*.json"), PACKAGE / "package.json"]
    newest = max(path.stat().st_mtime for path in sources)
    with (PACKAGE / "node_modules" / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Several processes run tests; one builds.
        made = dist / "cjs" / "package.json"  # It is written last.
        if not made.exists() or made.stat().st_mtime < newest:
            done = subprocess.run(["npm", "run", "build"], cwd=PACKAGE, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    return PACKAGE


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(SURROUNDINGS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BERS_EMIT_SPOOL", str(tmp_path / "spool"))
    # The second that the end of a program may be held up is soon over where much else is done: what is sent within it
    # would be left to the next. Who tests how long that is sets it.
    monkeypatch.setenv("BERS_EMIT_BUDGET", "30s")


@pytest.fixture
def node(built: Path, tmp_path: Path) -> Node:
    modules = tmp_path / "programs" / "node_modules" / "@bers"
    modules.mkdir(parents=True)
    (modules / "emit").symlink_to(built)
    return Node(tmp_path / "programs")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Generator[Receiver]:
    with Receiver() as receiver:
        monkeypatch.setenv("BERS_EMIT_URL", receiver.url)
        yield receiver


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server that is down."""
    with Receiver() as receiver:
        url = receiver.url
    monkeypatch.setenv("BERS_EMIT_URL", url)
    return url


@pytest.fixture
def site() -> Generator[Site]:
    """A site whose host and port are not the server's."""
    with Site(("127.0.0.1", 0), Answer) as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,))
        thread.start()
        yield site
        site.shutdown()
        thread.join()
