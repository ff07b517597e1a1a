"""`bers openapi`: what a listener answers, for those who generate clients."""

from __future__ import annotations

from pathlib import Path

import anyio
import click

from bers.cli import output
from bers.cli.reading import config_option, read


@click.command()
@config_option
@click.option(
    "--surface",
    type=click.Choice(["control", "health", "metrics"]),
    default="control",
    help="The listener that is described.",
)
def openapi(config: Path | None, surface: str) -> None:
    """Print the OpenAPI description of a listener. No server is needed."""
    from bers.supervisor import Supervisor
    from bers.web import api
    from bers.web.doors import doors
    from bers.web.openapi import document

    async def make() -> Supervisor:  # In an event loop, which a node needs to be there, though it does not run.
        return Supervisor(read(config))

    node = anyio.run(make)
    api.offer(node.directory, api.Api(node, {}))
    routes = [route for route in node.directory.routes if route.is_answered(surface)]
    taking = doors((spec for _, spec in node.plan.catalogue.all()), node.running).values()
    taken = [*taking] if surface == "control" else None
    output.as_json(document(routes, doors=taken, closed=node.plan.settings.access.enabled))
