"""The login of people: a page, the session that it opens, and its end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from math import ceil
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bers.access.gate import Gate
from bers.access.headers import FORM, PAGE
from bers.access.keys import SCOPES
from bers.audit import Audit
from bers.errors import Refused
from bers.operations import Caller, Scope
from bers.plain import as_list, as_object
from bers.web import bodies
from bers.web.envelope import JSON, STATUS, success

if TYPE_CHECKING:
    from jinja2 import Template

LOGIN, LOGOUT, STYLE = "/login", "/logout", "/assets/login.css"

MAX_BODY = 4096
"""The largest body with a key in it, in bytes."""

BODY_WITHIN = 10.0
"""Seconds in which it has to arrive."""

MOST_ADDRESS = 1500
"""The longest address that a login leads back to, in characters."""

_HERE = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""What begins with one slash, and has no backslash, which browsers take for another."""

_TOLD = ("unauthenticated", "forbidden", "rate_limited", "invalid")
"""What people read on the page itself."""


class LoggedIn(msgspec.Struct, frozen=True):
    """Who is logged in, with which scopes, and for how many milliseconds."""

    principal: str
    scopes: list[Scope]
    lasts: int


class Login:
    """What is answered at ``/login`` and ``/logout``."""

    def __init__(self, gate: Gate, audit: Audit) -> None:
        self._gate = gate
        self._audit = audit
        self._template: Template | None = None

    async def page(self, caller: Caller, *, message: str = "", to: str = "", status: int = 200) -> Response:
        """The login, or, to whoever is logged in, the way out. It shows nothing of what is watched."""
        if self._template is None:
            self._template = await to_thread.run_sync(_template)
        html = self._template.render(name=caller.principal if caller.key else "", message=message, to=to)
        return Response(html, status, FORM, "text/html; charset=utf-8")

    async def ask(self, caller: Caller, to: str) -> Response:
        """The login in the place of a view, which whoever is not known may not see; it leads back there."""
        answer = await self.page(caller, to=to, status=401)
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    async def enter(self, request: Request, source: str) -> Response:
        """Open a session for the holder of a key. Programs are refused with an error, and people get the page again."""
        json, to = bodies.media(request) == JSON, ""
        try:
            fields = await _fields(request, json=json)
            to = _here(_text(fields.get("to")))
            key = await self._gate.guess(_key(fields), source)
            if key is None:
                raise Refused("unauthenticated", "this key is not known, or not valid any more")
            if "read" not in key.scopes:
                raise Refused("forbidden", f"the key {key.name!r} may not read, so there is nothing to see")
        except Refused as refused:
            await self._gate.note(request, Caller(address=source), refused)
            if json or refused.reason not in _TOLD:
                raise
            answer = await self.page(Caller(), message=f"{refused}.", to=to, status=STATUS[refused.reason])
            if refused.retry_after is not None:
                answer.headers["Retry-After"] = str(max(1, ceil(refused.retry_after)))
            return answer
        token, lasts = await self._gate.credentials.open(key)
        await self._audit.record(Caller(key.name, source, key.scopes, key.id), "POST /login", "done")
        told = LoggedIn(key.name, [one for one in SCOPES if one in key.scopes], int(lasts * 1000))
        answer = success(told) if json else RedirectResponse(to or "/", 303)
        self._set(request, answer, token, lasts)
        return answer

    async def leave(self, request: Request, caller: Caller) -> Response:
        """End the session that the cookie stands for."""
        if token := request.cookies.get(self._gate.cookie(request)):
            await self._gate.credentials.close(token)
            await self._audit.record(caller, "POST /logout", "done")
        answer = RedirectResponse(LOGIN, 303)
        self._set(request, answer, "", 0)
        return answer

    def _set(self, request: Request, answer: Response, token: str, lasts: float) -> None:
        answer.set_cookie(
            self._gate.cookie(request),
            token,
            max_age=int(lasts),
            path="/",
            secure=self._gate.secure(request),
            httponly=True,
            samesite="strict",
        )


def style() -> Response:
    """How the login looks, and whatever else is told in words alone."""
    return Response(_file("login.css"), 200, PAGE, "text/css; charset=utf-8")


def asked_for(request: Request) -> str:
    """The address of the view that somebody wanted to see, without the server in front of it."""
    raw, query = request.scope.get("raw_path", b""), request.scope.get("query_string", b"")
    return _here((raw + (b"?" + query if query else b"")).decode("latin-1"))


def _here(to: str) -> str:
    """An address of this server; nothing where it may lead to another, or is none."""
    return to if len(to) <= MOST_ADDRESS and _HERE.fullmatch(to) else ""


async def _fields(request: Request, *, json: bool) -> Mapping[str, object]:
    """What a form or a JSON object says."""
    body = bytes(await bodies.read(request, limit=MAX_BODY, within=BODY_WITHIN))
    try:
        return as_object(msgspec.json.decode(body) if json else parse_qs(body.decode())) or {}
    except (ValueError, RecursionError) as exc:
        raise Refused("bad_request", f"the body cannot be read: {exc}") from exc


def _key(fields: Mapping[str, object]) -> str:
    """The key that was given; raise Refused where there is none."""
    text = _text(fields.get("key"))
    if not text:
        hint = 'send a form with the field `key`, or {"key": "..."}'
        raise Refused("invalid", "there is no key", hint=hint, details=[("key", "it is missing")])
    return text


def _text(found: object) -> str:
    texts = as_list(found)
    text = texts[0] if texts else found
    return text.strip() if isinstance(text, str) else ""


def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_file("login.html").decode())


def _file(name: str) -> bytes:
    return files("bers.web").joinpath(name).read_bytes()
