"""`bers health`: how checks are, what became of them, and giving one that rests another try."""

from __future__ import annotations

import sys
from typing import Any

import click

from bers.cli import client, output
from bers.cli.groups import Group
from bers.units import format_duration

_GOOD = ("healthy", "degraded")


@click.group(cls=Group)
def health() -> None:
    """How checks are, what became of them, and giving one that rests another try.

    `list` and `show` exit with 0 where it is healthy or degraded, and with 1 where it is unhealthy or unknown.
    """


@health.command("list")
@click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def list_(json_: bool, url: str | None) -> None:
    """Every check, with how it is and why. Exit code 1 where the whole is unhealthy or unknown."""
    found: dict[str, Any] = client.ask("GET", "health", url=url)
    if json_:
        output.as_json(found)
    else:
        rows = [
            [one["name"], one["status"], "yes" if one["critical"] else "", one["breaker"]["state"],
             _share(one["availability"].get("7d")), _flags(one), one["message"]]
            for one in found["checks"]
        ]  # fmt: skip
        headers = ["check", "status", "critical", "breaker", "7 days", "note", "what it found"]
        output.table(headers, rows)
        for advice in found["recommendations"]:
            click.echo(output.printable(advice), err=True)
    sys.exit(0 if found["overallStatus"] in _GOOD else 1)


@health.command()
@click.argument("name")
@click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def show(name: str, json_: bool, url: str | None) -> None:
    """All that is known of one check. Exit code 1 where it is unhealthy or unknown, or there is none of that name."""
    found: dict[str, Any] = client.ask("GET", f"health/{name}", url=url)
    if json_:
        output.as_json(found)
    else:
        _show(found)
    sys.exit(0 if found["status"] in _GOOD else 1)


@health.command()
@click.argument("name", required=False)
@click.option("--period", default="24h", show_default=True, help="How far back: 24h, 7d, or milliseconds; 90d at most.")
@click.option("--limit", default=100, show_default=True, help="How many times are told, the newest.")
@click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def history(name: str | None, period: str, limit: int, json_: bool, url: str | None) -> None:
    """What became of a check, or of the whole where NAME is not said; the newest first."""
    path = f"health/{name}/history" if name else "health/history"
    found: dict[str, Any] = client.ask("GET", path, {"period": period, "limit": limit}, url=url)
    if json_:
        output.as_json(found)
        return
    rows = [
        [output.moment(one["from"]), _lasted(one["duration"]), one["status"], one["message"]] for one in found["spans"]
    ]
    output.table(["since", "for", "status", "why"], rows)
    known = found["downtimeMs"] or found["upMs"]
    share = f"{_share(found)} of the time it was known" if known else "no time that is known"
    outages = f"{found['outages']} outage{'' if found['outages'] == 1 else 's'}"
    longest = f", the longest {_lasted(found['longestMs'])}" if found["outages"] else ""
    click.echo(f"well for {share}; {outages}{longest}; unknown for {_lasted(found['unknownMs'])}, "
               f"and nobody there for {_lasted(found['absentMs'])}", err=True)  # fmt: skip


@health.command()
@click.argument("name", required=False)
@click.option("--url", help="The server; that of this directory where not said.")
def reset(name: str | None, url: str | None) -> None:
    """Close the breaker of a check, or every breaker where NAME is not said, and look again at once."""
    middle = f"{name}/" if name else ""
    found: dict[str, Any] = client.ask("POST", f"health/circuit-breakers/{middle}reset", url=url)
    click.echo(output.printable(", ".join(found["reset"]) or "no breaker was open"))


def _show(found: dict[str, Any]) -> None:
    breaker, confirming = found["breaker"], found["confirming"]
    facts: dict[str, Any] = {
        "check": found["name"],
        "status": found["status"],
        "since": output.moment(found["since"]) if found["since"] else None,
        "what it found": found["message"],
        "error": found["error"] if found["error"] != found["message"] else None,
        "what to do": found["remediation"],
        "critical": "yes" if found["critical"] else "no",
        "looked at": f"{output.moment(found['timestamp'])}, in {found['duration']:g} ms",
        "breaker": breaker["state"],
        "next attempt": output.moment(breaker["nextAttempt"]) if breaker["nextAttempt"] else None,
        "depends on": ", ".join(found["dependsOn"]),
        "flapping": f"yes; it counts as {found['countsAs']}" if found["flapping"] else None,
        "not certain yet": confirming and f"{confirming['status']}, {confirming['looks']} of {confirming['needed']}",
        "description": found["description"],
        **{f"availability {period}": _share(share) for period, share in found["availability"].items()},
        **{str(key): value for key, value in found["details"].items() if not isinstance(value, (dict, list))},
    }
    output.facts({name: value for name, value in facts.items() if value not in (None, "")})


def _flags(one: dict[str, Any]) -> str:
    if one["flapping"]:
        return "flapping"
    if one["confirming"]:
        return f"maybe {one['confirming']['status']}"
    because = one["details"].get("becauseOf")
    return f"because of {because}" if because else ""


def _share(share: dict[str, Any] | None) -> str:
    """A percentage, rounded down: 99.999 % is not 100 %."""
    return "" if share is None or share["percent"] is None else f"{int(share['percent'] * 100) / 100:g} %"


def _lasted(milliseconds: int) -> str:
    """A duration for people: the two largest units."""
    left, parts = milliseconds // 1000, list[str]()
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= seconds and len(parts) < 2:
            parts.append(f"{left // seconds}{unit}")
            left %= seconds
    return " ".join(parts) or format_duration(milliseconds / 1000) if milliseconds else "0s"
