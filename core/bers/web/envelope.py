"""The one shape of every answer: `{success, data | error, timestamp, requestId}`."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from time import time
from typing import Any
from uuid import uuid4

import msgspec
from starlette.responses import Response

from bers.errors import Reason, Refused
from bers.schemas import encode

STATUS: Mapping[Reason, int] = {
    "bad_request": 400,
    "unauthenticated": 401,
    "unsupported_encoding": 415,
    "unsupported_media_type": 415,
    "slow": 408,
    "too_large": 413,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "invalid": 422,
    "full": 429,
    "rate_limited": 429,
    "unavailable": 503,
}

JSON = "application/json"

_encode = msgspec.json.Encoder(enc_hook=encode).encode


class Masked(Response):
    """An answer of which everything was masked while it was made."""


def success(data: Any, *, beside: Mapping[str, Any] | None = None, status: int = 200, masked: bool = False) -> Response:
    """An answer with data, and with what stands beside it; ``masked`` says that nobody has to look at it again."""
    return _answer(status, {"success": True, "data": data, **(beside or {})}, kind=Masked if masked else Response)


def refusal(refused: Refused) -> Response:
    """The answer to a request that was refused."""
    return failure(
        STATUS[refused.reason],
        refused.reason,
        str(refused),
        headers=headers_of(refused),
        hint=refused.hint,
        known=refused.known,
        details=[{"path": path, "message": message} for path, message in refused.details],
    )


def failure(status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """An answer without data: what went wrong, and what would be right."""
    error = {"code": code, "message": message, **{key: value for key, value in more.items() if value}}
    return _answer(status, {"success": False, "error": error}, headers)


def not_allowed(methods: list[str]) -> Response:
    """The answer to a method that is none of these, at a path that is answered."""
    allowed = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))
    return failure(405, "method_not_allowed", f"this answers {allowed}", headers={"Allow": allowed})


def headers_of(refused: Refused) -> dict[str, str]:
    """The headers that a refusal has, in whatever words it is told."""
    headers: dict[str, str] = {}
    if refused.retry_after is not None:
        headers["Retry-After"] = str(max(1, ceil(refused.retry_after)))
    if refused.reason == "unauthenticated":
        headers["WWW-Authenticate"] = "Bearer"
    if refused.reason == "slow":
        headers["Connection"] = "close"
    return headers


def _answer(
    status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None, kind: type[Response] = Response
) -> Response:
    request = uuid4().hex
    body |= {"timestamp": int(time() * 1000), "requestId": request}
    return kind(_encode(body), status, {"Cache-Control": "no-store", "X-Request-Id": request, **(headers or {})}, JSON)
