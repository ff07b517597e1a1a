"""`bers silence`: what nobody wants to be told of for a while, and when maintenance is."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import Any

import click

from bers.cli import client, output
from bers.cli.groups import Group
from bers.errors import BersError

_url = click.option("--url", help="The server; that of this directory where not said.")
_json = click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
_operator = click.option("--operator", default=getpass.getuser, show_default="you", help="Who says so.")


@click.group(cls=Group)
def silence() -> None:
    """Silence alerts for a while, list silences and maintenance windows, and end silences."""


@silence.command()
@click.argument("matchers", nargs=-1)
@click.option("--for", "duration", help="How long, as in 30m, 2h or 1d.")
@click.option("--comment", required=True, help="Why.")
@click.option("--alert", "alert", help="Silence what this alert is about, by its id.")
@click.option("--from", "starts", help="When it begins, as in 2026-12-01T22:00 by your clock; now where not said.")
@click.option("--until", "ends", help="When it ends, in place of --for.")
@_operator
@_json
@_url
def add(
    matchers: tuple[str, ...],
    duration: str | None,
    comment: str,
    alert: str | None,
    starts: str | None,
    ends: str | None,
    operator: str,
    json_: bool,
    url: str | None,
) -> None:
    """Silence the alerts of which all MATCHERS hold: 'rule~^Build', environment=staging, 'labels.service!=pay'."""
    meant = [*matchers]
    if alert:
        found = client.ask(
            "GET", "alerts", {"status": "pending,active,acknowledged,suppressed", "limit": 10_000}, url=url
        )
        known = {one["id"]: one for one in found}
        if alert not in known:
            raise BersError(f"--alert: there is no living alert {alert!r}; `bers alerts list` has those there are")
        meant += [f"rule={known[alert]['rule']}", f"fingerprint={known[alert]['fingerprint']}"]
    fields = {
        "matchers": meant,
        "comment": comment,
        "duration": duration,
        "starts": _milliseconds("--from", starts),
        "ends": _milliseconds("--until", ends),
        "operator": operator,
    }
    made: dict[str, Any] = client.ask("POST", "silences", fields, url=url)
    if json_:
        output.as_json(made)
        return
    held = made["suppressing"]
    now = "; nothing that is alive is meant" if not held else f"; {held} alert{'' if held == 1 else 's'} suppressed"
    click.echo(f"{made['id']}: {made['state']} until {output.moment(made['ends'])}{now}")


@silence.command("list")
@click.option("--state", help="active, pending or expired; several with commas; the first two where not said.")
@_json
@_url
def list_(state: str | None, json_: bool, url: str | None) -> None:
    """Silences, the newest first; then maintenance windows, with the time that each is open next."""
    silences: list[dict[str, Any]] = client.ask("GET", "silences", {"state": state}, url=url)
    windows: list[dict[str, Any]] = client.ask("GET", "maintenance", url=url)
    if json_:
        output.as_json({"silences": silences, "maintenance": windows})
        return
    rows = [
        [
            *(one["id"], one["state"], ", ".join(one["matchers"]), output.moment(one["starts"])),
            *(output.moment(one["ends"]), one["createdBy"], one["comment"], one["suppressing"]),
        ]
        for one in silences
    ]
    if rows:
        output.table(["id", "state", "matchers", "starts", "ends", "by", "comment", "suppressing"], rows)
    else:
        click.echo("no silences", err=True)
    planned = [
        [
            *(one["name"], one["state"], ", ".join(one["matchers"]) or "every alert", *_next(one)),
            *(f"{one['schedule']} {one['timeZone']}", one["suppressing"]),
        ]
        for one in windows
    ]
    if planned:
        output.table(["window", "state", "matchers", "starts", "ends", "schedule", "suppressing"], planned)


@silence.command()
@click.argument("id")
@_operator
@click.option("--notes", default="", help="Why.")
@_url
def end(id: str, operator: str, notes: str, url: str | None) -> None:
    """Let a silence be over: what is still bad fires."""
    over = client.ask("DELETE", f"silences/{id}", {"operator": operator, "notes": notes}, url=url)
    click.echo(output.printable(f"{over['id']}: {over['state']}"))


def _next(window: dict[str, Any]) -> tuple[str, str]:
    coming = window["next"]
    return (output.moment(coming[0]["starts"]), output.moment(coming[0]["ends"])) if coming else ("", "")


def _milliseconds(option: str, text: str | None) -> int | None:
    """A time as people write it, by the clock of this machine unless it says otherwise."""
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError as exc:
        raise BersError(f"{option}: {text!r} is no time; write a day and a time, as in 2026-12-01T22:00") from exc
