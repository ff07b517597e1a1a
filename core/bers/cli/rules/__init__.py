"""`bers rules`: rules as code, checked, tested and tried out on what was recorded; and the rules of a server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bers.cli import client, output
from bers.cli.groups import Group
from bers.cli.rules.backtesting import backtest
from bers.cli.rules.files import json_option, part, plain, printable, ruled_by
from bers.cli.rules.testing import test
from bers.errors import ConfigError, Fault


@click.group(cls=Group)
def rules() -> None:
    """Check rules, test them, and try them out on what was recorded."""


rules.add_command(test)
rules.add_command(backtest)


@rules.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@json_option
def check(file: Path | None, json_: bool) -> None:
    """Say everything that is wrong with the rules of FILE. Exit code 1 where something is.

    FILE is a pipelines.yaml, or has the options of an alert engine alone, as in `rules: [...]`; ./pipelines.yaml, or
    else the shipped one, where it is not said. Hints tell of rules that can never fire.
    """
    try:
        ruled = ruled_by(file)
    except ConfigError as error:
        _say_faults(error.faults, json_)
        sys.exit(1)
    if json_:
        output.as_json({"ok": True, "faults": [], "hints": [plain(one) for one in ruled.hints]})
        return
    for hint in ruled.hints:
        click.echo(f"hint: {hint}", err=True)
    watches = part("watches").Watches(ruled.config, ruled.metrics).by_id.values()
    own = sum(not watch.default for watch in watches)
    click.echo(f"{ruled.document.name}: {own} rules of its own, {len(watches) - own} that come with us; nothing wrong")


@rules.command("list")
@json_option
@click.option("--url", help="The server; that of this directory where not said.")
def list_(json_: bool, url: str | None) -> None:
    """The rules of a server that runs, and what each makes of things now."""
    found: list[dict[str, Any]] = client.ask("GET", "alerts/rules", url=url)
    if json_:
        output.as_json(found)
        return
    columns = ["name", "severity", "state", "type", "condition", "alerts", "hint"]
    rows = [[one.get(column) for column in columns] for one in found]
    output.table(["rule", "severity", "state", "watches", "condition", "alerts", "hint"], rows)


def _say_faults(faults: Sequence[Fault], json_: bool) -> None:
    if json_:
        output.as_json({"ok": False, "faults": [plain(one) for one in faults], "hints": []})
    else:
        click.echo("\n".join(printable(str(one)) for one in faults), err=True)
