"""`bers dead`: what could not be delivered, and what is to become of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from bers.cli import client, output
from bers.cli.groups import Group

F = TypeVar("F", bound=Callable[..., Any])

PATIENCE = 120.0
"""Seconds that a replay may take."""

_url = click.option("--url", help="The server; that of this directory where not said.")
_json = click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")


def _which(command: F) -> F:
    """The options that say which letters are meant."""
    for name, help in (
        ("--reason", "Only those that are so: rejected, gave_up or undecided."),
        ("--stage", "Only those of this stage."),
        ("--pipeline", "Only those of this pipeline."),
    ):
        command = click.option(name, default="", help=help)(command)
    return command


def _meant(command: F) -> F:
    """Everything by which letters are named that something is done with: numbers, all, or some that are so."""
    command = _which(_json(_url(command)))
    command = click.option("--all", "every", is_flag=True, help="All of them.")(command)
    return click.argument("ids", type=int, nargs=-1)(command)


@click.group(cls=Group)
def dead() -> None:
    """List, show, replay and drop dead letters."""


@dead.command("list")
@_which
@click.option("--limit", default=100, show_default=True, help="The most letters.")
@_json
@_url
def list_(pipeline: str, stage: str, reason: str, limit: int, json_: bool, url: str | None) -> None:
    """What could not be delivered, newest first."""
    asked = {**_said(pipeline, stage, reason), "limit": limit}
    answer = client.whole("GET", "dead-letters", asked, url=url)
    letters: list[dict[str, Any]] = answer["data"]
    if json_:
        output.as_json(letters)
        return
    headers = ["id", "pipeline", "stage", "reason", "records", "attempts", "last", "error"]
    output.table(
        headers,
        [[output.moment(one["lastTime"]) if name == "last" else one[_FIELDS.get(name, name)] for name in headers]
         for one in letters],
    )  # fmt: skip
    total = answer["meta"]["total"]
    if not letters:
        click.echo("no dead letters", err=True)
    elif total > len(letters):
        click.echo(f"{len(letters)} of {total} dead letters", err=True)


@dead.command()
@click.argument("id", type=int)
@_json
@_url
def show(id: int, json_: bool, url: str | None) -> None:
    """A dead letter, with its records."""
    letter: dict[str, Any] = client.ask("GET", f"dead-letters/{id}", url=url)
    if json_:
        output.as_json(letter)
        return
    records = {name: letter.pop(name) for name in ("events", "windows")}
    times = {name: output.moment(letter[name]) for name in ("firstTime", "lastTime")}
    output.facts({**letter, **times})
    output.as_json(records)


@dead.command()
@_meant
def replay(
    ids: tuple[int, ...], every: bool, pipeline: str, stage: str, reason: str, json_: bool, url: str | None
) -> None:
    """Hand in dead letters again, each to its stage alone. Exit code 1 where something was not taken."""
    said = _said(pipeline, stage, reason)
    _check_meant(ids, every, said)
    if ids:
        reports = [client.ask("POST", f"dead-letters/{id}/replay", url=url, within=PATIENCE) for id in ids]
    else:
        reports = [client.ask("POST", "dead-letters/replay", {**said, "limit": 1000}, url=url, within=PATIENCE)]
    report = {name: sum(one[name] for one in reports) for name in ("delivered", "left", "remaining")}
    error = next((one["error"] for one in reversed(reports) if one.get("error")), None)
    if json_:
        output.as_json({**report, "error": error})
    else:
        click.echo(f"{_records(report['delivered'])} delivered, {_records(report['left'])} not taken")
        if error:
            click.echo(output.printable(error), err=True)
    sys.exit(1 if report["remaining"] else 0)


@dead.command()
@_meant
def drop(
    ids: tuple[int, ...], every: bool, pipeline: str, stage: str, reason: str, json_: bool, url: str | None
) -> None:
    """Forget dead letters for good."""
    said = _said(pipeline, stage, reason)
    _check_meant(ids, every, said)
    paths = [f"dead-letters/{id}" for id in ids] or ["dead-letters"]
    dropped = sum(client.ask("DELETE", path, said, url=url)["dropped"] for path in paths)
    if json_:
        output.as_json({"dropped": dropped})
    else:
        click.echo(f"{dropped} dropped")


_FIELDS: Mapping[str, str] = {"error": "lastError"}


def _said(pipeline: str, stage: str, reason: str) -> dict[str, str]:
    named = {"pipeline": pipeline, "stage": stage, "reason": reason}
    return {name: value for name, value in named.items() if value}


def _check_meant(ids: tuple[int, ...], every: bool, said: Mapping[str, str]) -> None:
    """That exactly one way was chosen to say which letters: nobody drops all of them by an empty variable."""
    if sum((bool(ids), every, bool(said))) != 1:
        raise click.UsageError("say which: numbers of letters, or --pipeline, --stage and --reason, or --all")


def _records(number: int) -> str:
    return "1 record" if number == 1 else f"{number} records"
