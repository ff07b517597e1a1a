"""The package as others get it: packed, installed in a fresh folder, imported, required, and checked by TypeScript."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

import bers.web
from bers_emit.testing import Receiver
from tests.emit_js.node import Node

PROGRAMS = Path(__file__).parent / "programs"
SERVED = Path(bers.web.__file__).parent / "built" / "emit.js"


TOLD = """
const module = await import('{module}');
const page = new EventTarget();
const bridge = module.bridge(page, {{ url: '{url}', key: 'a-key', source: '/page/shop', events: ['lint-completed'] }});
for (const name of [...module.EVENTS, 'lint-completed']) module.dispatch(name, {{ duration: 930, cost: 5n }}, page);
console.log(await bridge.flush(), Object.keys(module).sort().join());
"""


def done(command: list[str], folder: Path) -> str:
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture
def installed(built: Path, tmp_path: Path) -> Path:
    """A fresh folder in which the packed package is installed."""
    packed = json.loads(done(["npm", "pack", "--json", "--ignore-scripts", "--pack-destination", str(tmp_path)], built))
    names = {file["path"] for file in packed[0]["files"]}
    assert {"package.json", "README.md", "dist/esm/index.js", "dist/cjs/index.d.ts"} <= names
    assert not [name for name in names if name.startswith(("src", "node_modules", "tests"))]
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / "package.json").write_text('{"name": "fresh", "private": true}')
    done(["npm", "install", "--offline", "--no-audit", "--no-fund", str(next(tmp_path.glob("*.tgz")))], folder)
    assert [path.name for path in (folder / "node_modules").iterdir() if path.name[0] != "."] == ["@bers"]
    return folder


def test_it_installs_alone_and_loads_by_import_and_by_require(installed: Path) -> None:
    names = "attach,bridge,dispatch,emit,emitter,Emitter,EVENTS,flush"
    show = f"console.log([{names}].map((one) => typeof one).join())"
    kinds = "function,function,function,function,function,function,object,function\n"
    (installed / "a.mjs").write_text(f"import {{ {names} }} from '@bers/emit'; {show}")
    (installed / "b.cjs").write_text(f"const {{ {names} }} = require('@bers/emit'); {show}")
    (installed / "c.mjs").write_text("import { bridge } from '@bers/emit/browser'; console.log(typeof bridge)")
    (installed / "d.cjs").write_text("console.log(typeof require('@bers/emit/browser').bridge)")
    assert [done(["node", name], installed) for name in ("a.mjs", "b.cjs")] == [kinds, kinds]
    assert [done(["node", name], installed) for name in ("c.mjs", "d.cjs")] == ["function\n", "function\n"]


@pytest.mark.parametrize("name", ["right.mts", "right.cts"])
def test_its_types_hold_for_both(name: str, installed: Path, built: Path) -> None:
    program = """
        import { attach, emit, emitter, flush } from '@bers/emit'
        import { bridge, type Detail } from '@bers/emit/browser'
        const kept: boolean = emit('deployment.finished', { service: 'chat', outcome: 'success', duration_ms: 94_000 })
        const sent: Promise<boolean> = flush(5)
        const undo: () => void = attach(new EventTarget(), emitter({ source: '/ci/local' }))
        const detail: Detail = { duration: 930, phases: { bundle: 410 } }
        export { bridge, detail, kept, sent, undo }
    """
    (installed / name).write_text(program)
    compiler = built / "node_modules" / "typescript" / "bin" / "tsc"
    types = f"--typeRoots {built / 'node_modules' / '@types'} --types node"
    options = f"--noEmit --strict --module nodenext --target es2022 --lib es2022,dom {types}".split()
    done(["node", str(compiler), *options, name], installed)
    (installed / name).write_text(program.replace("94_000", "'94 s'"))
    with pytest.raises(AssertionError, match="is not assignable to type 'number'"):
        done(["node", str(compiler), *options, name], installed)


def test_the_server_hands_out_what_the_package_has(built: Path, receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "served.mjs").write_text(SERVED.read_text())
    for module in (tmp_path / "served.mjs", built / "dist" / "esm" / "browser.js"):
        program = TOLD.format(module=module.as_uri(), url=receiver.url)
        said = done(["node", "--input-type=module", "-e", program], tmp_path)
        assert said == "true Bridge,EVENTS,attach,bridge,dispatch\n"
    (served, own) = [
        [{name: value for name, value in event.items() if name not in ("id", "time")} for event in json.loads(body)]
        for _, body in receiver.requests
    ]
    assert served == own and len(own) == 10
    assert {headers["authorization"] for headers, _ in receiver.requests} == {"Bearer a-key"}
    assert set(receiver.paths) == {"/api/monitoring/ingest"}


def test_nothing_names_a_registry(built: Path) -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        assert not re.findall(r"https?://[^\"\s/]*(?:registry|npm)[^\"\s]*", (built / name).read_text())


@pytest.mark.parametrize("name", sorted(path.name for path in PROGRAMS.glob("*.test.mjs")))
def test_nodes_own_tests_pass(name: str, node: Node) -> None:
    path = node.folder / name
    path.write_text((PROGRAMS / name).read_text())
    done(["node", "--test", "--test-reporter=spec", str(path)], node.folder)
