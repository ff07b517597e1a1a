"""The pages on how to emit are followed: their files are written, and their commands run against a server."""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import ROOT, Operator, configuration, operating
from tests.docs.test_tutorial import blocks

MODULES = ROOT / "plugins/contrib/bers-emit-js/node_modules"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("emit-pages")
    configuration(folder)
    with operating(folder) as operator:
        yield operator


def follow(page: str, server: Operator, folder: Path, chosen: slice = slice(None)) -> list[str]:
    """Write the page's files, and type its commands, or those that were chosen; what each block of them printed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("BERS_", "CI", "PYTEST_"))}
    environ |= {"PATH": f"{Path(sys.executable).parent}:{environ['PATH']}", "BERS_EMIT_SPOOL": str(folder / "spool")}
    url = environ["BERS_EMIT_URL"] = f"http://127.0.0.1:{server.ports['control']}"
    for block in blocks(f"how-to/emit/{page}"):
        if block.path and not (folder / block.path).exists():
            (folder / block.path).write_text(block.text)
    commands = [block.text for block in blocks(f"how-to/emit/{page}") if block.language == "sh"]
    said: list[str] = []
    for text in commands[chosen]:
        done = subprocess.run(
            ["bash", "-c", text.replace("http://monitoring.example:3003", url)],
            cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        said.append(f"{done.returncode}\n{done.stdout}{done.stderr}")
    return said


def one(data: Any, **labels: str) -> list[float]:
    return [series["current"] for series in data["series"] if labels.items() <= series["labels"].items()]


def test_reports_of_tests_and_coverage(server: Operator, tmp_path: Path) -> None:
    pytest.importorskip("coverage")
    program = "def pick(a):\n    if a:\n        return 1\n    return 2\n"
    (tmp_path / "program.py").write_text(program)
    (tmp_path / "test_program.py").write_text("from program import pick\ndef test_pick(): assert pick(1) == 1\n")
    (tmp_path / ".coveragerc").write_text("[run]\ninclude = program.py\n")
    script = blocks("how-to/emit/coverage-and-junit.md")[1].text
    (tmp_path / "run-tests.sh").write_text(f"#!/bin/sh\n{script}")
    (tmp_path / "run-tests.sh").chmod(0o755)
    around, itself, imported = follow("coverage-and-junit.md", server, tmp_path)
    assert around.startswith("0\n") and itself.startswith("0\n"), around + itself
    assert imported.startswith('0\n[{"id": "import-'), imported
    server.until(
        "metrics/test_coverage", lambda data: one(data, kind="lines") == [75] and one(data, kind="branches") == [50]
    )
    server.until("metrics/test_suite_duration", lambda data: one(data, suite="unit"))


def test_curl(server: Operator, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    (tmp_path / "junit.xml").write_text(
        '<testsuites><testsuite time="3.25"><testcase name="a"/></testsuite></testsuites>'
    )
    (tmp_path / "coverage.json").write_text(
        '{"meta": {"format": 3}, "totals": {"covered_lines": 93, "num_statements": 100}}'
    )
    _, event, again, dry, reports, run, zipped = follow("curl.md", server, tmp_path)
    assert '"accepted":1' in event and '"duplicates":1' in again
    assert '"deployment_performance"' in dry or '"deployment.finished"' in dry
    assert reports.count('"accepted":1') == 2 and '"accepted":1' in run and '"accepted":1' in zipped
    server.until("metrics/build_performance", lambda data: data["current"] == 8450)
    server.until("metrics/test_suite_duration", lambda data: one(data, suite="zipped") == [3250])
    server.until("metrics/test_coverage", lambda data: 93 in one(data, kind="lines"))


def test_npm_scripts(server: Operator, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here")
    if not (MODULES / ".bin/vite").exists():
        pytest.skip("vite is not installed in plugins/contrib/bers-emit-js; `make setup` does that")
    (tmp_path / "node_modules").symlink_to(MODULES)
    (tmp_path / "index.html").write_text('<!doctype html><script type="module" src="/main.js"></script>')
    (tmp_path / "main.js").write_text("console.log('shop')\n")
    (tmp_path / "shop.test.js").write_text(
        "import {it, expect} from 'vitest'\nit('adds', () => expect(1 + 2).toBe(3))\n"
    )
    small = tmp_path / "small"  # What is installed needs a folder of its own, with something small to install.
    (small / "dep").mkdir(parents=True)
    (small / "dep/package.json").write_text('{"name": "dep", "version": "1.0.0"}')
    (small / "package.json").write_text('{"name": "app", "version": "1.0.0", "dependencies": {"dep": "file:./dep"}}')
    subprocess.run(["npm", "install", "--package-lock-only", "--offline"], cwd=small, check=True, capture_output=True)
    scripts, imported = follow("npm-scripts.md", server, tmp_path, slice(2))
    [installed] = follow("npm-scripts.md", server, small, slice(2, None))
    assert scripts.startswith("0\n") and imported.startswith("0\n") and installed.startswith("0\n"), scripts + installed
    assert "bers-emit:" not in scripts + imported + installed
    server.until("metrics/bundle_asset_count", lambda data: data["current"] >= 1)
    server.until("metrics/dependency_install_time", lambda data: data["current"] is not None)
    server.until("metrics/test_suite_duration", lambda data: one(data, suite="unit"))
