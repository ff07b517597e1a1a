"""Small projects as a team has them, built and tested by the real tools, with the package as npm would install it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Operator

SLOW_MS = 2000
"""How long one module keeps a build waiting, so that what a busy machine adds is little beside it."""

APP: Mapping[str, str] = {
    "package.json": '{"name": "shop", "private": true, "type": "module"}',
    "index.html": '<!doctype html><link rel="stylesheet" href="/src/shop.css">'
    '<script type="module" src="/src/main.js"></script>',
    "src/shop.css": "body { color: teal }",
    "src/main.js": "\n".join([
        "import { slow } from './slow.js'",
        *(f"import {{ part{n} }} from './parts/part{n}.js'" for n in range(20)),
        "document.body.append(slow, " + ", ".join(f"part{n}(1)" for n in range(20)) + ")",
        "import('./later.js').then(({ later }) => later())",
    ]),
    "src/slow.js": "export const slow = 'slow'\n",
    "src/later.js": "export const later = () => console.log('a text that is only needed later, if at all')\n",
    **{
        f"src/parts/part{n}.js": f"export const part{n} = (given) => `part {n} of {{given}}: {'words ' * n}`\n"
        for n in range(20)
    },
}  # fmt: skip
"""An application of some modules, one of which is loaded later."""

VITE = """
import { bers } from '@bers/emit/vite'
import { faults, slow } from './faults.js'

export default { build: { sourcemap: true }, plugins: [slow.vite, ...faults, bers({ environment: process.env.FOR })] }
"""

WEBPACK = """
import { BersPlugin } from '@bers/emit/webpack'
import { faults } from './faults.js'

export default {
  mode: 'production', devtool: 'source-map', entry: './src/main.js', output: { filename: '[name].[contenthash].js' },
  module: { rules: [{ test: /slow\\.js$/, use: './slow-loader.cjs' }] },
  plugins: [...faults, new BersPlugin({ environment: process.env.FOR })],
}
"""

SLOW_LOADER = """
module.exports = function (code) { setTimeout(this.async(), Number(process.env.SLOW ?? 0), null, code) }
"""

ESBUILD = """
import * as esbuild from 'esbuild'
import { bers } from '@bers/emit/esbuild'
import { faults, slow } from './faults.js'

const options = {
  entryPoints: ['src/main.js'], bundle: true, splitting: true, format: 'esm', minify: true, sourcemap: true,
  outdir: 'dist', entryNames: '[name]-[hash]', logLevel: 'info',
  plugins: [slow.esbuild, ...faults, bers({ environment: process.env.FOR })],
}
if (process.argv.includes('--watch')) await (await esbuild.context(options)).watch()
else await esbuild.build(options).catch(() => { process.exitCode = 1 })
"""

FAULTS = """
const fail = () => { throw new Error('this is the fault of ' + process.env.FAULT) }
const wait = () => new Promise((done) => setTimeout(done, Number(process.env.SLOW ?? 0)))
const tap = (hook) => ({ apply: (compiler) => compiler.hooks[hook].tap('faulty', fail) })

const all = {
  start: { name: 'faulty', buildStart: fail },
  transform: { name: 'faulty', transform: (code, id) => id.endsWith('later.js') ? fail() : null },
  render: { name: 'faulty', renderChunk: fail },
  generate: { name: 'faulty', generateBundle: fail },
  write: { name: 'faulty', writeBundle: fail },
  close: { name: 'faulty', closeBundle: fail },
  emit: tap('emit'),
  done: tap('done'),
  load: { name: 'faulty', setup: (build) => build.onLoad({ filter: /later/ }, fail) },
  end: { name: 'faulty', setup: (build) => build.onEnd(fail) },
}

export const faults = process.env.FAULT in all ? [all[process.env.FAULT]] : []
export const slow = {
  vite: { name: 'slow', transform: async (code, id) => { if (id.endsWith('slow.js')) await wait() } },
  esbuild: { name: 'slow', setup: (build) => build.onLoad({ filter: /slow/ }, async () => { await wait() }) },
}
"""
"""What goes wrong where FAULT says, and the module that takes as many milliseconds as SLOW says."""

CONFIGURATIONS: Mapping[str, str] = {
    "vite.config.js": VITE,
    "webpack.config.js": WEBPACK,
    "slow-loader.cjs": SLOW_LOADER,
    "build.js": ESBUILD,
    "faults.js": FAULTS,
}

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "vite": ("vite", "build"),
    "webpack": ("webpack",),
    "esbuild": ("node", "build.js"),
}


@dataclass(frozen=True)
class Done:
    """What a tool came to."""

    code: int
    said: str
    seconds: float


@dataclass
class Project:
    """A folder with a package.json, in which the tools of the package's own development are installed."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict[str, str])

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # At once, as editors do: who watches would else build a file that is empty for a moment.
            whole = path.with_name(f".{path.name}.new")
            whole.write_text(text)
            whole.replace(path)

    def run(self, *command: str, **environ: str) -> Done:
        began = time.monotonic()
        with self.start(*command, **environ) as process:
            said, _ = process.communicate(timeout=120)
        return Done(process.returncode, _plain(said), time.monotonic() - began)

    def start(self, *command: str, **environ: str) -> subprocess.Popen[str]:
        """The caller ends it, or waits for its end."""
        path = f"{self.folder / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            command, cwd=self.folder, env={**os.environ, **self.environ, "PATH": path, **environ}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def spooled(self) -> list[Path]:
        """What waits to be sent."""
        return [path for path in Path(self.environ["BERS_EMIT_SPOOL"]).glob("*.ndjson") if path.stat().st_size]


def stop(process: subprocess.Popen[str]) -> None:
    """End a tool that watches, with the processes that it has started."""
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)


def project(root: Path, package: Path, files: Mapping[str, str], **environ: str) -> Project:
    """Make a project below ``root``, where Node finds the tools and, as ``@bers/emit``, the package."""
    (root / "node_modules").symlink_to(package / "node_modules")
    own = root / "project" / "node_modules" / "@bers"
    own.mkdir(parents=True)
    (own / "emit").symlink_to(package)
    (own.parent / ".bin").symlink_to(package / "node_modules" / ".bin")
    made = Project(root / "project", {"BERS_EMIT_SPOOL": str(root / "spool"), **environ})
    made.write(files)
    return made


def told(server: Operator, kind: str, name: str) -> list[Mapping[str, Any]]:
    """What the server keeps of the builds or runs of that name, the oldest first."""
    label = {"build": "build", "testsuiterun": "suite"}[kind]
    found = server.data(f"records?type={kind}.*&limit=500")
    own = [one for one in reversed(found) if not one["type"].endswith(".measured")]  # Those follow from others.
    return [one for one in own if one.get("labels", {}).get(label) == name]


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.05)


def change(project: Project, files: Mapping[str, str], noticed: Callable[[], object]) -> None:
    """Change files until that was noticed: a tool that has just begun to watch may not look yet."""
    for _ in range(10):
        project.write(files)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if noticed():
                return
            time.sleep(0.05)
    raise AssertionError(f"nothing came of a change of {', '.join(files)}")


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)
