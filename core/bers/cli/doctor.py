"""`bers doctor`: what could be wrong with an installation."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import click

import bers
from bers import lock, plugins
from bers.cli import output
from bers.cli.reading import config_option
from bers.config import Plan, load
from bers.errors import ConfigError

Verdict: TypeAlias = Literal["ok", "warning", "error"]


class Symptom(NamedTuple):
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    found: str


@click.command()
@config_option
@click.option("--json", "json_", is_flag=True, help="Print what was found as JSON.")
@click.option("--outdated", is_flag=True, help="Ask the package index for newer versions too.")
def doctor(config: Path | None, json_: bool, outdated: bool) -> None:
    """Look for what could be wrong with this installation. Exit code 1 where something is."""
    symptoms = [*_look(config), *(_outdated() if outdated else ())]
    if json_:
        output.as_json([one._asdict() for one in symptoms])
    else:
        output.table(["looked at", "verdict", "found"], symptoms)
    sys.exit(1 if any(one.verdict == "error" for one in symptoms) else 0)


def _look(config: Path | None) -> Iterator[Symptom]:
    yield Symptom("python", "ok", f"{platform.python_version()}, bers {bers.__version__}")
    catalogue = plugins.load()
    for name, error in catalogue.failed.items():
        yield Symptom(f"plugin {name}", "error", str(error))
    path = config or (Path("pipelines.yaml") if Path("pipelines.yaml").exists() else None)
    try:
        plan = load(path, catalogue)
    except ConfigError as error:
        yield Symptom("configuration", "error", f"{len(error.faults)} faults; `bers check` names them")
    else:
        yield Symptom("configuration", "ok", plan.name)
        yield from _place(plan)
    yield _consistent()


def _place(plan: Plan) -> Iterator[Symptom]:
    data_dir = Path(plan.settings.data_dir)
    there = next(path for path in (data_dir.absolute(), *data_dir.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        yield Symptom("data directory", "error", f"{data_dir} cannot be written to")
    else:
        pid = lock.holder(data_dir)
        yield Symptom("data directory", "ok", f"{data_dir}, {f'in use by process {pid}' if pid else 'not in use'}")
    free, needed = shutil.disk_usage(there).free, plan.settings.intake.journal.max_bytes
    found = f"{free / 1e9:.1f} GB free, the journal may take {needed / 1e9:.1f} GB"
    yield Symptom("disk", "ok" if free > needed else "warning", found)


def _consistent() -> Symptom:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if "No module named pip" in done.stderr:
        return Symptom("packages", "warning", "pip is not installed here, so they cannot be compared")
    lines = done.stdout.strip().splitlines()
    return Symptom("packages", "ok" if not done.returncode else "error", "; ".join(lines) or done.stderr.strip())


def _outdated() -> Iterator[Symptom]:
    command = [sys.executable, "-m", "pip", "list", "--outdated", "--format", "freeze", "--disable-pip-version-check"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        yield Symptom("newer versions", "warning", "the package index does not answer")
        return
    if done.returncode:
        yield Symptom("newer versions", "warning", "the package index does not answer")
    for line in done.stdout.splitlines():
        name, _, version = line.partition("==")
        yield Symptom(name, "warning", f"{version} is installed, and there is a newer one")
