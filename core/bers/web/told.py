"""What went wrong, told to people: a page in the place of the JSON that programs are answered."""

from __future__ import annotations

from html import escape

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bers.access.headers import PAGE
from bers.plain import as_object
from bers.web.envelope import JSON

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{status} · BERS Monitoring</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/login.css">
{again}</head>
<body>
<main>
<h1>BERS Monitoring</h1>
<p class="wrong">{message}</p>
{hint}<p><a href="{to}">{onward}</a></p>
</main>
</body>
</html>
"""


def told(request: Request, response: Response) -> Response:
    """The failure as a page, where a person has opened an address in a browser; else as it is."""
    if response.media_type != JSON or not _is_person(request):
        return response
    error = as_object(msgspec.json.decode(bytes(response.body)).get("error")) or {}
    message, hint = str(error.get("message", "")), str(error.get("hint", ""))
    kept = ("retry-after", "x-request-id", "www-authenticate", "allow", "cache-control")
    headers = {**PAGE, **{name: response.headers[name] for name in kept if name in response.headers}}
    # Whoever waits for a server that starts need not press anything.
    wait = response.headers.get("retry-after", "") if response.status_code == 503 else ""
    again = f'<meta http-equiv="refresh" content="{escape(wait)}">\n' if wait else ""
    to, onward = ("/login", "Log in") if response.status_code == 401 else ("/", "See how things are")
    html = _PAGE.format(
        status=response.status_code,
        message=escape(_sentence(message)),
        hint=f"<p>{escape(_sentence(hint))}</p>\n" if hint else "",
        again=again,
        to=to,
        onward=onward,
    )
    return Response(html, response.status_code, headers, "text/html; charset=utf-8")


def _is_person(request: Request) -> bool:
    return (
        request.method in ("GET", "HEAD")
        and "text/html" in request.headers.get("accept", "")
        and not request.url.path.startswith("/api/")
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""
