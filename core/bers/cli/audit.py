"""`bers audit`: who changed what, and whether that is still as it was written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bers.audit import anchor_of, prove_offline
from bers.cli import client, output
from bers.cli.groups import Group
from bers.cli.reading import config_option, kept
from bers.errors import BersError
from bers.identity_key import known_key

_json = click.option("--json", "json_", is_flag=True, help="Print it as JSON, with times in milliseconds since 1970.")


@click.group(cls=Group)
def audit() -> None:
    """List who changed what, and verify that nobody changed that."""


@audit.command("list")
@click.option("--limit", default=100, show_default=True, help="The most rows.")
@click.option("--before", type=int, help="Only rows older than the one of this number.")
@click.option("--principal", default="", help="Only what this principal did.")
@click.option("--target", default="", help="Only what was done to this, such as the id of an alert.")
@_json
@click.option("--url", help="The server; that of this directory where not said.")
def list_(limit: int, before: int | None, principal: str, target: str, json_: bool, url: str | None) -> None:
    """Who changed what, newest first."""
    asked = {"limit": limit, "before": before, "principal": principal, "target": target}
    answer = client.whole("GET", "audit", asked, url=url)
    rows: list[dict[str, Any]] = answer["data"]
    if json_:
        output.as_json(rows)
        return
    output.table(
        ["id", "time", "principal", "from", "operator", "action", "target", "outcome", "notes"],
        [
            [
                *(row["id"], output.moment(row["time"]), row["principal"], row["address"], row["operator"]),
                *(row["action"], row["target"], row["outcome"], row["notes"]),
            ]
            for row in rows
        ],
    )
    if not rows:
        click.echo("no rows", err=True)
    elif (older := answer["meta"]["next"]) is not None:
        click.echo(f"older rows: --before {older}", err=True)


@audit.command()
@click.option("--head", default="", metavar="ROW:HASH", help="A row as it was noted elsewhere, to be found again.")
@click.option("--url", help="Ask this server; without, the data directory is read, beside a server or without one.")
@_json
@config_option
def verify(head: str, url: str | None, json_: bool, config: Path | None) -> None:
    """Whether every row is as it was written, and none is missing; exit code 1 where that is not so.

    Note what it says of the last row at a place that this machine cannot write to: whoever can write to the data
    directory has the key that lies there, and can write the whole chain anew. --head finds that out.
    """
    try:
        anchor = anchor_of(head) if head else None
    except ValueError as exc:
        raise BersError(f"--head: {exc}") from exc
    if url:
        report: dict[str, Any] = client.ask("GET", "audit/verify", {"head": head or None}, url=url, within=120)
    else:
        import msgspec

        data_dir = kept(config)
        report = msgspec.to_builtins(prove_offline(data_dir / "state.db", known_key(data_dir), anchor))
    if json_:
        output.as_json(report)
    else:
        _tell(report)
    sys.exit(0 if report["sound"] else 1)


def _tell(report: dict[str, Any]) -> None:
    for fault in report["faults"]:
        click.echo(output.printable(f"row {fault['row']}: {fault['fault']}. {fault['remedy']}"))
    for note in report["notes"]:
        click.echo(output.printable(note))
    rows = f"rows {report['first']} to {report['last']}" if report["rows"] else "no rows"
    sealed = (
        "" if report["sealed"] == report["rows"] else f", {report['sealed']} of them with a seal of this node's key"
    )
    verdict = "as they were written" if report["sound"] else "NOT as they were written"
    click.echo(f"{rows}{sealed}: {verdict}" if report["rows"] or not report["sound"] else rows)
    if report["rows"]:
        click.echo(f"the last is {report['last']}:{report['hash']}")
