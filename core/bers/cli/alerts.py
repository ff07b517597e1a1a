"""`bers alerts`: what fires, who looks after it, and what became of it."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from bers.cli import client, output
from bers.cli.groups import Group

F = TypeVar("F", bound=Callable[..., Any])

_url = click.option("--url", help="The server; that of this directory where not said.")
_json = click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")


def _said(who: str, what: str) -> Callable[[F], F]:
    """The options with which an operator answers an alert."""

    def added(command: F) -> F:
        command = _url(command)
        command = click.option("--notes", default="", help=what)(command)
        command = click.option("--operator", default=getpass.getuser, show_default="you", help=who)(command)
        return click.argument("id")(command)

    return added


@click.group(cls=Group)
def alerts() -> None:
    """List, show, acknowledge and resolve alerts."""


@alerts.command("list")
@click.option(
    "--status", help="pending, active, acknowledged, suppressed or resolved; active and acknowledged by default."
)
@_json
@_url
def list_(status: str | None, json_: bool, url: str | None) -> None:
    """The alerts that somebody should look at."""
    path = "alerts/history" if status == "resolved" else "alerts"
    asked = {} if status == "resolved" else {"status": status}
    answer = client.whole("GET", path, asked, url=url)
    found: list[dict[str, Any]] = answer["data"]
    if json_:
        output.as_json(found)
        return
    rows = [
        [one["id"], one["severity"], one["status"], output.moment(one["timestamp"]), one["title"], one["message"]]
        for one in found
    ]
    output.table(["id", "severity", "status", "since", "alert", "why"], rows)
    total = answer.get("meta", {}).get("total", len(found))
    if not rows:
        click.echo("no alerts", err=True)
    elif total > len(found):
        click.echo(f"{len(found)} of {total} alerts", err=True)


@alerts.command()
@click.argument("id")
@_json
@_url
def show(id: str, json_: bool, url: str | None) -> None:
    """One alert, whatever became of it."""
    alert: dict[str, Any] = client.ask("GET", f"alerts/{id}", url=url)
    if json_:
        output.as_json(alert)
        return
    output.facts({name: value for name, value in _facts(alert).items() if value not in (None, "")})


@alerts.command()
@click.argument("id")
@_json
@_url
def log(id: str, json_: bool, url: str | None) -> None:
    """Every step in the life of an alert, and why; the oldest first."""
    steps: list[dict[str, Any]] = client.ask("GET", f"alerts/{id}/log", url=url)
    if json_:
        output.as_json(steps)
        return
    rows = [
        [output.moment(one["time"]), one["kind"], one["to"], "told" if one["told"] else "", one["reason"]["sentence"]]
        for one in steps
    ]
    output.table(["time", "step", "status", "told", "why"], rows)
    if not rows:
        click.echo("no steps: it is pending, and may come to nothing", err=True)


@alerts.command()
@_said("Who looks after it.", "What is known so far.")
@click.option("--expires", help="After which time it is active again if it still fires, as in 4h.")
def ack(id: str, operator: str, notes: str, url: str | None, expires: str | None) -> None:
    """Say that somebody looks after an alert."""
    _tell(id, "acknowledge", operator, notes, url, {"expires": expires} if expires else {})


@alerts.command()
@_said("Who gives it back.", "Why.")
def unack(id: str, operator: str, notes: str, url: str | None) -> None:
    """Say that nobody looks after an alert any more."""
    _tell(id, "unacknowledge", operator, notes, url)


@alerts.command()
@_said("Who mended it.", "What was done.")
def resolve(id: str, operator: str, notes: str, url: str | None) -> None:
    """Say that an alert is over."""
    _tell(id, "resolve", operator, notes, url)


alerts.add_command(ack, "acknowledge")
alerts.add_command(unack, "unacknowledge")


def _tell(
    id: str, verb: str, operator: str, notes: str, url: str | None, more: Mapping[str, Any] | None = None
) -> None:
    said = {"operator": operator, "notes": notes, **(more or {})}
    alert = client.ask("POST", f"alerts/{id}/{verb}", said, url=url)
    click.echo(output.printable(f"{alert['title']}: {alert['status']}"))


def _facts(alert: Mapping[str, Any]) -> dict[str, Any]:
    """What there is to say of an alert, in the order in which people ask."""
    cause, taken, ended = alert["suppressedBy"], alert["acknowledgment"], alert["resolution"]
    why = alert["reason"]["sentence"] if alert["reason"] else None
    return {
        "alert": alert["title"],
        "status": alert["status"],
        "severity": alert["severity"],
        "message": alert["message"],
        "why": why if why != alert["message"] else None,
        "told": "yes" if alert["told"] else "no",
        "since": output.moment(alert["timestamp"]),
        "fired": output.moment(alert["firedAt"]) if alert["firedAt"] != alert["timestamp"] else None,
        "count": alert["count"],
        "suppressed by": " ".join(filter(None, (cause["reason"], cause["id"]))) if cause else None,
        "until": output.moment(cause["until"]) if cause and cause["until"] else None,
        "acknowledged": _by(taken) if taken else None,
        "resolved": f"{_by(ended)} ({ended['reason']})" if ended else None,
        "environment": alert["environment"],
        "labels": ", ".join(f"{name}={value}" for name, value in alert["labels"].items()),
        **{name: text for name, text in alert["annotations"].items() if name not in ("alert", "status")},
        "fingerprint": alert["fingerprint"],
        "before it": alert["previousId"],
    }


def _by(answer: Mapping[str, Any]) -> str:
    who = f"{answer['operator']}, " if answer["operator"] else ""
    notes = f": {answer['notes']}" if answer["notes"] else ""
    return f"{who}{output.moment(answer['timestamp'])}{notes}"
