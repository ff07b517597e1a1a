"""`bers dora`: how software is delivered, in DORA's five figures."""

from __future__ import annotations

import re
from typing import Any

import click

from bers.cli import client, output
from bers.units import format_value

_NAMES = {
    "changeLeadTime": "change lead time",
    "deploymentFrequency": "deployment frequency",
    "changeFailRate": "change fail rate",
    "failedDeploymentRecoveryTime": "failed deployment recovery time",
    "deploymentReworkRate": "deployment rework rate",
}
_SPACED = re.compile("[A-Z]")
_LONG = (("d", 86_400_000.0), ("h", 3_600_000.0))


@click.command()
@click.option("--period", default="30d", show_default=True, help="How far back, as in 7d or 30d.")
@click.option("--service", help="Only the deployments of this service.")
@click.option("--environment", "--env", help="Only those to this environment, instead of all of production.")
@click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def dora(period: str, service: str | None, environment: str | None, json_: bool, url: str | None) -> None:
    """DORA's five figures of a period, and what is missing for them."""
    asked = {"period": period, "service": service, "environment": environment}
    found: dict[str, Any] = client.ask("GET", "dora", asked, url=url, within=60)
    if json_:
        output.as_json(found)
        return
    counts = found["counts"]
    output.facts(
        {
            "period": f"{found['period']}, of which {found['coverage']['percent']:.3g} % have records",
            "deployments": f"{counts['deployments']}, {counts['failed']} of them failed",
            "environments": ", ".join(found["environments"]) or "none",
        }
    )
    rows = [
        [
            name,
            _shown(figure["value"], figure["unit"]),
            figure["n"],
            f"{figure['band']} ({figure['bandYear']})" if figure["band"] else "",
            _shown(figure["previous"]["value"], figure["unit"]),
            ", ".join(_left_out(figure["completeness"], figure["excluded"])),
        ]
        for key, name in _NAMES.items()
        for figure in [found["metrics"][key]]
    ]
    output.table(["metric", "value", "n", "band", "before", "left out"], rows)


def _left_out(flags: list[str], excluded: dict[str, int]) -> list[str]:
    """What is missing, and how much of what was left out; a flag whose number is told is not told again."""
    counted = {
        "unattributed_incidents": "unattributedIncidents",
        "unknown_commits": "unknownCommit",
        "unrecovered": "unrecovered",
    }
    return [
        *(flag for flag in flags if counted.get(flag) not in excluded),
        *(f"{_SPACED.sub(lambda found: f' {found[0].lower()}', reason)}: {n}" for reason, n in excluded.items()),
    ]


def _shown(value: float | None, unit: str) -> str:
    if value is not None and unit == "ms":
        for name, long in _LONG:
            if value >= 2 * long:
                return f"{value / long:.3g} {name}"
    text = format_value(value, unit)
    return f"{text} a day" if value is not None and unit.endswith("/d") else text
