"""Where rules are read from: a file of their own, or a whole configuration; and how faults in them are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from bers import plugins
from bers.catalog import Catalog
from bers.cli import output
from bers.cli.reading import CONFIG
from bers.config import Plan, load, plan, shipped
from bers.config.convert import MISSING, convert
from bers.config.located import Document, Steps, read, steps_of
from bers.config.substitution import substitute
from bers.errors import ConfigError, Fault
from bers.plain import as_object
from bers.stages import AnySpec

ENGINE = "alert-engine"

json_option = click.option("--json", "json_", is_flag=True, help="Print it as JSON.")


@dataclass(frozen=True)
class Ruled:
    """The options of an alert engine, from whichever file has them."""

    document: Document
    steps: Steps
    """Where in the file they stand."""
    config: Any
    metrics: Catalog
    value: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The options as they were written."""
    hints: Sequence[Fault] = ()

    def fault(self, path: str, message: str) -> Fault:
        return self.document.fault((*self.steps, *steps_of(path)), message)


def ruled_by(file: Path | None) -> Ruled:
    """The rules of a file; raise ConfigError with everything that is wrong with them."""
    path = file or (Path(CONFIG) if Path(CONFIG).exists() else None)
    document, catalogue = read(path) if path else shipped(), plugins.load()
    if document.value.keys() <= options_of(spec_of(catalogue)) and document.value:
        substitute(document)
        return of_options(document, document.value, catalogue)
    return of_plan(load(path, catalogue) if path else plan(document, catalogue))


def of_options(document: Document, options: Mapping[str, Any], catalogue: plugins.Catalogue) -> Ruled:
    """What stands at the top of a file that has the options of an alert engine alone."""
    spec, metrics = spec_of(catalogue), catalogue.metrics()
    config = convert(document, options, spec.config, ())
    if config is MISSING or document.faults:
        raise ConfigError(document.faults)
    try:
        _verify(spec, config, metrics)
    except ConfigError as error:
        raise ConfigError([document.fault(steps_of(one.path), one.message) for one in error.faults]) from None
    return Ruled(document, (), config, metrics, options)


def of_plan(found: Plan) -> Ruled:
    """The rules of a whole configuration."""
    engines = [one for one in found.stages.sinks.values() if one.spec.name == ENGINE]
    if not engines:
        raise ConfigError([Fault("sinks", f"there is no alert engine; declare {ENGINE!r} under `sinks:`", found.name)])
    chosen = next((one for one in engines if one.primary), engines[0])
    steps: Steps = ("sinks", chosen.key)
    document = Document(found.name, None, dict(found.places))
    hints = [document.fault(at, message) for at, message in found.hints if at[: len(steps)] == steps]
    return Ruled(document, steps, chosen.config, found.metrics, _written(found, chosen.key), hints)


def _written(found: Plan, key: str) -> dict[str, Any]:
    """What a file says of a stage, without what is not the stage's own."""
    sinks = as_object((read(found.path) if found.path else shipped()).value["sinks"]) or {}
    value = as_object(sinks[key]) or {}
    return {name: one for name, one in value.items() if name not in ("use", "delivery", "primary")}


def _verify(spec: AnySpec, config: Any, metrics: Catalog) -> None:
    if spec.verify:
        spec.verify(config, metrics)


def spec_of(catalogue: plugins.Catalogue) -> AnySpec:
    return catalogue.find("sink", ENGINE, path="sinks")


def options_of(spec: AnySpec) -> frozenset[str]:
    import msgspec

    return frozenset(one.encode_name for one in msgspec.structs.fields(spec.config))


def part(name: str) -> Any:
    """A module of the alert engine: core knows no plugin but by name."""
    return import_module(f"bers_builtin.sinks.alert_engine.{name}")


def plain(fault: Fault) -> dict[str, str | int | None]:
    file, line, column = fault.position
    return {"file": file, "line": line, "column": column, "path": fault.path, "message": fault.message}


def printable(text: str) -> str:
    return "\n".join(output.printable(line) for line in text.split("\n"))
