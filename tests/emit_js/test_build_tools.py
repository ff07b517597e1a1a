"""vite, webpack and esbuild report each of their builds once: what the server shows is what the tools did."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from bers_emit.testing import Receiver
from tests.acceptance.conftest import Operator, configuration, operating
from tests.emit_js.projects import (
    APP,
    COMMANDS,
    CONFIGURATIONS,
    SLOW_MS,
    Done,
    Project,
    change,
    project,
    stop,
    told,
    until,
)

Make = Callable[..., Project]

ASSETS: Mapping[str, set[str]] = {
    "vite": {"index.html", "assets/index-*.css", "assets/index-*.js", "assets/later-*.js"},
    "webpack": {"main.*.js"},
    "esbuild": {"main-*.js", "later-*.js"},
}
"""What a browser gets, by the names that the next build will use again."""

PHASES: Mapping[str, set[str]] = {
    "vite": {"transform", "render", "write"}, "webpack": {"make", "seal", "emit"}, "esbuild": set(),
}  # fmt: skip

LONG = pytest.mark.skipif(not os.environ.get("BERS_TEST_LONG"), reason="`make test-long` has every fault of every tool")

FAULTS = [
    ("vite", "transform"), ("vite", "render"), ("vite", "write"), ("vite", "close"), ("webpack", "emit"),
    ("webpack", "syntax"), ("esbuild", "load"), ("esbuild", "syntax"),
    *(pytest.param(tool, fault, marks=[pytest.mark.long, LONG]) for tool, fault in (
        ("vite", "start"), ("vite", "generate"), ("vite", "syntax"), ("webpack", "done"), ("esbuild", "end"),
    )),
]  # fmt: skip

SIZES = """
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { readFileSync } from 'node:fs'
const files = process.argv.slice(2).map((path) => readFileSync(path))
const total = (size) => files.map(size).reduce((sum, one) => sum + one, 0)
const { BROTLI_PARAM_QUALITY: quality, BROTLI_PARAM_SIZE_HINT: hint } = constants
const brotli = (file) => brotliCompressSync(file, { params: { [quality]: 6, [hint]: file.length } })
console.log(JSON.stringify({
  raw: total((file) => file.length),
  gzip: total((file) => gzipSync(file).length),
  brotli: total((file) => brotli(file).length),
}))
"""


TWICE = """
import { build } from 'vite'
await build()
await build({ build: { ssr: 'src/later.js', outDir: 'dist/server' } })
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    folder = tmp_path_factory.mktemp("operator")
    configuration(folder)
    with operating(folder) as operator:
        yield operator


@pytest.fixture
def make(built: Path, tmp_path: Path) -> Make:
    """Makes the application, which reports to a URL."""

    def made(url: str, name: str = "shop", **environ: str) -> Project:
        files = {**APP, **CONFIGURATIONS, "package.json": json.dumps({"name": name, "type": "module"})}
        return project(tmp_path, built, files, BERS_EMIT_URL=url, CI="1", **environ)

    return made


@pytest.mark.parametrize("tool", COMMANDS)
def test_a_build_is_told_once_with_its_time_its_phases_and_its_sizes(tool: str, server: Operator, make: Make) -> None:
    name = f"{tool}-app"
    app = make(server.url("/"), name, FOR=f"for-{tool}", SLOW=str(SLOW_MS))
    done = app.run(*COMMANDS[tool])
    assert done.code == 0, done.said
    started, finish = ended(server, name)
    assert finish["outcome"] == "success" and finish["subject"] == started["subject"]
    assert finish["duration_ms"] == pytest.approx(said(done)[0], rel=0.05)
    assert finish["duration_ms"] <= done.seconds * 1000
    assert app.spooled() == []

    shown = server.until(
        f"metrics/build_performance?labels=environment=for-{tool}", lambda data: data["current"] is not None
    )
    assert (shown["current"], shown["count"]) == (finish["duration_ms"], 1)
    if PHASES[tool]:
        took = phases(server, PHASES[tool])
        assert max(took) >= SLOW_MS and sum(took) <= finish["duration_ms"]
        timeline = finish["data"]["timeline"]
        assert {part["phase"] for part in timeline} == PHASES[tool]
        began = finish["timestamp"] - finish["duration_ms"]
        assert all(began - 50 <= part["start"] <= finish["timestamp"] for part in timeline)
        assert sum(part["ms"] for part in timeline) == pytest.approx(sum(took))

    files = [path for path in (app.folder / "dist").rglob("*.*") if path.suffix != ".map"]
    sizes = compressed(app, files)
    for kind in ("raw", "gzip", "brotli"):
        shows(server, "bundle_size_total", sizes[kind], f"kind={kind}")
    shows(server, "bundle_asset_count", len(files))
    assets = finish["data"]["assets"]
    assert {asset["name"] for asset in assets} >= ASSETS[tool]
    assert sum(asset["raw"] for asset in assets) == sizes["raw"]
    assert not any("later" in asset["name"] for asset in assets if asset.get("initial"))
    initial = sum(asset["raw"] for asset in assets if asset.get("initial"))
    assert 0 < initial < sizes["raw"]
    shows(server, "bundle_initial_size", initial)


