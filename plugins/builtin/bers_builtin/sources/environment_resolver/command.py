"""``bers env detect``: the environment of a project, without a server."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bers_builtin.sources.environment_resolver.detection import Candidate, Detection


@click.group()
def env() -> None:
    """Look at the environment of a project."""


@env.command()
@click.option("--root", default=".", show_default=True, metavar="DIR", help="Project directory.")
@click.option(
    "--dialect",
    type=click.Choice(["vite", "dotenv-flow", "next"]),
    default="vite",
    show_default=True,
    help="Whose order of .env files holds.",
)
@click.option("--fallback", metavar="ENVIRONMENT", help="Environment where nothing names one.")
@click.option("--explain", is_flag=True, help="Show every place that was asked.")
@click.option("--json", "as_json", is_flag=True, help="With --explain: JSON instead of a table.")
def detect(root: str, dialect: str, fallback: str | None, explain: bool, as_json: bool) -> None:
    """Detect the environment of a project and validate its configuration.

    Prints JSON. Exits with 0 if an environment was found and its configuration is valid, with 1 if not.
    """
    from time import perf_counter

    import msgspec

    from bers import BersError
    from bers_builtin.sources.environment_resolver.config import EnvironmentResolverConfig
    from bers_builtin.sources.environment_resolver.resolver import Resolver

    options = {"root": root, "dialect": dialect, "fallback": fallback}
    try:
        resolver = Resolver(msgspec.convert(options, EnvironmentResolverConfig))
        start = perf_counter()
        detection = resolver.detect()
        ms = (perf_counter() - start) * 1000
        resolution, _ = resolver.resolve(detection.environment, 0.0)
    except (msgspec.ValidationError, OSError) as exc:
        raise BersError(str(exc)) from exc
    answer: dict[str, Any] = {
        "environment": detection.environment,
        "source": detection.source,
        "confidence": detection.confidence,
        "detectionTime": round(ms, 3),
        "validationErrors": [{"path": one.path, "message": one.message} for one in resolution.errors],
    }
    if explain and not as_json:
        _explain(detection)
    elif explain:
        explained = {"candidates": msgspec.to_builtins(detection.candidates), "conflicts": list(detection.conflicts)}
        click.echo(json.dumps(answer | explained, indent=2))
    else:
        click.echo(json.dumps(answer, indent=2))
    if explain and not as_json:
        for error in resolution.errors:
            click.echo(f"invalid: {error.path}: {error.message}")
    if detection.environment is None or resolution.errors:
        if detection.environment is None:
            click.echo(detection.reason, err=True)
        sys.exit(1)


def _explain(detection: Detection) -> None:
    heads = ("place", "name", "value", "environment", "accepted", "why")
    rows = [_row(one) for one in detection.candidates]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*heads)
        for row in rows:
            table.add_row(*map(Text, row))
        Console().print(table)
    else:
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        for row in (heads, *rows):
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if detection.environment:
        click.echo(f"{detection.environment}, by {detection.source}, confidence {detection.confidence}")
    for conflict in detection.conflicts:
        click.echo(f"conflict: {conflict}")


def _row(candidate: Candidate) -> tuple[str, ...]:
    accepted = "yes" if candidate.accepted else "no"
    return (candidate.source, candidate.name, candidate.value, candidate.environment or "-", accepted, candidate.why)
