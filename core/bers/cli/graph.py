"""`bers graph`: the pipelines, drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import click

from bers.cli import client, output
from bers.cli.reading import config_option, read
from bers.config import Plan


@click.command()
@config_option
@click.option(
    "--format", "form", type=click.Choice(["mermaid", "dot", "table"]), default="mermaid", help="How it is drawn."
)
@click.option("--live", is_flag=True, help="Draw what a server runs: with the records per second, and states.")
@click.option("--json", "json_", is_flag=True, help="Print the edges as JSON.")
@click.option("--url", help="With --live: the server; that of this directory where not said.")
def graph(config: Path | None, form: str, live: bool, json_: bool, url: str | None) -> None:
    """Draw the pipelines, as mermaid, dot or a table."""
    drawing = _running(client.ask("GET", "pipelines", url=url)) if live else _declared(read(config))
    if json_:
        output.as_json([way.as_json(live=live) for way in drawing.ways])
    elif form == "table":
        headers = ["from", "to", "records/s", "state"] if live else ["from", "to", "pipeline"]
        output.table(headers, [[way.start, way.end, way.label, *way.state] for way in drawing.ways])
    elif form == "dot":
        click.echo("\n".join(_dot(drawing)))
    else:
        click.echo("\n".join(_mermaid(drawing)))


class _Way(NamedTuple):
    start: str
    end: str
    label: str
    state: tuple[str, ...] = ()
    """How what it leads to is, where that is known."""

    def as_json(self, *, live: bool) -> dict[str, Any]:
        said: dict[str, Any] = {"from": self.start, "to": self.end}
        return {**said, "rate": float(self.label), "state": self.state[0]} if live else {**said, "pipeline": self.label}


class _Drawing(NamedTuple):
    ways: Sequence[_Way]
    states: Mapping[str, str] = {}
    """How every place is, where that is known."""


def _declared(plan: Plan) -> _Drawing:
    return _Drawing([_Way(*edge) for edge in dict.fromkeys(_edges(plan))])


def _running(report: Mapping[str, Any]) -> _Drawing:
    states = {node["id"]: node["state"] or "" for node in report["nodes"]}
    ways = [_Way(one["from"], one["to"], f"{round(one['rate'], 1):g}", (states[one["to"]],)) for one in report["links"]]
    return _Drawing(ways, states)


def _dot(drawing: _Drawing) -> Iterator[str]:
    yield "digraph bers {"
    yield "  rankdir=LR;"
    for name, state in drawing.states.items():
        yield f'  "{name}" [label="{_titled(name, state, chr(92) + "n")}", color={_colour(state) or "black"}];'
    for way in drawing.ways:
        yield f'  "{way.start}" -> "{way.end}" [label="{_labelled(way)}"];'
    yield "}"


def _mermaid(drawing: _Drawing) -> Iterator[str]:
    yield "flowchart LR"
    for way in drawing.ways:
        start, end = (_titled(name, drawing.states.get(name, ""), "<br>") for name in (way.start, way.end))
        yield f'  {_id(way.start)}["{start}"] -->|{_labelled(way)}| {_id(way.end)}["{end}"]'
    for name, state in drawing.states.items():
        if colour := _colour(state):
            yield f"  style {_id(name)} stroke:{colour}"


def _titled(name: str, state: str, newline: str) -> str:
    return f"{name}{newline}{state}" if state else name


def _labelled(way: _Way) -> str:
    return f"{way.label}/s" if way.state else way.label


def _colour(state: str) -> str:
    return {"": "", "ok": "green", "starting": "orange", "degraded": "orange"}.get(state, "red")


def _edges(plan: Plan) -> Iterator[tuple[str, str, str]]:
    for name, pipeline in plan.pipelines.items():
        # A processor is made per pipeline, so it is drawn per pipeline.
        inner = [f"{key} ({name})" for key in pipeline.processors]
        first = inner[:1] or pipeline.sinks
        for source in pipeline.sources:
            for end in first:
                yield source, end, name
        for start, end in pairwise(inner):
            yield start, end, name
        for sink in pipeline.sinks if inner else ():
            yield inner[-1], sink, name


def _id(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
