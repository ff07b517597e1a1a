"""`bers schema`: the JSON Schema of pipelines.yaml, for editors."""

from __future__ import annotations

import click

from bers.cli import output


@click.command()
def schema() -> None:
    """Print the JSON Schema of pipelines.yaml, with every stage that is installed, for editors."""
    from bers import plugins
    from bers.config.schema import file_schema

    output.as_json(file_schema(plugins.load()))
