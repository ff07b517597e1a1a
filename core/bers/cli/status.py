"""`bers status`: what runs, and how it is doing."""

from __future__ import annotations

import sys
from typing import Any

import click

from bers.cli import client, output, stages
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
            "error budget": output.budget(availability),
            "SSE clients": report["server"]["sseClients"],
            "configuration": _configuration(report["configuration"]),
        }
    )
    for warning in report["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    click.echo()
    checks = [[one["name"], one["status"], one["breaker"]["state"], one["message"]] for one in health["checks"]]
    output.table(["check", "status", "breaker", "what it found"], checks)
    rows = [stages.row(one) for one in report["stages"]]
    output.table(["stage", "use", "state", "since", "restarts", "left", "why", "last error"], rows)
    held = report["held"]
    lags = [[name, lag, held.get(name)] for name, lag in report["pipelines"].items()]
    lags += [[name, None, why] for name, why in held.items() if name not in report["pipelines"]]
    output.table(["pipeline", "lag", "stands still, because"], lags)
    for name, why in report["pluginsFailed"].items():
        click.echo(f"plugin {name!r} could not be loaded: {why}", err=True)
    if report["givenUp"]:
        names = ", ".join(report["givenUp"])
        click.echo(f"work that did not end when it was told to, and goes on: {names}; `bers restart` ends it", err=True)


def _configuration(found: dict[str, Any]) -> str:
    failed = "" if found["result"] == "ok" else "; the last reload failed, see below"
    return f"{found['hash']}, generation {found['generation']}, of {found['file']}{failed}"
