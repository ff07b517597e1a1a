"""`bers metrics`: figures of every metric, or the series of one, as a table or as a file."""

from __future__ import annotations

import shutil
import sys
from datetime import datetime
from typing import IO, Any

import click

from bers.cli import client, output
from bers.units import format_value


@click.command()
@click.argument("type", required=False)
@click.option("--period", default="5m", show_default=True, help="How far back, as in 5m, 24h or 7d.")
@click.option("--step", help="Time between two points, as in 1m.")
@click.option("--points", type=int, help="How many points a line may have at most.")
@click.option("--labels", help="Only series with these labels: kind=raw|gzip,environment!=production.")
@click.option("--by", help="Series that agree in these labels become one line; '' makes one of all.")
@click.option("--fields", help="What points tell: count, sum, average, min, max, last, p50, p95, p99.")
@click.option("--csv", "format", flag_value="csv", help="Write CSV, with units in the header.")
@click.option("--ndjson", "format", flag_value="ndjson", help="Write an object a line.")
@click.option("--json", "json_", is_flag=True, help="Print what the server says as JSON.")
@click.option("--url", help="The server; that of this directory where not said.")
def metrics(
    type: str | None, period: str, format: str | None, json_: bool, url: str | None, **chosen: str | int | None
) -> None:
    """Every metric over a period, or the series of one: TYPE is its name.

    To keep a week of builds for a spreadsheet: bers metrics build_performance --period 7d --csv > builds.csv
    """
    if type is None and any(value is not None for value in chosen.values()):
        raise click.UsageError(f"{', '.join(f'--{name}' for name in chosen)} choose series: say of which TYPE")
    path = f"metrics/{type}" if type else "metrics"
    fields = {"period": period, **chosen}
    if format:
        client.whole("GET", path, {**fields, "format": format}, url=url, within=60, read=_copy)
        return
    found: dict[str, Any] = client.ask("GET", path, fields, url=url, within=60)
    if json_:
        output.as_json(found)
    elif type:
        _series(found)
    else:
        _summaries(found)


def _copy(reply: IO[bytes]) -> None:
    """Write what comes as it comes, however long it is."""
    shutil.copyfileobj(reply, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def _summaries(found: dict[str, Any]) -> None:
    keys = ("current", "average", "p50", "p95", "p99", "target")
    rows = [
        [name, one["healthStatus"], one["count"], *(format_value(one[key], one["unit"]) for key in keys), one["trend"]]
        for name, one in found.items()
        if one["current"] is not None
    ]
    output.table(["metric", "status", "count", *keys, "trend"], rows)


def _series(found: dict[str, Any]) -> None:
    figures = found["fields"][1:]
    rows = [
        [
            datetime.fromtimestamp(start / 1000).astimezone().isoformat(timespec="seconds"),
            ",".join(f"{name}={value}" for name, value in line["labels"].items()),
            *(value if figure == "count" else format_value(value, found["unit"]) for figure, value in told),
        ]
        for line in found["series"]
        for start, *values in line["points"]
        for told in [list(zip(figures, values, strict=True))]
    ]
    output.table(["time", "labels", *figures], rows)
