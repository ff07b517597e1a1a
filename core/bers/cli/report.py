"""`bers report`: how a period went."""

from __future__ import annotations

from typing import Any

import click

from bers.cli import client, output
from bers.units import format_duration, format_value


@click.command()
@click.option("--period", default="24h", show_default=True, help="How far back, as in 5m, 24h or 7d.")
@click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def report(period: str, json_: bool, url: str | None) -> None:
    """The performance report of a period, with the availability."""
    found: dict[str, Any] = client.ask("GET", "metrics/report", {"period": period}, url=url)
    status: dict[str, Any] = client.ask("GET", "dashboard/status", url=url)
    availability = status["availability"]
    if json_:
        output.as_json({**found, "uptime": status["server"]["uptime"], "availability": availability})
        return
    output.facts(
        {
            "uptime": format_duration(status["server"]["uptime"] // 1000),
            "availability": f"{availability['percent']} % (target {availability['target']} %)",
            "error budget": output.budget(availability),
        }
    )
    rows = [
        [
            name,
            one["healthStatus"],
            *(format_value(one[key], one["unit"]) for key in ("current", "average", "p95", "target")),
            one["trend"],
        ]
        for name, one in found["metrics"].items()
        if one["current"] is not None
    ]
    output.table(["metric", "status", "current", "average", "p95", "target", "trend"], rows)
    for one in found["recommendations"]:
        click.echo(output.printable(f"- {one['message']}; {one['step']}"))
