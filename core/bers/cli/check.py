"""`bers check`: everything that is wrong with a configuration."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bers.cli import output
from bers.cli.reading import config_option, read
from bers.errors import ConfigError, Fault


@click.command()
@config_option
@click.option("--json", "json_", is_flag=True, help="Print faults and warnings as JSON.")
def check(config: Path | None, json_: bool) -> None:
    """Say everything that is wrong with pipelines.yaml. Exit code 1 where something is."""
    try:
        plan = read(config)
    except ConfigError as error:
        if json_:
            faults = [_plain(fault) for fault in error.faults]
            output.as_json({"ok": False, "faults": faults, "warnings": []})
        else:
            click.echo(str(error), err=True)
        sys.exit(1)
    if json_:
        output.as_json({"ok": True, "faults": [], "warnings": plan.warnings})
        return
    for warning in plan.warnings:
        click.echo(f"warning: {warning}", err=True)
    stages = plan.stages
    click.echo(
        f"{plan.name}: {len(stages.sources)} sources, {len(stages.processors)} processors, "
        f"{len(stages.sinks)} sinks, {len(plan.pipelines)} pipelines; nothing wrong"
    )


def _plain(fault: Fault) -> dict[str, str | int | None]:
    file, line, column = fault.position
    return {
        "file": file,
        "line": line,
        "column": column,
        "place": fault.place,
        "path": fault.path,
        "message": fault.message,
    }
