"""`bers tap`: what passes the pipelines, while it does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import IO, Any

import click

from bers.cli import client, output


@click.command()
@click.argument("pattern", required=False, default="")
@click.option(
    "--where",
    default="",
    help="Conditions joined by `and`: FIELD, one of = != > >= < <= ~ (matches) !~, and a value.",
)
@click.option(
    "--at",
    default="bus",
    show_default=True,
    help="Where: bus; PIPELINE, what it reads; PIPELINE/STAGE, what comes out of it.",
)
@click.option("--limit", type=click.IntRange(0), default=0, help="End after so many records; 0 is never.")
@click.option("--every", type=click.IntRange(1), default=1, help="Of so many records, show one.")
@click.option("--json", "json_", is_flag=True, help="Print a JSON object a line; so it is in a pipe.")
@click.option("--url", help="The server; that of this directory where not said.")
def tap(pattern: str, where: str, at: str, limit: int, every: int, json_: bool, url: str | None) -> None:
    """See what passes the pipelines, while it does. Ctrl-C ends it.

    PATTERN is an event type, or several with commas; `build.*` is all of a kind. Nothing is configured, and nothing
    that passes waits: where more passes than can be shown, the number of what was skipped is.
    """
    fields = {"pattern": pattern, "where": where, "at": at, "limit": limit, "every": every}
    plain = json_ or not sys.stdout.isatty()
    with suppress(KeyboardInterrupt):
        client.whole("GET", "tap", fields, url=url, read=lambda reply: _show(reply, plain=plain))


def _show(reply: IO[bytes], *, plain: bool) -> None:
    for line in reply:
        said: dict[str, Any] = json.loads(line)
        if "end" in said:
            return
        if "skipped" in said:
            click.echo(f"{said['skipped']} records were skipped: {said['reason']}", err=True)
        for kind in ("event", "window"):
            if kind in said:
                raw = output.escaped(line.decode().rstrip())
                text = raw if plain else (_event if kind == "event" else _window)(said[kind])
                if not _print(text):
                    return
    click.echo("the server has closed the tap", err=True)


def _print(text: str) -> bool:
    """Print a line at once; False where nobody reads any more, as behind `| head`."""
    try:
        click.echo(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end.
        return False
    return True


def _event(event: Mapping[str, Any]) -> str:
    outcome = event.get("outcome", "")
    colour = {"success": "green", "failure": "red", "error": "red", "timeout": "red"}.get(outcome, "yellow")
    named = [
        *(f"{name}={_short(value)}" for name, value in event.get("measures", {}).items()),
        *(f"{name}={value}" for name, value in event.get("labels", {}).items()),
    ]
    return _line(
        (_clock(event["time"]), {"dim": True}),
        (event["type"], {"bold": True}),
        (outcome, {"fg": colour}),
        (event.get("subject", ""), {}),
        (event.get("environment") or "", {}),
        (f"{_short(event['duration_ms'])} ms" if "duration_ms" in event else "", {}),
        (event.get("reason") or "", {}),
        (" ".join(named), {"dim": True}),
        (f"{event['source']} {event['id']}", {"dim": True}),
    )


def _window(window: Mapping[str, Any]) -> str:
    labels = ",".join(f"{name}={value}" for name, value in window["labels"].items())
    mean = window["sum"] / window["count"] if window["count"] else 0.0
    figures = {"count": window["count"], "mean": mean, "min": window["min"], "max": window["max"]}
    return _line(
        (_clock(window["start"]), {"dim": True}),
        (window["metric"] + (f"{{{labels}}}" if labels else ""), {"bold": True}),
        (" ".join(f"{name}={_short(value)}" for name, value in figures.items()), {}),
        (f"{_short(window['width'])}s", {"dim": True}),
    )


def _line(*parts: tuple[str, Mapping[str, Any]]) -> str:
    return "  ".join(click.style(output.printable(text), **style) for text, style in parts if text)


def _clock(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds):%H:%M:%S.%f}"[:-3]
    except (OverflowError, OSError, ValueError):
        return str(seconds)


def _short(value: float) -> str:
    return f"{value:.6g}"
