"""Real tools of Node's world, on projects made here: what is told of them is what they say themselves.

The tools are those of the npm package beside this one, which `make setup` installs where there is Node.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import pytest

from bers_emit.imports import coverage, jest, junit, vitest
from bers_emit.imports.documents import Document
from bers_emit.imports.suites import Suite
from bers_emit.testing import Receiver

MODULES = Path(__file__).parents[2] / "bers-emit-js" / "node_modules"
Built = Callable[..., "dict[str, Any]"]
Wrapped = Callable[..., "tuple[subprocess.CompletedProcess[str], dict[str, Any]]"]
WRAPPED = [sys.executable, "-m", "bers_emit", "run"]
EMIT = [sys.executable, "-m", "bers_emit"]
SOURCES = {
    "index.html": '<!doctype html><script type="module" src="/src/main.js"></script>',
    "src/main.js": "import {add} from './lib.js'\nimport('./lazy.js').then(m => console.log(m.z, add(1, 2)))\n",
    "src/lib.js": "export function add(a, b) { if (a > 5) { return 0 }; return a + b }\n",
    "src/lazy.js": 'export const z = "lazy ' + "lazy " * 500 + '"\n',
    "package.json": '{"name": "app", "version": "1.0.0", "private": true, "type": "module"}',
}
TESTS = """
describe('adds', () => {
  it('well', () => expect(1 + 2).toBe(3))
  it('badly', () => expect(1 + 2).toBe(4))
  it.skip('later', () => {})
  it.todo('one day')
  let n = 0
  it('in the end', RETRY () => expect(n++).toBe(1))
})
"""
ADDS = "it('adds', () => expect(1 + 2).toBe({}))\n"


def tool(name: str) -> str:
    if shutil.which("node") is None:
        pytest.skip("there is no Node here")
    path = MODULES / ".bin" / name
    if not path.exists():
        pytest.skip(f"{name} is not installed in plugins/contrib/bers-emit-js; `make setup` does that")
    return str(path)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "app"
    for name, text in SOURCES.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    if MODULES.exists():
        (home / "node_modules").symlink_to(MODULES)
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def built(wrapped: Wrapped) -> Built:
    """Runs a build under ``bers-emit run``: what was told of its end, which has to be one event with its time."""

    def run(*command: str, code: int = 0, options: Sequence[str] = ("--bundle", "dist/**")) -> dict[str, Any]:
        done, finished = wrapped("build", *command, code=code, options=options)
        Path("../said").write_text(done.stdout)
        assert code or "bers-emit:" not in done.stderr
        return finished

    return run


def zipped(folder: Path) -> float:
    """The sum of what zlib makes of each file, at the level that is usual."""
    total = 0
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            packer = zlib.compressobj(6, zlib.DEFLATED, 31)
            total += len(packer.compress(path.read_bytes()) + packer.flush())
    return float(total)


def test_vite_builds(built: Built, receiver: Receiver, project: Path) -> None:
    finished = built(tool("vite"), "build", "--manifest")
    assert finished["outcome"] == "success"
    assert finished["measures"]["bundle.gzip"] == zipped(project / "dist")
    assets = {one["name"]: one for one in finished["data"]["assets"]}
    assert set(assets) == {"index.html", "assets/index-*.js", "assets/lazy-*.js"}
    assert assets["assets/index-*.js"]["entry"] and "initial" not in assets["assets/lazy-*.js"]
    assert finished["measures"]["bundle.initial"] == assets["assets/index-*.js"]["raw"]
    # The manifest alone says the same of the same files; and vite itself prints the sizes.
    subprocess.run([*EMIT, "import", "vite", "dist/.vite/manifest.json", "--strict"], check=True)
    [imported] = receiver.of("build.measured")
    named = {one["name"]: one for one in imported["data"]["assets"]}
    assert named == {name: one for name, one in assets.items() if name != "index.html"}
    said = re.sub(r"\x1b\[[0-9;]*m", "", (project / "../said").read_text())
    printed = re.findall(r"dist/(assets/\S+)\s+([\d.,]+) kB │ gzip:\s+([\d.,]+) kB", said)
    assert len(printed) == 2
    for _, raw, gzip in printed:
        assert any(
            one["raw"] / 1000 == pytest.approx(float(raw), abs=0.01)
            # Node's zlib is Chromium's, whose output is not to the byte that of zlib.
            and one["gzip"] / 1000 == pytest.approx(float(gzip), abs=0.01, rel=0.02)
            for one in named.values()
        )


@pytest.mark.parametrize("kind", ["vite", "webpack", "esbuild"])
def test_a_build_that_fails_is_reported_as_failed(kind: str, built: Built, project: Path) -> None:
    (project / "src/lib.js").write_text("export function add(a { return }")
    commands = {
        "vite": ["build"],
        "webpack": ["--mode", "production", "--entry", "./src/main.js", "--output-path", "dist"],
        "esbuild": ["src/main.js", "--bundle", "--outdir=dist"],
    }
    finished = built(tool(kind), *commands[kind], code=1)
    assert (finished["outcome"], finished["reason"]) == ("failure", "exit code 1")
    assert "bundle.raw" not in finished["measures"]


def test_webpack_builds(built: Built, receiver: Receiver, project: Path) -> None:
    entry = ["--mode", "production", "--entry", "./src/main.js", "--output-filename", "[name].[contenthash].js"]
    output = ["--output-chunk-filename", "lazy.[contenthash].js", "--output-path", str(project / "dist")]
    finished = built(tool("webpack"), *entry, *output, "--devtool", "source-map", "--json=stats.json")
    assert finished["outcome"] == "success"
    assert {one["name"] for one in finished["data"]["assets"]} == {"main.*.js", "lazy.*.js"}
    subprocess.run([*EMIT, "import", "webpack", "stats.json", "--strict"], check=True)
    imported = receiver.of("build.finished")[1]
    for size in ("bundle.raw", "bundle.gzip", "bundle.assets"):
        assert imported["measures"][size] == finished["measures"][size]
    assert imported["duration_ms"] == json.loads((project / "stats.json").read_text())["time"]
    assert imported["measures"]["bundle.initial"] == next(
        one["raw"] for one in imported["data"]["assets"] if one.get("entry")
    )


def test_esbuild_builds(built: Built, receiver: Receiver, project: Path) -> None:
    options = ["--bundle", "--splitting", "--format=esm", "--entry-names=[name]-[hash]", "--outdir=dist"]
    finished = built(tool("esbuild"), "src/main.js", *options, "--metafile=meta.json", "--sourcemap")
    assert {"main-*.js", "lazy-*.js"} <= {one["name"] for one in finished["data"]["assets"]}
    subprocess.run([*EMIT, "import", "esbuild", "meta.json", "--strict"], check=True)
    [imported] = receiver.of("build.measured")
    for size in ("bundle.raw", "bundle.gzip", "bundle.assets"):
        assert imported["measures"][size] == finished["measures"][size]
    assets = {one["name"]: one for one in imported["data"]["assets"]}
    assert assets["dist/main-*.js"]["entry"] and "initial" not in assets["dist/lazy-*.js"]


def counts(found: Suite) -> dict[str, int]:
    return {"passed": found.passed, "failed": found.failed, "skipped": found.skipped, "total": found.total}


def summary(said: str) -> dict[str, int]:
    """The runner's own last line about tests; what is to do is skipped as well."""
    line = next(line for line in re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines() if re.match(r"\s*Tests:? ", line))
    told = {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", line)}
    total = told.get("total") or int(re.findall(r"\((\d+)\)", line)[0])
    return {
        "passed": told["passed"],
        "failed": told["failed"],
        "skipped": told["skipped"] + told["todo"],
        "total": total,
    }


def test_the_totals_are_those_of_vitest(project: Path) -> None:
    vitest_ = tool("vitest")
    body = TESTS.replace("RETRY", "{retry: 2},")
    (project / "a.test.js").write_text(f"import {{describe, it, expect}} from 'vitest'\n{body}")
    reporters = ["--reporter=default", "--reporter=json", "--reporter=junit"]
    files = ["--outputFile.json=v.json", "--outputFile.junit=v.xml"]
    done = subprocess.run([vitest_, "run", *reporters, *files], capture_output=True, text=True, check=False)
    assert summary(done.stdout) == {"passed": 2, "failed": 1, "skipped": 2, "total": 5}, done.stderr
    from_json, from_xml = vitest.read(Document("v.json")), junit.read(Document("v.xml"))
    assert counts(from_json) == counts(from_xml) == summary(done.stdout)
    assert from_json.shaky == ["adds in the end"]
    assert "tests.flaky" not in from_xml.measures()  # Its XML does not say, and nothing is not known to be none.


def test_the_totals_are_those_of_jest(project: Path) -> None:
    jest_ = tool("jest")
    (project / "package.json").write_text('{"name": "app", "version": "1.0.0", "private": true}')
    (project / "src/lib.js").write_text("exports.add = (a, b) => { if (a > 5) { return 0 } return a + b }\n")
    body = TESTS.replace("RETRY", "").replace("expect(1 + 2)", "expect(require('./src/lib.js').add(1, 2))")
    (project / "a.test.js").write_text(f"jest.retryTimes(2)\n{body}")
    options = ["--json", "--outputFile=j.json", "--coverage", "--collectCoverageFrom=src/lib.js", "--rootDir=."]
    formats = [f"--coverageReporters={name}" for name in ("json", "json-summary", "lcovonly", "cobertura")]
    done = subprocess.run([jest_, *options, *formats], capture_output=True, text=True, check=False)
    found = jest.read(Document("j.json"))
    assert counts(found) == summary(done.stderr) == {"passed": 2, "failed": 1, "skipped": 2, "total": 5}
    assert found.shaky == ["adds in the end"] and found.tells_flaky
    kinds = {path.name: coverage.read(Document(str(path))).measures() for path in (project / "coverage").iterdir()}
    final = kinds["coverage-final.json"]
    assert kinds["coverage-summary.json"] == final
    assert final["coverage.branches"] == 50 and set(final) == {
        "coverage.lines", "coverage.branches", "coverage.functions", "coverage.statements",
    }  # fmt: skip
    for name, missing in (("lcov.info", {"statements"}), ("cobertura-coverage.xml", {"statements", "functions"})):
        assert kinds[name] == {kind: of for kind, of in final.items() if kind.partition(".")[2] not in missing}


def test_npm_ci_says_how_long_its_dependencies_took(built: Built, receiver: Receiver, project: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here")
    (project / "node_modules").unlink(missing_ok=True)
    (project / "dep").mkdir()
    (project / "dep/package.json").write_text('{"name": "dep", "version": "1.0.0"}')
    (project / "package.json").write_text('{"name": "app", "version": "1.0.0", "dependencies": {"dep": "file:./dep"}}')
    quiet = ["--offline", "--no-audit", "--no-fund"]
    subprocess.run(["npm", "install", "--package-lock-only", *quiet], check=True, capture_output=True)
    finished = built("npm", "ci", *quiet, options=["--npm-timing"])
    assert finished["outcome"] == "success"
    assert (project / "node_modules/dep/package.json").exists()
    [timed] = receiver.of("build.measured")
    assert (timed["subject"], timed["labels"]) == (finished["subject"], {"tool": "npm"})
    resolve, install = timed["measures"]["dependencies.resolve"], timed["measures"]["dependencies.install"]
    assert 0 <= resolve + install <= finished["duration_ms"]
    subprocess.run([*WRAPPED, "--kind", "build", "--npm-timing", "--", "npm", "--version"], check=True)
    assert len(receiver.of("build.measured")) == 1  # Nothing was installed, and so nothing took any time.


def test_npm_ci_that_fails_is_reported_as_failed(built: Built, project: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here")
    (project / "node_modules").unlink(missing_ok=True)
    (project / "package.json").write_text('{"name": "app", "version": "1.0.0", "dependencies": {"dep": "file:./dep"}}')
    finished = built("npm", "ci", "--offline", "--no-audit", "--no-fund", code=1, options=[])
    assert (finished["outcome"], finished["reason"]) == ("failure", "exit code 1")


@pytest.mark.parametrize(("code", "outcome"), [(0, "success"), (1, "failure")])
def test_a_run_of_vitest_is_told_once_with_its_time_its_end_and_its_counts(
    code: int, outcome: str, wrapped: Wrapped, project: Path
) -> None:
    (project / "a.test.js").write_text(f"import {{it, expect}} from 'vitest'\n{ADDS.format(3 + code)}")
    command = [tool("vitest"), "run", "--reporter=default", "--reporter=junit", "--outputFile.junit=v.xml"]
    _, finished = wrapped("test", *command, code=code, options=["--name", "vitest", "--junit", "v.xml"])
    measures = finished["measures"]
    assert (finished["outcome"], measures["tests.total"], measures["tests.failed"]) == (outcome, 1, code)


@pytest.mark.parametrize(("code", "outcome"), [(0, "success"), (1, "failure")])
def test_a_run_of_jest_is_told_once_with_its_time_and_its_end(
    code: int, outcome: str, wrapped: Wrapped, project: Path
) -> None:
    (project / "package.json").write_text('{"name": "app", "version": "1.0.0", "private": true}')
    (project / "a.test.js").write_text(ADDS.format(3 + code))
    _, finished = wrapped("test", tool("jest"), "--rootDir=.", code=code, options=["--name", "jest"])
    assert finished["outcome"] == outcome
