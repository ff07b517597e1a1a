"""What every answer tells browsers to keep from doing with it."""

from __future__ import annotations

from starlette.types import Message, Scope, Send

from bers.access.addresses import address

PAGE = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
}
"""For documents that people look at."""

FORM = {**PAGE, "Referrer-Policy": "same-origin"}
"""For a page with a form: without a referrer a browser does not say where the form came from either."""

_EVERY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_DEFAULTS = [(name.lower().encode(), value.encode()) for name, value in _EVERY.items()]
_HSTS = (b"strict-transport-security", b"max-age=31536000")


def guarded(scope: Scope, send: Send) -> Send:
    """The way back, with the headers that every answer has, unless it has its own."""
    always = [*_DEFAULTS, _HSTS] if scope.get("scheme") == "https" and _named(scope) else _DEFAULTS

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            own = {name.lower() for name, _ in headers}
            message = {**message, "headers": [*headers, *(one for one in always if one[0] not in own)]}
        await send(message)

    return with_headers


def _named(scope: Scope) -> bool:
    """Whether a browser asked for a name that is ours alone: for `localhost` it would shut out every other server."""
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return bool(name) and name.lower() != "localhost" and address(name.strip("[]")) is None
