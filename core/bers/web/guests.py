"""Pages of other sites, which may hand in events where `access.origins` names their site: CORS, without cookies."""

from __future__ import annotations

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Send

from bers.operations import Page
from bers.web import pages

SCRIPT = "/emit.js"
"""Where pages find what hands their events to us."""

ASKED_AGAIN = 7200
"""Seconds for which a browser remembers what it was answered; none remembers it longer."""


def asks_first(request: Request) -> bool:
    """Whether a browser asks what a page may do, before it does it."""
    return request.method == "OPTIONS" and "access-control-request-method" in request.headers


def permission() -> Response:
    """What a browser may let a page of a guest send."""
    headers = {
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": "authorization, content-type, x-api-key",
        "Access-Control-Max-Age": str(ASKED_AGAIN),
    }
    return Response(None, 204, headers)


def readable(send: Send, origin: str | None) -> Send:
    """The way back, on which a page of that origin may read every answer: refusals, too."""
    if origin is None:
        return send
    shown = [
        (b"access-control-allow-origin", origin.encode()),
        (b"access-control-expose-headers", b"retry-after, x-request-id"),
        (b"vary", b"origin"),
    ]

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *shown]}
        await send(message)

    return with_headers


def script() -> Page | None:
    """The browser's half of `@bers/emit`, for pages of any site; nothing where it was not built."""
    try:
        body = files("bers.web").joinpath("built", "emit.js").read_bytes()
    except FileNotFoundError:
        return None
    return Page(body, "text/javascript; charset=utf-8", max_age=3600.0, anywhere=True)


def handed_out(request: Request, script: Page) -> Response:
    """The script, for a page that loads it as a module, which it may from any site."""
    answer = pages.answer(request, script)
    answer.headers["Access-Control-Allow-Origin"] = "*"
    return answer
