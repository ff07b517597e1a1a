"""OpenAPI 3.1, made of the operations: what is answered, by what, and in which shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

import bers
from bers.decoding import MEDIA
from bers.directory import Route
from bers.operations import AnyOperation, Nothing, Operation, Page
from bers.web.ingest import Receipt

INGEST = "/api/monitoring/ingest"

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `bers keys create`."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
    "session": {"type": "apiKey", "in": "cookie", "name": "bers", "description": "A session, opened at `/login`."},
}
"""How somebody may say who they are, where `access.enabled` asks for it."""

_REF = "#/components/schemas/{name}"


class Problem(msgspec.Struct, rename="camel", omit_defaults=True):
    """One thing that is wrong with a request."""

    path: str
    message: str


class Error(msgspec.Struct, rename="camel", omit_defaults=True):
    """Why a request was refused, and what would be right."""

    code: str
    message: str
    hint: str = ""
    known: list[str] = []
    details: list[Problem] = []


def document(routes: Sequence[Route], *, ingest: bool) -> dict[str, Any]:
    """Describe the routes of one listener."""
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    known = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, known)
    if ingest:
        paths[INGEST] = {"post": _ingest(known)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "BERS Monitoring", "version": bers.__version__, "license": {"name": "Apache-2.0"}},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": components, "securitySchemes": SCHEMES},
        "security": [{name: []} for name in SCHEMES],
    }


def _types(routes: Sequence[Route]) -> list[Any]:
    types: list[Any] = [Error, Receipt]
    for route in routes:
        if isinstance(route.operation, Operation):
            types += [one for one in (route.operation.request, route.operation.response, route.operation.beside) if one]
        else:
            types.append(route.operation.request)
    return [one for n, one in enumerate(types) if one is not Page and all(one is not other for other in types[:n])]


def _operation(route: Route, known: dict[int, Any]) -> dict[str, Any]:
    operation = route.operation
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _name(route),
        "tags": [route.owner],
        "x-scope": operation.scope,
        "parameters": _parameters(route),
        "responses": _refusals(known, public=_public(operation)),
    }
    if _public(operation):
        described["security"] = []
    if not isinstance(operation, Operation):
        described["responses"]["200"] = {"description": "The stream.", "content": {operation.media: {}}}
        return described
    if operation.response is Page:
        described["responses"]["200"] = {"description": "The document.", "content": {"*/*": {}}}
    else:
        described["responses"]["200"] = _answer(known[id(operation.response)], operation, known)
        if operation.surface == "health":
            described["responses"]["503"] = described["responses"]["200"] | {"description": "Unhealthy or unknown."}
    if operation.method == "POST" and operation.request is not Nothing:
        described["requestBody"] = {"content": {"application/json": {"schema": _body(route)}}}
    return described


def _parameters(route: Route) -> list[dict[str, Any]]:
    inside = _in_path(route)
    post = isinstance(route.operation, Operation) and route.operation.method == "POST"
    found: list[dict[str, Any]] = []
    for field in msgspec.structs.fields(route.operation.request):
        if field.encode_name in inside or not post:
            schema, _ = msgspec.json.schema_components([field.type], ref_template=_REF)
            found.append(
                {
                    "name": field.encode_name,
                    "in": "path" if field.encode_name in inside else "query",
                    "required": field.encode_name in inside or field.required,
                    "schema": schema[0],
                }
            )
    return found


def _body(route: Route) -> dict[str, Any]:
    inside = _in_path(route)
    fields = [one for one in msgspec.structs.fields(route.operation.request) if one.encode_name not in inside]
    properties = {one.encode_name: msgspec.json.schema_components([one.type])[0][0] for one in fields}
    return {
        "type": "object",
        "properties": properties,
        "required": [one.encode_name for one in fields if one.required],
    }


def _in_path(route: Route) -> set[str]:
    return {part[1:-1] for part in route.path.split("/") if part.startswith("{")}


def _answer(schema: Any, operation: Operation[Any, Any, Any], known: dict[int, Any]) -> dict[str, Any]:
    envelope = _envelope({"success": {"const": True}, "data": schema}, "data")
    if operation.beside:
        envelope = {"allOf": [envelope, known[id(operation.beside)]]}
    return {"description": "The answer.", "content": {"application/json": {"schema": envelope}}}


def _refusals(known: dict[int, Any], *, public: bool = False) -> dict[str, Any]:
    said = {} if public else {"401": "Nobody is known by what was sent."}
    said |= {"403": "Who asks may not."}
    said |= {"429": "Too many, or too much; `Retry-After` says when to come again."}
    said |= {"default": "Refused: why, and what would be right."}
    return {status: _problem(known, text) for status, text in said.items()}


def _public(operation: AnyOperation) -> bool:
    return isinstance(operation, Operation) and operation.public


def _problem(known: dict[int, Any], description: str) -> dict[str, Any]:
    envelope = _envelope({"success": {"const": False}, "error": known[id(Error)]}, "error")
    return {
        "description": description,
        "content": {"application/json": {"schema": envelope}},
    }


def _envelope(properties: dict[str, Any], required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**properties, "timestamp": {"type": "integer"}, "requestId": {"type": "string"}},
        "required": ["success", required, "timestamp", "requestId"],
    }


def _ingest(known: dict[int, Any]) -> dict[str, Any]:
    event = {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}}
    body = {"oneOf": [event, {"type": "array", "items": event}]}
    receipt = _envelope({"success": {"const": True}, "data": known[id(Receipt)]}, "data")
    return {
        "summary": "Hand in events: one, or an array of them.",
        "operationId": "post_ingest",
        "tags": ["node"],
        "x-scope": "ingest",
        "requestBody": {"required": True, "content": {media: {"schema": body} for media in MEDIA}},
        "responses": {
            "202": {"description": "Taken, and safe.", "content": {"application/json": {"schema": receipt}}},
            **_refusals(known),
        },
    }


def _name(route: Route) -> str:
    words = route.path.removeprefix("/api/monitoring").replace("{", "").replace("}", "").replace(".", "/").split("/")
    return "_".join([route.method.lower(), *(word.replace("-", "_") for word in words if word)])
