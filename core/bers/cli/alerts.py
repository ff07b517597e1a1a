"""`bers alerts`: what fires, and who looks after it."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import Any

import click

from bers.cli import client, output


@click.group()
def alerts() -> None:
    """List, acknowledge and resolve alerts."""


@alerts.command("list")
@click.option(
    "--status", help="pending, active, acknowledged, suppressed or resolved; active and acknowledged by default."
)
@click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def list_(status: str | None, json_: bool, url: str | None) -> None:
    """The alerts that somebody should look at."""
    path = "alerts/history" if status == "resolved" else "alerts"
    asked = {} if status == "resolved" else {"status": status}
    found: list[dict[str, Any]] = client.ask("GET", path, asked, url=url)
    if json_:
        output.as_json(found)
        return
    rows = [
        [one["id"], one["severity"], one["status"], _local(one["timestamp"]), one["title"], one["message"]]
        for one in found
    ]
    output.table(["id", "severity", "status", "since", "alert", "why"], rows)
    if not rows:
        click.echo("no alerts", err=True)


@alerts.command()
@click.argument("id")
@click.option("--operator", default=getpass.getuser, show_default="you", help="Who looks after it.")
@click.option("--notes", default="", help="What is known so far.")
@click.option("--url", help="The server; that of this directory where not said.")
def ack(id: str, operator: str, notes: str, url: str | None) -> None:
    """Say that somebody looks after an alert."""
    _tell(id, "acknowledge", operator, notes, url)


@alerts.command()
@click.argument("id")
@click.option("--operator", default=getpass.getuser, show_default="you", help="Who mended it.")
@click.option("--notes", default="", help="What was done.")
@click.option("--url", help="The server; that of this directory where not said.")
def resolve(id: str, operator: str, notes: str, url: str | None) -> None:
    """Say that an alert is over."""
    _tell(id, "resolve", operator, notes, url)


def _tell(id: str, verb: str, operator: str, notes: str, url: str | None) -> None:
    alert = client.ask("POST", f"alerts/{id}/{verb}", {"operator": operator, "notes": notes}, url=url)
    click.echo(output.printable(f"{alert['title']}: {alert['status']}"))


def _local(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
