"""Makes the pictures of the documentation: every view of a server that watched this project being built and tested.

``make screenshots`` runs it. Nothing in the pictures is made up: the server is told what this script really does, which
is to build the dashboard and a wheel, run a part of the tests, and deploy the wheel into a folder, again and again for
a few minutes, so that charts have a past, and once in vain.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import anyio
from anyio import to_thread
from playwright.async_api import Browser, Page, Route, expect

from bers.testing.server import Server, serving
from tests.browsing import MISSING, browsing, program

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "plugins/builtin/bers_builtin/dashboard/web"
BIN = Path(sys.executable).parent
WHEELS = Path(__file__).with_name("wheels.py")

MOST = 1_500_000
"""Bytes that all pictures may have together."""

WHAT = {
    "overview": ("/", "#indicators .card canvas"),
    "metric": ("/metric/build_performance?range=15m", "#numbers tbody tr"),
    "alerts": ("/alerts?id={alert}", "#list tbody tr"),
    "runs": ("/runs", "#build .plot"),
    "run": ("/runs?id={build}", "#one .waterfall"),
    "tests": ("/runs?id={suite}", "#one .past"),
    "pipelines": ("/pipelines?at=metrics/windows", "#tapped li"),
    "operations": ("/operations", "#checks tbody .strip"),
}
"""The address of each view, and something that shows once all of it is there."""

FAULT = ("_short(value / _MILLISECONDS[name])", "_short(value / 6_000)")
"""A line of `units.py`, and what makes its tests fail."""

_WRITES = '    text = f"{value:.0f}" if value == int(value)'
FAULT_AT_FIRST = (
    _WRITES,
    f"    if not (warm := globals().setdefault('w', [])):\n        return warm.append(1) or ''\n{_WRITES}",
)
"""The same, and what makes one of them fail the first time alone."""

LOOKS: Mapping[str, Mapping[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 780}},
}


VITE: Sequence[str | Path] = [WEB / "node_modules/.bin/vite", "build", "--config"]
SUITE: Sequence[str | Path] = [
    BIN / "pytest", "-q", "-p", "no:cacheprovider", "-p", "rerunfailures", "--reruns=1", "--bers-suite=units",
    "-p", "pytest_cov", "--cov=bers.units", "--cov-report=term", "tests/unit/test_units.py",
]  # fmt: skip
NTFY = ROOT / "plugins/contrib/bers-ntfy"
TURN = 20.0
"""Seconds of rest between two builds, in which the machine does nothing."""


@dataclass(frozen=True)
class Project:
    """This project, and how it reports what is done to it."""

    server: str
    scratch: Path

    def run(self, kind: str, name: str, *command: str | Path, environment: str = "", folder: Path = ROOT) -> int:
        """Run something as `bers-emit run` does, and return its exit code."""
        options = ["--kind", kind, "--name", name, *(["--env", environment] if environment else [])]
        return self.call(BIN / "bers-emit", "run", *options, "--", *command, folder=folder)

    def call(self, *command: str | Path, folder: Path = ROOT, path: Path | None = None) -> int:
        known = {key: value for key, value in os.environ.items() if not key.startswith("BERS_")}
        if path:
            known["PYTHONPATH"] = str(path)
        told = known | {
            "BERS_EMIT_URL": self.server,
            "BERS_EMIT_SPOOL": str(self.scratch / "spool"),
            "COVERAGE_FILE": str(self.scratch / "coverage"),
        }
        said = subprocess.DEVNULL
        return subprocess.run(command, cwd=folder, env=told, stdout=said, stderr=said, check=False).returncode

    def configured(self, *, minified: bool = True) -> Path:
        """The dashboard's own configuration of vite, with our plugin for phases and sizes, into another folder."""
        emit = (ROOT / "plugins/contrib/bers-emit-js/dist/esm/vite.js").as_uri()
        file = self.scratch / f"vite.{'small' if minified else 'large'}.mjs"
        file.write_text(
            f"import ours from {(WEB / 'vite.config.js').as_uri()!r};\n"
            f"import {{ bers }} from {emit!r};\n"
            f"const build = {{ ...ours.build, outDir: {str(self.scratch / 'pages')!r}, emptyOutDir: true"
            f"{'' if minified else ', minify: false'} }};\n"
            "export default { ...ours, build, plugins: [bers({ name: 'dashboard' })] };\n"
        )
        return file

    def broken(self, name: str, code: str, instead: str) -> Path:
        """A copy of the framework with one fault in it, for its own tests to find."""
        copy = self.scratch / name
        shutil.copytree(ROOT / "core/bers", copy / "bers", ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / "bers/units.py"
        right = file.read_text(encoding="utf-8")
        assert right.count(code) == 1
        file.write_text(right.replace(code, instead), encoding="utf-8")
        return copy

    def is_worked_on(self, minutes: float) -> None:
        """What a team does all day, for so long that charts have a past; then what it does in a bad hour."""
        small, large = self.configured(), self.configured(minified=False)
        over = time.monotonic() + minutes * 60
        for turn in count(1):
            self.call(*VITE, large if turn % 4 == 0 else small, folder=WEB)
            self.call(*SUITE)
            self.run("build", "bers-ntfy", *self.wheel(NTFY))
            self.run("deploy", "bers-ntfy", "cp", "-r", self.wheels, self.scratch / "live", environment="staging")
            if (left := over - time.monotonic()) <= 0:
                break
            time.sleep(min(TURN, left))
        self.fails_once()
        self.call(BIN / "bers-emit", "flush")

    def fails_once(self) -> None:
        """Tests that find a fault, one that fails at first, a deployment that is taken back, and a build that fails."""
        self.call(*SUITE, path=self.broken("wrong", *FAULT))
        self.call(*SUITE, path=self.broken("flaky", *FAULT_AT_FIRST))
        self.call(*SUITE)
        plugins = ("bers-bazel", "bers-statsd", "bers-toolbox")
        self.call(sys.executable, WHEELS, BIN / "uv", ROOT / "plugins/contrib", self.scratch / "all", *plugins)
        deploy = partial(self.run, "deploy", "bers-ntfy", "cp", "-r", environment="production")
        deploy(self.wheels, self.scratch / "live")
        # A wheel that is not there is not deployed, and out of an empty folder nothing is built: these two fail.
        if deploy(self.wheels / "none.whl", self.scratch / "live"):
            rollback = ["--service", "bers-ntfy", "--env", "production", "--rollback", "--outcome", "success"]
            self.call(BIN / "bers-emit", "deployment.finished", *rollback, "--reason", "the deployment before failed")
        self.run("build", "bers-ntfy", *self.wheel(self.scratch / "nothing"))

    @property
    def wheels(self) -> Path:
        return self.scratch / "wheels"

    def wheel(self, folder: Path) -> list[str | Path]:
        return [BIN / "uv", "build", "--wheel", "--out-dir", self.wheels, folder]


async def picture(browser: Browser, url: str, shown: str, look: Mapping[str, Any]) -> bytes:
    """A page as it is seen, as WebP."""
    context = await browser.new_context(**look)
    page = await context.new_page()
    await page.route("**/api/monitoring/health?*", _at_home)
    await page.goto(url)
    await expect(page.locator("#live")).to_have_text("live", timeout=30_000)
    await expect(page.locator(shown).first).to_be_visible(timeout=30_000)
    await page.wait_for_load_state("load")
    data = await _taken(page)
    await context.close()
    return data


async def _at_home(route: Route) -> None:
    """A folder that only this run knows is told as the configuration names it."""
    reply = await route.fetch()
    await route.fulfill(response=reply, body=(await reply.text()).replace(f"{Path.cwd()}/", ""))


async def _taken(page: Page) -> bytes:
    session = await page.context.new_cdp_session(page)
    asked = {"format": "webp", "quality": 80}
    taken = cast("Mapping[str, str]", await session.send("Page.captureScreenshot", asked))  # pyright: ignore[reportUnknownMemberType]
    return base64.b64decode(taken["data"])


async def pictures(server: Server, folder: Path) -> int:
    """Every view in every look; how many bytes they are together."""
    (alert, *_) = await server.until("alerts", len)
    (build, *_) = await server.until("runs?kind=build&where=labels.build=plugins", len)
    (suite, *_) = await server.until("runs?kind=validation&where=outcome=failure", len)
    known = {name: quote(one["id"], safe="") for name, one in (("alert", alert), ("build", build), ("suite", suite))}
    total = 0
    async with browsing() as browser:
        for name, (path, shown) in WHAT.items():
            url = server.url(path.format_map(known))
            for look, options in LOOKS.items():
                data = await picture(browser, url, shown, options)
                await anyio.Path(folder / f"{name}-{look}.webp").write_bytes(data)
                total += len(data)
    return total


async def made(folder: Path, minutes: float) -> int:
    with tempfile.TemporaryDirectory(prefix="bers-screenshots-") as name:
        scratch = Path(name)
        with contextlib.chdir(scratch):
            async with serving(Path()) as server:
                project = Project(server.url("/").rstrip("/"), scratch)
                await to_thread.run_sync(project.is_worked_on, minutes)
                await server.until("runs?kind=build&where=outcome=failure", len, seconds=30)
                return await pictures(server, folder)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the pictures of the documentation.")
    parser.add_argument("--into", type=Path, default=ROOT / "docs/images", help="the folder they are written to")
    parser.add_argument("--minutes", type=float, default=4.0, help="for how long the server watches before")
    asked = parser.parse_args(arguments)
    folder: Path = asked.into
    if program() is None:
        print(MISSING, file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    total = anyio.run(partial(made, folder, asked.minutes))
    print(f"{folder}: {total / 1000:.0f} kB")
    if total > MOST:
        print(f"the pictures are larger than {MOST / 1e6:g} MB together", file=sys.stderr)
    return int(total > MOST)


if __name__ == "__main__":
    sys.exit(main())
