"""`bers plugins`: the stages there are, and their options."""

from __future__ import annotations

import json
from typing import Any

import click

from bers import plugins as loading
from bers import schemas
from bers.cli import output
from bers.cli.groups import Group
from bers.errors import BersError, unknown
from bers.operations import Operation
from bers.stages import AnySpec


@click.group(cls=Group)
def plugins() -> None:
    """The stages there are, and their options."""


@plugins.command("list")
@click.option("--json", "json_", is_flag=True, help="Print them as JSON.")
def list_(json_: bool) -> None:
    """Every stage that pipelines.yaml may use."""
    catalogue = loading.load()
    rows = [(kind, spec.name, spec.summary) for kind, spec in catalogue.all()]
    if json_:
        output.as_json([{"kind": kind, "name": name, "summary": summary} for kind, name, summary in rows])
    else:
        output.table(["kind", "name", "what it does"], rows)
    for name, error in catalogue.failed.items():
        click.echo(f"plugin {name!r} could not be loaded: {error}", err=True)


@plugins.command()
@click.argument("name")
@click.option("--json", "json_", is_flag=True, help="Print it as JSON, with the JSON Schema of its options.")
def show(name: str, json_: bool) -> None:
    """What a stage does, and every option of it."""
    specs = [(kind, spec) for kind, spec in loading.load().all() if spec.name == name]
    if not specs:
        raise BersError(unknown("stage", name, {spec.name for _, spec in loading.load().all()}))
    kind, spec = specs[-1]
    described = describe(kind, spec)
    if json_:
        output.as_json(described)
        return
    click.echo(f"{name} ({kind}): {spec.summary}\n")
    options = [
        [one["name"], one["type"], "required" if one["required"] else json.dumps(one["default"]), one["description"]]
        for one in described["options"]
    ]
    output.table(["option", "type", "default", "meaning"], options)
    metrics = [[one["name"], one["unit"], one["description"]] for one in described["metrics"]]
    if metrics:
        output.table(["metric", "unit", "meaning"], metrics)
    operations = [[one["method"], one["path"], one["summary"]] for one in described["operations"]]
    if operations:
        output.table(["method", "path", "answer"], operations)


def describe(kind: str, spec: AnySpec) -> dict[str, Any]:
    """Everything that a spec says of itself, as plain values."""
    options = [
        {
            "name": one.name,
            "type": one.type,
            "required": one.default is schemas.REQUIRED,
            "default": None if one.default is schemas.REQUIRED else one.default,
            "description": one.description,
        }
        for one in schemas.options(spec.config)
    ]
    return {
        "kind": kind,
        "name": spec.name,
        "summary": spec.summary,
        "claims": list(spec.claims),
        "options": options,
        "metrics": [
            {
                "name": one.name,
                "unit": one.unit,
                "target": one.target,
                "description": one.description,
                "labels": one.labels,
            }
            for one in spec.metrics
        ],
        "checks": [{"name": one.name, "critical": one.critical, "interval": str(one.interval)} for one in spec.checks],
        "operations": [
            {
                "method": one.method if isinstance(one, Operation) else "GET",
                "path": one.path,
                "scope": one.scope,
                "summary": one.summary,
            }
            for one in spec.operations
        ],
        "schema": schemas.json_schema(spec.config),
    }