@pytest.mark.parametrize(("tool", "fault"), FAULTS)
def test_a_build_that_fails_is_told_as_failed_once(tool: str, fault: str, server: Operator, make: Make) -> None:
    name = f"{tool}-{fault}"
    app = make(server.url("/"), name, FAULT=fault)
    if fault == "syntax":
        app.write({"src/later.js": "export const later = ("})
    done = app.run(*COMMANDS[tool])
    assert done.code in (1, 2), done.said
    if app.spooled():  # Where no hook was left, nobody could wait: whoever comes next sends it.
        assert (tool, fault) == ("vite", "close")
        app.run("node", "-e", "import('@bers/emit').then(({ emit, flush }) => { emit('task.done'); return flush(10) })")
    _, finish = ended(server, name)
    assert finish["outcome"] == "failure"
    assert finish["reason"] and "\n    at " not in finish["reason"]
    if fault in ("transform", "render", "start", "emit", "done", "load", "end"):
        assert f"this is the fault of {fault}" in finish["reason"]
    assert "bundle.raw" not in finish.get("measures", {})


@pytest.mark.parametrize("tool", COMMANDS)
def test_each_rebuild_is_a_build_of_its_own(tool: str, server: Operator, make: Make) -> None:
    name = f"{tool}-watched"
    app = make(server.url("/"), name)
    with app.start(*COMMANDS[tool], "--watch") as process:
        try:
            until(lambda: finished(server, name))
            for text, outcome in (("'changed'", "success"), ("(", "failure"), ("'mended'", "success")):
                rebuild(app, server, name, f"export const slow = {text}\n", outcome)
        finally:
            stop(process)
    events = told(server, "build", name)
    ends = [one for one in events if one["type"] == "build.finished"]
    assert [outcome for outcome, _ in groupby(one["outcome"] for one in ends)] == ["success", "failure", "success"]
    started = [one["subject"] for one in events if one["type"] == "build.started"]
    assert started[: len(ends)] == [one["subject"] for one in ends]
    # One change may be noticed twice, and the tool be stopped within the second build of it.
    assert len(set(started)) == len(started) <= len(ends) + 1 and len(ends) >= 4


@pytest.mark.parametrize("tool", COMMANDS)
def test_a_server_that_hangs_costs_the_budget_once_and_nothing_is_lost(tool: str, make: Make) -> None:
    with Receiver() as receiver:
        receiver.hang_after = 0
        app = make(receiver.url, BERS_EMIT_BUDGET="4s")
        done = app.run(*COMMANDS[tool])
        over = time.time()
    assert done.code == 0, done.said
    [left] = app.spooled()
    started, finish = [json.loads(line) for line in left.read_text().splitlines()[1:]]
    assert (started["type"], finish["type"]) == ("build.started", "build.finished")
    # To end a process takes its time, too; but who waited twice would have waited for 8 seconds.
    assert 3.9 < over - moment(finish) < 7.8


def test_two_builds_in_one_process_wait_once_for_a_server_that_hangs(make: Make) -> None:
    with Receiver() as receiver:
        receiver.hang_after = 0
        app = make(receiver.url, BERS_EMIT_BUDGET="4s")
        app.write({"twice.js": TWICE})
        done = app.run("node", "twice.js")
        over = time.time()
    assert done.code == 0, done.said
    [left] = app.spooled()
    events = [json.loads(line) for line in left.read_text().splitlines()[1:]]
    assert [one["type"] for one in events] == ["build.started", "build.finished"] * 2
    first, second = (moment(one) for one in events if one["type"] == "build.finished")
    assert second - first > 3.9  # It was waited for.
    assert over - second < 3.9


@pytest.mark.parametrize("tool", COMMANDS)
def test_what_goes_wrong_in_the_plugin_is_said_once_and_fails_no_build(tool: str, make: Make) -> None:
    with Receiver() as receiver:
        app = make(receiver.url)
        for file in ("vite.config.js", "webpack.config.js", "build.js"):
            text = (app.folder / file).read_text()
            assert "environment: process.env.FOR" in text
            faulty = "get name() { throw new Error('a fault of our own') }"
            app.write({file: text.replace("environment: process.env.FOR", faulty)})
        done = app.run(*COMMANDS[tool])
    assert done.code == 0, done.said
    assert done.said.count("a fault of our own") == 1, done.said
    assert receiver.events == []


