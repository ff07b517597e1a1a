"""Read the body of a request within limits of bytes and time."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from starlette.requests import Request

from bers.errors import Refused

IDLE = 10.0
"""Seconds that a client may send nothing in the middle of a body."""


def declared(request: Request) -> int:
    """How long a body says that it is; 0 where it does not."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 20 else 0


def media(request: Request) -> str:
    """What a body says that it is, as in ``application/json``; nothing where it does not."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read(
    request: Request,
    *,
    limit: int,
    within: float,
    grow: Callable[[int], None] = lambda size: None,
    hint: str = "",
) -> bytes | bytearray:
    """Return the whole body. Raise Refused where it is larger than ``limit``, or takes longer than ``within`` seconds.

    ``grow`` is told how large it is, before it is that large; it raises where there is no room for that.
    """
    size = declared(request)
    if size > limit:
        raise _too_large(limit, hint)
    grow(size)
    body: bytes | bytearray = b""
    deadline = anyio.current_time() + within
    with anyio.CancelScope(deadline=min(deadline, anyio.current_time() + IDLE)) as scope:
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise Refused("bad_request", "the client left before it had sent everything")
            piece = message.get("body", b"")
            if len(body) + len(piece) > limit:
                raise _too_large(limit, hint)
            grow(len(body) + len(piece))
            if not body:
                body = piece
            elif piece:
                if isinstance(body, bytes):
                    body = bytearray(body)  # Grows in place: a large body is never there twice.
                body += piece
            if not message.get("more_body", False):
                return body
            scope.deadline = min(deadline, anyio.current_time() + IDLE)
    raise Refused(
        "slow",
        f"the body did not arrive within {within:g} s, or nothing came for {IDLE:g} s",
        hint="send it again, faster or in smaller pieces",
    )


def _too_large(limit: int, hint: str) -> Refused:
    return Refused("too_large", f"the body has more than {limit:d} bytes", hint=hint)
