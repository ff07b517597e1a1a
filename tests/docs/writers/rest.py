"""The page about REST: every operation and stream, the door for events, envelopes and errors."""

from __future__ import annotations

from typing import Any, get_args, get_origin

import msgspec

from bers import schemas
from bers.config.settings import IntakeSettings
from bers.decoding import MEDIA
from bers.directory import Route
from bers.operations import AnyOperation, Operation, Page, Stream
from bers.plugins import load
from bers.web import api, dead_letters, eyes, health, panels
from bers.web.envelope import STATUS
from tests.docs.writers import markdown

PORTS = {"health": "3001, 3003", "metrics": "3002, 3003", "control": "3003"}


def routes() -> list[Route]:
    """Everything that is answered below /api/monitoring/, and the page."""
    found: list[tuple[str, AnyOperation]] = [
        ("node", operation)
        for operation in (
            *api.OPERATIONS,
            *health.OPERATIONS,
            *dead_letters.OPERATIONS,
            *eyes.OPERATIONS,
            *panels.OPERATIONS,
        )
    ]
    seen: set[int] = set()
    for _, spec in load(installed=False).all():
        for operation in spec.operations:
            if id(operation) not in seen:
                seen.add(id(operation))
                found.append((spec.name, operation))
    return sorted((Route(one, owner, lambda: None) for owner, one in found), key=lambda one: (one.path, one.method))


def ports(route: Route) -> str:
    """Where a route is answered: reads on the port of their kind, everything on the control port."""
    return PORTS[route.operation.surface] if route.method == "GET" else PORTS["control"]


def page() -> str:
    every = routes()
    return markdown.page(
        "REST",
        _OPENING,
        "## All of it",
        markdown.table(
            ["method", "path", "ports", "scope", "what it answers"],
            [
                *(
                    [
                        markdown.code(one.method),
                        f"[`{one.path}`](#{_anchor(one)})",
                        ports(one),
                        one.operation.scope,
                        one.operation.summary.rstrip("."),
                    ]
                    for one in every
                ),
                *_BESIDES,
            ],
        ),
        _ENVELOPE,
        markdown.table(["status", "`error.code`", "when"], _codes()),
        _INGEST,
        markdown.table(["limit", "default", "meaning"], _limits()),
        markdown.table(["status", "meaning"], _INGEST_ANSWERS),
        _INGEST_REPEATS,
        "## Operations",
        *(_described(one) for one in every),
    )


def _described(route: Route) -> str:
    operation = route.operation
    inside = {part[1:-1] for part in route.path.split("/") if part.startswith("{")}
    rows = [
        [
            markdown.code(one.name),
            "path" if one.name in inside else "query" if route.method == "GET" else "body",
            one.type,
            "required" if one.default is schemas.REQUIRED else _default(one.default),
            one.description,
        ]
        for one in schemas.options(operation.request)
    ]
    parts = [
        f"### `{route.method} {route.path}`",
        _where(route),
        markdown.table(["field", "in", "type", "default", "meaning"], rows),
    ]
    if isinstance(operation, Stream):
        more = _TAP if operation.media == eyes.TAP_MEDIA else "see [events](events.md#frames-of-the-stream)."
        parts.append(f"The answer is a stream of `{operation.media}`; {more}")
    else:
        parts.append(_answer(operation))
    return "\n\n".join(part for part in parts if part)


def _where(route: Route) -> str:
    operation = route.operation
    summary, at = operation.summary.rstrip("."), ports(route).replace(", ", " or ")
    return f"{summary}. Port {at}; scope {operation.scope}; answered by `{route.owner}`."


