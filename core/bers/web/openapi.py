"""OpenAPI 3.1, made of the operations: what is answered, by what, and in which shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

import bers
from bers.decoding import PLAIN
from bers.decoding.cloudevents import BATCH, STRUCTURED
from bers.directory import Route
from bers.errors import Reason
from bers.operations import AnyOperation, Nothing, Operation, Page
from bers.schemas import holds_config, schema_of
from bers.stages import Config
from bers.web.doors import INGEST, Door, Welcome
from bers.web.downloads import MEDIA as FILES
from bers.web.dry_run import DryRun
from bers.web.envelope import STATUS
from bers.web.event_schema import CLOUD, EVENT
from bers.web.ingest import Receipt

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `bers keys create`."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
    "session": {"type": "apiKey", "in": "cookie", "name": "bers", "description": "A session, opened at `/login`."},
}
"""How somebody may say who they are, where `access.enabled` asks for it."""

_REF = "#/components/schemas/{name}"

_NUMBERED: dict[str, Any] = {
    "X-Request-Id": {"description": "The same as `requestId`.", "required": True, "schema": {"type": "string"}}
}
_LATER: dict[str, Any] = {
    "Retry-After": {"description": "Seconds until it may be otherwise.", "schema": {"type": "integer", "minimum": 1}}
}
_FILED: dict[str, Any] = {
    "Content-Disposition": {"description": "Of a file: its name.", "schema": {"type": "string"}},
    "Link": {"description": "Of a file, where more follows: where to ask for it.", "schema": {"type": "string"}},
}
_FORMAT: dict[str, Any] = {
    "name": "format",
    "in": "query",
    "required": False,
    "description": "As what to answer: `csv` or `ndjson` is a file to download. Accept says it too.",
    "schema": {"enum": ["json", *FILES], "default": "json"},
}
_WORDS: dict[int, str] = {
    400: "The request cannot be read.",
    401: "Nobody was named.",
    403: "Whoever asks may not.",
    404: "Nothing has that name.",
    408: "The body did not arrive in time.",
    409: "It cannot be done as things are.",
    413: "More than a limit allows, which the message names.",
    415: "A type of content that is not understood.",
    422: "A field is missing, unknown, or has a value that does not fit.",
    429: "Too much at present.",
    503: "The server starts or stops, or who answers this is not running.",
}


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


def document(routes: Sequence[Route], *, doors: Sequence[Door] | None, closed: bool = True) -> dict[str, Any]:
    """Describe the routes of one listener; ``closed`` says whether it asks for a key.

    ``doors`` are those for formats of plugins; None where events are not taken at all.
    """
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    known = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, known)
    if doors is not None:
        paths[INGEST] = {"get": _welcome("ingest", known), "post": _ingest(known)}
        for door in doors:
            name = f"ingest_{door.format.name.replace('-', '_')}"
            paths[door.format.path] = {"get": _welcome(name, known), "post": _format(door, name, known)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "BERS Monitoring", "version": bers.__version__, "license": {"name": "Apache-2.0"}},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": components, "securitySchemes": SCHEMES},
        "security": [*([] if closed else [{}]), *({name: []} for name in SCHEMES)],
    }


def refusals(operation: AnyOperation) -> set[Reason]:
    """For what a request may be refused: by its handler, and on the way there."""
    found: set[Reason] = {*operation.refuses, "unavailable", "forbidden", "rate_limited"}
    if not _public(operation):
        found.add("unauthenticated")
    if (
        (isinstance(operation, Operation) and operation.sheet)
        or operation.request.__struct_fields__
        or operation.request.__struct_config__.forbid_unknown_fields
    ):
        found.add("invalid")
    if "{" in operation.path:
        found.add("not_found")
    if isinstance(operation, Operation) and operation.method != "GET":
        found |= {"bad_request", "too_large", "unsupported_media_type", "forbidden", "slow"}
    return found


def _public(operation: AnyOperation) -> bool:
    """Whether it asks nobody for a key; the page is the login where somebody has none."""
    return isinstance(operation, Operation) and (operation.public or operation.path == "/")


def _types(routes: Sequence[Route]) -> list[Any]:
    types: list[Any] = [Error, Receipt, DryRun, Welcome]
    for route in routes:
        if isinstance(route.operation, Operation):
            types += [one for one in (route.operation.request, route.operation.response, route.operation.beside) if one]
        else:
            types.append(route.operation.request)
    # What holds a config is described with the operation: its defaults have units.
    types = [
        one for one in types if one is not Page and not any(holds_config(field.type, Config) for field in fields(one))
    ]
    return [one for n, one in enumerate(types) if all(one is not other for other in types[:n])]


def fields(type: Any) -> Sequence[msgspec.structs.FieldInfo]:
    """The fields of a Struct; none of what is another type."""
    return msgspec.structs.fields(type) if msgspec.inspect.is_struct_type(type) else ()


def _operation(route: Route, known: dict[int, Any]) -> dict[str, Any]:
    operation = route.operation
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _name(route),
        "tags": [route.owner],
        "x-scope": operation.scope,
        "parameters": _parameters(route),
        "responses": _problems(refusals(operation), known),
    }
    if _public(operation):
        described["security"] = []
    if not isinstance(operation, Operation):
        stream: dict[str, Any] = {"description": "The stream; it does not end.", "content": {operation.media: {}}}
        described["responses"] = {"200": stream, **described["responses"]}
        return described
    if operation.response is Page:
        answer: dict[str, Any] = {
            "description": "The document.",
            "content": {operation.media: {"schema": {"type": "string"}}},
        }
    else:
        answer = _answer(known[id(operation.response)], operation, known)
        if operation.surface == "health":
            _unhealthy(described["responses"]["503"], answer)
    described["responses"] = {"200": answer, **described["responses"]}
    if operation.method == "POST" and operation.request is not Nothing:
        body = _body(route)
        described["requestBody"] = {
            "content": {"application/json": {"schema": body}},
            **({"required": True} if body["required"] else {}),
        }
    return described


def _unhealthy(refused: dict[str, Any], answer: dict[str, Any]) -> None:
    """Let 503 be the answer as well, where that is itself the news that something is down."""
    both = [one["content"]["application/json"]["schema"] for one in (answer, refused)]
    refused["description"] = f"Unhealthy or unknown, as `data` says. Or: {refused['description']}"
    refused["content"] = {"application/json": {"schema": {"oneOf": both}}}


def _parameters(route: Route) -> list[dict[str, Any]]:
    inside = _in_path(route)
    post = isinstance(route.operation, Operation) and route.operation.method == "POST"
    found: list[dict[str, Any]] = []
    for field in msgspec.structs.fields(route.operation.request):
        if field.encode_name in inside or not post:
            schema = _schema(field)
            found.append(
                {
                    "name": field.encode_name,
                    "in": "path" if field.encode_name in inside else "query",
                    "required": field.encode_name in inside or field.required,
                    **({"description": text} if (text := schema.pop("description", "")) else {}),
                    "schema": {"minLength": 1, **schema} if field.encode_name in inside else schema,
                }
            )
    if isinstance(route.operation, Operation) and route.operation.sheet and not route.operation.shapes:
        found.append(_FORMAT)
    return found


def _schema(field: msgspec.structs.FieldInfo) -> dict[str, Any]:
    if holds_config(field.type, Config):
        return schema_of(field.type)
    (schema,), _ = msgspec.json.schema_components([field.type], ref_template=_REF)
    if isinstance(field.default, (str, int, float)):
        schema["default"] = field.default
    return schema


def _body(route: Route) -> dict[str, Any]:
    inside = _in_path(route)
    fields = [one for one in msgspec.structs.fields(route.operation.request) if one.encode_name not in inside]
    properties = {one.encode_name: _schema(one) for one in fields}
    return {
        "type": "object",
        "properties": properties,
        "required": [one.encode_name for one in fields if one.required],
        "additionalProperties": not route.operation.request.__struct_config__.forbid_unknown_fields,
    }


def _in_path(route: Route) -> set[str]:
    return {part[1:-1] for part in route.path.split("/") if part.startswith("{")}


def _answer(schema: Any, operation: Operation[Any, Any, Any], known: dict[int, Any]) -> dict[str, Any]:
    envelope = _envelope({"success": {"const": True}, "data": schema}, "data")
    if operation.beside:
        envelope = {"allOf": [envelope, known[id(operation.beside)]]}
    answer: dict[str, Any] = {
        "description": "The answer.",
        "headers": _NUMBERED,
        "content": {"application/json": {"schema": envelope}},
    }
    if operation.sheet:
        answer["headers"] = _NUMBERED | _FILED
        answer["content"] |= {media: {"schema": {"type": "string"}} for media in FILES.values()}
    return answer


def _problems(reasons: Iterable[Reason], known: dict[int, Any]) -> dict[str, Any]:
    """The refusals by status, each with the codes that come with it."""
    codes: dict[int, set[str]] = {}
    for reason in reasons:
        codes.setdefault(STATUS[reason], set()).add(reason)
    return {str(status): _problem(status, sorted(codes[status]), known) for status in sorted(codes)}


def _problem(status: int, codes: Sequence[str], known: dict[int, Any]) -> dict[str, Any]:
    error = {"allOf": [known[id(Error)], {"properties": {"code": {"enum": list(codes)}}}]}
    headers = _NUMBERED | _LATER if status in (429, 503) else _NUMBERED
    if status == 401:
        headers = headers | {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}}
    return {
        "description": _WORDS[status],
        "headers": headers,
        "content": {"application/json": {"schema": _envelope({"success": {"const": False}, "error": error}, "error")}},
    }


def _envelope(properties: dict[str, Any], required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**properties, "timestamp": {"type": "integer"}, "requestId": {"type": "string"}},
        "required": ["success", required, "timestamp", "requestId"],
    }


def _ingest(known: dict[int, Any]) -> dict[str, Any]:
    body = {"oneOf": [EVENT, {"type": "array", "items": EVENT}]}
    return _taking(
        "Hand in events: one, or an array of them.",
        "An event may also be a CloudEvent 1.0 in structured, binary or batched mode, a CDEvent, or a CloudEvent that "
        "carries one. `Content-Encoding` may be gzip, deflate or zstd.",
        "ingest",
        {
            PLAIN: {"schema": body},
            STRUCTURED: {"schema": CLOUD},
            BATCH: {"schema": {"type": "array", "items": CLOUD}},
        },
        known,
    )


def _format(door: Door, name: str, known: dict[int, Any]) -> dict[str, Any]:
    signed = door.format.verify is not None
    content: dict[str, Any] = {media: {"schema": {}} for media in door.format.media}
    taking = _taking(door.format.summary, "", name, content, known)
    for parameter, meaning in door.format.parameters.items():
        schema = {"type": "string", "maxLength": 1024}
        told = {"name": parameter, "in": "query", "required": False, "description": meaning, "schema": schema}
        taking["parameters"].append(told)
    if signed:
        taking["security"] = [{}]
        taking["responses"] |= _problems(["unauthenticated"], known)
    if door.format.manners:
        _in_own_words(taking["responses"], door.format.media)
    taking["tags"] = [door.owner]
    return taking


def _in_own_words(responses: dict[str, Any], media: Sequence[str]) -> None:
    """The answers of a format that has manners: their statuses are those of all doors, what they say is not."""
    del responses["202"]
    for answer in responses.values():
        answer.pop("headers", None)
        answer["content"] = {one: {"schema": {}} for one in ("application/json", *media)}
    responses["200"]["description"] = (
        "Taken, and safe; it says what was not. With `dry_run=1`, what would be kept and measured."
    )


def _taking(
    summary: str, description: str, name: str, content: dict[str, Any], known: dict[int, Any]
) -> dict[str, Any]:
    receipt = _envelope({"success": {"const": True}, "data": known[id(Receipt)]}, "data")
    dry = _envelope({"success": {"const": True}, "data": known[id(DryRun)]}, "data")
    reasons: set[Reason] = {
        "bad_request", "forbidden", "full", "invalid", "rate_limited", "slow", "too_large", "unavailable",
        "unsupported_encoding", "unsupported_media_type",
    }  # fmt: skip
    return {
        "summary": summary,
        **({"description": description} if description else {}),
        "operationId": f"post_{name}",
        "tags": ["node"],
        "x-scope": "ingest",
        "parameters": [
            {
                "name": "dry_run",
                "in": "query",
                "required": False,
                "description": "1: show the events as they would be kept and what they would measure, and keep none.",
                "schema": {"enum": ["0", "1", "false", "true"]},
            }
        ],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "200": {
                "description": "What would be kept and measured, with `dry_run=1`.",
                "headers": _NUMBERED,
                "content": {"application/json": {"schema": dry}},
            },
            "202": {
                "description": "Taken, and safe; events with a fault are left out, and named.",
                "headers": _NUMBERED,
                "content": {"application/json": {"schema": receipt}},
            },
            **_problems(reasons, known),
        },
    }


def _welcome(name: str, known: dict[int, Any]) -> dict[str, Any]:
    welcome = _envelope({"success": {"const": True}, "data": known[id(Welcome)]}, "data")
    return {
        "summary": "What is taken here: content types, limits, and what an event looks like.",
        "operationId": f"get_{name}",
        "tags": ["node"],
        "x-scope": "ingest",
        "parameters": [],
        "responses": {
            "200": {
                "description": "The answer.",
                "headers": _NUMBERED,
                "content": {"application/json": {"schema": welcome}},
            },
            **_problems({"forbidden", "rate_limited", "unavailable"}, known),
        },
    }


def _name(route: Route) -> str:
    words = route.path.removeprefix("/api/monitoring").replace("{", "").replace("}", "").replace(".", "/").split("/")
    kind = ["page"] if isinstance(route.operation, Operation) and route.operation.media == "text/html" else []
    return "_".join([route.method.lower(), *kind, *(word.replace("-", "_") for word in words if word)])
