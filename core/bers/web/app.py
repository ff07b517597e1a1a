"""From a request to the operation that answers it: surfaces, methods, fields, envelopes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from bers import disk
from bers.access.addresses import is_loopback
from bers.access.gate import Errand, Gate
from bers.access.headers import guarded
from bers.access.settings import AccessSettings
from bers.clock import SystemClock
from bers.directory import Route
from bers.errors import PluginError, Refused
from bers.operations import Caller, Operation, Page, Stream, Surface
from bers.redaction import Redactor
from bers.supervisor import Supervisor
from bers.web import bodies, downloads, entrance, exposition, guests, pages, prometheus
from bers.web.api import Api, offer
from bers.web.descriptions import Descriptions
from bers.web.entrance import Entrance
from bers.web.envelope import JSON, Masked, failure, not_allowed, refusal, success
from bers.web.health import BADGES
from bers.web.login import LOGIN, LOGOUT, STYLE, Login, asked_for, style
from bers.web.outlet import STREAM, Chunks, Outlet
from bers.web.told import told
from bers.web.waiting import Waiting

MAX_BODY = 64 << 10
"""The largest body of a command, in bytes; events have limits of their own."""

BODY_WITHIN = 10.0
"""Seconds in which the body of a command has to arrive."""

_SOON = {"Retry-After": "1"}

_log = logging.getLogger(__name__)


class App:
    """The ASGI application of one node, on all of its ports. Until it has a node it says that it is starting."""

    def __init__(self, surfaces: Mapping[int, Surface], gate: Gate | None = None) -> None:
        """``surfaces`` tells what is answered on each port, and the gate to whom; without, to everybody."""
        self._surfaces = surfaces
        self._gate = gate or Gate(AccessSettings(), SystemClock())
        self._ports: dict[str, int] = {surface: port for port, surface in surfaces.items()}
        self._node: Supervisor | None = None
        self._entrance: Entrance | None = None
        self._login: Login | None = None
        self._closed = False
        self._streams: set[anyio.CancelScope] = set()
        """Cancelled, a stream ends."""
        self._waiting: Waiting | None = None
        """What the node waits for that is not there yet."""
        self._redactor = Redactor()
        self._descriptions = Descriptions((), (), self._redactor)
        self._chunks = Chunks()

    def wait(self, waiting: Waiting) -> None:
        """Say what keeps the node from starting, until it has started."""
        self._waiting = waiting

    def serve(self, node: Supervisor) -> None:
        """Answer for a node from now on."""
        self._waiting = None
        offer(node.directory, Api(node, self._ports))
        self._redactor = node.redactor
        self._gate.attach(node.state, node.audit)
        self._login = Login(self._gate, node.audit)
        self._entrance = Entrance(node, self._gate)
        self._descriptions = Descriptions(node.directory.routes, self._entrance.doors, node.redactor)
        self._node = node

    def close(self) -> None:
        """End every stream, and take no more requests."""
        self._node = None
        self._closed = True
        for stream in self._streams:
            stream.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        send = guarded(scope, send)
        send = entrance.way_back(send, request, scope["path"].rstrip("/"), self._gate)
        try:
            await self._answer(request, scope, receive, send)
        except Exception as exc:
            await self._masked(told(request, _failed(request, exc)))(scope, receive, send)

    async def _answer(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        surface = self._surfaces.get(scope["server"][1], "control")
        path = scope["path"].rstrip("/") or "/"
        probe = path in ("/livez", "/readyz")
        source = await self._gate.arrive(request, probe=probe)
        if probe:
            ready = path == "/livez" or (self._node is not None and self._node.accepting)
            why = self._waiting.why if self._waiting and not ready and self._may_know(source) else None
            await Response(why, 200 if ready else 503, media_type="text/plain")(scope, receive, send)
            return
        control = surface == "control"
        if control and (permission := await entrance.ask_first(request, path, source, self._gate)):
            await permission(scope, receive, send)
            return
        method = "GET" if request.method == "HEAD" else request.method
        if control and path == STYLE and method == "GET":  # Also for the page that says that nothing is here.
            await style()(scope, receive, send)
            return
        node, doors = self._node, self._entrance
        if node is None or doors is None:
            await self._masked(told(request, self._absent(path, surface, source)))(scope, receive, send)
            return
        if control and doors.leads(path):
            if greeting := doors.greeting(request):
                await greeting(scope, receive, send)
                return
            caller = await self._gate.admit(request, source, doors.errand(path, method))
            await self._masked(await doors.answer(request, path, method, caller))(scope, receive, send)
            return
        routes, values = node.directory.match(path)
        here = {name: route for name, route in routes.items() if route.is_answered(surface)}
        errand = _errand(path, surface, here.get(method), badges=node.plan.settings.health.public_badges)
        caller = await self._gate.admit(request, source, errand)
        if path == guests.SCRIPT and control and method == "GET":
            await doors.script(request)(scope, receive, send)
            return
        view = _is_view(here.get(method))
        if control and (response := await self._enter(request, path, method, caller, view=view)):
            await response(scope, receive, send)
            return
        own = {
            "/openapi.json": self._describe,
            "/metrics": self._expose if surface != "health" else None,
        }
        if (answer := own.get(path)) is not None:
            response = await answer(request, node, surface, caller) if method == "GET" else not_allowed(["GET"])
            await self._masked(response)(scope, receive, send)
            return
        if not here:
            await self._masked(told(request, self._not_found(path, routes, surface)))(scope, receive, send)
        elif method not in here:
            await not_allowed(list(here))(scope, receive, send)
        elif isinstance(stream := here[method].operation, Stream) and request.method == "HEAD":
            await Response(None, 200, {**STREAM, "Content-Type": stream.media})(scope, receive, send)
        elif isinstance(stream, Stream):
            await self._stream(here[method], request, values, receive, send, errand)
        else:
            response = await self._operate(node, here[method], request, values, caller)
            await self._masked(response)(scope, receive, send)

    def _absent(self, path: str, surface: Surface, source: str) -> Response:
        """The answer while there is no node."""
        if self._waiting and not self._closed:
            if not self._may_know(source):
                return failure(503, "unavailable", "this server waits for its disk", headers=_SOON)
            health = surface != "metrics" and path.startswith("/api/monitoring/health")
            answer = self._waiting.health(path) if health else None
            if answer is not None:
                return success(answer, status=503)
            return failure(503, "unavailable", self._waiting.why, headers=_SOON, hint=self._waiting.remedy)
        gone = "this server is stopping" if self._closed else "this server is starting"
        return failure(503, "unavailable", gone, headers=_SOON)

    def _may_know(self, source: str) -> bool:
        """Whether somebody may be told of this machine's folders who cannot show a key yet."""
        return not self._gate.settings.enabled or is_loopback(source)

    async def _enter(self, request: Request, path: str, method: str, caller: Caller, *, view: bool) -> Response | None:
        """Where keys are asked for, the pages for people who have to log in first."""
        login = self._login
        if not self._gate.settings.enabled or login is None:
            return None
        if path == LOGIN:
            if method == "POST":
                return await login.enter(request, caller.address)
            return await login.page(caller) if method == "GET" else not_allowed(["GET", "POST"])
        if path == LOGOUT:
            return await login.leave(request, caller) if method == "POST" else not_allowed(["POST"])
        if not view or caller.key:
            return None
        return await (login.page(caller) if path == "/" else login.ask(caller, asked_for(request)))

    async def _operate(
        self, node: Supervisor, route: Route, request: Request, values: Mapping[str, str], caller: Caller
    ) -> Response:
        operation = route.operation
        assert isinstance(operation, Operation)
        fields = {**request.query_params, **await _body(request), **values}
        did = f"{operation.method} {request.url.path}"
        recorded = operation.method != "GET" and operation.scope != "ingest"  # What jobs report is no deed of anybody.
        if operation.method == "DELETE" and request.url.query:
            # What was deleted, and not only of what; masked before it is encoded, which would hide what has to be.
            masked = self._redactor.value(dict(request.query_params))
            did += f"?{urlencode(masked, safe='*/:,{}')[:200]}"
        format = downloads.wanted(operation, request)
        try:
            reply = await node.directory.ask(route, fields, caller)
        except Refused as refused:
            if recorded:
                await node.audit.record(caller, did, refused.reason)
            raise
        if recorded and not operation.audited:
            await node.audit.record(caller, did, "done")
        if isinstance(reply.data, Page):
            return pages.answer(request, reply.data)
        if format and operation.sheet:
            return downloads.download(request, operation.sheet(route.read(fields), reply), format, self._redactor)
        return success(reply.data, beside=reply.beside, status=200 if reply.healthy else 503)

    async def _stream(
        self,
        route: Route,
        request: Request,
        values: Mapping[str, str],
        receive: Receive,
        send: Send,
        errand: Errand,
    ) -> None:
        """Answer for as long as the client stays. Frames go straight to the transport: no response around them."""
        operation = route.operation
        assert isinstance(operation, Stream)
        fields = {**request.query_params, **values}
        if last := request.headers.get("last-event-id"):
            fields.setdefault("lastEventId", last)
        ask, stage = route.read(fields), route.answerer()
        outlet = Outlet(request.scope, send, operation.media, self._chunks)

        async def bar() -> None:
            await self._gate.until_barred(request, errand)
            group.cancel_scope.cancel()

        group = anyio.create_task_group()
        try:
            async with group:
                self._streams.add(group.cancel_scope)
                outlet.watch(group, receive)
                if self._gate.settings.enabled:
                    group.start_soon(bar)
                await operation.handler(stage, ask, outlet)
                group.cancel_scope.cancel()
        except* Refused as refused:
            if outlet.opened:
                _log.warning("a stream was ended: %s", refused.exceptions[0])
            else:
                raise refused.exceptions[0] from None
        finally:
            self._streams.discard(group.cancel_scope)
        await outlet.finish()

    def _masked(self, response: Response) -> Response:
        """The answer without what nobody may read, whoever put it in: an error's text, a stage, what was kept before
        a pattern was configured. A download is masked while it is made, and so are receipts.
        """
        if isinstance(response, (StreamingResponse, Masked)):
            return response
        body = bytes(response.body)
        if response.media_type == JSON:
            masked = self._redactor.encoded(body)
        elif response.media_type in (exposition.TEXT, exposition.OPEN):
            masked = body if self._redactor.is_clean(body) else self._redactor.text(body.decode()).encode()
        else:
            masked = self._redactor.page(body)
        if masked is not body:
            response.body = masked
            response.headers["content-length"] = str(len(masked))
        return response

    async def _describe(self, request: Request, node: Supervisor, surface: Surface, caller: Caller) -> Response:
        described = await self._descriptions.of(surface, closed=self._gate.settings.enabled)
        return Masked(described, media_type=JSON)

    async def _expose(self, request: Request, node: Supervisor, surface: Surface, caller: Caller) -> Response:
        media = exposition.media(request.headers.get("accept", ""))
        return Response(await prometheus.exposition(node, media), headers={"Vary": "Accept"}, media_type=media)

    def _not_found(self, path: str, routes: Mapping[str, Route], surface: Surface) -> Response:
        hint = "GET /openapi.json lists what is answered here"
        if routes or (self._entrance and self._entrance.leads(path)):
            at = {route.operation.surface for route in routes.values() if route.method == "GET"} - {"control", surface}
            own = "".join(f"{self._ports.get(one)} ({one}) and on " for one in sorted(at))
            hint = f"it is answered on port {own}{self._ports.get('control')} (everything)"
        return failure(404, "not_found", f"nothing is answered at {path[:200]} on this port", hint=hint)


