"""`bers status`: what runs, and how it is doing."""

from __future__ import annotations

import sys
from typing import Any

import click

from bers.cli import client, output
from bers.units import format_duration


@click.command()
@click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def status(json_: bool, url: str | None) -> None:
    """What runs, and how it is doing. Exit code 1 where it is unhealthy or unknown."""
    health: dict[str, Any] = client.ask("GET", "health", url=url)
    report: dict[str, Any] = client.ask("GET", "dashboard/status", url=url)
    if json_:
        output.as_json({"health": health, "status": report})
    else:
        _show(health, report)
    sys.exit(0 if health["overallStatus"] in ("healthy", "degraded") else 1)


def _show(health: dict[str, Any], report: dict[str, Any]) -> None:
    availability = report["availability"]
    output.facts(
        {
            "status": health["overallStatus"],
            "environment": report["environment"],
            "version": report["version"],
            "uptime": format_duration(report["server"]["uptime"] // 1000),
            "availability": f"{availability['percent']} % over {format_duration(availability['window'] // 1000)}",
            "SSE clients": report["server"]["sseClients"],
        }
    )
    click.echo()
    checks = [[one["name"], one["status"], one["breaker"]["state"], one["message"]] for one in health["checks"]]
    output.table(["check", "status", "breaker", "what it found"], checks)
    stages = [[one["key"], one["use"], one["state"], one["restarts"], one.get("error")] for one in report["stages"]]
    output.table(["stage", "use", "state", "restarts", "last error"], stages)
    output.table(["pipeline", "lag"], list(report["pipelines"].items()))
