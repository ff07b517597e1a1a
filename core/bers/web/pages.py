"""Documents for people: sent once, and again only when they have changed."""

from __future__ import annotations

from hashlib import blake2s

from starlette.requests import Request
from starlette.responses import Response

from bers.access.headers import PAGE
from bers.operations import Page


def answer(request: Request, page: Page) -> Response:
    """The document; or that it is the one which whoever asks has already."""
    headers = dict(PAGE)
    if page.anywhere:
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    if not page.max_age:
        return Response(page.body, 200, headers, page.media)
    tag = f'"{blake2s(page.body, digest_size=8).hexdigest()}"'
    kept_by = "public" if page.anywhere else "private"
    headers |= {"Cache-Control": f"{kept_by}, max-age={page.max_age:.0f}", "ETag": tag}
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known or "*" in known:
        return Response(None, 304, headers)
    return Response(page.body, 200, headers, page.media)