@pytest.mark.parametrize("tool", COMMANDS)
def test_without_a_server_nothing_is_written(tool: str, make: Make) -> None:
    app = make("")
    assert app.run(*COMMANDS[tool]).code == 0
    assert not Path(app.environ["BERS_EMIT_SPOOL"]).exists()


def moment(event: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def said(done: Done) -> list[float]:
    """The milliseconds that the tool itself says it took."""
    found = re.findall(r"(?:built in|compiled \w+ in|Done in) ([\d.]+) ?(ms|s)\b", done.said)
    assert found, done.said
    return [float(number) * (1000 if unit == "s" else 1) for number, unit in found]


def test_webpack_tells_what_its_cache_spared_where_there_is_one(make: Make, server: Operator) -> None:
    def rate(name: str, *options: str) -> float | None:
        app.write({"package.json": json.dumps({"name": name, "type": "module"})})
        done = app.run(*COMMANDS["webpack"], *options)
        assert done.code == 0, done.said
        found: float | None = ended(server, name)[1].get("measures", {}).get("build_cache_hit_rate")
        return found

    app = make(server.url("/"), "no-cache")
    assert rate("no-cache") is None
    cached = ("--cache-type", "filesystem")
    assert rate("cold-cache", *cached) == 0
    assert rate("warm-cache", *cached) == 100
    app.write({"src/later.js": "export const later = () => console.log('something else')\n"})
    assert rate("one-changed", *cached) == pytest.approx(100 * 22 / 23)


def ended(server: Operator, name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The beginning and the end of the only build of that name."""
    until(lambda: finished(server, name))
    started, finish = told(server, "build", name)
    assert (started["type"], finish["type"]) == ("build.started", "build.finished")
    return started, finish


@pytest.mark.parametrize(("name", "expected"), [
    ("assets/index-B3vZRz9l.css", "assets/index-*.css"), ("my-index-W1_rj-BN.css", "my-index-*.css"),
    ("logo.4f3a2b1c9d8e7f60.svg", "logo.*.svg"), ("chunk-UBCFOIFY.js", "chunk-*.js"),
    ("user-settings.css", "user-settings.css"), ("react-dom-client2x.js", "react-dom-client2x.js"),
    ("MyComponent.js", "MyComponent.js"), ("shop-Checkout.css", "shop-Checkout.css"), ("index.html", "index.html"),
    ("fonts/a-4f3a2b1c.min.woff2", "fonts/a-*.min.woff2"), ("README", "README"),
])  # fmt: skip
def test_a_name_loses_what_its_content_adds_to_it_and_no_more(name: str, expected: str, built: Path) -> None:
    module = (built / "dist" / "esm" / "bundle.js").as_uri()
    program = f"import({json.dumps(module)}).then((m) => console.log(m.normalised({json.dumps(name)})))"
    done = subprocess.run(["node", "-e", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def rebuild(app: Project, server: Operator, name: str, text: str, outcome: str) -> None:
    """Change a module, and wait for a build that is due to it."""
    before = len(finished(server, name))
    change(
        app,
        {"src/slow.js": text},
        lambda: [one["outcome"] for one in finished(server, name)][before:][-1:] == [outcome],
    )


def finished(server: Operator, name: str) -> list[Mapping[str, Any]]:
    return [one for one in told(server, "build", name) if one["type"] == "build.finished"]


def shows(server: Operator, metric: str, value: float, labels: str = "") -> None:
    server.until(f"metrics/{metric}?labels={labels}", lambda data: data["current"] == value)


def phases(server: Operator, names: set[str]) -> list[float]:
    """How long each of these phases took lately."""
    data = server.until(
        "metrics/build_phase_time?fields=last",
        lambda data: names <= {line["labels"]["phase"] for line in data["series"]},
    )
    return [line["current"] for line in data["series"] if line["labels"]["phase"] in names]


def compressed(app: Project, files: list[Path]) -> Mapping[str, int]:
    """What zlib makes of the files that lie on the disk."""
    app.write({"sizes.mjs": SIZES})
    done = subprocess.run(
        ["node", "sizes.mjs", *map(str, files)], cwd=app.folder, capture_output=True, text=True, check=True
    )
    sizes: Mapping[str, int] = json.loads(done.stdout)
    return sizes
