"""`bers graph`: the pipelines, drawn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click

from bers.cli import output
from bers.cli.start import config_option, read
from bers.config import Plan


@click.command()
@config_option
@click.option(
    "--format", "form", type=click.Choice(["mermaid", "dot"]), default="mermaid", help="The language drawn in."
)
@click.option("--json", "json_", is_flag=True, help="Print the edges as JSON.")
def graph(config: Path | None, form: str, json_: bool) -> None:
    """Draw the pipelines, as mermaid or dot."""
    plan = read(config)
    edges = list(dict.fromkeys(_edges(plan)))
    if json_:
        output.as_json([{"from": start, "to": end, "pipeline": name} for start, end, name in edges])
    elif form == "dot":
        click.echo("digraph bers {\n  rankdir=LR;")
        for start, end, name in edges:
            click.echo(f'  "{start}" -> "{end}" [label="{name}"];')
        click.echo("}")
    else:
        click.echo("flowchart LR")
        for start, end, name in edges:
            click.echo(f'  {_id(start)}["{start}"] -->|{name}| {_id(end)}["{end}"]')


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