def _answer(operation: Operation[Any, Any, Any]) -> str:
    if operation.response is Page:
        return "The answer is a document, without an envelope."
    shape: Any = operation.response
    many = ""
    if get_origin(shape) is list:
        shape, many = get_args(shape)[0], "a list; each entry is "
    elif get_origin(shape) is dict:
        shape, many = get_args(shape)[1], "an object by name; each value is "
    text = f"`data` is {many}"
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        fields = ", ".join(f"`{field.encode_name}`" for field in msgspec.structs.fields(shape))
        text += f"an object with {fields}. {markdown.first_paragraph(shape.__doc__)}"
    else:
        text += "an object whose keys depend on the event: a CloudEvent's, and the event's own fields."
    if operation.beside:
        beside = ", ".join(f"`{field.encode_name}`" for field in msgspec.structs.fields(operation.beside))
        text += f" Beside `data` stands {beside}: {markdown.first_paragraph(operation.beside.__doc__)}"
    return text


def _codes() -> list[list[str]]:
    rows = [[str(status), markdown.code(reason), _WHEN[reason]] for reason, status in STATUS.items()]
    return sorted([*rows, *_MORE_CODES])


def _limits() -> list[list[str]]:
    names = {"max_event": "an event", "max_body": "a body", "max_inflated": "a body, inflated", "max_events": "a batch"}
    return [
        [names[one.name], markdown.code(one.default), f"`intake.{one.name}`: {one.description}"]
        for one in schemas.options(IntakeSettings)
        if one.name in names
    ]


def _default(value: Any) -> str:
    return "none" if value is None else "empty" if value == "" else markdown.code(value)


def _anchor(route: Route) -> str:
    """What Markdown readers make of the heading: letters, digits and hyphens of it."""
    text = f"{route.method} {route.path}".lower().replace(" ", "-")
    return "".join(one for one in text if one.isalnum() or one in "-_")


