"""Every route that a server describes, asked with text of ours wherever it takes any: a new one is walked by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import httpx2
import msgspec

from tests.acceptance.conftest import Operator

ENDLESS = ("/events", "/tap")
"""How the paths of streams end."""

_FREE = 45
"""So many characters a field has to take for our text to fit."""


class Way(NamedTuple):
    """A method of a path, as a listener describes it."""

    surface: str
    method: str
    path: str
    operation: Mapping[str, Any]
    document: Mapping[str, Any]


def ways(operator: Operator) -> Iterator[Way]:
    """Every way in of every listener."""
    for surface in operator.ports:
        document = operator.get("/openapi.json", surface).json()
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if method in ("get", "post", "put", "patch", "delete"):
                    yield Way(surface, method, path, operation, document)


def walk(operator: Operator, text: str, *, known: Mapping[str, str]) -> Iterator[tuple[str, httpx2.Response]]:
    """Ask everything with our text in every place that takes any, and with it only where anything goes.

    ``known`` are good values for the parts of paths. Deletions come last, so that there is something to be told of.
    """
    every = [way for way in ways(operator) if not way.path.endswith(ENDLESS)]
    for way in sorted(every, key=lambda way: (way.method == "delete", way.method != "get")):
        places: dict[str, Mapping[str, str]] = {"in the path": {}, "in the rest": known}
        for place, values in places.items():
            if place == "in the path" and "{" not in way.path:
                continue
            for eager in (True, False):
                path, fields = way.path, _Filling(way.document, text, eager=eager)
                for name in [part[1:-1] for part in path.split("/") if part.startswith("{")]:
                    path = path.replace(f"{{{name}}}", values.get(name, text.split(maxsplit=1)[0]))
                query = fields.query(way.operation)
                body = fields.body(way.operation)
                reply = httpx2.request(
                    way.method.upper(),
                    operator.url(path, way.surface),
                    params=query,
                    content=None if body is None else msgspec.json.encode(body),
                    headers={"Content-Type": "application/json"},
                    timeout=30,
                )
                yield f"{way.method} {way.path} on {way.surface}, {place}{' and everywhere' if eager else ''}", reply


class _Filling:
    """Fills in what a description asks for. Whoever is eager puts text where its pattern, or a list, forbids it too."""

    def __init__(self, document: Mapping[str, Any], text: str, *, eager: bool) -> None:
        self._document = document
        self._text = text
        self._eager = eager

    def query(self, operation: Mapping[str, Any]) -> dict[str, str]:
        wanted = [one for one in map(self._found, operation.get("parameters", ())) if one["in"] == "query"]
        return {one["name"]: _plain(self._of(one.get("schema", {}))) for one in wanted}

    def body(self, operation: Mapping[str, Any]) -> Any:
        content = self._found(operation.get("requestBody", {})).get("content", {})
        return self._of(content["application/json"]["schema"]) if "application/json" in content else None

    def _of(self, schema: Mapping[str, Any], depth: int = 0) -> Any:
        schema = self._found(schema)
        if depth > 8:
            return None
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                some = [one for one in schema[several] if self._found(one).get("type") != "null"]
                return self._of(some[0], depth + 1)
        if "const" in schema or ("enum" in schema and not self._eager):
            return schema.get("const", schema.get("enum", [None])[0])
        match schema.get("type"):
            case "object":
                fields = {
                    name: self._of(one, depth + 1)
                    for name, one in schema.get("properties", {}).items()
                    if self._eager or name in schema.get("required", ()) or self._is_free(self._found(one))
                }
                more: Any = schema.get("additionalProperties") or {}  # A schema, or whether there may be any.
                return fields | ({self._text: self._of(more, depth + 1)} if more is not True and more else {})
            case "array":
                return [self._of(schema.get("items", {}), depth + 1)]
            case "integer" | "number":
                return schema.get("default") or schema.get("minimum") or 1
            case "boolean":
                return schema.get("default", False)
            case _:
                given = [*schema.get("examples", ()), schema.get("default")]
                return self._text if self._eager or self._is_free(schema) else given[0] or self._text

    def _is_free(self, schema: Mapping[str, Any]) -> bool:
        """Whether any text goes there, as far as the description says."""
        if schema.get("type") != "string" or schema.get("maxLength", _FREE) < _FREE:
            return False
        return not {"pattern", "enum", "const", "format", "default"} & schema.keys() or schema.get("default") == ""

    def _found(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in schema:
            place: Any = self._document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                place = place[part]
            schema = place
        return schema


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
