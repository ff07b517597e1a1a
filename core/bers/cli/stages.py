"""`bers stages`: how they are doing, and starting one anew."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from bers.cli import client, output
from bers.cli.groups import Group
from bers.units import format_duration


@click.group(cls=Group)
def stages() -> None:
    """How stages are doing, and starting one anew."""


@stages.command("list")
@click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def list_(json_: bool, url: str | None) -> None:
    """Every stage, its state, and why it is in it."""
    report: list[dict[str, Any]] = client.ask("GET", "stages", url=url)
    if json_:
        output.as_json(report)
    else:
        output.table(
            ["stage", "use", "state", "since", "restarts", "left", "why", "last error"], list(map(row, report))
        )


@stages.command()
@click.argument("key")
@click.option("--url", help="The server; that of this directory where not said.")
def restart(key: str, url: str | None) -> None:
    """Start a stage anew, at once, and out of quarantine. KEY is what pipelines.yaml calls it."""
    answer: dict[str, Any] = client.ask("POST", f"stages/{key.rpartition('/')[2]}/restart", url=url)
    click.echo(f"starting anew: {', '.join(answer['restarted'])}")


def row(one: dict[str, Any]) -> list[Any]:
    """One stage as a row of a table."""
    return [
        f"{one['pipeline']}/{one['key']}" if one.get("pipeline") else one["key"],
        one["use"],
        one["state"],
        format_duration(one["since"] // 1000),
        one["restarts"],
        one["restartsLeft"],
        one.get("reason"),
        error(one),
    ]


def error(one: dict[str, Any]) -> str | None:
    """What it failed of last, with the time of it."""
    if not one.get("error"):
        return None
    at = datetime.fromtimestamp(one["errorAt"] / 1000).strftime("%m-%d %H:%M:%S") if one.get("errorAt") else ""
    return f"{at} {one['error']}".strip()
