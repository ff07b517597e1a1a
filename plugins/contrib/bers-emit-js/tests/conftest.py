"""The package as npm would publish it, in an environment without settings of the machine; skipped without Node."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bers_emit.testing import Receiver

PACKAGE = Path(__file__).parents[1]

_OURS = (
    "BERS_",
    "CI",
    "GITHUB_",
    "GITLAB_",
    "JENKINS_",
    "BUILDKITE",
    "TF_BUILD",
    "BITBUCKET_",
    "TEAMCITY_",
    "CODEBUILD_",
)


@dataclass(frozen=True)
class Node:
    """Runs programs that import the package, in a folder of their own."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict[str, str])

    def command(self, program: str, *words: str) -> list[str]:
        """The command of a program that is given as its text; what it imports is found from its folder."""
        path = self.folder / f"program{len(list(self.folder.glob('program*')))}.mjs"
        path.write_text(program)
        return ["node", str(path), *words]

    def start(self, program: str, *words: str, **environ: str) -> subprocess.Popen[str]:
        """The caller ends it, or waits for its end."""
        return subprocess.Popen(
            self.command(program, *words),
            env={**os.environ, **self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def run(self, program: str, *words: str, code: int = 0, **environ: str) -> str:
        """What the program prints; it has to end with that exit code."""
        with self.start(program, *words, **environ) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return out


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
        if name.startswith(_OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BERS_EMIT_SPOOL", str(tmp_path / "spool"))


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


def lines(folder: Path) -> list[Mapping[str, object]]:
    """The events that wait in a spool folder."""
    return [json.loads(line) for path in sorted(folder.glob("*.ndjson")) for line in path.read_text().splitlines()[1:]]