_OPENING = """
Everything is answered on the control port (3003 unless `server.control` says otherwise). Reads of health are answered
on the health port (3001) too, and reads of metrics on the metrics port (3002); writes are answered on the control port
alone. A path that belongs to another port is answered with 404 and a hint that names the port.

Where `access.enabled` says so, a request needs a key with the scope of its operation, as `Authorization: Bearer KEY` or
`X-API-Key: KEY`, or the cookie of a session; [secure](../how-to/secure.md) shows how to make one. Otherwise everybody
may do everything.
"""
_BESIDES = [
    ["`POST`", "[`/api/monitoring/ingest`](#handing-in-events)", "3003", "ingest", "Take events"],
    [
        "`OPTIONS`",
        "`/api/monitoring/ingest`",
        "3003",
        "none",
        "What a browser asks before a page of one of `access.origins` hands in events",
    ],
    ["`GET`", "`/emit.js`", "3003", "none", "What pages import to hand in events"],
    ["`GET`", "`/livez`", "all", "none", "200 while the process answers; no body"],
    [
        "`GET`",
        "`/readyz`",
        "all",
        "none",
        "200 while it is started, not stopping, and takes events; else 503; no body, but why it waits for its disk",
    ],
    ["`GET`", "`/metrics`", "3002, 3003", "read", "[Metrics](metrics.md) in Prometheus' text format"],
    ["`GET`", "`/openapi.json`", "all", "read", "OpenAPI 3.1 of what this port answers"],
    ["`GET`", "`/login`", "3003", "none", "The login, or the way out; not found where nobody is asked for a key"],
    [
        "`POST`",
        "`/login`",
        "3003",
        "none",
        "Open a session for `key`, in a form or as JSON; the answer sets its cookie",
    ],
    ["`POST`", "`/logout`", "3003", "none", "End the session of the cookie"],
]
_ENVELOPE = """
## Envelope

Answers are JSON objects: `success`, `timestamp` (milliseconds since 1970) and `requestId` (also in the header
`X-Request-Id`), and either `data` or `error`. Names are written in camelCase. Times in answers are milliseconds since
1970, periods in requests are `5m`, `24h`, `7d`, or whole milliseconds. `/livez`, `/readyz`, `/metrics`,
`/openapi.json`, pages and the stream have no envelope.

`error` has `code` and `message`, and where they help `hint` (what would be right), `known` (the names there are) and
`details` (a list of `path` and `message`).

Fields of a request are taken from the path, the query and, for writes, a JSON body; a body is optional. `HEAD` is
answered wherever `GET` is.
"""
_TAP = """one JSON object a line. The first is `{"tap": …}`, what was asked for. Then come `{"event": …}`, with the
fields of [an event](events.md), and `{"window": …}`, without secrets. `{"skipped": n}` says how much passed that was
not looked at, because the client or the filter was too slow; what passes never waits. `{"still": …}` counts what was
seen, after five seconds without anything to show, and `{"end": …}` is the last line once `limit` is reached. Eight may
look at the same time; one that takes nothing for 30 s is sent away."""
_WHEN = {
    "bad_request": "The request cannot be read: no JSON, or no period.",
    "unsupported_media_type": "A body that is not `application/json`.",
    "invalid": "A field is missing, or has a value that does not fit; `details` names it.",
    "not_found": "Nothing has that name, or nothing is answered at that path on this port.",
    "too_large": "A body, or a number of events, beyond a limit.",
    "unsupported_encoding": "A body of events in a compression that is not understood.",
    "slow": "The body did not arrive in time; the connection is closed.",
    "conflict": "It cannot be done in the state that things are in.",
    "unauthenticated": "A key is asked for, and there is none, or one that is not known or not valid any more.",
    "forbidden": "The key lacks the scope, the address or the name may not, or a page of another site asks.",
    "rate_limited": "Too many requests, events or wrong keys from one sender; `Retry-After` says when to come again.",
    "unavailable": "The stage that answers is not declared or not running, or the server starts or stops.",
    "full": "The journal or the memory is full; `Retry-After` says when to try again.",
}
_MORE_CODES = [
    ["405", "`method_not_allowed`", "The path is answered, but not with this method; `Allow` names those that are."],
    ["415", "`unsupported_media_type`", "A body of events of a type that is not understood."],
    ["500", "`internal`", "A fault of ours; `logs/monitoring.log` has it."],
]
_INGEST = f"""
## Handing in events

`POST /api/monitoring/ingest` takes one JSON object or an array of them, as {", ".join(f"`{one}`" for one in MEDIA)}
(without a type, or with the type that `curl -d` sends, the body is read as JSON). `Content-Encoding` may be `gzip`,
`deflate` or `zstd`. Each event is plain JSON with [these fields](events.md), a
[CDEvent](../how-to/emit/cdevents.md), or a [CloudEvent 1.0](../how-to/emit/cloudevents.md), which may carry one; in
binary mode the headers `ce-*` are the attributes, and the body may be of any type.

Below it there is a place for each format of a source that is declared: `ingest/github` for
[GitHub](../how-to/emit/github-webhooks.md), `ingest/gitlab` for [GitLab](../how-to/emit/gitlab-webhooks.md). `GET` at
any of them tells what is taken there: content types, limits, and the JSON Schema of an event. `OPTIONS` with
`WebHook-Request-Origin` is the handshake of CloudEvents' webhooks.
"""
_INGEST_ANSWERS = [
    [
        "202",
        (
            "Taken: `data` is a receipt, `accepted`, `duplicates`, and `rejected`, a list of `index`, `id` and "
            "`error`. What is accepted survives `kill -9` from then on. Events with a fault are left out; the others "
            "are taken."
        ),
    ],
    [
        "200",
        (
            "With `?dry_run=1`, and nothing is kept: `data.events` shows each event as it would be read, `data.fates` "
            "which source reads it and whether it is a repeat, `data.metrics` what it would write; of the "
            "first 100, or 256 KiB of them. `data.total` and `data.totalRejected` count all."
        ),
    ],
    ["400, 415, 413", "The body cannot be read, is of no known type, or is too large."],
    ["422", "None of the events can be taken; `details` says why of each."],
    ["408", "The body did not arrive in time. Nothing was kept, and the connection is closed."],
    [
        "429",
        (
            "The journal or the memory is full, or one sender is too fast; the message says which. Nothing was kept; "
            "send it again after `Retry-After` seconds."
        ),
    ],
    ["503", "The journal cannot be written, or the server starts or stops. Nothing was kept; send it again."],
]
_INGEST_REPEATS = """
An event that was handed in before, by its `source` and `id`, counts as a duplicate, and is not taken a second time.
"""
