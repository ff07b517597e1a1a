"""The emitter runs on Python 3.9, in other people's builds: tried with one, where one is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from bers_emit.testing import Receiver
from tests.acceptance.conftest import ROOT

EMITTER = ROOT / "plugins" / "contrib" / "bers-emit"

# Everything once: each module, each way to report, a fork, a run, and what is left for the next.
EVERYTHING = """
import asyncio, importlib, os, pkgutil, sys
import bers_emit
from bers_emit import aemit, build, deployment, emit, phase, run, suite

assert sys.version_info[:2] == (3, 9)
for module in pkgutil.walk_packages(bers_emit.__path__, "bers_emit."):
    if not module.name.startswith(("bers_emit.__main__", "bers_emit.pytest_plugin")):
        importlib.import_module(module.name)

@build("decorated")
def decorated():
    with phase("bundle"):
        return 7

@suite("awaited")
async def awaited():
    async with deployment("chat", environment="staging"):
        return await aemit("a.b")

assert decorated() == 7
assert asyncio.run(awaited())
if os.fork() == 0:
    emit("a.child")
    os._exit(0)
os.wait()
assert run(["sh", "-c", "exit 3"], kind="test", name="unit") == 3
"""


@cache
def python39() -> str:
    for path in _candidates():
        said = subprocess.run(
            [path, "-c", "import sys; print(sys.version_info[:2] == (3, 9))"],
            capture_output=True,
            text=True,
            check=False,
        )
        if said.stdout.strip() == "True":
            return path
    pytest.skip("there is no Python 3.9 on this machine")


def _candidates() -> Iterator[str]:
    if found := shutil.which("python3.9"):
        yield found
    for folder in (Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions",):
        yield from map(str, sorted(folder.glob("3.9*/bin/python3.9")))


def test_everything_works_once(tmp_path: Path) -> None:
    with Receiver() as receiver:
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("BERS_", "CI"))}
        environ |= {
            "PYTHONPATH": str(EMITTER / "src"),
            "BERS_EMIT_URL": receiver.url,
            "BERS_EMIT_SPOOL": str(tmp_path / "spool"),
        }
        subprocess.run([python39(), "-W", "error", "-c", EVERYTHING], check=True, env=environ, timeout=60)
        command = [python39(), "-m", "bers_emit"]
        done = subprocess.run([*command, "run", "--", "sh", "-c", "exit 143"], check=False, env=environ, timeout=60)
        assert done.returncode == 143
        for arguments in (["a.cli", "--measure", "x=1", "--strict"], ["flush", "--strict"], ["spool", "status"]):
            subprocess.run([*command, *arguments], check=True, env=environ, timeout=60, stdout=subprocess.DEVNULL)
        types = {event["type"] for event in receiver.events}
    assert types == {
        *(
            f"{what}.{when}"
            for what in ("build", "testsuiterun", "deployment", "task")
            for when in ("started", "finished")
        ),
        *("a.b", "a.child", "a.cli"),
    }
    assert receiver.duplicates == 0


@pytest.mark.skipif(not os.environ.get("BERS_TEST_LONG"), reason="it installs pytest for Python 3.9")
def test_all_its_tests_pass_there(tmp_path: Path) -> None:
    subprocess.run([python39(), "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    packages = ["pytest", "hypothesis", "pytest-cov", "pytest-rerunfailures", "pytest-xdist", "brotli"]
    # Installed, and not merely found: the plugin for pytest is an entry point.
    subprocess.run([python, "-m", "pip", "install", "-q", str(EMITTER), *packages], check=True, timeout=300)
    environ = {**os.environ}
    environ.pop("BERS_TEST_LONG")
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(tests, cwd=EMITTER, env=environ, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-4000:]
    sys.stdout.write(done.stdout[-200:])
