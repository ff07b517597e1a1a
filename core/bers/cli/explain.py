"""`bers explain`: the path of one event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import click

from bers.cli import client, output
from bers.units import format_duration

_COLOURS = {
    "passed on": "green",
    "delivered": "green",
    "changed": "cyan",
    "left out": "yellow",
    "waiting": "yellow",
    "not given": "yellow",
    "failed": "red",
}


@click.command()
@click.argument("event_id", required=False, default="")
@click.option("--source", default="", help="Its source, where several may have used the id.")
@click.option("--position", type=click.IntRange(1), help="In place of the id: its position in the journal, `seq`.")
@click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def explain(event_id: str, source: str, position: int | None, json_: bool, url: str | None) -> None:
    """Follow one event, and what each stage made of it.

    Processors are asked again, in instances of their own, about this event alone; sinks are asked what they have.
    """
    if bool(event_id) == bool(position):
        raise click.UsageError("Give either EVENT_ID or --position.")
    path = f"explain/at/{position}" if position else "explain"
    fields = {} if position else {"id": event_id, "source": source}
    found: dict[str, Any] = client.ask("GET", path, fields, url=url)
    if json_:
        output.as_json(found)
        return
    for line in _told(found):
        click.echo(line)


def _told(found: Mapping[str, Any]) -> Iterator[str]:
    event = found["event"]
    where = f"at position {found['position']} of the journal" if found["foundIn"] == "journal" else "in the store"
    name = output.printable(f"{event['type']} {event['id']}")
    yield click.style(name, bold=True) + output.printable(f" of {event['source']}")
    yield f"  taken in {_time(found['received'])}, found {where}"
    for name in ("subject", "environment", "outcome", "reason", "duration_ms", "measures", "labels"):
        if event.get(name):
            yield output.printable(f"  {name}: {_value(event[name])}")
    yield ""
    yield click.style(f"source {found['owner']}", bold=True)
    for text in found["reading"]:
        yield output.printable(f"  {text}")
    if cause := found["cause"]:
        yield output.printable(f"  Its cause is {cause['type']} {cause['id']}, at position {cause['position']}.")
    for one in found["follows"]:
        measured = f": {_value(one['measures'])}" if one["measures"] else ""
        follows = f"  {one['type']} {one['id']} follows from it, at position {one['position']}{measured}"
        yield output.printable(follows)
    for pipeline in found["pipelines"]:
        yield ""
        if not pipeline["takes"]:
            yield click.style(f"pipeline {pipeline['pipeline']} does not take it", dim=True)
            yield output.printable(f"  {pipeline['why']}")
            continue
        yield click.style(f"pipeline {pipeline['pipeline']} takes it", bold=True)
        for stage in pipeline["stages"]:
            outcome = click.style(stage["outcome"], fg=_COLOURS.get(stage["outcome"]))
            yield f"  {stage['stage']}: {outcome}"
            for text in stage["says"]:
                yield output.printable(f"    {text}")
            for window in stage["windows"]:
                yield output.printable(f"    {_window(window)}")


def _window(window: Mapping[str, Any]) -> str:
    labels = ", ".join(f"{name}={value}" for name, value in window["labels"].items())
    name = f"{window['metric']}{{{labels}}}" if labels else window["metric"]
    kept = [(format_duration(tier["width"]), format_duration(tier["keep"])) for tier in window.get("tiers", ())]
    tiers = ", ".join(f"{width} for {keep}" for width, keep in kept)
    said = f"{name} = {window['last']:g} in {format_duration(window['width'])}"
    return f"{said}, kept per {tiers}" if tiers else said


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={_value(inner)}" for name, inner in value.items())  # pyright: ignore
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().isoformat(sep=" ", timespec="milliseconds")
