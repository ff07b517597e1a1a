"""The handshake of CloudEvents' webhooks: a sender asks whether it is expected, before it sends anything."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

ORIGIN = "webhook-request-origin"

_LONGEST = 253
"""Characters of a name in DNS."""


def is_asked(method: str, headers: Mapping[str, str]) -> bool:
    return method == "OPTIONS" and ORIGIN in headers


def answer(headers: Mapping[str, str], per_second: float | None) -> Response:
    """Agree. This says no more than that events are expected here: who may send them is asked when they come.

    ``per_second`` is how many a sender may send; None where nobody counts.
    """
    name = headers[ORIGIN].strip()
    known = 0 < len(name) <= _LONGEST and name.isascii() and name.isprintable()
    rate = str(max(1, int(per_second * 60))) if per_second else "*"
    return Response(
        None,
        200,
        {"Allow": "GET, HEAD, OPTIONS, POST", "WebHook-Allowed-Origin": name if known else "*",
         "WebHook-Allowed-Rate": rate},
    )  # fmt: skip
