"""The JSON Schema of the whole file, for editors: every key, every stage that is installed, every option."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bers.config.settings import Settings
from bers.config.wiring import PipelineSettings
from bers.delivery import Delivery
from bers.health.settings import KINDS, NAME
from bers.plain import as_list, as_object
from bers.plugins import Catalogue, Kind
from bers.schemas import json_schema
from bers.stages import AnySpec

_KINDS: tuple[tuple[Kind, str], ...] = (("source", "sources"), ("processor", "processors"), ("sink", "sinks"))
_REFERENCE = {"type": "string", "pattern": r"\$\{(env|file):"}


def file_schema(catalogue: Catalogue) -> dict[str, Any]:
    """The JSON Schema (2020-12) of pipelines.yaml, with the stages of a catalogue."""
    schema = json_schema(Settings)
    properties: dict[str, Any] = schema["properties"]
    _name_checks(properties["health"]["properties"]["checks"], catalogue)
    properties["metrics"]["propertyNames"] = {"enum": sorted(catalogue.metrics())}
    definitions: dict[str, Any] = {"delivery": json_schema(Delivery)}
    for kind, key in _KINDS:
        specs = catalogue.specs[kind]
        for name, spec in specs.items():
            definitions[f"{kind}.{name}"] = _stage(spec)
        definitions[kind] = _by_use(kind, specs)
        properties[key] = {
            "type": ["object", "null"],
            "description": f"Every {kind}, by the name that pipelines know it by.",
            "properties": {name: _by_key(kind, name) for name in specs},
            "additionalProperties": {"$ref": f"#/$defs/{kind}"},
        }
    properties["pipelines"] = {
        "type": ["object", "null"],
        "description": "Every pipeline, by its name.",
        "additionalProperties": json_schema(PipelineSettings),
    }
    whole: dict[str, Any] = _with_references(schema | {"$defs": definitions})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "pipelines.yaml", **whole}


def _name_checks(checks: dict[str, Any], catalogue: Catalogue) -> None:
    """Those of stages may be changed; one of another name says what it looks at."""
    one = checks["additionalProperties"]
    for metric in one["properties"]["metric"]["anyOf"]:
        if "properties" in metric:
            metric["properties"]["name"] = {**metric["properties"]["name"], "enum": sorted(catalogue.metrics())}
    checks["properties"] = {
        name: {**one, "not": {"anyOf": [{"required": [kind]} for kind in KINDS]}} for name in sorted(catalogue.checks())
    }
    checks["propertyNames"] = {"anyOf": [{"enum": sorted(catalogue.checks())}, {"pattern": NAME}]}
    # Where a stage is used twice, the check of the second has the stage's name behind its own.
    checks["patternProperties"] = {f"^({'|'.join(sorted(catalogue.checks()))})-.": one}
    checks["additionalProperties"] = {**one, "anyOf": [{"required": [kind]} for kind in KINDS]}


def _stage(spec: AnySpec) -> dict[str, Any]:
    schema = json_schema(spec.config)
    own = {
        "use": {"type": "string", "const": spec.name, "description": "Its type, where its key is another."},
        "primary": {"type": "boolean", "default": False, "description": "Whether it answers for all of its type."},
        "delivery": {"$ref": "#/$defs/delivery"},
    }
    return schema | {"properties": schema["properties"] | own}


def _by_key(kind: Kind, name: str) -> dict[str, Any]:
    """A stage that is named like a type: of that type, unless it says otherwise."""
    return {
        "if": {"type": "object", "required": ["use"]},
        "then": {"$ref": f"#/$defs/{kind}"},
        "else": {"anyOf": [{"$ref": f"#/$defs/{kind}.{name}"}, {"type": "null"}]},
    }


def _by_use(kind: Kind, specs: Mapping[str, AnySpec]) -> dict[str, Any]:
    """A stage that says of which type it is."""
    return {
        "type": "object",
        "required": ["use"],
        "properties": {"use": {"enum": list(specs)}},
        "allOf": [
            {
                "if": {"properties": {"use": {"const": name}}, "required": ["use"]},
                "then": {"$ref": f"#/$defs/{kind}.{name}"},
            }
            for name in specs
        ],
    }


def _with_references(schema: Any, *, within: str = "") -> Any:
    """The same, where whatever is one value may be a reference to one that stands elsewhere, too."""
    if (items := as_list(schema)) is not None:
        return [_with_references(one, within=within) for one in items]
    keys = as_object(schema)
    if keys is None or within in ("default", "examples", "if", "propertyNames"):
        return schema
    made: dict[str, Any] = {
        key: {name: _with_references(inner) for name, inner in value.items()}
        if key in ("properties", "$defs")
        else _with_references(value, within=key)
        for key, value in keys.items()
    }
    strict = made.get("type") in ("integer", "number", "boolean") or "enum" in made or "pattern" in made
    if strict and "const" not in made:
        said = {key: made.pop(key) for key in ("description", "default", "examples") if key in made}
        return {"anyOf": [made, _REFERENCE], **said}
    return made
