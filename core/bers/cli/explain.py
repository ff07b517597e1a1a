"""`bers explain`: the path of one event, or the story of one alert."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import click

from bers.cli import client, output
from bers.units import format_duration

_LAST_TOLD = 10
"""How many of the events behind an alert are the last ones."""

_ALERT = re.compile(r"[0-9a-f]{32}")

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
@click.argument("id", required=False, default="")
@click.option("--source", default="", help="Its source, where several may have used the id.")
@click.option("--position", type=click.IntRange(1), help="In place of the id: its position in the journal, `seq`.")
@click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def explain(id: str, source: str, position: int | None, json_: bool, url: str | None) -> None:
    """Follow one event, and what each stage made of it; or one alert: why it is, and who was told.

    ID is that of an event, or of an alert: then its log is printed, with the events behind it. Of an event, processors
    are asked again, in instances of their own, about it alone; sinks are asked what they have.
    """
    if bool(id) == bool(position):
        raise click.UsageError("Give either ID or --position.")
    if _ALERT.fullmatch(id) and not source:
        with suppress(client.Denied):  # It may be an event that is called so.
            story: dict[str, Any] = client.ask("GET", f"alerts/{id}/story", url=url)
            if json_:
                output.as_json(story)
                return
            for line in _story(story):
                click.echo(line)
            return
    path = f"explain/at/{position}" if position else "explain"
    fields = {} if position else {"id": id, "source": source}
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


def _story(story: Mapping[str, Any]) -> Iterator[str]:
    alert = story["alert"]
    yield click.style(output.printable(alert["title"]), bold=True) + f", {alert['severity']}, {alert['status']}"
    yield output.printable(f"  {alert['message']}")
    if story["condition"]:
        yield output.printable(f"  rule {alert['rule']}: {story['condition']}")
    yield from (output.printable(f"  {name}: {text}") for name, text in alert["annotations"].items())
    yield ""
    yield click.style("what happened to it", bold=True)
    for step in story["log"]:
        told = "" if step["told"] else " (told to nobody)"
        sentence = f"  {_time(step['time'])}  {step['kind']}{told}: {step['reason']['sentence']}"
        yield output.printable(sentence)
    if not story["log"]:
        yield "  nothing yet: it is pending"
    yield ""
    place = {"journal": "of the journal", "store": "the store keeps", "nowhere": ""}[story["foundIn"]]
    yield click.style("events behind it", bold=True) + (f", {place}" if place else "")
    for n, event in enumerate(story["events"]):
        if n and story["leftOut"] and n == len(story["events"]) - _LAST_TOLD:
            yield f"  ... {story['leftOut']} more ..."
        at = f" at position {event['position']}" if event["position"] else ""
        what = f"  {_time(event['received'])}  {event['type']} {event['id']} of {event['source']}{at}: {event['says']}"
        yield output.printable(what)
    if not story["events"]:
        yield "  none is known any more: the journal does not reach back so far, and the store keeps no details of them"
    yield ""
    yield click.style("who was told", bold=True)
    for one in story["told"]:
        when = f" {_time(one['finishedAt'])}" if one["finishedAt"] else ""
        why = f": {one['lastError']}" if one["lastError"] and one["status"] != "delivered" else ""
        yield output.printable(f"  {one['sink']} {one['channel']}, {one['type']}: {one['status']}{when}{why}")
    if not story["told"]:
        yield "  no channel knows of it"


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
