"""`bers reload`: the changed configuration, taken by the server that runs."""

from __future__ import annotations

import sys
from typing import Any

import click

from bers.cli import client, output


@click.command()
@click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def reload(json_: bool, url: str | None) -> None:
    """Let the server read its configuration again. Exit code 1 where that is wrong, and nothing has changed."""
    try:
        found: dict[str, Any] = client.ask("POST", "config/reload", url=url, within=120)
    except client.Denied as denied:
        click.echo(str(denied), err=True)
        sys.exit(1)
    if json_:
        output.as_json(found)
        return
    click.echo(f"generation {found['generation']}, {found['hash']}, of {found['file']}")
    for line in _told(found["reload"]["changed"]):
        click.echo(line)


def _told(changed: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for kind in ("sources", "processors", "sinks", "pipelines"):
        lines += [f"{kind}.{key}: {what}" for what, keys in changed[kind].items() for key in keys]
    lines += [f"{path}: changed" for path in changed["settings"]]
    return lines or ["nothing differs"]