def _failed(request: Request, exc: Exception) -> Response:
    """The answer where there is none: it was refused, or it is the fault of a plugin, of the disk, or ours."""
    if isinstance(exc, Refused):
        return refusal(exc)
    what = request.method, request.url.path
    if isinstance(exc, PluginError):
        _log.error("%s %s could not be answered, by the fault of a plugin", *what, exc_info=exc)
        return failure(500, "internal", str(exc), hint="its author can mend it; logs/monitoring.log says where")
    if why := disk.disk_fault(exc):
        hint = "the check `storage` says what to do; ask again in a moment"
        return failure(503, "unavailable", f"it cannot be written down: {why}", headers=_SOON, hint=hint)
    _log.error("%s %s could not be answered", *what, exc_info=exc)
    return failure(500, "internal", "this is our fault", hint="see logs/monitoring.log")


def _errand(path: str, surface: Surface, route: Route | None, *, badges: bool) -> Errand:
    """What a request needs in order to be answered; one that nobody answers needs a key all the same.

    ``badges`` says that everybody may see those of checks.
    """
    if path in ("/openapi.json", "/metrics"):
        return Errand("read")
    if surface == "control" and path in (LOGIN, LOGOUT):
        return Errand(public=True)
    if surface == "control" and path in (STYLE, guests.SCRIPT):
        return Errand(public=True, counted=False)
    if route is None:
        return Errand()
    operation = route.operation
    if isinstance(operation, Stream):
        return Errand(operation.scope, counted=False)  # It says how many it may have.
    public, health = operation.public, operation.surface == "health"
    shown = _is_view(route) or (badges and operation in BADGES)
    return Errand(operation.scope, public=public or shown, counted=not public, health=health)


def _is_view(route: Route | None) -> bool:
    """Whether it is looked at by people, who are shown the login where nobody knows them."""
    return route is not None and isinstance(route.operation, Operation) and route.operation.media == "text/html"


async def _body(request: Request) -> Mapping[str, Any]:
    """The fields in a command's body; none where there is no body."""
    if request.method not in ("POST", "DELETE"):
        return {}
    body = await bodies.read(request, limit=MAX_BODY, within=BODY_WITHIN)
    if not body.strip():
        return {}
    media = bodies.media(request)
    if media != JSON:
        raise Refused(
            "unsupported_media_type", f"{media or 'no content type'!r} is not understood", hint=f"send {JSON}"
        )
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Refused("bad_request", f"the body is not JSON: {exc}") from exc
    if not isinstance(fields, dict):
        raise Refused("bad_request", "the body is not a JSON object")
    return fields  # pyright: ignore[reportUnknownVariableType]
